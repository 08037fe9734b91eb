/* CRC-32C (RFC 3720 B.4): eight table slices anywhere, the crc32 instruction where there is one. The instruction takes a word
 * per cycle but answers after three, so three runs of bytes are done side by side and joined by a carry-less product. With
 * AVX-512 the products do it all: 256 bytes are folded onto the next 256, until 16 are left for the instruction. */
#include "base/crc32c.h"

#include "base/cpu.h"
#include "base/crc32c_table.h"
#include "base/load.h"
#include "dicore/base.h"

uint32_t dicore_crc32c_portable(uint32_t crc, const uint8_t *data, size_t size)
{
    crc = ~crc;
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t word = load_u64le(data) ^ crc;
        crc = SLICES[7][word & 255] ^ SLICES[6][word >> 8 & 255] ^ SLICES[5][word >> 16 & 255] ^
              SLICES[4][word >> 24 & 255] ^ SLICES[3][word >> 32 & 255] ^ SLICES[2][word >> 40 & 255] ^
              SLICES[1][word >> 48 & 255] ^ SLICES[0][word >> 56];
    }
    for (; size; data++, size--)
        crc = SLICES[0][(crc ^ *data) & 255] ^ crc >> 8;
    return ~crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* `crc` moved on by the bytes that the constant `shift` stands for, as if so many zeros had followed. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t moved(uint64_t crc, uint32_t shift)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)shift), 0);
    return _mm_crc32_u64(0, (unsigned long long)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) uint32_t dicore_crc32c_fast(uint32_t start, const uint8_t *data, size_t size)
{
    uint64_t crc = ~start;
    while (size >= 3 * 256) {
        const size_t run = size >= 3 * 4096 ? 4096 : 256;
        uint64_t second = 0, third = 0;
        const uint8_t *end = data + run;
        for (; data < end; data += 8) {
            crc = _mm_crc32_u64(crc, load_u64le(data));
            second = _mm_crc32_u64(second, load_u64le(data + run));
            third = _mm_crc32_u64(third, load_u64le(data + 2 * run));
        }
        crc = run == 4096 ? third ^ moved(crc, SHIFT_8192) ^ moved(second, SHIFT_4096)
                          : third ^ moved(crc, SHIFT_512) ^ moved(second, SHIFT_256);
        data += 2 * run;
        size -= 3 * run;
    }
    for (; size >= 8; data += 8, size -= 8)
        crc = _mm_crc32_u64(crc, load_u64le(data));
    for (; size; data++, size--)
        crc = _mm_crc32_u8((uint32_t)crc, *data);
    return ~(uint32_t)crc;
}

#define WIDE __attribute__((target("avx512f,avx512bw,avx512vl,vpclmulqdq,sse4.2,pclmul")))

/* x^(d + 32) and x^(d - 32) modulo the polynomial, reflected, times x: what moves 16 bytes on by d bits. */
static const uint64_t FOLD_2048[2] = {0xdcb17aa4, 0xb9e02b86}, FOLD_512[2] = {0x740eef02, 0x9e4addf8},
                      FOLD_384[2] = {0x1c291d04, 0x1d82c63da}, FOLD_256[2] = {0x1384aa63a, 0xba4fc28e},
                      FOLD_128[2] = {0xf20c0dfe, 0x14cd00bd6};

WIDE static inline __m128i both(const uint64_t by[2]) { return _mm_set_epi64x((long long)by[1], (long long)by[0]); }

WIDE static inline __m512i folded(__m512i bytes, __m512i by, __m512i onto)
{
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(bytes, by, 0x00), _mm512_clmulepi64_epi128(bytes, by, 0x11), onto, 0x96);
}

WIDE static inline __m128i folded_once(__m128i bytes, const uint64_t by[2])
{
    return _mm_xor_si128(_mm_clmulepi64_si128(bytes, both(by), 0x00), _mm_clmulepi64_si128(bytes, both(by), 0x11));
}

WIDE uint32_t dicore_crc32c_wide(uint32_t start, const uint8_t *data, size_t size)
{
    if (size < 256)
        return dicore_crc32c_fast(start, data, size);
    const __m512i far = _mm512_broadcast_i32x4(both(FOLD_2048)), near = _mm512_broadcast_i32x4(both(FOLD_512));
    __m512i a = _mm512_loadu_si512(data), b = _mm512_loadu_si512(data + 64), c = _mm512_loadu_si512(data + 128),
            d = _mm512_loadu_si512(data + 192);
    a = _mm512_xor_si512(a, _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~start)));
    for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
        a = folded(a, far, _mm512_loadu_si512(data));
        b = folded(b, far, _mm512_loadu_si512(data + 64));
        c = folded(c, far, _mm512_loadu_si512(data + 128));
        d = folded(d, far, _mm512_loadu_si512(data + 192));
    }
    d = folded(folded(folded(a, near, b), near, c), near, d);
    for (; size >= 64; data += 64, size -= 64)
        d = folded(d, near, _mm512_loadu_si512(data));
    const __m128i rest = _mm_xor_si128(
        _mm_xor_si128(folded_once(_mm512_castsi512_si128(d), FOLD_384), folded_once(_mm512_extracti32x4_epi32(d, 1), FOLD_256)),
        _mm_xor_si128(folded_once(_mm512_extracti32x4_epi32(d, 2), FOLD_128), _mm512_extracti32x4_epi32(d, 3)));
    uint64_t crc = _mm_crc32_u64(0, (unsigned long long)_mm_cvtsi128_si64(rest));
    crc = _mm_crc32_u64(crc, (unsigned long long)_mm_extract_epi64(rest, 1));
    for (; size >= 8; data += 8, size -= 8)
        crc = _mm_crc32_u64(crc, load_u64le(data));
    for (; size; data++, size--)
        crc = _mm_crc32_u8((uint32_t)crc, *data);
    return ~(uint32_t)crc;
}

static int wide(void) { return (dicore_cpu_features() & DICORE_CPU_VPCLMUL) != 0; }

static int fast(void)
{
    const unsigned need = DICORE_CPU_SSE42 | DICORE_CPU_PCLMUL;
    return (dicore_cpu_features() & need) == need;
}

#else

uint32_t dicore_crc32c_fast(uint32_t crc, const uint8_t *data, size_t size)
{
    return dicore_crc32c_portable(crc, data, size);
}

uint32_t dicore_crc32c_wide(uint32_t crc, const uint8_t *data, size_t size)
{
    return dicore_crc32c_portable(crc, data, size);
}

static int fast(void) { return 0; }
static int wide(void) { return 0; }

#endif

uint32_t dicore_crc32c(uint32_t crc, const void *data, size_t size)
{
    if (size >= 256 && wide())
        return dicore_crc32c_wide(crc, data, size);
    return fast() ? dicore_crc32c_fast(crc, data, size) : dicore_crc32c_portable(crc, data, size);
}

/* a * b modulo the polynomial, both reflected: bit 31 is x^0. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (; a; a <<= 1) {
        if (a & 0x80000000u)
            product ^= b;
        b = b >> 1 ^ (b & 1 ? 0x82f63b78u : 0);
    }
    return product;
}

uint32_t dicore_crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size)
{
    uint32_t shift = 0x80000000u;                  /* x^(8 * second_size), from its bits */
    for (unsigned k = 3; second_size; second_size >>= 1, k++)
        if (second_size & 1)
            shift = multiply(shift, POWERS[k % 31]);
    return multiply(shift, first) ^ second;
}
