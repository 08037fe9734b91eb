/* dicore/scan.h: many files, a few wanted elements of each, out come columns.
 *
 * A `dicore_scan` is a request (which elements, as which types) with the buffers and the io_uring that serve it. It takes a
 * batch of paths in one call, opens and reads only the head of each file, and appends a row to every column. What is no
 * DICOM file, or cannot be read, becomes a problem of the batch and no row. A file is read up to the last wanted element: one
 * that stands out of order, behind a tag beyond all wanted ones, is not seen. A `dicore_scan_batch` holds the columns in the
 * layout of Apache Arrow and leaves as an ArrowArray without a copy (https://arrow.apache.org/docs/format/CDataInterface.html).
 *
 * A scan is used by one thread at a time; batches may be read, exported and released by any thread. */
#ifndef DICORE_SCAN_H
#define DICORE_SCAN_H

#include "dicore/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the request ---------------------------------------------------------------------------------------------------- */

typedef enum dicore_scan_type {
    DICORE_SCAN_TEXT = 0,   /* Arrow utf8 */
    DICORE_SCAN_BINARY = 1, /* bytes as stored */
    DICORE_SCAN_INT16 = 2,
    DICORE_SCAN_UINT16 = 3,
    DICORE_SCAN_INT32 = 4,
    DICORE_SCAN_UINT32 = 5,
    DICORE_SCAN_INT64 = 6,
    DICORE_SCAN_UINT64 = 7,
    DICORE_SCAN_FLOAT32 = 8,
    DICORE_SCAN_FLOAT64 = 9,
    DICORE_SCAN_DATE = 10, /* date32: days since 1970-01-01 */
    DICORE_SCAN_TIME = 11  /* time64[us]: microseconds since midnight */
} dicore_scan_type;

#define DICORE_SCAN_LIST 1u       /* of `flags`: every value is a list of such values */
#define DICORE_SCAN_DICTIONARY 2u /* text without LIST: int32 indexes into a dictionary that belongs to the batch */
#define DICORE_SCAN_SIGNED 4u     /* the element is US or SS by Pixel Representation (0028,0103) */

typedef struct dicore_scan_step {
    uint32_t tag;
    uint32_t item; /* which item of the sequence `tag`, from 0; of the last step 0 */
} dicore_scan_step;

/** A column: an element by its path. `count` 0 is the path of the file itself (a name that is not UTF-8 is put there as Latin-1);
 *  a first tag of group 0002 is file meta. */
typedef struct dicore_scan_column {
    const dicore_scan_step *steps;
    uint32_t count; /* of steps: 1 for an element of the top level, 33 at most */
    uint16_t vr;    /* the VR it is read by where the file has none (implicit VR, UN) */
    uint8_t type;   /* dicore_scan_type */
    uint8_t flags;
} dicore_scan_column;

#define DICORE_SCAN_STEPS_MAX 33u
#define DICORE_SCAN_COLUMNS_MAX 4096u

/** `type` and `flags` by VR: IS int64, DS float64, DA date32, TM time64, US SS UL SL UV SV AT integers of their width, FL FD
 *  floats, O* and UN bytes, all others text. `several` 1: more than one value is possible. `ambiguous` 1: US or SS, which
 *  together are int32. */
DICORE_API void dicore_scan_column_type(uint16_t vr, int several, int ambiguous, uint8_t *type, uint8_t *flags);

typedef enum dicore_scan_io {
    DICORE_SCAN_AUTO = 0, /* io_uring when the kernel allows it, else pread */
    DICORE_SCAN_PREAD = 1,
    DICORE_SCAN_URING = 2
} dicore_scan_io;

/** Text in a character set that libdicore does not know: all but the default repertoire, ISO_IR 100 and ISO_IR 192.
 *  `charset` is the value of (0008,0005) that holds, `raw` the value with all its backslashes. Give `*text`, in UTF-8, which
 *  must stay until the next call, and return 0; anything else makes the value a problem. */
typedef int (*dicore_scan_decode)(void *context, dicore_span raw, dicore_span charset, uint16_t vr, dicore_span *text);

typedef struct dicore_scan_options {
    const dicore_scan_column *columns; /* copied */
    size_t count;
    dicore_scan_io io;
    dicore_scan_decode decode; /* NULL: such text is a problem */
    void *context;
    uint64_t limit;       /* bytes of one file that are read at most; beyond is DICORE_LIMIT; 0: 64 MiB. Inflated
                             it may be four times that, up to 1 GiB */
    uint64_t value_limit; /* a longer value is a problem and is not read; 0: 1 MiB */
} dicore_scan_options;

typedef struct dicore_scan dicore_scan;
typedef struct dicore_scan_batch dicore_scan_batch;

/** Make a scan. All its memory, and that of its batches, comes from `allocator`, which must outlive them and which any thread
 *  may call. @return DICORE_OK, DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT, DICORE_IO (DICORE_SCAN_URING and the kernel says no). */
DICORE_API dicore_status dicore_scan_open(const dicore_scan_options *options, const dicore_allocator *allocator,
                                          dicore_scan **out, dicore_error *error);
DICORE_API void dicore_scan_close(dicore_scan *scan); /* NULL is allowed; batches stay */
/** 1 when files are read by io_uring, 0 by pread. */
DICORE_API int dicore_scan_uses_uring(const dicore_scan *scan);

/* ---- running -------------------------------------------------------------------------------------------------------- */

