/* The writer: appends from any thread, one commit loop, one background loop. The lock is held for the gathered write (the
 * kernel would serialise it anyway) and never for a sync.
 *
 * Grouping has no timer: the commit loop takes whatever waits, syncs once, and what arrives meanwhile is the next group. */
#include "base/file.h"
#include "base/load.h"
#include "dicore/dataset.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define HUGE_PAGE ((size_t)2 << 20)
#define STAGE_BLOCK (2 * DICORE_STAGE_SIZE + HUGE_PAGE)
#define FILL_CHUNK ((uint64_t)1 << 20)
#define FILL_QUIET_MS 20u /* zeros are written only when nothing was appended for so long */
#define FILL_PAUSE_MS 2u  /* after each chunk: 500 MB/s at most, so that a store which is soon closed writes few */
#define BLOCK ((uint64_t)256 << 10) /* relaxed: the page cache is given whole blocks of this size, see write_record() */
#define MARK_EVERY ((uint64_t)64 << 20)
#define RELAXED_SYNC_MS 1000u
#define GATHER 253 /* pieces that leave in one system call with header, meta and tail */

static const uint8_t zeros[16 * PAGE];

static uint64_t page_up(uint64_t offset) { return (offset + PAGE - 1) / PAGE * PAGE; }

uint64_t dicore_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static struct timespec in_ms(uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ms / 1000u);
    until.tv_nsec += (long)(ms % 1000u) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    return until;
}

dicore_status dicore_random(uint64_t *out)
{
    ssize_t got;
    do
        got = getrandom(out, sizeof *out, 0);
    while (got < 0 && errno == EINTR);
    return got == sizeof *out ? DICORE_OK : DICORE_IO;
}

int dicore_store_fails(dicore_store *store, dicore_failpoint point)
{
    if (store->options.failpoint != point || store->options.failpoint_countdown == 0 || --store->options.failpoint_countdown)
        return 0;
    if (point < DICORE_FAIL_WRITE_ERROR || point > DICORE_FAIL_SYNC_ERROR)
        kill(getpid(), SIGKILL);
    return 1;
}

