/* 64-byte vectors with a byte shuffle across all of them (AVX-512 BW, VL and VBMI: Ice Lake, Zen 4 and later), for the
 * kernels that only move data. A 64-byte store that crosses a cache line costs two: each kernel begins with what brings
 * its output onto a line, by the 32-byte kernel, which also does what is left. */
#include "pixel/kernels.h"

#if defined(DICORE_KERNELS_X86)
#include "pixel/kernels_wide.h"

static inline __m512i load64(const void *p) { return _mm512_loadu_si512(p); }
static inline void store64(void *p, __m512i v) { _mm512_storeu_si512(p, v); }

/* How many bytes from `to` to a cache line. */
static inline size_t to_line(const void *to) { return (size_t)(-(uintptr_t)to & 63); }

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Index tables: f(n), f(n + 1), ... */
#define EACH4(f, n) f(n), f((n) + 1), f((n) + 2), f((n) + 3)
#define EACH16(f, n) EACH4(f, n), EACH4(f, (n) + 4), EACH4(f, (n) + 8), EACH4(f, (n) + 12)
#define EACH32(f, n) EACH16(f, n), EACH16(f, (n) + 16)
#define EACH64(f, n) EACH32(f, n), EACH32(f, (n) + 32)
#define EACH_LINE(f) {{EACH64(f, 0)}, {EACH64(f, 64)}, {EACH64(f, 128)}}
#define EACH_LINE16(f) {{EACH32(f, 0)}, {EACH32(f, 32)}, {EACH32(f, 64)}}

/* ---- byte order ---- */

#define WIDEST_SWAP(bits, ...)                                                                                         \
    static void w_swap##bits(uint8_t *to, const uint8_t *from, size_t count)                                           \
    {                                                                                                                  \
        const __m512i how = _mm512_broadcast_i32x4(_mm_setr_epi8(__VA_ARGS__));                                        \
        size_t i = least(count, to_line(to) / (bits / 8));                                                             \
        v_swap##bits(to, from, i);                                                                                     \
        to += REST(i, bits / 8), from += REST(i, bits / 8), count -= i;                                                \
        for (; count >= 1024 / bits; count -= 1024 / bits, to += 128, from += 128) {                                   \
            __m512i a = load64(from), b = load64(from + 64);                                                           \
            store64(to, _mm512_shuffle_epi8(a, how));                                                                  \
            store64(to + 64, _mm512_shuffle_epi8(b, how));                                                             \
        }                                                                                                              \
        v_swap##bits(to, from, count);                                                                                 \
    }
