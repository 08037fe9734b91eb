/* The only place that knows a byte order. Every reader of foreign bytes goes through these; the compiler turns each into
 * one load (and one swap where the host differs). The caller has checked that the bytes are there. */
#ifndef DICORE_LOAD_H
#define DICORE_LOAD_H

#include <stdint.h>

static inline uint16_t load_u16le(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint16_t load_u16be(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t load_u32le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint32_t load_u32be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint64_t load_u64le(const uint8_t *p) { return load_u32le(p) | (uint64_t)load_u32le(p + 4) << 32; }
static inline uint64_t load_u64be(const uint8_t *p) { return (uint64_t)load_u32be(p) << 32 | load_u32be(p + 4); }

/** Tag as group << 16 | element (PS3.5 7.1): two 16-bit numbers, each in the byte order of the data set. */
static inline uint32_t load_tag_le(const uint8_t *p) { return (uint32_t)load_u16le(p) << 16 | load_u16le(p + 2); }
static inline uint32_t load_tag_be(const uint8_t *p) { return (uint32_t)load_u16be(p) << 16 | load_u16be(p + 2); }

static inline void store_u16le(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static inline void store_u16be(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static inline void store_u32le(uint8_t *p, uint32_t v) { store_u16le(p, (uint16_t)v); store_u16le(p + 2, (uint16_t)(v >> 16)); }
static inline void store_u32be(uint8_t *p, uint32_t v) { store_u16be(p, (uint16_t)(v >> 16)); store_u16be(p + 2, (uint16_t)v); }
static inline void store_u64le(uint8_t *p, uint64_t v) { store_u32le(p, (uint32_t)v); store_u32le(p + 4, (uint32_t)(v >> 32)); }

#endif
