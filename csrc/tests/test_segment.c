/* The writer: append, commit, duplicates, roll-over, failing syncs, refused memory, many threads. */
#include "store/table.h"
#include "store_fixture.h"

#include <errno.h>

static dicore_store *opened(int folder, dicore_durability durability, dicore_duplicates duplicates)
{
    dicore_store *store = NULL;
    dicore_store_options options = fixture_options(folder, durability);
    options.duplicates = duplicates;
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    return store;
}

static size_t found(dicore_store *store, const char *uid)
{
    uint8_t hash[16];
    dicore_place places[8];
    dicore_uid_hash(uid, strlen(uid), hash);
    return dicore_store_find(store, hash, places, 8);
}

static void segment_headers_are_checked(void)
{
    uint8_t bytes[DICORE_SEGMENT_HEADER];
    dicore_segment_info info = {.id = 7, .nonce = 0x1122334455667788u, .size = 1 << 20, .created = 5, .flags = 1}, got;
    dicore_error error;
    dicore_segment_write_header(&info, bytes);
    CHECK_EQ(dicore_segment_read_header(bytes, sizeof bytes, &got, &error), DICORE_OK);
    CHECK(got.id == 7 && got.nonce == info.nonce && got.size == 1 << 20 && got.created == 5 && got.flags == 1);
    CHECK_EQ(dicore_segment_read_header(bytes, sizeof bytes - 1, &got, &error), DICORE_TRUNCATED);
    for (size_t i = 0; i < sizeof bytes; i += i < 64 ? 1 : 61) {
        bytes[i] ^= 1;
        CHECK_EQ(dicore_segment_read_header(bytes, sizeof bytes, &got, &error), DICORE_BAD_SEGMENT);
        bytes[i] ^= 1;
    }
}

static void a_segment_is_made_once_and_locked(void)
{
    const int folder = fixture_folder();
    dicore_segment_info first = {.id = 1, .nonce = 1, .size = 1 << 20}, second = {.id = 1, .nonce = 2, .size = 1 << 20}, got;
    int a, b, c;
    CHECK_EQ(dicore_segment_create(folder, &first, &a, NULL), DICORE_OK);
    CHECK_EQ(dicore_segment_create(folder, &second, &b, NULL), DICORE_OK);
    CHECK_EQ(first.id, 1);
    CHECK_EQ(second.id, 2); /* the number was taken */
    CHECK_EQ(fixture_count(folder), 2);
    CHECK_EQ(dicore_segment_open(folder, 1, 1, &c, &got, NULL), DICORE_LIMIT);
    close(a);
    CHECK_EQ(dicore_segment_open(folder, 1, 1, &c, &got, NULL), DICORE_OK);
    CHECK_EQ(got.nonce, 1);
    close(b);
    close(c);
    CHECK_EQ(renameat(folder, "0000000002.seg", folder, "0000000003.seg"), 0);
    CHECK_EQ(dicore_segment_open(folder, 3, 0, &c, &got, NULL), DICORE_BAD_SEGMENT); /* under another one's name */
    CHECK_EQ(dicore_segment_open(folder, 4, 0, &c, &got, NULL), DICORE_IO);
    fixture_remove(folder);
}

