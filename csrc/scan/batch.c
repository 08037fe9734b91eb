/* Columns in memory, in the layout of Arrow. */
#include "scan/batch.h"

#include <string.h>

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dicore_status try_status = (call);                                                                             \
        if (try_status != DICORE_OK)                                                                                   \
            return try_status;                                                                                         \
    } while (0)

/* Index i of an array of 32-bit numbers in a buffer, which is as aligned as the allocator makes it; memcpy all the same. */
static inline int32_t get32(const dicore_scan_buffer *b, uint64_t i)
{
    int32_t v;
    memcpy(&v, b->data + 4 * i, 4);
    return v;
}

size_t scan_type_width(unsigned type)
{
    static const uint8_t WIDTH[] = {0, 0, 2, 2, 4, 4, 8, 8, 4, 8, 4, 8};
    return type < sizeof WIDTH ? WIDTH[type] : 0;
}

static dicore_status resize(dicore_scan_batch *batch, dicore_scan_buffer *b, size_t capacity)
{
    void *data = batch->allocator.resize(batch->allocator.context, b->data, b->capacity, capacity);
    if (!data && capacity)
        return DICORE_NO_MEMORY;
    batch->memory += capacity - b->capacity;
    b->data = data;
    b->capacity = capacity;
    return DICORE_OK;
}

dicore_status batch_reserve(dicore_scan_batch *batch, dicore_scan_buffer *b, size_t more)
{
    if (more <= b->capacity - b->size)
        return DICORE_OK;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity - b->size < more) {
        if (capacity > SIZE_MAX / 2)
            return DICORE_NO_MEMORY;
        capacity *= 2;
    }
    return resize(batch, b, capacity);
}

static inline dicore_status put(dicore_scan_batch *batch, dicore_scan_buffer *b, const void *data, size_t size)
{
    if (size > b->capacity - b->size)
        TRY(batch_reserve(batch, b, size));
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
    return DICORE_OK;
}

/* The bit of value number `count`, which is being appended. No bitmap until there is a null. */
static inline dicore_status put_bit(dicore_scan_batch *batch, dicore_scan_values *v, int valid)
{
    if (valid && v->nulls == 0) {
        v->count++;
        return DICORE_OK;
    }
    size_t need = (size_t)(v->count / 8 + 1);
    if (need > v->validity.size) {
        size_t add = need - v->validity.size;
        TRY(batch_reserve(batch, &v->validity, add));
        memset(v->validity.data + v->validity.size, v->nulls == 0 ? 0xFF : 0, add);
        v->validity.size = need;
    }
    uint8_t *byte = v->validity.data + v->count / 8, bit = (uint8_t)(1u << v->count % 8);
    *byte = (uint8_t)(valid ? *byte | bit : *byte & ~bit);
    if (!valid) {
        if (v->nulls == 0) /* bits behind the last one are zero from now on */
            *byte = (uint8_t)(*byte & (bit - 1));
        v->nulls++;
    }
    v->count++;
    return DICORE_OK;
}

static dicore_status put_offset(dicore_scan_batch *batch, dicore_scan_values *v, size_t end)
{
    if (end > INT32_MAX)
        return DICORE_LIMIT;
    int32_t offset = (int32_t)end;
    return put(batch, &v->offsets, &offset, 4);
}

static uint32_t hash_of(dicore_span text)
{
    uint64_t h = text.size * 0x9E3779B97F4A7C15u, part;
    size_t i = 0;
    for (; i + 8 <= text.size; i += 8) {
        memcpy(&part, text.data + i, 8);
        h = (h ^ part) * 0xFF51AFD7ED558CCDu;
        h ^= h >> 32;
    }
    part = 0;
    if (i < text.size)
        memcpy(&part, text.data + i, text.size - i);
    h = (h ^ part) * 0xC4CEB9FE1A85EC53u;
    return (uint32_t)(h ^ h >> 32);
}

static inline dicore_span word_at(const dicore_scan_values *d, uint32_t i)
{
    int32_t from = get32(&d->offsets, i);
    return (dicore_span){d->data.data + from, (size_t)(get32(&d->offsets, i + 1) - from)};
}

