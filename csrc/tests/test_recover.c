/* Segments cut, torn and flipped: what is whole is found, what is not is named, and nothing passes for what it is not. */
#include "store_fixture.h"

#define SIZES 5
static const size_t SIZE[SIZES] = {700, 5000, 64, 9000, 300};

/* A segment of five records; their offsets go to `offset`, the end to offset[SIZES]. */
static int five_records(dicore_durability durability, uint64_t offset[SIZES + 1])
{
    const int folder = fixture_folder();
    dicore_store *store = NULL;
    const dicore_store_options options = fixture_options(folder, durability);
    dicore_outcome outcome;
    const dicore_waiter *waiters;
    size_t count;
    char uid[16];
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    for (uint32_t i = 0; i < SIZES; i++) {
        snprintf(uid, sizeof uid, "1.2.%u", i);
        CHECK_EQ(fixture_append(store, uid, i, SIZE[i], &outcome, NULL), DICORE_OK);
        if (i != 1) { /* the second and third are one group */
            CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
            for (size_t k = 0; k < count; k++)
                offset[i + 1 - count + k] = (uint64_t)waiters[k].unit * DICORE_RECORD_UNIT;
        }
    }
    dicore_store_close(store);
    dicore_scan scan;
    int damaged, unreadable;
    CHECK_EQ(fixture_scan_segment(folder, 1, &scan, &damaged, &unreadable), SIZES);
    CHECK_EQ(damaged + unreadable + scan.dirty, 0);
    CHECK(scan.synced >= offset[3] && scan.synced <= offset[4] + 4096);
    offset[SIZES] = scan.end;
    return folder;
}

static int reopened(int folder, dicore_scan *scan)
{
    *scan = (dicore_scan){0};
    CHECK_EQ(dicore_segment_open(folder, 1, 1, &scan->file, &scan->info, NULL), DICORE_OK);
    scan->limit = (uint64_t)lseek(scan->file, 0, SEEK_END);
    return scan->file;
}

/* The last record as a crash may leave it: its first `kept` bytes written, zeros or noise behind. */
static void a_torn_tail_is_found_and_repaired_at_every_byte(dicore_durability durability)
{
    uint64_t offset[SIZES + 1];
    const int folder = five_records(durability, offset);
    const size_t size = (size_t)(offset[SIZES] - offset[SIZES - 1]);
    uint8_t *record = malloc(size), *torn = malloc(size);
    dicore_scan scan;
    int damaged, unreadable;
    const int file = reopened(folder, &scan);
    CHECK_EQ(pread(file, record, size, (off_t)offset[SIZES - 1]), size);
    const uint64_t before = offset[SIZES - 2] + dicore_record_size(0); /* the fourth record ends somewhere behind this */
    for (size_t kept = 0; kept < size; kept++) {
        memset(torn, kept % 3 == 0 ? 0xab : 0, size);
        memcpy(torn, record, kept);
        const int same = memcmp(torn, record, size) == 0; /* only padding was cut: nothing is missing */
        const int nothing = kept == 0 && torn[0] == 0;
        CHECK_EQ(pwrite(file, torn, size, (off_t)offset[SIZES - 1]), size);
        scan = (dicore_scan){.file = file, .info = scan.info, .limit = scan.limit};
        const int records = fixture_scan(&scan, &damaged, &unreadable);
        const int whole = records == SIZES;
        /* the padding behind the checksum may be anything */
        CHECK(whole == (same || memcmp(torn, record, (size_t)(size - 60)) == 0) || kept + 64 > size);
        CHECK_EQ(unreadable, 0);
        if (whole)
            continue;
        CHECK_EQ(records, SIZES - 1);
        CHECK(scan.end > before && scan.end <= offset[SIZES - 1]);
        CHECK_EQ(scan.dirty, !nothing && (kept > 0 || kept % 3 == 0));
        for (int twice = 0; twice < 2; twice++) { /* idempotent */
            CHECK_EQ(dicore_segment_repair(&scan, NULL), DICORE_OK);
            dicore_scan again = {.file = file, .info = scan.info, .limit = scan.limit};
            CHECK_EQ(fixture_scan(&again, &damaged, &unreadable), SIZES - 1);
            CHECK_EQ(damaged + unreadable + again.dirty, 0);
            CHECK_EQ(again.end, scan.end);
        }
    }
    free(record);
    free(torn);
    close(file);
    fixture_remove(folder);
}

static void a_repaired_segment_is_continued(dicore_durability durability)
{
    uint64_t offset[SIZES + 1];
    const int folder = five_records(durability, offset);
    dicore_scan scan;
    int damaged, unreadable;
    int file = reopened(folder, &scan);
    CHECK_EQ(pwrite(file, "torn", 4, (off_t)offset[SIZES - 1] + 100), 4);
    scan = (dicore_scan){.file = file, .info = scan.info, .limit = scan.limit};
    CHECK_EQ(fixture_scan(&scan, &damaged, &unreadable), SIZES - 1);
    CHECK_EQ(damaged, 1);
    CHECK_EQ(dicore_segment_repair(&scan, NULL), DICORE_OK);
    dicore_store *store = NULL;
    const dicore_store_options options = fixture_options(folder, durability);
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    CHECK_EQ(dicore_store_continue(store, &scan.info, file, scan.end, NULL), DICORE_OK);
    dicore_outcome outcome;
    const dicore_waiter *waiters;
    size_t count;
    CHECK_EQ(fixture_append(store, "1.2.9", 9, 100, &outcome, NULL), DICORE_OK);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    CHECK_EQ(waiters[0].segment, 1);
    dicore_store_close(store);
    CHECK_EQ(fixture_scan_segment(folder, 1, &scan, &damaged, &unreadable), SIZES);
    CHECK_EQ(damaged + unreadable + scan.dirty, 0);
    CHECK_EQ(fixture_count(folder), 1);
    fixture_remove(folder);
}