static void what_is_committed_is_found_and_not_before(dicore_durability durability)
{
    const int folder = fixture_folder();
    dicore_store *store = opened(folder, durability, DICORE_KEEP_FIRST);
    dicore_outcome outcome;
    dicore_error error;
    const dicore_waiter *waiters;
    size_t count;
    CHECK_EQ(fixture_append(store, "1.2.3", 1, 50000, &outcome, &error), DICORE_OK);
    CHECK_EQ(outcome, DICORE_WAITS);
    CHECK_EQ(fixture_append(store, "1.2.4", 2, 1, &outcome, &error), DICORE_OK);
    CHECK_EQ(fixture_append(store, "1.2.3", 1, 50000, &outcome, &error), DICORE_OK); /* the same, still on its way */
    CHECK_EQ(outcome, DICORE_WAITS);
    CHECK_EQ(found(store, "1.2.3"), 0);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(count, 3);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(waiters[i].status, DICORE_OK);
    CHECK_EQ((uintptr_t)waiters[1].token, 3);
    CHECK_EQ(found(store, "1.2.3"), 1);
    CHECK_EQ(fixture_append(store, "1.2.3", 1, 50000, &outcome, &error), DICORE_OK);
    CHECK_EQ(outcome, DICORE_DUPLICATE);
    CHECK_EQ(fixture_append(store, "1.2.5", 3, 20000, &outcome, &error), DICORE_OK);
    dicore_store_stop(store);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK); /* what waits is still committed */
    CHECK_EQ(count, 1);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_END);
    CHECK_EQ(fixture_append(store, "1.2.6", 3, 20000, &outcome, &error), DICORE_BAD_STATE);
    dicore_store_close(store);
    dicore_scan scan;
    int damaged, unreadable;
    CHECK_EQ(fixture_scan_segment(folder, 1, &scan, &damaged, &unreadable), 3);
    CHECK_EQ(damaged + unreadable + scan.dirty, 0);
    fixture_remove(folder);
    CHECK_EQ(fixture_blocks, 0);
}

static void duplicates_follow_the_policy(void)
{
    const dicore_duplicates policies[] = {DICORE_KEEP_FIRST, DICORE_REPLACE, DICORE_KEEP_BOTH, DICORE_REJECT};
    const dicore_outcome outcomes[] = {DICORE_DUPLICATE, DICORE_STORED, DICORE_STORED, DICORE_CONFLICT};
    const size_t places[] = {1, 1, 2, 1}, records[] = {1, 2, 2, 1};
    for (int i = 0; i < 4; i++) {
        const int folder = fixture_folder();
        dicore_store *store = opened(folder, DICORE_RELAXED, policies[i]);
        dicore_outcome outcome;
        CHECK_EQ(fixture_append(store, "1.2.3", 1, 5000, &outcome, NULL), DICORE_OK);
        CHECK_EQ(outcome, DICORE_STORED);
        CHECK_EQ(fixture_append(store, "1.2.3", 2, 5000, &outcome, NULL), DICORE_OK);
        CHECK_EQ(outcome, outcomes[i]);
        CHECK_EQ(fixture_append(store, "1.2.3", 1, 4999, &outcome, NULL), DICORE_OK);
        CHECK_EQ(outcome, outcomes[i]);
        CHECK_EQ(found(store, "1.2.3"), places[i] + (policies[i] == DICORE_KEEP_BOTH));
        dicore_store_close(store);

        /* and it is so after loading what a scan finds */
        dicore_scan scan = {0};
        CHECK_EQ(dicore_segment_open(folder, 1, 0, &scan.file, &scan.info, NULL), DICORE_OK);
        scan.limit = (uint64_t)lseek(scan.file, 0, SEEK_END);
        static uint8_t buffer[65536];
        scan.buffer = buffer;
        scan.capacity = sizeof buffer;
        scan.offset = DICORE_SEGMENT_HEADER;
        store = opened(folder, DICORE_RELAXED, policies[i]);
        dicore_found item;
        size_t seen = 0;
        while (dicore_scan_next(&scan, &item) == DICORE_OK) {
            dicore_store_entry entry = {.received = item.record.received, .unit = (uint32_t)(item.offset / 64),
                                        .units = (uint32_t)(item.size / 64), .data_crc = item.record.data_crc,
                                        .flags = item.record.flags};
            memcpy(entry.uid_hash, item.record.uid_hash, 16);
            CHECK_EQ(dicore_store_load(store, 1, &entry, 1), DICORE_OK);
            seen++;
        }
        close(scan.file);
        CHECK_EQ(seen, records[i] + (records[i] == 2));
        CHECK_EQ(found(store, "1.2.3"), places[i] + (policies[i] == DICORE_KEEP_BOTH));
        dicore_store_close(store);
        fixture_remove(folder);
    }
}