WIDEST_SWAP(16, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
WIDEST_SWAP(32, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
WIDEST_SWAP(64, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8)

/* ---- bits ---- */

static void w_unpack1(uint8_t *to, const uint8_t *from, size_t first, size_t count)
{
    const __m512i one = _mm512_set1_epi8(1);
    size_t i = least(count, to_line(to));
    v_unpack1(to, from, first, i);
    to += i, first += i, count -= i;
    from += first >> 3;
    const unsigned shift = first & 7;
    if (shift == 0)
        for (; count >= 64; count -= 64, to += 64, from += 8) {
            uint64_t bits;
            memcpy(&bits, from, sizeof bits);
            store64(to, _mm512_maskz_mov_epi8(bits, one));
        }
    else
        for (; count >= 64; count -= 64, to += 64, from += 8) { /* these 64 bits are in 9 bytes */
            uint64_t bits;
            memcpy(&bits, from, sizeof bits);
            bits = bits >> shift | (uint64_t)from[8] << (64 - shift);
            store64(to, _mm512_maskz_mov_epi8(bits, one));
        }
    v_unpack1(to, from, shift, count);
}

static void w_pack1(uint8_t *to, const uint8_t *from, size_t count)
{
    size_t i = 0;
    for (; i + 128 <= count; i += 128) {
        __m512i a = load64(from + i), b = load64(from + i + 64);
        uint64_t set[2] = {_mm512_test_epi8_mask(a, a), _mm512_test_epi8_mask(b, b)};
        memcpy(to + i / 8, set, sizeof set);
    }
    v_pack1(to + i / 8, from + i, count - i);
}

#define OF_12(n) ((n) / 4 * 3 + ((n) % 4 + 1) / 2) /* 0 1 1 2 of each three bytes */

static void w_unpack12(uint16_t *to, const uint8_t *from, size_t count)
{
    static const uint8_t words[64] = {EACH64(OF_12, 0)};
    const __m512i how = load64(words), shift = _mm512_set1_epi32(4 << 16), low = _mm512_set1_epi16(0xFFF);
    size_t i = least(count, to_line(to) / 2) & ~(size_t)1; /* an even sample begins a byte */
    v_unpack12(to, from, i);
    to += i, from += i / 2 * 3, count -= i;
    for (; count >= 64 + 12; count -= 64, to += 64, from += 96) { /* a load reads 16 bytes more than it uses */
        __m512i a = _mm512_permutexvar_epi8(how, load64(from)), b = _mm512_permutexvar_epi8(how, load64(from + 48));
        store64(to, _mm512_and_si512(_mm512_srlv_epi16(a, shift), low));
        store64(to + 32, _mm512_and_si512(_mm512_srlv_epi16(b, shift), low));
    }
    v_unpack12(to, from, count);
}

/* Of 64 four-byte groups the first three bytes each, in three lines: line k takes from the vectors k and k + 1. */
#define OF_24(n) ((n) / 3 * 4 + (n) % 3 - (n) / 64 * 64)

static inline __m512i pairs12(const uint16_t *from)
{
    return _mm512_madd_epi16(_mm512_and_si512(load64(from), _mm512_set1_epi16(0xFFF)), _mm512_set1_epi32(1 | 4096 << 16));
}

static void w_pack12(uint8_t *to, const uint16_t *from, size_t count)
{
    static const uint8_t lines[3][64] = EACH_LINE(OF_24);
    const __m512i l0 = load64(lines[0]), l1 = load64(lines[1]), l2 = load64(lines[2]);
    size_t i = least(count, (to_line(to) * 43 & 63) * 2); /* 3 bytes a pair, and 3 * 43 = 1 modulo 64 */
    v_pack12(to, from, i & ~(size_t)1);
    i &= ~(size_t)1;
    to += i / 2 * 3, from += i, count -= i;
    for (; count >= 128; count -= 128, to += 192, from += 128) {
        __m512i a = pairs12(from), b = pairs12(from + 32), c = pairs12(from + 64), d = pairs12(from + 96);
        store64(to, _mm512_permutex2var_epi8(a, l0, b));
        store64(to + 64, _mm512_permutex2var_epi8(b, l1, c));
        store64(to + 128, _mm512_permutex2var_epi8(c, l2, d));
    }
    v_pack12(to, from, count);
}

/* ---- three planes ----
 * Each output is a shuffle of two vectors, and of the third where the mask is set. An index counts on from the first
 * vector to the second; the shuffle of the third ignores all but its place in a vector. */

typedef struct three64 {
    __m512i a, b, c;
} three64;

static inline three64 load3x64(const void *a, const void *b, const void *c)
{
    return (three64){load64(a), load64(b), load64(c)};
}

#define TOGETHER8(n) ((n) / 3 + ((n) % 3 == 1 ? 64 : 0))
#define TOGETHER16(n) ((n) / 3 + ((n) % 3 == 1 ? 32 : 0))
#define APART8(n) (((n) % 64 * 3 + (n) / 64) % 128)
#define APART16(n) (((n) % 32 * 3 + (n) / 32) % 64)
static const uint8_t together_8[3][64] = EACH_LINE(TOGETHER8), apart_8[3][64] = EACH_LINE(APART8);
static const uint16_t together_16[3][32] = EACH_LINE16(TOGETHER16), apart_16[3][32] = EACH_LINE16(APART16);
/* bit n of mask k: sample n of line k is of the third plane; or in the third vector */
static const uint64_t together_8_third[3] = {0x4924924924924924, 0x2492492492492492, 0x9249249249249249};
static const uint64_t apart_8_third[3] = {0xFFFFF80000000000, 0xFFFFF80000000000, 0xFFFFFC0000000000};
static const uint32_t together_16_third[3] = {0x24924924, 0x49249249, 0x92492492};
static const uint32_t apart_16_third[3] = {0xFFC00000, 0xFFE00000, 0xFFE00000};

#define FROM_THREE(bits, v, how, third, k)                                                                             \
    _mm512_mask_permutexvar_epi##bits(_mm512_permutex2var_epi##bits(v.a, how[k], v.b), third[k], how[k], v.c)

#define WIDEST_PLANES(bits)                                                                                            \
    static void w_interleave##bits(uint##bits##_t *to, const uint##bits##_t *a, const uint##bits##_t *b,               \
                                   const uint##bits##_t *c, size_t pixels)                                             \
    {                                                                                                                  \
        const size_t n = 512 / bits;                                                                                   \
        const __m512i how[3] = {load64(together_##bits[0]), load64(together_##bits[1]), load64(together_##bits[2])};   \
        size_t i = least(pixels, to_line(to) / (bits / 8) * 43 % n); /* 3 samples a pixel, 3 * 43 = 1 modulo 64 */     \
        v_interleave##bits(to, a, b, c, i);                                                                            \
        for (; i + n <= pixels; i += n) {                                                                              \
            three64 v = load3x64(a + i, b + i, c + i);                                                                 \
            store64(to + 3 * i, FROM_THREE(bits, v, how, together_##bits##_third, 0));                                 \
            store64(to + 3 * i + n, FROM_THREE(bits, v, how, together_##bits##_third, 1));                             \
            store64(to + 3 * i + 2 * n, FROM_THREE(bits, v, how, together_##bits##_third, 2));                         \
        }                                                                                                              \
        v_interleave##bits(to + 3 * i, a + i, b + i, c + i, pixels - i);                                               \
    }                                                                                                                  \
    static void w_separate##bits(uint##bits##_t *a, uint##bits##_t *b, uint##bits##_t *c, const uint##bits##_t *from,  \
                                 size_t pixels)                                                                        \
    {                                                                                                                  \
        const size_t n = 512 / bits;                                                                                   \
        const __m512i how[3] = {load64(apart_##bits[0]), load64(apart_##bits[1]), load64(apart_##bits[2])};            \
        size_t i = least(pixels, to_line(a) / (bits / 8)); /* the others too when a plane is whole lines */            \
        v_separate##bits(a, b, c, from, i);                                                                            \
        for (; i + n <= pixels; i += n) {                                                                              \
            three64 v = load3x64(from + 3 * i, from + 3 * i + n, from + 3 * i + 2 * n);                                \
            store64(a + i, FROM_THREE(bits, v, how, apart_##bits##_third, 0));                                         \
            store64(b + i, FROM_THREE(bits, v, how, apart_##bits##_third, 1));                                         \
            store64(c + i, FROM_THREE(bits, v, how, apart_##bits##_third, 2));                                         \
        }                                                                                                              \
        v_separate##bits(a + i, b + i, c + i, from + 3 * i, pixels - i);                                               \
    }
WIDEST_PLANES(8)
WIDEST_PLANES(16)

/* ---- YBR_FULL_422 ---- */

/* 32 pairs: 128 bytes in, 192 out; line k comes from the 64 bytes at 32 * k. Y of pixel p is byte p & 1, Cb is 2, Cr 3. */
#define OF_422(n) ((n) / 6 * 4 + ((n) % 3 == 0 ? (n) % 6 / 3 : (n) % 3 + 1) - (n) / 64 * 32)

static void w_expand422(uint8_t *to, const uint8_t *from, size_t pairs)
{
    static const uint8_t lines[3][64] = EACH_LINE(OF_422);
    const __m512i l0 = load64(lines[0]), l1 = load64(lines[1]), l2 = load64(lines[2]);
    size_t i = least(pairs, to_line(to) / 2 * 43 & 31); /* 6 bytes a pair */
    v_expand422(to, from, i);
    for (; i + 32 <= pairs; i += 32) {
        const uint8_t *in = from + 4 * i;
        store64(to + 6 * i, _mm512_permutexvar_epi8(l0, load64(in)));
        store64(to + 6 * i + 64, _mm512_permutexvar_epi8(l1, load64(in + 32)));
        store64(to + 6 * i + 128, _mm512_permutexvar_epi8(l2, load64(in + 64)));
    }
    v_expand422(to + 6 * i, from + 4 * i, pairs - i);
}

/* ---- bits of 16-bit samples ---- */

static void w_keep16(uint16_t *to, const uint16_t *from, size_t count, unsigned low, unsigned kept, int is_signed)
{
    const __m512i mask = _mm512_set1_epi16((short)((2u << (kept - 1)) - 1));
    const __m512i sign = _mm512_set1_epi16((short)(is_signed ? 1u << (kept - 1) : 0));
    const __m128i shift = _mm_cvtsi32_si128((int)low);
    size_t i = least(count, to_line(to) / 2);
    v_keep16(to, from, i, low, kept, is_signed);
    for (; i + 64 <= count; i += 64) {
        __m512i a = _mm512_and_si512(_mm512_srl_epi16(load64(from + i), shift), mask);
        __m512i b = _mm512_and_si512(_mm512_srl_epi16(load64(from + i + 32), shift), mask);
        store64(to + i, _mm512_sub_epi16(_mm512_xor_si512(a, sign), sign));
        store64(to + i + 32, _mm512_sub_epi16(_mm512_xor_si512(b, sign), sign));
    }
    v_keep16(to + i, from + i, count - i, low, kept, is_signed);
}

#define EVEN(n) (2 * (n))

static void w_bit16(uint8_t *to, const uint16_t *from, size_t count, unsigned bit)
{
    static const uint8_t bytes[64] = {EACH64(EVEN, 0)};
    const __m512i how = load64(bytes), one = _mm512_set1_epi8(1);
    const __m128i shift = _mm_cvtsi32_si128((int)bit);
    size_t i = least(count, to_line(to));
    v_bit16(to, from, i, bit);
    for (; i + 64 <= count; i += 64) {
        __m512i a = _mm512_srl_epi16(load64(from + i), shift), b = _mm512_srl_epi16(load64(from + i + 32), shift);
        store64(to + i, _mm512_and_si512(_mm512_permutex2var_epi8(a, how, b), one));
    }
    v_bit16(to + i, from + i, count - i, bit);
}

const dicore_kernels dicore_kernels_avx512 = {
    .name = "avx512", .swap16 = w_swap16, .swap32 = w_swap32, .swap64 = w_swap64, .unpack1 = w_unpack1,
    .pack1 = w_pack1, .unpack12 = w_unpack12, .pack12 = w_pack12, .interleave8 = w_interleave8,
    .interleave16 = w_interleave16, .separate8 = w_separate8, .separate16 = w_separate16, .expand422 = w_expand422,
    .rgb8 = v_rgb8, .rgb422 = v_rgb422, .bit16 = w_bit16, .keep16 = w_keep16, .stray16 = v_stray16, WIDE_WINDOWS,
    PLAIN_REST};
#endif
