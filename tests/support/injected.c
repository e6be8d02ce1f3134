/* Makes the n-th system call on files below INJECT_BELOW fail, or kills the process there.

   INJECT_AT     which call, counted from 1 over all threads; "3+" is the third and all later ones
   INJECT_WHAT   kill, torn (half a write, then killed), eio, enospc, short, slow
   INJECT_CALLS  only these calls, such as "write,fdatasync"; all if not set
   INJECT_SLOW   how many milliseconds a slow call sleeps
   INJECT_WHILE  only while this file exists
   INJECT_TOTAL  the file to write the number of such calls to, at exit
   Built and used by tests/support/injected.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static atomic_long calls;

static int wanted(const char *call, const char *path)
{
    const char *below = getenv("INJECT_BELOW"), *only = getenv("INJECT_CALLS");
    const char *trigger = getenv("INJECT_WHILE"), *at = getenv("INJECT_AT");
    if (below == NULL || at == NULL || path == NULL || strncmp(path, below, strlen(below)) != 0)
        return 0;
    if (only != NULL && strstr(only, call) == NULL)
        return 0;
    if (trigger != NULL && access(trigger, F_OK) != 0)
        return 0;
    long number = atomic_fetch_add(&calls, 1) + 1, first = atol(at);
    return number == first || (strchr(at, '+') != NULL && number > first);
}

static int wanted_fd(const char *call, int fd)
{
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return wanted(call, path);
}

__attribute__((destructor)) static void write_total(void)
{
    const char *path = getenv("INJECT_TOTAL");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file != NULL) {
        fprintf(file, "%ld\n", (long)calls);
        fclose(file);
    }
}

static int is(const char *what)
{
    const char *injury = getenv("INJECT_WHAT");
    return injury != NULL && strcmp(injury, what) == 0;
}

/* Returns the error to fail with, or 0 to continue. */
static int injure(void)
{
    if (is("kill"))
        kill(getpid(), SIGKILL);
    if (is("eio"))
        return EIO;
    if (is("enospc"))
        return ENOSPC;
    if (is("slow")) {
        long ms = getenv("INJECT_SLOW") ? atol(getenv("INJECT_SLOW")) : 0;
        struct timespec time = {ms / 1000, ms % 1000 * 1000000};
        nanosleep(&time, NULL);
    }
    return 0;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(test) \
    if (test) { \
        int error = injure(); \
        if (error) { errno = error; return -1; } \
    }

/* Without an offset, `at` is -1. */
static ssize_t plain_write(int fd, const void *data, size_t size, off64_t at)
{
    return at < 0 ? REAL(write)(fd, data, size) : REAL(pwrite64)(fd, data, size, at);
}

static ssize_t injured_write(int fd, const void *data, size_t size, off64_t at)
{
    if (wanted_fd("write", fd)) {
        if (is("torn") || is("short")) {
            ssize_t written = plain_write(fd, data, size > 1 ? size / 2 : size, at);
            if (is("torn"))
                kill(getpid(), SIGKILL);
            return written;
        }
        int error = injure();
        if (error) { errno = error; return -1; }
    }
    return plain_write(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size)
{
    return injured_write(fd, data, size, -1);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return injured_write(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    return injured_write(fd, data, size, at);
}
int fdatasync(int fd) { FAIL_IF(wanted_fd("fdatasync", fd)); return REAL(fdatasync)(fd); }
int fsync(int fd) { FAIL_IF(wanted_fd("fsync", fd)); return REAL(fsync)(fd); }
int ftruncate(int fd, off_t size)
{
    FAIL_IF(wanted_fd("ftruncate", fd));
    return REAL(ftruncate)(fd, size);
}
int ftruncate64(int fd, off64_t size)
{
    FAIL_IF(wanted_fd("ftruncate", fd));
    return REAL(ftruncate64)(fd, size);
}
int posix_fallocate(int fd, off_t from, off_t size)
{
    int error = wanted_fd("fallocate", fd) ? injure() : 0;
    return error ? error : REAL(posix_fallocate)(fd, from, size);
}
int posix_fallocate64(int fd, off64_t from, off64_t size)
{
    int error = wanted_fd("fallocate", fd) ? injure() : 0;
    return error ? error : REAL(posix_fallocate64)(fd, from, size);
}
int rename(const char *from, const char *to)
{
    FAIL_IF(wanted("rename", to));
    return REAL(rename)(from, to);
}
int unlink(const char *path) { FAIL_IF(wanted("unlink", path)); return REAL(unlink)(path); }
int mkdir(const char *path, mode_t mode)
{
    FAIL_IF(wanted("mkdir", path));
    return REAL(mkdir)(path, mode);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & (O_CREAT | O_WRONLY)) { FAIL_IF(wanted("open", path)) } \
        return REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
