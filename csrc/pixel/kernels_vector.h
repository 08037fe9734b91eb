/* The kernels that need a byte shuffle, written once for vectors of one or two 16-byte lanes. A level defines LANES (1 or
 * 2) and includes this. Every loop takes whole blocks while they and all that a load touches are inside the arrays; the
 * plain kernel does what is left. */
#ifndef DICORE_PIXEL_KERNELS_VECTOR_H
#define DICORE_PIXEL_KERNELS_VECTOR_H

#include <immintrin.h>

#include "pixel/kernels_plain.h"

#if LANES == 2
typedef __m256i vec;
#define OP(name) _mm256_##name
static inline vec load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void store(void *p, vec v) { _mm256_storeu_si256((__m256i *)p, v); }
static inline vec lanes(__m128i v) { return _mm256_broadcastsi128_si256(v); }
/* lane 0 from p, lane 1 from q */
static inline vec load2(const void *p, const void *q)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)),
                                   _mm_loadu_si128((const __m128i *)q), 1);
}
#define AND(a, b) _mm256_and_si256(a, b)
#define OR(a, b) _mm256_or_si256(a, b)
#define ZERO _mm256_setzero_si256()
#define SELECT(mask, a, b) _mm256_blendv_epi8(b, a, mask)
#define SELECT16(mask, bits, a, b) ((void)(mask), _mm256_blend_epi16(b, a, bits)) /* `bits`: `mask` by words */
#define SPREAD(k)                                                                                                      \
    _mm256_setr_epi8(k, k, k, k, k, k, k, k, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 2, k + 2,     \
                     k + 2, k + 2, k + 2, k + 2, k + 2, k + 2, k + 3, k + 3, k + 3, k + 3, k + 3, k + 3, k + 3, k + 3)
