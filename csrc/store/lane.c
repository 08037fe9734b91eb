/* Lanes: an instance too large to wait for in memory goes, as it arrives, into a segment of its own. Until it is whole the file
 * has no segment's name, and its record has no header; so half of it can never be seen. */
#include "base/file.h"
#include "base/load.h"
#include "dicore/dataset.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define START (DICORE_SEGMENT_HEADER + DICORE_RECORD_HEADER) /* of the Part 10 file in the lane's file */
#define WRITE_BACK ((uint64_t)8 << 20)
#define LONGEST ((uint64_t)1 << 38)

dicore_status dicore_lane_begin(dicore_store *store, const dicore_instance *instance, dicore_lane *lane, dicore_error *error)
{
    uint8_t meta[DICORE_META_MAX];
    size_t meta_size;
    if (store->options.read_only)
        return dicore_fail(error, DICORE_BAD_STATE, 0, 0);
    dicore_status status = dicore_part10_write_meta(meta, sizeof meta, &meta_size, instance->sop_class, instance->sop_instance,
                                                    instance->transfer_syntax, store->options.implementation,
                                                    store->options.version_name, instance->source_ae);
    if (status != DICORE_OK)
        return dicore_fail(error, status, 0, 0);
    dicore_lane made = {.store = store, .data_offset = (uint32_t)meta_size, .meta_crc = dicore_crc32c(0, meta, meta_size),
                        .uid_size = (uint32_t)instance->sop_instance.size};
    memcpy(made.uid, instance->sop_instance.data, instance->sop_instance.size); /* write_meta: 1 to 64 bytes */
    dicore_uid_hash(made.uid, made.uid_size, made.uid_hash);
    if (dicore_random(&made.info.nonce) != DICORE_OK)
        return dicore_fail(error, DICORE_IO, 0, 0);
    snprintf(made.name, sizeof made.name, ".%016llx.lane", (unsigned long long)made.info.nonce);
    status = dicore_file_create_locked(store->options.folder, made.name, &made.file, error); /* nobody takes it for a leftover */
    if (status != DICORE_OK)
        return status;
    const dicore_span piece = {meta, meta_size};
    status = dicore_file_write(made.file, START, &piece, 1, error);
    if (status != DICORE_OK) {
        dicore_lane_abort(&made);
        return status;
    }
    *lane = made;
    return DICORE_OK;
}

dicore_status dicore_lane_write(dicore_lane *lane, const dicore_span *pieces, size_t count, dicore_error *error)
{
    const uint64_t offset = START + lane->data_offset + lane->data_size;
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size > LONGEST || size + pieces[i].size > LONGEST - offset)
            return dicore_fail(error, DICORE_LIMIT, offset, 0);
        size += pieces[i].size;
    }
    dicore_status status = dicore_file_write(lane->file, offset, pieces, count, error);
    if (status != DICORE_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        lane->data_crc = dicore_crc32c(lane->data_crc, pieces[i].data, pieces[i].size);
    lane->data_size += size;
    if (offset + size - lane->written_back >= WRITE_BACK) { /* so that the commit does not begin with gigabytes to write */
        dicore_file_write_back(lane->file, lane->written_back, offset + size - lane->written_back);
        lane->written_back = offset + size;
    }
    return DICORE_OK;
}

/* The header of the record, durable when this returns. */
static dicore_status write_header(const dicore_lane *lane, uint16_t flags, dicore_error *error)
{
    uint8_t header[DICORE_RECORD_HEADER];
    dicore_record record = {.file_size = lane->data_offset + lane->data_size, .received = lane->received,
                            .data_offset = lane->data_offset, .data_crc = lane->data_crc, .flags = flags};
    memcpy(record.uid_hash, lane->uid_hash, 16);
    dicore_record_write_header(&record, lane->info.nonce, DICORE_SEGMENT_HEADER, header);
    const dicore_span piece = {header, sizeof header};
    const dicore_status status = dicore_file_write(lane->file, DICORE_SEGMENT_HEADER, &piece, 1, error);
    if (status != DICORE_OK || lane->store->options.durability == DICORE_RELAXED)
        return status;
    return dicore_file_sync(lane->file, error);
}

