/* Input: how (1), rows (1), columns (1), bytes and samples (1), then a stream; or, when bit 7 of `how` is set, samples.
 * A stream is decoded by one lane and by many: both must come to the same status and, if whole, to the same samples.
 * Samples are encoded and must come back. Blocks have their exact sizes. */
#include "pixel/jpeg_lossless.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static dicore_status decode(const uint8_t *stream, size_t size, dicore_raster *raster, size_t room, uint8_t **out,
                            dicore_lanes lanes)
{
    size_t bytes = (size_t)dicore_jpeg_lossless_scratch(size, raster->rows, raster->columns, raster->samples);
    uint8_t *scratch = malloc(bytes);
    *out = calloc(room, 1);
    if (!scratch || !*out)
        abort();
    raster->data = *out;
    dicore_status status = dicore_jpeg_lossless_decode_lanes(stream, size, raster, scratch, bytes, lanes, NULL);
    free(scratch);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    static const unsigned widths[] = {1, 2, 4, 2};
    unsigned how = data[0], bytes = widths[data[3] & 3], samples = 1 + (data[3] >> 2 & 3);
    uint32_t rows = data[1] + 1u, columns = data[2] + 1u;
    size_t room = (size_t)rows * columns * samples * bytes;
    dicore_raster raster = {.rows = rows, .columns = columns, .samples = samples, .bytes = bytes,
                            .row_stride = (ptrdiff_t)(columns * samples * bytes),
                            .column_stride = (ptrdiff_t)(samples * bytes), .sample_stride = (ptrdiff_t)bytes,
                            .bits = how & 16 ? 8 * bytes - 1 : 0, .is_signed = how >> 5 & 1};
    data += 4;
    size -= 4;
    uint8_t *one, *many;
    if (how & 128) {
        if (bytes == 4 || size < room)
            return 0;
        unsigned precision = 2 + (how & 15) % (8 * bytes - 1), mask = (1u << precision) - 1;
        uint8_t *image = malloc(room);
        memcpy(image, data, room);
        for (size_t i = 0; i < room; i += bytes) {
            image[i] &= (uint8_t)mask;
            if (bytes == 2)
                image[i + 1] &= (uint8_t)(mask >> 8);
        }
        size_t bound = (size_t)dicore_jpeg_lossless_bound(rows, columns, samples), written = 0;
        size_t working = (size_t)dicore_jpeg_lossless_encode_scratch(rows, columns, samples);
        uint8_t *stream = malloc(bound), *scratch = malloc(working);
        raster.data = image;
        raster.bits = 0;
        if (dicore_jpeg_lossless_encode(&raster, precision, 1 + (how >> 4 & 7) % 7, stream, bound, &written, scratch, working) != DICORE_OK)
            abort();
        if (decode(stream, written, &raster, room, &one, DICORE_LANES_MANY) != DICORE_OK || memcmp(one, image, room) != 0)
            abort();
        free(one);
        free(image);
        free(stream);
        free(scratch);
        return 0;
    }
    dicore_status serial = decode(data, size, &raster, room, &one, DICORE_LANES_ONE);
    dicore_status lanes = decode(data, size, &raster, room, &many, DICORE_LANES_MANY);
    if (serial != lanes || (serial == DICORE_OK && memcmp(one, many, room) != 0))
        abort();
    free(one);
    free(many);
    return 0;
}
