#include "check.h"
#include "dicore/pixel.h"
#include "pixel/jpeg_lossless.h"

/* ITU T.81 annex H by hand: 4 x 2 samples of 8 bits, predictor 1, one table: category 0 is '0', 1 is '10', 2 is '110',
 * 16 is '1110' (five more ones could follow: no code is of ones only).
 *   row 0: 128 129 127 127   from 128, then the left: 0, +1, -2, 0         '0' '10 1' '110 01' '0'
 *   row 1: 129 129 126 126   from above (128), then the left: +1, 0, -3, 0  '10 1' '0' '110 00' '0'
 * 0101 1100 1010 1011 0000, filled with ones: 5C AB 0F */
static const uint8_t small[] = {
    0xFF, 0xD8,                                                                     /* SOI */
    0xFF, 0xC3, 0, 11, 8, 0, 2, 0, 4, 1, 7, 0x11, 0,                                /* SOF3: P 8, Y 2, X 4, component 7 */
    0xFF, 0xFF, 0xC4, 0, 23, 0x00, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 16, /* a fill byte, DHT */
    0xFF, 0xDA, 0, 8, 1, 7, 0x00, 1, 0, 0,                                          /* SOS: Ss 1, Pt 0 */
    0x5C, 0xAB, 0x0F,
    0xFF, 0xD9};
enum { DATA = sizeof small - 5 };
static const uint8_t small_samples[8] = {128, 129, 127, 127, 129, 129, 126, 126};

static uint8_t *scratch_for(size_t size, uint32_t rows, uint32_t columns, unsigned samples, size_t *bytes)
{
    *bytes = (size_t)dicore_jpeg_lossless_scratch(size, rows, columns, samples);
    uint8_t *scratch = malloc(*bytes);
    if (!scratch)
        abort();
    memset(scratch, 0xA5, *bytes); /* its content does not matter */
    return scratch;
}

static dicore_raster raster_of(void *data, uint32_t rows, uint32_t columns, unsigned samples, unsigned bytes)
{
    return (dicore_raster){.data = data, .rows = rows, .columns = columns, .samples = samples, .bytes = bytes,
                           .row_stride = (ptrdiff_t)(columns * samples * bytes),
                           .column_stride = (ptrdiff_t)(samples * bytes), .sample_stride = (ptrdiff_t)bytes};
}

static dicore_status decode(const uint8_t *stream, size_t size, const dicore_raster *raster, dicore_lanes lanes,
                            dicore_error *error)
{
    size_t bytes;
    uint8_t *scratch = scratch_for(size, raster->rows, raster->columns, raster->samples, &bytes);
    dicore_status status = dicore_jpeg_lossless_decode_lanes(stream, size, raster, scratch, bytes, lanes, error);
    free(scratch);
    return status;
}

static void test_by_hand(void)
{
    uint8_t out[8];
    dicore_raster raster = raster_of(out, 2, 4, 1, 1);
    for (int lanes = DICORE_LANES_AUTO; lanes <= DICORE_LANES_MANY; lanes++) {
        memset(out, 0, sizeof out);
        CHECK_EQ(decode(small, sizeof small, &raster, (dicore_lanes)lanes, NULL), DICORE_OK);
        CHECK(memcmp(out, small_samples, 8) == 0);
        for (size_t size = 0; size < sizeof small; size++) { /* without EOI it is whole, without data it is not */
            uint8_t *cut = guarded_copy(small, size);
            CHECK_EQ(decode(cut, size, &raster, (dicore_lanes)lanes, NULL), size >= DATA + 3 ? DICORE_OK : DICORE_BAD_FRAME);
            guarded_free(cut, size);
        }
    }
}

static void test_strides(void)
{
    uint8_t bytes[64];
    uint16_t words[64];
    uint32_t longs[64];
    memset(bytes, 9, sizeof bytes);
    dicore_raster raster = raster_of(bytes, 2, 4, 1, 1); /* every third byte, rows from the bottom up */
    raster.data = bytes + 20;
    raster.row_stride = -20;
    raster.column_stride = 3;
    CHECK_EQ(decode(small, sizeof small, &raster, DICORE_LANES_AUTO, NULL), DICORE_OK);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(bytes[20 - 20 * (i / 4) + 3 * (i % 4)], small_samples[i]);
    CHECK(bytes[1] == 9 && bytes[10] == 9 && bytes[30] == 9);
    raster = raster_of(words, 2, 4, 1, 2);
    raster.bits = 7; /* 128 has no bit left, 127 is -1 */
    raster.is_signed = 1;
    CHECK_EQ(decode(small, sizeof small, &raster, DICORE_LANES_AUTO, NULL), DICORE_OK);
    CHECK(words[0] == 0 && words[1] == 1 && words[2] == 0xFFFF);
    raster = raster_of(longs, 2, 4, 1, 4);
    CHECK_EQ(decode(small, sizeof small, &raster, DICORE_LANES_AUTO, NULL), DICORE_OK);
    CHECK(longs[0] == 128 && longs[7] == 126);
}

