/* Every kernel in plain C. Each level includes this and compiles it for its processor; the compiler may vectorise, and
 * cannot change a result: integer arithmetic, and float without contraction (-ffp-contract=off), one operation a step. */
#ifndef DICORE_PIXEL_KERNELS_PLAIN_H
#define DICORE_PIXEL_KERNELS_PLAIN_H

#include <string.h>

#include "dicore/kernels.h"

#define UNUSED_OK __attribute__((unused)) /* a level that has its own leaves the plain one alone */

/* ---- moves ------------------------------------------------------------------------------------------------------- */

#define SWAP(bits)                                                                                                     \
    UNUSED_OK static void swap##bits(uint8_t *to, const uint8_t *from, size_t count)                                   \
    {                                                                                                                  \
        for (size_t i = 0; i < count; i++) {                                                                           \
            uint##bits##_t v;                                                                                          \
            memcpy(&v, from + i * sizeof v, sizeof v);                                                                 \
            v = __builtin_bswap##bits(v);                                                                              \
            memcpy(to + i * sizeof v, &v, sizeof v);                                                                   \
        }                                                                                                              \
    }
SWAP(16)
SWAP(32)
SWAP(64)

UNUSED_OK static void unpack1(uint8_t *to, const uint8_t *from, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[(first + i) >> 3] >> ((first + i) & 7) & 1;
}

UNUSED_OK static void pack1(uint8_t *to, const uint8_t *from, size_t count)
{
    size_t whole = count / 8;
    for (size_t i = 0; i < whole; i++) {
        unsigned v = 0;
        for (unsigned bit = 0; bit < 8; bit++)
            v |= (unsigned)(from[8 * i + bit] != 0) << bit;
        to[i] = (uint8_t)v;
    }
    unsigned last = 0;
    for (size_t i = 8 * whole; i < count; i++)
        last |= (unsigned)(from[i] != 0) << (i & 7);
    if (count & 7)
        to[whole] = (uint8_t)last;
}

UNUSED_OK static void unpack12(uint16_t *to, const uint8_t *from, size_t count)
{
    size_t i = 0;
    for (; i + 2 <= count; i += 2, from += 3) {
        to[i] = (uint16_t)(from[0] | (from[1] & 15) << 8);
        to[i + 1] = (uint16_t)(from[1] >> 4 | from[2] << 4);
    }
    if (i < count)
        to[i] = (uint16_t)(from[0] | (from[1] & 15) << 8);
}

UNUSED_OK static void pack12(uint8_t *to, const uint16_t *from, size_t count)
{
    size_t i = 0;
    for (; i + 2 <= count; i += 2, to += 3) {
        unsigned v = (from[i] & 0xFFFu) | (from[i + 1] & 0xFFFu) << 12;
        to[0] = (uint8_t)v;
        to[1] = (uint8_t)(v >> 8);
        to[2] = (uint8_t)(v >> 16);
    }
    if (i < count) {
        to[0] = (uint8_t)from[i];
        to[1] = (uint8_t)(from[i] >> 8 & 15);
    }
}

#define PLANES(bits)                                                                                                   \
    UNUSED_OK static void interleave##bits(uint##bits##_t *to, const uint##bits##_t *a, const uint##bits##_t *b,       \
                                           const uint##bits##_t *c, size_t pixels)                                     \
    {                                                                                                                  \
        for (size_t i = 0; i < pixels; i++) {                                                                          \
            to[3 * i] = a[i];                                                                                          \
            to[3 * i + 1] = b[i];                                                                                      \
            to[3 * i + 2] = c[i];                                                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    UNUSED_OK static void separate##bits(uint##bits##_t *a, uint##bits##_t *b, uint##bits##_t *c,                      \
                                         const uint##bits##_t *from, size_t pixels)                                    \
    {                                                                                                                  \
        for (size_t i = 0; i < pixels; i++) {                                                                          \
            a[i] = from[3 * i];                                                                                        \
            b[i] = from[3 * i + 1];                                                                                    \
            c[i] = from[3 * i + 2];                                                                                    \
        }                                                                                                              \
    }
PLANES(8)
PLANES(16)

UNUSED_OK static void expand422(uint8_t *to, const uint8_t *from, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++, to += 6, from += 4) {
        to[0] = from[0];
        to[3] = from[1];
        to[1] = to[4] = from[2];
        to[2] = to[5] = from[3];
    }
}

/* (v & mask ^ sign) - sign: the bits that count, the highest of them extended when it is the sign. */
#define KEEP(bits)                                                                                                     \
    UNUSED_OK static void keep##bits(uint##bits##_t *to, const uint##bits##_t *from, size_t count, unsigned low,       \
                                     unsigned kept, int is_signed)                                                     \
    {                                                                                                                  \
        uint##bits##_t mask = (uint##bits##_t)((2ull << (kept - 1)) - 1);                                              \
        uint##bits##_t sign = (uint##bits##_t)(is_signed ? 1ull << (kept - 1) : 0);                                    \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = (uint##bits##_t)((((uint##bits##_t)(from[i] >> low) & mask) ^ sign) - sign);                       \
    }
