/* Columns as an Arrow C stream (https://arrow.apache.org/docs/format/CDataInterface.html), without a copy.
 *
 * Every structure that leaves owns one block of memory and, if it has bytes, one reference to the batch: a child that the
 * consumer has moved away may outlive its parent. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "scan/batch.h"

static void *take(const dicore_allocator *a, size_t size)
{
    void *block = a->resize(a->context, NULL, 0, size);
    if (block)
        memset(block, 0, size);
    return block;
}

static void give(dicore_allocator a, void *block, size_t size) { a.resize(a.context, block, size, 0); }

/* ---- schema --------------------------------------------------------------------------------------------------------- */

typedef struct schema_node {
    dicore_allocator allocator;
    size_t size;
    struct ArrowSchema **children; /* and behind them the structures, and then the name */
} schema_node;

static void schema_release(struct ArrowSchema *s)
{
    schema_node *node = s->private_data;
    for (int64_t i = 0; i < s->n_children; i++)
        if (s->children[i]->release)
            s->children[i]->release(s->children[i]);
    if (s->dictionary && s->dictionary->release)
        s->dictionary->release(s->dictionary);
    s->release = NULL;
    give(node->allocator, node, node->size);
}

/* A structure with room for `children` and perhaps a dictionary, which are all zero (and so released) as yet. */
static int schema_make(const dicore_allocator *a, struct ArrowSchema *out, const char *format, const char *name, int nullable,
                       size_t children, int dictionary)
{
    size_t structs = children + (dictionary != 0), name_size = strlen(name) + 1;
    size_t size = sizeof(schema_node) + children * sizeof(void *) + structs * sizeof(struct ArrowSchema) + name_size;
    schema_node *node = take(a, size);
    if (!node)
        return 0;
    struct ArrowSchema **pointers = (struct ArrowSchema **)(void *)(node + 1);
    struct ArrowSchema *own = (struct ArrowSchema *)(void *)(pointers + children);
    char *copy = (char *)(void *)(own + structs);
    memcpy(copy, name, name_size);
    node->allocator = *a;
    node->size = size;
    for (size_t i = 0; i < children; i++)
        pointers[i] = own + i;
    *out = (struct ArrowSchema){.format = format, .name = copy, .flags = nullable ? ARROW_FLAG_NULLABLE : 0,
                                .n_children = (int64_t)children, .children = children ? pointers : NULL,
                                .dictionary = dictionary ? own + children : NULL, .release = schema_release, .private_data = node};
    return 1;
}

static int schema_column(const dicore_allocator *a, const dicore_scan_column *c, const char *name, struct ArrowSchema *out)
{
    static const char *const FORMATS[] = {"u", "z", "s", "S", "i", "I", "l", "L", "f", "g", "tdD", "ttu"};
    const char *format = FORMATS[c->type];
    int nullable = c->count != 0; /* the path is always there */
    if (c->flags & DICORE_SCAN_LIST)
        return schema_make(a, out, "+l", name, nullable, 1, 0) && schema_make(a, out->children[0], format, "item", 1, 0, 0);
    if (c->flags & DICORE_SCAN_DICTIONARY)
        return schema_make(a, out, "i", name, nullable, 0, 1) && schema_make(a, out->dictionary, format, "", 1, 0, 0);
    return schema_make(a, out, format, name, nullable, 0, 0);
}

dicore_status dicore_scan_export_schema(const dicore_scan_column *columns, const char *const *names, size_t count,
                                        const dicore_allocator *allocator, struct ArrowSchema *out)
{
    struct ArrowSchema s = {0};
    if (!schema_make(allocator, &s, "+s", "", 0, count, 0))
        return DICORE_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (!schema_column(allocator, &columns[i], names[i], s.children[i])) {
            s.release(&s);
            return DICORE_NO_MEMORY;
        }
    *out = s;
    return DICORE_OK;
}

/* ---- arrays --------------------------------------------------------------------------------------------------------- */

typedef struct array_node {
    dicore_allocator allocator;
    size_t size;
    dicore_scan_batch *batch;
    const void *buffers[3];
} array_node;

static void array_release(struct ArrowArray *a)
{
    array_node *node = a->private_data;
    for (int64_t i = 0; i < a->n_children; i++)
        if (a->children[i]->release)
            a->children[i]->release(a->children[i]);
    if (a->dictionary && a->dictionary->release)
        a->dictionary->release(a->dictionary);
    a->release = NULL;
    dicore_scan_batch *batch = node->batch;
    give(node->allocator, node, node->size);
    dicore_scan_batch_release(batch);
}

static int array_make(dicore_scan_batch *batch, struct ArrowArray *out, uint64_t length, uint64_t nulls, size_t buffers,
                      size_t children, int dictionary)
{
    size_t structs = children + (dictionary != 0);
    size_t size = sizeof(array_node) + children * sizeof(void *) + structs * sizeof(struct ArrowArray);
    array_node *node = take(&batch->allocator, size);
    if (!node)
        return 0;
    struct ArrowArray **pointers = (struct ArrowArray **)(void *)(node + 1);
    struct ArrowArray *own = (struct ArrowArray *)(void *)(pointers + children);
    node->allocator = batch->allocator;
    node->size = size;
    node->batch = batch;
    dicore_scan_batch_retain(batch);
    for (size_t i = 0; i < children; i++)
        pointers[i] = own + i;
    *out = (struct ArrowArray){.length = (int64_t)length, .null_count = (int64_t)nulls, .n_buffers = (int64_t)buffers,
                               .n_children = (int64_t)children, .buffers = node->buffers, .children = children ? pointers : NULL,
                               .dictionary = dictionary ? own + children : NULL, .release = array_release, .private_data = node};
    return 1;
}

