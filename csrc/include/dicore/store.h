/* dicore/store.h: the instance store: checksums, records, segments, recovery, the UID table and the writer.
 *
 * docs/store-format.md has the bytes. A store is a folder `segments/` of files that are only ever appended to. A record is one
 * instance: a 64-byte header, a complete Part 10 file, a checksum. The segments are the truth; everything else, sidecars and
 * index, can be made anew from them. */
#ifndef DICORE_STORE_H
#define DICORE_STORE_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The hash that stands for a SOP Instance UID in records and tables: SipHash-2-4 with 128 bits under the key "dicore uid hash\1".
 *  `uid` without padding. */
DICORE_API void dicore_uid_hash(const void *uid, size_t size, uint8_t out[16]);

/* ---- records ----------------------------------------------------------------------------------------------------- */

#define DICORE_RECORD_HEADER 64u   /* bytes of a record's header */
#define DICORE_RECORD_UNIT 64u     /* records begin at multiples of this */
#define DICORE_RECORD_REPLACES 1u  /* flag: takes the place of older records of the same UID */
#define DICORE_RECORD_ANOTHER 2u   /* flag: stands beside older records of the same UID */
#define DICORE_RECORD_DELETED 4u   /* flag: a tombstone: all older records of the same UID are gone. Its data set is empty */

typedef struct dicore_record {
    uint64_t file_size;    /* of the Part 10 file behind the header */
    uint64_t received;     /* microseconds since 1970-01-01 UTC */
    uint8_t uid_hash[16];
    uint32_t data_offset;  /* of the data set within the file: the size of preamble, "DICM" and file meta */
    uint32_t data_crc;     /* CRC-32C of the data set alone: what duplicates are told by */
    uint32_t synced;       /* in units of 64 bytes: all below it in the segment was durable when this was written */
    uint16_t flags;
} dicore_record;

/** Bytes that a record with a file of `file_size` takes in a segment: a multiple of 64; 0 when that overflows. */
DICORE_API uint64_t dicore_record_size(uint64_t file_size);

/** Write the header of a record that stands at `offset` of the segment with `nonce`. */
DICORE_API void dicore_record_write_header(const dicore_record *record, uint64_t nonce, uint64_t offset,
                                           uint8_t out[DICORE_RECORD_HEADER]);

/** Read the header of a record that stands at `offset` of the segment with `nonce`.
 *  @return DICORE_OK, DICORE_TRUNCATED (fewer than 64 bytes), DICORE_END (64 zeros: nothing was written here),
 *          DICORE_BAD_RECORD (not a header, or not the one of this place in this segment). */
DICORE_API dicore_status dicore_record_read_header(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset,
                                                   dicore_record *out);

/** Check a whole record in memory; `*out` is written as soon as the header is sound, even when the bytes are not.
 *  @return as above, and DICORE_TRUNCATED when the record is longer than `size`, DICORE_BAD_CRC when its bytes are damaged. */
DICORE_API dicore_status dicore_record_check(const uint8_t *data, size_t size, uint64_t nonce, uint64_t offset,
                                             dicore_record *out);

/* ---- segments ---------------------------------------------------------------------------------------------------- */

#define DICORE_SEGMENT_HEADER 4096u        /* bytes; the first record stands behind them */
#define DICORE_SEGMENT_MIN (1ull << 20)    /* the smallest segment size */
#define DICORE_SEGMENT_SINGLE 1u           /* flag: made for one record that no ordinary segment takes */
#define DICORE_SEGMENT_NAME 32u            /* bytes that a name needs, the final zero included */

typedef struct dicore_segment_info {
    uint64_t id;       /* the number in its name */
    uint64_t nonce;    /* random: ties records to this segment */
    uint64_t size;     /* of the file */
    uint64_t created;  /* microseconds since 1970-01-01 UTC */
    uint32_t flags;
} dicore_segment_info;

/** "0000000001.seg". */
DICORE_API void dicore_segment_name(uint64_t id, char out[DICORE_SEGMENT_NAME]);

DICORE_API void dicore_segment_write_header(const dicore_segment_info *info, uint8_t out[DICORE_SEGMENT_HEADER]);

/** @return DICORE_OK, DICORE_TRUNCATED, DICORE_BAD_SEGMENT (magic, version, layout or checksum; `error->offset` says which). */
DICORE_API dicore_status dicore_segment_read_header(const uint8_t *data, size_t size, dicore_segment_info *out,
                                                    dicore_error *error);

