/* load: a small load generator for Gearman servers and two others, and a sink to measure the generator itself.
 *
 * One process, one thread, one epoll loop, no client library, so that the server is what is measured.
 *
 *   load submit-bg  C connections with W outstanding SUBMIT_JOB_BG each; latency: submit to JOB_CREATED
 *   load work       K workers drain N jobs: GRAB_JOB_UNIQ, then WORK_COMPLETE and the next grab in one
 *                   write; latency: grab to assignment
 *   load fg         C foreground clients (window W) and K workers; latency: submit to WORK_COMPLETE
 *   load echo       ECHO_REQ, C connections, window W; latency: to ECHO_RES
 *   load sink       a server that answers and keeps nothing: the generator's ceiling
 *
 * With --protocol redis or beanstalkd, submit-bg and work do the same with those servers (peers.c).
 *
 * Each run is bounded by --jobs, by --seconds and by an alarm. One JSON line on stdout. Exit 0: clean,
 * 1: errors were counted, 2: usage or connection, 3: the alarm.
 *
 * A workload is its sequence number in 16 hex digits and a pattern that depends on the number. Checked
 * in every run: handles are distinct, workloads and unique ids intact, each job is delivered once and
 * under the handle that its submit was answered with, and nothing is missing at the end.
 */
#include "load.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CAN_DO = 1, PRE_SLEEP = 4, NOOP = 6, SUBMIT_JOB = 7, JOB_CREATED = 8, NO_JOB = 10, WORK_COMPLETE = 13,
    ECHO_REQ = 16, ECHO_RES = 17, SUBMIT_JOB_BG = 18, GRAB_JOB_UNIQ = 30, JOB_ASSIGN_UNIQ = 31,
};
#define IDLE_NS 3000000000u /* a drain without any progress for so long is over: the rest is missing */
enum { HEADER = 12, SINK_HANDLE = 7 + SEQUENCE, MAX_PACKET = 1 << 20, PATTERN = 4096 };
enum { SUBMIT_BG, WORK, FOREGROUND, ECHO, SINK, MODES };
enum { CLIENT, WORKER, LISTENER, SERVED };     /* what a connection is; the last two belong to the sink */
enum { RUNNING, WINDING_DOWN, BROKEN };
enum { DELIVERED = 1, ANSWERED = 2 };        /* bits of seen[] */

static const char *const mode_names[MODES] = {"submit-bg", "work", "fg", "echo", "sink"};
static const char *const error_names[ERRORS] = {"packet", "duplicate", "missing", "corrupt", "unknown",
                                                "handle_reused", "handle_wrong", "closed", "unsynced"};
static const char FUNCTION[] = "bench";      /* sent with its NUL where another argument follows */

static int mode, port = 4730, connection_count = 1, window = 1, worker_count = 1;
size_t size = 100;
#define SUBMIT_BODY (sizeof FUNCTION + UNIQUE + 1 + size)
static uint64_t jobs = 10000, first; /* first: number of the first unique id, others than those of runs before */
static double max_seconds = 10;
static const char *save_handles, *expect_handles;

static struct connection *connections;
static int total_connections, epoll_fd, state, started;
uint64_t errors[ERRORS];
static const struct protocol *protocol;
static uint64_t sent, answered, delivered, completed, inflight_total, deadline, last_event;
static uint64_t *sent_at, *created, *assigned, *handle_set, handle_mask;
static uint32_t *latencies; /* in units of 10 ns */
static size_t latency_count;
static uint8_t *seen, *pattern;

/* ---------------------------------------------------------------- small helpers */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(2);
}

/* Memory whose pages exist already, so that page faults are no part of the measurement. */
static void *table(size_t count, size_t each) {
    void *p = mmap(NULL, count * each, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    return p;
}

static uint8_t *grown(uint8_t *buffer, size_t *capacity, size_t needed) {
    size_t bigger = *capacity ? *capacity : 65536;
    while (bigger < needed) bigger *= 2;
    if (bigger == *capacity) return buffer;
    if (!(buffer = realloc(buffer, bigger))) die("realloc");
    *capacity = bigger;
    return buffer;
}

static void add_latency(uint64_t ns) {
    if (latency_count < jobs) latencies[latency_count++] = ns / 10 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 10);
}

