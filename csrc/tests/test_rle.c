#include "check.h"
#include "dicore/pixel.h"

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

/* One segment of bytes: a literal of 3, the code that means nothing, a run of 5, a literal of 1 */
static void test_packets(void)
{
    uint8_t frame[73] = {0}, out[9] = {0};
    put_u32(frame, 1);
    put_u32(frame + 4, 64);
    memcpy(frame + 64, (const uint8_t[]){2, 'a', 'b', 'c', 128, 252, 'x', 0, 'z'}, 9);
    uint8_t *source = guarded_copy(frame, sizeof frame), *target = guarded_copy(out, 9);
    CHECK_EQ(dicore_rle_frame(source, sizeof frame, target, 9, 9, 1, 1, NULL), DICORE_OK);
    CHECK(memcmp(target, "abcxxxxxz", 9) == 0);
    for (size_t size = 0; size < sizeof frame; size++) { /* any prefix: never beyond it, and never called whole */
        uint8_t *cut = guarded_copy(frame, size);
        CHECK_EQ(dicore_rle_frame(cut, size, target, 9, 9, 1, 1, NULL), DICORE_BAD_FRAME);
        guarded_free(cut, size);
    }
    CHECK_EQ(dicore_rle_frame(source, sizeof frame, target, 5, 5, 1, 1, NULL), DICORE_OK); /* a run longer than the target */
    CHECK_EQ(dicore_rle_frame(source, sizeof frame, NULL, 0, 0, 1, 1, NULL), DICORE_OK);
    guarded_free(source, sizeof frame);
    guarded_free(target, 9);
}

static void test_frame(void)
{
    /* two pixels of 16 bits: 0x0102, 0x0304; the most significant bytes come first */
    uint8_t frame[72] = {0};
    put_u32(frame, 2);
    put_u32(frame + 4, 64);
    put_u32(frame + 8, 68);
    memcpy(frame + 64, "\x01\x01\x03\x00\x01\x02\x04\x00", 8);
    uint8_t out[4] = {0};
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, NULL), DICORE_OK);
    CHECK(memcmp(out, "\x02\x01\x04\x03", 4) == 0);
    for (size_t size = 0; size < 71; size++) {
        uint8_t *cut = guarded_copy(frame, size);
        CHECK_EQ(dicore_rle_frame(cut, size, out, 4, 2, 1, 2, NULL), DICORE_BAD_FRAME);
        guarded_free(cut, size);
    }
    dicore_error error = {0};
    put_u32(frame + 8, 200); /* a segment beyond the frame */
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, &error), DICORE_BAD_FRAME);
    CHECK_EQ(error.offset, 4);
    put_u32(frame + 8, 60); /* inside the header */
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, NULL), DICORE_BAD_FRAME);
    put_u32(frame, 3); /* another number of segments */
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, NULL), DICORE_BAD_FRAME);
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 3, 2, 1, 2, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 4, 4, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, UINT64_MAX, 1, 2, NULL), DICORE_BAD_ARGUMENT);
}

static uint32_t state = 7;

static uint32_t chance(void)
{
    return (state = state * 1664525u + 1013904223u) >> 8;
}

/* Runs and noise of all lengths, long enough for the fast paths and for several pieces. */
static void paint(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size;) {
        size_t run = 1 + chance() % (chance() % 4 ? 5 : 400);
        uint8_t value = (uint8_t)chance();
        int noise = chance() % 2;
        for (; run && i < size; run--)
            data[i++] = noise ? (uint8_t)chance() : value;
    }
}

static dicore_raster raster_of(uint8_t *data, uint32_t rows, uint32_t columns, unsigned samples, unsigned bytes)
{
    return (dicore_raster){.data = data, .rows = rows, .columns = columns, .samples = samples, .bytes = bytes,
                           .row_stride = (ptrdiff_t)(columns * samples * bytes),
                           .column_stride = (ptrdiff_t)(samples * bytes), .sample_stride = (ptrdiff_t)bytes};
}

