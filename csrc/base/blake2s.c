#include "base/blake2s.h"

#include <string.h>

#include "base/load.h"

static const uint32_t IV[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

static const uint8_t SIGMA[10][16] = { /* RFC 7693 2.7 */
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

#define MIX(a, b, c, d, x, y)                                                                                          \
    do {                                                                                                               \
        v[a] += v[b] + (x);                                                                                            \
        v[d] = rotate(v[d] ^ v[a], 16);                                                                                \
        v[c] += v[d];                                                                                                  \
        v[b] = rotate(v[b] ^ v[c], 12);                                                                                \
        v[a] += v[b] + (y);                                                                                            \
        v[d] = rotate(v[d] ^ v[a], 8);                                                                                 \
        v[c] += v[d];                                                                                                  \
        v[b] = rotate(v[b] ^ v[c], 7);                                                                                 \
    } while (0)

static void compress(uint32_t h[8], const uint8_t block[64], uint64_t count, int last)
{
    uint32_t v[16], m[16];
    for (unsigned i = 0; i < 16; i++)
        m[i] = load_u32le(block + 4 * i);
    for (unsigned i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = IV[i];
    }
    v[12] ^= (uint32_t)count;
    v[13] ^= (uint32_t)(count >> 32);
    if (last)
        v[14] = ~v[14];
    for (unsigned round = 0; round < 10; round++) {
        const uint8_t *s = SIGMA[round];
        MIX(0, 4, 8, 12, m[s[0]], m[s[1]]);
        MIX(1, 5, 9, 13, m[s[2]], m[s[3]]);
        MIX(2, 6, 10, 14, m[s[4]], m[s[5]]);
        MIX(3, 7, 11, 15, m[s[6]], m[s[7]]);
        MIX(0, 5, 10, 15, m[s[8]], m[s[9]]);
        MIX(1, 6, 11, 12, m[s[10]], m[s[11]]);
        MIX(2, 7, 8, 13, m[s[12]], m[s[13]]);
        MIX(3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (unsigned i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

void blake2s_keyed(const uint8_t key[32], const char person[8], const uint8_t *data, size_t size, uint8_t *out, size_t out_size)
{
    uint32_t h[8];
    uint8_t block[64] = {0};
    uint64_t count = 64;
    memcpy(h, IV, sizeof h);
    h[0] ^= 0x01010000u ^ 32u << 8 ^ (uint32_t)out_size; /* parameter block, RFC 7693 2.8: depth 1, fanout 1, key of 32 */
    memcpy(block, person, 8);
    h[6] ^= load_u32le(block);
    h[7] ^= load_u32le(block + 4);
    memset(block, 0, 8);
    memcpy(block, key, 32);
    compress(h, block, count, size == 0);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < 64 ? size - at : 64;
        memset(block, 0, sizeof block);
        memcpy(block, data + at, n);
        at += n;
        count += n;
        compress(h, block, count, at == size);
    }
    for (size_t i = 0; i < out_size; i++)
        out[i] = (uint8_t)(h[i / 4] >> 8 * (i % 4));
}
