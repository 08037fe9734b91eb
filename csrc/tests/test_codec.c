#include "check.h"
#include "dicore/pixel.h"

#define RLE "1.2.840.10008.1.2.5"
#define SV1 "1.2.840.10008.1.2.4.70"
#define JLS "1.2.840.10008.1.2.4.80"
#define VENDOR "1.3.6.1.4.1.9590.100.1.9.1"

/* A vendor's codec: "VX", then the samples turned over by its key. Bytes only. */
typedef struct vendor {
    uint8_t key;
} vendor;

static int vendor_sniff(const dicore_codec *self, const char *syntax, const uint8_t *source, size_t size)
{
    (void)self;
    return strcmp(syntax, VENDOR) == 0 && (size == 0 || (size >= 2 && source[0] == 'V' && source[1] == 'X'));
}

static dicore_status vendor_decode(const dicore_codec *self, const uint8_t *source, size_t size, const dicore_raster *raster,
                                   void *scratch, size_t scratch_size, dicore_error *error)
{
    (void)scratch, (void)scratch_size, (void)error;
    if (raster->bytes != 1 || size - 2 != (size_t)raster->rows * raster->columns)
        return DICORE_BAD_FRAME;
    for (uint32_t y = 0; y < raster->rows; y++)
        for (uint32_t x = 0; x < raster->columns; x++)
            raster->data[(ptrdiff_t)y * raster->row_stride + (ptrdiff_t)x * raster->column_stride] =
                (uint8_t)(source[2 + (size_t)y * raster->columns + x] ^ ((const vendor *)self->context)->key);
    return DICORE_OK;
}

static uint64_t vendor_bound(const dicore_codec *self, const dicore_raster *raster)
{
    (void)self;
    return 2 + (uint64_t)raster->rows * raster->columns;
}

static dicore_status vendor_encode(const dicore_codec *self, const char *syntax, const dicore_raster *raster,
                                   unsigned precision, uint8_t *target, size_t capacity, size_t *written, void *scratch,
                                   size_t scratch_size)
{
    (void)syntax, (void)precision, (void)scratch, (void)scratch_size;
    if (capacity < vendor_bound(self, raster))
        return DICORE_NO_MEMORY;
    target[0] = 'V', target[1] = 'X';
    for (uint32_t y = 0; y < raster->rows; y++)
        for (uint32_t x = 0; x < raster->columns; x++)
            target[2 + (size_t)y * raster->columns + x] =
                (uint8_t)(raster->data[(ptrdiff_t)y * raster->row_stride + (ptrdiff_t)x * raster->column_stride]
                          ^ ((const vendor *)self->context)->key);
    *written = (size_t)vendor_bound(self, raster);
    return DICORE_OK;
}

/* Encode and decode 16 x 16 bytes by whatever the table finds; 1 when they come back. */
static int round_trip(const dicore_codec_table *table, const char *syntax, const char *by)
{
    uint8_t image[256], back[256] = {0};
    for (int i = 0; i < 256; i++)
        image[i] = (uint8_t)(i * 7 / 3);
    dicore_raster from = {image, 16, 16, 1, 1, 16, 1, 1, 0, 0}, to = {back, 16, 16, 1, 1, 16, 1, 1, 0, 0};
    const dicore_codec *encoder = dicore_codec_find(table, syntax, NULL, 0, NULL, DICORE_ENCODES);
    if (!encoder || strcmp(encoder->name, by) != 0)
        return 0;
    size_t capacity = (size_t)encoder->bound(encoder, &from), written = 0;
    size_t working = encoder->encode_scratch ? (size_t)encoder->encode_scratch(encoder, &from) : 0;
    uint8_t *stream = malloc(capacity), *scratch = malloc(working + 1);
    int ok = encoder->encode(encoder, syntax, &from, 8, stream, capacity, &written, scratch, working) == DICORE_OK;
    free(scratch);
    const dicore_codec *decoder = dicore_codec_find(table, syntax, stream, written, by, DICORE_DECODES);
    if (ok && decoder) {
        working = decoder->scratch ? (size_t)decoder->scratch(decoder, written, &to) : 0;
        scratch = malloc(working + 1);
        ok = decoder->decode(decoder, stream, written, &to, scratch, working, NULL) == DICORE_OK;
        free(scratch);
    }
    free(stream);
    return ok && decoder && memcmp(image, back, 256) == 0;
}

int main(void)
{
    dicore_codec room[4];
    dicore_codec_table table = {room, 0, 4}, small = {room, 2, 4};
    vendor own = {0x5A};
    const dicore_codec codec = {.name = "vendor", .version = "1", .licence = "theirs", .context = &own,
                                .sniff = vendor_sniff, .decode = vendor_decode, .bound = vendor_bound,
                                .encode = vendor_encode};
    CHECK(dicore_codecs_own(&small) == DICORE_NO_MEMORY && small.count == 2);
    CHECK(dicore_codecs_own(&table) == DICORE_OK && table.count == 3);
    CHECK(round_trip(&table, RLE, "dicore"));
    CHECK(round_trip(&table, SV1, "dicore"));
    CHECK(!dicore_codec_find(&table, VENDOR, NULL, 0, NULL, DICORE_DECODES));
    CHECK(!dicore_codec_find(&table, JLS, NULL, 0, NULL, DICORE_ENCODES));
    CHECK(dicore_codec_find(&table, JLS, NULL, 0, "dicore", DICORE_DECODES) == &table.codecs[2]);
    CHECK(!dicore_codec_find(&table, JLS, NULL, 0, "nobody", DICORE_DECODES));

    dicore_codec broken = codec;
    broken.sniff = NULL;
    CHECK(dicore_codec_register(&table, &broken) == DICORE_BAD_ARGUMENT);
    broken = codec, broken.bound = NULL;
    CHECK(dicore_codec_register(&table, &broken) == DICORE_BAD_ARGUMENT);
    CHECK(dicore_codec_register(&table, &codec) == DICORE_OK && table.count == 4);
    CHECK(dicore_codec_register(&table, &codec) == DICORE_NO_MEMORY && table.count == 4);
    CHECK(round_trip(&table, VENDOR, "vendor"));
    CHECK(round_trip(&table, RLE, "dicore"));

    /* The stream knows better than the transfer syntax, and garbage is nobody's. */
    static const uint8_t ls[] = {0xFF, 0xD8, 0xFF, 0xFF, 0xE8, 0, 3, 1, 0xFF, 0xF7, 0, 11};
    CHECK(dicore_codec_find(&table, SV1, ls, sizeof ls, NULL, DICORE_DECODES) == &table.codecs[3]);
    for (size_t size = 1; size < sizeof ls; size++) {
        uint8_t *copy = guarded_copy(ls, size);
        const dicore_codec *found = dicore_codec_find(&table, SV1, copy, size, NULL, DICORE_DECODES);
        CHECK(!found);
        guarded_free(copy, size);
    }
    return check_result("test_codec");
}
