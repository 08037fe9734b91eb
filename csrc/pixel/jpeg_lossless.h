/* Inside libdicore, for the tests: the decoder with the number of Huffman lanes chosen by the caller. */
#ifndef DICORE_JPEG_LOSSLESS_H
#define DICORE_JPEG_LOSSLESS_H

#include "dicore/pixel.h"

typedef enum dicore_lanes {
    DICORE_LANES_AUTO = 0,   /* several where the scan is long enough to gain by it */
    DICORE_LANES_ONE = 1,    /* the serial decoder, which is what the others must agree with */
    DICORE_LANES_MANY = 2    /* several, in short pieces, whatever the size: for tests */
} dicore_lanes;

dicore_status dicore_jpeg_lossless_decode_lanes(const uint8_t *source, size_t size, const dicore_raster *raster,
                                                void *scratch, size_t scratch_size, dicore_lanes lanes,
                                                dicore_error *error);

#endif
