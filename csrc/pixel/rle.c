/* RLE Lossless (PS3.5 annex G): a header of 16 numbers, then PackBits segments, one a byte of the sample.
 *
 * Decoding: a packet is a mispredicted branch as soon as one asks what kind it is. So it is not asked: 32 bytes of literal
 * are loaded, the run's byte is spread over 32, the sign of the code chooses between them, and 32 bytes are stored; four
 * times, which is the longest packet there is and still cheaper than asking how long it is. Two segments go step by step,
 * which overlaps their chains. They unpack into pieces that stay in the first-level cache, and the pieces are woven into
 * samples.
 *
 * Encoding: a piece of a row becomes a bit map of "equal to the next byte", in which the ends of literals and runs are
 * found by counting zeros. */
#include "base/cpu.h"
#include "base/load.h"
#include "pixel/jpeg.h"
#include "pixel/raster.h"

#include <string.h>
#if DICORE_X86
#include <immintrin.h>
#endif

enum {
    MOST = 15,       /* segments */
    HEADER = 64,
    SLACK = 160,     /* a packet is 129 bytes long, and makes at most 128 */
    PIECES = 32768,  /* bytes of pieces on the stack, all segments together */
    ROW_PIECE = 4096 /* bytes of a row encoded at a time: a multiple of 128 */
};

typedef uint8_t wide __attribute__((vector_size(32)));

typedef struct segment {
    const uint8_t *at, *end;
    uint8_t *piece;
    size_t held; /* bytes in the piece */
} segment;

/* ---- decoding ------------------------------------------------------------------------------------------------------------ */

/* One packet at `p`, of which SLACK bytes are there, to `out` + *held, where SLACK bytes are. */
DICORE_INLINE const uint8_t *unpack(const uint8_t *p, uint8_t *out, size_t *held)
{
    int code = (int8_t)p[0], sign = code >> 31, nothing = code == -128; /* which means nothing (G.3.1) */
    size_t size = nothing ? 0 : (size_t)((code ^ sign) - sign + 1);
    wide literal, choose = (wide){0} + (uint8_t)sign, run = ((wide){0} + p[1]) & choose;
    out += *held;
    for (size_t k = 0; k < 128; k += 32) {
        memcpy(&literal, p + 1 + k, sizeof literal);
        literal = (literal & ~choose) | run;
        memcpy(out + k, &literal, sizeof literal);
    }
    *held += size;
    return p + (sign ? (size_t)(2 - nothing) : size + 1);
}

/* Fill the pieces of two segments (or of one, twice the same) up to `wanted` bytes or to where little is left to read. */
DICORE_INLINE void unpack_pair_body(segment *a, segment *b, size_t wanted)
{
    const uint8_t *p = a->at, *q = b->at;
    size_t n = a->held, m = b->held;
    if (a != b)
        while (n < wanted && m < wanted && a->end - p >= SLACK && b->end - q >= SLACK) {
            p = unpack(p, a->piece, &n);
            q = unpack(q, b->piece, &m);
        }
    while (n < wanted && a->end - p >= SLACK)
        p = unpack(p, a->piece, &n);
    a->at = p;
    a->held = n;
    if (a == b)
        return;
    while (m < wanted && b->end - q >= SLACK)
        q = unpack(q, b->piece, &m);
    b->at = q;
    b->held = m;
}

static void unpack_pair_plain(segment *a, segment *b, size_t wanted)
{
    unpack_pair_body(a, b, wanted);
}

#if DICORE_X86
DICORE_TARGET_V3 static void unpack_pair_v3(segment *a, segment *b, size_t wanted)
{
    unpack_pair_body(a, b, wanted);
}
#endif

/* The last SLACK bytes of a segment, with care. What a literal lacks is missing, what it has counts. */
static void unpack_rest(segment *s, size_t wanted)
{
    const uint8_t *p = s->at;
    size_t n = s->held;
    while (n < wanted && s->end - p >= 2) {
        unsigned code = *p++;
        if (code < 128) {
            size_t size = code + 1u, there = (size_t)(s->end - p);
            size = size < there ? size : there;
            memcpy(s->piece + n, p, size);
            n += size;
            p += size;
        } else if (code > 128) {
            memset(s->piece + n, *p++, 257u - code);
            n += 257u - code;
        }
    }
    s->at = p;
    s->held = n;
}

