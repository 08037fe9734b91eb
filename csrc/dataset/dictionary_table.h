/* The shape of the generated tables. Strings are offsets into one text, so that nothing needs relocating at load. */
#ifndef DICORE_DATASET_DICTIONARY_TABLE_H
#define DICORE_DATASET_DICTIONARY_TABLE_H

#include "dataset/element.h"

#define DICTIONARY_SLOT_BITS 14    /* SLOT_BITS and CREATOR_BITS of make_dictionary.py */
#define DICTIONARY_CREATOR_BITS 11

typedef struct dictionary_public_row {
    uint32_t tag, keyword, name;
    uint8_t vrs, vm, retired; /* numbers into dictionary_vrs and dictionary_vms */
} dictionary_public_row;

typedef struct dictionary_repeating_row {
    uint32_t tag, mask, keyword, name;
    uint8_t vrs, vm, retired;
} dictionary_repeating_row;

typedef struct dictionary_creator_row {
    uint32_t text, size, first, count; /* first and count into dictionary_private */
} dictionary_creator_row;

typedef struct dictionary_private_row { /* of one creator by form, then by tag */
    uint32_t tag, name;
    uint8_t vrs, vm, form; /* form 0: the whole tag; 1: without the block number; 2: without it and half the group */
} dictionary_private_row;

extern const uint32_t dictionary_tag_factor;
extern const uint16_t dictionary_vrs[][3];
extern const uint32_t dictionary_vms[];
extern const size_t dictionary_public_count;
extern const dictionary_public_row dictionary_public[];
extern const size_t dictionary_repeating_count;
extern const dictionary_repeating_row dictionary_repeating[];
extern const dictionary_creator_row dictionary_creators[];
extern const dictionary_private_row dictionary_private[];
extern const uint16_t dictionary_tag_slots[1 << DICTIONARY_SLOT_BITS]; /* number + 1 of a row, 0: free */
extern const uint16_t dictionary_keyword_slots[1 << DICTIONARY_SLOT_BITS];
extern const uint16_t dictionary_creator_slots[1 << DICTIONARY_CREATOR_BITS];
extern const char dictionary_text[];

#endif