static void test_headers_are_checked(void)
{
    uint8_t out[16], bad[sizeof small];
    dicore_raster raster = raster_of(out, 2, 4, 1, 1);
    static const struct { size_t at; uint8_t value; const char *why; } changes[] = {
        {0, 0, "no SOI"}, {3, 0xC0, "baseline"}, {3, 0xCB, "arithmetic"}, {5, 10, "SOF too short"}, {6, 1, "P 1"},
        {6, 17, "P 17"}, {8, 0, "no height (DNL)"}, {8, 3, "other height"}, {10, 5, "other width"}, {11, 2, "components"},
        {20, 0x04, "table 4"}, {21, 3, "three codes of one bit"}, {19, 22, "DHT too short"}, {46, 8, "another component"},
        {47, 0x10, "table that is not there"}, {48, 0, "predictor 0"}, {48, 8, "predictor 8"}, {50, 8, "Pt = P"},
        {45, 2, "components of the scan"}, {44, 6, "SOS length"}};
    CHECK_EQ(small[45], 1);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(bad, small, sizeof small);
        bad[changes[i].at] = changes[i].value;
        dicore_status status = decode(bad, sizeof bad, &raster, DICORE_LANES_AUTO, NULL);
        if (status != DICORE_BAD_FRAME)
            fprintf(stderr, "%s\n", changes[i].why);
        CHECK_EQ(status, DICORE_BAD_FRAME);
    }
    memcpy(bad, small, sizeof small);
    bad[6] = 9; /* 9 bits into bytes */
    CHECK_EQ(decode(bad, sizeof bad, &raster, DICORE_LANES_AUTO, NULL), DICORE_BAD_ARGUMENT);
    dicore_error error = {0};
    bad[6] = 8;
    bad[DATA] = 0xFF; /* 1111 1111 is no code, and FF AB a marker */
    CHECK_EQ(decode(bad, sizeof bad, &raster, DICORE_LANES_AUTO, &error), DICORE_BAD_FRAME);
    CHECK_EQ(error.offset, 41);
}

static void test_arguments(void)
{
    uint8_t out[8], scratch[8];
    dicore_raster raster = raster_of(out, 2, 4, 1, 1);
    CHECK_EQ(dicore_jpeg_lossless_decode(small, sizeof small, &raster, scratch, sizeof scratch, NULL), DICORE_NO_MEMORY);
    CHECK_EQ(dicore_jpeg_lossless_scratch(UINT64_MAX, 1, 1, 1), UINT64_MAX);
    dicore_raster bad = raster;
    bad.bytes = 3;
    CHECK_EQ(decode(small, sizeof small, &bad, DICORE_LANES_AUTO, NULL), DICORE_BAD_ARGUMENT);
    bad = raster;
    bad.bits = 9;
    CHECK_EQ(decode(small, sizeof small, &bad, DICORE_LANES_AUTO, NULL), DICORE_BAD_ARGUMENT);
    bad = raster;
    bad.data = NULL;
    CHECK_EQ(decode(small, sizeof small, &bad, DICORE_LANES_AUTO, NULL), DICORE_BAD_ARGUMENT);
    size_t written;
    uint8_t target[16];
    CHECK_EQ(dicore_jpeg_lossless_encode(&raster, 1, 1, target, 16, &written, scratch, 8), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_jpeg_lossless_encode(&raster, 8, 0, target, 16, &written, scratch, 8), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_jpeg_lossless_encode(&raster, 8, 1, target, 16, &written, scratch, 8), DICORE_NO_MEMORY);
}

static uint32_t state = 1;

static uint32_t chance(void)
{
    return state = state * 1664525u + 1013904223u;
}

/* An image with flat parts, edges and noise: all categories occur in some. */
static void paint(uint16_t *samples, size_t count, unsigned precision, unsigned kind)
{
    uint32_t top = (1u << precision) - 1, value = 0;
    for (size_t i = 0; i < count; i++) {
        switch (kind) {
        case 0: value = chance() >> 16; break;
        case 1: value += (chance() >> 29) - 3; break;
        case 2: value = i / 37 % 2 ? top : 0; break;
        default: value = chance() >> 28 ? value + (chance() >> 30) : chance() >> 16; break;
        }
        samples[i] = (uint16_t)(value & top);
    }
}

static uint8_t *encode(const dicore_raster *raster, unsigned precision, unsigned predictor, size_t *size)
{
    size_t bound = (size_t)dicore_jpeg_lossless_bound(raster->rows, raster->columns, raster->samples);
    size_t working = (size_t)dicore_jpeg_lossless_encode_scratch(raster->rows, raster->columns, raster->samples);
    uint8_t *stream = malloc(bound), *scratch = malloc(working);
    CHECK_EQ(dicore_jpeg_lossless_encode(raster, precision, predictor, stream, bound, size, scratch, working), DICORE_OK);
    free(scratch);
    return stream;
}