static uint64_t mixed(uint64_t x) { /* splitmix64 */
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash(const uint8_t *p, size_t n) { /* FNV-1a, mixed; 0 means an empty slot */
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211u;
    h = mixed(h);
    return h ? h : 1;
}

static int add_handle(uint64_t h) { /* 1: it was new */
    uint64_t i = h & handle_mask;
    for (; handle_set[i]; i = (i + 1) & handle_mask)
        if (handle_set[i] == h) return 0;
    handle_set[i] = h;
    return 1;
}

/* ---------------------------------------------------------------- workloads */

void put_hex(uint8_t *d, uint64_t value, int digits) {
    for (int i = digits - 1; i >= 0; i--, value >>= 4) d[i] = (uint8_t)"0123456789abcdef"[value & 15];
}

static int get_sequence(const uint8_t *p, size_t n, uint64_t *sequence) {
    uint64_t value = 0;
    for (int i = 0; i < SEQUENCE; i++) {
        if (n <= (size_t)i) return 0;
        int d = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10 : -1;
        if (d < 0) return 0;
        value = value << 4 | (uint64_t)d;
    }
    *sequence = value;
    return 1;
}

static const uint8_t *pattern_of(uint64_t sequence) { return pattern + sequence * 37 % PATTERN; }

void put_workload(uint8_t *d, uint64_t sequence) {
    put_hex(d, sequence, SEQUENCE);
    memcpy(d + SEQUENCE, pattern_of(sequence), size - SEQUENCE);
}

void put_unique(uint8_t *d, uint64_t sequence) { /* 36 characters, as libgearman sends */
    uint64_t a = mixed((first + sequence) * 2 + 1), b = mixed((first + sequence) * 2 + 2);
    memset(d, '-', UNIQUE);
    put_hex(d, a >> 32, 8);
    put_hex(d + 9, a >> 16, 4);
    put_hex(d + 14, a, 4);
    put_hex(d + 19, b >> 48, 4);
    put_hex(d + 24, b, 12);
}

static void put_submit(uint8_t *d, uint64_t sequence) { /* function, unique, workload; SUBMIT_BODY bytes */
    memcpy(d, FUNCTION, sizeof FUNCTION);
    d += sizeof FUNCTION;
    put_unique(d, sequence);
    d[UNIQUE] = 0;
    put_workload(d + UNIQUE + 1, sequence);
}

/* ---------------------------------------------------------------- connections */

static void watch(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0) die("epoll_ctl");
}

static void lost(struct connection *c) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    if (c->role == SERVED) {
        free(c->in);
        free(c->out);
        c->in = c->out = NULL;
        return;
    }
    errors[E_CLOSED]++;
    state = BROKEN;
}

static void flush_output(struct connection *c) {
    while (c->fd >= 0 && c->out_offset < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_offset, c->out_length - c->out_offset, MSG_NOSIGNAL);
        if (n >= 0) {
            c->out_offset += (size_t)n;
        } else if (errno == EAGAIN) {
            if (!c->wants_write) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->wants_write = 1;
            return;
        } else if (errno != EINTR) { lost(c); return; }
    }
    c->out_offset = c->out_length = 0;
    if (c->wants_write && c->fd >= 0) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->wants_write = 0;
}

uint8_t *put_bytes(struct connection *c, size_t length) {
    c->out = grown(c->out, &c->out_capacity, c->out_length + length);
    c->out_length += length;
    return c->out + c->out_length - length;
}

/* Append a packet's header; return where its body of the given length is to be written. */
static uint8_t *put_packet(struct connection *c, uint32_t type, size_t length) {
    uint8_t *d = put_bytes(c, HEADER + length);
    uint32_t words[2] = {htonl(type), htonl((uint32_t)length)};
    memcpy(d, c->role == SERVED ? "\0RES" : "\0REQ", 4);
    memcpy(d + 4, words, 8);
    return d + HEADER;
}

