/* What stands before a data set in a file (PS3.10 7.1), read and written, and the deflated data set (PS3.5 A.5). */
#include <limits.h>
#include <string.h>
#include <zlib.h>

#include "dataset/deviation.h"
#include "dataset/element.h"

#define DEVIATE(code, offset, tag)                                                                                     \
    do {                                                                                                               \
        if (note_deviation(&opts, (code), (offset), (tag)))                                                            \
            return fail_at_depth(error, DICORE_DEVIATION, (offset), (tag), 0, (code));                                 \
    } while (0)

static int is_uid(const uint8_t *uid, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(uid, text, size) == 0;
}

dicore_encoding dicore_syntax_encoding(const uint8_t *uid, size_t size, int *deflated)
{
    *deflated = is_uid(uid, size, "1.2.840.10008.1.2.1.99")     /* Deflated Explicit VR Little Endian, PS3.5 A.5 */
                || is_uid(uid, size, "1.2.840.10008.1.2.4.95")  /* JPIP Referenced Deflate, A.7 */
                || is_uid(uid, size, "1.2.840.10008.1.2.4.205"); /* JPIP HTJ2K Referenced Deflate */
    if (is_uid(uid, size, "1.2.840.10008.1.2"))
        return DICORE_IMPLICIT_LE;
    if (is_uid(uid, size, "1.2.840.10008.1.2.2"))
        return DICORE_EXPLICIT_BE;
    if (is_uid(uid, size, "1.2.840.113619.5.2")) /* GE: implicit VR little endian, with pixels in big endian */
        return DICORE_IMPLICIT_LE;
    return DICORE_EXPLICIT_LE;
}

/* How well the 8 bytes at `p` read as the first element of a data set in `encoding`: 0 not at all, 1 possible, 2 a tag of
 * the dictionary with a VR or length that fits. `left` bytes stand there (8 at least). */
static int plausible(const uint8_t *p, uint64_t left, unsigned encoding)
{
    dicore_element_header h;
    dicore_status status = read_header(p, left, encoding, &h);
    if (status != DICORE_OK || (h.vr && !vr_in(KNOWN_VRS, h.vr)))
        return 0;
    if (h.tag == 0 && h.length != 4) /* a command group length, not zeros */
        return 0;
    int known = dicore_dictionary_vr(h.tag) != 0 || ((h.tag & 0xFFFF) == 0 && h.length == 4);
    int fits = h.length == DICORE_UNDEFINED_LENGTH || h.length <= left - h.size;
    if (encoding & DICORE_ENTRY_EXPLICIT)
        return known ? 2 : fits; /* a value may be cut off, but not that of a tag that nobody knows */
    return known && fits ? 2 : fits && h.tag >> 16 < 0x8000;
}

/* The encoding that the data set at data[at..] really has. What was declared (-1: nothing) holds unless the bytes say
 * otherwise: VRs or their absence at the first element, and its tag for the byte order. */
static unsigned find_encoding(const uint8_t *data, uint64_t size, uint64_t at, int declared)
{
    unsigned fallback = declared < 0 ? DICORE_IMPLICIT_LE : (unsigned)declared;
    dicore_element_header h;
    while (size - at >= 8 && read_header(data + at, size - at, DICORE_IMPLICIT_LE, &h) == DICORE_OK && h.tag >> 16 == 0 &&
           (h.tag != 0 || h.length == 4) && h.length <= size - at - 8)
        at += 8 + (uint64_t)h.length; /* a command set (PS3.7 6.3), always implicit little endian */
    while (size - at >= 8 && tag_has_no_vr(load_tag(data + at, fallback)))
        at += 8; /* stray delimiters tell nothing */
    if (size - at < 8)
        return fallback;
    const uint8_t *p = data + at;
    uint64_t left = size - at;
    int has_vr = is_capital(p[4]) && is_capital(p[5]);
    if (declared >= 0 && !(fallback & DICORE_ENTRY_EXPLICIT))
        has_vr = vr_in(KNOWN_VRS, load_u16be(p + 4)); /* two letters can also be a length */
    unsigned found = has_vr ? fallback | DICORE_ENTRY_EXPLICIT : fallback & ~DICORE_ENTRY_EXPLICIT;
    unsigned other = found ^ DICORE_ENTRY_BIG_ENDIAN;
    if (plausible(p, left, other) == 2 && plausible(p, left, found) < 2)
        found = other;
    else if (declared < 0 && has_vr && load_u16le(p) >= 0x400 && load_u16be(p) < 0x400)
        found = DICORE_EXPLICIT_BE; /* pydicom's rule: no data set begins with so high a group */
    return found;
}

