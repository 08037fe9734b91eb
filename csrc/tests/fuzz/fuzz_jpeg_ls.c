/* Input: rows (1), columns (1), bytes and samples (1), bits kept (1), then a stream. Blocks have their exact sizes; the
 * raster's rows and pixels lie apart, and what lies between them must stay as it was. */
#include "dicore/pixel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    static const unsigned widths[] = {1, 2, 4, 2};
    uint32_t rows = data[0] + 1u, columns = data[1] + 1u;
    unsigned bytes = widths[data[2] & 3], samples = 1 + (data[2] >> 2 & 3), apart = data[2] >> 7;
    size_t pixel = (size_t)bytes * samples + apart, room = rows * (columns * pixel + apart);
    dicore_raster raster = {.rows = rows, .columns = columns, .samples = samples, .bytes = bytes,
                            .row_stride = (ptrdiff_t)(columns * pixel + apart), .column_stride = (ptrdiff_t)pixel,
                            .sample_stride = (ptrdiff_t)bytes, .bits = data[3] % (8 * bytes + 1), .is_signed = data[3] >> 7};
    size_t working = (size_t)dicore_jpeg_ls_scratch(size - 4, columns, samples);
    uint8_t *scratch = malloc(working), *out = malloc(room);
    if (!scratch || !out)
        abort();
    memset(out, 0x5A, room);
    raster.data = out;
    dicore_jpeg_ls_decode(data + 4, size - 4, &raster, scratch, working, NULL);
    if (apart)
        for (uint32_t y = 0; y < rows; y++) {
            const uint8_t *row = out + y * (columns * pixel + 1);
            for (uint32_t x = 0; x < columns; x++)
                if (row[x * pixel + pixel - 1] != 0x5A)
                    abort();
            if (row[columns * pixel] != 0x5A)
                abort();
        }
    free(scratch);
    free(out);
    return 0;
}