KEEP(8)
KEEP(16)
KEEP(32)

#define STRAY(bits)                                                                                                    \
    UNUSED_OK static int stray##bits(const uint##bits##_t *from, size_t count, unsigned kept, int is_signed)           \
    {                                                                                                                  \
        uint##bits##_t mask = (uint##bits##_t)((2ull << (kept - 1)) - 1);                                              \
        uint##bits##_t sign = (uint##bits##_t)(is_signed ? 1ull << (kept - 1) : 0), found = 0;                         \
        for (size_t i = 0; i < count; i++)                                                                             \
            found |= (uint##bits##_t)(((from[i] & mask) ^ sign) - sign) ^ from[i];                                     \
        return found != 0;                                                                                             \
    }
STRAY(8)
STRAY(16)

UNUSED_OK static void bit16(uint8_t *to, const uint16_t *from, size_t count, unsigned bit)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (uint8_t)(from[i] >> bit & 1);
}

UNUSED_OK static void burn8(uint8_t *to, const uint8_t *mask, size_t count, uint8_t value)
{
    for (size_t i = 0; i < count; i++)
        to[i] = mask[i] ? value : to[i];
}

/* ---- colour ------------------------------------------------------------------------------------------------------ */

static inline uint8_t byte_of(int v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* a * b / 32768 rounded: what pmulhrsw gives. */
static inline int high_of(int a, int b)
{
    return (a * b + 16384) >> 15;
}

/* 1.402 = 1 + 13173/32768, 1.772 = 2 - 7471/32768, both near enough to be the rounded product for all 256 values;
 * 0.344136 = 22553/65536 and 0.714136 = 1 - 18734/65536 are summed before they are rounded. */
enum { R_CR = 13173, B_CB = 7471, G_CB = 22553, G_CR = 18734 };

UNUSED_OK static void rgb8(uint8_t *to, const uint8_t *from, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, to += 3, from += 3) {
        int y = from[0], cb = from[1] - 128, cr = from[2] - 128;
        to[0] = byte_of(y + cr + high_of(cr, R_CR));
        to[1] = byte_of(y - cr + ((cr * G_CR - cb * G_CB + 32768) >> 16));
        to[2] = byte_of(y + 2 * cb - high_of(cb, B_CB));
    }
}

UNUSED_OK static void rgb422(uint8_t *to, const uint8_t *from, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++, to += 6, from += 4) {
        uint8_t both[6] = {from[0], from[2], from[3], from[1], from[2], from[3]};
        rgb8(to, both, 2);
    }
}

/* Rounds a float of 0..2^22 to even halves by letting the sum lose its fraction. */
static inline uint32_t rounded(float v)
{
    float sum = v + 8388608.0f;
    uint32_t bits;
    memcpy(&bits, &sum, sizeof bits);
    return bits & 0x7FFFFF;
}

static inline float within(float v, float top)
{
    v = v > 0.0f ? v : 0.0f; /* NaN too */
    return v < top ? v : top;
}