static void set_up_socket(struct connection *c, int role) {
    int one = 1;
    c->role = role;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void open_connection(int role) {
    struct connection *c = &connections[total_connections++];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    c->waiting = table((size_t)window, sizeof *c->waiting);
    set_up_socket(c, role);
    if (role == WORKER && protocol->put_ability) protocol->put_ability(c);
}

/* ---------------------------------------------------------------- clients and workers */

static void push_request(struct connection *c, uint64_t now) {
    uint64_t sequence = sent++;
    sent_at[sequence] = now;
    c->waiting[(c->first + c->waiting_count++) % window] = (uint32_t)sequence;
    c->inflight++;
    inflight_total++;
    if (mode == ECHO) {
        put_workload(put_packet(c, ECHO_REQ, size), sequence);
        return;
    }
    protocol->put_submit(c, sequence);
}

static void refill(struct connection *c, uint64_t now) {
    while (state == RUNNING && c->inflight < window && sent < jobs) push_request(c, now);
}

static int pop_request(struct connection *c, uint64_t *sequence) {
    if (!c->waiting_count) { errors[E_PACKET]++; return 0; }
    *sequence = c->waiting[c->first];
    c->first = (c->first + 1) % window;
    c->waiting_count--;
    return 1;
}

static void finish_request(struct connection *c, uint64_t sequence, uint64_t now) {
    if (seen[sequence] & ANSWERED) { errors[E_DUPLICATE]++; return; }
    seen[sequence] |= ANSWERED;
    add_latency(now - sent_at[sequence]);
    answered++;
    last_event = now;
    c->inflight--;
    inflight_total--;
}

/* What stands for a handle; 0 from a protocol that has none, where the job's number takes its place. */
static uint64_t handle_of(const uint8_t *handle, size_t length, uint64_t sequence) {
    return handle ? hash(handle, length) : mixed(sequence) | 1;
}

void on_created(struct connection *c, const uint8_t *handle, size_t length, uint64_t now) {
    uint64_t sequence;
    if (!pop_request(c, &sequence)) return;
    created[sequence] = handle_of(handle, length, sequence);
    if (!add_handle(created[sequence])) errors[E_HANDLE_REUSED]++;
    if (mode == SUBMIT_BG) finish_request(c, sequence, now);
}

static void on_complete(struct connection *c, const uint8_t *body, size_t length, uint64_t now) {
    const uint8_t *end = memchr(body, 0, length);
    uint64_t sequence = UINT64_MAX;
    if (end) get_sequence(end + 1, (size_t)(body + length - end - 1), &sequence);
    if (sequence >= sent) { errors[E_CORRUPT]++; return; }
    if (created[sequence] != hash(body, (size_t)(end - body))) errors[E_HANDLE_WRONG]++;
    finish_request(c, sequence, now);
}

void on_synced(struct connection *c) { c->synced = 1; }

static void on_echo(struct connection *c, const uint8_t *body, size_t length, uint64_t now) {
    uint64_t sequence, found;
    if (mode != ECHO || !started) { on_synced(c); return; }
    if (!pop_request(c, &sequence)) return;
    if (length != size || !get_sequence(body, length, &found) || found != sequence) errors[E_CORRUPT]++;
    finish_request(c, sequence, now);
}

static void grab(struct connection *c, uint64_t now) {
    protocol->put_grab(c);
    c->grabbed_at = now;
    c->grabbing = 1;
}

static int wants_more(void) { /* foreground workers go on until the last client has its answer */
    return mode == FOREGROUND ? state != BROKEN : state == RUNNING && delivered < jobs;
}

static void check_delivery(const struct assigned_job *job) {
    uint64_t sequence;
    uint8_t expected[UNIQUE];
    if (job->length != size || !get_sequence(job->workload, size, &sequence)) { errors[E_CORRUPT]++; return; }
    if (sequence >= jobs || (mode == FOREGROUND && sequence >= sent)) { errors[E_UNKNOWN]++; return; }
    put_unique(expected, sequence);
    if (memcmp(job->workload + SEQUENCE, pattern_of(sequence), size - SEQUENCE)) errors[E_CORRUPT]++;
    if (job->unique_length != UNIQUE || memcmp(expected, job->unique, UNIQUE)) errors[E_CORRUPT]++;
    if (seen[sequence] & DELIVERED) errors[E_DUPLICATE]++;
    seen[sequence] |= DELIVERED;
    assigned[sequence] = handle_of(job->handle, job->handle_length, sequence);
}

void on_assigned(struct connection *c, const struct assigned_job *job, uint64_t now) {
    c->grabbing = 0;
    delivered++;
    last_event = now;
    if (mode == WORK) add_latency(now - c->grabbed_at);
    check_delivery(job);
    protocol->put_complete(c, job);
    completed++;
    if (wants_more()) grab(c, now);
}

int on_nothing(struct connection *c) {
    c->grabbing = 0;
    return wants_more();
}

void on_unexpected(const uint8_t *text, size_t length) {
    if (errors[E_PACKET]++ < 3) fprintf(stderr, "unexpected: %.*s\n", (int)(length > 80 ? 80 : length), text);
    state = BROKEN;
}

/* ---------------------------------------------------------------- Gearman's protocol */

static void put_ability(struct connection *c) {
    memcpy(put_packet(c, CAN_DO, sizeof FUNCTION - 1), FUNCTION, sizeof FUNCTION - 1);
}

static void put_submit_packet(struct connection *c, uint64_t sequence) {
    put_submit(put_packet(c, mode == FOREGROUND ? SUBMIT_JOB : SUBMIT_JOB_BG, SUBMIT_BODY), sequence);
}

static void put_grab(struct connection *c) { put_packet(c, GRAB_JOB_UNIQ, 0); }

static void put_complete(struct connection *c, const struct assigned_job *job) {
    size_t result = job->length < SEQUENCE ? job->length : SEQUENCE;
    uint8_t *d = put_packet(c, WORK_COMPLETE, job->handle_length + 1 + result);
    memcpy(d, job->handle, job->handle_length);
    d[job->handle_length] = 0;
    memcpy(d + job->handle_length + 1, job->workload, result);
}

static void put_sync(struct connection *c) { memcpy(put_packet(c, ECHO_REQ, 4), "sync", 4); }

static void on_assign(struct connection *c, const uint8_t *body, size_t length, uint64_t now) {
    const uint8_t *argument[4] = {body}, *end = body + length; /* handle, function, unique, workload */
    int count = 1;
    for (const uint8_t *p = body; count < 4 && p < end; p++)
        if (!*p) argument[count++] = p + 1;
    if (count < 4) { errors[E_PACKET]++; return; }
    struct assigned_job job = {body, argument[2], argument[3], (size_t)(argument[1] - body - 1),
                               (size_t)(argument[3] - argument[2] - 1), (size_t)(end - argument[3])};
    on_assigned(c, &job, now);
}

static void on_response(struct connection *c, uint32_t type, const uint8_t *body, size_t length, uint64_t now) {
    switch (type) {
    case JOB_CREATED: on_created(c, body, length, now); break;
    case WORK_COMPLETE: on_complete(c, body, length, now); break;
    case JOB_ASSIGN_UNIQ: on_assign(c, body, length, now); break;
    case ECHO_RES: on_echo(c, body, length, now); break;
    case NO_JOB:
        if (on_nothing(c)) {
            put_packet(c, PRE_SLEEP, 0);
            c->asleep = 1;
        }
        break;
    case NOOP:
        if (c->asleep && wants_more()) grab(c, now);
        c->asleep = 0;
        break;
    default: on_unexpected(body, length); /* ERROR (19) among them: no request of ours may be refused */
    }
}

/* ---------------------------------------------------------------- the sink */

static void put_handle(uint8_t *d, uint64_t number) {
    memcpy(d, "H:sink:", SINK_HANDLE - SEQUENCE);
    put_hex(d + SINK_HANDLE - SEQUENCE, number, SEQUENCE);
}

static void sink_assign(struct connection *c) {
    if (delivered >= jobs) { put_packet(c, NO_JOB, 0); return; }
    uint8_t *d = put_packet(c, JOB_ASSIGN_UNIQ, SINK_HANDLE + 1 + SUBMIT_BODY);
    put_handle(d, delivered);
    d[SINK_HANDLE] = 0;
    put_submit(d + SINK_HANDLE + 1, delivered++);
}

static void on_request(struct connection *c, uint32_t type, const uint8_t *body, size_t length) {
    switch (type) {
    case ECHO_REQ: memcpy(put_packet(c, ECHO_RES, length), body, length); break;
    case SUBMIT_JOB_BG: put_handle(put_packet(c, JOB_CREATED, SINK_HANDLE), sent++); break;
    case GRAB_JOB_UNIQ: sink_assign(c); break;
    default: break;
    }
}

static void accept_clients(struct connection *listener) {
    int fd;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        set_up_socket(c, SERVED);
    }
}