static dicore_status failed_with(dicore_error *error, int system)
{
    dicore_fail(error, DICORE_IO, 0, 0);
    if (error)
        error->system = system;
    return DICORE_IO;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void *resize(dicore_store *store, void *old, size_t old_size, size_t new_size)
{
    return store->options.allocator.resize(store->options.allocator.context, old, old_size, new_size);
}

dicore_status dicore_store_open(const dicore_store_options *options, dicore_store **out, dicore_error *error)
{
    if (options->segment_size < DICORE_SEGMENT_MIN || options->segment_size > (uint64_t)1 << 38)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    dicore_store *store = options->allocator.resize(options->allocator.context, NULL, 0, sizeof *store);
    if (!store)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    memset(store, 0, sizeof *store);
    store->options = *options;
    store->options.segment_size = options->segment_size / PAGE * PAGE;
    store->table.allocator = options->allocator;
    store->next_id = 1;
    if (options->durability == DICORE_SYNC_DIRECT && !options->read_only) {
        store->stage_block = resize(store, NULL, 0, STAGE_BLOCK);
        if (!store->stage_block) {
            resize(store, store, sizeof *store, 0);
            return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
        }
        /* In huge pages a group is one run of memory, and one request to the disk rather than one for each megabyte of pages:
         * 61 us of CPU time for a commit of 528 KB instead of 100, 65 instead of 200 for 3 MB. A hint, and no more. */
        uint8_t *aligned = (uint8_t *)(((uintptr_t)store->stage_block + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
        (void)madvise(aligned, 2 * DICORE_STAGE_SIZE, MADV_HUGEPAGE);
        store->stages[0].memory = aligned;
        store->stages[1].memory = aligned + DICORE_STAGE_SIZE;
    }
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->arrived, &monotonic);
    pthread_cond_init(&store->drained, &monotonic);
    pthread_cond_init(&store->task, &monotonic);
    pthread_condattr_destroy(&monotonic);
    *out = store;
    return DICORE_OK;
}

static void drop_segment(dicore_store *store, dicore_open_segment *segment)
{
    if (!segment)
        return;
    dicore_file_close(segment->direct);
    dicore_file_close(segment->file);
    resize(store, segment, sizeof *segment, 0);
}

/* A segment that may be continued one day. */
static void put_away(dicore_store *store, dicore_open_segment *segment)
{
    if (segment && segment->end <= DICORE_SEGMENT_HEADER) {
        char name[DICORE_SEGMENT_NAME];
        dicore_segment_name(segment->info.id, name);
        (void)dicore_file_unlink(store->options.folder, name, NULL);
    } else if (segment && !segment->error && page_up(segment->end) < segment->info.size) {
        dicore_file_punch(segment->file, page_up(segment->end), segment->info.size - page_up(segment->end));
    }
    drop_segment(store, segment);
}

void dicore_store_close(dicore_store *store)
{
    if (!store)
        return;
    put_away(store, store->current);
    put_away(store, store->spare);
    while (store->retired) {
        dicore_open_segment *next = store->retired->next;
        drop_segment(store, store->retired);
        store->retired = next;
    }
    for (int i = 0; i < 2; i++)
        if (store->queues[i].items)
            resize(store, store->queues[i].items, store->queues[i].capacity * sizeof(dicore_waiter), 0);
    if (store->stage_block)
        resize(store, store->stage_block, STAGE_BLOCK, 0);
    dicore_table_free(&store->table);
    pthread_cond_destroy(&store->task);
    pthread_cond_destroy(&store->drained);
    pthread_cond_destroy(&store->arrived);
    pthread_mutex_destroy(&store->lock);
    resize(store, store, sizeof *store, 0);
}

/* The bookkeeping of a segment that is ours to write; takes over `file` on success only. */
static dicore_open_segment *adopt(dicore_store *store, const dicore_segment_info *info, int file, uint64_t end)
{
    dicore_open_segment *segment = resize(store, NULL, 0, sizeof *segment);
    if (!segment)
        return NULL;
    *segment = (dicore_open_segment){.info = *info, .file = file, .direct = -1, .end = end, .synced = end, .marked = end,
                                     .zeroed = page_up(end)};
    if (store->options.durability != DICORE_RELAXED &&
        (store->options.fill_ahead || store->options.durability == DICORE_SYNC_DIRECT)) {
        char name[DICORE_SEGMENT_NAME];
        dicore_segment_name(info->id, name);
        if (dicore_file_open(store->options.folder, name, O_RDWR | O_DIRECT, 0, &segment->direct, NULL) != DICORE_OK)
            segment->direct = -1; /* no O_DIRECT here: no filling ahead, and groups go through the page cache */
    }
    return segment;
}

dicore_status dicore_store_continue(dicore_store *store, const dicore_segment_info *info, int file, uint64_t end,
                                    dicore_error *error)
{
    dicore_status status = DICORE_OK;
    if (!store->current && (status = dicore_file_allocate(file, info->size, error)) != DICORE_OK) {
        dicore_file_close(file);
        return status;
    }
    pthread_mutex_lock(&store->lock);
    dicore_open_segment **slot = !store->current ? &store->current : &store->spare;
    if (*slot || (slot == &store->spare && end > DICORE_SEGMENT_HEADER))
        status = DICORE_LIMIT;
    else if (!(*slot = adopt(store, info, file, end)))
        status = DICORE_NO_MEMORY;
    if (store->next_id <= info->id)
        store->next_id = info->id + 1;
    pthread_cond_signal(&store->task);
    pthread_mutex_unlock(&store->lock);
    if (status != DICORE_OK)
        dicore_file_close(file);
    return status == DICORE_OK ? DICORE_OK : dicore_fail(error, status, 0, 0);
}

/* ---- what is known ----------------------------------------------------------------------------------------------- */

/* The header of a record that is stored somewhere; the file of its segment is the caller's when it was opened (*opened). */
static dicore_status stored_header(dicore_store *store, const dicore_place *place, dicore_record *record, int *file,
                                   int *opened, dicore_error *error)
{
    dicore_open_segment *mine[3] = {store->current, store->spare, store->retired};
    dicore_segment_info info = {0};
    uint8_t header[DICORE_RECORD_HEADER];
    *opened = -1;
    *file = -1;
    for (int i = 0; i < 3; i++)
        for (dicore_open_segment *s = mine[i]; s; s = i == 2 ? s->next : NULL)
            if (s->info.id == place->segment) {
                info = s->info;
                *file = s->file;
            }
    dicore_status status = DICORE_OK;
    if (*file < 0) {
        status = dicore_segment_open(store->options.folder, place->segment, 0, opened, &info, error);
        *file = *opened;
    }
    const uint64_t offset = (uint64_t)place->unit * DICORE_RECORD_UNIT;
    if (status == DICORE_OK)
        status = dicore_file_read_whole(*file, offset, header, sizeof header, error);
    if (status == DICORE_OK)
        status = dicore_record_read_header(header, sizeof header, info.nonce, offset, record);
    return status;
}

/* With the lock held: is a copy of this record known, at another place? Then it is found here from now on. */
static int is_copy(dicore_store *store, const dicore_place *place)
{
    size_t cursor = 0;
    for (dicore_place *old; (old = dicore_table_next(&store->table, place->uid_hash, &cursor));)
        if (old->state != DICORE_PLACE_IN_FLIGHT && old->flags == place->flags &&
            dicore_place_received(old) == dicore_place_received(place)) {
            old->segment = place->segment;
            old->unit = place->unit;
            return 1;
        }
    return 0;
}

dicore_status dicore_store_load(dicore_store *store, uint64_t segment, const dicore_store_entry *entries, size_t count)
{
    dicore_status status = DICORE_OK;
    pthread_mutex_lock(&store->lock);
    if (store->next_id <= segment)
        store->next_id = segment + 1;
    for (size_t i = 0; i < count && status == DICORE_OK; i++) {
        const dicore_store_entry *entry = &entries[i];
        dicore_place place = {.segment = (uint32_t)segment, .unit = entry->unit, .flags = entry->flags & 15u,
                              .state = DICORE_PLACE_STORED};
        memcpy(place.uid_hash, entry->uid_hash, 16);
        dicore_place_receive(&place, entry->received);
        if (entry->received > store->last_received)
            store->last_received = entry->received;
        size_t cursor = 0;
        const int alone = !dicore_table_next(&store->table, place.uid_hash, &cursor);
        if (!alone && is_copy(store, &place))
            continue;
        status = dicore_table_add(&store->table, &place);
        if (status == DICORE_OK && (!alone || place.flags))
            dicore_table_resolve(&store->table, place.uid_hash);
    }
    pthread_mutex_unlock(&store->lock);
    return status;
}

size_t dicore_store_moved(dicore_store *store, const dicore_store_move *moves, size_t count)
{
    size_t moved = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < count; i++) {
        dicore_place *place = dicore_table_at(&store->table, moves[i].uid_hash, moves[i].from_segment, moves[i].from_unit);
        if (place) {
            place->segment = moves[i].to_segment;
            place->unit = moves[i].to_unit;
            moved++;
        }
        if (store->next_id <= moves[i].to_segment)
            store->next_id = (uint64_t)moves[i].to_segment + 1;
    }
    pthread_mutex_unlock(&store->lock);
    return moved;
}

size_t dicore_store_forget(dicore_store *store, uint64_t segment)
{
    size_t forgotten = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->table.capacity; i++) {
        dicore_place *place = &store->table.slots[i];
        if (place->state == DICORE_PLACE_FREE || place->state == DICORE_PLACE_GONE || place->segment != segment)
            continue;
        forgotten += place->state == DICORE_PLACE_STORED;
        dicore_table_set(&store->table, place, DICORE_PLACE_GONE);
    }
    pthread_mutex_unlock(&store->lock);
    return forgotten;
}

dicore_standing dicore_store_standing(dicore_store *store, const uint8_t uid_hash[16], uint64_t segment, uint32_t unit)
{
    pthread_mutex_lock(&store->lock);
    const dicore_place *place = dicore_table_at(&store->table, uid_hash, (uint32_t)segment, unit);
    const dicore_standing standing = !place                                ? DICORE_STANDING_DEAD
                                     : place->state == DICORE_PLACE_STORED ? DICORE_STANDING_LIVE
                                     : place->state == DICORE_PLACE_TOMB   ? DICORE_STANDING_TOMBSTONE
                                                                           : DICORE_STANDING_DEAD;
    pthread_mutex_unlock(&store->lock);
    return standing;
}

size_t dicore_store_find(dicore_store *store, const uint8_t uid_hash[16], dicore_place *places, size_t capacity)
{
    size_t found = 0, cursor = 0;
    pthread_mutex_lock(&store->lock);
    for (dicore_place *place; found < capacity && (place = dicore_table_next(&store->table, uid_hash, &cursor));)
        if (place->state == DICORE_PLACE_STORED)
            places[found++] = *place;
    pthread_mutex_unlock(&store->lock);
    return found;
}

size_t dicore_store_places(dicore_store *store, uint64_t *cursor, dicore_place *places, size_t capacity)
{
    size_t found = 0;
    pthread_mutex_lock(&store->lock);
    for (; *cursor < store->table.capacity && found < capacity; ++*cursor)
        if (store->table.slots[*cursor].state == DICORE_PLACE_STORED)
            places[found++] = store->table.slots[*cursor];
    pthread_mutex_unlock(&store->lock);
    return found;
}