#define RGB_FLOAT(name, type)                                                                                          \
    UNUSED_OK static void name(type *to, const type *from, size_t pixels, unsigned bits, int partial)                  \
    {                                                                                                                  \
        float top = (float)((1u << bits) - 1u), half = (float)(1u << bits >> 1);                                       \
        float black = partial ? 16.0f * (float)(1u << bits >> 8) : 0.0f;                                               \
        float y_gain = partial ? 255.0f / 219.0f : 1.0f, c_gain = partial ? 255.0f / 224.0f : 1.0f;                    \
        float r_cr = 1.402f * c_gain, b_cb = 1.772f * c_gain, g_cb = 0.344136286f * c_gain, g_cr = 0.714136286f * c_gain; \
        for (size_t i = 0; i < pixels; i++) {                                                                          \
            float y = ((float)from[3 * i] - black) * y_gain;                                                           \
            float cb = (float)from[3 * i + 1] - half, cr = (float)from[3 * i + 2] - half;                              \
            to[3 * i] = (type)rounded(within(y + cr * r_cr, top));                                                     \
            to[3 * i + 1] = (type)rounded(within(y - cb * g_cb - cr * g_cr, top));                                     \
            to[3 * i + 2] = (type)rounded(within(y + cb * b_cb, top));                                                 \
        }                                                                                                              \
    }
RGB_FLOAT(rgb16, uint16_t)
RGB_FLOAT(rgb8_float, uint8_t)

UNUSED_OK static void rgb8_partial(uint8_t *to, const uint8_t *from, size_t pixels)
{
    rgb8_float(to, from, pixels, 8, 1);
}

UNUSED_OK static void rct(int32_t *a, int32_t *b, int32_t *c, size_t count)
{
    for (size_t i = 0; i < count; i++) { /* T.800 G.2.2; unsigned, for a hostile stream may overflow */
        uint32_t y = (uint32_t)a[i], cb = (uint32_t)b[i], cr = (uint32_t)c[i];
        uint32_t green = y - (uint32_t)((int32_t)(cb + cr) >> 2);
        a[i] = (int32_t)(cr + green);
        b[i] = (int32_t)green;
        c[i] = (int32_t)(cb + green);
    }
}

UNUSED_OK static void ict(float *a, float *b, float *c, size_t count)
{
    for (size_t i = 0; i < count; i++) { /* T.800 G.3.2 */
        float y = a[i], cb = b[i], cr = c[i];
        a[i] = y + 1.402f * cr;
        b[i] = y - 0.34413f * cb - 0.71414f * cr;
        c[i] = y + 1.772f * cb;
    }
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

#define TABLE(name, out, in)                                                                                           \
    UNUSED_OK static void name(out *to, const in *from, size_t count, const out *table)                                \
    {                                                                                                                  \
        size_t i = 0;                                                                                                  \
        for (; i + 4 <= count; i += 4) {                                                                               \
            out a = table[from[i]], b = table[from[i + 1]], c = table[from[i + 2]], d = table[from[i + 3]];            \
            to[i] = a;                                                                                                 \
            to[i + 1] = b;                                                                                             \
            to[i + 2] = c;                                                                                             \
            to[i + 3] = d;                                                                                             \
        }                                                                                                              \
        for (; i < count; i++)                                                                                         \
            to[i] = table[from[i]];                                                                                    \
    }
TABLE(table8, uint8_t, uint8_t)
TABLE(table16, uint8_t, uint16_t)
TABLE(table16_16, uint16_t, uint16_t)
TABLE(table16_float, float, uint16_t)

/* The entry is stored whole, its spare part over the next pixel, which comes after; the last pixel byte by byte. */
#define PALETTE(name, out, in, entry, bits)                                                                            \
    UNUSED_OK static void name(out *to, const in *from, size_t count, const entry *table)                              \
    {                                                                                                                  \
        for (size_t i = 0; i + 1 < count; i++) {                                                                       \
            entry e = table[from[i]];                                                                                  \
            memcpy(to + 3 * i, &e, sizeof e);                                                                          \
        }                                                                                                              \
        if (count) {                                                                                                   \
            entry e = table[from[count - 1]];                                                                          \
            to += 3 * (count - 1);                                                                                     \
            to[0] = (out)e;                                                                                            \
            to[1] = (out)(e >> bits);                                                                                  \
            to[2] = (out)(e >> (2 * bits));                                                                            \
        }                                                                                                              \
    }
PALETTE(palette8, uint8_t, uint8_t, uint32_t, 8)
PALETTE(palette16, uint8_t, uint16_t, uint32_t, 8)
PALETTE(palette8_wide, uint16_t, uint8_t, uint64_t, 16)
PALETTE(palette16_wide, uint16_t, uint16_t, uint64_t, 16)

/* ---- grey -------------------------------------------------------------------------------------------------------- */

#define GREY(name, type)                                                                                               \
    UNUSED_OK static void rescale_##name(float *to, const void *from, size_t count, float slope, float intercept)      \
    {                                                                                                                  \
        const type *in = from;                                                                                         \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = (float)in[i] * slope + intercept;                                                                  \
    }                                                                                                                  \
    UNUSED_OK static void exact_##name(float *to, const void *from, size_t count, double slope, double intercept)      \
    {                                                                                                                  \
        const type *in = from;                                                                                         \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = (float)((double)in[i] * slope + intercept);                                                        \
    }                                                                                                                  \
    UNUSED_OK static void window_##name(uint8_t *to, const void *from, size_t count, float scale, float offset,        \
                                        uint8_t flip)                                                                  \
    {                                                                                                                  \
        const type *in = from;                                                                                         \
        for (size_t i = 0; i < count; i++)                                                                             \
            to[i] = (uint8_t)(rounded(within((float)in[i] * scale + offset, 255.0f)) ^ flip);                          \
    }
