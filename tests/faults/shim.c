/* System calls that fail, for any program: LD_PRELOAD=shim.so SHIM_CONTROL=FILE SHIM_UNDER=FOLDER program ...
 *
 * FILE is an array of int32, one per kind below, read at each call and changed by the test while the program runs:
 * 0 works, N > 0 fails one call in N at random, -N fails the Nth call from now, once. Only files under FOLDER are concerned.
 * Behind the kinds: the seed, and how many calls have failed so far. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { READ, WRITE, DATASYNC, SYNC, FOLDER_SYNC, TRUNCATE, RENAME, ALLOCATE, SENDFILE, MAP, SHORT, INTERRUPT, FULL, SEED, FAILED, KINDS };

static _Atomic int32_t *control;
static char under[PATH_MAX];
static size_t under_size;

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("SHIM_CONTROL"), *folder = getenv("SHIM_UNDER");
    if (!file || !folder || !realpath(folder, under))
        return;
    under_size = strlen(under);
    const int fd = open(file, O_RDWR | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED
                       : (void *)syscall(SYS_mmap, NULL, KINDS * sizeof(int32_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        control = map;
    if (fd >= 0)
        close(fd);
}

static int concerned(int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 0 && (size_t)n >= under_size && memcmp(path, under, under_size) == 0;
}

static int due(int kind, int fd)
{
    if (!control || control[kind] == 0 || !concerned(fd))
        return 0;
    int32_t now = control[kind];
    int fails = 0;
    if (now > 0) {
        const uint32_t random = (uint32_t)atomic_fetch_add(&control[SEED], 1) * 2654435761u;
        fails = (random ^ random >> 15) * 2246822519u % (uint32_t)now == 0;
    } else {
        while (now < 0 && !atomic_compare_exchange_weak(&control[kind], &now, now + 1))
            ;
        fails = now == -1;
    }
    if (fails)
        atomic_fetch_add(&control[FAILED], 1);
    return fails;
}

#define REAL(name) ((__typeof__(&name))(real_##name ? real_##name : (real_##name = dlsym(RTLD_NEXT, #name))))
#define FAIL(number) return (errno = (number), -1)

/* for reads and writes: -1 with errno set, or how much of `size` the call may do */
static ssize_t allowed(int kind, int fd, size_t size)
{
    if (due(INTERRUPT, fd))
        FAIL(EINTR);
    if (kind == WRITE && due(FULL, fd))
        FAIL(ENOSPC);
    if (due(kind, fd))
        FAIL(EIO);
    if (size > 8192 && due(SHORT, fd))
        return (ssize_t)(size / 2 / 4096 * 4096);
    return (ssize_t)size;
}

static void *real_pread64, *real_pwrite64, *real_preadv64, *real_pwritev64, *real_pwritev64v2, *real_fdatasync, *real_fsync,
    *real_ftruncate64, *real_rename, *real_renameat, *real_renameat2, *real_linkat, *real_fallocate64, *real_posix_fallocate64,
    *real_sendfile64, *real_mmap64;

static size_t total(const struct iovec *pieces, int count)
{
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += pieces[i].iov_len;
    return sum;
}

/* the pieces cut to `size`; returns how many */
static int cut(struct iovec *out, const struct iovec *pieces, int count, size_t size)
{
    int n = 0;
    for (; n < count && size; n++) {
        out[n] = pieces[n];
        if (out[n].iov_len > size)
            out[n].iov_len = size;
        size -= out[n].iov_len;
    }
    return n;
}

ssize_t pread64(int fd, void *to, size_t size, off64_t at)
{
    const ssize_t n = allowed(READ, fd, size);
    return n < 0 ? -1 : REAL(pread64)(fd, to, (size_t)n, at);
}
ssize_t pread(int fd, void *to, size_t size, off_t at) { return pread64(fd, to, size, at); }

ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at)
{
    const ssize_t n = allowed(WRITE, fd, size);
    return n < 0 ? -1 : REAL(pwrite64)(fd, from, (size_t)n, at);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) { return pwrite64(fd, from, size, at); }

ssize_t preadv64(int fd, const struct iovec *to, int count, off64_t at)
{
    const ssize_t n = allowed(READ, fd, total(to, count));
    struct iovec pieces[IOV_MAX];
    return n < 0 ? -1 : REAL(preadv64)(fd, pieces, cut(pieces, to, count, (size_t)n), at);
}
ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) { return preadv64(fd, to, count, at); }