/* Relaxed, what was written was also acknowledged, whatever became of the sync. */
static uint64_t readable_end(const dicore_store *store, const dicore_open_segment *segment)
{
    return store->options.durability == DICORE_RELAXED ? segment->end : segment->synced;
}

size_t dicore_store_extents(dicore_store *store, dicore_extent *extents, size_t capacity)
{
    size_t count = 0;
    pthread_mutex_lock(&store->lock);
    for (int list = 0; list < 2; list++)
        for (dicore_open_segment *segment = list ? store->retired : store->current; segment && count < capacity;
             segment = list ? segment->next : NULL)
            extents[count++] = (dicore_extent){segment->info.id, readable_end(store, segment)};
    if (store->spare && count < capacity) /* nothing in it yet, but it is ours */
        extents[count++] = (dicore_extent){store->spare->info.id, DICORE_SEGMENT_HEADER};
    pthread_mutex_unlock(&store->lock);
    return count;
}

void dicore_store_count(dicore_store *store, dicore_store_counters *out)
{
    pthread_mutex_lock(&store->lock);
    *out = store->counters;
    out->instances = store->table.stored;
    out->segment = store->current ? store->current->info.id : 0;
    out->end = store->current ? store->current->end : 0;
    out->failed = store->failed;
    pthread_mutex_unlock(&store->lock);
}

/* ---- duplicates -------------------------------------------------------------------------------------------------- */

/* Does the file meta of a stored record name this UID? (0002,0003), explicit VR little endian (PS3.10 7.1). */
static int names_uid(const uint8_t *meta, size_t size, const void *uid, size_t uid_size)
{
    size_t at = 132;
    while (at + 8 <= size) {
        const uint32_t tag = load_tag_le(meta + at);
        const int is_long = meta[at + 4] == 'O' || (meta[at + 4] == 'U' && meta[at + 5] != 'I' && meta[at + 5] != 'L');
        if (is_long && at + 12 > size)
            return 0;
        const size_t header = is_long ? 12 : 8;
        const size_t length = is_long ? load_u32le(meta + at + 8) : load_u16le(meta + at + 6);
        if (length > size - at - header)
            return 0;
        if (tag == 0x00020003) {
            const uint8_t *value = meta + at + header;
            size_t n = length;
            while (n && (value[n - 1] == 0 || value[n - 1] == ' '))
                n--;
            return n == uid_size && memcmp(value, uid, n) == 0;
        }
        at += header + length;
    }
    return 0;
}

typedef enum { SAME_BYTES, OTHER_BYTES, OTHER_UID, DAMAGED, UNREADABLE } difference;

static difference compare(dicore_store *store, const dicore_place *place, const dicore_candidate *candidate)
{
    uint8_t stored[16384], ours[16384];
    const uint64_t offset = (uint64_t)place->unit * DICORE_RECORD_UNIT;
    const uint8_t *memory = NULL; /* of the record, when it is in a stage and not yet in the file */
    dicore_record record = {0};
    int file = -1, opened = -1;
    difference verdict = DAMAGED;
    for (int i = 0; i < 2; i++) {
        const dicore_stage *stage = &store->stages[i];
        if (stage->of && stage->of->info.id == place->segment && offset >= stage->base && offset < stage->base + stage->fill) {
            memory = stage->memory + (offset - stage->base);
            if (dicore_record_read_header(memory, stage->fill - (size_t)(offset - stage->base), stage->of->info.nonce, offset,
                                          &record) != DICORE_OK)
                return DAMAGED;
        }
    }
    dicore_error error = {0};
    if (!memory && stored_header(store, place, &record, &file, &opened, &error) != DICORE_OK)
        goto unread;
    const uint64_t start = offset + DICORE_RECORD_HEADER, data = start + record.data_offset;
    if (record.data_offset > sizeof stored)
        goto done;
    if (!memory && dicore_file_read_whole(file, start, stored, record.data_offset, &error) != DICORE_OK)
        goto unread;
    if (!names_uid(memory ? memory + DICORE_RECORD_HEADER : stored, record.data_offset, candidate->uid, candidate->uid_size)) {
        verdict = OTHER_UID;
        goto done;
    }
    const uint64_t size = record.file_size - record.data_offset;
    if (size != candidate->data_size || record.data_crc != candidate->data_crc) {
        verdict = OTHER_BYTES;
        goto done;
    }
    /* equal lengths and checksums: where the bytes differ all the same, it is the stored ones that changed */
    const dicore_span *piece = candidate->pieces;
    size_t inside = 0;
    for (uint64_t at = 0; at < size;) {
        const size_t n = size - at < sizeof stored ? (size_t)(size - at) : sizeof stored;
        const uint8_t *theirs = memory ? memory + DICORE_RECORD_HEADER + record.data_offset + at : stored;
        if (!memory && dicore_file_read_whole(file, data + at, stored, n, NULL) != DICORE_OK)
            goto done;
        if (!candidate->pieces) {
            if (dicore_file_read_whole(candidate->file, candidate->offset + at, ours, n, NULL) != DICORE_OK ||
                memcmp(theirs, ours, n) != 0)
                goto done;
        } else {
            for (size_t i = 0; i < n;) {
                if (inside == piece->size) {
                    piece++;
                    inside = 0;
                    continue;
                }
                const size_t m = piece->size - inside < n - i ? piece->size - inside : n - i;
                if (memcmp(theirs + i, piece->data + inside, m) != 0)
                    goto done;
                inside += m;
                i += m;
            }
        }
        at += n;
    }
    verdict = SAME_BYTES;
    goto done;
unread: /* a read that failed says nothing about the record: it may be whole, and have other bytes */
    if (error.status == DICORE_IO && error.system != ENOENT)
        verdict = UNREADABLE;
done:
    dicore_file_close(opened);
    return verdict;
}