static void unpack_all(segment *s, unsigned count, size_t wanted)
{
    void (*pair)(segment *, segment *, size_t) = unpack_pair_plain;
#if DICORE_X86
    if ((dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) == (DICORE_CPU_AVX2 | DICORE_CPU_BMI2))
        pair = unpack_pair_v3;
#endif
    for (unsigned i = 0; i < count; i += 2)
        pair(s + i, s + (i + 1 < count ? i + 1 : i), wanted);
    for (unsigned i = 0; i < count; i++)
        unpack_rest(s + i, wanted);
}

/* Bytes of `count` pixels woven: byte j of a pixel comes from segment order[j]. */
DICORE_INLINE void weave_body(const segment *s, const uint8_t *order, unsigned segments, uint8_t *to, size_t count)
{
    const uint8_t *a = s[order[0]].piece, *b, *c, *d;
    switch (segments) {
    case 1: memcpy(to, a, count); return;
    case 2:
        b = s[order[1]].piece;
        for (size_t i = 0; i < count; i++) {
            to[2 * i] = a[i];
            to[2 * i + 1] = b[i];
        }
        return;
    case 3:
        b = s[order[1]].piece, c = s[order[2]].piece;
        for (size_t i = 0; i < count; i++) {
            to[3 * i] = a[i];
            to[3 * i + 1] = b[i];
            to[3 * i + 2] = c[i];
        }
        return;
    case 4:
        b = s[order[1]].piece, c = s[order[2]].piece, d = s[order[3]].piece;
        for (size_t i = 0; i < count; i++) {
            to[4 * i] = a[i];
            to[4 * i + 1] = b[i];
            to[4 * i + 2] = c[i];
            to[4 * i + 3] = d[i];
        }
        return;
    default:
        for (unsigned j = 0; j < segments; j++) {
            a = s[order[j]].piece;
            for (size_t i = 0; i < count; i++)
                to[i * segments + j] = a[i];
        }
    }
}

static void weave_plain(const segment *s, const uint8_t *order, unsigned segments, uint8_t *restrict to, size_t count)
{
    weave_body(s, order, segments, to, count);
}

#if DICORE_X86
DICORE_TARGET_V3 static void weave_v3(const segment *s, const uint8_t *order, unsigned segments, uint8_t *restrict to,
                                      size_t count)
{
    weave_body(s, order, segments, to, count);
}
#endif

/* The low `bits` bits of `count` samples of `size` bytes, in place; the highest of them extended when `sign` is not 0. */
static void keep(uint8_t *at, size_t count, unsigned size, unsigned bits, int is_signed)
{
    uint32_t mask = (uint32_t)(((uint64_t)1 << bits) - 1), sign = is_signed ? (uint32_t)1 << (bits - 1) : 0;
    if (size == 1)
        for (size_t i = 0; i < count; i++)
            at[i] = (uint8_t)((((uint32_t)at[i] & mask) ^ sign) - sign);
    else if (size == 2)
        for (size_t i = 0; i < count; i++) {
            uint16_t v;
            memcpy(&v, at + 2 * i, 2);
            v = (uint16_t)((((uint32_t)v & mask) ^ sign) - sign);
            memcpy(at + 2 * i, &v, 2);
        }
    else
        for (size_t i = 0; i < count; i++) {
            uint32_t v;
            memcpy(&v, at + 4 * i, 4);
            v = ((v & mask) ^ sign) - sign;
            memcpy(at + 4 * i, &v, 4);
        }
}

/* Where pixels go: one after the other, or a raster. */
typedef struct target {
    uint8_t *data;
    size_t pixel; /* bytes */
    const dicore_raster *raster; /* NULL: contiguous, all bits kept */
    int rows_together, pixels_together;
} target;