static void a_full_segment_is_followed_by_the_next(dicore_durability durability)
{
    const int folder = fixture_folder();
    dicore_store *store = opened(folder, durability, DICORE_KEEP_FIRST);
    dicore_outcome outcome;
    dicore_error error = {0};
    const dicore_waiter *waiters;
    dicore_task task;
    size_t count;
    char uid[32];
    for (uint32_t i = 0; i < 12; i++) { /* 12 x 300,000 bytes into segments of 1 MiB: three in each */
        snprintf(uid, sizeof uid, "1.2.%u", i);
        CHECK_EQ(fixture_append(store, uid, i, 300000, &outcome, &error), DICORE_OK);
        CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
        CHECK_EQ(count, 1);
        CHECK_EQ(waiters[0].status, DICORE_OK);
    }
    CHECK_EQ(fixture_append(store, "1.3", 1, 2 << 20, &outcome, &error), DICORE_LIMIT); /* longer than a segment */
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(dicore_store_work(store, &task), DICORE_OK);
        CHECK_EQ(task.kind, DICORE_TASK_SEAL);
        CHECK_EQ(task.info.id, i + 1);
        dicore_store_sealed(store, task.info.id);
    }
    for (uint32_t i = 0; i < 12; i++) {
        snprintf(uid, sizeof uid, "1.2.%u", i);
        CHECK_EQ(found(store, uid), 1);
        CHECK_EQ(fixture_append(store, uid, i, 300000, &outcome, &error), DICORE_OK);
        CHECK_EQ(outcome, DICORE_DUPLICATE);
    }
    dicore_store_stop(store);
    CHECK_EQ(dicore_store_work(store, &task), DICORE_END);
    dicore_store_close(store);
    int total = 0, damaged, unreadable;
    dicore_scan scan;
    for (uint64_t id = 1; id <= 4; id++) {
        total += fixture_scan_segment(folder, id, &scan, &damaged, &unreadable);
        CHECK_EQ(damaged + unreadable + scan.dirty, 0);
        CHECK_EQ(scan.limit, DICORE_SEGMENT_MIN); /* punched, not cut */
    }
    CHECK_EQ(total, 12);
    fixture_remove(folder);
    CHECK_EQ(fixture_blocks, 0);
}

static void a_failed_sync_poisons_the_segment(dicore_durability durability)
{
    const int folder = fixture_folder();
    dicore_store *store = NULL;
    dicore_store_options options = fixture_options(folder, durability);
    options.failpoint = DICORE_FAIL_SYNC_ERROR;
    options.failpoint_countdown = 2;
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    dicore_outcome outcome;
    dicore_error error;
    const dicore_waiter *waiters;
    dicore_store_counters counters;
    size_t count;
    CHECK_EQ(fixture_append(store, "1.1", 1, 9000, &outcome, &error), DICORE_OK);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(waiters[0].status, DICORE_OK);
    CHECK_EQ(fixture_append(store, "1.2", 2, 9000, &outcome, &error), DICORE_OK);
    CHECK_EQ(fixture_append(store, "1.2", 2, 9000, &outcome, &error), DICORE_OK);
    CHECK_EQ(fixture_append(store, "1.3", 3, 9000, &outcome, &error), DICORE_OK);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(count, 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(waiters[i].status, DICORE_POISONED);
        CHECK_EQ(waiters[i].system, EIO);
    }
    CHECK_EQ(found(store, "1.1"), 1); /* reading goes on */
    CHECK_EQ(found(store, "1.2"), 0);
    CHECK_EQ(fixture_append(store, "1.2", 2, 9000, &outcome, &error), DICORE_OK); /* again, and into another segment */
    CHECK_EQ(outcome, DICORE_WAITS);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(waiters[0].status, DICORE_OK);
    dicore_store_count(store, &counters);
    CHECK_EQ(counters.segment, 2);
    CHECK_EQ(counters.syncs_failed, 1);
    CHECK_EQ(counters.instances, 2);
    CHECK_EQ(counters.waiting, 0);
    dicore_task task;
    CHECK_EQ(dicore_store_work(store, &task), DICORE_OK);
    CHECK_EQ(task.kind, DICORE_TASK_SEAL);
    CHECK_EQ(task.info.id, 1);
    CHECK(task.end < 16384 + 4096); /* the failed group is outside */
    dicore_store_sealed(store, 1);
    dicore_store_stop(store);
    dicore_store_close(store);
    fixture_remove(folder);
    CHECK_EQ(fixture_blocks, 0);
}