/* ---------------------------------------------------------------- the loop */

/* Take one packet; return its bytes, 0 if it is not all there, -1 if it is none. */
static ssize_t take_packet(struct connection *c, const uint8_t *packet, size_t available, uint64_t now) {
    uint32_t words[2];
    if (available < HEADER) return 0;
    memcpy(words, packet + 4, sizeof words);
    size_t length = ntohl(words[1]);
    if (memcmp(packet, c->role == SERVED ? "\0REQ" : "\0RES", 4) || length > MAX_PACKET) return -1;
    if (available < HEADER + length) return 0;
    if (c->role == SERVED) on_request(c, ntohl(words[0]), packet + HEADER, length);
    else on_response(c, ntohl(words[0]), packet + HEADER, length, now);
    return (ssize_t)(HEADER + length);
}

static const struct protocol gearman = {"gearman", put_ability, put_submit_packet, put_grab, put_complete, put_sync,
                                        take_packet};
static const struct protocol *const protocols[] = {&gearman, &redis, &beanstalkd};

static size_t consume(struct connection *c, uint64_t now) {
    size_t offset = 0;
    ssize_t used;
    while ((used = protocol->take(c, c->in + offset, c->in_length - offset, now)) > 0) offset += (size_t)used;
    if (used < 0) {
        errors[E_PACKET]++;
        lost(c);
    }
    return offset;
}

