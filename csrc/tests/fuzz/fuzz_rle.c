/* Input: samples (1), bytes a sample (1), pixels (2), then the frame. The target is a block of its exact size. */
#include "dicore/pixel.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    unsigned samples = data[0] % 5, bytes = data[1] % 9;
    size_t pixels = (size_t)(data[2] | data[3] << 8), room = pixels * samples * bytes;
    uint8_t *target = malloc(room ? room : 1);
    if (!target)
        return 0;
    dicore_rle_frame(data + 4, size - 4, target, room, pixels, samples, bytes, NULL);
    free(target);
    return 0;
}
