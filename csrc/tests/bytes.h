/* Data sets for tests, put together element by element so that a vector reads like a dump. */
#ifndef BYTES_H
#define BYTES_H

#include "check.h"
#include "dicore/dicore.h"

typedef struct bytes {
    uint8_t data[16384];
    size_t size;
} bytes;

static inline void put(bytes *b, const void *data, size_t size)
{
    if (b->size + size > sizeof b->data)
        abort();
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

/* A header with whatever length is asked for. */
static inline void put_header(bytes *b, dicore_encoding encoding, uint32_t tag, const char *vr, uint32_t length)
{
    uint8_t header[12];
    size_t size = 0;
    uint16_t number = vr && vr[0] ? DICORE_VR(vr[0], vr[1]) : 0;
    if (dicore_write_element_header(header, sizeof header, encoding, tag, number, length, &size) != DICORE_OK)
        abort();
    put(b, header, size);
}

/* A whole element; the value is text. */
static inline void put_text(bytes *b, dicore_encoding encoding, uint32_t tag, const char *vr, const char *text)
{
    put_header(b, encoding, tag, vr, (uint32_t)strlen(text));
    put(b, text, strlen(text));
}

static inline void put_item(bytes *b, dicore_encoding encoding, uint32_t length)
{
    put_header(b, encoding, DICORE_TAG_ITEM, NULL, length);
}
static inline void put_item_end(bytes *b, dicore_encoding encoding)
{
    put_header(b, encoding, DICORE_TAG_ITEM_END, NULL, 0);
}
static inline void put_sequence_end(bytes *b, dicore_encoding encoding)
{
    put_header(b, encoding, DICORE_TAG_SEQUENCE_END, NULL, 0);
}

/* An allocator that counts what it holds and can be told to refuse. */
typedef struct counted {
    size_t held, most, refuse_above;
} counted;

static inline void *counted_resize(void *context, void *pointer, size_t old_size, size_t new_size)
{
    counted *c = context;
    if (c->refuse_above && c->held - old_size + new_size > c->refuse_above)
        return NULL;
    if (new_size == 0) {
        free(pointer);
        c->held -= old_size;
        return NULL;
    }
    if (refuse_this())
        return NULL;
    void *block = realloc(pointer, new_size);
    if (!block)
        abort();
    c->held += new_size - old_size;
    if (c->held > c->most)
        c->most = c->held;
    return block;
}

#define COUNTED(c) ((dicore_allocator){counted_resize, &(c)})
#define SPAN(text) ((dicore_span){(const uint8_t *)(text), sizeof(text) - 1})
#define IS(span, text) ((span).size == sizeof(text) - 1 && memcmp((span).data, text, sizeof(text) - 1) == 0)

#endif