GREY(u8, uint8_t)
GREY(i8, int8_t)
GREY(u16, uint16_t)
GREY(i16, int16_t)
GREY(u32, uint32_t)
GREY(i32, int32_t)
GREY(f32, float)

/* exp of -87..87 by 2^n * p(rest): Cephes' expf without its branches. */
static inline float exp_of(float x)
{
    float n = x * 1.44269504f + 12582912.0f; /* rounded to a whole number in the low bits */
    uint32_t bits;
    memcpy(&bits, &n, sizeof bits);
    n -= 12582912.0f;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    bits = (bits + 127u) << 23; /* the low bits of `bits` are n in two's complement */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

UNUSED_OK static void sigmoid(uint8_t *to, const float *from, size_t count, float scale, float offset, uint8_t flip)
{
    for (size_t i = 0; i < count; i++) {
        float x = from[i] * scale + offset;
        x = x > -80.0f ? x : -80.0f; /* NaN too */
        x = x < 80.0f ? x : 80.0f;
        to[i] = (uint8_t)(rounded(255.0f / (1.0f + exp_of(-x))) ^ flip);
    }
}

UNUSED_OK static void flip8(uint8_t *to, const uint8_t *from, size_t count, uint8_t flip)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[i] ^ flip;
}

#define OF_TYPES(prefix) {prefix##u8, prefix##i8, prefix##u16, prefix##i16, prefix##u32, prefix##i32, prefix##f32}

#define PLAIN_MOVES                                                                                                    \
    .swap16 = swap16, .swap32 = swap32, .swap64 = swap64, .unpack1 = unpack1, .pack1 = pack1, .unpack12 = unpack12,    \
    .pack12 = pack12, .interleave8 = interleave8, .interleave16 = interleave16, .separate8 = separate8,                \
    .separate16 = separate16, .expand422 = expand422, .rgb8 = rgb8, .rgb422 = rgb422
#define PLAIN_SIMPLE .bit16 = bit16, .keep16 = keep16, .stray16 = stray16, .window = OF_TYPES(window_)
#define PLAIN_REST                                                                                                     \
    .keep8 = keep8, .keep32 = keep32, .stray8 = stray8, .burn8 = burn8,                                                \
    .rgb16 = rgb16, .rgb8_partial = rgb8_partial, .rct = rct, .ict = ict, .table8 = table8, .table16 = table16,        \
    .table16_16 = table16_16, .table16_float = table16_float, .palette8 = palette8, .palette16 = palette16,            \
    .palette8_wide = palette8_wide, .palette16_wide = palette16_wide, .rescale = OF_TYPES(rescale_),                   \
    .rescale_exact = OF_TYPES(exact_), .sigmoid = sigmoid, .flip8 = flip8

#endif