static void test_round_trip(void)
{
    enum { ROWS = 61, COLUMNS = 83 };
    static uint16_t image[ROWS * COLUMNS * 4], back[ROWS * COLUMNS * 4];
    for (unsigned precision = 2; precision <= 16; precision++)
        for (unsigned predictor = 1; predictor <= 7; predictor++)
            for (unsigned samples = 1; samples <= 4; samples++) {
                size_t size, count = (size_t)ROWS * COLUMNS * samples;
                paint(image, count, precision, (precision + predictor + samples) % 4);
                dicore_raster raster = raster_of(image, ROWS, COLUMNS, samples, 2);
                uint8_t *stream = encode(&raster, precision, predictor, &size);
                raster.data = (uint8_t *)back;
                for (int lanes = DICORE_LANES_ONE; lanes <= DICORE_LANES_MANY; lanes++) {
                    memset(back, 0xEE, sizeof back);
                    uint8_t *copy = guarded_copy(stream, size);
                    CHECK_EQ(decode(copy, size, &raster, (dicore_lanes)lanes, NULL), DICORE_OK);
                    CHECK(memcmp(image, back, 2 * count) == 0);
                    guarded_free(copy, size);
                }
                free(stream);
            }
}

static void test_single_pixels_and_lines(void)
{
    static const struct { uint32_t rows, columns; } sizes[] = {{1, 1}, {1, 2}, {2, 1}, {1, 777}, {777, 1}, {3, 8}, {5, 16}, {2, 65}};
    uint16_t image[3 * 777], back[3 * 777];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned samples = 1; samples <= 3; samples += 2) {
            size_t size, count = (size_t)sizes[i].rows * sizes[i].columns * samples;
            paint(image, count, 16, 0);
            image[0] = 0; /* from a prediction of 2^15: the difference 32768, which has no extra bits */
            dicore_raster raster = raster_of(image, sizes[i].rows, sizes[i].columns, samples, 2);
            uint8_t *stream = encode(&raster, 16, 1, &size);
            raster.data = (uint8_t *)back;
            CHECK_EQ(decode(stream, size, &raster, DICORE_LANES_AUTO, NULL), DICORE_OK);
            CHECK(memcmp(image, back, 2 * count) == 0);
            free(stream);
        }
}

/* The bound holds where it is closest: noise of 16 bits. And every capacity below what is needed is refused. */
static void test_encoder_stays_inside(void)
{
    uint16_t image[400];
    paint(image, 400, 16, 0);
    dicore_raster raster = raster_of(image, 20, 20, 1, 2);
    size_t size, none = 0;
    uint8_t *stream = encode(&raster, 16, 4, &size);
    uint8_t scratch[40000];
    CHECK(dicore_jpeg_lossless_encode_scratch(20, 20, 1) <= sizeof scratch);
    for (size_t capacity = 0; capacity < size; capacity += 7) {
        uint8_t *target = guarded_copy(stream, capacity);
        CHECK_EQ(dicore_jpeg_lossless_encode(&raster, 16, 4, target, capacity, &none, scratch, sizeof scratch), DICORE_NO_MEMORY);
        guarded_free(target, capacity);
    }
    free(stream);
}

/* Damaged streams: any number of lanes comes to the same end as one, and to the same samples. */
static void test_damage(void)
{
    enum { ROWS = 128, COLUMNS = 200 };
    static uint16_t image[ROWS * COLUMNS], one[ROWS * COLUMNS], many[ROWS * COLUMNS];
    int alike = 0;
    for (int round = 0; round < 300; round++) {
        size_t size;
        paint(image, ROWS * COLUMNS, 12, round % 2 ? 1 : 3);
        dicore_raster raster = raster_of(image, ROWS, COLUMNS, 1, 2);
        uint8_t *stream = encode(&raster, 12, 1, &size);
        for (unsigned i = 0; i <= chance() >> 29; i++)
            stream[60 + chance() % (size - 60)] ^= (uint8_t)(1u << (chance() >> 29));
        memset(one, 0, sizeof one);
        memset(many, 0, sizeof many);
        raster.data = (uint8_t *)one;
        dicore_status serial = decode(stream, size, &raster, DICORE_LANES_ONE, NULL);
        raster.data = (uint8_t *)many;
        CHECK_EQ(decode(stream, size, &raster, round % 3 ? DICORE_LANES_MANY : DICORE_LANES_AUTO, NULL), serial);
        if (serial == DICORE_OK) {
            CHECK(memcmp(one, many, sizeof one) == 0);
            alike++;
        }
        free(stream);
    }
    CHECK(alike > 20);
}

int main(void)
{
    test_by_hand();
    test_strides();
    test_headers_are_checked();
    test_arguments();
    test_round_trip();
    test_single_pixels_and_lines();
    test_encoder_stays_inside();
    test_damage();
    return check_result("test_jpeg_lossless");
}