dicore_verdict dicore_store_judge(dicore_store *store, const dicore_candidate *candidate, uint16_t forced, uint16_t *flags,
                                  dicore_place *place)
{
    size_t cursor = 0;
    int others = 0;
    uint64_t barrier = 0; /* something on its way replaces or deletes what is older: so does what comes behind it */
    *flags = forced;
    for (dicore_place *known; (known = dicore_table_next(&store->table, candidate->uid_hash, &cursor));)
        if (known->state == DICORE_PLACE_IN_FLIGHT && known->flags & (DICORE_RECORD_REPLACES | DICORE_RECORD_DELETED) &&
            dicore_place_received(known) > barrier) {
            barrier = dicore_place_received(known);
            if (known->flags & DICORE_RECORD_DELETED)
                *flags |= DICORE_RECORD_REPLACES;
            else
                *flags = forced;
        }
    cursor = 0;
    for (dicore_place *known; (known = dicore_table_next(&store->table, candidate->uid_hash, &cursor));) {
        if (known->flags & DICORE_RECORD_DELETED || known->state == DICORE_PLACE_SHADOWED || dicore_place_received(known) < barrier)
            continue;
        switch (compare(store, known, candidate)) {
        case SAME_BYTES:
            *place = *known;
            return DICORE_SAME;
        case OTHER_BYTES:
            if (!others++)
                *place = *known;
            break;
        case OTHER_UID: /* two UIDs with one hash */
            *flags |= DICORE_RECORD_ANOTHER;
            break;
        case DAMAGED: /* what came now is better than what is there */
            *flags |= DICORE_RECORD_REPLACES;
            break;
        case UNREADABLE:
            if (!forced && (store->options.duplicates == DICORE_KEEP_FIRST || store->options.duplicates == DICORE_REJECT))
                return DICORE_UNKNOWN;
            others++;
            break;
        }
    }
    if (!others || forced)
        return DICORE_NEW;
    switch (store->options.duplicates) {
    case DICORE_KEEP_FIRST: return DICORE_SAME;
    case DICORE_REPLACE: *flags |= DICORE_RECORD_REPLACES; return DICORE_NEW;
    case DICORE_KEEP_BOTH: *flags |= DICORE_RECORD_ANOTHER; return DICORE_NEW;
    case DICORE_REJECT: break;
    }
    return DICORE_REFUSED;
}

void dicore_store_settle(dicore_store *store, dicore_place *place)
{
    dicore_table_set(&store->table, place, DICORE_PLACE_STORED);
    dicore_table_resolve(&store->table, place->uid_hash);
}

uint64_t dicore_store_received(dicore_store *store)
{
    const uint64_t now = dicore_now();
    store->last_received = now > store->last_received ? now : store->last_received + 1;
    return store->last_received;
}

/* With the lock held: is anything under the hash, or about to be, that a tombstone would remove? */
static int is_any_there(const dicore_store *store, const uint8_t uid_hash[16])
{
    size_t cursor = 0;
    uint64_t deleted = 0, stored = 0;
    for (const dicore_place *place; (place = dicore_table_next(&store->table, uid_hash, &cursor));) {
        const uint64_t received = dicore_place_received(place);
        if (place->flags & DICORE_RECORD_DELETED)
            deleted = received > deleted ? received : deleted;
        else
            stored = received > stored ? received : stored;
    }
    return stored > deleted;
}

/* ---- appending --------------------------------------------------------------------------------------------------- */

static int is_direct(const dicore_store *store, const dicore_open_segment *segment)
{
    return store->options.durability == DICORE_SYNC_DIRECT && segment->direct >= 0;
}

static void retire(dicore_store *store)
{
    dicore_open_segment *segment = store->current, **last = &store->retired;
    if (!segment)
        return;
    while (*last)
        last = &(*last)->next;
    segment->next = NULL;
    *last = segment;
    store->current = NULL;
    pthread_cond_signal(&store->task);
}

/* Make a segment; where the disk has no room for a whole one, a smaller one that still takes `need`. Without the lock: touches
 * nothing of the store but its options. */
static dicore_status make_segment(dicore_store *store, uint64_t id, uint64_t need, dicore_segment_info *info, int *file,
                                  dicore_error *error)
{
    dicore_error local = {0};
    const uint64_t least = page_up(DICORE_SEGMENT_HEADER + need) > DICORE_SEGMENT_MIN ? page_up(DICORE_SEGMENT_HEADER + need)
                                                                                     : DICORE_SEGMENT_MIN;
    for (uint64_t size = store->options.segment_size;;) {
        *info = (dicore_segment_info){.id = id, .size = size, .created = dicore_now()};
        if (dicore_random(&info->nonce) != DICORE_OK)
            return failed_with(error, errno);
        if (dicore_segment_create(store->options.folder, info, file, &local) == DICORE_OK)
            return DICORE_OK;
        if ((local.system != ENOSPC && local.system != EDQUOT) || size <= least) {
            if (error)
                *error = local;
            return DICORE_IO;
        }
        size = size / 2 > least ? size / 2 / PAGE * PAGE : least;
    }
}

/* A segment has failed. One failure costs one segment; where the next fails as well, new ones are tried once a second, so that
 * a dead disk does not fill up with empty segments. */
static void blame(dicore_store *store, int system)
{
    store->last_error = system ? system : EIO;
    if (++store->bad_segments > 1)
        store->retry_at = monotonic_ms() + 1000;
}

/* With the lock held: a new current segment. */
static dicore_status next_segment(dicore_store *store, uint64_t need, dicore_error *error)
{
    retire(store);
    if (store->bad_segments > 1 && monotonic_ms() < store->retry_at)
        return failed_with(error, store->last_error);
    if (store->spare && store->spare->info.size - DICORE_SEGMENT_HEADER >= page_up(need)) {
        store->current = store->spare;
        store->spare = NULL;
        pthread_cond_signal(&store->task);
        return DICORE_OK;
    }
    dicore_segment_info info;
    int file;
    dicore_status status = make_segment(store, store->next_id++, need, &info, &file, error);
    if (status != DICORE_OK)
        return status;
    if (dicore_store_fails(store, DICORE_FAIL_SEGMENT_MADE))
        return DICORE_IO;
    if (store->next_id <= info.id)
        store->next_id = info.id + 1;
    store->current = adopt(store, &info, file, DICORE_SEGMENT_HEADER);
    if (!store->current) {
        dicore_file_close(file);
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    }
    pthread_cond_signal(&store->task);
    return DICORE_OK;
}

/* How far zeros are written behind a record that ends at `end`: nothing stands there yet. To the end of the page at least, so
 * that it becomes whole in the cache without being read first. Relaxed, to the end of a block, unless the cache holds zeros
 * there already: a file system with large folios then makes one of a block rather than several small ones whose sizes follow
 * from where records happen to begin. Measured (ext4, records of 132 KB): 20.7 us a record to page ends, 13.4 us to block ends,
 * 8.4 us where the zeros were there before. Durable, each sync would have to write the zeros. */
static uint64_t padded_end(const dicore_store *store, const dicore_open_segment *segment, uint64_t end)
{
    uint64_t to = page_up(end);
    if (store->options.durability == DICORE_RELAXED && to > segment->zeroed)
        to = (end + BLOCK - 1) / BLOCK * BLOCK;
    return to < segment->info.size ? to : segment->info.size;
}