/** A new, empty batch, held by the caller. */
DICORE_API dicore_status dicore_scan_batch_new(dicore_scan *scan, dicore_scan_batch **out);

/** Scan files and append to `batch`, in the order of `paths` (NUL-terminated, as given to open(2)). Problems name a file as
 *  `first` plus its index. `*done` is how many paths were dealt with: fewer than `count` when the batch has grown beyond
 *  64 MiB and another one should go on.
 *  @return DICORE_OK, also when files are bad; DICORE_NO_MEMORY (the batch stays whole), DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_scan_run(dicore_scan *scan, const char *const *paths, size_t count, uint64_t first,
                                         dicore_scan_batch *batch, size_t *done);

/** Scan what is in memory already: `data` is a file, or with `whole` 0 the beginning of one. `name` goes into the path column.
 *  @return DICORE_OK (a row or a problem was appended); DICORE_TRUNCATED (`whole` 0 only: nothing was appended, call again with
 *          `*need` bytes or the whole); DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_scan_memory(dicore_scan *scan, dicore_span name, const uint8_t *data, size_t size, int whole,
                                            uint64_t source, dicore_scan_batch *batch, uint64_t *need);

/* ---- batches -------------------------------------------------------------------------------------------------------- */

typedef struct dicore_scan_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
} dicore_scan_buffer;

typedef struct dicore_scan_values { /* an array in Arrow's layout */
    uint64_t count;
    uint64_t nulls;
    dicore_scan_buffer validity; /* a bit a value, the lowest first, 1: there is one; empty while `nulls` is 0 */
    dicore_scan_buffer offsets;  /* text, binary, list: count + 1 int32_t */
    dicore_scan_buffer data;     /* numbers, or the bytes of text */
} dicore_scan_values;

typedef struct dicore_scan_array {
    uint8_t type;  /* of the values, of a list those in it */
    uint8_t flags; /* DICORE_SCAN_LIST, DICORE_SCAN_DICTIONARY */
    dicore_scan_values values;
    dicore_scan_values child;  /* what the lists hold, or the dictionary */
    dicore_scan_buffer table;  /* internal: the dictionary by hash */
    uint32_t last;             /* internal */
} dicore_scan_array;

/** Something that did not become a value: of a whole file (`column` -1, it has no row), or one value, which is null. */
typedef struct dicore_scan_problem {
    uint64_t source; /* which file */
    uint64_t offset; /* in it */
    uint32_t tag;
    uint32_t detail;
    int32_t column;
    int32_t system; /* errno with DICORE_IO */
    dicore_status status;
} dicore_scan_problem;

#define DICORE_SCAN_VALUE_PROBLEMS 1000u /* so many bad values a batch are kept, more only counted */

DICORE_API uint64_t dicore_scan_batch_rows(const dicore_scan_batch *batch);
DICORE_API size_t dicore_scan_batch_columns(const dicore_scan_batch *batch);
DICORE_API const dicore_scan_array *dicore_scan_batch_array(const dicore_scan_batch *batch, size_t column);
DICORE_API const dicore_scan_problem *dicore_scan_batch_problems(const dicore_scan_batch *batch, size_t *count);
/** How many values were bad, kept as problems or not. */
DICORE_API uint64_t dicore_scan_batch_invalid(const dicore_scan_batch *batch);
/** Bytes of memory that the batch holds. */
DICORE_API size_t dicore_scan_batch_memory(const dicore_scan_batch *batch);

/** Give unused capacity back; the batch is then finished and not appended to any more. */
DICORE_API dicore_status dicore_scan_batch_finish(dicore_scan_batch *batch);
/** A new batch of the rows whose byte in keep[0 .. rows) is not 0; problems are copied too. */
DICORE_API dicore_status dicore_scan_batch_filter(const dicore_scan_batch *batch, const uint8_t *keep, dicore_scan_batch **out);
DICORE_API void dicore_scan_batch_retain(dicore_scan_batch *batch);
DICORE_API void dicore_scan_batch_release(dicore_scan_batch *batch); /* NULL is allowed */

/* ---- Arrow C data interface ----------------------------------------------------------------------------------------- */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
    int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
    int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
    const char *(*get_last_error)(struct ArrowArrayStream *);
    void (*release)(struct ArrowArrayStream *);
    void *private_data;
};
#endif

/** The columns as a struct type. `names` are UTF-8 and copied. @return DICORE_OK, DICORE_NO_MEMORY; `*out` is then untouched. */
DICORE_API dicore_status dicore_scan_export_schema(const dicore_scan_column *columns, const char *const *names, size_t count,
                                                   const dicore_allocator *allocator, struct ArrowSchema *out);

/** The first `count` columns of a finished batch as a struct array, without a copy: it holds the batch until it is released, by
 *  any thread. @return as above, DICORE_BAD_ARGUMENT (more columns than there are). */
DICORE_API dicore_status dicore_scan_export_batch(dicore_scan_batch *batch, size_t count, struct ArrowArray *out);

/** Finished batches of one scan as a stream, which holds them. @return as above. */
DICORE_API dicore_status dicore_scan_export_stream(const dicore_scan_column *columns, const char *const *names, size_t count,
                                                   dicore_scan_batch *const *batches, size_t batch_count,
                                                   const dicore_allocator *allocator, struct ArrowArrayStream *out);

#ifdef __cplusplus
}
#endif
#endif