static void relaxed_storing_stops_after_a_failed_sync(void)
{
    const int folder = fixture_folder();
    dicore_store *store = NULL;
    dicore_store_options options = fixture_options(folder, DICORE_RELAXED);
    options.failpoint = DICORE_FAIL_SYNC_ERROR;
    options.failpoint_countdown = 1;
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    dicore_outcome outcome;
    const dicore_waiter *waiters;
    size_t count;
    CHECK_EQ(fixture_append(store, "1.1", 1, 9000, &outcome, NULL), DICORE_OK);
    CHECK_EQ(outcome, DICORE_STORED);
    CHECK_EQ(found(store, "1.1"), 1);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(count, 0);
    CHECK_EQ(fixture_append(store, "1.2", 1, 9000, &outcome, NULL), DICORE_POISONED);
    dicore_store_stop(store);
    dicore_store_close(store);
    fixture_remove(folder);
}

static void a_failed_write_costs_a_segment_and_a_full_disk_is_said(dicore_failpoint point, int system)
{
    const int folder = fixture_folder();
    dicore_store *store = NULL;
    dicore_store_options options = fixture_options(folder, DICORE_SYNC_DATA);
    options.failpoint = point;
    options.failpoint_countdown = 2;
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    dicore_outcome outcome;
    dicore_error error;
    const dicore_waiter *waiters;
    size_t count;
    CHECK_EQ(fixture_append(store, "1.1", 1, 9000, &outcome, &error), DICORE_OK);
    CHECK_EQ(fixture_append(store, "1.2", 2, 9000, &outcome, &error), DICORE_IO);
    CHECK_EQ(error.system, system);
    CHECK_EQ(fixture_append(store, "1.2", 2, 9000, &outcome, &error), DICORE_OK);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(count, 2); /* what was written before is synced all the same */
    CHECK(waiters[0].status == DICORE_OK && waiters[1].status == DICORE_OK && waiters[0].segment != waiters[1].segment);
    dicore_store_stop(store);
    dicore_store_close(store);
    fixture_remove(folder);
}

static void refused_memory_is_an_error_and_leaks_nothing(void)
{
    for (long n = 0; n < 12; n++) {
        const int folder = fixture_folder();
        dicore_store *store = NULL;
        const dicore_store_options options = fixture_options(folder, DICORE_SYNC_DIRECT);
        dicore_outcome outcome;
        const dicore_waiter *waiters;
        size_t count;
        fixture_refuse = n;
        if (dicore_store_open(&options, &store, NULL) == DICORE_OK) {
            const dicore_status status = fixture_append(store, "1.1", 1, 9000, &outcome, NULL);
            CHECK(status == DICORE_OK || status == DICORE_NO_MEMORY);
            fixture_refuse = -1;
            CHECK_EQ(fixture_append(store, "1.2", 2, 9000, &outcome, NULL), DICORE_OK);
            CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
            CHECK_EQ(count, status == DICORE_OK ? 2 : 1);
            dicore_store_close(store);
        }
        fixture_refuse = -1;
        fixture_remove(folder);
        CHECK_EQ(fixture_blocks, 0);
    }
}

