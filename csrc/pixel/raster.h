/* Rows of 16-bit samples to and from a dicore_raster: the last step of every decoder and the first of every encoder. */
#ifndef DICORE_RASTER_H
#define DICORE_RASTER_H

#include "dicore/pixel.h"

/** True when the raster can be used at all: 1..4 samples of 1, 2 or 4 bytes, some rows and columns, memory behind them. */
int dicore_raster_valid(const dicore_raster *raster);

/** Store row `y` of `count` samples a pixel, the first of them sample `first` of the raster: columns * count values from
 *  `line`, samples of a pixel together, each shifted left by `shift` and then cut to raster->bits as its comment says. */
void dicore_raster_put(const dicore_raster *raster, uint32_t y, unsigned first, unsigned count, const uint16_t *line,
                       unsigned shift);

/** The other way: columns * samples values of row `y`, each cut to its low `bits` bits, none of them signed. */
void dicore_raster_get(const dicore_raster *raster, uint32_t y, uint16_t *line, unsigned bits);

#endif