static void put_pixels(const target *t, const segment *s, const uint8_t *order, uint64_t first, size_t count)
{
    void (*weave)(const segment *, const uint8_t *, unsigned, uint8_t *restrict, size_t) = weave_plain;
    const dicore_raster *r = t->raster;
    const unsigned segments = (unsigned)t->pixel;
    uint8_t aside[PIECES];
#if DICORE_X86
    if ((dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) == (DICORE_CPU_AVX2 | DICORE_CPU_BMI2))
        weave = weave_v3;
#endif
    if (!r || t->rows_together) {
        uint8_t *to = t->data + first * t->pixel;
        weave(s, order, segments, to, count);
        if (r && r->bits && r->bits < 8 * r->bytes)
            keep(to, count * r->samples, r->bytes, r->bits, r->is_signed);
        return;
    }
    weave(s, order, segments, aside, count);
    if (r->bits && r->bits < 8 * r->bytes)
        keep(aside, count * r->samples, r->bytes, r->bits, r->is_signed);
    for (size_t i = 0; i < count;) {
        uint64_t y = (first + i) / r->columns, x = (first + i) % r->columns;
        size_t part = r->columns - (size_t)x < count - i ? r->columns - (size_t)x : count - i;
        uint8_t *to = r->data + (ptrdiff_t)y * r->row_stride + (ptrdiff_t)x * r->column_stride;
        if (t->pixels_together)
            memcpy(to, aside + i * t->pixel, part * t->pixel);
        else
            for (size_t j = 0; j < part; j++, to += r->column_stride)
                for (unsigned k = 0; k < r->samples; k++)
                    memcpy(to + (ptrdiff_t)k * r->sample_stride, aside + (i + j) * t->pixel + k * r->bytes, r->bytes);
        i += part;
    }
}

static dicore_status decode(const uint8_t *source, size_t size, const target *t, uint64_t pixels, unsigned samples,
                            unsigned bytes, dicore_error *error)
{
    unsigned segments = samples * bytes;
    segment s[MOST];
    uint8_t order[MOST], pieces[PIECES + MOST * (SLACK + 32)];
    size_t room = PIECES / segments / 64 * 64;
    if (size < HEADER || load_u32le(source) != segments)
        return dicore_fail(error, DICORE_BAD_FRAME, 0, 0x7FE00010);
    for (unsigned i = 0; i < segments; i++) {
        uint64_t begin = load_u32le(source + 4 + 4 * i);
        uint64_t end = i + 1 < segments ? load_u32le(source + 8 + 4 * i) : size;
        if (begin < HEADER || end < begin || end > size)
            return dicore_fail(error, DICORE_BAD_FRAME, 4 + 4 * i, 0x7FE00010);
        s[i] = (segment){source + begin, source + end, pieces + i * (room + SLACK), 0};
        order[i / bytes * bytes + bytes - 1 - i % bytes] = (uint8_t)i; /* most significant byte first (G.2) */
    }
    for (uint64_t done = 0; done < pixels;) {
        size_t count = pixels - done < room ? (size_t)(pixels - done) : room;
        unpack_all(s, segments, count);
        for (unsigned i = 0; i < segments; i++)
            if (s[i].held < count)
                return dicore_fail(error, DICORE_BAD_FRAME, load_u32le(source + 4 + 4 * i), 0x7FE00010);
        put_pixels(t, s, order, done, count);
        for (unsigned i = 0; i < segments; i++) { /* what a packet made beyond the piece begins the next */
            s[i].held -= count;
            memmove(s[i].piece, s[i].piece + count, s[i].held);
        }
        done += count;
    }
    return DICORE_OK;
}

dicore_status dicore_rle_frame(const uint8_t *source, size_t size, uint8_t *target_, size_t target_size, uint64_t pixels,
                               unsigned samples, unsigned bytes, dicore_error *error)
{
    if (samples == 0 || bytes == 0 || samples > MOST || bytes > MOST || samples * bytes > MOST)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    if (pixels > SIZE_MAX / (samples * bytes) || target_size != (size_t)pixels * samples * bytes)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    target t = {.data = target_, .pixel = samples * bytes};
    return decode(source, size, &t, pixels, samples, bytes, error);
}

