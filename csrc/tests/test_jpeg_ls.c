#include "check.h"
#include "dicore/pixel.h"

/* The example of ITU T.87 annex H.3: 4 x 4 samples of 8 bits, default parameters. */
static const uint8_t example[] = {
    0xFF, 0xD8,                                                 /* SOI */
    0xFF, 0xF7, 0, 11, 8, 0, 4, 0, 4, 1, 1, 0x11, 0,            /* SOF55: P 8, Y 4, X 4, one component */
    0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0,                         /* SOS: no mapping, NEAR 0, ILV 0, Pt 0 */
    0xC0, 0x00, 0x00, 0x6C, 0x80, 0x20, 0x8E, 0x01, 0xC0, 0x00, 0x00, 0x57, 0x40, 0x00, 0x00, 0x6E, 0xE6, 0x00, 0x00, 0x01,
    0xBC, 0x18, 0x00, 0x00, 0x05, 0xD8, 0x00, 0x00, 0x91, 0x60,
    0xFF, 0xD9};
enum { SOS = 15, DATA = 25, DATA_END = sizeof example - 2 };
static const uint8_t example_samples[16] = {0, 0, 90, 74, 68, 50, 43, 205, 64, 145, 145, 145, 100, 145, 145, 145};

static dicore_raster raster_of(void *data, uint32_t rows, uint32_t columns, unsigned samples, unsigned bytes)
{
    return (dicore_raster){.data = data, .rows = rows, .columns = columns, .samples = samples, .bytes = bytes,
                           .row_stride = (ptrdiff_t)(columns * samples * bytes),
                           .column_stride = (ptrdiff_t)(samples * bytes), .sample_stride = (ptrdiff_t)bytes};
}

static dicore_status decode(const uint8_t *stream, size_t size, const dicore_raster *raster, dicore_error *error)
{
    size_t bytes = (size_t)dicore_jpeg_ls_scratch(size, raster->columns, raster->samples);
    uint8_t *scratch = malloc(bytes);
    if (!scratch)
        abort();
    memset(scratch, 0xA5, bytes); /* its content does not matter */
    dicore_status status = dicore_jpeg_ls_decode(stream, size, raster, scratch, bytes, error);
    free(scratch);
    return status;
}

static void test_example_of_the_standard(void)
{
    uint8_t out[16] = {0};
    dicore_raster raster = raster_of(out, 4, 4, 1, 1);
    CHECK_EQ(decode(example, sizeof example, &raster, NULL), DICORE_OK);
    CHECK(memcmp(out, example_samples, 16) == 0);
    for (size_t size = 0; size < sizeof example; size++) { /* without EOI it is whole, without data it is not */
        uint8_t *cut = guarded_copy(example, size);
        CHECK_EQ(decode(cut, size, &raster, NULL), size >= DATA_END ? DICORE_OK : DICORE_BAD_FRAME);
        guarded_free(cut, size);
    }
}

static void test_strides_and_bits(void)
{
    uint16_t words[64];
    memset(words, 9, sizeof words);
    dicore_raster raster = raster_of(words, 4, 4, 1, 2);
    raster.row_stride = 16; /* every other column */
    raster.column_stride = 4;
    raster.bits = 8;
    raster.is_signed = 1;
    CHECK_EQ(decode(example, sizeof example, &raster, NULL), DICORE_OK);
    for (int i = 0; i < 16; i++)
        CHECK_EQ((int16_t)words[8 * (i / 4) + 2 * (i % 4)], (int8_t)example_samples[i]);
    CHECK(words[1] == 0x0909 && words[31] == 0x0909);
}

/* LSE with the default values changes nothing; others are checked. */
static void test_presets(void)
{
    uint8_t stream[sizeof example + 15], out[16];
    dicore_raster raster = raster_of(out, 4, 4, 1, 1);
    memcpy(stream, example, SOS);
    static const uint8_t lse[] = {0xFF, 0xF8, 0, 13, 1, 0, 255, 0, 3, 0, 7, 0, 21, 0, 64};
    memcpy(stream + SOS, lse, sizeof lse);
    memcpy(stream + SOS + sizeof lse, example + SOS, sizeof example - SOS);
    CHECK_EQ(decode(stream, sizeof stream, &raster, NULL), DICORE_OK);
    CHECK(memcmp(out, example_samples, 16) == 0);
    memset(stream + SOS + 5, 0, 10); /* 0: the default */
    CHECK_EQ(decode(stream, sizeof stream, &raster, NULL), DICORE_OK);
    CHECK(memcmp(out, example_samples, 16) == 0);
    static const struct { size_t at; uint8_t value; } bad[] = {{5, 1}, {8, 30}, {10, 2}, {12, 1}, {3, 12}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(stream + SOS, lse, sizeof lse);
        stream[SOS + bad[i].at] = bad[i].value;
        CHECK_EQ(decode(stream, sizeof stream, &raster, NULL), DICORE_BAD_FRAME);
    }
}

