/* Columns that grow: what scan.c appends to and arrow.c gives away. */
#ifndef DICORE_SCAN_BATCH_H
#define DICORE_SCAN_BATCH_H

#include "dicore/scan.h"

struct dicore_scan_batch {
    dicore_allocator allocator;
    uint64_t references; /* atomic */
    uint64_t rows;
    uint64_t invalid;
    size_t memory; /* bytes of all buffers, by capacity */
    dicore_scan_buffer problems;
    size_t count;
    dicore_scan_array arrays[];
};

/** Make room for `more` bytes behind buffer->size. */
dicore_status batch_reserve(dicore_scan_batch *batch, dicore_scan_buffer *buffer, size_t more);

/** Bytes of one number of a type, 0 for text and bytes. */
size_t scan_type_width(unsigned type);

/* Append one value to a column (not of a list). */
dicore_status array_null(dicore_scan_batch *batch, dicore_scan_array *array);
dicore_status array_number(dicore_scan_batch *batch, dicore_scan_array *array, const void *number);
dicore_status array_word(dicore_scan_batch *batch, dicore_scan_array *array, const void *number); /* of the dictionary */
dicore_status array_text(dicore_scan_batch *batch, dicore_scan_array *array, dicore_scan_values *values, dicore_span text);

/* Append a list: any number of items, then the end. */
dicore_status list_number(dicore_scan_batch *batch, dicore_scan_array *array, const void *number);
dicore_status list_null(dicore_scan_batch *batch, dicore_scan_array *array);
dicore_status list_end(dicore_scan_batch *batch, dicore_scan_array *array);

/* Give back the items of a list that were put behind the last end, and what a row that did not come to its end has left. */
void list_undo(dicore_scan_array *array);
void batch_undo(dicore_scan_batch *batch);

dicore_status batch_problem(dicore_scan_batch *batch, const dicore_scan_problem *problem);
dicore_status batch_new(const dicore_allocator *allocator, const dicore_scan_column *columns, size_t count,
                        dicore_scan_batch **out);

#endif
