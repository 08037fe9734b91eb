/* What a C-STORE says of a file (PS3.7 9.1.1): its UIDs and the syntax it is really in. */
#include <string.h>

#include "dicore/dataset.h"

bool dicore_uid_usable(dicore_span uid)
{
    if (!uid.data || uid.size == 0 || uid.size > 64)
        return false;
    for (size_t i = 0; i < uid.size; i++)
        if (uid.data[i] < '!' || uid.data[i] > '~' || uid.data[i] == '\\')
            return false;
    return true;
}

static dicore_span text(const char *s) { return (dicore_span){(const uint8_t *)s, strlen(s)}; }

/** The value of a selected element, unless it is absent, empty or not all here. */
static void prefer(const uint8_t *data, size_t size, const dicore_selected *found, dicore_span *out)
{
    if (!(found->flags & DICORE_SELECTED) || !found->length || found->offset > size || found->length > size - found->offset)
        return;
    *out = (dicore_span){data + found->offset, dicore_value_trim(data + found->offset, (size_t)found->length)};
}

dicore_status dicore_part10_identify(const uint8_t *data, size_t size, bool partial, dicore_identity *out)
{
    static const uint32_t tags[2] = {0x00080016, 0x00080018};
    dicore_read_options options;
    dicore_part10 part;
    memset(&options, 0, sizeof options);
    options.partial = partial;
    dicore_status status = dicore_part10_parse(data, size, &options, &part, NULL);
    if (status != DICORE_OK)
        return status;
    *out = (dicore_identity){part.sop_class, part.sop_instance, part.transfer_syntax, part.dataset_offset, part.deflated != 0};
    if (!part.deflated) {
        dicore_selected found[2];
        uint64_t position;
        int deflated;
        const dicore_encoding encoding = (dicore_encoding)part.encoding;
        status = dicore_select(data, size, part.dataset_offset, encoding, &options, tags, 2, found, &position, NULL);
        if (status != DICORE_OK)
            return status;
        prefer(data, size, &found[0], &out->sop_class);
        prefer(data, size, &found[1], &out->sop_instance);
        if (part.guessed || dicore_syntax_encoding(part.transfer_syntax.data, part.transfer_syntax.size, &deflated) != encoding)
            out->transfer_syntax = text(encoding == DICORE_IMPLICIT_LE   ? "1.2.840.10008.1.2"
                                        : encoding == DICORE_EXPLICIT_BE ? "1.2.840.10008.1.2.2"
                                                                         : "1.2.840.10008.1.2.1");
    }
    return dicore_uid_usable(out->sop_class) && dicore_uid_usable(out->sop_instance) && dicore_uid_usable(out->transfer_syntax)
               ? DICORE_OK
               : DICORE_BAD_META;
}
