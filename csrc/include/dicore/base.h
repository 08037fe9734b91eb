/* dicore/base.h: what every other header of libdicore stands on.
 *
 * Rules that hold for the whole library, so that the other headers need not repeat them:
 *   - every reader of bytes takes (pointer, size) and never reads past it; a size of 0 allows a NULL pointer;
 *   - nothing here allocates: memory is the caller's, or comes from a `dicore_allocator` argument;
 *   - an out parameter is written on DICORE_OK only, unless its comment says otherwise;
 *   - no function keeps a pointer after it returned, unless its comment says otherwise;
 *   - there is no global state but the cached CPU features, so any two objects may be used from two threads. */
#ifndef DICORE_BASE_H
#define DICORE_BASE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define DICORE_API
#else
#define DICORE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** What a call came to. The numbers are stable; a column of the library owns a range of 100. */
typedef enum dicore_status {
    DICORE_OK = 0,
    DICORE_NO_MEMORY = 1,        /* the allocator said no, or the caller's buffer is too small */
    DICORE_BAD_ARGUMENT = 2,     /* the caller broke the header's contract */
    DICORE_LIMIT = 3,            /* a limit that the caller set was reached */
    DICORE_IO = 4,               /* a system call failed; dicore_error.system holds errno */
    DICORE_END = 5,              /* nothing more: the regular end of an iteration */

    /* 100..199: data sets (dataset.h) */
    DICORE_TRUNCATED = 100,      /* the bytes end inside what was begun */
    DICORE_BAD_VR = 101,         /* not two capitals where explicit VR needs them */
    DICORE_BAD_LENGTH = 102,     /* a length that its VR or its surroundings do not allow */
    DICORE_BAD_TAG = 103,        /* a tag that must not stand here */
    DICORE_TOO_DEEP = 104,       /* nested beyond the depth limit */
    DICORE_NOT_DICOM = 105,      /* neither Part 10 nor anything that reads as a data set */
    DICORE_BAD_META = 106,       /* group 0002 cannot be used */
    DICORE_BAD_SYNTAX = 107,     /* a transfer syntax that this function does not read */
    DICORE_DEVIATION = 108,      /* strict reading: a named deviation (dicore_error.detail) */
    DICORE_BAD_DEFLATE = 109,    /* not a deflate stream, or one beyond its limits */
    DICORE_NO_ITEM = 110,        /* a path leads to a sequence item that does not exist */

    /* 200..299: frames (pixel.h) */
    DICORE_BAD_FRAGMENTS = 200,  /* the encapsulation of Pixel Data is broken */
    DICORE_NO_FRAME = 201,       /* a frame number that does not exist */
    DICORE_BAD_FRAME = 202,      /* a frame's bit stream is broken or has the wrong size */

    /* 300..399: the wire (net.h) */
    DICORE_BAD_PDU = 300,        /* PS3.8 9.3: type, length, or an item that does not fit */
    DICORE_BAD_COMMAND = 301,    /* PS3.7 6.3: the command set cannot be read */
    DICORE_BAD_STATE = 302,      /* a primitive that the state of the association does not allow */
    DICORE_FAILED = 303,         /* the association has failed before; it stays failed */

    /* 400..499: the store (store.h) */
    DICORE_BAD_RECORD = 400,     /* magic, length or header CRC wrong */
    DICORE_BAD_CRC = 401,        /* the header is sound, the bytes are not */
    DICORE_BAD_SEGMENT = 402,    /* not a segment of ours, or of a layout we do not know */
    DICORE_SEGMENT_FULL = 403,   /* the record does not fit any more */
    DICORE_POISONED = 404        /* a sync of this segment has failed: it is never written again */
} dicore_status;

/** Where and why a call failed. Filled by whoever returns a status other than DICORE_OK when `error` is not NULL. */
typedef struct dicore_error {
    dicore_status status;
    int system;          /* errno with DICORE_IO, else 0 */
    uint64_t offset;     /* in bytes from the start of the input */
    uint32_t tag;        /* group << 16 | element it happened in, 0 when none */
    uint32_t depth;      /* nesting depth it happened at, 0 at the top */
    uint32_t detail;     /* a number that the status explains: a deviation, a limit, an abort reason */
} dicore_error;

/** The status as an English phrase without a full stop. Never NULL; a static string. */
DICORE_API const char *dicore_status_text(dicore_status status);

/** Fill `error` (NULL is allowed) and give `status` back, so that a failing reader ends in one line. */
DICORE_API dicore_status dicore_fail(dicore_error *error, dicore_status status, uint64_t offset, uint32_t tag);

/** Memory on request. `resize` works like realloc: pointer NULL allocates, size 0 frees and returns NULL; it returns
 *  NULL on failure and leaves the old block alone. `context` is handed through. */
typedef struct dicore_allocator {
    void *(*resize)(void *context, void *pointer, size_t old_size, size_t new_size);
    void *context;
} dicore_allocator;

/** A run of bytes that somebody else owns: what gather writes are made of. */
typedef struct dicore_span {
    const uint8_t *data;
    size_t size;
} dicore_span;

/** CRC-32C (RFC 3720 B.4) of what `crc` is the CRC of, followed by `data`; start with 0. 25-30 GB/s with SSE 4.2. */
DICORE_API uint32_t dicore_crc32c(uint32_t crc, const void *data, size_t size);

/** The CRC-32C of A followed by B, from theirs and the size of B. No bytes are read. */
DICORE_API uint32_t dicore_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size);

#ifdef __cplusplus
}
#endif
#endif
