/* What load.c and peers.c share: connections, what a protocol has to do, and what it reports. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

enum { UNIQUE = 36, SEQUENCE = 16 };
enum {
    E_PACKET, E_DUPLICATE, E_MISSING, E_CORRUPT, E_UNKNOWN, E_HANDLE_REUSED, E_HANDLE_WRONG, E_CLOSED, E_UNSYNCED,
    ERRORS
};

struct connection {
    int fd, role, wants_write, asleep, grabbing, synced;
    uint8_t *in, *out;
    size_t in_length, in_capacity, out_length, out_offset, out_capacity;
    uint32_t *waiting; /* ring of the requests that wait for their answer, oldest first */
    int first, waiting_count, inflight;
    uint64_t grabbed_at;
};

struct assigned_job {
    const uint8_t *handle, *unique, *workload;
    size_t handle_length, unique_length, length;
};

/* How a server is spoken to. `take` handles one answer and returns its bytes, 0 if it is not all there, -1 if it is none. */
struct protocol {
    const char *name;
    void (*put_ability)(struct connection *c); /* may be missing */
    void (*put_submit)(struct connection *c, uint64_t sequence);
    void (*put_grab)(struct connection *c);
    void (*put_complete)(struct connection *c, const struct assigned_job *job);
    void (*put_sync)(struct connection *c);
    ssize_t (*take)(struct connection *c, const uint8_t *data, size_t available, uint64_t now);
};

extern const struct protocol redis, beanstalkd; /* peers.c */
extern size_t size;                             /* bytes of a workload */
extern uint64_t errors[ERRORS];

/* Writing: return where so many bytes are to be put. */
uint8_t *put_bytes(struct connection *c, size_t length);
void put_hex(uint8_t *d, uint64_t value, int digits);
void put_unique(uint8_t *d, uint64_t sequence);
void put_workload(uint8_t *d, uint64_t sequence);

/* What an answer meant. A handle may be NULL where the protocol has none; on_nothing tells whether to ask again. */
void on_created(struct connection *c, const uint8_t *handle, size_t length, uint64_t now);
void on_assigned(struct connection *c, const struct assigned_job *job, uint64_t now);
int on_nothing(struct connection *c);
void on_synced(struct connection *c);
void on_unexpected(const uint8_t *text, size_t length);