static void a_lane_appears_whole_or_not_at_all(void)
{
    const int folder = fixture_folder();
    dicore_store *store = opened(folder, DICORE_SYNC_DIRECT, DICORE_KEEP_FIRST);
    uint8_t *bytes = fixture_bytes(9, 3 << 20);
    const dicore_instance instance = {.sop_class = text("1.2.840.10008.5.1.4.1.1.2"), .sop_instance = text("1.9"),
                                      .transfer_syntax = text("1.2.840.10008.1.2")};
    for (int round = 0; round < 3; round++) {
        dicore_lane lane;
        dicore_outcome outcome;
        CHECK_EQ(dicore_lane_begin(store, &instance, &lane, NULL), DICORE_OK);
        for (size_t at = 0; at < 3 << 20; at += 1 << 18) {
            const dicore_span pieces[2] = {{bytes + at, 1000}, {bytes + at + 1000, (1 << 18) - 1000}};
            CHECK_EQ(dicore_lane_write(&lane, pieces, 2, NULL), DICORE_OK);
        }
        if (round == 0) {
            CHECK_EQ(fixture_count(folder), 1);
            dicore_lane_abort(&lane);
            CHECK_EQ(fixture_count(folder), 0);
            CHECK_EQ(found(store, "1.9"), 0);
        } else {
            CHECK_EQ(dicore_lane_commit(&lane, &outcome, NULL), DICORE_OK);
            CHECK_EQ(outcome, round == 1 ? DICORE_STORED : DICORE_DUPLICATE);
            CHECK_EQ(fixture_count(folder), 1);
            CHECK_EQ(found(store, "1.9"), 1);
        }
    }
    dicore_store_close(store);
    dicore_scan scan;
    int damaged, unreadable;
    CHECK_EQ(fixture_scan_segment(folder, 1, &scan, &damaged, &unreadable), 1);
    CHECK_EQ(damaged + unreadable, 0);
    CHECK(scan.info.flags & DICORE_SEGMENT_SINGLE);
    free(bytes);
    fixture_remove(folder);
    CHECK_EQ(fixture_blocks, 0);
}

typedef struct crowd { dicore_store *store; int number; } crowd;
#define CROWD 6
#define EACH 120

static void *append_many(void *argument)
{
    const crowd *me = argument;
    dicore_outcome outcome;
    char uid[48];
    for (int i = 0; i < EACH; i++) { /* every second UID is everybody's */
        snprintf(uid, sizeof uid, i % 2 ? "1.7.%d" : "1.8.%d.%d", i, me->number);
        const uint32_t seed = i % 2 ? (uint32_t)i : (uint32_t)(i * 100 + me->number);
        if (fixture_append(me->store, uid, seed, 7000 + (size_t)i * 40, &outcome, NULL) != DICORE_OK)
            refuse_end(), abort();
    }
    return NULL;
}

static void *commit_all(void *argument)
{
    const dicore_waiter *waiters;
    size_t count, bad = 0;
    while (dicore_store_commit(argument, &waiters, &count) == DICORE_OK)
        for (size_t i = 0; i < count; i++)
            bad += waiters[i].status != DICORE_OK;
    return (void *)bad;
}

static void *work_all(void *argument)
{
    dicore_task task;
    while (dicore_store_work(argument, &task) == DICORE_OK)
        if (task.kind == DICORE_TASK_SEAL)
            dicore_store_sealed(argument, task.info.id);
    return NULL;
}

