/* Look-ups in the generated tables: one multiplication and a probe or two. */
#include <string.h>

#include "dataset/dictionary_table.h"

/* text_hash() of make_dictionary.py */
static uint32_t text_hash(const char *text, size_t size, unsigned bits)
{
    uint64_t h = size;
    for (size_t i = 0; i < size; i += 8) {
        uint8_t word[8] = {0};
        memcpy(word, text + i, size - i < 8 ? size - i : 8);
        h = (h ^ load_u64le(word)) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    return (uint32_t)h & ((1u << bits) - 1);
}

static const dictionary_public_row *find_public(uint32_t tag)
{
    const uint32_t last = (1u << DICTIONARY_SLOT_BITS) - 1;
    for (uint32_t slot = (tag * dictionary_tag_factor) >> (32 - DICTIONARY_SLOT_BITS);; slot = (slot + 1) & last) {
        uint16_t number = dictionary_tag_slots[slot];
        if (number == 0)
            return NULL;
        if (dictionary_public[number - 1].tag == tag)
            return &dictionary_public[number - 1];
    }
}

/* PS3.5 7.6: repeating groups have even numbers */
static const dictionary_repeating_row *find_repeating(uint32_t tag)
{
    if (tag & 0x10000)
        return NULL;
    for (size_t i = 0; i < dictionary_repeating_count; i++)
        if ((tag & dictionary_repeating[i].mask) == dictionary_repeating[i].tag)
            return &dictionary_repeating[i];
    return NULL;
}

static const dictionary_creator_row *find_creator(const uint8_t *creator, size_t size)
{
    if (size > 64) /* the longest is shorter; a creator has 64 characters at most */
        return NULL;
    const uint32_t last = (1u << DICTIONARY_CREATOR_BITS) - 1;
    for (uint32_t slot = text_hash((const char *)creator, size, DICTIONARY_CREATOR_BITS);; slot = (slot + 1) & last) {
        uint16_t number = dictionary_creator_slots[slot];
        if (number == 0)
            return NULL;
        const dictionary_creator_row *row = &dictionary_creators[number - 1];
        if (row->size == size && memcmp(dictionary_text + row->text, creator, size) == 0)
            return row;
    }
}

static const dictionary_private_row *find_private(const uint8_t *creator, size_t size, uint32_t tag)
{
    static const uint32_t MASKS[3] = {0xFFFFFFFF, 0xFFFF00FF, 0xFF0000FF};
    const dictionary_creator_row *owner = (tag & 0x10000) && size ? find_creator(creator, size) : NULL;
    for (uint32_t form = 0; owner && form < 3; form++) {
        uint64_t wanted = (uint64_t)form << 32 | (tag & MASKS[form]);
        uint32_t low = owner->first, high = owner->first + owner->count;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            const dictionary_private_row *row = &dictionary_private[middle];
            uint64_t key = (uint64_t)row->form << 32 | row->tag;
            if (key == wanted)
                return row;
            if (key < wanted)
                low = middle + 1;
            else
                high = middle;
        }
    }
    return NULL;
}

static void fill(dicore_dictionary_entry *out, uint32_t tag, uint32_t mask, uint8_t vrs, uint8_t vm, uint8_t retired,
                 uint32_t keyword, uint32_t name)
{
    *out = (dicore_dictionary_entry){.tag = tag, .mask = mask, .retired = retired, .keyword = dictionary_text + keyword,
                                     .name = dictionary_text + name, .vm = dictionary_text + dictionary_vms[vm]};
    memcpy(out->vr, dictionary_vrs[vrs], sizeof out->vr);
}

static void fill_public(dicore_dictionary_entry *out, const dictionary_public_row *row)
{
    fill(out, row->tag, 0xFFFFFFFF, row->vrs, row->vm, row->retired, row->keyword, row->name);
}

static void fill_repeating(dicore_dictionary_entry *out, const dictionary_repeating_row *row)
{
    fill(out, row->tag, row->mask, row->vrs, row->vm, row->retired, row->keyword, row->name);
}

int dicore_dictionary_find(uint32_t tag, dicore_dictionary_entry *out)
{
    const dictionary_public_row *row = find_public(tag);
    if (row) {
        fill_public(out, row);
        return 1;
    }
    const dictionary_repeating_row *repeating = find_repeating(tag);
    if (repeating)
        fill_repeating(out, repeating);
    return repeating != NULL;
}

uint16_t dicore_dictionary_vr(uint32_t tag)
{
    const dictionary_public_row *row = find_public(tag);
    if (row)
        return dictionary_vrs[row->vrs][0];
    const dictionary_repeating_row *repeating = find_repeating(tag);
    return repeating ? dictionary_vrs[repeating->vrs][0] : 0;
}

uint32_t dicore_dictionary_keyword(const char *keyword, size_t size, int *found)
{
    const uint32_t last = (1u << DICTIONARY_SLOT_BITS) - 1;
    if (found)
        *found = 0;
    if (size == 0 || size > 128) /* the longest has 64 */
        return 0;
    for (uint32_t slot = text_hash(keyword, size, DICTIONARY_SLOT_BITS);; slot = (slot + 1) & last) {
        uint16_t number = dictionary_keyword_slots[slot];
        if (number == 0)
            return 0;
        const dictionary_public_row *row = &dictionary_public[number - 1];
        const char *text = dictionary_text + row->keyword;
        if (strncmp(text, keyword, size) == 0 && text[size] == '\0') {
            if (found)
                *found = 1;
            return row->tag;
        }
    }
}

int dicore_dictionary_private(const uint8_t *creator, size_t size, uint32_t tag, dicore_dictionary_entry *out)
{
    static const uint32_t MASKS[3] = {0xFFFFFFFF, 0xFFFF00FF, 0xFF0000FF};
    const dictionary_private_row *row = find_private(creator, size, tag);
    if (row)
        fill(out, row->tag, MASKS[row->form], row->vrs, row->vm, 0, 0, row->name);
    return row != NULL;
}

uint16_t dicore_dictionary_private_vr(const uint8_t *creator, size_t size, uint32_t tag)
{
    const dictionary_private_row *row = find_private(creator, size, tag);
    return row ? dictionary_vrs[row->vrs][0] : 0;
}

uint16_t dicore_private_vr(const dicore_private_dictionary *dictionary, const uint8_t *creator, size_t size, uint32_t tag)
{
    size_t low = 0, high = dictionary ? dictionary->count : 0, end = high;
    tag &= 0xFFFF00FF;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (dictionary->entries[middle].tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < end && dictionary->entries[low].tag == tag; low++) {
        const char *name = dictionary->entries[low].creator;
        if (strlen(name) == size && (size == 0 || memcmp(name, creator, size) == 0))
            return dictionary->entries[low].vr;
    }
    return dicore_dictionary_private_vr(creator, size, tag);
}

size_t dicore_dictionary_count(void) { return dictionary_public_count + dictionary_repeating_count; }

int dicore_dictionary_at(size_t number, dicore_dictionary_entry *out)
{
    if (number >= dicore_dictionary_count())
        return 0;
    if (number < dictionary_public_count)
        fill_public(out, &dictionary_public[number]);
    else
        fill_repeating(out, &dictionary_repeating[number - dictionary_public_count]);
    return 1;
}