ssize_t pwritev64(int fd, const struct iovec *from, int count, off64_t at)
{
    const ssize_t n = allowed(WRITE, fd, total(from, count));
    struct iovec pieces[IOV_MAX];
    return n < 0 ? -1 : REAL(pwritev64)(fd, pieces, cut(pieces, from, count, (size_t)n), at);
}
ssize_t pwritev(int fd, const struct iovec *from, int count, off_t at) { return pwritev64(fd, from, count, at); }

ssize_t pwritev64v2(int fd, const struct iovec *from, int count, off64_t at, int flags)
{
    const ssize_t n = allowed(WRITE, fd, total(from, count));
    struct iovec pieces[IOV_MAX];
    if (n >= 0 && flags & RWF_DSYNC && due(DATASYNC, fd))
        FAIL(EIO);
    return n < 0 ? -1 : REAL(pwritev64v2)(fd, pieces, cut(pieces, from, count, (size_t)n), at, flags);
}
ssize_t pwritev2(int fd, const struct iovec *from, int count, off_t at, int flags) { return pwritev64v2(fd, from, count, at, flags); }

int fdatasync(int fd)
{
    if (due(DATASYNC, fd))
        FAIL(EIO);
    return REAL(fdatasync)(fd);
}

int fsync(int fd)
{
    struct stat what;
    if (control && due(fstat(fd, &what) == 0 && S_ISDIR(what.st_mode) ? FOLDER_SYNC : SYNC, fd))
        FAIL(EIO);
    return REAL(fsync)(fd);
}

int ftruncate64(int fd, off64_t size)
{
    if (due(TRUNCATE, fd))
        FAIL(EIO);
    return REAL(ftruncate64)(fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

/* of a name: the folder it is in, opened for the question only */
static int named(int kind, int folder, const char *name)
{
    char path[PATH_MAX];
    if (!control || control[kind] == 0)
        return 0;
    snprintf(path, sizeof path, "%s", name);
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = 0;
    const int fd = openat(folder, slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int fails = fd >= 0 && due(kind, fd);
    if (fd >= 0)
        close(fd);
    return fails;
}

int rename(const char *from, const char *to)
{
    if (named(RENAME, AT_FDCWD, to))
        FAIL(EIO);
    return REAL(rename)(from, to);
}
int renameat(int old, const char *from, int new, const char *to)
{
    if (named(RENAME, new, to))
        FAIL(EIO);
    return REAL(renameat)(old, from, new, to);
}
int renameat2(int old, const char *from, int new, const char *to, unsigned flags)
{
    if (named(RENAME, new, to))
        FAIL(EIO);
    return REAL(renameat2)(old, from, new, to, flags);
}
int linkat(int old, const char *from, int new, const char *to, int flags)
{
    if (named(RENAME, new, to))
        FAIL(EIO);
    return REAL(linkat)(old, from, new, to, flags);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size)
{
    if (due(ALLOCATE, fd))
        FAIL(ENOSPC);
    return REAL(fallocate64)(fd, mode, at, size);
}
int fallocate(int fd, int mode, off_t at, off_t size) { return fallocate64(fd, mode, at, size); }

int posix_fallocate64(int fd, off64_t at, off64_t size)
{
    return due(ALLOCATE, fd) ? ENOSPC : REAL(posix_fallocate64)(fd, at, size);
}
int posix_fallocate(int fd, off_t at, off_t size) { return posix_fallocate64(fd, at, size); }

ssize_t sendfile64(int to, int from, off64_t *at, size_t size)
{
    if (due(SENDFILE, from))
        FAIL(EIO);
    return REAL(sendfile64)(to, from, at, size);
}
ssize_t sendfile(int to, int from, off_t *at, size_t size) { return sendfile64(to, from, at, size); }

void *mmap64(void *where, size_t size, int protection, int flags, int fd, off64_t at)
{
    if (fd >= 0 && due(MAP, fd))
        return (errno = ENOMEM, MAP_FAILED);
    return REAL(mmap64)(where, size, protection, flags, fd, at);
}
void *mmap(void *where, size_t size, int protection, int flags, int fd, off_t at)
{
    return mmap64(where, size, protection, flags, fd, at);
}