/* Bytes behind the data set, then all of it durable, then the record's header, then that durable. */
static dicore_status complete(dicore_lane *lane, uint16_t flags, dicore_error *error)
{
    const int durable = lane->store->options.durability != DICORE_RELAXED;
    const uint64_t file_size = lane->data_offset + lane->data_size, record_size = dicore_record_size(file_size);
    uint8_t tail[4], front[DICORE_SEGMENT_HEADER];
    store_u32le(tail, dicore_crc32c_combine(lane->meta_crc, lane->data_crc, lane->data_size));
    const dicore_span tail_piece = {tail, sizeof tail};
    dicore_status status = dicore_file_write(lane->file, START + file_size, &tail_piece, 1, error);
    lane->info.size = (DICORE_SEGMENT_HEADER + record_size + 4095) / 4096 * 4096;
    lane->info.created = dicore_now();
    lane->info.flags = DICORE_SEGMENT_SINGLE;
    if (status == DICORE_OK)
        status = dicore_file_resize(lane->file, lane->info.size, error);
    if (status == DICORE_OK && durable)
        status = dicore_file_sync(lane->file, error);
    if (status != DICORE_OK)
        return status;
    for (;;) {
        char name[DICORE_SEGMENT_NAME];
        dicore_error local = {0};
        pthread_mutex_lock(&lane->store->lock);
        lane->info.id = lane->store->next_id++;
        lane->received = dicore_store_received(lane->store);
        pthread_mutex_unlock(&lane->store->lock);
        dicore_segment_write_header(&lane->info, front);
        const dicore_span piece = {front, sizeof front};
        status = dicore_file_write(lane->file, 0, &piece, 1, error);
        if (status == DICORE_OK)
            status = write_header(lane, flags, error);
        if (status == DICORE_OK && !durable) /* never a name without what it names, not even after a power cut */
            status = dicore_file_sync(lane->file, error);
        if (status != DICORE_OK)
            return status;
        dicore_segment_name(lane->info.id, name);
        dicore_store_fails(lane->store, DICORE_FAIL_LANE_WRITTEN);
        status = dicore_file_rename_new(lane->store->options.folder, lane->name, name, &local);
        if (status == DICORE_OK) {
            dicore_store_fails(lane->store, DICORE_FAIL_LANE_NAMED);
            memcpy(lane->name, name, sizeof name); /* what an abort would have to unlink from now on */
            return durable ? dicore_file_sync(lane->store->options.folder, error) : DICORE_OK;
        }
        if (local.system != EEXIST) {
            if (error)
                *error = local;
            return status;
        }
    }
}

static dicore_verdict judge(dicore_lane *lane, uint16_t *flags, dicore_place *place, dicore_outcome *outcome)
{
    dicore_candidate candidate = {.uid = lane->uid, .uid_size = lane->uid_size, .data_size = lane->data_size,
                                        .data_crc = lane->data_crc, .file = lane->file, .offset = START + lane->data_offset};
    memcpy(candidate.uid_hash, lane->uid_hash, 16);
    const dicore_verdict verdict = dicore_store_judge(lane->store, &candidate, lane->forced, flags, place);
    if (verdict == DICORE_REFUSED) {
        lane->store->counters.conflicts++;
        *outcome = DICORE_CONFLICT;
    } else if (verdict == DICORE_SAME) {
        lane->store->counters.duplicates++;
        *outcome = DICORE_DUPLICATE;
    }
    return verdict;
}

/* The lane ends without a record. */
static dicore_status given_up(dicore_lane *lane, dicore_verdict verdict, dicore_error *error)
{
    dicore_lane_abort(lane);
    if (verdict != DICORE_UNKNOWN)
        return DICORE_OK;
    dicore_fail(error, DICORE_IO, 0, 0);
    if (error)
        error->system = EIO;
    return DICORE_IO;
}