/** Make a segment of info->size bytes in `folder` (a directory descriptor), locked, synced and with its name synced. Where
 *  info->id is taken, the next free number is used and written to `info`. Nothing is left behind on failure.
 *  @return DICORE_OK (`*file` is the caller's), DICORE_IO. */
DICORE_API dicore_status dicore_segment_create(int folder, dicore_segment_info *info, int *file, dicore_error *error);

/** Open segment `id`: to read it, or (`writable`) to continue it, which takes its lock.
 *  @return DICORE_OK, DICORE_LIMIT (another process has the lock), DICORE_BAD_SEGMENT, DICORE_TRUNCATED, DICORE_IO. */
DICORE_API dicore_status dicore_segment_open(int folder, uint64_t id, int writable, int *file, dicore_segment_info *info,
                                             dicore_error *error);

/* ---- scanning and recovery --------------------------------------------------------------------------------------- */

typedef enum dicore_found_kind {
    DICORE_FOUND_RECORD = 1,      /* a record: whole, or (before `check_from`) with a sound header */
    DICORE_FOUND_DAMAGED = 2,     /* a sound header, but damaged bytes: `record` names it */
    DICORE_FOUND_UNREADABLE = 3   /* no header can be made out in [offset, offset + size) */
} dicore_found_kind;

typedef struct dicore_found {
    dicore_found_kind kind;
    uint64_t offset, size;        /* in the segment; of a record with its header, checksum and padding */
    dicore_record record;         /* not with DICORE_FOUND_UNREADABLE */
} dicore_found;

/** A walk over the records of a segment by pread, so that a bad sector is damage and not a dead process. Set all but the last
 *  group; nothing is owned. */
typedef struct dicore_scan {
    int file;
    dicore_segment_info info;
    uint64_t limit;               /* the size of the file */
    uint64_t expected;            /* records are known to reach this far (from a sidecar or mark), else 0 */
    uint64_t check_from;          /* records from here on are read whole and checked */
    uint8_t *buffer;              /* at least 64 KiB, a multiple of 64 */
    size_t capacity;

    uint64_t offset;              /* where to go on: start at DICORE_SEGMENT_HEADER */
    uint64_t end;                 /* behind the last whole record so far */
    uint64_t synced;              /* the highest `synced` seen, in bytes */
    int dirty;                    /* at DICORE_END: bytes other than zero stand behind the last thing found */
    uint64_t unread;              /* reads that failed, three times each: what they would have shown is not known */
} dicore_scan;

/** The next thing in the segment. After damage it searches for the next sound header, so neighbours stay readable.
 *  @return DICORE_OK, DICORE_END, DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_scan_next(dicore_scan *scan, dicore_found *out);

/** After a scan that came to its end and could read everything (`unread` is 0): make all behind scan->end read as zeros, so that the segment can be continued there.
 *  Running it twice changes nothing. @return DICORE_OK, DICORE_IO. */
DICORE_API dicore_status dicore_segment_repair(const dicore_scan *scan, dicore_error *error);

/* ---- the UID table ----------------------------------------------------------------------------------------------- */

/** Where a record stands. Segments beyond 2^32 and segments longer than 256 GiB do not exist here. */
typedef struct dicore_place {
    uint8_t uid_hash[16];
    uint32_t segment;   /* its id */
    uint32_t unit;      /* offset of the record / 64 */
    uint32_t received_low;            /* when it was received: microseconds since 1970, 56 bits */
    uint32_t received_high : 24;
    uint32_t flags : 4;               /* of the record */
    uint32_t state : 4;               /* 0: free slot; see table.h */
} dicore_place;

/* ---- the writer -------------------------------------------------------------------------------------------------- */

typedef struct dicore_store dicore_store;

typedef enum dicore_durability {
    DICORE_RELAXED = 0,        /* pwritev; synced in the background */
    DICORE_SYNC_DATA = 1,      /* pwritev, then one fdatasync per group */
    DICORE_SYNC_DIRECT = 2     /* a staging buffer, then one O_DIRECT | RWF_DSYNC write per group */
} dicore_durability;

typedef enum dicore_duplicates { /* what happens to other bytes under a stored UID */
    DICORE_KEEP_FIRST = 0,     /* they are dropped; the caller is told success */
    DICORE_REPLACE = 1,        /* they take the place of the stored ones */
    DICORE_KEEP_BOTH = 2,
    DICORE_REJECT = 3
} dicore_duplicates;

