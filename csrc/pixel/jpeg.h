/* What the JPEG Lossless decoder and encoder share with each other: markers, and prediction over a row. */
#ifndef DICORE_JPEG_H
#define DICORE_JPEG_H

#include <stdint.h>

enum { /* ITU T.81 table B.1 */
    JPEG_SOF3 = 0xC3,
    JPEG_DHT = 0xC4,
    JPEG_RST0 = 0xD0,
    JPEG_SOI = 0xD8,
    JPEG_EOI = 0xD9,
    JPEG_SOS = 0xDA,
    JPEG_DNL = 0xDC,
    JPEG_DRI = 0xDD
};

#if defined(__x86_64__) && defined(__GNUC__)
#define DICORE_X86 1
#define DICORE_TARGET_V3 __attribute__((target("avx2,bmi,bmi2,lzcnt,movbe")))
#else
#define DICORE_X86 0
#endif

#define DICORE_INLINE static inline __attribute__((always_inline))
#define DICORE_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