static void many_threads_store_each_instance_once(dicore_durability durability)
{
    const int folder = fixture_folder();
    dicore_store *store = NULL;
    dicore_store_options options = fixture_options(folder, durability);
    options.fill_ahead = 1 << 19;
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    pthread_t threads[CROWD], committer, worker;
    crowd people[CROWD];
    pthread_create(&committer, NULL, commit_all, store);
    pthread_create(&worker, NULL, work_all, store);
    for (int i = 0; i < CROWD; i++) {
        people[i] = (crowd){store, i};
        pthread_create(&threads[i], NULL, append_many, &people[i]);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    dicore_store_stop(store);
    void *bad;
    pthread_join(committer, &bad);
    pthread_join(worker, NULL);
    CHECK_EQ((uintptr_t)bad, 0);
    dicore_store_counters counters;
    dicore_store_count(store, &counters);
    CHECK_EQ(counters.instances, CROWD * EACH / 2 + EACH / 2);
    CHECK_EQ(counters.appended, counters.instances);
    CHECK_EQ(counters.waiting, 0);
    dicore_store_close(store);
    int total = 0, damaged, unreadable;
    dicore_scan scan;
    for (uint64_t id = 1; id < 40; id++) { /* a spare without records was unlinked, so a number may be missing */
        const int records = fixture_scan_segment(folder, id, &scan, &damaged, &unreadable);
        if (records < 0)
            continue;
        total += records;
        CHECK_EQ(damaged + unreadable + scan.dirty, 0);
    }
    CHECK_EQ(total, CROWD * EACH / 2 + EACH / 2);
    fixture_remove(folder);
    CHECK_EQ(fixture_blocks, 0);
}

static void the_table_keeps_order_through_growth(void)
{
    dicore_table table = {.allocator = {fixture_resize, NULL}};
    dicore_place place = {.state = DICORE_PLACE_STORED};
    for (uint32_t i = 0; i < 20000; i++) { /* 4,000 hashes in one corner of the table, five places each */
        place.uid_hash[0] = (uint8_t)(i % 40);
        place.uid_hash[15] = (uint8_t)(i % 4000 / 40);
        place.segment = 1 + i / 4000;
        place.unit = i;
        CHECK_EQ(dicore_table_add(&table, &place), DICORE_OK);
    }
    CHECK_EQ(table.stored, 20000);
    for (uint32_t i = 0; i < 4000; i += 7) {
        uint8_t hash[16] = {(uint8_t)(i % 40)};
        hash[15] = (uint8_t)(i / 40);
        size_t cursor = 0;
        for (uint32_t n = 1; n <= 5; n++) {
            const dicore_place *got = dicore_table_next(&table, hash, &cursor);
            CHECK(got && got->segment == n);
        }
        CHECK(dicore_table_next(&table, hash, &cursor) == NULL);
        dicore_table_set(&table, dicore_table_at(&table, hash, 3, i + 8000), DICORE_PLACE_GONE);
        CHECK(dicore_table_at(&table, hash, 3, i + 8000) == NULL);
        CHECK(dicore_table_at(&table, hash, 4, i + 12000) != NULL);
    }
    dicore_table_free(&table);
    CHECK_EQ(fixture_blocks, 0);
}

int main(void)
{
    segment_headers_are_checked();
    a_segment_is_made_once_and_locked();
    the_table_keeps_order_through_growth();
    duplicates_follow_the_policy();
    for (int i = DICORE_SYNC_DATA; i <= DICORE_SYNC_DIRECT; i++) {
        what_is_committed_is_found_and_not_before((dicore_durability)i);
        a_full_segment_is_followed_by_the_next((dicore_durability)i);
        a_failed_sync_poisons_the_segment((dicore_durability)i);
        many_threads_store_each_instance_once((dicore_durability)i);
    }
    many_threads_store_each_instance_once(DICORE_RELAXED);
    relaxed_storing_stops_after_a_failed_sync();
    a_failed_write_costs_a_segment_and_a_full_disk_is_said(DICORE_FAIL_WRITE_ERROR, EIO);
    a_failed_write_costs_a_segment_and_a_full_disk_is_said(DICORE_FAIL_WRITE_FULL, ENOSPC);
    refused_memory_is_an_error_and_leaks_nothing();
    a_lane_appears_whole_or_not_at_all();
    return check_result("test_segment");
}
