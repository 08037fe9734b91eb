/* The kernels that only vectors of 32 bytes are worth, for the levels that have them: avx2, and avx512 for what it does
 * not do itself. */
#ifndef DICORE_PIXEL_KERNELS_WIDE_H
#define DICORE_PIXEL_KERNELS_WIDE_H

#define LANES 2
#include "pixel/kernels_vector.h"

static void v_bit16(uint8_t *to, const uint16_t *from, size_t count, unsigned bit)
{
    const __m128i shift = _mm_cvtsi32_si128((int)bit);
    const vec one = _mm256_set1_epi16(1);
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        vec a = AND(_mm256_srl_epi16(load(from + i), shift), one);
        vec b = AND(_mm256_srl_epi16(load(from + i + 16), shift), one);
        store(to + i, _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8));
    }
    bit16(to + i, from + i, count - i, bit);
}

static void v_keep16(uint16_t *to, const uint16_t *from, size_t count, unsigned low, unsigned kept, int is_signed)
{
    const vec mask = _mm256_set1_epi16((short)((2u << (kept - 1)) - 1));
    const vec sign = _mm256_set1_epi16((short)(is_signed ? 1u << (kept - 1) : 0));
    const __m128i shift = _mm_cvtsi32_si128((int)low);
    size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        vec a = AND(_mm256_srl_epi16(load(from + i), shift), mask);
        vec b = AND(_mm256_srl_epi16(load(from + i + 16), shift), mask);
        store(to + i, _mm256_sub_epi16(_mm256_xor_si256(a, sign), sign));
        store(to + i + 16, _mm256_sub_epi16(_mm256_xor_si256(b, sign), sign));
    }
    keep16(to + i, from + i, count - i, low, kept, is_signed);
}

static int v_stray16(const uint16_t *from, size_t count, unsigned kept, int is_signed)
{
    const vec mask = _mm256_set1_epi16((short)((2u << (kept - 1)) - 1));
    const vec sign = _mm256_set1_epi16((short)(is_signed ? 1u << (kept - 1) : 0));
    vec found = ZERO;
    size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        vec v = load(from + i);
        vec clean = _mm256_sub_epi16(_mm256_xor_si256(AND(v, mask), sign), sign);
        found = OR(found, _mm256_xor_si256(v, clean));
    }
    return !_mm256_testz_si256(found, found) || stray16(from + i, count - i, kept, is_signed);
}

/* 8 values each: what the plain kernel does, but that the lower bound is left to the saturation of the packs, which
 * cannot see a NaN here. */
static inline vec shown(vec v, __m256 scale, __m256 offset)
{
    __m256 x = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(v), scale), offset);
    return _mm256_cvtps_epi32(_mm256_min_ps(x, _mm256_set1_ps(255.0f)));
}

static inline void show32(uint8_t *to, vec a, vec b, vec c, vec d, vec flip)
{
    const vec order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    vec v = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    store(to, _mm256_xor_si256(_mm256_permutevar8x32_epi32(v, order), flip));
}

#define AT128(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define AT64(p) _mm_loadl_epi64((const __m128i *)(const void *)(p))
#define VECTOR_WINDOW(name, type, wide)                                                                                \
    static void v_window_##name(uint8_t *to, const void *from, size_t count, float scale, float offset, uint8_t flip)  \
    {                                                                                                                  \
        const type *in = from;                                                                                         \
        const __m256 times = _mm256_set1_ps(scale), plus = _mm256_set1_ps(offset);                                     \
        const vec flips = _mm256_set1_epi8((char)flip);                                                                \
        size_t i = 0;                                                                                                  \
        if (scale - scale == 0.0f && offset - offset == 0.0f) /* finite: then no product is a NaN */                   \
            for (; i + 32 <= count; i += 32)                                                                           \
                show32(to + i, shown(wide(in + i), times, plus), shown(wide(in + i + 8), times, plus),                 \
                       shown(wide(in + i + 16), times, plus), shown(wide(in + i + 24), times, plus), flips);           \
        window_##name(to + i, in + i, count - i, scale, offset, flip);                                                 \
    }
#define WIDE_U8(p) _mm256_cvtepu8_epi32(AT64(p))
#define WIDE_I8(p) _mm256_cvtepi8_epi32(AT64(p))
#define WIDE_U16(p) _mm256_cvtepu16_epi32(AT128(p))
#define WIDE_I16(p) _mm256_cvtepi16_epi32(AT128(p))
VECTOR_WINDOW(u8, uint8_t, WIDE_U8)
VECTOR_WINDOW(i8, int8_t, WIDE_I8)
VECTOR_WINDOW(u16, uint16_t, WIDE_U16)
VECTOR_WINDOW(i16, int16_t, WIDE_I16)
VECTOR_WINDOW(i32, int32_t, load)

static inline vec shown_float(const float *from, __m256 scale, __m256 offset)
{
    __m256 x = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(from), scale), offset);
    x = _mm256_max_ps(x, _mm256_setzero_ps()); /* the second operand when one is a NaN */
    return _mm256_cvtps_epi32(_mm256_min_ps(x, _mm256_set1_ps(255.0f)));
}

static void v_window_f32(uint8_t *to, const void *from, size_t count, float scale, float offset, uint8_t flip)
{
    const float *in = from;
    const __m256 times = _mm256_set1_ps(scale), plus = _mm256_set1_ps(offset);
    const vec flips = _mm256_set1_epi8((char)flip);
    size_t i = 0;
    for (; i + 32 <= count; i += 32)
        show32(to + i, shown_float(in + i, times, plus), shown_float(in + i + 8, times, plus),
               shown_float(in + i + 16, times, plus), shown_float(in + i + 24, times, plus), flips);
    window_f32(to + i, in + i, count - i, scale, offset, flip);
}

#define WIDE_WINDOWS                                                                                                   \
    .window = {v_window_u8, v_window_i8, v_window_u16, v_window_i16, window_u32, v_window_i32, v_window_f32}

#endif