#else
typedef __m128i vec;
#define OP(name) _mm_##name
static inline vec load(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline void store(void *p, vec v) { _mm_storeu_si128((__m128i *)p, v); }
static inline vec lanes(__m128i v) { return v; }
static inline vec load2(const void *p, const void *q) { (void)q; return load(p); }
#define AND(a, b) _mm_and_si128(a, b)
#define OR(a, b) _mm_or_si128(a, b)
#define ZERO _mm_setzero_si128()
#define SELECT(mask, a, b) _mm_or_si128(_mm_and_si128(mask, a), _mm_andnot_si128(mask, b))
#define SELECT16(mask, bits, a, b) SELECT(mask, a, b)
#define SPREAD(k) _mm_setr_epi8(k, k, k, k, k, k, k, k, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1, k + 1)
#endif
#define VEC ((size_t)sizeof(vec))
#define SHUFFLE(v, how) OP(shuffle_epi8)(v, how)
#define BYTES(...) lanes(_mm_setr_epi8(__VA_ARGS__))
#define REST(done, step) ((done) * (size_t)(step)) /* what `done` samples take */

/* ---- byte order ---- */

#define VECTOR_SWAP(bits, ...)                                                                                         \
    static void v_swap##bits(uint8_t *to, const uint8_t *from, size_t count)                                           \
    {                                                                                                                  \
        const vec how = BYTES(__VA_ARGS__);                                                                            \
        const size_t a_vec = VEC / (bits / 8);                                                                         \
        size_t i = 0;                                                                                                  \
        for (; i + 2 * a_vec <= count; i += 2 * a_vec) {                                                               \
            vec a = load(from + REST(i, bits / 8)), b = load(from + REST(i, bits / 8) + VEC);                          \
            store(to + REST(i, bits / 8), SHUFFLE(a, how));                                                            \
            store(to + REST(i, bits / 8) + VEC, SHUFFLE(b, how));                                                      \
        }                                                                                                              \
        swap##bits(to + REST(i, bits / 8), from + REST(i, bits / 8), count - i);                                       \
    }
VECTOR_SWAP(16, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
VECTOR_SWAP(32, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
VECTOR_SWAP(64, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8)

/* ---- bits ---- */

static void v_unpack1(uint8_t *to, const uint8_t *from, size_t first, size_t count)
{
    const vec bit = OP(set1_epi64x)((long long)0x8040201008040201ull), one = OP(set1_epi8)(1);
    const vec spread = SPREAD(0), next = SPREAD(VEC / 8);
    const __m128i shift = _mm_cvtsi32_si128(first & 7);
    size_t i = 0;
    from += first >> 3;
    for (; i + 64 <= count; i += 2 * VEC - (LANES == 2 ? 8 : 0)) { /* 64 bits from the shift on are there: 8 bytes */
        long long word; /* of which 57 are sure to be left behind the shift */
        memcpy(&word, from + (i >> 3), sizeof word);
        vec bits = OP(srl_epi64)(OP(set1_epi64x)(word), shift);
        store(to + i, OP(min_epu8)(AND(SHUFFLE(bits, spread), bit), one));
        store(to + i + VEC, OP(min_epu8)(AND(SHUFFLE(bits, next), bit), one));
    }
    unpack1(to + i, from + (i >> 3), first & 7, count - i); /* steps are multiples of 8 */
}

static void v_pack1(uint8_t *to, const uint8_t *from, size_t count)
{
    size_t i = 0;
    for (; i + 2 * VEC <= count; i += 2 * VEC) {
        uint64_t low = (uint32_t)OP(movemask_epi8)(OP(cmpeq_epi8)(load(from + i), ZERO));
        uint64_t high = (uint32_t)OP(movemask_epi8)(OP(cmpeq_epi8)(load(from + i + VEC), ZERO));
        uint64_t set = ~(low | high << VEC);
        memcpy(to + i / 8, &set, VEC / 4);
    }
    pack1(to + i / 8, from + i, count - i);
}

static inline vec wide12(const uint8_t *at)
{
    vec v = SHUFFLE(load2(at, at + 12), BYTES(0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 8, 9, 10, 10, 11));
    const vec odd = OP(set1_epi32)((int)0xFFFF0000u);
    return AND(SELECT16(odd, 0xAA, OP(srli_epi16)(v, 4), v), OP(set1_epi16)(0xFFF));
}

static void v_unpack12(uint16_t *to, const uint8_t *from, size_t count)
{
    size_t i = 0;
    for (; i + 16 * LANES + 4 <= count; i += 16 * LANES) { /* the last load reads 4 bytes more than it uses */
        vec a = wide12(from + i / 2 * 3), b = wide12(from + i / 2 * 3 + 12 * LANES);
        store(to + i, a);
        store(to + i + 8 * LANES, b);
    }
    unpack12(to + i, from + i / 2 * 3, count - i);
}

static inline vec narrow12(const uint16_t *from)
{
    vec v = OP(madd_epi16)(AND(load(from), OP(set1_epi16)(0xFFF)), OP(set1_epi32)(1 | 4096 << 16));
    v = SHUFFLE(v, BYTES(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
#if LANES == 2
    v = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
#endif
    return v;
}

static void v_pack12(uint8_t *to, const uint16_t *from, size_t count)
{
    size_t i = 0;
    for (; i + 16 * LANES + 8 <= count; i += 16 * LANES) { /* a store's last 4 or 8 bytes are written again */
        vec a = narrow12(from + i), b = narrow12(from + i + 8 * LANES);
        store(to + i / 2 * 3, a);
        store(to + i / 2 * 3 + 12 * LANES, b);
    }
    pack12(to + i / 2 * 3, from + i, count - i);
}

/* ---- three planes ----
 * Of 16 output bytes (8 words) those of one plane are every third, and which third differs in the three outputs: so one
 * shuffle of a plane serves all three, and two selections make each. The way back is the same backwards. */

typedef struct three {
    vec a, b, c;
} three;

#define THIRD8(k)                                                                                                      \
    BYTES(-((0 % 3) == k), -((1 % 3) == k), -((2 % 3) == k), -((3 % 3) == k), -((4 % 3) == k), -((5 % 3) == k),        \
          -((6 % 3) == k), -((7 % 3) == k), -((8 % 3) == k), -((9 % 3) == k), -((10 % 3) == k), -((11 % 3) == k),      \
          -((12 % 3) == k), -((13 % 3) == k), -((14 % 3) == k), -((15 % 3) == k))
#define THIRD16(k) lanes(_mm_setr_epi16(-(0 == k), -(1 == k), -(2 == k), -(0 == k), -(1 == k), -(2 == k), -(0 == k), -(1 == k)))
#define PICK(x0, x1, x2) SELECT(m0, x0, SELECT(m1, x1, x2)) /* by position modulo 3 */
#define PICK16(x0, x1, x2) SELECT16(m0, 0x49, x0, SELECT16(m1, 0x92, x1, x2))

static inline three together8(three in)
{
    const vec m0 = THIRD8(0), m1 = THIRD8(1);
    vec a = SHUFFLE(in.a, BYTES(0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10, 5));
    vec b = SHUFFLE(in.b, BYTES(5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10));
    vec c = SHUFFLE(in.c, BYTES(10, 5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15));
    return (three){PICK(a, b, c), PICK(b, c, a), PICK(c, a, b)};
}

static inline three apart8(three in)
{
    const vec m0 = THIRD8(0), m1 = THIRD8(1);
    vec a = PICK(in.a, in.c, in.b), b = PICK(in.b, in.a, in.c), c = PICK(in.c, in.b, in.a);
    return (three){SHUFFLE(a, BYTES(0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10, 13)),
                   SHUFFLE(b, BYTES(1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14)),
                   SHUFFLE(c, BYTES(2, 5, 8, 11, 14, 1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15))};
}

#define W(n) 2 * (n), 2 * (n) + 1
static inline three together16(three in)
{
    const vec m0 = THIRD16(0), m1 = THIRD16(1);
    vec a = SHUFFLE(in.a, BYTES(W(0), W(3), W(6), W(1), W(4), W(7), W(2), W(5)));
    vec b = SHUFFLE(in.b, BYTES(W(5), W(0), W(3), W(6), W(1), W(4), W(7), W(2)));
    vec c = SHUFFLE(in.c, BYTES(W(2), W(5), W(0), W(3), W(6), W(1), W(4), W(7)));
    return (three){PICK16(a, b, c), PICK16(c, a, b), PICK16(b, c, a)};
}

static inline three apart16(three in)
{
    const vec m0 = THIRD16(0), m1 = THIRD16(1);
    vec a = PICK16(in.a, in.b, in.c), b = PICK16(in.c, in.a, in.b), c = PICK16(in.b, in.c, in.a);
    return (three){SHUFFLE(a, BYTES(W(0), W(3), W(6), W(1), W(4), W(7), W(2), W(5))),
                   SHUFFLE(b, BYTES(W(1), W(4), W(7), W(2), W(5), W(0), W(3), W(6))),
                   SHUFFLE(c, BYTES(W(2), W(5), W(0), W(3), W(6), W(1), W(4), W(7)))};
}

/* Three lanes (two times) as they follow each other in memory. */
static inline three load3(const void *from)
{
    const uint8_t *p = from;
    return (three){load2(p, p + 48), load2(p + 16, p + 64), load2(p + 32, p + 80)};
}

static inline void store3(void *to, three v)
{
    uint8_t *p = to;
#if LANES == 2
    store(p, _mm256_inserti128_si256(v.a, _mm256_castsi256_si128(v.b), 1));
    store(p + 32, _mm256_blend_epi32(v.c, v.a, 0xF0));
    store(p + 64, _mm256_permute2x128_si256(v.b, v.c, 0x31));
#else
    store(p, v.a);
    store(p + 16, v.b);
    store(p + 32, v.c);
#endif
}

#define VECTOR_PLANES(bits)                                                                                            \
    static void v_interleave##bits(uint##bits##_t *to, const uint##bits##_t *a, const uint##bits##_t *b,               \
                                   const uint##bits##_t *c, size_t pixels)                                             \
    {                                                                                                                  \
        const size_t a_vec = VEC / (bits / 8);                                                                         \
        size_t i = 0;                                                                                                  \
        for (; i + a_vec <= pixels; i += a_vec)                                                                        \
            store3(to + 3 * i, together##bits((three){load(a + i), load(b + i), load(c + i)}));                        \
        interleave##bits(to + 3 * i, a + i, b + i, c + i, pixels - i);                                                 \
    }                                                                                                                  \
    static void v_separate##bits(uint##bits##_t *a, uint##bits##_t *b, uint##bits##_t *c, const uint##bits##_t *from,  \
                                 size_t pixels)                                                                        \
    {                                                                                                                  \
        const size_t a_vec = VEC / (bits / 8);                                                                         \
        size_t i = 0;                                                                                                  \
        for (; i + a_vec <= pixels; i += a_vec) {                                                                      \
            three v = apart##bits(load3(from + 3 * i));                                                                \
            store(a + i, v.a);                                                                                         \
            store(b + i, v.b);                                                                                         \
            store(c + i, v.c);                                                                                         \
        }                                                                                                              \
        separate##bits(a + i, b + i, c + i, from + 3 * i, pixels - i);                                                 \
    }
VECTOR_PLANES(8)
VECTOR_PLANES(16)

/* ---- YBR to RGB ---- */

/* 8 pairs a lane: 32 bytes in, 48 out, of which each 16 come from 16 bytes of the input. */
static inline three wide422(const uint8_t *p)
{
    vec a = load2(p, p + 32), b = load2(p + 8, p + 40), c = load2(p + 16, p + 48);
    return (three){SHUFFLE(a, BYTES(0, 2, 3, 1, 2, 3, 4, 6, 7, 5, 6, 7, 8, 10, 11, 9)),
                   SHUFFLE(b, BYTES(2, 3, 4, 6, 7, 5, 6, 7, 8, 10, 11, 9, 10, 11, 12, 14)),
                   SHUFFLE(c, BYTES(7, 5, 6, 7, 8, 10, 11, 9, 10, 11, 12, 14, 15, 13, 14, 15))};
}

static void v_expand422(uint8_t *to, const uint8_t *from, size_t pairs)
{
    size_t i = 0;
    for (; i + 8 * LANES <= pairs; i += 8 * LANES)
        store3(to + 6 * i, wide422(from + 4 * i));
    expand422(to + 6 * i, from + 4 * i, pairs - i);
}

/* 8 pixels a lane, in words. */
static inline three rgb_words(vec y, vec cb, vec cr)
{
    const vec half = OP(set1_epi16)(128), r_cr = OP(set1_epi16)(R_CR), b_cb = OP(set1_epi16)(B_CB);
    const vec green = OP(set1_epi32)((int)((uint32_t)-G_CB & 0xFFFF) | (int)((uint32_t)G_CR << 16));
    const vec round = OP(set1_epi32)(32768);
    cb = OP(sub_epi16)(cb, half);
    cr = OP(sub_epi16)(cr, half);
    vec low = OP(srai_epi32)(OP(add_epi32)(OP(madd_epi16)(OP(unpacklo_epi16)(cb, cr), green), round), 16);
    vec high = OP(srai_epi32)(OP(add_epi32)(OP(madd_epi16)(OP(unpackhi_epi16)(cb, cr), green), round), 16);
    vec g = OP(add_epi16)(OP(sub_epi16)(y, cr), OP(packs_epi32)(low, high));
    vec r = OP(add_epi16)(OP(add_epi16)(y, cr), OP(mulhrs_epi16)(cr, r_cr));
    vec b = OP(sub_epi16)(OP(add_epi16)(y, OP(add_epi16)(cb, cb)), OP(mulhrs_epi16)(cb, b_cb));
    return (three){r, g, b};
}

static inline three rgb_of(three pixels)
{
    three v = apart8(pixels);
    three low = rgb_words(OP(unpacklo_epi8)(v.a, ZERO), OP(unpacklo_epi8)(v.b, ZERO), OP(unpacklo_epi8)(v.c, ZERO));
    three high = rgb_words(OP(unpackhi_epi8)(v.a, ZERO), OP(unpackhi_epi8)(v.b, ZERO), OP(unpackhi_epi8)(v.c, ZERO));
    return together8((three){OP(packus_epi16)(low.a, high.a), OP(packus_epi16)(low.b, high.b),
                             OP(packus_epi16)(low.c, high.c)});
}

static void v_rgb8(uint8_t *to, const uint8_t *from, size_t pixels)
{
    size_t i = 0;
    for (; i + VEC <= pixels; i += VEC)
        store3(to + 3 * i, rgb_of(load3(from + 3 * i)));
    rgb8(to + 3 * i, from + 3 * i, pixels - i);
}

static void v_rgb422(uint8_t *to, const uint8_t *from, size_t pairs)
{
    size_t i = 0;
    for (; i + 8 * LANES <= pairs; i += 8 * LANES)
        store3(to + 6 * i, rgb_of(wide422(from + 4 * i)));
    rgb422(to + 6 * i, from + 4 * i, pairs - i);
}

#define VECTOR_MOVES                                                                                                   \
    .swap16 = v_swap16, .swap32 = v_swap32, .swap64 = v_swap64, .unpack1 = v_unpack1, .pack1 = v_pack1,                \
    .unpack12 = v_unpack12, .pack12 = v_pack12, .interleave8 = v_interleave8, .interleave16 = v_interleave16,          \
    .separate8 = v_separate8, .separate16 = v_separate16, .expand422 = v_expand422, .rgb8 = v_rgb8,                    \
    .rgb422 = v_rgb422

#endif