/* Each bit of the header and every 13th of the bytes: the record is named, all others are read. */
static void a_flipped_bit_costs_one_record_and_is_seen(void)
{
    uint64_t offset[SIZES + 1];
    const int folder = five_records(DICORE_SYNC_DATA, offset);
    dicore_scan scan;
    int damaged, unreadable;
    const int file = reopened(folder, &scan);
    for (int victim = 0; victim < SIZES; victim++) {
        const uint64_t used = offset[victim + 1] - offset[victim] - 64; /* not the padding */
        for (uint64_t bit = 0; bit < used * 8; bit += bit < 512 ? 1 : 131) {
            uint8_t byte;
            const off_t at = (off_t)(offset[victim] + bit / 8);
            CHECK_EQ(pread(file, &byte, 1, at), 1);
            byte ^= (uint8_t)(1u << bit % 8);
            CHECK_EQ(pwrite(file, &byte, 1, at), 1);
            scan = (dicore_scan){.file = file, .info = scan.info, .limit = scan.limit};
            CHECK_EQ(fixture_scan(&scan, &damaged, &unreadable), SIZES - 1);
            if (bit >= 512)
                CHECK_EQ(damaged, 1);
            else if (victim < SIZES - 1)
                CHECK_EQ(unreadable, 1);
            else
                CHECK_EQ(scan.dirty, 1); /* the last one cannot be told from a torn write */
            byte ^= (uint8_t)(1u << bit % 8);
            CHECK_EQ(pwrite(file, &byte, 1, at), 1);
        }
    }
    close(file);
    fixture_remove(folder);
}

static void records_that_were_there_are_missed(void)
{
    uint64_t offset[SIZES + 1];
    const int folder = five_records(DICORE_SYNC_DATA, offset);
    dicore_scan scan;
    int damaged, unreadable;
    int file = reopened(folder, &scan);
    for (uint64_t cut = DICORE_SEGMENT_HEADER; cut < offset[SIZES]; cut += 97) { /* the file is cut, or zeros from there on */
        for (int zeros = 0; zeros < 2; zeros++) {
            char name[96];
            snprintf(name, sizeof name, "%s/cut", fixture_path);
            const int copy = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
            uint8_t *bytes = calloc(1, (size_t)offset[SIZES]);
            CHECK_EQ(pread(file, bytes, (size_t)cut, 0), cut);
            CHECK_EQ(pwrite(copy, bytes, (size_t)(zeros ? offset[SIZES] : cut), 0), zeros ? offset[SIZES] : cut);
            free(bytes);
            scan = (dicore_scan){.file = copy, .info = scan.info, .limit = zeros ? offset[SIZES] : cut, .expected = offset[SIZES]};
            const int records = fixture_scan(&scan, &damaged, &unreadable);
            int want = 0;
            for (int i = 0; i < SIZES; i++)
                want += offset[i + 1] <= cut;
            CHECK(records == want || records == want + 1); /* + 1: only padding of the last was cut by zeros */
            CHECK(damaged + unreadable >= 1 || records == SIZES);
            close(copy);
        }
    }
    close(file);
    fixture_remove(folder);
}

static void an_instance_full_of_headers_is_no_way_in(void)
{
    /* a peer sends records as data, and the header before them is damaged: none of them is believed */
    uint64_t offset[SIZES + 1];
    const int folder = fixture_folder();
    dicore_store *store = NULL;
    const dicore_store_options options = fixture_options(folder, DICORE_SYNC_DATA);
    dicore_outcome outcome;
    const dicore_waiter *waiters;
    size_t count;
    CHECK_EQ(dicore_store_open(&options, &store, NULL), DICORE_OK);
    const size_t size = 40000;
    uint8_t *bytes = calloc(1, size);
    for (uint64_t at = 0; at + 64 <= size; at += 64) {
        dicore_record record = {.file_size = 0};
        dicore_record_write_header(&record, 12345, DICORE_SEGMENT_HEADER + at, bytes + at);
    }
    const dicore_span piece = {bytes, size};
    const dicore_instance instance = {.sop_class = text("1.2"), .sop_instance = text("1.3"), .transfer_syntax = text("1.4"),
                                      .pieces = &piece, .count = 1};
    CHECK_EQ(dicore_store_append(store, &instance, &outcome, NULL), DICORE_OK);
    CHECK_EQ(fixture_append(store, "1.5", 1, 100, &outcome, NULL), DICORE_OK);
    CHECK_EQ(dicore_store_commit(store, &waiters, &count), DICORE_OK);
    offset[0] = (uint64_t)waiters[0].unit * 64;
    dicore_store_close(store);
    dicore_scan scan;
    int damaged, unreadable;
    const int file = reopened(folder, &scan);
    CHECK_EQ(pwrite(file, "X", 1, (off_t)offset[0]), 1);
    scan = (dicore_scan){.file = file, .info = scan.info, .limit = scan.limit};
    CHECK_EQ(fixture_scan(&scan, &damaged, &unreadable), 1);
    CHECK_EQ(unreadable, 1);
    close(file);
    free(bytes);
    fixture_remove(folder);
}

int main(void)
{
    for (int i = DICORE_SYNC_DATA; i <= DICORE_SYNC_DIRECT; i++) {
        a_torn_tail_is_found_and_repaired_at_every_byte((dicore_durability)i);
        a_repaired_segment_is_continued((dicore_durability)i);
    }
    a_flipped_bit_costs_one_record_and_is_seen();
    records_that_were_there_are_missed();
    an_instance_full_of_headers_is_no_way_in();
    return check_result("test_recover");
}
