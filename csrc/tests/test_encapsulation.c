#include "check.h"
#include "dicore/pixel.h"

static size_t put_item(uint8_t *at, uint32_t length, const void *value, size_t stored)
{
    static const uint8_t tag[4] = {0xFE, 0xFF, 0x00, 0xE0};
    memcpy(at, tag, 4);
    for (int i = 0; i < 4; i++)
        at[4 + i] = (uint8_t)(length >> (8 * i));
    if (stored)
        memcpy(at + 8, value, stored);
    return 8 + stored;
}

static size_t put_table(uint8_t *at, const uint32_t *offsets, size_t count)
{
    uint8_t bytes[64];
    for (size_t i = 0; i < count * 4; i++)
        bytes[i] = (uint8_t)(offsets[i / 4] >> (8 * (i % 4)));
    return put_item(at, (uint32_t)count * 4, bytes, count * 4);
}

#define JPEG "\xFF\xD8\xFF\xE0"
#define TAIL "..\xFF\xD9"

typedef struct outcome {
    dicore_status read, resolve;
    dicore_encapsulation e;
    dicore_fragment fragments[16];
    dicore_frame frames[16];
    uint64_t found;
    dicore_frames_source source;
} outcome;

/* Everything from a copy that ends at a guard page. */
static outcome run(const uint8_t *items, size_t size, uint64_t wanted, dicore_span offsets, dicore_span lengths)
{
    outcome o = {0};
    uint8_t *copy = guarded_copy(items, size);
    o.read = dicore_fragments_read(size ? copy : NULL, size, o.fragments, 16, &o.e, NULL);
    o.resolve = DICORE_BAD_FRAGMENTS;
    if (o.read == DICORE_OK)
        o.resolve = dicore_frames_resolve(copy, size, &o.e, o.fragments, wanted, offsets, lengths, o.frames, &o.found,
                                          &o.source, NULL);
    guarded_free(copy, size);
    return o;
}

static const dicore_span NONE = {0};

static void test_basic_table(void)
{
    uint8_t b[256];
    uint32_t offsets[] = {0, 24};
    size_t n = put_table(b, offsets, 2);
    n += put_item(b + n, 4, JPEG, 4);
    n += put_item(b + n, 4, "part", 4);
    n += put_item(b + n, 6, JPEG "ab", 6);
    outcome o = run(b, n, 2, NONE, NONE);
    CHECK_EQ(o.read, DICORE_OK);
    CHECK_EQ(o.e.count, 3);
    CHECK_EQ(o.e.origin, 16);
    CHECK_EQ(o.e.table_length, 8);
    CHECK_EQ(o.e.end, n);
    CHECK(!o.e.damaged && !o.e.truncated);
    CHECK_EQ(o.resolve, DICORE_OK);
    CHECK_EQ(o.source, DICORE_FROM_BASIC);
    CHECK_EQ(o.found, 2);
    CHECK_EQ(o.frames[0].first, 0);
    CHECK_EQ(o.frames[0].count, 2);
    CHECK_EQ(o.frames[0].size, 8);
    CHECK_EQ(o.frames[1].first, 2);
    CHECK_EQ(o.frames[1].count, 1);
    CHECK_EQ(o.frames[1].size, 6);
}

static void test_lying_tables_are_rebuilt(void)
{
    static const uint32_t lies[][2] = {{0, 8}, {0, 23}, {0, 0}, {24, 0}, {24, 36}, {0, 0xFFFFFFFF}, {0, 36}};
    for (size_t lie = 0; lie < sizeof lies / sizeof *lies; lie++) {
        uint8_t b[256];
        size_t n = put_table(b, lies[lie], 2);
        n += put_item(b + n, 4, JPEG, 4);
        n += put_item(b + n, 4, TAIL, 4);
        n += put_item(b + n, 4, JPEG, 4);
        outcome o = run(b, n, 2, NONE, NONE);
        CHECK_EQ(o.resolve, DICORE_OK);
        CHECK_EQ(o.source, DICORE_FROM_FRAGMENTS);
        CHECK_EQ(o.found, 2);
        CHECK_EQ(o.frames[0].count, 2);
        CHECK_EQ(o.frames[0].size, 8);
        CHECK_EQ(o.frames[1].first, 2);
        CHECK_EQ(o.frames[1].count, 1);
    }
}