typedef enum dicore_failpoint { /* where a test lets the store fail */
    DICORE_FAIL_NEVER = 0,
    DICORE_FAIL_BEFORE_WRITE = 1, /* these five: the process dies by SIGKILL */
    DICORE_FAIL_AFTER_WRITE = 2,
    DICORE_FAIL_BEFORE_SYNC = 3,
    DICORE_FAIL_AFTER_SYNC = 4,
    DICORE_FAIL_SEGMENT_MADE = 5,
    DICORE_FAIL_WRITE_ERROR = 6,  /* EIO */
    DICORE_FAIL_WRITE_FULL = 7,   /* ENOSPC */
    DICORE_FAIL_SYNC_ERROR = 8,   /* EIO */
    DICORE_FAIL_LANE_WRITTEN = 9, /* SIGKILL again: a lane is whole, and has no name */
    DICORE_FAIL_LANE_NAMED = 10   /* ... and has it */
} dicore_failpoint;

typedef struct dicore_store_options {
    int folder;                       /* descriptor of `segments/`; stays the caller's, must outlive the store */
    int read_only;
    uint64_t segment_size;
    uint64_t fill_ahead;              /* bytes zero-filled ahead of the writer; 0: none */
    dicore_durability durability;
    dicore_duplicates duplicates;
    dicore_failpoint failpoint;
    uint32_t failpoint_countdown;     /* 1: the first time it is passed */
    dicore_allocator allocator;
    dicore_span implementation;       /* (0002,0012) of the files that are written; stays the caller's */
    dicore_span version_name;         /* (0002,0013) */
} dicore_store_options;

/** All calls on a store may come from any thread at any time, except dicore_store_close, which must be the last. */
DICORE_API dicore_status dicore_store_open(const dicore_store_options *options, dicore_store **out, dicore_error *error);

/** Free everything; every append has returned and both loops (commit, work) have ended. Locks end here. The segment written to
 *  gives its unused space back until it is continued; one without records is unlinked. */
DICORE_API void dicore_store_close(dicore_store *store);

/** What sidecars hold and scans deliver: a record and its place, without its file. */
typedef struct dicore_store_entry {
    uint8_t uid_hash[16];
    uint64_t received;
    uint32_t unit;
    uint32_t units;                   /* length of the record / 64 */
    uint32_t data_crc;
    uint32_t flags;                   /* of the record */
} dicore_store_entry;

#define DICORE_STORE_ENTRY_SIZE 40u         /* bytes of an entry as written by dicore_store_entry_write */
DICORE_API void dicore_store_entry_write(const dicore_store_entry *entry, uint8_t out[DICORE_STORE_ENTRY_SIZE]);
DICORE_API dicore_status dicore_store_entry_read(const uint8_t *data, size_t size, dicore_store_entry *out);

/** Make the records of a segment known, in any order of segments: what counts of several records under one UID is decided by
 *  when they were received (docs/store-format.md, "Records of one UID"). A second copy of a record, left by a compaction that
 *  was cut short, takes the place of the first. @return DICORE_OK, DICORE_NO_MEMORY. */
DICORE_API dicore_status dicore_store_load(dicore_store *store, uint64_t segment, const dicore_store_entry *entries, size_t count);

/** Records that were copied: they are found at their new places from now on, and the old ones are nobody's.
 *  @return how many were known at the old place. */
typedef struct dicore_store_move {
    uint8_t uid_hash[16];
    uint32_t from_segment, from_unit, to_segment, to_unit;
} dicore_store_move;
DICORE_API size_t dicore_store_moved(dicore_store *store, const dicore_store_move *moves, size_t count);

/** A segment is gone: nothing in it is known any more. @return how many instances were. */
DICORE_API size_t dicore_store_forget(dicore_store *store, uint64_t segment);

/** What a record is now. */
typedef enum dicore_standing {
    DICORE_STANDING_DEAD = 0,         /* was deleted, was replaced, never counted or is not known */
    DICORE_STANDING_LIVE = 1,
    DICORE_STANDING_TOMBSTONE = 2     /* the youngest tombstone of its UID */
} dicore_standing;
DICORE_API dicore_standing dicore_store_standing(dicore_store *store, const uint8_t uid_hash[16], uint64_t segment, uint32_t unit);

