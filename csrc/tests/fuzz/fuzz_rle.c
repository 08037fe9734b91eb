/* Input: samples (1), bytes a sample (1), pixels (2), then a frame; or samples to encode, when bit 7 of the first byte is
 * set. What is decoded is compared with a decoder that looks at one packet after the other; samples must come back. The
 * blocks have their exact sizes. */
#include "base/load.h"
#include "dicore/pixel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* PS3.5 G.3.2 word for word. */
static int plain(const uint8_t *source, size_t size, uint8_t *target, size_t pixels, unsigned samples, unsigned bytes)
{
    unsigned segments = samples * bytes;
    if (size < 64 || load_u32le(source) != segments)
        return 0;
    for (unsigned i = 0; i < segments; i++) {
        size_t at = load_u32le(source + 4 + 4 * i), end = i + 1 < segments ? load_u32le(source + 8 + 4 * i) : size, done = 0;
        if (at < 64 || end < at || end > size)
            return 0;
        uint8_t *to = target + i / bytes * bytes + bytes - 1 - i % bytes;
        while (done < pixels && end - at >= 2) {
            unsigned code = source[at++];
            if (code < 128) {
                for (unsigned k = 0; k <= code && done < pixels && at < end; k++)
                    to[done++ * segments] = source[at++];
            } else if (code > 128) {
                for (unsigned k = 0; k < 257 - code && done < pixels; k++)
                    to[done++ * segments] = source[at];
                at++;
            }
        }
        if (done < pixels)
            return 0;
    }
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    unsigned samples = (data[0] & 127) % 5, bytes = data[1] % 9, encode = data[0] >> 7;
    size_t pixels = (size_t)(data[2] | data[3] << 8), room = pixels * samples * bytes;
    data += 4;
    size -= 4;
    uint8_t *target = calloc(room ? room : 1, 1), *expected = calloc(room ? room : 1, 1);
    if (!target || !expected)
        abort();
    if (encode) {
        uint32_t columns = data && size ? data[0] % 97 + 1u : 1, rows = (uint32_t)(pixels / columns);
        dicore_raster raster = {.data = target, .rows = rows, .columns = columns, .samples = samples, .bytes = bytes,
                                .row_stride = (ptrdiff_t)(columns * samples * bytes),
                                .column_stride = (ptrdiff_t)(samples * bytes), .sample_stride = (ptrdiff_t)bytes};
        size_t bound = (size_t)dicore_rle_bound(rows, columns, samples, bytes), written = 0;
        uint8_t *frame = malloc(bound);
        for (size_t i = 0; i < room && size; i++)
            target[i] = data[i % size];
        if (dicore_rle_encode(&raster, frame, bound, &written) == DICORE_OK) {
            uint8_t *exact = malloc(written);
            memcpy(exact, frame, written);
            memcpy(expected, target, room);
            memset(target, 0, room);
            size_t used = (size_t)rows * columns * samples * bytes;
            if (dicore_rle_decode(exact, written, &raster, NULL) != DICORE_OK || memcmp(target, expected, used) != 0)
                abort();
            free(exact);
        }
        free(frame);
    } else {
        dicore_status status = dicore_rle_frame(data, size, target, room, pixels, samples, bytes, NULL);
        if (status != DICORE_BAD_ARGUMENT) {
            int sound = plain(data, size, expected, pixels, samples, bytes);
            if (sound != (status == DICORE_OK) || (sound && memcmp(target, expected, room) != 0))
                abort();
        }
    }
    free(target);
    free(expected);
    return 0;
}
