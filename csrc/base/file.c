#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIECES 256 /* pieces a system call takes: a stack of 4 KiB; IOV_MAX is 1024 */
#define ZEROS 65536

static const _Alignas(4096) uint8_t zeros[ZEROS];

static dicore_status io_failed(dicore_error *error, uint64_t offset)
{
    const int system = errno;
    dicore_fail(error, DICORE_IO, offset, 0);
    if (error)
        error->system = system;
    return DICORE_IO;
}

dicore_status dicore_file_open(int folder, const char *name, int flags, unsigned mode, int *file, dicore_error *error)
{
    int opened;
    do
        opened = openat(folder, name, flags | O_CLOEXEC, mode);
    while (opened < 0 && errno == EINTR);
    if (opened < 0)
        return io_failed(error, 0);
    *file = opened;
    return DICORE_OK;
}

void dicore_file_close(int file)
{
    if (file >= 0)
        close(file); /* Linux frees the descriptor even with EINTR */
}

dicore_status dicore_file_size(int file, uint64_t *size, dicore_error *error)
{
    struct stat status;
    if (fstat(file, &status) != 0)
        return io_failed(error, 0);
    *size = (uint64_t)status.st_size;
    return DICORE_OK;
}

dicore_status dicore_file_read_some(int file, uint64_t offset, void *data, size_t size, size_t *got, dicore_error *error)
{
    ssize_t n;
    do
        n = pread(file, data, size, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return io_failed(error, offset);
    *got = (size_t)n;
    return DICORE_OK;
}

dicore_status dicore_file_read(int file, uint64_t offset, void *data, size_t size, size_t *got, dicore_error *error)
{
    size_t done = 0;
    while (done < size) {
        const ssize_t n = pread(file, (uint8_t *)data + done, size - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_failed(error, offset + done);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return DICORE_OK;
}

dicore_status dicore_file_read_whole(int file, uint64_t offset, void *data, size_t size, dicore_error *error)
{
    size_t got;
    dicore_status status = dicore_file_read(file, offset, data, size, &got, error);
    if (status == DICORE_OK && got < size)
        return dicore_fail(error, DICORE_TRUNCATED, offset + got, 0);
    return status;
}

void dicore_file_next_data(int file, uint64_t from, uint64_t limit, uint64_t *start, uint64_t *end)
{
    *start = from;
    *end = limit;
    const off_t data = lseek(file, (off_t)from, SEEK_DATA);
    if (data < 0) {
        if (errno == ENXIO || from >= limit)
            *start = *end = limit;
        return;
    }
    const off_t hole = lseek(file, data, SEEK_HOLE);
    if ((uint64_t)data > from)
        *start = (uint64_t)data < limit ? (uint64_t)data : limit;
    if (hole > data && (uint64_t)hole < limit)
        *end = (uint64_t)hole;
}

/* Fill `to` from pieces[*at] on, of which *inside bytes are done already. */
static int gather(struct iovec *to, const dicore_span *pieces, size_t count, size_t at, size_t inside)
{
    int n = 0;
    for (; at < count && n < PIECES; at++, inside = 0) {
        if (pieces[at].size == inside)
            continue;
        /* iovec has no const, but a write does not write there */
        to[n].iov_base = (void *)(uintptr_t)(pieces[at].data + inside);
        to[n++].iov_len = pieces[at].size - inside;
    }
    return n;
}

dicore_status dicore_file_write(int file, uint64_t offset, const dicore_span *pieces, size_t count, dicore_error *error)
{
    struct iovec vector[PIECES];
    size_t at = 0, inside = 0;
    for (;;) {
        const int n = gather(vector, pieces, count, at, inside);
        if (n == 0)
            return DICORE_OK;
        const ssize_t written = pwritev(file, vector, n, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written == 0)
            errno = EIO; /* a regular file that takes nothing and says nothing */
        if (written <= 0)
            return io_failed(error, offset);
        offset += (uint64_t)written;
        size_t rest = (size_t)written;
        while (at < count && rest >= pieces[at].size - inside) {
            rest -= pieces[at++].size - inside;
            inside = 0;
        }
        inside += rest;
    }
}

dicore_status dicore_file_write_durable(int file, uint64_t offset, const void *data, size_t size, dicore_error *error)
{
    size_t done = 0;
    while (done < size) {
        struct iovec vector = {(void *)((uintptr_t)data + done), size - done};
        const ssize_t n = pwritev2(file, &vector, 1, (off_t)(offset + done), RWF_DSYNC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return io_failed(error, offset + done);
        done += (size_t)n;
    }
    return DICORE_OK;
}

dicore_status dicore_file_write_zeros(int file, uint64_t offset, uint64_t size, dicore_error *error)
{
    while (size) {
        dicore_span pieces[16];
        size_t count = 0;
        uint64_t sum = 0;
        while (count < 16 && sum < size) {
            const uint64_t rest = size - sum;
            pieces[count] = (dicore_span){zeros, rest < ZEROS ? (size_t)rest : ZEROS};
            sum += pieces[count++].size;
        }
        dicore_status status = dicore_file_write(file, offset, pieces, count, error);
        if (status != DICORE_OK)
            return status;
        offset += sum;
        size -= sum;
    }
    return DICORE_OK;
}

dicore_status dicore_file_sync_data(int file, dicore_error *error)
{
    /* EINTR is no promise that a second call sees the same dirty pages, so it counts as a failure like any other */
    return fdatasync(file) == 0 ? DICORE_OK : io_failed(error, 0);
}

dicore_status dicore_file_sync(int file, dicore_error *error)
{
    return fsync(file) == 0 ? DICORE_OK : io_failed(error, 0);
}

void dicore_file_write_back(int file, uint64_t offset, uint64_t size)
{
    (void)sync_file_range(file, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

dicore_status dicore_file_allocate(int file, uint64_t size, dicore_error *error)
{
    int result;
    do
        result = fallocate(file, 0, 0, (off_t)size);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return DICORE_OK;
    if (errno != EOPNOTSUPP && errno != ENOSYS)
        return io_failed(error, size);
    return dicore_file_resize(file, size, error);
}

dicore_status dicore_file_zero(int file, uint64_t offset, uint64_t size, dicore_error *error)
{
    if (size == 0)
        return DICORE_OK;
    if (fallocate(file, FALLOC_FL_ZERO_RANGE, (off_t)offset, (off_t)size) == 0)
        return DICORE_OK;
    if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size) == 0)
        return DICORE_OK;
    return dicore_file_write_zeros(file, offset, size, error);
}

void dicore_file_punch(int file, uint64_t offset, uint64_t size)
{
    if (size)
        (void)fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)size);
}

dicore_status dicore_file_resize(int file, uint64_t size, dicore_error *error)
{
    int result;
    do
        result = ftruncate(file, (off_t)size);
    while (result != 0 && errno == EINTR);
    return result == 0 ? DICORE_OK : io_failed(error, size);
}

dicore_status dicore_file_lock(int file, dicore_error *error)
{
    int result;
    do
        result = flock(file, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    if (result == 0)
        return DICORE_OK;
    return errno == EWOULDBLOCK ? dicore_fail(error, DICORE_LIMIT, 0, 0) : io_failed(error, 0);
}

dicore_status dicore_file_rename_new(int folder, const char *from, const char *to, dicore_error *error)
{
    if (renameat2(folder, from, folder, to, RENAME_NOREPLACE) == 0)
        return DICORE_OK;
    if (errno != EINVAL && errno != ENOSYS)
        return io_failed(error, 0);
    /* a file system without the flag: a hard link does not replace either */
    if (linkat(folder, from, folder, to, 0) != 0)
        return io_failed(error, 0);
    return unlinkat(folder, from, 0) == 0 ? DICORE_OK : io_failed(error, 0);
}

dicore_status dicore_file_unlink(int folder, const char *name, dicore_error *error)
{
    return unlinkat(folder, name, 0) == 0 ? DICORE_OK : io_failed(error, 0);
}

dicore_status dicore_file_create_locked(int folder, const char *name, int *file, dicore_error *error)
{
    dicore_status status = DICORE_OK;
    for (int attempt = 0; attempt < 16; attempt++) {
        struct stat made;
        status = dicore_file_open(folder, name, O_RDWR | O_CREAT | O_EXCL, 0666, file, error);
        if (status != DICORE_OK)
            return status;
        status = dicore_file_lock(*file, error);
        if (status == DICORE_OK && fstat(*file, &made) == 0 && made.st_nlink > 0)
            return DICORE_OK;
        (void)dicore_file_unlink(folder, name, NULL);
        dicore_file_close(*file);
        if (status == DICORE_IO)
            return status;
    }
    return status == DICORE_OK ? dicore_fail(error, DICORE_LIMIT, 0, 0) : status;
}
