/* Heads of files by io_uring: a group of chains (open into a fixed slot, read) with one system call. */
#ifndef DICORE_SCAN_URING_H
#define DICORE_SCAN_URING_H

#include "dicore/base.h"

#define URING_DEPTH 64u /* files of a group */

typedef struct uring {
    int fd; /* -1: there is none */
    uint32_t *sq_head, *sq_tail, *sq_array, *cq_head, *cq_tail;
    uint32_t sq_mask, cq_mask, entries;
    void *sqes, *cqes, *map;
    size_t map_size, sqes_size;
    uint32_t keep_atime; /* do not write down that the files were read; EPERM for those of other users */
    uint32_t used; /* slots that may hold an open file */
} uring;

typedef struct uring_read {
    int folder;       /* of openat(2) */
    const char *name;
    uint8_t *data;
    uint32_t size;
    int32_t got;      /* out: bytes read, or -errno of open or read */
} uring_read;

/** 0, or errno when the kernel does not do what is needed here (Linux 5.18), or may not. */
int uring_open(uring *ring);
void uring_close(uring *ring);
/** Open and read the first bytes of count (at most URING_DEPTH) files; file i stays open in slot i.
 *  0, or errno: the ring is unusable then, and nothing is written to any `data` any more. */
int uring_read_heads(uring *ring, uring_read *reads, uint32_t count);
/** Read once more from the file in a slot: bytes, 0 at its end, or -errno. */
int32_t uring_read_more(uring *ring, uint32_t slot, uint64_t offset, uint8_t *data, uint32_t size);
/** Close the files in all slots. */
void uring_drop(uring *ring);

#endif