static dicore_status need(uint64_t bytes, uint64_t size, dicore_error *error)
{
    return fail_at_depth(error, DICORE_TRUNCATED, bytes > size ? bytes : size + 1, 0, 0, 0);
}

dicore_status dicore_part10_parse(const uint8_t *data, size_t size, const dicore_read_options *options, dicore_part10 *out,
                                  dicore_error *error)
{
    dicore_read_options opts = options ? *options : (dicore_read_options){0};
    dicore_part10 part = {0};
    if (opts.partial && size < 132)
        return need(132, size, error);
    uint64_t at = 0;
    if (size >= 132 && memcmp(data + 128, "DICM", 4) == 0) {
        part.has_preamble = 1;
        at = 132;
    } else if (size >= 4 && memcmp(data, "DICM", 4) == 0) {
        at = 4;
    }
    /* group 0002, as long as the group lasts: its length is often wrong */
    int has_meta = size - at >= 8 && load_u16le(data + at) == 2;
    if (at == 0 && !has_meta &&
        (size < 8 || !(plausible(data, size, DICORE_EXPLICIT_LE) || plausible(data, size, DICORE_EXPLICIT_BE) ||
                       plausible(data, size, DICORE_IMPLICIT_LE) == 2)))
        return dicore_fail(error, DICORE_NOT_DICOM, 0, 0);
    if (!part.has_preamble)
        DEVIATE(DICORE_DEV_NO_PREAMBLE, 0, 0);
    part.meta_offset = at;
    part.meta_encoding = DICORE_EXPLICIT_LE;
    if (opts.partial && size - at < 8)
        return need(at + 8, size, error);
    if (has_meta && !(is_capital(data[at + 4]) && is_capital(data[at + 5]))) {
        part.meta_encoding = DICORE_IMPLICIT_LE;
        DEVIATE(DICORE_DEV_IMPLICIT_META, at, load_tag_le(data + at));
    }
    uint64_t length_says = 0; /* where (0002,0000) has the end */
    while (has_meta) {
        if (size - at < 8) {
            if (opts.partial)
                return need(at + 8, size, error);
            if (size != at) {
                DEVIATE(DICORE_DEV_HEADER_TRUNCATED, at, 0);
                at = size;
            }
            break;
        }
        if (load_u16le(data + at) != 2)
            break;
        dicore_element_header h;
        dicore_status status = read_header(data + at, size - at, part.meta_encoding, &h);
        if (status == DICORE_BAD_VR) {
            DEVIATE(DICORE_DEV_IMPLICIT_ELEMENT, at, load_tag_le(data + at));
            status = read_header(data + at, size - at, DICORE_IMPLICIT_LE, &h);
        }
        if (status == DICORE_TRUNCATED) {
            if (opts.partial)
                return need(at + 12, size, error);
            DEVIATE(DICORE_DEV_HEADER_TRUNCATED, at, load_tag_le(data + at));
            at = size;
            break;
        }
        if (h.length == DICORE_UNDEFINED_LENGTH)
            return dicore_fail(error, DICORE_BAD_META, at, h.tag);
        uint64_t value = at + h.size, length = h.length;
        if (length > size - value) {
            if (opts.partial)
                return need(value + length, size, error);
            DEVIATE(DICORE_DEV_VALUE_TRUNCATED, at, h.tag);
            length = size - value;
        }
        dicore_span span = {data + value, dicore_value_trim(data + value, (size_t)length)};
        while (span.size && *span.data == ' ') {
            span.data++;
            span.size--;
        }
        switch (h.tag) {
        case 0x00020000: length_says = length == 4 ? value + 4 + load_u32le(data + value) : 0; break;
        case 0x00020002: part.sop_class = span; break;
        case 0x00020003: part.sop_instance = span; break;
        case 0x00020010: part.transfer_syntax = span; break;
        case 0x00020012: part.implementation = span; break;
        case 0x00020013: part.version_name = span; break;
        case 0x00020016: part.source_ae = span; break;
        default: break;
        }
        at = value + length;
    }
    part.meta_size = at - part.meta_offset;
    part.dataset_offset = at;
    if (!has_meta)
        DEVIATE(DICORE_DEV_NO_FILE_META, at, 0);
    else if (length_says != at)
        DEVIATE(DICORE_DEV_META_LENGTH, part.meta_offset, 0x00020000);

    int declared = -1, deflated = 0;
    if (part.transfer_syntax.size)
        declared = (int)dicore_syntax_encoding(part.transfer_syntax.data, part.transfer_syntax.size, &deflated);
    else if (has_meta)
        DEVIATE(DICORE_DEV_NO_TRANSFER_SYNTAX, part.meta_offset, 0x00020010);
    if (opts.partial && size - at < 20)
        return need(at + 20, size, error);
    part.guessed = declared < 0;
    part.deflated = (uint8_t)deflated;
    if (deflated && size - at >= 8 && plausible(data + at, size - at, DICORE_EXPLICIT_LE) == 2) {
        part.deflated = 0; /* declared and not done */
        DEVIATE(DICORE_DEV_WRONG_TRANSFER_SYNTAX, at, load_tag_le(data + at));
    }
    part.encoding = (uint8_t)(part.deflated ? (unsigned)declared : find_encoding(data, size, at, declared));
    if (declared >= 0 && part.encoding != declared)
        DEVIATE(DICORE_DEV_WRONG_TRANSFER_SYNTAX, at, load_tag(data + at, part.encoding));
    *out = part;
    return DICORE_OK;
}

