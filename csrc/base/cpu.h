/* What the processor can do, asked once. The only mutable static of libdicore. */
#ifndef DICORE_CPU_H
#define DICORE_CPU_H

enum {
    DICORE_CPU_SSE42 = 1 << 0,  /* crc32 instruction */
    DICORE_CPU_PCLMUL = 1 << 1, /* carry-less multiplication */
    DICORE_CPU_SSSE3 = 1 << 2,
    DICORE_CPU_AVX2 = 1 << 3,
    DICORE_CPU_BMI2 = 1 << 4,
    DICORE_CPU_AVX512 = 1 << 5, /* F, BW, VL and VBMI: Ice Lake, Zen 4 and later */
    DICORE_CPU_VPCLMUL = 1 << 6 /* carry-less multiplication of four pairs; with AVX512 */
};

/** The features as a set of bits above; 0 on a processor that we have no fast path for. Cheap: asks the processor once. */
unsigned dicore_cpu_features(void);

#endif