static void on_readable(struct connection *c) {
    if (c->role == LISTENER) { accept_clients(c); return; }
    c->in = grown(c->in, &c->in_capacity, c->in_length + 32768);
    ssize_t n = recv(c->fd, c->in + c->in_length, c->in_capacity - c->in_length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) { lost(c); return; }
    c->in_length += (size_t)n;
    uint64_t now = now_ns();
    size_t used = consume(c, now);
    if (c->fd < 0) return;
    c->in_length -= used;
    if (used && c->in_length) memmove(c->in, c->in + used, c->in_length);
    if (c->role == CLIENT && started) refill(c, now);
    if (c->out_length > c->out_offset && !c->wants_write) flush_output(c);
}

/* Serve events until done() or the given time; past the deadline nothing new is begun. */
static void loop_until(int (*done)(void), uint64_t limit) {
    struct epoll_event events[256];
    for (unsigned turn = 1; !done(); turn++) {
        int n = epoll_wait(epoll_fd, events, 256, 20);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0 && events[i].events & EPOLLOUT) flush_output(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(c);
        }
        if (n > 0 && turn % 16) continue;
        uint64_t now = now_ns();
        if (now > limit) return;
        if (state == RUNNING && started && now > deadline) state = WINDING_DOWN;
    }
}

static int all_synced(void) {
    for (int i = 0; i < total_connections; i++)
        if (!connections[i].synced && state != BROKEN) return 0;
    return 1;
}

/* An ECHO, or what is one, on every connection: when all are back, the server has seen everything sent before. */
static uint64_t sync_connections(int workers_only) {
    uint64_t missing = 0;
    for (int i = 0; i < total_connections; i++) {
        struct connection *c = &connections[i];
        c->synced = workers_only && c->role != WORKER;
        if (!c->synced) protocol->put_sync(c);
        flush_output(c);
    }
    loop_until(all_synced, now_ns() + 10000000000u);
    for (int i = 0; i < total_connections; i++) missing += !connections[i].synced;
    return missing;
}