static int being_filled(const dicore_open_segment *segment, uint64_t from, uint64_t to)
{
    return from < segment->fill_to && to > segment->fill_from;
}

/* With the lock held: store->current takes `need` bytes at *offset. For direct groups the stage does. */
static dicore_status make_room(dicore_store *store, uint64_t need, uint64_t *offset, dicore_error *error)
{
    for (;;) {
        dicore_open_segment *segment = store->current;
        dicore_stage *stage = &store->stages[store->stage];
        if (store->stopped)
            return dicore_fail(error, DICORE_BAD_STATE, 0, 0);
        const int direct = segment && is_direct(store, segment);
        if (stage->of && (stage->of != segment || stage->fill + need > DICORE_STAGE_SIZE ||
                          page_up(stage->base + stage->fill + need) > segment->info.size || segment->error)) {
            pthread_cond_signal(&store->arrived);
            pthread_cond_wait(&store->drained, &store->lock);
            continue;
        }
        const uint64_t at = !segment ? 0 : !direct ? segment->end : stage->of ? stage->base + stage->fill : page_up(segment->end);
        const uint64_t to = direct ? page_up(at + need) : at + need;
        if (!segment || segment->error || to > segment->info.size) {
            const dicore_status status = next_segment(store, need, error);
            if (status != DICORE_OK)
                return status;
            continue;
        }
        if (being_filled(segment, at, direct ? page_up(to) : padded_end(store, segment, to))) {
            pthread_cond_wait(&store->drained, &store->lock);
            continue;
        }
        if (direct && !stage->of) {
            stage->of = segment;
            stage->base = at;
            stage->fill = 0;
        }
        *offset = at;
        return DICORE_OK;
    }
}

uint64_t dicore_store_roll(dicore_store *store)
{
    uint64_t id = 0;
    pthread_mutex_lock(&store->lock);
    const dicore_open_segment *segment = store->current;
    if (segment && (segment->end > DICORE_SEGMENT_HEADER || store->stages[store->stage].of == segment)) {
        id = segment->info.id;
        retire(store);
        pthread_cond_broadcast(&store->arrived); /* relaxed: what is dirty is synced soon, and then sealed */
    }
    pthread_mutex_unlock(&store->lock);
    return id;
}

static dicore_status enqueue(dicore_store *store, const dicore_waiter *waiter)
{
    dicore_queue *queue = &store->queues[store->queue];
    if (queue->count == queue->capacity) {
        const size_t capacity = queue->capacity ? queue->capacity * 2 : 256;
        dicore_waiter *items = resize(store, queue->items, queue->capacity * sizeof *items, capacity * sizeof *items);
        if (!items)
            return DICORE_NO_MEMORY;
        queue->items = items;
        queue->capacity = capacity;
    }
    queue->items[queue->count++] = *waiter;
    store->counters.waiting++;
    return DICORE_OK;
}

static void stage_bytes(dicore_stage *stage, const void *data, size_t size)
{
    if (size)
        memcpy(stage->memory + stage->fill, data, size);
    stage->fill += size;
}

/* With the lock held: header, meta, pieces and tail go to `offset` of the current segment. */
static dicore_status write_record(dicore_store *store, uint64_t offset, const dicore_span head[2], const dicore_instance *instance,
                                  const uint8_t crc[4], uint64_t size, uint64_t used, dicore_error *error)
{
    dicore_open_segment *segment = store->current;
    dicore_stage *stage = &store->stages[store->stage];
    const uint64_t tail = size - used;
    if (dicore_store_fails(store, DICORE_FAIL_WRITE_ERROR))
        return failed_with(error, EIO);
    if (dicore_store_fails(store, DICORE_FAIL_WRITE_FULL))
        return failed_with(error, ENOSPC);
    if (stage->of) {
        stage_bytes(stage, head[0].data, head[0].size);
        stage_bytes(stage, head[1].data, head[1].size);
        for (size_t i = 0; i < instance->count; i++)
            stage_bytes(stage, instance->pieces[i].data, instance->pieces[i].size);
        stage_bytes(stage, crc, 4);
        stage_bytes(stage, zeros, (size_t)tail);
        return DICORE_OK;
    }
    const uint64_t whole = padded_end(store, segment, offset + size), padding = tail + (whole - (offset + size));
    dicore_span spans[GATHER + 3 + BLOCK / sizeof zeros + 1];
    dicore_status status;
    if (instance->count <= GATHER) {
        size_t n = 0;
        spans[n++] = head[0];
        spans[n++] = head[1];
        for (size_t i = 0; i < instance->count; i++)
            spans[n++] = instance->pieces[i];
        spans[n++] = (dicore_span){crc, 4};
        for (uint64_t left = padding; left;) {
            spans[n] = (dicore_span){zeros, (size_t)(left < sizeof zeros ? left : sizeof zeros)};
            left -= spans[n++].size;
        }
        status = dicore_file_write(segment->file, offset, spans, n, error);
        if (status == DICORE_OK && segment->zeroed < whole)
            segment->zeroed = whole;
    } else {
        status = dicore_file_write(segment->file, offset, head, 2, error);
        if (status == DICORE_OK)
            status = dicore_file_write(segment->file, offset + head[0].size + head[1].size, instance->pieces, instance->count, error);
        if (status == DICORE_OK) {
            spans[0] = (dicore_span){crc, 4};
            spans[1] = (dicore_span){zeros, (size_t)tail};
            status = dicore_file_write(segment->file, offset + used - 4, spans, 2, error);
        }
    }
    if (status == DICORE_OK)
        segment->end = offset + size;
    return status;
}

dicore_status dicore_store_append(dicore_store *store, const dicore_instance *instance, dicore_outcome *outcome,
                                  dicore_error *error)
{
    return dicore_store_put(store, instance, 0, outcome, error);
}

