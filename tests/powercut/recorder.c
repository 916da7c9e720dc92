/*
 * Writes down, in one order, what a process does to the files below a directory and what it sends to TCP peers; and
 * lets calls on these files fail on request. To be preloaded (LD_PRELOAD); made by recording.py.
 *
 * POWERCUT_DIRECTORY  the directory, as a real path
 * POWERCUT_LOG        file that the events are appended to
 * POWERCUT_FAULTS     file that holds `struct faults`, mapped and shared with the test; need not be set
 *
 * An event of a write or a send stands where it took place: no other event comes in between. A sync has one event for
 * its begin and one for its end. Writes through mmap are not seen; SQLite uses them for -shm only, which a start makes
 * anew.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { START, OPEN, WRITE, TRUNCATE, SYNC, SYNCED, NOT_SYNCED, UNLINK, RENAME, SEND };

struct event {
    uint32_t kind, id; /* id: of an opened file, or the port of a peer */
    uint64_t offset, length; /* length: of what follows */
};

struct faults {
    int64_t room;    /* bytes by which the files may become longer, all together; -1: any */
    int32_t syncs;   /* that fail with `error`; -1: all of them */
    int32_t writes;  /* the same for writes */
    int32_t reads;   /* the same for reads */
    int32_t error;   /* errno */
    int32_t failed;  /* counts what was made to fail */
    int32_t young;   /* n > 0: all syncs fail from the n-th on that follows one of a database, so of a young log */
    int32_t dies;    /* 1: the process is killed where a sync fails */
};

#define FILES 65536

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t ids[FILES]; /* by descriptor; 0: not ours */
static char is_database[FILES]; /* by descriptor */
static uint32_t last_id;
static char directory[PATH_MAX];
static size_t directory_length;
static int log_fd = -1;
static struct faults *faults;

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void record(enum kind kind, uint32_t id, uint64_t offset, const struct iovec *parts, int count)
{
    struct event event = {kind, id, offset, 0};
    struct iovec all[count + 1];
    for (int i = 0; i < count; i++) {
        all[i + 1] = parts[i];
        event.length += parts[i].iov_len;
    }
    all[0] = (struct iovec){&event, sizeof event};
    if (syscall(SYS_writev, log_fd, all, count + 1) != (ssize_t)(sizeof event + event.length)) abort();
}

static void record_bytes(enum kind kind, uint32_t id, uint64_t offset, const void *data, size_t length)
{
    struct iovec part = {(void *)data, length};
    record(kind, id, offset, &part, 1);
}

__attribute__((constructor)) static void start(void)
{
    const char *log = getenv("POWERCUT_LOG"), *wanted = getenv("POWERCUT_DIRECTORY"), *file = getenv("POWERCUT_FAULTS");
    if (!log || !wanted) return;
    snprintf(directory, sizeof directory, "%s", wanted);
    directory_length = strlen(directory);
    if (file) {
        int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC);
        void *memory = mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) abort();
        faults = memory;
        syscall(SYS_close, fd);
    }
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_fd < 0) abort();
    record(START, 0, getpid(), NULL, 0);
}

static int ours(int fd) { return log_fd >= 0 && fd >= 0 && fd < FILES && ids[fd]; }

/* Whether a call has to fail now; sets errno. */
static int fails(int32_t *left)
{
    if (!*left) return 0;
    if (*left > 0) --*left;
    ++faults->failed;
    errno = faults->error;
    return 1;
}

/* Files and their names */

static int absolute(int at, const char *path, char *full)
{
    if (path[0] == '/') return snprintf(full, PATH_MAX, "%s", path) < PATH_MAX;
    char link[64], folder[PATH_MAX];
    if (at == AT_FDCWD) {
        if (!getcwd(folder, sizeof folder)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, folder, sizeof folder - 1);
        if (length < 0) return 0;
        folder[length] = 0;
    }
    return snprintf(full, PATH_MAX, "%s/%s", folder, path) < PATH_MAX;
}

