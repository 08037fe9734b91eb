/* The element header, read and written; and what deviations are called. */
#include "dataset/element.h"

#define AT(a, b) [((a) & 31) << 5 | ((b) & 31)]
const uint8_t VR_KINDS[1024] = {
    /* PS3.5 table 7.1-2 */
    AT('A', 'E') = VR_KIND_SHORT, AT('A', 'S') = VR_KIND_SHORT, AT('A', 'T') = VR_KIND_SHORT, AT('C', 'S') = VR_KIND_SHORT,
    AT('D', 'A') = VR_KIND_SHORT, AT('D', 'S') = VR_KIND_SHORT, AT('D', 'T') = VR_KIND_SHORT, AT('F', 'D') = VR_KIND_SHORT,
    AT('F', 'L') = VR_KIND_SHORT, AT('I', 'S') = VR_KIND_SHORT, AT('L', 'O') = VR_KIND_SHORT, AT('L', 'T') = VR_KIND_SHORT,
    AT('P', 'N') = VR_KIND_SHORT, AT('S', 'H') = VR_KIND_SHORT, AT('S', 'L') = VR_KIND_SHORT, AT('S', 'S') = VR_KIND_SHORT,
    AT('S', 'T') = VR_KIND_SHORT, AT('T', 'M') = VR_KIND_SHORT, AT('U', 'I') = VR_KIND_SHORT, AT('U', 'L') = VR_KIND_SHORT,
    AT('U', 'S') = VR_KIND_SHORT,
    /* table 7.1-1 */
    AT('O', 'B') = VR_KIND_LONG, AT('O', 'D') = VR_KIND_LONG, AT('O', 'F') = VR_KIND_LONG, AT('O', 'L') = VR_KIND_LONG,
    AT('O', 'V') = VR_KIND_LONG, AT('O', 'W') = VR_KIND_LONG, AT('S', 'V') = VR_KIND_LONG, AT('U', 'C') = VR_KIND_LONG,
    AT('U', 'R') = VR_KIND_LONG, AT('U', 'T') = VR_KIND_LONG, AT('U', 'V') = VR_KIND_LONG,
    AT('S', 'Q') = VR_KIND_SEQUENCE, AT('U', 'N') = VR_KIND_SEQUENCE};

int dicore_vr_known(uint16_t vr) { return vr_in(KNOWN_VRS, vr); }
int dicore_vr_short(uint16_t vr) { return vr_in(SHORT_VRS, vr); }

dicore_status dicore_read_element_header(const uint8_t *data, size_t size, dicore_encoding encoding,
                                         dicore_element_header *out)
{
    if ((unsigned)encoding > DICORE_EXPLICIT_BE)
        return DICORE_BAD_ARGUMENT;
    return read_header(data, size, encoding, out);
}

dicore_status dicore_write_element_header(uint8_t *out, size_t capacity, dicore_encoding encoding, uint32_t tag, uint16_t vr,
                                          uint32_t length, size_t *size)
{
    if ((unsigned)encoding > DICORE_EXPLICIT_BE)
        return DICORE_BAD_ARGUMENT;
    int big = (encoding & DICORE_ENTRY_BIG_ENDIAN) != 0;
    int has_vr = (encoding & DICORE_ENTRY_EXPLICIT) && !tag_has_no_vr(tag);
    if (has_vr && !(is_capital(vr >> 8) && is_capital(vr & 0xFF)))
        return DICORE_BAD_VR;
    if (has_vr && vr_in(SHORT_VRS, vr) && length > 0xFFFE)
        vr = DICORE_VR_UN; /* PS3.5 6.2.2 note 2: the length would not fit its 16 bits */
    size_t need = has_vr && !vr_in(SHORT_VRS, vr) ? 12 : 8;
    if (capacity < need)
        return DICORE_NO_MEMORY;
    void (*put16)(uint8_t *, uint16_t) = big ? store_u16be : store_u16le;
    void (*put32)(uint8_t *, uint32_t) = big ? store_u32be : store_u32le;
    put16(out, (uint16_t)(tag >> 16));
    put16(out + 2, (uint16_t)tag);
    if (!has_vr) {
        put32(out + 4, length);
    } else {
        store_u16be(out + 4, vr);
        put16(out + 6, need == 8 ? (uint16_t)length : 0);
        if (need == 12)
            put32(out + 8, length);
    }
    *size = need;
    return DICORE_OK;
}

