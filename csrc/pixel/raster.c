#include "pixel/raster.h"

#include <string.h>

int dicore_raster_valid(const dicore_raster *r)
{
    return r && r->data && r->rows && r->columns && r->samples >= 1 && r->samples <= 4 &&
           (r->bytes == 1 || r->bytes == 2 || r->bytes == 4) && r->bits <= 8 * r->bytes;
}

/* The loops that matter are plain enough for the compiler's vectoriser. */
static void put_words(uint8_t *to, const uint16_t *line, size_t count, unsigned shift, unsigned mask, unsigned sign)
{
    for (size_t i = 0; i < count; i++) {
        uint16_t v = (uint16_t)((((unsigned)line[i] << shift & mask) ^ sign) - sign);
        memcpy(to + 2 * i, &v, 2);
    }
}

static void put_bytes(uint8_t *to, const uint16_t *line, size_t count, unsigned shift, unsigned mask, unsigned sign)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (uint8_t)((((unsigned)line[i] << shift & mask) ^ sign) - sign);
}

void dicore_raster_put(const dicore_raster *r, uint32_t y, unsigned first, unsigned count, const uint16_t *line,
                       unsigned shift)
{
    unsigned bits = r->bits && r->bits < 16 ? r->bits : 16;
    unsigned mask = (1u << bits) - 1u, sign = r->is_signed && r->bits ? 1u << (bits - 1) : 0;
    uint8_t *row = r->data + (ptrdiff_t)y * r->row_stride + (ptrdiff_t)first * r->sample_stride;
    int together = r->column_stride == (ptrdiff_t)(count * r->bytes) && (count == 1 || r->sample_stride == (ptrdiff_t)r->bytes);
    size_t values = (size_t)r->columns * count;
    if (r->bits > 16)
        sign = 0; /* 16 bits in 32: the pattern is the sample */
    if (together && r->bytes == 2) {
        put_words(row, line, values, shift, mask, sign);
        return;
    }
    if (together && r->bytes == 1) {
        put_bytes(row, line, values, shift, mask, sign);
        return;
    }
    if (count == 1 && r->bytes == 1) { /* a component among others */
        for (size_t x = 0; x < values; x++, row += r->column_stride)
            *row = (uint8_t)((((unsigned)line[x] << shift & mask) ^ sign) - sign);
        return;
    }
    if (count == 1 && r->bytes == 2) {
        for (size_t x = 0; x < values; x++, row += r->column_stride) {
            uint16_t v = (uint16_t)((((unsigned)line[x] << shift & mask) ^ sign) - sign);
            memcpy(row, &v, 2);
        }
        return;
    }
    for (size_t x = 0; x < r->columns; x++)
        for (unsigned s = 0; s < count; s++) {
            uint8_t *to = row + (ptrdiff_t)x * r->column_stride + (ptrdiff_t)s * r->sample_stride;
            uint32_t v = (((uint32_t)line[x * count + s] << shift & mask) ^ sign) - sign;
            uint16_t half = (uint16_t)v;
            switch (r->bytes) {
            case 1: *to = (uint8_t)v; break;
            case 2: memcpy(to, &half, 2); break;
            default: memcpy(to, &v, 4); break;
            }
        }
}

void dicore_raster_get(const dicore_raster *r, uint32_t y, uint16_t *line, unsigned bits)
{
    uint16_t mask = (uint16_t)((1u << bits) - 1u);
    const uint8_t *row = r->data + (ptrdiff_t)y * r->row_stride;
    size_t values = (size_t)r->columns * r->samples;
    int together = r->column_stride == (ptrdiff_t)(r->samples * r->bytes) &&
                   (r->samples == 1 || r->sample_stride == (ptrdiff_t)r->bytes);
    if (together && r->bytes == 2) {
        memcpy(line, row, 2 * values);
        for (size_t i = 0; i < values; i++)
            line[i] &= mask;
        return;
    }
    if (together && r->bytes == 1) {
        for (size_t i = 0; i < values; i++)
            line[i] = row[i] & mask;
        return;
    }
    for (size_t x = 0; x < r->columns; x++)
        for (unsigned s = 0; s < r->samples; s++) {
            const uint8_t *from = row + (ptrdiff_t)x * r->column_stride + (ptrdiff_t)s * r->sample_stride;
            uint32_t wide;
            uint16_t v = *from;
            if (r->bytes == 2) {
                memcpy(&v, from, 2);
            } else if (r->bytes == 4) {
                memcpy(&wide, from, 4);
                v = (uint16_t)wide;
            }
            line[x * r->samples + s] = v & mask;
        }
}