static void test_round_trip(void)
{
    static const struct { uint32_t rows, columns; } sizes[] = {{1, 1}, {1, 128}, {129, 1}, {3, 257}, {37, 411}, {2, 9000}};
    static uint8_t image[2 * 9000 * 12], back[2 * 9000 * 12];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned samples = 1; samples <= 3; samples++)
            for (unsigned bytes = 1; bytes <= 4; bytes *= 2) {
                size_t size = (size_t)sizes[i].rows * sizes[i].columns * samples * bytes, written = 0;
                size_t bound = (size_t)dicore_rle_bound(sizes[i].rows, sizes[i].columns, samples, bytes);
                uint8_t *frame = malloc(bound);
                paint(image, size);
                uint8_t *from = guarded_copy(image, size), *to = guarded_copy(image, size);
                dicore_raster raster = raster_of(from, sizes[i].rows, sizes[i].columns, samples, bytes);
                CHECK_EQ(dicore_rle_encode(&raster, frame, bound - 1, &written), DICORE_NO_MEMORY);
                CHECK_EQ(dicore_rle_encode(&raster, frame, bound, &written), DICORE_OK);
                CHECK(written % 2 == 0 && written <= bound);
                uint8_t *copy = guarded_copy(frame, written);
                memset(to, 0x5A, size);
                raster.data = to;
                CHECK_EQ(dicore_rle_decode(copy, written, &raster, NULL), DICORE_OK);
                CHECK(memcmp(image, to, size) == 0);
                memset(to, 0x5A, size);
                CHECK_EQ(dicore_rle_frame(copy, written, to, size, (uint64_t)sizes[i].rows * sizes[i].columns, samples, bytes, NULL), DICORE_OK);
                CHECK(memcmp(image, to, size) == 0);
                raster = raster_of(back, sizes[i].rows, sizes[i].columns, samples, bytes); /* planes */
                raster.sample_stride = (ptrdiff_t)(size / samples);
                raster.column_stride = (ptrdiff_t)bytes;
                raster.row_stride = (ptrdiff_t)(sizes[i].columns * bytes);
                CHECK_EQ(dicore_rle_decode(copy, written, &raster, NULL), DICORE_OK);
                size_t pixels = (size_t)sizes[i].rows * sizes[i].columns;
                int alike = 1;
                for (size_t p = 0; p < pixels; p++)
                    for (unsigned s = 0; s < samples; s++)
                        alike = alike && memcmp(back + s * (size / samples) + p * bytes, image + (p * samples + s) * bytes, bytes) == 0;
                CHECK(alike);
                guarded_free(copy, written);
                guarded_free(from, size);
                guarded_free(to, size);
                free(frame);
            }
}

static void test_bits_and_rows_apart(void)
{
    uint8_t frame[72] = {0}, out[16];
    put_u32(frame, 2);
    put_u32(frame + 4, 64);
    put_u32(frame + 8, 68);
    memcpy(frame + 64, "\x01\xF8\x07\x00\x01\x02\x04\x00", 8); /* 0xF802, 0x0704 */
    dicore_raster raster = raster_of(out, 2, 1, 1, 2);
    raster.bits = 12;
    raster.is_signed = 1;
    CHECK_EQ(dicore_rle_decode(frame, 72, &raster, NULL), DICORE_OK);
    CHECK(memcmp(out, "\x02\xF8\x04\x07", 4) == 0);
    raster.is_signed = 0;
    memset(out, 0x55, sizeof out);
    raster.data = out + 10; /* from the bottom up */
    raster.row_stride = -5;
    CHECK_EQ(dicore_rle_decode(frame, 72, &raster, NULL), DICORE_OK);
    CHECK(memcmp(out + 5, "\x04\x07\x55\x55\x55\x02\x08\x55", 8) == 0 && out[4] == 0x55);
    raster.bits = 17;
    CHECK_EQ(dicore_rle_decode(frame, 72, &raster, NULL), DICORE_BAD_ARGUMENT);
    raster = raster_of(out, 2, 1, 4, 4);
    CHECK_EQ(dicore_rle_decode(frame, 72, &raster, NULL), DICORE_BAD_ARGUMENT);
    size_t written;
    CHECK_EQ(dicore_rle_encode(&raster, out, 16, &written), DICORE_BAD_ARGUMENT);
}

int main(void)
{
    test_packets();
    test_frame();
    test_round_trip();
    test_bits_and_rows_apart();
    return check_result("test_rle");
}