dicore_status dicore_rle_decode(const uint8_t *source, size_t size, const dicore_raster *raster, dicore_error *error)
{
    if (!dicore_raster_valid(raster) || raster->samples * raster->bytes > MOST)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    target t = {.data = raster->data, .pixel = raster->samples * raster->bytes, .raster = raster};
    t.pixels_together = raster->column_stride == (ptrdiff_t)t.pixel &&
                        (raster->samples == 1 || raster->sample_stride == (ptrdiff_t)raster->bytes);
    t.rows_together = t.pixels_together && raster->row_stride == (ptrdiff_t)(raster->columns * t.pixel) &&
                      __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    return decode(source, size, &t, (uint64_t)raster->rows * raster->columns, raster->samples, raster->bytes, error);
}

/* ---- encoding ------------------------------------------------------------------------------------------------------------ */

uint64_t dicore_rle_bound(uint32_t rows, uint32_t columns, unsigned samples, unsigned bytes)
{
    /* a code before every 128 bytes of a row, and two bytes more a piece; a byte to make segments even; what copies touch */
    uint64_t row = columns + columns / 128 + 2 * ((uint64_t)columns / ROW_PIECE + 1);
    return HEADER + (uint64_t)samples * bytes * (rows * row + 1) + 2 * SLACK;
}

/* e: bit k of the piece is set when byte k equals byte k + 1; t: when byte k + 2 does as well. Bytes behind `count`, which is not 0, are
 * there to be read, and never equal. */
DICORE_INLINE void mark_equals(uint8_t *piece, size_t count, uint64_t *e, uint64_t *t)
{
    size_t words = (count + 63) / 64, w = 0;
    piece[count] = (uint8_t)~piece[count - 1];
    do {
        uint64_t bits = 0;
#if DICORE_X86
        for (unsigned k = 0; k < 64; k += 16) {
            __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(piece + 64 * w + k));
            __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(piece + 64 * w + k + 1));
            bits |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) << k;
        }
#else
        for (unsigned k = 0; k < 64; k++)
            bits |= (uint64_t)(piece[64 * w + k] == piece[64 * w + k + 1]) << k;
#endif
        e[w] = bits;
    } while (++w < words);
    e[words - 1] &= ~(uint64_t)0 >> (64 * words - count);
    e[words] = 0;
    for (w = 0; w < words; w++)
        t[w] = e[w] & (e[w] >> 1 | e[w + 1] << 63);
}

/* The first bit at or behind `from` that is set in words ^ flip, or `count`. */
DICORE_INLINE size_t next_bit(const uint64_t *words, uint64_t flip, size_t from, size_t count)
{
    if (from >= count)
        return count;
    size_t w = from / 64;
    uint64_t bits = (words[w] ^ flip) & ~(uint64_t)0 << (from & 63);
    while (!bits) {
        if (++w * 64 >= count)
            return count;
        bits = words[w] ^ flip;
    }
    size_t found = 64 * w + (size_t)__builtin_ctzll(bits);
    return found < count ? found : count;
}

DICORE_INLINE uint8_t *put_literals(uint8_t *to, const uint8_t *from, size_t count)
{
    wide v;
    while (count) {
        size_t size = count < 128 ? count : 128;
        *to++ = (uint8_t)(size - 1);
        for (size_t k = 0; k < 128; k += 32) { /* more than there is: both ends have SLACK */
            memcpy(&v, from + k, sizeof v);
            memcpy(to + k, &v, sizeof v);
            if (k + 32 >= size)
                break;
        }
        to += size;
        from += size;
        count -= size;
    }
    return to;
}