static inline int same(dicore_span a, dicore_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Twice the slots, or the first 64. A slot is the number of a word plus 1. */
static dicore_status grow_table(dicore_scan_batch *batch, dicore_scan_array *a)
{
    size_t slots = a->table.size ? a->table.size / 4 * 2 : 64;
    a->table.size = 0;
    TRY(batch_reserve(batch, &a->table, slots * 4));
    a->table.size = slots * 4;
    memset(a->table.data, 0, slots * 4);
    for (uint32_t i = 0; i < a->child.count; i++) {
        size_t slot = hash_of(word_at(&a->child, i)) & (slots - 1);
        while (get32(&a->table, slot))
            slot = (slot + 1) & (slots - 1);
        uint32_t number = i + 1;
        memcpy(a->table.data + 4 * slot, &number, 4);
    }
    return DICORE_OK;
}

/* The number of a word in the dictionary, where it is put if it is new. */
static dicore_status find_word(dicore_scan_batch *batch, dicore_scan_array *a, dicore_span text, uint32_t *out)
{
    dicore_scan_values *d = &a->child;
    if (d->count && same(word_at(d, a->last), text)) { /* the next slice of the same series */
        *out = a->last;
        return DICORE_OK;
    }
    if ((d->count + 1) * 8 > a->table.size) /* at most half full */
        TRY(grow_table(batch, a));
    size_t mask = a->table.size / 4 - 1, slot = hash_of(text) & mask;
    for (uint32_t number; (number = (uint32_t)get32(&a->table, slot)) != 0; slot = (slot + 1) & mask) {
        if (same(word_at(d, number - 1), text)) {
            *out = a->last = number - 1;
            return DICORE_OK;
        }
    }
    size_t size = d->data.size;
    TRY(put(batch, &d->data, text.data, text.size));
    dicore_status status = put_offset(batch, d, d->data.size);
    if (status != DICORE_OK) {
        d->data.size = size;
        return status;
    }
    *out = a->last = (uint32_t)d->count++;
    uint32_t number = *out + 1;
    memcpy(a->table.data + 4 * slot, &number, 4);
    return DICORE_OK;
}

dicore_status array_null(dicore_scan_batch *batch, dicore_scan_array *a)
{
    dicore_scan_values *v = &a->values;
    size_t width = a->flags & DICORE_SCAN_DICTIONARY ? 4 : a->flags & DICORE_SCAN_LIST ? 0 : scan_type_width(a->type);
    if (width) {
        TRY(batch_reserve(batch, &v->data, width));
        TRY(put_bit(batch, v, 0));
        memset(v->data.data + v->data.size, 0, width);
        v->data.size += width;
        return DICORE_OK;
    }
    TRY(batch_reserve(batch, &v->offsets, 4));
    TRY(put_bit(batch, v, 0));
    return put(batch, &v->offsets, v->offsets.data + v->offsets.size - 4, 4);
}

static dicore_status values_number(dicore_scan_batch *batch, dicore_scan_values *v, const void *number, size_t width)
{
    if (width > v->data.capacity - v->data.size)
        TRY(batch_reserve(batch, &v->data, width));
    TRY(put_bit(batch, v, 1));
    memcpy(v->data.data + v->data.size, number, width);
    v->data.size += width;
    return DICORE_OK;
}

dicore_status array_number(dicore_scan_batch *batch, dicore_scan_array *a, const void *number)
{
    return values_number(batch, &a->values, number, scan_type_width(a->type));
}

dicore_status array_word(dicore_scan_batch *batch, dicore_scan_array *a, const void *number)
{
    return values_number(batch, &a->values, number, 4);
}

dicore_status array_text(dicore_scan_batch *batch, dicore_scan_array *a, dicore_scan_values *v, dicore_span text)
{
    if (a->flags & DICORE_SCAN_DICTIONARY) {
        uint32_t number;
        TRY(find_word(batch, a, text, &number));
        return values_number(batch, v, &number, 4);
    }
    if (v->data.size + text.size > INT32_MAX)
        return DICORE_LIMIT;
    TRY(batch_reserve(batch, &v->data, text.size));
    TRY(batch_reserve(batch, &v->offsets, 4));
    TRY(put_bit(batch, v, 1));
    TRY(put(batch, &v->data, text.data, text.size));
    return put_offset(batch, v, v->data.size);
}

dicore_status list_number(dicore_scan_batch *batch, dicore_scan_array *a, const void *number)
{
    return values_number(batch, &a->child, number, scan_type_width(a->type));
}

dicore_status list_null(dicore_scan_batch *batch, dicore_scan_array *a)
{
    dicore_scan_values *v = &a->child;
    size_t width = scan_type_width(a->type);
    if (width) {
        TRY(batch_reserve(batch, &v->data, width));
        TRY(put_bit(batch, v, 0));
        memset(v->data.data + v->data.size, 0, width);
        v->data.size += width;
        return DICORE_OK;
    }
    TRY(batch_reserve(batch, &v->offsets, 4));
    TRY(put_bit(batch, v, 0));
    return put(batch, &v->offsets, v->offsets.data + v->offsets.size - 4, 4);
}

dicore_status list_end(dicore_scan_batch *batch, dicore_scan_array *a)
{
    TRY(batch_reserve(batch, &a->values.offsets, 4));
    TRY(put_bit(batch, &a->values, 1));
    return put_offset(batch, &a->values, a->child.count);
}

/* Only the first `count` values stay. */
static void cut(dicore_scan_values *v, uint64_t count, size_t width, int offsets)
{
    if (v->count <= count)
        return;
    if (v->nulls) {
        v->nulls = 0;
        for (uint64_t i = 0; i < count; i++)
            v->nulls += !(v->validity.data[i / 8] >> i % 8 & 1);
        v->validity.size = v->nulls ? (size_t)((count + 7) / 8) : 0;
        if (v->nulls && count % 8)
            v->validity.data[count / 8] &= (uint8_t)((1u << count % 8) - 1);
    }
    v->count = count;
    if (offsets)
        v->offsets.size = (size_t)(count + 1) * 4;
    v->data.size = offsets ? (size_t)get32(&v->offsets, count) : (size_t)count * width;
}

void list_undo(dicore_scan_array *a)
{
    size_t width = scan_type_width(a->type);
    cut(&a->child, (uint64_t)get32(&a->values.offsets, a->values.count), width, width == 0);
}

void batch_undo(dicore_scan_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        dicore_scan_array *a = &batch->arrays[i];
        size_t width = a->flags & DICORE_SCAN_DICTIONARY ? 4 : scan_type_width(a->type);
        if (a->flags & DICORE_SCAN_LIST) {
            if (a->values.count > batch->rows) {
                cut(&a->values, batch->rows, 0, 1);
                a->values.data.size = 0;
            }
            list_undo(a);
        } else {
            cut(&a->values, batch->rows, width, width == 0);
        }
    }
}