dicore_status dicore_store_put(dicore_store *store, const dicore_instance *instance, uint16_t forced, dicore_outcome *outcome,
                               dicore_error *error)
{
    uint8_t header[DICORE_RECORD_HEADER], meta[DICORE_META_MAX], tail[4];
    size_t meta_size;
    const int relaxed = store->options.durability == DICORE_RELAXED;
    dicore_error none;
    if (!error)
        error = &none;
    *error = (dicore_error){0};
    if (store->options.read_only)
        return dicore_fail(error, DICORE_BAD_STATE, 0, 0);
    dicore_status status = dicore_part10_write_meta(meta, sizeof meta, &meta_size, instance->sop_class, instance->sop_instance,
                                                    instance->transfer_syntax, store->options.implementation,
                                                    store->options.version_name, instance->source_ae);
    if (status != DICORE_OK)
        return dicore_fail(error, status, 0, 0);

    dicore_candidate candidate = {.uid = instance->sop_instance.data, .uid_size = instance->sop_instance.size,
                                  .pieces = instance->pieces, .file = -1};
    for (size_t i = 0; i < instance->count; i++) {
        if (instance->pieces[i].size > UINT64_MAX / 2 - candidate.data_size)
            return dicore_fail(error, DICORE_LIMIT, 0, 0);
        candidate.data_size += instance->pieces[i].size;
    }
    const uint64_t file_size = meta_size + candidate.data_size, size = dicore_record_size(file_size);
    if (size == 0 || size > store->options.segment_size - DICORE_SEGMENT_HEADER ||
        (store->options.durability == DICORE_SYNC_DIRECT && size > DICORE_STAGE_SIZE - PAGE))
        return dicore_fail(error, DICORE_LIMIT, 0, 0);
    for (size_t i = 0; i < instance->count; i++)
        candidate.data_crc = dicore_crc32c(candidate.data_crc, instance->pieces[i].data, instance->pieces[i].size);
    store_u32le(tail, dicore_crc32c_combine(dicore_crc32c(0, meta, meta_size), candidate.data_crc, candidate.data_size));
    dicore_uid_hash(candidate.uid, candidate.uid_size, candidate.uid_hash);
    dicore_record record = {.file_size = file_size, .data_offset = (uint32_t)meta_size, .data_crc = candidate.data_crc};
    memcpy(record.uid_hash, candidate.uid_hash, 16);

    pthread_mutex_lock(&store->lock);
    dicore_place place = {0};
    uint64_t offset = 0;
    if (store->failed) {
        status = dicore_fail(error, DICORE_POISONED, 0, 0);
        goto done;
    }
    for (int again = 1; again;) { /* making room may give the lock away, so what was judged then is judged again */
        const uint64_t before = store->counters.appended;
        record.flags = DICORE_RECORD_DELETED;
        if (forced & DICORE_RECORD_DELETED && !is_any_there(store, candidate.uid_hash)) {
            *outcome = DICORE_DUPLICATE;
            goto done;
        }
        switch (forced & DICORE_RECORD_DELETED ? DICORE_NEW
                                               : dicore_store_judge(store, &candidate, forced, &record.flags, &place)) {
        case DICORE_REFUSED:
            store->counters.conflicts++;
            *outcome = DICORE_CONFLICT;
            goto done;
        case DICORE_SAME:
            store->counters.duplicates++;
            *outcome = DICORE_DUPLICATE;
            if (place.state == DICORE_PLACE_IN_FLIGHT) { /* success only when that one is durable */
                dicore_waiter waiter = {.token = instance->token, .done = instance->done, .segment = place.segment,
                                        .unit = place.unit, .attached = 1};
                memcpy(waiter.uid_hash, place.uid_hash, 16);
                status = enqueue(store, &waiter);
                *outcome = DICORE_WAITS;
            }
            goto done;
        case DICORE_UNKNOWN:
            status = failed_with(error, EIO);
            goto done;
        case DICORE_NEW:
            break;
        }
        status = make_room(store, size, &offset, error);
        if (status != DICORE_OK)
            goto done;
        again = store->counters.appended != before;
    }
    dicore_open_segment *segment = store->current;
    place = (dicore_place){.segment = (uint32_t)segment->info.id, .unit = (uint32_t)(offset / DICORE_RECORD_UNIT),
                           .flags = record.flags & 15u, .state = DICORE_PLACE_IN_FLIGHT};
    memcpy(place.uid_hash, record.uid_hash, 16);
    record.received = dicore_store_received(store); /* in the order of the log */
    dicore_place_receive(&place, record.received);
    status = dicore_table_add(&store->table, &place);
    if (status != DICORE_OK)
        goto done;
    dicore_waiter waiter = {.token = instance->token, .done = instance->done, .segment = place.segment, .unit = place.unit,
                            .flags = record.flags};
    memcpy(waiter.uid_hash, place.uid_hash, 16);
    if (!relaxed) {
        status = enqueue(store, &waiter);
        segment->waiting += status == DICORE_OK;
    }
    if (status == DICORE_OK) {
        record.synced = (uint32_t)(segment->synced / DICORE_RECORD_UNIT);
        dicore_record_write_header(&record, segment->info.nonce, offset, header);
        const dicore_span head[2] = {{header, sizeof header}, {meta, meta_size}};
        dicore_store_fails(store, DICORE_FAIL_BEFORE_WRITE);
        status = write_record(store, offset, head, instance, tail, size, DICORE_RECORD_HEADER + file_size + 4, error);
        dicore_store_fails(store, DICORE_FAIL_AFTER_WRITE);
        if (status != DICORE_OK) {
            /* who knows what is there now: nothing more goes into this segment. What was written before is still synced. */
            if (!relaxed) {
                store->queues[store->queue].count--;
                store->counters.waiting--;
                segment->waiting--;
            }
            if (!store->stages[store->stage].of) {
                blame(store, error->system);
                retire(store);
            }
        }
    }
    dicore_place *added = dicore_table_at(&store->table, place.uid_hash, place.segment, place.unit);
    if (status != DICORE_OK) {
        dicore_table_set(&store->table, added, DICORE_PLACE_GONE);
        goto done;
    }
    store->counters.appended++;
    store->counters.appended_bytes += size;
    *outcome = DICORE_WAITS;
    if (relaxed) {
        dicore_store_settle(store, added);
        *outcome = DICORE_STORED;
        if (!segment->dirty) {
            segment->dirty = 1;
            pthread_cond_signal(&store->arrived);
        }
    }
    if (store->options.fill_ahead && (relaxed || segment->direct >= 0)) {
        store->last_append = monotonic_ms();
        if (!store->fill_soon && segment->zeroed < segment->info.size &&
            segment->zeroed < segment->end + store->options.fill_ahead / 2) {
            store->fill_soon = 1;
            pthread_cond_signal(&store->task);
        }
    }
done:;
    /* the commit loop is woken when the lock is free: woken earlier it would only wait for that, and be woken twice */
    const int first = !relaxed && store->queues[store->queue].count == 1;
    pthread_mutex_unlock(&store->lock);
    if (first)
        pthread_cond_signal(&store->arrived);
    if (status != DICORE_OK && error->status != status)
        dicore_fail(error, status, 0, 0);
    return status;
}

/* ---- committing -------------------------------------------------------------------------------------------------- */

static dicore_open_segment *open_segment(dicore_store *store, uint32_t id)
{
    if (store->current && store->current->info.id == id)
        return store->current;
    for (dicore_open_segment *segment = store->retired; segment; segment = segment->next)
        if (segment->info.id == id)
            return segment;
    return NULL;
}