/* One short-form element with its value padded to even length. */
static uint8_t *put_text(uint8_t *p, uint16_t element, const char vr[2], dicore_span value, char pad)
{
    size_t padded = value.size + (value.size & 1);
    store_u16le(p, 2);
    store_u16le(p + 2, element);
    memcpy(p + 4, vr, 2);
    store_u16le(p + 6, (uint16_t)padded);
    memcpy(p + 8, value.data, value.size);
    if (value.size & 1)
        p[8 + value.size] = (uint8_t)pad;
    return p + 8 + padded;
}

static size_t text_size(dicore_span value) { return 8 + value.size + (value.size & 1); }

dicore_status dicore_part10_write_meta(uint8_t *out, size_t capacity, size_t *size, dicore_span sop_class,
                                       dicore_span sop_instance, dicore_span transfer_syntax, dicore_span implementation,
                                       dicore_span version_name, dicore_span source_ae)
{
    const dicore_span uids[4] = {sop_class, sop_instance, transfer_syntax, implementation};
    static const uint16_t ELEMENTS[4] = {0x0002, 0x0003, 0x0010, 0x0012};
    size_t total = 132 + 12 + 14;
    for (int i = 0; i < 4; i++) {
        if (uids[i].size == 0 || uids[i].size > 64)
            return DICORE_BAD_LENGTH;
        total += text_size(uids[i]);
    }
    if (version_name.size > 16 || source_ae.size > 16)
        return DICORE_BAD_LENGTH;
    total += version_name.size ? text_size(version_name) : 0;
    total += source_ae.size ? text_size(source_ae) : 0;
    if (total > capacity)
        return DICORE_NO_MEMORY;
    memset(out, 0, 128);
    memcpy(out + 128, "DICM\2\0\0\0UL\4\0", 12);
    store_u32le(out + 140, (uint32_t)(total - 144));              /* (0002,0000): of what follows it */
    memcpy(out + 144, "\2\0\1\0OB\0\0\2\0\0\0\0\1", 14);          /* (0002,0001) File Meta Information Version 00H 01H */
    uint8_t *p = out + 158;
    for (int i = 0; i < 4; i++)
        p = put_text(p, ELEMENTS[i], "UI", uids[i], '\0');
    if (version_name.size)
        p = put_text(p, 0x0013, "SH", version_name, ' ');
    if (source_ae.size)
        p = put_text(p, 0x0016, "AE", source_ae, ' ');
    *size = total;
    return DICORE_OK;
}