dicore_status batch_problem(dicore_scan_batch *batch, const dicore_scan_problem *problem)
{
    if (problem->column >= 0 && batch->invalid++ >= DICORE_SCAN_VALUE_PROBLEMS)
        return DICORE_OK;
    return put(batch, &batch->problems, problem, sizeof *problem);
}

/* ---- the batch as a whole ------------------------------------------------------------------------------------------- */

static int has_offsets(const dicore_scan_array *a)
{
    return a->flags & DICORE_SCAN_LIST || (!scan_type_width(a->type) && !(a->flags & DICORE_SCAN_DICTIONARY));
}

static int child_has_offsets(const dicore_scan_array *a)
{
    return a->flags & (DICORE_SCAN_LIST | DICORE_SCAN_DICTIONARY) && !scan_type_width(a->type);
}

static void free_buffer(dicore_scan_batch *batch, dicore_scan_buffer *b)
{
    if (b->capacity)
        batch->allocator.resize(batch->allocator.context, b->data, b->capacity, 0);
    *b = (dicore_scan_buffer){0};
}

static void free_values(dicore_scan_batch *batch, dicore_scan_values *v)
{
    free_buffer(batch, &v->validity);
    free_buffer(batch, &v->offsets);
    free_buffer(batch, &v->data);
}

static size_t batch_size(size_t count) { return sizeof(dicore_scan_batch) + count * sizeof(dicore_scan_array); }

static dicore_status batch_empty(const dicore_allocator *allocator, size_t count, dicore_scan_batch **out)
{
    dicore_scan_batch *batch = allocator->resize(allocator->context, NULL, 0, batch_size(count));
    if (!batch)
        return DICORE_NO_MEMORY;
    memset(batch, 0, batch_size(count));
    batch->allocator = *allocator;
    batch->references = 1;
    batch->count = count;
    *out = batch;
    return DICORE_OK;
}

/* Arrow's offsets begin with a 0, also of no values. */
static dicore_status begin_offsets(dicore_scan_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        dicore_scan_array *a = &batch->arrays[i];
        if (has_offsets(a))
            TRY(put_offset(batch, &a->values, 0));
        if (child_has_offsets(a))
            TRY(put_offset(batch, &a->child, 0));
    }
    return DICORE_OK;
}

dicore_status batch_new(const dicore_allocator *allocator, const dicore_scan_column *columns, size_t count,
                        dicore_scan_batch **out)
{
    dicore_scan_batch *batch;
    TRY(batch_empty(allocator, count, &batch));
    for (size_t i = 0; i < count; i++) {
        batch->arrays[i].type = columns[i].type;
        batch->arrays[i].flags = columns[i].flags & (DICORE_SCAN_LIST | DICORE_SCAN_DICTIONARY);
    }
    dicore_status status = begin_offsets(batch);
    if (status != DICORE_OK) {
        dicore_scan_batch_release(batch);
        return status;
    }
    *out = batch;
    return DICORE_OK;
}