static void test_a_table_with_more_frames_than_wanted_holds(void)
{
    uint8_t b[256];
    uint32_t offsets[] = {0, 12, 24};
    size_t n = put_table(b, offsets, 3);
    for (int i = 0; i < 3; i++)
        n += put_item(b + n, 4, JPEG, 4);
    outcome o = run(b, n, 2, NONE, NONE);
    CHECK_EQ(o.source, DICORE_FROM_BASIC);
    CHECK_EQ(o.found, 2);
    CHECK_EQ(o.frames[1].first, 1);
    CHECK_EQ(o.frames[1].count, 1);
    CHECK_EQ(o.frames[1].size, 4);
}

static void test_extended_table(void)
{
    uint8_t b[256], offsets[16] = {0}, lengths[16] = {0};
    size_t n = put_table(b, NULL, 0);
    n += put_item(b + n, 4, "abc\0", 4);
    n += put_item(b + n, 4, "defg", 4);
    offsets[8] = 12;
    lengths[0] = 3; /* without the padding */
    lengths[8] = 4;
    dicore_span o8 = {offsets, 16}, l8 = {lengths, 16};
    outcome o = run(b, n, 2, o8, l8);
    CHECK_EQ(o.source, DICORE_FROM_EXTENDED);
    CHECK_EQ(o.frames[0].size, 3);
    CHECK_EQ(o.frames[1].size, 4);
    CHECK_EQ(o.frames[1].first, 1);
    lengths[8] = 5; /* longer than its fragment */
    CHECK_EQ(run(b, n, 2, o8, l8).source, DICORE_FROM_FRAGMENTS);
    lengths[8] = 4;
    l8.size = 8; /* one length for two frames */
    CHECK_EQ(run(b, n, 2, o8, l8).source, DICORE_FROM_FRAGMENTS);
    l8.size = 16;
    offsets[15] = 0x80; /* beyond any file: must not wrap */
    o = run(b, n, 2, o8, l8);
    CHECK_EQ(o.source, DICORE_FROM_FRAGMENTS);
    CHECK_EQ(o.found, 2);
}

static void test_no_table(void)
{
    uint8_t b[512];
    size_t n = put_table(b, NULL, 0);
    n += put_item(b + n, 4, "1234", 4);
    n += put_item(b + n, 4, "5678", 4);
    n += put_item(b + n, 0, NULL, 0); /* empty at the end: no frame's */
    n += put_item(b + n, 0, NULL, 0);
    outcome o = run(b, n, 1, NONE, NONE);
    CHECK_EQ(o.e.count, 2);
    CHECK_EQ(o.found, 1);
    CHECK_EQ(o.frames[0].count, 2);
    o = run(b, n, 2, NONE, NONE);
    CHECK_EQ(o.found, 2);
    CHECK_EQ(o.frames[1].first, 1);
    o = run(b, n, 5, NONE, NONE); /* fewer fragments than frames: those that are there */
    CHECK_EQ(o.resolve, DICORE_OK);
    CHECK_EQ(o.found, 2);
    CHECK_EQ(run(b, n, 0, NONE, NONE).resolve, DICORE_BAD_ARGUMENT);
    n = put_table(b, NULL, 0);
    n += put_item(b + n, 4, "1234", 4);
    n += put_item(b + n, 4, "5678", 4);
    n += put_item(b + n, 4, "9abc", 4);
    CHECK_EQ(run(b, n, 2, NONE, NONE).resolve, DICORE_BAD_FRAGMENTS); /* nothing says which belong together */
    n = put_table(b, NULL, 0);
    n += put_item(b + n, 4, TAIL, 4);
    n += put_item(b + n, 4, "5678", 4);
    n += put_item(b + n, 6, TAIL "\0\0", 6);
    o = run(b, n, 2, NONE, NONE); /* the ends of the streams say it */
    CHECK_EQ(o.resolve, DICORE_OK);
    CHECK_EQ(o.frames[0].count, 1);
    CHECK_EQ(o.frames[1].count, 2);
    CHECK_EQ(o.frames[1].size, 10);
}