static int drained(void) {
    if (completed >= jobs) return 1;
    for (int i = 0; state == WINDING_DOWN && i < total_connections; i++)
        if (connections[i].grabbing) return 0;
    return state == WINDING_DOWN || now_ns() - last_event > IDLE_NS;
}

static int finished(void) {
    if (state == BROKEN) return 1;
    if (mode == WORK) return drained();
    return !inflight_total && (sent >= jobs || state == WINDING_DOWN);
}

/* ---------------------------------------------------------------- the report */

static double own_cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(double q) { /* microseconds */
    return latency_count ? latencies[(size_t)((double)(latency_count - 1) * q)] / 100.0 : 0;
}

static void count_missing(void) {
    uint64_t expected = mode == WORK ? (state == WINDING_DOWN ? 0 : jobs) : sent;
    uint8_t whole = mode == WORK ? DELIVERED : mode == FOREGROUND ? DELIVERED | ANSWERED : ANSWERED;
    for (uint64_t i = 0; i < expected; i++) errors[E_MISSING] += (seen[i] & whole) != whole;
    for (uint64_t i = 0; i < jobs && (mode == FOREGROUND || expect_handles); i++)
        errors[E_HANDLE_WRONG] += seen[i] & DELIVERED && created[i] != assigned[i];
}

static void keep_handles(void) {
    FILE *f = save_handles ? fopen(save_handles, "w") : NULL;
    if (save_handles && (!f || fwrite(created, sizeof *created, jobs, f) != jobs || fclose(f))) die("save handles");
}

static int report(double seconds, double cpu) {
    uint64_t all = 0, done = mode == WORK ? completed : answered;
    count_missing();
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"mode\":\"%s\",\"connections\":%d,\"window\":%d,\"workers\":%d,\"size\":%zu,\"jobs\":%lu,\"done\":%lu,"
           "\"cut_short\":%s,\"seconds\":%.4f,\"ops_s\":%.1f,\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,"
           "\"p999_us\":%.1f,\"max_us\":%.1f,\"cpu_s\":%.4f,\"error_counts\":{",
           mode_names[mode], mode == WORK ? 0 : connection_count, window, worker_count, size, jobs, done,
           state == RUNNING ? "false" : "true", seconds, (double)done / seconds, quantile(.5), quantile(.95),
           quantile(.99), quantile(.999), quantile(1), cpu);
    for (int i = 0; i < ERRORS; all += errors[i++]) printf("%s\"%s\":%lu", i ? "," : "", error_names[i], errors[i]);
    printf("},\"errors\":%lu}\n", all);
    return all ? 1 : 0;
}

/* ---------------------------------------------------------------- the two programs */

static void allocate_tables(void) {
    sent_at = table(jobs, sizeof *sent_at);
    created = table(jobs, sizeof *created);
    assigned = table(jobs, sizeof *assigned);
    latencies = table(jobs, sizeof *latencies);
    seen = table(jobs, 1);
    for (handle_mask = 1024; handle_mask < jobs * 2; handle_mask *= 2) {}
    handle_set = table(handle_mask--, sizeof *handle_set);
    FILE *f = expect_handles ? fopen(expect_handles, "r") : NULL;
    if (f && fread(created, sizeof *created, jobs, f) == jobs && !fclose(f)) return;
    if (expect_handles) die("expected handles");
}

