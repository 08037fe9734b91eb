#include "store/table.h"

#include "base/load.h"

#include <string.h>

static size_t home(const dicore_table *table, const uint8_t hash[16])
{
    return (size_t)load_u64le(hash) & (table->capacity - 1);
}

static void put(dicore_table *table, const dicore_place *place)
{
    size_t at = home(table, place->uid_hash);
    while (table->slots[at].state != DICORE_PLACE_FREE)
        at = (at + 1) & (table->capacity - 1);
    table->slots[at] = *place;
    table->used++;
    table->stored += place->state == DICORE_PLACE_STORED;
}

static dicore_status grow(dicore_table *table)
{
    dicore_table bigger = {.allocator = table->allocator, .capacity = table->capacity ? table->capacity * 2 : 1024};
    if (bigger.capacity > SIZE_MAX / sizeof *bigger.slots)
        return DICORE_NO_MEMORY;
    const size_t bytes = bigger.capacity * sizeof *bigger.slots;
    bigger.slots = table->allocator.resize(table->allocator.context, NULL, 0, bytes);
    if (!bigger.slots)
        return DICORE_NO_MEMORY;
    memset(bigger.slots, 0, bytes);
    /* begin behind a free slot: then equal hashes are met, and put, in the order they came */
    size_t start = 0;
    while (start < table->capacity && table->slots[start].state != DICORE_PLACE_FREE)
        start++;
    for (size_t i = 0; i < table->capacity; i++) {
        const dicore_place *place = &table->slots[(start + i) & (table->capacity - 1)];
        if (place->state != DICORE_PLACE_FREE && place->state != DICORE_PLACE_GONE)
            put(&bigger, place);
    }
    dicore_table_free(table);
    *table = bigger;
    return DICORE_OK;
}

void dicore_table_free(dicore_table *table)
{
    if (table->slots)
        table->allocator.resize(table->allocator.context, table->slots, table->capacity * sizeof *table->slots, 0);
    *table = (dicore_table){.allocator = table->allocator};
}

dicore_status dicore_table_add(dicore_table *table, const dicore_place *place)
{
    if ((table->used + 1) > table->capacity / 8 * 7) {
        const dicore_status status = grow(table);
        if (status != DICORE_OK)
            return status;
    }
    put(table, place);
    return DICORE_OK;
}

dicore_place *dicore_table_next(const dicore_table *table, const uint8_t uid_hash[16], size_t *cursor)
{
    if (!table->capacity)
        return NULL;
    for (;; ++*cursor) {
        dicore_place *place = &table->slots[(home(table, uid_hash) + *cursor) & (table->capacity - 1)];
        if (place->state == DICORE_PLACE_FREE)
            return NULL;
        if (place->state != DICORE_PLACE_GONE && memcmp(place->uid_hash, uid_hash, 16) == 0) {
            ++*cursor;
            return place;
        }
    }
}

dicore_place *dicore_table_at(const dicore_table *table, const uint8_t uid_hash[16], uint32_t segment, uint32_t unit)
{
    size_t cursor = 0;
    for (dicore_place *place; (place = dicore_table_next(table, uid_hash, &cursor));)
        if (place->segment == segment && place->unit == unit)
            return place;
    return NULL;
}

void dicore_table_set(dicore_table *table, dicore_place *place, uint32_t state)
{
    table->stored += state == DICORE_PLACE_STORED;
    table->stored -= place->state == DICORE_PLACE_STORED;
    place->state = state & 15u;
}

uint64_t dicore_place_received(const dicore_place *place) { return (uint64_t)place->received_high << 32 | place->received_low; }

void dicore_place_receive(dicore_place *place, uint64_t received)
{
    place->received_low = (uint32_t)received;
    place->received_high = (uint32_t)(received >> 32) & 0xffffffu;
}

static int is_settled(const dicore_place *place)
{
    return place->state == DICORE_PLACE_STORED || place->state == DICORE_PLACE_SHADOWED || place->state == DICORE_PLACE_TOMB;
}

void dicore_table_resolve(dicore_table *table, const uint8_t uid_hash[16])
{
    uint64_t barrier = 0, first = UINT64_MAX;
    size_t cursor = 0;
    for (dicore_place *place; (place = dicore_table_next(table, uid_hash, &cursor));)
        if (is_settled(place) && place->flags & (DICORE_RECORD_REPLACES | DICORE_RECORD_DELETED) &&
            dicore_place_received(place) > barrier)
            barrier = dicore_place_received(place);
    cursor = 0;
    for (dicore_place *place; (place = dicore_table_next(table, uid_hash, &cursor));) {
        const uint64_t received = dicore_place_received(place);
        if (is_settled(place) && !(place->flags & DICORE_RECORD_DELETED) && received >= barrier && received < first)
            first = received;
    }
    cursor = 0;
    int taken = 0; /* of two received in one microsecond, by two processes, the one added first */
    for (dicore_place *place; (place = dicore_table_next(table, uid_hash, &cursor));) {
        const uint64_t received = dicore_place_received(place);
        if (!is_settled(place))
            continue;
        if (received < barrier) {
            dicore_table_set(table, place, DICORE_PLACE_GONE);
        } else if (place->flags & DICORE_RECORD_DELETED) {
            dicore_table_set(table, place, DICORE_PLACE_TOMB);
        } else if (place->flags & DICORE_RECORD_ANOTHER || (received == first && !taken)) {
            taken |= received == first;
            dicore_table_set(table, place, DICORE_PLACE_STORED);
        } else {
            dicore_table_set(table, place, DICORE_PLACE_SHADOWED);
        }
    }
}
