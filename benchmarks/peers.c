/* Redis and beanstalkd, as job queues that keep what the Gearman servers keep: a job is its unique id and its workload.
 *
 *   redis       submit: LPUSH. grab: LMOVE to a list of what runs; complete: LREM from it. So a job that a worker has is
 *               not lost with the worker: the pattern that its manual names for reliable queues
 *   beanstalkd  submit: put. grab: reserve-with-timeout 0. complete: delete
 *
 * A completion and the next grab leave in one write, as WORK_COMPLETE and GRAB_JOB do.
 */
#include "load.h"
#include <stdarg.h>

enum { LONGEST_LINE = 256 };
#define VALUE (UNIQUE + size)

/* ---------------------------------------------------------------- what both need */

__attribute__((format(printf, 2, 3))) static void put_text(struct connection *c, const char *format, ...) {
    char text[LONGEST_LINE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(put_bytes(c, (size_t)length), text, (size_t)length);
}

static void put_value(struct connection *c, uint64_t sequence) { /* and the end of the line */
    uint8_t *d = put_bytes(c, VALUE + 2);
    put_unique(d, sequence);
    put_workload(d + UNIQUE, sequence);
    memcpy(d + VALUE, "\r\n", 2);
}

/* Return the length of the line without its end, -1 if the end is not there yet. */
static ssize_t line_length(const uint8_t *data, size_t available) {
    const uint8_t *end = memchr(data, '\n', available < LONGEST_LINE ? available : LONGEST_LINE);
    return end && end > data && end[-1] == '\r' ? end - data - 1 : -1;
}

static int begins(const uint8_t *line, size_t length, const char *word) {
    size_t n = strlen(word);
    return length >= n && !memcmp(line, word, n);
}

static void took_value(struct connection *c, const uint8_t *handle, size_t handle_length, const uint8_t *value,
                       size_t length, uint64_t now) {
    if (length < UNIQUE) { errors[E_CORRUPT]++; return; }
    struct assigned_job job = {handle, value, value + UNIQUE, handle_length, UNIQUE, length - UNIQUE};
    on_assigned(c, &job, now);
}

/* ---------------------------------------------------------------- Redis */

static void redis_submit(struct connection *c, uint64_t sequence) {
    put_text(c, "*3\r\n$5\r\nLPUSH\r\n$5\r\nbench\r\n$%zu\r\n", VALUE);
    put_value(c, sequence);
}

static void redis_grab(struct connection *c) {
    put_text(c, "*5\r\n$5\r\nLMOVE\r\n$5\r\nbench\r\n$7\r\nrunning\r\n$5\r\nRIGHT\r\n$4\r\nLEFT\r\n");
}

static void redis_complete(struct connection *c, const struct assigned_job *job) {
    put_text(c, "*4\r\n$4\r\nLREM\r\n$7\r\nrunning\r\n$1\r\n1\r\n$%zu\r\n", UNIQUE + job->length);
    uint8_t *d = put_bytes(c, UNIQUE + job->length + 2);
    memcpy(d, job->unique, UNIQUE + job->length); /* they stand side by side */
    memcpy(d + UNIQUE + job->length, "\r\n", 2);
}

static void redis_sync(struct connection *c) { put_text(c, "*1\r\n$4\r\nPING\r\n"); }

static ssize_t redis_take(struct connection *c, const uint8_t *data, size_t available, uint64_t now) {
    ssize_t line = line_length(data, available);
    if (line < 0) return available < LONGEST_LINE ? 0 : -1;
    size_t used = (size_t)line + 2;
    if (*data == ':' && c->waiting_count) {
        on_created(c, NULL, 0, now);
    } else if (*data == ':') { /* LREM: how many it found */
        if (data[1] != '1') errors[E_DUPLICATE]++;
    } else if (begins(data, used, "$-1")) {
        on_nothing(c);
    } else if (*data == '$') {
        size_t length = strtoul((const char *)data + 1, NULL, 10);
        if (available < used + length + 2) return 0;
        took_value(c, NULL, 0, data + used, length, now);
        used += length + 2;
    } else if (begins(data, used, "+PONG")) {
        on_synced(c);
    } else {
        on_unexpected(data, (size_t)line);
    }
    return (ssize_t)used;
}

const struct protocol redis = {"redis", NULL, redis_submit, redis_grab, redis_complete, redis_sync, redis_take};

/* ---------------------------------------------------------------- beanstalkd */

static void beanstalkd_submit(struct connection *c, uint64_t sequence) {
    put_text(c, "put 1024 0 120 %zu\r\n", VALUE);
    put_value(c, sequence);
}

static void beanstalkd_grab(struct connection *c) { put_text(c, "reserve-with-timeout 0\r\n"); }

static void beanstalkd_complete(struct connection *c, const struct assigned_job *job) {
    put_text(c, "delete %.*s\r\n", (int)job->handle_length, (const char *)job->handle);
}

static void beanstalkd_sync(struct connection *c) { put_text(c, "list-tube-used\r\n"); }

/* RESERVED ID BYTES, and the job behind it. */
static ssize_t beanstalkd_reserved(struct connection *c, const uint8_t *data, size_t used, size_t available,
                                   uint64_t now) {
    const uint8_t *id = data + strlen("RESERVED "), *end = memchr(id, ' ', used);
    if (!end) return -1;
    size_t length = strtoul((const char *)end, NULL, 10);
    if (available < used + length + 2) return 0;
    took_value(c, id, (size_t)(end - id), data + used, length, now);
    return (ssize_t)(used + length + 2);
}

static ssize_t beanstalkd_take(struct connection *c, const uint8_t *data, size_t available, uint64_t now) {
    static const char inserted[] = "INSERTED ";
    ssize_t line = line_length(data, available);
    if (line < 0) return available < LONGEST_LINE ? 0 : -1;
    size_t used = (size_t)line + 2;
    if (begins(data, used, "RESERVED ")) return beanstalkd_reserved(c, data, used, available, now);
    if (begins(data, used, inserted))
        on_created(c, data + sizeof inserted - 1, (size_t)line - sizeof inserted + 1, now);
    else if (begins(data, used, "TIMED_OUT")) on_nothing(c);
    else if (begins(data, used, "USING ")) on_synced(c);
    else if (!begins(data, used, "DELETED")) on_unexpected(data, (size_t)line);
    return (ssize_t)used;
}

const struct protocol beanstalkd = {"beanstalkd", NULL, beanstalkd_submit, beanstalkd_grab, beanstalkd_complete,
                                    beanstalkd_sync, beanstalkd_take};
