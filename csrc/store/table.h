/* The table of UID hashes: open addressing with linear probing, 32 bytes a slot, never more than 7/8 full. Several places may
 * stand under one hash. Not thread-safe: the store's lock guards it. */
#ifndef DICORE_TABLE_H
#define DICORE_TABLE_H

#include "dicore/store.h"

enum { /* dicore_place.state */
    DICORE_PLACE_FREE = 0,
    DICORE_PLACE_STORED = 1,
    DICORE_PLACE_IN_FLIGHT = 2, /* written, not yet durable: not to be seen, but a duplicate is told by it */
    DICORE_PLACE_GONE = 3,      /* was removed; probing goes on behind it */
    DICORE_PLACE_SHADOWED = 4,  /* written, but an older record of its UID counts */
    DICORE_PLACE_TOMB = 5       /* a tombstone: older records of its UID, wherever they turn up, are gone */
};

typedef struct dicore_table {
    dicore_place *slots;
    size_t capacity;            /* a power of two, or 0 */
    size_t used;                /* slots that are not free */
    size_t stored;
    dicore_allocator allocator;
} dicore_table;

void dicore_table_free(dicore_table *table);

/** @return DICORE_OK, DICORE_NO_MEMORY (the table is as it was). */
dicore_status dicore_table_add(dicore_table *table, const dicore_place *place);

/** When the record at the place was received. */
uint64_t dicore_place_received(const dicore_place *place);
void dicore_place_receive(dicore_place *place, uint64_t received);

/** Of all durable places under the hash, decide anew which count: those behind the youngest record that replaces or deletes;
 *  of these the oldest, and the ones that stand beside others. */
void dicore_table_resolve(dicore_table *table, const uint8_t uid_hash[16]);

/** The next place under the hash, in the order they were added; NULL when there is none. *cursor is 0 at first. Valid until the next add. */
dicore_place *dicore_table_next(const dicore_table *table, const uint8_t uid_hash[16], size_t *cursor);

/** The place of the record at (segment, unit) under the hash, or NULL. */
dicore_place *dicore_table_at(const dicore_table *table, const uint8_t uid_hash[16], uint32_t segment, uint32_t unit);

void dicore_table_set(dicore_table *table, dicore_place *place, uint32_t state);

#endif