/** Finish the segment that is written to; the background seals it as soon as nothing in it waits. @return its id, 0: none. */
DICORE_API uint64_t dicore_store_roll(dicore_store *store);

/** Copy one record to `to_offset` of another segment with `to_nonce`, checking every byte, by the caller's buffer (a multiple
 *  of 64, at least 64 KiB); its header is written last. `*record` is what was copied.
 *  @return DICORE_OK, DICORE_BAD_RECORD, DICORE_BAD_CRC (the bytes are damaged: nothing to be read was written), DICORE_IO. */
DICORE_API dicore_status dicore_record_copy(int from, uint64_t from_nonce, uint64_t from_offset, int to, uint64_t to_nonce,
                                            uint64_t to_offset, uint8_t *buffer, size_t capacity, dicore_record *record,
                                            dicore_error *error);

/** Continue a recovered segment: `file` (locked) is the store's from now on, whatever comes back; `end` is behind its last
 *  whole record. The first one given is written to, a second one without records is kept as a spare.
 *  @return DICORE_OK, DICORE_LIMIT (both are there already), DICORE_IO (its space cannot be reserved again); then it was closed. */
DICORE_API dicore_status dicore_store_continue(dicore_store *store, const dicore_segment_info *info, int file, uint64_t end,
                                               dicore_error *error);

typedef struct dicore_instance {
    dicore_span sop_class, sop_instance, transfer_syntax, source_ae; /* without padding; source_ae may be empty */
    const dicore_span *pieces;        /* the data set as received */
    size_t count;
    void *token;                      /* comes back from dicore_store_commit, or to `done` */
    void (*done)(void *token, dicore_status status, int system); /* NULL: the answer comes from dicore_store_commit. Else this
                                         is called instead, by its thread, without a lock held; it must be quick */
} dicore_instance;

typedef enum dicore_outcome {
    DICORE_WAITS = 1,                 /* `token` comes back from dicore_store_commit or to `done` */
    DICORE_STORED = 2,                /* done, as far as the durability goes; `token` does not come back */
    DICORE_DUPLICATE = 3,             /* identical bytes are stored already (or other ones, with DICORE_KEEP_FIRST); done */
    DICORE_CONFLICT = 4               /* DICORE_REJECT: other bytes are stored; nothing was done */
} dicore_outcome;

/** Append an instance: preamble, file meta and pieces become one record by one gathered write.
 *  The pieces may be reused as soon as this returns. With DICORE_SYNC_DIRECT it may wait for the commit loop.
 *  @return DICORE_OK (`*outcome`), DICORE_BAD_LENGTH (a UID that file meta cannot hold), DICORE_LIMIT (the record is longer
 *          than a segment or the staging buffer: use a lane), DICORE_POISONED (relaxed, after a failed sync), DICORE_IO
 *          (`error->system`; nothing was stored, the next append may succeed), DICORE_NO_MEMORY. */
DICORE_API dicore_status dicore_store_append(dicore_store *store, const dicore_instance *instance, dicore_outcome *outcome,
                                             dicore_error *error);

/** As dicore_store_append, whatever the policy says: `flags` DICORE_RECORD_REPLACES puts the instance in place of all others of
 *  its UID; DICORE_RECORD_DELETED appends a tombstone (no pieces), and DICORE_DUPLICATE says that nothing was there. */
DICORE_API dicore_status dicore_store_put(dicore_store *store, const dicore_instance *instance, uint16_t flags,
                                          dicore_outcome *outcome, dicore_error *error);

typedef struct dicore_waiter {
    void *token;
    void (*done)(void *token, dicore_status status, int system); /* NULL in what dicore_store_commit returns */
    dicore_status status;             /* DICORE_OK: durable. DICORE_POISONED or DICORE_IO: not stored */
    int system;                       /* errno of the sync that failed */
    uint8_t uid_hash[16];
    uint32_t segment, unit;
    uint16_t flags;                   /* of the record */
    uint16_t attached;                /* 1: waits for an identical instance that somebody else appended */
} dicore_waiter;

/** Wait until something waits, make it durable by one sync, and say for whom: first by the `done` of those that have one, then
 *  the others in `*waiters` (valid until the next call; possibly none). Relaxed: wait until something was written, then one
 *  second, then sync; no waiters. For one thread.
 *  @return DICORE_OK, DICORE_END (dicore_store_stop was called, and nothing waits any more). */