static int below(const char *full)
{
    return log_fd >= 0 && !strncmp(full, directory, directory_length) &&
           (full[directory_length] == '/' || !full[directory_length]);
}

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    if (!absolute(at, path, full) || !below(full)) {
        int fd = syscall(SYS_openat, at, path, flags, mode);
        if (fd >= 0 && fd < FILES) ids[fd] = 0;
        return fd;
    }
    pthread_mutex_lock(&mutex);
    int is_new = (flags & O_CREAT) && access(full, F_OK) != 0;
    int fd = syscall(SYS_openat, at, path, flags, mode), error = errno;
    if (fd >= 0 && fd < FILES) {
        ids[fd] = ++last_id;
        size_t length = strlen(full);
        is_database[fd] = length > 3 && !strcmp(full + length - 3, ".db");
        record_bytes(OPEN, last_id, is_new, full, strlen(full));
        if (flags & O_TRUNC) record(TRUNCATE, last_id, 0, NULL, 0);
    }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return fd;
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_at(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE return open_at(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE return open_at(at, path, flags, mode); }
int __open_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_at(AT_FDCWD, path, flags, 0); }

int close(int fd)
{
    if (fd >= 0 && fd < FILES) ids[fd] = 0;
    return syscall(SYS_close, fd);
}

int unlink(const char *path)
{
    REAL(unlink);
    char full[PATH_MAX];
    if (!absolute(AT_FDCWD, path, full) || !below(full)) return real(path);
    pthread_mutex_lock(&mutex);
    struct stat status;
    int known = !stat(full, &status), result = real(path), error = errno;
    if (!result && known && faults && faults->room >= 0) faults->room += status.st_size;
    if (!result) record_bytes(UNLINK, 0, 0, full, strlen(full));
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    char full[2 * PATH_MAX + 1], target[PATH_MAX];
    if (!absolute(AT_FDCWD, from, full) || !absolute(AT_FDCWD, to, target) || !below(full)) return real(from, to);
    pthread_mutex_lock(&mutex);
    int result = real(from, to), error = errno;
    size_t length = strlen(full) + 1;
    memcpy(full + length, target, strlen(target));
    if (!result) record_bytes(RENAME, 0, 0, full, length + strlen(target));
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

/* Contents */

/* Whether there is no room for a file to end there; takes the room, gives back what a shorter file leaves. */
static int no_room(int fd, off_t end, int may_shrink)
{
    struct stat status;
    if (!faults || faults->room < 0 || fstat(fd, &status)) return 0;
    off_t more = end - status.st_size;
    if (more < 0 && !may_shrink) more = 0;
    if (more > faults->room) {
        ++faults->failed;
        errno = faults->error;
        return 1;
    }
    faults->room -= more;
    return 0;
}

static int write_fails(int fd, off_t end)
{
    return faults && (fails(&faults->writes) || no_room(fd, end, 0));
}

static ssize_t write_at(int fd, const void *data, size_t size, off_t offset)
{
    pthread_mutex_lock(&mutex);
    ssize_t written = -1;
    if (!write_fails(fd, offset + size)) {
        written = syscall(SYS_pwrite64, fd, data, size, offset);
        if (written > 0) record_bytes(WRITE, ids[fd], offset, data, written);
    }
    int error = errno;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    return ours(fd) ? write_at(fd, data, size, offset) : syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }

/* One part after the other: nobody else moves the position of our files. */
static ssize_t write_parts(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = write_at(fd, parts[i].iov_base, parts[i].iov_len, offset + total);
        if (written < 0) return total ? total : -1;
        total += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return total;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    REAL(pwritev64);
    return ours(fd) ? write_parts(fd, parts, count, offset) : real(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev64(fd, parts, count, offset);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    if (ours(fd) && faults && fails(&faults->reads)) return -1;
    return syscall(SYS_pread64, fd, data, size, offset);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) { return pread64(fd, data, size, offset); }

int ftruncate64(int fd, off64_t size)
{
    if (!ours(fd)) return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&mutex);
    int result = no_room(fd, size, 1) ? -1 : syscall(SYS_ftruncate, fd, size), error = errno;
    if (!result) record(TRUNCATE, ids[fd], size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* Space is not content: only a longer file is written down. */
int posix_fallocate64(int fd, off64_t offset, off64_t size)
{
    REAL(posix_fallocate64);
    if (!ours(fd)) return real(fd, offset, size);
    pthread_mutex_lock(&mutex);
    struct stat status;
    int result = write_fails(fd, offset + size) ? errno : real(fd, offset, size);
    if (!result && !fstat(fd, &status)) record(TRUNCATE, ids[fd], status.st_size, NULL, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}

int posix_fallocate(int fd, off_t offset, off_t size) { return posix_fallocate64(fd, offset, size); }

static int32_t counting; /* syncs until they fail, see `young` */

static int sync_file(int fd, long call)
{
    if (!ours(fd)) return syscall(call, fd);
    uint32_t id = ids[fd];
    pthread_mutex_lock(&mutex);
    record(SYNC, id, 0, NULL, 0);
    if (faults && counting && !is_database[fd] && !--counting) faults->syncs = -1;
    int failed = faults && fails(&faults->syncs);
    pthread_mutex_unlock(&mutex);
    int result = failed ? -1 : syscall(call, fd), error = failed ? faults->error : errno;
    pthread_mutex_lock(&mutex);
    record(result ? NOT_SYNCED : SYNCED, id, 0, NULL, 0);
    if (failed && faults->dies) kill(getpid(), SIGKILL);
    if (!result && is_database[fd] && faults) counting = faults->young;
    pthread_mutex_unlock(&mutex);
    errno = error;
    return result;
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

/* Sockets, and files that are written at their position */

static uint32_t port_of(int fd)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (log_fd < 0 || getpeername(fd, (struct sockaddr *)&peer, &size)) return 0;
    if (peer.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&peer)->sin_port);
    if (peer.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&peer)->sin6_port);
    return 0;
}

/* A send that the kernel takes only in part is cut down in the log too: the rest comes with the next call. */
static ssize_t send_parts(int fd, const struct iovec *parts, int count, int flags)
{
    struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = count};
    uint32_t port = port_of(fd);
    if (!port) return syscall(SYS_sendmsg, fd, &message, flags);
    pthread_mutex_lock(&mutex);
    ssize_t sent = syscall(SYS_sendmsg, fd, &message, flags), left = sent;
    int error = errno, whole = 0;
    struct iovec taken[count];
    for (; left > 0; whole++) {
        taken[whole] = parts[whole];
        if ((ssize_t)taken[whole].iov_len > left) taken[whole].iov_len = left;
        left -= taken[whole].iov_len;
    }
    if (sent > 0) record(SEND, port, 0, taken, whole);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return sent;
}

static ssize_t write_on(int fd, const struct iovec *parts, int count)
{
    off_t offset = (fcntl(fd, F_GETFL) & O_APPEND) ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    ssize_t written = write_parts(fd, parts, count, offset);
    if (written > 0) lseek(fd, offset + written, SEEK_SET);
    return written;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (ours(fd)) return write_on(fd, parts, count);
    return port_of(fd) ? send_parts(fd, parts, count, 0) : syscall(SYS_writev, fd, parts, count);
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct iovec part = {(void *)data, size};
    if (ours(fd)) return write_on(fd, &part, 1);
    return port_of(fd) ? send_parts(fd, &part, 1, 0) : syscall(SYS_write, fd, data, size);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    struct iovec part = {(void *)data, size};
    return send_parts(fd, &part, 1, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (message->msg_controllen || message->msg_name) return syscall(SYS_sendmsg, fd, message, flags);
    return send_parts(fd, message->msg_iov, message->msg_iovlen, flags);
}