static void test_missing_table_item(void)
{
    uint8_t b[128];
    size_t n = put_item(b, 6, JPEG "ab", 6);
    outcome o = run(b, n, 1, NONE, NONE);
    CHECK_EQ(o.e.count, 1);
    CHECK_EQ(o.e.origin, 0);
    CHECK_EQ(o.frames[0].size, 6);
}

static void test_damage(void)
{
    uint8_t b[128] = {0};
    CHECK_EQ(run(b, 0, 1, NONE, NONE).read, DICORE_BAD_FRAGMENTS);
    memset(b, 0xFF, sizeof b);
    CHECK_EQ(run(b, 64, 1, NONE, NONE).read, DICORE_BAD_FRAGMENTS);
    size_t n = put_item(b, 0xFFFFFFFF, NULL, 0); /* a table of undefined length */
    CHECK_EQ(run(b, n + 32, 1, NONE, NONE).read, DICORE_BAD_FRAGMENTS);
    n = put_table(b, NULL, 0);
    n += put_item(b + n, 4, "1234", 4);
    size_t good = n;
    n += put_item(b + n, 0xFFFFFFFF, "5678", 4);
    outcome o = run(b, n, 2, NONE, NONE);
    CHECK(o.e.damaged && o.e.truncated);
    CHECK_EQ(o.e.count, 2);
    CHECK_EQ(o.fragments[1].length, 4);
    memcpy(b + good, "\x10\x00\x20\x00\x04\x00\x00\x00", 8); /* another element where an item belongs */
    o = run(b, n, 2, NONE, NONE);
    CHECK(o.e.damaged && !o.e.truncated);
    CHECK_EQ(o.e.end, good);
    CHECK_EQ(o.found, 1);
    memcpy(b + good, "\xFE\xFF\xDD\xE0\x00\x00\x00\x00", 8); /* the delimiter ends it, without damage */
    o = run(b, n, 1, NONE, NONE);
    CHECK(!o.e.damaged);
    CHECK_EQ(o.e.end, good);
}

static void test_capacity(void)
{
    uint8_t b[128];
    dicore_encapsulation e;
    dicore_fragment one[1];
    size_t n = put_table(b, NULL, 0);
    n += put_item(b + n, 4, "1234", 4);
    n += put_item(b + n, 4, "5678", 4);
    CHECK_EQ(dicore_fragments_read(b, n, NULL, 0, &e, NULL), DICORE_NO_MEMORY);
    CHECK_EQ(e.count, 2);
    CHECK_EQ(dicore_fragments_read(b, n, one, 1, &e, NULL), DICORE_NO_MEMORY);
    CHECK_EQ(one[0].offset, 16);
}

/* Whatever is cut off, nothing beyond is touched and no fragment reaches beyond the span. */
static void test_every_truncation(void)
{
    uint8_t b[256];
    uint32_t offsets[] = {0, 24};
    size_t n = put_table(b, offsets, 2);
    n += put_item(b + n, 4, JPEG, 4);
    n += put_item(b + n, 4, TAIL, 4);
    n += put_item(b + n, 6, JPEG "ab", 6);
    for (size_t size = 0; size <= n; size++)
        for (uint64_t wanted = 1; wanted <= 3; wanted++) {
            outcome o = run(b, size, wanted, NONE, NONE);
            CHECK(size >= 16 || o.read == DICORE_BAD_FRAGMENTS);
            if (o.read != DICORE_OK)
                continue;
            for (uint64_t i = 0; i < o.e.count; i++)
                CHECK(o.fragments[i].offset + o.fragments[i].length <= size);
            if (o.resolve == DICORE_OK) {
                CHECK(o.found >= 1 && o.found <= wanted);
                for (uint64_t i = 0; i < o.found; i++)
                    CHECK(o.frames[i].first + o.frames[i].count <= o.e.count);
            }
        }
}

int main(void)
{
    test_basic_table();
    test_lying_tables_are_rebuilt();
    test_a_table_with_more_frames_than_wanted_holds();
    test_extended_table();
    test_no_table();
    test_missing_table_item();
    test_damage();
    test_capacity();
    test_every_truncation();
    return check_result("test_encapsulation");
}
