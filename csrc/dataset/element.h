/* Element headers, for the loops of this folder: the reader itself is inline, because walking is one header per 2 ns. */
#ifndef DICORE_DATASET_ELEMENT_H
#define DICORE_DATASET_ELEMENT_H

#include "base/load.h"
#include "dicore/dataset.h"

#define VR(a, b) DICORE_VR(a, b)

static inline int is_capital(unsigned letter) { return letter - 'A' < 26u; }

/* A set of VRs is 26 x 26 bits: bit (first - 'A') * 26 + (second - 'A'). */
static inline int vr_in(const uint64_t set[11], uint16_t vr)
{
    unsigned first = (unsigned)(vr >> 8) - 'A', second = (unsigned)(vr & 0xFF) - 'A';
    if (first >= 26 || second >= 26)
        return 0;
    unsigned bit = first * 26 + second;
    return (int)(set[bit / 64] >> (bit % 64) & 1);
}

/* PS3.5 table 7.1-2: AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US */
static const uint64_t SHORT_VRS[11] = {
    0x00000000000c0010, 0x0000000300004040, 0x0000000000002020, 0x0000000400000000, 0x0002100000000000, 0x0000000000000000,
    0x0000000000080000, 0x040000c088000000, 0x0000000004090000, 0x0000000000000000, 0x0000000000000000};
/* and with table 7.1-1: OB OD OF OL OV OW SQ SV UC UN UR UT UV */
static const uint64_t KNOWN_VRS[11] = {
    0x00000000000c0010, 0x0000000300004040, 0x0000000000002020, 0x0000000400000000, 0x0002100000000000, 0x0082a00000000000,
    0x0000000000080006, 0x040002d088000000, 0x000000002e290400, 0x0000000000000000, 0x0000000000000000};

/* What the loops need to know of a VR, by the five low bits of its letters: one look. `letters` as loaded little endian. */
enum { VR_KIND_OTHER = 0, VR_KIND_SHORT = 1, VR_KIND_LONG = 2 /* but SQ and UN, which may be sequences */, VR_KIND_SEQUENCE = 3 };
extern const uint8_t VR_KINDS[1024];
static inline unsigned vr_kind(unsigned letters)
{
    if ((letters & 0xE0E0) != 0x4040)
        return VR_KIND_OTHER;
    return VR_KINDS[(letters & 31) << 5 | (letters >> 8 & 31)];
}

static inline uint32_t load_tag(const uint8_t *p, unsigned encoding)
{
    return encoding & DICORE_ENTRY_BIG_ENDIAN ? load_tag_be(p) : load_tag_le(p);
}
static inline uint32_t load_length(const uint8_t *p, unsigned encoding)
{
    return encoding & DICORE_ENTRY_BIG_ENDIAN ? load_u32be(p) : load_u32le(p);
}

/* PS3.5 7.5: these three have no VR in any encoding */
static inline int tag_has_no_vr(uint32_t tag)
{
    return tag == DICORE_TAG_ITEM || tag == DICORE_TAG_ITEM_END || tag == DICORE_TAG_SEQUENCE_END;
}

static inline dicore_status read_header(const uint8_t *data, uint64_t size, unsigned encoding, dicore_element_header *out)
{
    if (size < 8)
        return DICORE_TRUNCATED;
    dicore_element_header h = {.tag = load_tag(data, encoding), .size = 8};
    uint16_t vr = load_u16be(data + 4); /* two letters, not a number: the same in both byte orders */
    if (!(encoding & DICORE_ENTRY_EXPLICIT) || tag_has_no_vr(h.tag)) {
        h.length = load_length(data + 4, encoding);
    } else if (vr_in(SHORT_VRS, vr)) { /* PS3.5 table 7.1-2 */
        h.vr = vr;
        h.length = encoding & DICORE_ENTRY_BIG_ENDIAN ? load_u16be(data + 6) : load_u16le(data + 6);
    } else if (is_capital(data[4]) && is_capital(data[5])) { /* table 7.1-1, and every VR yet to come (6.2) */
        if (size < 12)
            return DICORE_TRUNCATED;
        h.vr = vr;
        h.length = load_length(data + 8, encoding);
        h.size = 12;
    } else {
        return DICORE_BAD_VR;
    }
    *out = h;
    return DICORE_OK;
}

#endif