/* zlib's two calls over our one: the size stands before the block, since zlib does not remember it. */
static void *zlib_alloc(void *context, unsigned items, unsigned each)
{
    const dicore_allocator *allocator = context;
    size_t size = (size_t)items * each + 16;
    uint8_t *block = allocator->resize(allocator->context, NULL, 0, size);
    if (!block)
        return NULL;
    memcpy(block, &size, sizeof size);
    return block + 16;
}

static void zlib_free(void *context, void *address)
{
    const dicore_allocator *allocator = context;
    uint8_t *block = (uint8_t *)address - 16;
    size_t size;
    memcpy(&size, block, sizeof size);
    allocator->resize(allocator->context, block, size, 0);
}

dicore_status dicore_inflate(const uint8_t *data, size_t size, const dicore_inflate_limits *limits,
                             const dicore_read_options *options, const dicore_allocator *allocator, uint8_t **out,
                             size_t *out_size, size_t *out_capacity, dicore_error *error)
{
    dicore_read_options opts = options ? *options : (dicore_read_options){0};
    uint64_t most = limits && limits->size ? limits->size : (uint64_t)1 << 30;
    uint64_t ratio = limits && limits->ratio ? limits->ratio : 500;
    uint64_t free_bytes = limits && limits->ratio_from ? limits->ratio_from : (uint64_t)64 << 20;
    uint64_t by_ratio = size > UINT64_MAX / ratio ? UINT64_MAX : size * ratio;
    if (by_ratio < free_bytes)
        by_ratio = free_bytes;
    if (most > by_ratio)
        most = by_ratio;
    if (!allocator)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);

    dicore_allocator memory = *allocator; /* zlib wants it without const */
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = &memory};
    if (inflateInit2(&stream, -MAX_WBITS) != Z_OK)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    uint8_t *buffer = NULL;
    size_t capacity = 0, produced = 0, consumed = 0;
    dicore_status status = DICORE_OK;
    int said = Z_OK;
    while (said != Z_STREAM_END) {
        if (produced == capacity) { /* by what was produced: first about the input, then double */
            size_t wanted = capacity ? capacity * 2 : size < 16384 ? 65536 : size * 4;
            if (capacity == 0 && wanted > ((size_t)1 << 24))
                wanted = (size_t)1 << 24;
            if (wanted > most) /* one byte beyond the limit shows that it is broken */
                wanted = (size_t)most + 1;
            uint8_t *larger = wanted > capacity ? allocator->resize(allocator->context, buffer, capacity, wanted) : NULL;
            if (!larger) {
                status = wanted > capacity ? DICORE_NO_MEMORY : DICORE_BAD_DEFLATE;
                break;
            }
            buffer = larger;
            capacity = wanted;
        }
        size_t feed = size - consumed, room = capacity - produced;
        stream.next_in = (uint8_t *)(uintptr_t)(data + consumed); /* zlib reads only, and does not say so */
        stream.avail_in = feed > UINT_MAX ? UINT_MAX : (unsigned)feed;
        stream.next_out = buffer + produced;
        stream.avail_out = room > UINT_MAX ? UINT_MAX : (unsigned)room;
        unsigned had_in = stream.avail_in, had_out = stream.avail_out;
        said = inflate(&stream, Z_NO_FLUSH);
        consumed += had_in - stream.avail_in;
        produced += had_out - stream.avail_out;
        if (produced > most || said == Z_DATA_ERROR || said == Z_NEED_DICT || said == Z_STREAM_ERROR) {
            status = DICORE_BAD_DEFLATE;
            break;
        }
        if (said == Z_MEM_ERROR) {
            status = DICORE_NO_MEMORY;
            break;
        }
        if (said != Z_STREAM_END && consumed == size && produced < capacity) { /* there was room, and no more input */
            if (produced == 0)
                status = DICORE_BAD_DEFLATE;
            else if (note_deviation(&opts, DICORE_DEV_DEFLATE_TRUNCATED, consumed, 0))
                status = DICORE_DEVIATION;
            break;
        }
    }
    inflateEnd(&stream);
    if (status != DICORE_OK) {
        if (buffer)
            allocator->resize(allocator->context, buffer, capacity, 0);
        return fail_at_depth(error, status, consumed, 0, 0, status == DICORE_DEVIATION ? DICORE_DEV_DEFLATE_TRUNCATED : 0);
    }
    *out = buffer;
    *out_size = produced;
    *out_capacity = capacity;
    return DICORE_OK;
}