static const struct {
    const char *name, *text;
} DEVIATIONS[DICORE_DEV_COUNT] = {
    [DICORE_DEV_NONE] = {"none", "no deviation"},
    [DICORE_DEV_NO_PREAMBLE] = {"no-preamble", "no preamble with DICM at byte 128"},
    [DICORE_DEV_NO_FILE_META] = {"no-file-meta", "no file meta information"},
    [DICORE_DEV_NO_TRANSFER_SYNTAX] = {"no-transfer-syntax", "no Transfer Syntax UID in the file meta information"},
    [DICORE_DEV_WRONG_TRANSFER_SYNTAX] = {"wrong-transfer-syntax", "the data set is not in the declared transfer syntax"},
    [DICORE_DEV_IMPLICIT_META] = {"implicit-meta", "file meta information in implicit VR"},
    [DICORE_DEV_META_LENGTH] = {"meta-length", "the length of the file meta information is missing or wrong"},
    [DICORE_DEV_UNKNOWN_VR] = {"unknown-vr", "a VR that the standard does not know"},
    [DICORE_DEV_IMPLICIT_ELEMENT] = {"implicit-element", "an element without VR in an explicit VR data set"},
    [DICORE_DEV_EXPLICIT_ELEMENT] = {"explicit-element", "an element with VR in an implicit VR data set"},
    [DICORE_DEV_ODD_LENGTH] = {"odd-length", "a value of odd length"},
    [DICORE_DEV_ORDER] = {"order", "elements out of order"},
    [DICORE_DEV_TWICE] = {"twice", "an element that comes twice"},
    [DICORE_DEV_TRAILING_PADDING] = {"trailing-padding", "padding after the last element"},
    [DICORE_DEV_MISSING_DELIMITER] = {"missing-delimiter", "an undefined length without its delimiter"},
    [DICORE_DEV_UNDEFINED_LENGTH] = {"undefined-length", "an undefined length where the standard has none"},
    [DICORE_DEV_NO_PRIVATE_CREATOR] = {"no-private-creator", "a private element without its private creator"},
    [DICORE_DEV_VALUE_TRUNCATED] = {"value-truncated", "the input ends inside a value"},
    [DICORE_DEV_STRAY_DELIMITER] = {"stray-delimiter", "an item or delimiter where none belongs"},
    [DICORE_DEV_BAD_ITEM] = {"bad-item", "something else than an item in a sequence"},
    [DICORE_DEV_ITEM_LENGTH] = {"item-length", "an element longer than the item or sequence around it"},
    [DICORE_DEV_HEADER_TRUNCATED] = {"header-truncated", "the input ends inside an element header"},
    [DICORE_DEV_DEFLATE_TRUNCATED] = {"deflate-truncated", "a deflate stream without its end"},
    [DICORE_DEV_FRAGMENTS] = {"fragments", "encapsulated data whose items do not chain up"},
    [DICORE_DEV_DELIMITER_LENGTH] = {"delimiter-length", "a delimiter with a length"},
    [DICORE_DEV_UN_ENCODING] = {"un-encoding", "a UN sequence that is not in implicit VR little endian"},
};

const char *dicore_deviation_name(uint32_t code) { return code < DICORE_DEV_COUNT ? DEVIATIONS[code].name : "unknown"; }
const char *dicore_deviation_text(uint32_t code)
{
    return code < DICORE_DEV_COUNT ? DEVIATIONS[code].text : "an unknown deviation";
}