static int run_load(void) {
    int clients = mode == WORK ? 0 : connection_count;
    if (mode != WORK && mode != FOREGROUND) worker_count = 0;
    allocate_tables();
    connections = calloc((size_t)(clients + worker_count), sizeof *connections);
    if (!connections) die("calloc");
    for (int i = 0; i < clients + worker_count; i++) open_connection(i < clients ? CLIENT : WORKER);
    if (sync_connections(0) || state == BROKEN) {
        fprintf(stderr, "the server did not answer the first request\n");
        return 2;
    }
    double cpu = own_cpu();
    uint64_t begin = last_event = now_ns();
    deadline = begin + (uint64_t)(max_seconds * 1e9);
    started = 1;
    for (int i = total_connections - 1; i >= 0; i--) { /* workers first, so that they wait for the clients */
        if (connections[i].role == WORKER) grab(&connections[i], begin);
        else refill(&connections[i], begin);
        flush_output(&connections[i]);
    }
    loop_until(finished, deadline + 20000000000u);
    if (worker_count && state != BROKEN) { /* a drain ends when its last completion has been taken in */
        errors[E_UNSYNCED] += sync_connections(1);
        if (mode == WORK) last_event = now_ns();
    }
    cpu = own_cpu() - cpu;
    keep_handles();
    return report((double)(last_event - begin + 1) / 1e9, cpu);
}

static int never(void) { return 0; }

static int run_sink(void) {
    struct connection listener = {.role = LISTENER};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener.fd, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(listener.fd, 4096) < 0) die("listen");
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    loop_until(never, now_ns() + (uint64_t)(max_seconds * 1e9));
    return 0;
}

static void on_alarm(int number) {
    static const char message[] = "the alarm ended this run\n";
    (void)number;
    _exit(write(2, message, sizeof message - 1) < 0 ? 4 : 3);
}

static void usage(void) {
    fprintf(stderr, "usage: load submit-bg|work|fg|echo|sink [-p PORT] [-c CONNECTIONS] [-w WINDOW] [-k WORKERS]\n"
                    "            [-n JOBS] [-s BYTES] [-t SECONDS] [-f FIRST] [--protocol gearman|redis|beanstalkd]\n"
                    "            [--save-handles FILE] [--expect-handles FILE]\n");
    exit(2);
}

static const struct protocol *protocol_of(const char *name) {
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (!strcmp(name, protocols[i]->name)) return protocols[i];
    usage();
    return NULL;
}

static void parse_options(int argc, char **argv) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"connections", 1, 0, 'c'}, {"window", 1, 0, 'w'}, {"workers", 1, 0, 'k'},
        {"jobs", 1, 0, 'n'}, {"size", 1, 0, 's'}, {"seconds", 1, 0, 't'}, {"first", 1, 0, 'f'},
        {"save-handles", 1, 0, 1}, {"expect-handles", 1, 0, 2}, {"protocol", 1, 0, 3}, {0, 0, 0, 0}};
    protocol = &gearman;
    for (mode = 0; argc > 1 && mode < MODES && strcmp(argv[1], mode_names[mode]); mode++) {}
    if (argc < 2 || mode == MODES) usage();
    optind = 2;
    for (int o; (o = getopt_long(argc, argv, "p:c:w:k:n:s:t:f:", names, NULL)) != -1;) switch (o) {
        case 'p': port = atoi(optarg); break;
        case 'c': connection_count = atoi(optarg); break;
        case 'w': window = atoi(optarg); break;
        case 'k': worker_count = atoi(optarg); break;
        case 'n': jobs = strtoull(optarg, NULL, 10); break;
        case 's': size = strtoul(optarg, NULL, 10); break;
        case 't': max_seconds = atof(optarg); break;
        case 'f': first = strtoull(optarg, NULL, 10); break;
        case 1: save_handles = optarg; break;
        case 2: expect_handles = optarg; break;
        case 3: protocol = protocol_of(optarg); break;
        default: usage();
        }
    if (window < 1 || connection_count < 1 || worker_count < 1 || jobs < 1 || jobs > 50000000 || size < SEQUENCE ||
        size > MAX_PACKET / 2 || max_seconds <= 0 || max_seconds > 3600) usage();
    if (protocol != &gearman && mode != SUBMIT_BG && mode != WORK) usage();
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    signal(SIGALRM, on_alarm);
    alarm((unsigned)max_seconds + 60);
    if (!(pattern = malloc(size + PATTERN))) die("malloc");
    for (size_t i = 0; i < size + PATTERN; i++) pattern[i] = (uint8_t)('A' + mixed(i) % 26);
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
    return mode == SINK ? run_sink() : run_load();
}