static const uint64_t nothing[1]; /* readers want an address for bytes that are not there */

/* Values as an array of their own: [validity, numbers] or [validity, offsets, bytes]. */
static int array_values(dicore_scan_batch *batch, const dicore_scan_values *v, int offsets, size_t children, int dictionary,
                        struct ArrowArray *out)
{
    if (!array_make(batch, out, v->count, v->nulls, offsets ? (children ? 2 : 3) : 2, children, dictionary))
        return 0;
    out->buffers[0] = v->nulls ? v->validity.data : NULL;
    out->buffers[1] = offsets ? v->offsets.data : v->data.data ? (const void *)v->data.data : nothing;
    if (offsets && !children)
        out->buffers[2] = v->data.data ? (const void *)v->data.data : nothing;
    return 1;
}

static int array_column(dicore_scan_batch *batch, const dicore_scan_array *a, struct ArrowArray *out)
{
    int text = scan_type_width(a->type) == 0;
    if (a->flags & DICORE_SCAN_LIST)
        return array_values(batch, &a->values, 1, 1, 0, out) && array_values(batch, &a->child, text, 0, 0, out->children[0]);
    if (a->flags & DICORE_SCAN_DICTIONARY)
        return array_values(batch, &a->values, 0, 0, 1, out) && array_values(batch, &a->child, 1, 0, 0, out->dictionary);
    return array_values(batch, &a->values, text, 0, 0, out);
}

dicore_status dicore_scan_export_batch(dicore_scan_batch *batch, size_t count, struct ArrowArray *out)
{
    struct ArrowArray a = {0};
    if (count > batch->count)
        return DICORE_BAD_ARGUMENT;
    if (!array_make(batch, &a, batch->rows, 0, 1, count, 0))
        return DICORE_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (!array_column(batch, &batch->arrays[i], a.children[i])) {
            a.release(&a);
            return DICORE_NO_MEMORY;
        }
    *out = a;
    return DICORE_OK;
}

/* ---- stream --------------------------------------------------------------------------------------------------------- */

typedef struct stream_node {
    dicore_allocator allocator;
    size_t size;
    struct ArrowSchema schema;
    size_t columns, count, next;
    dicore_scan_batch *batches[];
} stream_node;

static void copy_failed(struct ArrowSchema *out, struct ArrowSchema *made)
{
    if (made->release)
        made->release(made);
    *out = (struct ArrowSchema){0};
}

/* Formats are static texts, and names are copied with their structures. */
static int schema_copy(const dicore_allocator *a, const struct ArrowSchema *from, struct ArrowSchema *out)
{
    if (!schema_make(a, out, from->format, from->name, from->flags & ARROW_FLAG_NULLABLE, (size_t)from->n_children,
                     from->dictionary != NULL))
        return 0;
    int good = 1;
    for (int64_t i = 0; i < from->n_children && good; i++)
        good = schema_copy(a, from->children[i], out->children[i]);
    if (good && from->dictionary)
        good = schema_copy(a, from->dictionary, out->dictionary);
    if (!good)
        copy_failed(out, out);
    return good;
}

static int stream_schema(struct ArrowArrayStream *s, struct ArrowSchema *out)
{
    stream_node *node = s->private_data;
    return schema_copy(&node->allocator, &node->schema, out) ? 0 : ENOMEM;
}

static int stream_next(struct ArrowArrayStream *s, struct ArrowArray *out)
{
    stream_node *node = s->private_data;
    *out = (struct ArrowArray){0};
    if (node->next == node->count)
        return 0; /* released: the end */
    if (dicore_scan_export_batch(node->batches[node->next], node->columns, out) != DICORE_OK)
        return ENOMEM;
    node->next++;
    return 0;
}

static const char *stream_error(struct ArrowArrayStream *s)
{
    (void)s;
    return "no memory";
}

static void stream_release(struct ArrowArrayStream *s)
{
    stream_node *node = s->private_data;
    for (size_t i = 0; i < node->count; i++)
        dicore_scan_batch_release(node->batches[i]);
    if (node->schema.release)
        node->schema.release(&node->schema);
    s->release = NULL;
    give(node->allocator, node, node->size);
}

dicore_status dicore_scan_export_stream(const dicore_scan_column *columns, const char *const *names, size_t count,
                                        dicore_scan_batch *const *batches, size_t batch_count, const dicore_allocator *allocator,
                                        struct ArrowArrayStream *out)
{
    size_t size = sizeof(stream_node) + batch_count * sizeof(void *);
    for (size_t i = 0; i < batch_count; i++)
        if (count > batches[i]->count)
            return DICORE_BAD_ARGUMENT;
    stream_node *node = take(allocator, size);
    if (!node)
        return DICORE_NO_MEMORY;
    node->allocator = *allocator;
    node->size = size;
    node->columns = count;
    if (dicore_scan_export_schema(columns, names, count, allocator, &node->schema) != DICORE_OK) {
        give(*allocator, node, size);
        return DICORE_NO_MEMORY;
    }
    for (size_t i = 0; i < batch_count; i++) {
        node->batches[i] = batches[i];
        dicore_scan_batch_retain(batches[i]);
    }
    node->count = batch_count;
    *out = (struct ArrowArrayStream){.get_schema = stream_schema, .get_next = stream_next, .get_last_error = stream_error,
                                     .release = stream_release, .private_data = node};
    return DICORE_OK;
}