uint64_t dicore_scan_batch_rows(const dicore_scan_batch *batch) { return batch->rows; }
size_t dicore_scan_batch_columns(const dicore_scan_batch *batch) { return batch->count; }
uint64_t dicore_scan_batch_invalid(const dicore_scan_batch *batch) { return batch->invalid; }
size_t dicore_scan_batch_memory(const dicore_scan_batch *batch) { return batch->memory + batch_size(batch->count); }

const dicore_scan_array *dicore_scan_batch_array(const dicore_scan_batch *batch, size_t column)
{
    return column < batch->count ? &batch->arrays[column] : NULL;
}

const dicore_scan_problem *dicore_scan_batch_problems(const dicore_scan_batch *batch, size_t *count)
{
    *count = batch->problems.size / sizeof(dicore_scan_problem);
    return (const dicore_scan_problem *)(const void *)batch->problems.data;
}

static dicore_status trim(dicore_scan_batch *batch, dicore_scan_buffer *b)
{
    if (b->capacity - b->size < 64 || b->size == 0)
        return DICORE_OK;
    return resize(batch, b, b->size);
}

static dicore_status trim_values(dicore_scan_batch *batch, dicore_scan_values *v)
{
    TRY(trim(batch, &v->validity));
    TRY(trim(batch, &v->offsets));
    return trim(batch, &v->data);
}

dicore_status dicore_scan_batch_finish(dicore_scan_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        dicore_scan_array *a = &batch->arrays[i];
        batch->memory -= a->table.capacity;
        free_buffer(batch, &a->table);
        TRY(trim_values(batch, &a->values));
        TRY(trim_values(batch, &a->child));
    }
    return trim(batch, &batch->problems);
}

void dicore_scan_batch_retain(dicore_scan_batch *batch) { __atomic_add_fetch(&batch->references, 1, __ATOMIC_RELAXED); }

void dicore_scan_batch_release(dicore_scan_batch *batch)
{
    if (!batch || __atomic_sub_fetch(&batch->references, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    for (size_t i = 0; i < batch->count; i++) {
        free_values(batch, &batch->arrays[i].values);
        free_values(batch, &batch->arrays[i].child);
        free_buffer(batch, &batch->arrays[i].table);
    }
    free_buffer(batch, &batch->problems);
    dicore_allocator allocator = batch->allocator;
    allocator.resize(allocator.context, batch, batch_size(batch->count), 0);
}

/* ---- filter --------------------------------------------------------------------------------------------------------- */

static inline int valid_at(const dicore_scan_values *v, uint64_t i)
{
    return v->nulls == 0 || (v->validity.data[i / 8] >> i % 8 & 1);
}

static dicore_status copy_row(dicore_scan_batch *to, dicore_scan_array *out, const dicore_scan_array *in, uint64_t row)
{
    if (!valid_at(&in->values, row))
        return array_null(to, out);
    size_t width = scan_type_width(in->type);
    if (in->flags & DICORE_SCAN_LIST) {
        for (int32_t i = get32(&in->values.offsets, row), end = get32(&in->values.offsets, row + 1); i < end; i++) {
            if (!valid_at(&in->child, (uint64_t)i))
                TRY(list_null(to, out));
            else if (width)
                TRY(list_number(to, out, in->child.data.data + (size_t)i * width));
            else
                TRY(array_text(to, out, &out->child, word_at(&in->child, (uint32_t)i)));
        }
        return list_end(to, out);
    }
    if (in->flags & DICORE_SCAN_DICTIONARY)
        return array_text(to, out, &out->values, word_at(&in->child, (uint32_t)get32(&in->values.data, row)));
    if (width)
        return array_number(to, out, in->values.data.data + row * width);
    return array_text(to, out, &out->values, word_at(&in->values, (uint32_t)row));
}

dicore_status dicore_scan_batch_filter(const dicore_scan_batch *batch, const uint8_t *keep, dicore_scan_batch **out)
{
    dicore_scan_batch *to;
    TRY(batch_empty(&batch->allocator, batch->count, &to));
    for (size_t i = 0; i < batch->count; i++) {
        to->arrays[i].type = batch->arrays[i].type;
        to->arrays[i].flags = batch->arrays[i].flags;
    }
    dicore_status status = begin_offsets(to);
    for (size_t i = 0; i < batch->count && status == DICORE_OK; i++)
        for (uint64_t row = 0; row < batch->rows && status == DICORE_OK; row++)
            if (keep[row])
                status = copy_row(to, &to->arrays[i], &batch->arrays[i], row);
    for (uint64_t row = 0; row < batch->rows; row++)
        to->rows += keep[row] != 0;
    if (status == DICORE_OK)
        status = put(to, &to->problems, batch->problems.data, batch->problems.size);
    to->invalid = batch->invalid;
    if (status != DICORE_OK) {
        dicore_scan_batch_release(to);
        return status;
    }
    *out = to;
    return DICORE_OK;
}