/* Without the lock: make `segment` durable. */
static dicore_status sync_segment(dicore_store *store, dicore_open_segment *segment, const dicore_stage *stage, dicore_error *error)
{
    dicore_status status;
    dicore_store_fails(store, DICORE_FAIL_BEFORE_SYNC);
    if (dicore_store_fails(store, DICORE_FAIL_SYNC_ERROR))
        return failed_with(error, EIO);
    if (stage && stage->of == segment) {
        const size_t padded = (size_t)page_up(stage->fill);
        memset(stage->memory + stage->fill, 0, padded - stage->fill); /* stale bytes there could pass for records */
        status = dicore_file_write_durable(segment->direct, stage->base, stage->memory, padded, error);
    } else {
        status = dicore_file_sync_data(segment->file, error);
    }
    dicore_store_fails(store, DICORE_FAIL_AFTER_SYNC);
    return status;
}

static void poison(dicore_store *store, dicore_open_segment *segment, int system)
{
    segment->error = system ? system : EIO;
    store->counters.syncs_failed++;
    blame(store, segment->error);
    if (segment == store->current)
        retire(store);
}

/* Is a finished segment still to be synced? It is not sealed before, and `roll` waits for that. */
static int is_finished_dirty(const dicore_store *store)
{
    for (const dicore_open_segment *segment = store->retired; segment; segment = segment->next)
        if (segment->dirty && !segment->error)
            return 1;
    return 0;
}

/* Relaxed: sync what was written, a second after it was, or when its segment is finished. */
static dicore_status commit_relaxed(dicore_store *store)
{
    while (!store->stopped && !(store->current && store->current->dirty) && !store->retired)
        pthread_cond_wait(&store->arrived, &store->lock);
    const struct timespec until = in_ms(RELAXED_SYNC_MS);
    while (!store->stopped && !is_finished_dirty(store) && pthread_cond_timedwait(&store->arrived, &store->lock, &until) != ETIMEDOUT)
        ;
    int any = 0;
    for (;;) {
        dicore_open_segment *segment = store->current && store->current->dirty ? store->current : store->retired;
        while (segment && (!segment->dirty || segment->error))
            segment = segment == store->current ? store->retired : segment->next;
        if (!segment)
            break;
        any = 1;
        const uint64_t end = segment->end;
        dicore_error error = {0};
        segment->dirty = 0;
        segment->syncing = 1;
        pthread_mutex_unlock(&store->lock);
        const dicore_status status = sync_segment(store, segment, NULL, &error);
        pthread_mutex_lock(&store->lock);
        segment->syncing = 0;
        store->counters.commits++;
        if (status == DICORE_OK) {
            segment->synced = end;
        } else {
            poison(store, segment, error.system);
            store->failed = segment->error;
        }
    }
    pthread_cond_signal(&store->task);
    return any || !store->stopped ? DICORE_OK : DICORE_END;
}

/* A segment of the group under way that is still to be synced. The lists are walked anew each time: they change meanwhile. */
static dicore_open_segment *to_be_synced(dicore_store *store)
{
    if (store->current && store->current->syncing == 1)
        return store->current;
    dicore_open_segment *segment = store->retired;
    while (segment && segment->syncing != 1)
        segment = segment->next;
    return segment;
}

static dicore_status commit_group(dicore_store *store, const dicore_waiter **waiters, size_t *count)
{
    while (store->queues[store->queue].count == 0) {
        if (store->stopped)
            return DICORE_END;
        pthread_cond_wait(&store->arrived, &store->lock);
    }
    dicore_queue *group = &store->queues[store->queue];
    dicore_stage *stage = &store->stages[store->stage];
    store->queue ^= 1;
    store->queues[store->queue].count = 0;
    if (stage->of) {
        stage->of->end = page_up(stage->base + stage->fill);
        store->stage ^= 1; /* the other one is empty: only this thread makes them full */
    } else {
        stage = NULL;
    }
    for (size_t i = 0; i < group->count; i++) {
        dicore_open_segment *segment = open_segment(store, group->items[i].segment);
        if (segment && !group->items[i].attached)
            segment->syncing = 1;
    }
    pthread_cond_broadcast(&store->drained);

    for (dicore_open_segment *segment; (segment = to_be_synced(store));) {
        segment->syncing = 2; /* done with; it stays until all are, so that it is not sealed under us */
        if (segment->error)
            continue; /* poisoned after these were written: not synced, not acknowledged */
        const uint64_t end = segment->end;
        dicore_error error = {0};
        pthread_mutex_unlock(&store->lock);
        const dicore_status status = sync_segment(store, segment, stage, &error);
        pthread_mutex_lock(&store->lock);
        store->counters.commits++;
        if (status == DICORE_OK) {
            segment->synced = end;
            store->bad_segments = 0;
        } else {
            poison(store, segment, error.system);
        }
    }

    for (size_t i = 0; i < group->count; i++) {
        dicore_waiter *waiter = &group->items[i];
        dicore_open_segment *segment = open_segment(store, waiter->segment);
        dicore_place *place = dicore_table_at(&store->table, waiter->uid_hash, waiter->segment, waiter->unit);
        if (waiter->attached) {
            const int stored = place && place->state == DICORE_PLACE_STORED;
            waiter->status = stored ? DICORE_OK : DICORE_POISONED;
            waiter->system = stored ? 0 : segment && segment->error ? segment->error : EIO;
            continue;
        }
        waiter->system = segment->error;
        waiter->status = segment->error ? DICORE_POISONED : DICORE_OK;
        segment->waiting--;
        if (place && segment->error)
            dicore_table_set(&store->table, place, DICORE_PLACE_GONE);
        else if (place)
            dicore_store_settle(store, place);
    }
    store->counters.waiting -= group->count;
    for (int list = 0; list < 2; list++)
        for (dicore_open_segment *segment = list ? store->retired : store->current; segment; segment = list ? segment->next : NULL)
            segment->syncing = 0;
    if (stage) {
        stage->of = NULL;
        stage->fill = 0;
    }
    if (store->retired || (store->current && store->current->synced >= store->current->marked + MARK_EVERY))
        pthread_cond_signal(&store->task);
    pthread_cond_broadcast(&store->drained); /* a lane may wait for what is settled now */
    *waiters = group->items;
    *count = group->count;
    return DICORE_OK;
}

dicore_status dicore_store_commit(dicore_store *store, const dicore_waiter **waiters, size_t *count)
{
    *waiters = NULL;
    *count = 0;
    pthread_mutex_lock(&store->lock);
    const dicore_status status =
        store->options.durability == DICORE_RELAXED ? commit_relaxed(store) : commit_group(store, waiters, count);
    dicore_waiter *group = store->queues[store->queue ^ 1].items; /* nobody else touches it until the next call */
    pthread_mutex_unlock(&store->lock);
    size_t left = 0;
    for (size_t i = 0; i < *count; i++)
        if (group[i].done)
            group[i].done(group[i].token, group[i].status, group[i].system);
        else
            group[left++] = group[i];
    *count = left;
    return status;
}

