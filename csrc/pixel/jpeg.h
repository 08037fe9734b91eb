/* What the decoders and encoders of the JPEG family share: markers, and the way from one segment to the next. */
#ifndef DICORE_JPEG_H
#define DICORE_JPEG_H

#include <stddef.h>
#include <stdint.h>

#include "base/load.h"

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

typedef struct jpeg_segment {
    unsigned marker;
    size_t begin;        /* of the fill bytes before the marker, if any; where an error in the segment is said to be */
    size_t length;       /* as stored: of the body and of itself */
    const uint8_t *body; /* length - 2 bytes, all inside the stream */
} jpeg_segment;

/* The marker segment at *at, which then stands on its length; any marker may be preceded by fill bytes (B.1.1.2).
 * 0 when there is none that is whole, or a marker that has no segment; `begin` is filled all the same. */
static inline int jpeg_next_segment(const uint8_t *source, size_t size, size_t *at, jpeg_segment *out)
{
    out->begin = *at;
    while (*at < size && source[*at] == 0xFF)
        ++*at;
    if (*at == out->begin || *at >= size)
        return 0;
    out->marker = source[(*at)++];
    if (out->marker == JPEG_SOI || out->marker == JPEG_EOI || out->marker < 2 || (out->marker & 0xF8) == JPEG_RST0 ||
        size - *at < 2)
        return 0;
    out->length = load_u16be(source + *at);
    if (out->length < 2 || out->length > size - *at)
        return 0;
    out->body = source + *at + 2;
    return 1;
}

#endif
