/* The table of codecs, and ours as entries of it. */
#include "dicore/pixel.h"

#include <string.h>

/* The transfer syntaxes, without the prefix they share: 1.2.840.10008.1.2. */
static int is_syntax(const char *syntax, const char *end)
{
    static const char prefix[] = "1.2.840.10008.1.2.";
    return strncmp(syntax, prefix, sizeof prefix - 1) == 0 && strcmp(syntax + sizeof prefix - 1, end) == 0;
}

/* The frame header's marker of a JPEG stream: the first SOF, or 0xF7 of JPEG-LS; 0: none in the segments before the scan. */
static unsigned frame_marker(const uint8_t *source, size_t size)
{
    if (size < 4 || source[0] != 0xFF || source[1] != 0xD8)
        return 0;
    for (size_t at = 2; size - at >= 4;) {
        if (source[at] != 0xFF)
            return 0;
        unsigned marker = source[at + 1];
        if (marker == 0xFF) { /* fill */
            at++;
            continue;
        }
        if (marker == 0xF7 || (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC))
            return marker;
        size_t length = (size_t)source[at + 2] << 8 | source[at + 3];
        if (marker == 0xDA || length < 2 || length > size - at - 2)
            return 0;
        at += 2 + length;
    }
    return 0;
}

/* ---- RLE Lossless ---------------------------------------------------------------------------------------------------- */

static int rle_sniff(const dicore_codec *self, const char *syntax, const uint8_t *source, size_t size)
{
    (void)self, (void)source, (void)size;
    return is_syntax(syntax, "5");
}

static dicore_status rle_decode(const dicore_codec *self, const uint8_t *source, size_t size, const dicore_raster *raster,
                                void *scratch, size_t scratch_size, dicore_error *error)
{
    (void)self, (void)scratch, (void)scratch_size;
    return dicore_rle_decode(source, size, raster, error);
}

static uint64_t rle_bound(const dicore_codec *self, const dicore_raster *raster)
{
    (void)self;
    return dicore_rle_bound(raster->rows, raster->columns, raster->samples, raster->bytes);
}

static dicore_status rle_encode(const dicore_codec *self, const char *syntax, const dicore_raster *raster, unsigned precision,
                                uint8_t *target, size_t capacity, size_t *written, void *scratch, size_t scratch_size)
{
    (void)self, (void)syntax, (void)precision, (void)scratch, (void)scratch_size;
    return dicore_rle_encode(raster, target, capacity, written);
}

/* ---- JPEG Lossless --------------------------------------------------------------------------------------------------- */

static int lossless_sniff(const dicore_codec *self, const char *syntax, const uint8_t *source, size_t size)
{
    (void)self;
    if (size) /* the stream knows better than the transfer syntax */
        return frame_marker(source, size) == 0xC3;
    return is_syntax(syntax, "4.57") || is_syntax(syntax, "4.70");
}

static uint64_t lossless_scratch(const dicore_codec *self, size_t size, const dicore_raster *raster)
{
    (void)self;
    return dicore_jpeg_lossless_scratch(size, raster->rows, raster->columns, raster->samples);
}

static dicore_status lossless_decode(const dicore_codec *self, const uint8_t *source, size_t size, const dicore_raster *raster,
                                     void *scratch, size_t scratch_size, dicore_error *error)
{
    (void)self;
    return dicore_jpeg_lossless_decode(source, size, raster, scratch, scratch_size, error);
}

static uint64_t lossless_bound(const dicore_codec *self, const dicore_raster *raster)
{
    (void)self;
    return dicore_jpeg_lossless_bound(raster->rows, raster->columns, raster->samples);
}

static uint64_t lossless_encode_scratch(const dicore_codec *self, const dicore_raster *raster)
{
    (void)self;
    return dicore_jpeg_lossless_encode_scratch(raster->rows, raster->columns, raster->samples);
}

static dicore_status lossless_encode(const dicore_codec *self, const char *syntax, const dicore_raster *raster,
                                     unsigned precision, uint8_t *target, size_t capacity, size_t *written, void *scratch,
                                     size_t scratch_size)
{
    (void)self, (void)syntax; /* predictor 1 is what .70 asks for and .57 allows */
    return dicore_jpeg_lossless_encode(raster, precision < 2 ? 2 : precision, 1, target, capacity, written, scratch,
                                       scratch_size);
}

/* ---- JPEG-LS --------------------------------------------------------------------------------------------------------- */

static int ls_sniff(const dicore_codec *self, const char *syntax, const uint8_t *source, size_t size)
{
    (void)self;
    if (size)
        return frame_marker(source, size) == 0xF7;
    return is_syntax(syntax, "4.80") || is_syntax(syntax, "4.81");
}

static uint64_t ls_scratch(const dicore_codec *self, size_t size, const dicore_raster *raster)
{
    (void)self;
    return dicore_jpeg_ls_scratch(size, raster->columns, raster->samples);
}

static dicore_status ls_decode(const dicore_codec *self, const uint8_t *source, size_t size, const dicore_raster *raster,
                               void *scratch, size_t scratch_size, dicore_error *error)
{
    (void)self;
    return dicore_jpeg_ls_decode(source, size, raster, scratch, scratch_size, error);
}

/* ---- the table ------------------------------------------------------------------------------------------------------- */

dicore_status dicore_codecs_own(dicore_codec_table *table)
{
    static const char name[] = "dicore", licence[] = "Apache-2.0";
    const dicore_codec own[] = {
        {.name = name, .licence = licence, .sniff = rle_sniff, .decode = rle_decode, .bound = rle_bound,
         .encode = rle_encode},
        {.name = name, .licence = licence, .sniff = lossless_sniff, .scratch = lossless_scratch, .decode = lossless_decode,
         .bound = lossless_bound, .encode_scratch = lossless_encode_scratch, .encode = lossless_encode},
        {.name = name, .licence = licence, .sniff = ls_sniff, .scratch = ls_scratch, .decode = ls_decode},
    };
    const size_t count = sizeof own / sizeof *own;
    if (table->capacity < table->count || table->capacity - table->count < count)
        return DICORE_NO_MEMORY;
    memcpy(table->codecs + table->count, own, sizeof own);
    table->count += count;
    return DICORE_OK;
}

dicore_status dicore_codec_register(dicore_codec_table *table, const dicore_codec *codec)
{
    if (!codec->name || !codec->sniff || (!codec->decode && !codec->encode) || (codec->encode && !codec->bound))
        return DICORE_BAD_ARGUMENT;
    if (table->count >= table->capacity)
        return DICORE_NO_MEMORY;
    dicore_codec copy = *codec; /* it may stand in the table itself */
    memmove(table->codecs + 1, table->codecs, table->count * sizeof *table->codecs);
    table->codecs[0] = copy;
    table->count++;
    return DICORE_OK;
}

const dicore_codec *dicore_codec_find(const dicore_codec_table *table, const char *syntax, const uint8_t *source, size_t size,
                                      const char *name, dicore_codec_use use)
{
    for (size_t i = 0; i < table->count; i++) {
        const dicore_codec *codec = &table->codecs[i];
        if ((use == DICORE_DECODES ? !codec->decode : !codec->encode) || (name && strcmp(codec->name, name) != 0))
            continue;
        if (codec->sniff(codec, syntax, source, size))
            return codec;
    }
    return NULL;
}