DICORE_API dicore_status dicore_store_commit(dicore_store *store, const dicore_waiter **waiters, size_t *count);

typedef enum dicore_task_kind {
    DICORE_TASK_SEAL = 1,             /* write the sidecar of this segment, then call dicore_store_sealed */
    DICORE_TASK_MARK = 2              /* write down that all below `end` is durable */
} dicore_task_kind;

typedef struct dicore_task {
    dicore_task_kind kind;
    int file;                         /* the store's */
    uint64_t end;
    dicore_segment_info info;
} dicore_task;

/** The background of a store, for one thread of low priority: zero-fills ahead of the writer, makes the next segment, and
 *  returns when there is something for the caller to do. @return DICORE_OK (`*task`), DICORE_END (stopped). */
DICORE_API dicore_status dicore_store_work(dicore_store *store, dicore_task *task);

/** The segment of a DICORE_TASK_SEAL has its sidecar: its unused tail is given back, its descriptor closed. */
DICORE_API void dicore_store_sealed(dicore_store *store, uint64_t segment);

/** Instances will come soon: let the background make and zero-fill a segment now, not at the first append. Returns at once. */
DICORE_API void dicore_store_prepare(dicore_store *store);

/** Let both loops end once nothing waits; later appends fail with DICORE_BAD_STATE. */
DICORE_API void dicore_store_stop(dicore_store *store);

/** What is stored (durably, unless relaxed) under the hash: up to `capacity` places, the oldest first. @return how many. */
DICORE_API size_t dicore_store_find(dicore_store *store, const uint8_t uid_hash[16], dicore_place *places, size_t capacity);

/** All stored places: call with *cursor 0 first, it steps on. @return how many were written to `places`; 0 is the end.
 *  What is stored meanwhile may or may not appear. */
DICORE_API size_t dicore_store_places(dicore_store *store, uint64_t *cursor, dicore_place *places, size_t capacity);

typedef struct dicore_extent {
    uint64_t segment, end;            /* records below `end` can be read */
} dicore_extent;

/** The segments that this store writes or has yet to seal, and how far they may be read: what is durable, or (relaxed)
 *  written. @return how many were written to `extents`. */
DICORE_API size_t dicore_store_extents(dicore_store *store, dicore_extent *extents, size_t capacity);

typedef struct dicore_store_counters {
    uint64_t instances;               /* stored now */
    uint64_t appended, appended_bytes, duplicates, conflicts;
    uint64_t commits, syncs_failed;
    uint64_t waiting;                 /* appended, not yet durable */
    uint64_t segment, end;            /* the one written to now (0: none), and how far */
    int failed;                       /* errno: relaxed, a sync has failed, nothing more is stored */
} dicore_store_counters;

DICORE_API void dicore_store_count(dicore_store *store, dicore_store_counters *out);

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

/** A large instance on its way into a segment of its own, whose record header is written last. All fields are private. */
typedef struct dicore_lane {
    dicore_store *store;
    int file;
    uint32_t data_offset, meta_crc, data_crc;
    uint64_t data_size, written_back, received;
    uint8_t uid_hash[16];
    dicore_segment_info info;
    char name[48];                    /* while it is not yet a segment */
    char uid[64];
    uint32_t uid_size;
} dicore_lane;

/** Begin a lane: `instance` without pieces. @return as dicore_store_append; on failure there is nothing to abort. */
DICORE_API dicore_status dicore_lane_begin(dicore_store *store, const dicore_instance *instance, dicore_lane *lane,
                                           dicore_error *error);

/** Append to the data set. After a failure only dicore_lane_abort is left. @return DICORE_OK, DICORE_IO, DICORE_LIMIT (256 GiB). */
DICORE_API dicore_status dicore_lane_write(dicore_lane *lane, const dicore_span *pieces, size_t count, dicore_error *error);

/** Make it durable and part of the store; blocks for the syncs (relaxed: no sync). The lane has ended, whatever comes back.
 *  @return DICORE_OK with DICORE_STORED, DICORE_DUPLICATE or DICORE_CONFLICT, DICORE_IO. */
DICORE_API dicore_status dicore_lane_commit(dicore_lane *lane, dicore_outcome *outcome, dicore_error *error);

/** Forget it: its file is unlinked. */
DICORE_API void dicore_lane_abort(dicore_lane *lane);

#ifdef __cplusplus
}
#endif
#endif
