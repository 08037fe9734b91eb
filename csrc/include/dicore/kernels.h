/* dicore/kernels.h: what is done to every sample of an image, at the speed of memory.
 *
 * One table of functions, at several levels of the processor. The plain one is the definition: the others give the same
 * bytes for the same input, which the tests check for every length, alignment and value that can differ. Nothing here
 * fails: lengths count samples (or pixels), pointers may have any alignment, nothing beyond the length is read or
 * written, and 0 is a length. `to` and `from` may be the same where it says "in place", and must not overlap otherwise.
 * 16-bit samples are in the machine's byte order. */
#ifndef DICORE_KERNELS_H
#define DICORE_KERNELS_H

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The type of a stored grey sample. */
typedef enum dicore_sample {
    DICORE_U8 = 0, DICORE_I8 = 1, DICORE_U16 = 2, DICORE_I16 = 3, DICORE_U32 = 4, DICORE_I32 = 5, DICORE_F32 = 6
} dicore_sample;
#define DICORE_SAMPLES 7

typedef struct dicore_kernels {
    const char *name;            /* "sse2" (the plain one, on any processor), "ssse3", "avx2", "avx512" */

    /* ---- moves ---- */
    /** Reverse the bytes of each value. In place. */
    void (*swap16)(uint8_t *to, const uint8_t *from, size_t count);
    void (*swap32)(uint8_t *to, const uint8_t *from, size_t count);
    void (*swap64)(uint8_t *to, const uint8_t *from, size_t count);
    /** Bits `first` to first + count - 1 of `from`, least significant first (PS3.5 8.1.1): a byte each, 0 or 1. */
    void (*unpack1)(uint8_t *to, const uint8_t *from, size_t first, size_t count);
    /** The reverse, from bit 0: a byte that is not 0 becomes a 1. What is left of the last byte is 0. */
    void (*pack1)(uint8_t *to, const uint8_t *from, size_t count);
    /** Two samples of 12 bits in three bytes: the first is the low 12 bits (little endian). An odd last one takes two. */
    void (*unpack12)(uint16_t *to, const uint8_t *from, size_t count);
    void (*pack12)(uint8_t *to, const uint16_t *from, size_t count);
    /** Three planes to pixels of three samples together, and back. */
    void (*interleave8)(uint8_t *to, const uint8_t *a, const uint8_t *b, const uint8_t *c, size_t pixels);
    void (*interleave16)(uint16_t *to, const uint16_t *a, const uint16_t *b, const uint16_t *c, size_t pixels);
    void (*separate8)(uint8_t *a, uint8_t *b, uint8_t *c, const uint8_t *from, size_t pixels);
    void (*separate16)(uint16_t *a, uint16_t *b, uint16_t *c, const uint16_t *from, size_t pixels);
    /** Y1 Y2 Cb Cr to two pixels Y Cb Cr (PS3.3 C.7.6.3.1.2, YBR_FULL_422). */
    void (*expand422)(uint8_t *to, const uint8_t *from, size_t pairs);
    /** Keep `bits` (1..width) bits of each sample from bit `low` on; `is_signed` extends the highest of them. In place. */
    void (*keep8)(uint8_t *to, const uint8_t *from, size_t count, unsigned low, unsigned bits, int is_signed);
    void (*keep16)(uint16_t *to, const uint16_t *from, size_t count, unsigned low, unsigned bits, int is_signed);
    void (*keep32)(uint32_t *to, const uint32_t *from, size_t count, unsigned low, unsigned bits, int is_signed);
    /** 1 when keep8, keep16 with low 0 would change a sample, else 0. */
    int (*stray8)(const uint8_t *from, size_t count, unsigned bits, int is_signed);
    int (*stray16)(const uint16_t *from, size_t count, unsigned bits, int is_signed);
    /** Bit `bit` of each sample as 0 or 1: an overlay in the pixels' unused bits (PS3.3 C.9.2, retired). */
    void (*bit16)(uint8_t *to, const uint16_t *from, size_t count, unsigned bit);
    /** Where `mask` is not 0, `to` becomes `value`: an overlay burnt into an 8-bit image. */
    void (*burn8)(uint8_t *to, const uint8_t *mask, size_t count, uint8_t value);

    /* ---- colour ---- */
    /** YBR_FULL to RGB, pixels of three samples (PS3.3 C.7.6.3.1.2), rounded, halves of R and B upwards. In place. */
    void (*rgb8)(uint8_t *to, const uint8_t *from, size_t pixels);
    /** expand422 and rgb8 in one. */
    void (*rgb422)(uint8_t *to, const uint8_t *from, size_t pairs);
    /** YBR_FULL with `bits` (1..16) bits a sample, or YBR_PARTIAL, to RGB, rounded. In place. */
    void (*rgb16)(uint16_t *to, const uint16_t *from, size_t pixels, unsigned bits, int partial);
    void (*rgb8_partial)(uint8_t *to, const uint8_t *from, size_t pixels);
    /** The inverse reversible and irreversible transforms of JPEG 2000 (T.800 annex G) on three planes, in place. Sums
     *  wrap at 32 bits. */
    void (*rct)(int32_t *y_to_r, int32_t *cb_to_g, int32_t *cr_to_b, size_t count);
    void (*ict)(float *y_to_r, float *cb_to_g, float *cr_to_b, size_t count);

    /* ---- tables: indexed by the bit pattern of the sample, so that sign and range are the table's business ---- */
    void (*table8)(uint8_t *to, const uint8_t *from, size_t count, const uint8_t table[256]);
    void (*table16)(uint8_t *to, const uint16_t *from, size_t count, const uint8_t table[65536]);
    void (*table16_16)(uint16_t *to, const uint16_t *from, size_t count, const uint16_t table[65536]);
    void (*table16_float)(float *to, const uint16_t *from, size_t count, const float table[65536]);
    /** Palette Color: an entry is R | G << 8 | B << 16, or R | G << 16 | B << 32 of 16 bits each. */
    void (*palette8)(uint8_t *to, const uint8_t *from, size_t count, const uint32_t table[256]);
    void (*palette16)(uint8_t *to, const uint16_t *from, size_t count, const uint32_t table[65536]);
    void (*palette8_wide)(uint16_t *to, const uint8_t *from, size_t count, const uint64_t table[256]);
    void (*palette16_wide)(uint16_t *to, const uint16_t *from, size_t count, const uint64_t table[65536]);

    /* ---- grey, by type of the sample (dicore_sample) ---- */
    /** value * slope + intercept in float. */
    void (*rescale[DICORE_SAMPLES])(float *to, const void *from, size_t count, float slope, float intercept);
    /** The same in double, rounded to float once: for factors that float cannot hold. */
    void (*rescale_exact[DICORE_SAMPLES])(float *to, const void *from, size_t count, double slope, double intercept);
    /** Rescale, window and presentation in one: value * scale + offset, held within 0..255, rounded (halves to even),
     *  XOR `flip` (0, or 255 to invert). NaN becomes 0 before the flip. */
    void (*window[DICORE_SAMPLES])(uint8_t *to, const void *from, size_t count, float scale, float offset, uint8_t flip);
    /** VOI LUT Function SIGMOID (PS3.3 C.11.2.1.3.1): 255 / (1 + exp(-(value * scale + offset))), rounded, XOR `flip`;
     *  the scale is 4 / width. exp is our own, within 1e-6 of the true one; NaN becomes 0. */
    void (*sigmoid)(uint8_t *to, const float *from, size_t count, float scale, float offset, uint8_t flip);
    /** XOR with `flip`: the presentation inverse of 8-bit values. In place. */
    void (*flip8)(uint8_t *to, const uint8_t *from, size_t count, uint8_t flip);
} dicore_kernels;

/** The best level that this processor has; DICORE_CPU=sse2, ssse3 or avx2 in the environment at the first call lowers
 *  what the whole library takes it to have. */
DICORE_API const dicore_kernels *dicore_kernels_best(void);

/** A level by name, or NULL when this processor, or this build, does not have it. */
DICORE_API const dicore_kernels *dicore_kernels_named(const char *name);

#ifdef __cplusplus
}
#endif
#endif