/* With the lock held: is another record of this UID written, but not yet durable? */
static int is_under_way(const dicore_store *store, const uint8_t uid_hash[16])
{
    size_t cursor = 0;
    for (const dicore_place *place; (place = dicore_table_next(&store->table, uid_hash, &cursor));)
        if (place->state == DICORE_PLACE_IN_FLIGHT)
            return 1;
    return 0;
}

/* With the lock held: is another record of this UID younger than the lane says it is? */
static int is_younger(const dicore_store *store, const dicore_lane *lane)
{
    size_t cursor = 0;
    for (const dicore_place *place; (place = dicore_table_next(&store->table, lane->uid_hash, &cursor));)
        if (dicore_place_received(place) > lane->received)
            return 1;
    return 0;
}

dicore_status dicore_lane_commit(dicore_lane *lane, dicore_outcome *outcome, dicore_error *error)
{
    dicore_store *store = lane->store;
    uint16_t flags = 0;
    dicore_place known = {0};
    pthread_mutex_lock(&store->lock);
    dicore_verdict verdict = judge(lane, &flags, &known, outcome);
    /* the other one is still on its way: it is durable, or has failed, before long */
    while (verdict == DICORE_SAME && known.state == DICORE_PLACE_IN_FLIGHT && !store->stopped) {
        pthread_cond_wait(&store->drained, &store->lock);
        store->counters.duplicates--;
        verdict = judge(lane, &flags, &known, outcome);
    }
    pthread_mutex_unlock(&store->lock);
    if (verdict != DICORE_NEW)
        return given_up(lane, verdict, error);
    dicore_status status = complete(lane, flags, error);
    if (status != DICORE_OK) {
        dicore_lane_abort(lane);
        return status;
    }
    dicore_place place = {.segment = (uint32_t)lane->info.id, .unit = DICORE_SEGMENT_HEADER / DICORE_RECORD_UNIT,
                          .state = DICORE_PLACE_IN_FLIGHT};
    memcpy(place.uid_hash, lane->uid_hash, 16);
    pthread_mutex_lock(&store->lock);
    uint16_t flags_now = 0; /* somebody else may have stored the same UID meanwhile, or be about to */
    while (is_under_way(store, lane->uid_hash) && !store->stopped)
        pthread_cond_wait(&store->drained, &store->lock);
    /* Whoever looked at the folder since the lane has its name has met it: it is no duplicate of itself, and gets one place. */
    dicore_place *seen = dicore_table_at(&store->table, place.uid_hash, place.segment, place.unit);
    if (seen)
        dicore_table_set(&store->table, seen, DICORE_PLACE_GONE);
    verdict = judge(lane, &flags_now, &known, outcome);
    if (verdict != DICORE_NEW) {
        pthread_mutex_unlock(&store->lock);
        return given_up(lane, verdict, error);
    }
    if (flags_now != flags || is_younger(store, lane)) { /* the last to come has to look like it in the log, too */
        lane->received = dicore_store_received(store);
        status = write_header(lane, flags_now, error);
    }
    place.flags = flags_now & 15u;
    dicore_place_receive(&place, lane->received);
    if (status == DICORE_OK)
        status = dicore_table_add(&store->table, &place);
    if (status == DICORE_OK) {
        dicore_store_settle(store, dicore_table_at(&store->table, place.uid_hash, place.segment, place.unit));
        store->counters.appended++;
        store->counters.appended_bytes += dicore_record_size(lane->data_offset + lane->data_size);
        *outcome = DICORE_STORED;
    }
    pthread_mutex_unlock(&store->lock);
    if (status != DICORE_OK) {
        dicore_lane_abort(lane);
        return dicore_fail(error, status, 0, 0);
    }
    dicore_file_close(lane->file);
    lane->file = -1;
    return DICORE_OK;
}

void dicore_lane_abort(dicore_lane *lane)
{
    if (lane->file < 0)
        return;
    (void)dicore_file_unlink(lane->store->options.folder, lane->name, NULL);
    dicore_file_close(lane->file);
    lane->file = -1;
}