void dicore_store_stop(dicore_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->stopped = 1;
    pthread_cond_broadcast(&store->arrived);
    pthread_cond_broadcast(&store->drained);
    pthread_cond_broadcast(&store->task);
    pthread_mutex_unlock(&store->lock);
}

/* ---- the background ---------------------------------------------------------------------------------------------- */

/* With the lock held: zero-fill one chunk, relaxed in the page cache and else on the disk, if the lead over the writer is
 * short and nobody writes just now. Zeros written while appends go on take as much of the disk as they save later, and the
 * file system makes the appends wait for them: measured 8 associations of 131 KB, 8,100 instances/s against 11,500.
 * `fill_soon` says that there is more to fill, later.
 * @return whether something was done. */
static int fill(dicore_store *store, dicore_open_segment *segment, int *filling)
{
    const uint64_t ahead = store->options.fill_ahead;
    const int relaxed = store->options.durability == DICORE_RELAXED;
    store->fill_soon = 0;
    if (!segment || (segment->direct < 0 && !relaxed) || segment->error || !ahead)
        return 0;
    if (segment->zeroed < page_up(segment->end))
        segment->zeroed = page_up(segment->end);
    if (segment->zeroed >= segment->info.size || segment->zeroed >= segment->end + (*filling ? ahead : ahead / 2)) {
        const int was_filling = *filling;
        *filling = 0;
        if (was_filling && !relaxed) { /* the journal now knows the extents as written: the next commit need not say so */
            pthread_mutex_unlock(&store->lock);
            (void)dicore_file_sync_data(segment->direct, NULL);
            pthread_mutex_lock(&store->lock);
        }
        return was_filling && !relaxed;
    }
    store->fill_soon = 1;
    if (store->stages[store->stage].of == segment || segment->syncing || monotonic_ms() < store->last_append + FILL_QUIET_MS)
        return 0;
    *filling = 1;
    const uint64_t last = segment->info.size / PAGE * PAGE, to = (segment->zeroed / FILL_CHUNK + 1) * FILL_CHUNK;
    segment->fill_from = segment->zeroed;
    segment->fill_to = to < last ? to : last;
    pthread_mutex_unlock(&store->lock);
    dicore_status status = DICORE_OK;
    for (uint64_t at = segment->fill_from, n; status == DICORE_OK && at < segment->fill_to; at += n) {
        n = relaxed ? BLOCK - at % BLOCK : FILL_CHUNK;
        if (n > segment->fill_to - at)
            n = segment->fill_to - at;
        status = dicore_file_write_zeros(relaxed ? segment->file : segment->direct, at, n, NULL);
    }
    pthread_mutex_lock(&store->lock);
    if (status == DICORE_OK) {
        segment->zeroed = segment->fill_to;
    } else {
        segment->zeroed = segment->info.size; /* not worth a second try: it is only for speed */
    }
    segment->fill_from = segment->fill_to = 0;
    pthread_cond_broadcast(&store->drained);
    return 0; /* pause first */
}

/* With the lock held: have the next segment ready before it is needed. @return whether it was tried: the lock was free
 * meanwhile, so whoever waits has to look again at all that he waits for. */
static int make_spare(dicore_store *store)
{
    const dicore_open_segment *current = store->current;
    if (store->spare || store->stopped || store->making_spare || (!current && !store->prepared) ||
        (current && (current->error || current->info.size - current->end > current->info.size / 4)))
        return 0;
    dicore_segment_info info;
    int file;
    const uint64_t id = store->next_id++;
    store->making_spare = 1; /* also when it fails: the append that needs one says why */
    pthread_mutex_unlock(&store->lock);
    const dicore_status status = make_segment(store, id, 0, &info, &file, NULL);
    pthread_mutex_lock(&store->lock);
    if (status != DICORE_OK)
        return 1;
    store->making_spare = 0;
    if (store->next_id <= info.id)
        store->next_id = info.id + 1;
    store->spare = adopt(store, &info, file, DICORE_SEGMENT_HEADER);
    if (!store->spare)
        dicore_file_close(file);
    return 1;
}

dicore_status dicore_store_work(dicore_store *store, dicore_task *task)
{
    dicore_status status = DICORE_END;
    int filling = 0;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        for (dicore_open_segment *segment = store->retired; segment; segment = segment->next) {
            if (segment->sealing || segment->waiting || segment->syncing || (segment->dirty && !segment->error))
                continue;
            segment->sealing = 1;
            *task = (dicore_task){.kind = DICORE_TASK_SEAL, .file = segment->file, .info = segment->info,
                                  .end = readable_end(store, segment)};
            status = DICORE_OK;
            goto done;
        }
        dicore_open_segment *current = store->current;
        if (current && current->synced >= current->marked + MARK_EVERY) {
            current->marked = current->synced;
            *task = (dicore_task){.kind = DICORE_TASK_MARK, .file = current->file, .info = current->info, .end = current->synced};
            status = DICORE_OK;
            goto done;
        }
        if (store->stopped)
            goto done;
        dicore_open_segment *next = current && current->zeroed < current->info.size / PAGE * PAGE ? current : store->spare;
        if (fill(store, next, &filling) || make_spare(store))
            continue;
        if (store->fill_soon) {
            const struct timespec until = in_ms(filling ? FILL_PAUSE_MS : FILL_QUIET_MS);
            pthread_cond_timedwait(&store->task, &store->lock, &until);
        } else {
            pthread_cond_wait(&store->task, &store->lock);
        }
    }
done:
    pthread_mutex_unlock(&store->lock);
    return status;
}

void dicore_store_prepare(dicore_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->prepared = 1;
    pthread_cond_signal(&store->task);
    pthread_mutex_unlock(&store->lock);
}

void dicore_store_sealed(dicore_store *store, uint64_t id)
{
    dicore_open_segment *segment = NULL;
    pthread_mutex_lock(&store->lock);
    for (dicore_open_segment **at = &store->retired; *at; at = &(*at)->next)
        if ((*at)->info.id == id && (*at)->sealing) {
            segment = *at;
            *at = segment->next;
            break;
        }
    store->making_spare = 0;
    pthread_mutex_unlock(&store->lock);
    if (!segment)
        return;
    const uint64_t unused = page_up(segment->end);
    if (unused < segment->info.size && !segment->error)
        dicore_file_punch(segment->file, unused, segment->info.size - unused);
    drop_segment(store, segment);
}
