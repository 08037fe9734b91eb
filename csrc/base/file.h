/* The only file I/O of libdicore: the system calls of an append-only file, with EINTR and short transfers dealt with.
 *
 * Every call returns DICORE_OK or DICORE_IO with `error->system` the errno and `error->offset` the place in the file, or what
 * its comment adds. Names are relative to the directory descriptor `folder`. Nothing here allocates or keeps a pointer. */
#ifndef DICORE_FILE_H
#define DICORE_FILE_H

#include "dicore/base.h"

/** openat(2) with O_CLOEXEC added; `mode` counts with O_CREAT. */
dicore_status dicore_file_open(int folder, const char *name, int flags, unsigned mode, int *file, dicore_error *error);

/** close(2), once: its errno says nothing that sync did not say. Negative descriptors are ignored. */
void dicore_file_close(int file);

dicore_status dicore_file_size(int file, uint64_t *size, dicore_error *error);

/** One pread(2): `*got` may fall short anywhere, and is 0 at the end of the file only. */
dicore_status dicore_file_read_some(int file, uint64_t offset, void *data, size_t size, size_t *got, dicore_error *error);

/** Read up to `size` bytes at `offset`; `*got` falls short only at the end of the file. */
dicore_status dicore_file_read(int file, uint64_t offset, void *data, size_t size, size_t *got, dicore_error *error);

/** As above, but an earlier end is DICORE_TRUNCATED with `error->offset` at the end. */
dicore_status dicore_file_read_whole(int file, uint64_t offset, void *data, size_t size, dicore_error *error);

/** The next stretch [*start, *end) at or behind `from` and before `limit` that is not a hole; both are `limit` when there is
 *  none. Ask for all stretches before reading any: ext4 calls an unwritten extent data once reading ahead has cached its pages.
 *  A file system that knows no holes has one stretch. */
void dicore_file_next_data(int file, uint64_t from, uint64_t limit, uint64_t *start, uint64_t *end);

/** Write all pieces one behind the other at `offset`: one pwritev(2) where the kernel takes it in one. */
dicore_status dicore_file_write(int file, uint64_t offset, const dicore_span *pieces, size_t count, dicore_error *error);

/** One write with RWF_DSYNC: durable when it returns. For O_DIRECT all three must be multiples of the block. */
dicore_status dicore_file_write_durable(int file, uint64_t offset, const void *data, size_t size, dicore_error *error);

/** Write `size` zeros at `offset`, both multiples of 4096 when the file is open for O_DIRECT. */
dicore_status dicore_file_write_zeros(int file, uint64_t offset, uint64_t size, dicore_error *error);

dicore_status dicore_file_sync_data(int file, dicore_error *error);  /* fdatasync(2): never again after it failed */
dicore_status dicore_file_sync(int file, dicore_error *error);       /* fsync(2), of a folder too */

/** Start writing back [offset, offset + size) without waiting: no promise of durability. */
void dicore_file_write_back(int file, uint64_t offset, uint64_t size);

/** Reserve [0, size); the file then has that size and reads as zeros. Where the file system cannot reserve, the size is set. */
dicore_status dicore_file_allocate(int file, uint64_t size, dicore_error *error);

/** Make [offset, offset + size) read as zeros, by the extent map where the file system can and by writing elsewhere. */
dicore_status dicore_file_zero(int file, uint64_t offset, uint64_t size, dicore_error *error);

/** Give the space of [offset, offset + size) back, the file's size stays; without support in the file system nothing happens. */
void dicore_file_punch(int file, uint64_t offset, uint64_t size);

dicore_status dicore_file_resize(int file, uint64_t size, dicore_error *error);

/** Take the exclusive lock of the file, which ends with its descriptor. DICORE_LIMIT: someone else has it. */
dicore_status dicore_file_lock(int file, dicore_error *error);

/** Make a new file and take its lock. Whoever clears away what dead processes left may see it before it is locked, and take it
 *  for such: then another is made. */
dicore_status dicore_file_create_locked(int folder, const char *name, int *file, dicore_error *error);

/** Rename without replacing. `error->system` is EEXIST when `to` is there. */
dicore_status dicore_file_rename_new(int folder, const char *from, const char *to, dicore_error *error);

dicore_status dicore_file_unlink(int folder, const char *name, dicore_error *error);

#endif