DICORE_INLINE uint8_t *pack_body(uint8_t *to, uint8_t *piece, size_t count)
{
    uint64_t e[ROW_PIECE / 64 + 1], t[ROW_PIECE / 64];
    mark_equals(piece, count, e, t);
    for (size_t i = 0; i < count;) {
        size_t begin = next_bit(t, 0, i, count); /* three alike */
        to = put_literals(to, piece + i, begin - i);
        i = begin;
        if (begin == count)
            break;
        size_t end = next_bit(e, ~(uint64_t)0, begin + 2, count) + 1;
        for (; end - i >= 128; i += 128) {
            *to++ = 129;
            *to++ = piece[begin];
        }
        if (end - i >= 2) { /* a single one begins the literal that follows */
            *to++ = (uint8_t)(257 - (end - i));
            *to++ = piece[begin];
            i = end;
        }
    }
    return to;
}

static uint8_t *pack_plain(uint8_t *to, uint8_t *piece, size_t count)
{
    return pack_body(to, piece, count);
}

#if DICORE_X86
DICORE_TARGET_V3 static uint8_t *pack_v3(uint8_t *to, uint8_t *piece, size_t count)
{
    return pack_body(to, piece, count);
}
#endif

/* Byte `significance` (0: the lowest) of `count` samples from `from` on. */
static void pick(const uint8_t *from, ptrdiff_t stride, unsigned bytes, unsigned significance, uint8_t *restrict to,
                 size_t count)
{
    unsigned shift = 8 * significance;
    if (stride == 1) {
        memcpy(to, from, count);
    } else if (stride == 2 && bytes == 2) {
        for (size_t i = 0; i < count; i++) {
            uint16_t v;
            memcpy(&v, from + 2 * i, 2);
            to[i] = (uint8_t)(v >> shift);
        }
    } else {
        from += __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? significance : bytes - 1 - significance;
        for (size_t i = 0; i < count; i++, from += stride)
            to[i] = *from;
    }
}

dicore_status dicore_rle_encode(const dicore_raster *raster, uint8_t *target_, size_t capacity, size_t *written)
{
    if (!dicore_raster_valid(raster) || raster->samples * raster->bytes > MOST || !written)
        return DICORE_BAD_ARGUMENT;
    if (capacity < dicore_rle_bound(raster->rows, raster->columns, raster->samples, raster->bytes))
        return DICORE_NO_MEMORY;
    uint8_t *(*pack)(uint8_t *, uint8_t *, size_t) = pack_plain;
#if DICORE_X86
    if ((dicore_cpu_features() & (DICORE_CPU_AVX2 | DICORE_CPU_BMI2)) == (DICORE_CPU_AVX2 | DICORE_CPU_BMI2))
        pack = pack_v3;
#endif
    unsigned segments = raster->samples * raster->bytes;
    uint8_t *to = target_ + HEADER, piece[ROW_PIECE + SLACK] = {0};
    memset(target_, 0, HEADER);
    store_u32le(target_, segments);
    for (unsigned i = 0; i < segments; i++) {
        unsigned sample = i / raster->bytes, significance = raster->bytes - 1 - i % raster->bytes;
        if ((uint64_t)(to - target_) > UINT32_MAX)
            return DICORE_BAD_ARGUMENT; /* offsets have 32 bits (G.5) */
        store_u32le(target_ + 4 + 4 * i, (uint32_t)(to - target_));
        for (uint32_t y = 0; y < raster->rows; y++) { /* rows are packed one by one (G.3.1) */
            const uint8_t *row = raster->data + (ptrdiff_t)y * raster->row_stride + (ptrdiff_t)sample * raster->sample_stride;
            for (uint32_t x = 0; x < raster->columns; x += ROW_PIECE) {
                size_t count = raster->columns - x < ROW_PIECE ? raster->columns - x : ROW_PIECE;
                pick(row + (ptrdiff_t)x * raster->column_stride, raster->column_stride, raster->bytes, significance, piece, count);
                to = pack(to, piece, count);
            }
        }
        if ((to - target_) & 1)
            *to++ = 0;
    }
    *written = (size_t)(to - target_);
    return DICORE_OK;
}