dicore_status dicore_deflate(const uint8_t *data, size_t size, int level, const dicore_allocator *allocator, uint8_t **out,
                             size_t *out_size, size_t *out_capacity, dicore_error *error)
{
    if (!allocator || level < 0 || level > 9 || (size && !data))
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    dicore_allocator memory = *allocator;
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free, .opaque = &memory};
    if (deflateInit2(&stream, level ? level : Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    uint8_t *buffer = NULL;
    size_t capacity = 0, produced = 0, consumed = 0;
    int said = Z_OK;
    while (said != Z_STREAM_END) {
        if (produced == capacity) {
            size_t wanted = capacity ? capacity + capacity / 2 : size / 2 + 4096;
            uint8_t *larger = wanted > capacity ? allocator->resize(allocator->context, buffer, capacity, wanted) : NULL;
            if (!larger)
                break;
            buffer = larger;
            capacity = wanted;
        }
        size_t feed = size - consumed, room = capacity - produced;
        stream.next_in = (uint8_t *)(uintptr_t)(data + consumed);
        stream.avail_in = feed > UINT_MAX ? UINT_MAX : (unsigned)feed;
        stream.next_out = buffer + produced;
        stream.avail_out = room > UINT_MAX ? UINT_MAX : (unsigned)room;
        unsigned had_in = stream.avail_in, had_out = stream.avail_out;
        said = deflate(&stream, feed > UINT_MAX ? Z_NO_FLUSH : Z_FINISH);
        consumed += had_in - stream.avail_in;
        produced += had_out - stream.avail_out;
        if (said == Z_STREAM_ERROR)
            break;
    }
    deflateEnd(&stream);
    if (said == Z_STREAM_END && produced & 1 && produced == capacity) {
        uint8_t *larger = allocator->resize(allocator->context, buffer, capacity, capacity + 1);
        said = larger ? Z_STREAM_END : Z_MEM_ERROR;
        buffer = larger ? larger : buffer;
        capacity += larger != NULL;
    }
    if (said != Z_STREAM_END) {
        if (buffer)
            allocator->resize(allocator->context, buffer, capacity, 0);
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    }
    if (produced & 1)
        buffer[produced++] = 0; /* PS3.5 A.5 */
    *out = buffer;
    *out_size = produced;
    *out_capacity = capacity;
    return DICORE_OK;
}
