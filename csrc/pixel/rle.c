/* RLE Lossless (PS3.5 annex G): a header of 16 numbers, then PackBits segments, one a byte of the sample. */
#include "base/load.h"
#include "dicore/pixel.h"

#include <string.h>

static void spread(const uint8_t *from, uint8_t *target, size_t count, size_t stride)
{
    if (stride == 1) {
        memcpy(target, from, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        target[i * stride] = from[i];
}

static void repeat(uint8_t value, uint8_t *target, size_t count, size_t stride)
{
    if (stride == 1) {
        memset(target, value, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        target[i * stride] = value;
}

dicore_status dicore_rle_segment(const uint8_t *source, size_t size, uint8_t *target, size_t capacity, size_t stride)
{
    size_t at = 0, done = 0;
    if (stride == 0)
        return DICORE_BAD_ARGUMENT;
    while (done < capacity && size - at >= 2) {
        unsigned code = source[at++];
        if (code < 128) { /* code + 1 bytes as they are */
            size_t run = code + 1u, there = size - at;
            size_t count = run < there ? run : there;
            count = count < capacity - done ? count : capacity - done;
            spread(source + at, target + done * stride, count, stride);
            done += count;
            at += run < there ? run : there;
        } else if (code > 128) { /* the next byte 257 - code times; 128 itself means nothing (G.3.1) */
            size_t run = 257u - code;
            size_t count = run < capacity - done ? run : capacity - done;
            repeat(source[at++], target + done * stride, count, stride);
            done += count;
        }
    }
    return done == capacity ? DICORE_OK : DICORE_BAD_FRAME;
}

dicore_status dicore_rle_frame(const uint8_t *source, size_t size, uint8_t *target, size_t target_size, uint64_t pixels,
                               unsigned samples, unsigned bytes, dicore_error *error)
{
    if (samples == 0 || bytes == 0 || samples > 15 || bytes > 15 || samples * bytes > 15)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    unsigned segments = samples * bytes;
    if (pixels > SIZE_MAX / segments || target_size != (size_t)pixels * segments)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0x7FE00010);
    if (size < 64 || load_u32le(source) != segments)
        return dicore_fail(error, DICORE_BAD_FRAME, 0, 0x7FE00010);
    for (unsigned i = 0; i < segments; i++) {
        uint64_t begin = load_u32le(source + 4 + 4 * i);
        uint64_t end = i + 1 < segments ? load_u32le(source + 8 + 4 * i) : size;
        if (begin < 64 || end < begin || end > size)
            return dicore_fail(error, DICORE_BAD_FRAME, 4 + 4 * i, 0x7FE00010);
        if (pixels == 0)
            continue;
        unsigned sample = i / bytes, significance = i % bytes; /* most significant byte first (G.2) */
        dicore_status status = dicore_rle_segment(source + begin, (size_t)(end - begin),
                                                  target + sample * bytes + (bytes - 1 - significance), (size_t)pixels,
                                                  segments);
        if (status != DICORE_OK)
            return dicore_fail(error, status, begin, 0x7FE00010);
    }
    return DICORE_OK;
}