static void test_headers_are_checked(void)
{
    uint8_t out[16], bad[sizeof example];
    dicore_raster raster = raster_of(out, 4, 4, 1, 1);
    static const struct { size_t at; uint8_t value; const char *why; } changes[] = {
        {0, 0, "no SOI"}, {3, 0xC3, "another process"}, {5, 10, "SOF too short"}, {6, 1, "P 1"}, {6, 17, "P 17"},
        {8, 0, "no height"}, {8, 5, "other height"}, {10, 5, "other width"}, {11, 2, "components"},
        {18, 7, "SOS too short"}, {19, 2, "components of the scan"}, {20, 2, "another component"}, {21, 1, "mapping table"},
        {22, 128, "NEAR beyond MAXVAL / 2"}, {23, 3, "ILV"}, {24, 1, "Pt"}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(bad, example, sizeof example);
        bad[changes[i].at] = changes[i].value;
        dicore_status status = decode(bad, sizeof bad, &raster, NULL);
        if (status != DICORE_BAD_FRAME)
            fprintf(stderr, "%s\n", changes[i].why);
        CHECK_EQ(status, DICORE_BAD_FRAME);
    }
    memcpy(bad, example, sizeof example);
    bad[6] = 9;
    CHECK_EQ(decode(bad, sizeof bad, &raster, NULL), DICORE_BAD_ARGUMENT);
    dicore_error error = {0};
    bad[6] = 8;
    memset(bad + DATA, 0, DATA_END - DATA); /* zeros to the end */
    CHECK_EQ(decode(bad, sizeof bad, &raster, &error), DICORE_BAD_FRAME);
    CHECK_EQ(error.offset, SOS);
    memset(bad + DATA, 0x7F, DATA_END - DATA); /* ones, and no zero to end a code */
    decode(bad, sizeof bad, &raster, NULL);
    CHECK_EQ(dicore_jpeg_ls_decode(example, sizeof example, &raster, bad, sizeof bad, NULL), DICORE_NO_MEMORY);
    CHECK_EQ(dicore_jpeg_ls_scratch(UINT64_MAX, 1, 1), UINT64_MAX);
    raster.bytes = 3;
    CHECK_EQ(decode(example, sizeof example, &raster, NULL), DICORE_BAD_ARGUMENT);
}

/* Random data after sound headers: an end in all cases, inside all bounds. */
static void test_noise(void)
{
    enum { SIZE = 3000 };
    uint8_t stream[DATA + SIZE], out[64 * 64 * 2];
    uint32_t state = 3;
    for (int round = 0; round < 2000; round++) {
        memcpy(stream, example, DATA);
        stream[6] = (uint8_t)(2 + round % 15);
        stream[8] = stream[10] = 64;
        stream[22] = (uint8_t)(round % 3 ? 0 : round % 5);
        for (int i = 0; i < SIZE; i++) {
            state = state * 1664525u + 1013904223u;
            stream[DATA + i] = (uint8_t)(state >> 24 & (round % 7 ? 0x7F : state >> 16));
        }
        dicore_raster raster = raster_of(out, 64, 64, 1, 2);
        size_t size = DATA + state % SIZE;
        uint8_t *copy = guarded_copy(stream, size);
        dicore_status status = decode(copy, size, &raster, NULL);
        CHECK(status == DICORE_OK || status == DICORE_BAD_FRAME);
        guarded_free(copy, size);
    }
}

int main(void)
{
    test_example_of_the_standard();
    test_strides_and_bits();
    test_presets();
    test_headers_are_checked();
    test_noise();
    return check_result("test_jpeg_ls");
}
