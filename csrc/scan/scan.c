/* Paths to rows: the heads of files, and what is looked for in them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "base/load.h"
#include "dataset/select.h"
#include "scan/batch.h"
#include "scan/uring.h"
#include "scan/value.h"

#define FIRST_LEAST 1024u
#define FIRST_START 4096u  /* the first read: a CT's attributes are found in it */
#define FIRST_MOST 16384u
#define WINDOW 64u         /* files by which the size of the first read is judged */
#define BATCH_MOST (64u << 20)
#define TAG_CHARSET 0x00080005u
#define TAG_SIGN 0x00280103u
#define NONE UINT32_MAX

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        dicore_status try_status = (call);                                                                             \
        if (try_status != DICORE_OK)                                                                                   \
            return try_status;                                                                                         \
    } while (0)

typedef struct plan { /* where a column's value comes from */
    uint32_t found;   /* index of its first tag among s->found, or s->meta_found; NONE: the path column */
    uint8_t meta;
} plan;

#define REPEATED_MOST 64u

typedef struct repeated { /* the value that a column had last, and what became of it */
    uint8_t raw[REPEATED_MOST];
    uint8_t number[8];
    uint32_t size; /* 0: none */
    uint16_t vr;
    uint8_t from, length; /* of `raw`: the text */
} repeated;

struct dicore_scan {
    dicore_allocator allocator;
    size_t size; /* of this block */
    dicore_scan_decode decode;
    void *context;
    uint64_t limit, value_limit;
    size_t count;
    dicore_scan_column *columns;
    dicore_scan_step *steps;
    plan *plans;
    repeated *last; /* of each column, in the batch at hand */
    uint32_t *tags, *meta_tags;
    dicore_selected *found, *meta_found;
    size_t tag_count, meta_count;
    uint32_t charset_at, sign_at; /* in `found`, or NONE */
    dicore_scan_buffer heads, bytes, inflated, text;
    dicore_tape tape;
    uint32_t tape_of; /* index in `found` that the tape is over, or NONE */
    uring ring;
    uint32_t first; /* bytes of the first read */
    uint32_t judged, grown, needed; /* of a window of files: how many had to be read on, what the others needed at most */
    select_layout layout;
};

typedef struct file { /* one that is being read */
    dicore_span name;
    uint64_t source;
    const uint8_t *head; /* the file's bytes */
    const uint8_t *data; /* of the data set: the same, or inflated */
    size_t size;
    int whole;
    dicore_part10 part;
} file;

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static dicore_status need_bytes(dicore_scan *s, dicore_scan_buffer *b, size_t capacity)
{
    if (capacity <= b->capacity)
        return DICORE_OK;
    void *data = s->allocator.resize(s->allocator.context, b->data, b->capacity, capacity);
    if (!data)
        return DICORE_NO_MEMORY;
    b->data = data;
    b->capacity = capacity;
    return DICORE_OK;
}

static void drop(dicore_scan *s, dicore_scan_buffer *b)
{
    if (b->capacity)
        s->allocator.resize(s->allocator.context, b->data, b->capacity, 0);
    *b = (dicore_scan_buffer){0};
}

/* What one large file needed does not stay. */
static void forget_large(dicore_scan *s, dicore_scan_buffer *b)
{
    if (b->capacity > 1u << 20)
        drop(s, b);
}

/* ---- the request ---------------------------------------------------------------------------------------------------- */

static uint32_t put_tag(uint32_t *tags, size_t *count, uint32_t tag)
{
    size_t at = 0;
    while (at < *count && tags[at] < tag)
        at++;
    if (at == *count || tags[at] != tag) {
        memmove(tags + at + 1, tags + at, (*count - at) * sizeof *tags);
        tags[at] = tag;
        ++*count;
    }
    return (uint32_t)at;
}

static uint32_t find_tag(const uint32_t *tags, size_t count, uint32_t tag)
{
    for (size_t i = 0; i < count; i++)
        if (tags[i] == tag)
            return (uint32_t)i;
    return NONE;
}

static size_t aligned(size_t size) { return (size + 15) & ~(size_t)15; }

static int column_good(const dicore_scan_column *c)
{
    if (c->count > DICORE_SCAN_STEPS_MAX || (c->count && !c->steps) || c->type > DICORE_SCAN_TIME || c->flags > 7)
        return 0;
    if (c->flags & DICORE_SCAN_DICTIONARY && (c->type != DICORE_SCAN_TEXT || c->flags & DICORE_SCAN_LIST))
        return 0;
    return c->count != 0 || (c->type == DICORE_SCAN_TEXT && !(c->flags & DICORE_SCAN_LIST));
}

dicore_status dicore_scan_open(const dicore_scan_options *options, const dicore_allocator *allocator, dicore_scan **out,
                               dicore_error *error)
{
    size_t count = options->count, steps = 0;
    if (count > DICORE_SCAN_COLUMNS_MAX || (count && !options->columns))
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    for (size_t i = 0; i < count; i++) {
        if (!column_good(&options->columns[i]))
            return dicore_fail(error, DICORE_BAD_ARGUMENT, i, 0);
        steps += options->columns[i].count;
    }
    size_t tags = count + 2, at[8], size = aligned(sizeof(dicore_scan));
    const size_t parts[8] = {count * sizeof(dicore_scan_column), steps * sizeof(dicore_scan_step), count * sizeof(plan),
                             tags * sizeof(uint32_t), tags * sizeof(uint32_t), tags * sizeof(dicore_selected),
                             tags * sizeof(dicore_selected), count * sizeof(repeated)};
    for (size_t i = 0; i < 8; i++) {
        at[i] = size;
        size += aligned(parts[i]);
    }
    uint8_t *block = allocator->resize(allocator->context, NULL, 0, size);
    if (!block)
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    memset(block, 0, size);
    dicore_scan *s = (dicore_scan *)(void *)block;
    s->allocator = *allocator;
    s->size = size;
    s->decode = options->decode;
    s->context = options->context;
    s->limit = options->limit ? options->limit : 64u << 20;
    s->value_limit = options->value_limit ? options->value_limit : 1u << 20;
    s->count = count;
    s->columns = (dicore_scan_column *)(void *)(block + at[0]);
    s->steps = (dicore_scan_step *)(void *)(block + at[1]);
    s->plans = (plan *)(void *)(block + at[2]);
    s->tags = (uint32_t *)(void *)(block + at[3]);
    s->meta_tags = (uint32_t *)(void *)(block + at[4]);
    s->found = (dicore_selected *)(void *)(block + at[5]);
    s->meta_found = (dicore_selected *)(void *)(block + at[6]);
    s->last = (repeated *)(void *)(block + at[7]);
    s->first = FIRST_START;
    s->ring.fd = -1;
    s->tape_of = NONE;
    int charset = 0, sign = 0;
    dicore_scan_step *step = s->steps;
    for (size_t i = 0; i < count; i++) {
        dicore_scan_column *c = &s->columns[i];
        *c = options->columns[i];
        if (c->count)
            memcpy(step, c->steps, c->count * sizeof *step);
        c->steps = step;
        step += c->count;
        if (c->count == 0)
            continue;
        s->plans[i].meta = c->steps[0].tag >> 16 == 2;
        if (s->plans[i].meta)
            put_tag(s->meta_tags, &s->meta_count, c->steps[0].tag);
        else
            put_tag(s->tags, &s->tag_count, c->steps[0].tag);
        charset |= c->type == DICORE_SCAN_TEXT && !s->plans[i].meta;
        sign |= (c->flags & DICORE_SCAN_SIGNED) != 0;
    }
    if (charset)
        put_tag(s->tags, &s->tag_count, TAG_CHARSET);
    if (sign)
        put_tag(s->tags, &s->tag_count, TAG_SIGN);
    if (s->meta_count)
        put_tag(s->meta_tags, &s->meta_count, 0x0002FFFF); /* group 0002 is gone through to its end, in whatever order it is */
    s->charset_at = charset ? find_tag(s->tags, s->tag_count, TAG_CHARSET) : NONE;
    s->sign_at = sign ? find_tag(s->tags, s->tag_count, TAG_SIGN) : NONE;
    for (size_t i = 0; i < count; i++) {
        const dicore_scan_column *c = &s->columns[i];
        s->plans[i].found = c->count == 0 ? NONE
                            : s->plans[i].meta ? find_tag(s->meta_tags, s->meta_count, c->steps[0].tag)
                                               : find_tag(s->tags, s->tag_count, c->steps[0].tag);
    }
    int why = options->io == DICORE_SCAN_PREAD ? 0 : uring_open(&s->ring);
    if (options->io == DICORE_SCAN_URING && why) {
        dicore_scan_close(s);
        dicore_fail(error, DICORE_IO, 0, 0);
        if (error)
            error->system = why;
        return DICORE_IO;
    }
    if (need_bytes(s, &s->heads, FIRST_MOST * (size_t)(s->ring.fd >= 0 ? URING_DEPTH : 1)) != DICORE_OK) {
        dicore_scan_close(s);
        return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
    }
    *out = s;
    return DICORE_OK;
}

void dicore_scan_close(dicore_scan *s)
{
    if (!s)
        return;
    uring_close(&s->ring);
    drop(s, &s->heads);
    drop(s, &s->bytes);
    drop(s, &s->inflated);
    drop(s, &s->text);
    dicore_tape_free(&s->tape, &s->allocator);
    dicore_allocator allocator = s->allocator;
    allocator.resize(allocator.context, s, s->size, 0);
}

int dicore_scan_uses_uring(const dicore_scan *s) { return s->ring.fd >= 0; }

dicore_status dicore_scan_batch_new(dicore_scan *s, dicore_scan_batch **out)
{
    return batch_new(&s->allocator, s->columns, s->count, out);
}

/* ---- one value ------------------------------------------------------------------------------------------------------ */

typedef struct value {
    dicore_span bytes;
    dicore_span charset;
    uint64_t offset;
    uint32_t tag;
    uint16_t vr;
    int big;
} value;

static dicore_status problem(const file *f, dicore_scan_batch *batch, size_t column, const value *v, dicore_status status)
{
    dicore_scan_problem p = {.source = f->source, .offset = v->offset, .tag = v->tag, .column = (int32_t)column, .status = status};
    return batch_problem(batch, &p);
}

/* Text as UTF-8. DICORE_BAD_LENGTH and the like: it is no text. */
static dicore_status to_text(dicore_scan *s, const value *v, dicore_span raw, dicore_span *out)
{
    int governed = value_governed(v->vr);
    unsigned kind = value_bits(raw);
    if (!(kind & VALUE_HIGH) && !(kind & VALUE_ESCAPE && governed)) {
        *out = raw;
        return DICORE_OK;
    }
    value_charset charset = governed ? value_charset_of(v->charset, kind) : VALUE_LATIN;
    if (charset == VALUE_UTF8 && value_is_utf8(raw)) {
        *out = raw;
        return DICORE_OK;
    }
    if (charset == VALUE_LATIN) {
        if (need_bytes(s, &s->text, 2 * raw.size) != DICORE_OK)
            return DICORE_NO_MEMORY;
        *out = (dicore_span){s->text.data, value_latin(raw, s->text.data)};
        return DICORE_OK;
    }
    if (!s->decode || s->decode(s->context, raw, v->charset, v->vr, out) != 0 || !value_is_utf8(*out))
        return DICORE_BAD_SYNTAX;
    return DICORE_OK;
}

static dicore_status append_text(dicore_scan *s, dicore_scan_batch *batch, dicore_scan_array *a, const value *v,
                                 dicore_status *bad)
{
    dicore_span text;
    if (!value_is_text(v->vr)) {
        *bad = DICORE_BAD_VR;
        return array_null(batch, a);
    }
    *bad = to_text(s, v, v->bytes, &text);
    if (*bad == DICORE_NO_MEMORY)
        return *bad;
    if (*bad != DICORE_OK)
        return array_null(batch, a);
    text = value_trimmed(text, v->vr);
    if (text.size == 0)
        return array_null(batch, a);
    if (!(a->flags & DICORE_SCAN_LIST))
        return array_text(batch, a, &a->values, text);
    if (value_single(v->vr)) {
        TRY(array_text(batch, a, &a->child, text));
        return list_end(batch, a);
    }
    for (size_t at = 0; at <= text.size;) {
        const uint8_t *from = text.data + at;
        const uint8_t *slash = memchr(from, '\\', text.size - at);
        size_t size = slash ? (size_t)(slash - from) : text.size - at;
        TRY(array_text(batch, a, &a->child, value_trimmed((dicore_span){from, size}, v->vr)));
        at += size + 1;
    }
    return list_end(batch, a);
}

/* A value that must be exactly one, or a list of them. */
static dicore_status append_fixed(dicore_scan_batch *batch, dicore_scan_array *a, const value *v, dicore_status *bad)
{
    uint8_t number[8];
    int list = a->flags & DICORE_SCAN_LIST;
    size_t width = dicore_vr_width(v->vr);
    if (width) { /* binary numbers */
        size_t count = v->bytes.size / width;
        if (v->bytes.size % width || v->vr == DICORE_VR_UN || (count > 1 && !list))
            *bad = DICORE_BAD_LENGTH;
        for (size_t i = 0; i < count && *bad == DICORE_OK; i++) {
            *bad = value_number(a->type, v->vr, v->big, v->bytes.data + i * width, number);
            if (*bad == DICORE_OK)
                TRY(list ? list_number(batch, a, number) : array_number(batch, a, number));
        }
    } else if (!value_is_text(v->vr)) {
        *bad = DICORE_BAD_VR;
    } else {
        dicore_span one;
        for (size_t at = 0; *bad == DICORE_OK && dicore_value_split(v->bytes.data, v->bytes.size, &at, &one);) {
            if (one.size == 0 && list) {
                TRY(list_null(batch, a));
                continue;
            }
            if (!list && at <= v->bytes.size) { /* there is another one */
                *bad = DICORE_BAD_LENGTH;
                break;
            }
            *bad = value_from_text(a->type, v->vr, one, number);
            if (*bad == DICORE_OK)
                TRY(list ? list_number(batch, a, number) : array_number(batch, a, number));
        }
    }
    if (*bad != DICORE_OK) {
        if (list)
            list_undo(a);
        return array_null(batch, a);
    }
    return list ? list_end(batch, a) : DICORE_OK;
}

/* Once more what the column had last: most of what a series says is the same in all its files. */
static dicore_status append_again(dicore_scan_batch *batch, dicore_scan_array *a, const repeated *r)
{
    if (a->flags & DICORE_SCAN_DICTIONARY)
        return array_word(batch, a, r->number);
    if (a->type == DICORE_SCAN_TEXT)
        return array_text(batch, a, &a->values, (dicore_span){r->raw + r->from, r->length});
    return array_number(batch, a, r->number);
}

/* The value was appended. Only what is no null and means the same in every file: no list, no text but ASCII. */
static void remember(const dicore_scan_array *a, const value *v, repeated *r)
{
    r->size = 0;
    if (v->bytes.size > REPEATED_MOST || a->flags & DICORE_SCAN_LIST || a->type == DICORE_SCAN_BINARY || v->big)
        return;
    if (a->type == DICORE_SCAN_TEXT) {
        dicore_span text = value_trimmed(v->bytes, v->vr);
        if (text.size == 0 || value_bits(v->bytes))
            return;
        r->from = (uint8_t)(text.data - v->bytes.data);
        r->length = (uint8_t)text.size;
    }
    size_t width = a->flags & DICORE_SCAN_DICTIONARY ? 4 : scan_type_width(a->type);
    if (width)
        memcpy(r->number, a->values.data.data + a->values.data.size - width, width);
    memcpy(r->raw, v->bytes.data, v->bytes.size);
    r->vr = v->vr;
    r->size = (uint32_t)v->bytes.size;
}

static dicore_status append(dicore_scan *s, const file *f, dicore_scan_batch *batch, size_t column, value *v)
{
    dicore_scan_array *a = &batch->arrays[column];
    repeated *last = &s->last[column];
    dicore_status bad = DICORE_OK;
    if (last->size && v->bytes.size == last->size && v->vr == last->vr && !v->big &&
        memcmp(v->bytes.data, last->raw, last->size) == 0)
        return append_again(batch, a, last);
    if (v->bytes.size == 0 || (a->type != DICORE_SCAN_BINARY && value_is_text(v->vr) &&
                               dicore_value_trim(v->bytes.data, v->bytes.size) == 0))
        return array_null(batch, a);
    if (a->type == DICORE_SCAN_TEXT) {
        TRY(append_text(s, batch, a, v, &bad));
    } else if (a->type == DICORE_SCAN_BINARY) {
        if (!(a->flags & DICORE_SCAN_LIST))
            return array_text(batch, a, &a->values, v->bytes);
        TRY(array_text(batch, a, &a->child, v->bytes));
        return list_end(batch, a);
    } else {
        TRY(append_fixed(batch, a, v, &bad));
    }
    if (bad != DICORE_OK)
        return problem(f, batch, column, v, bad);
    remember(a, v, last);
    return DICORE_OK;
}

static void forget_values(dicore_scan *s)
{
    for (size_t i = 0; i < s->count; i++)
        s->last[i].size = 0;
}

/* ---- one file ------------------------------------------------------------------------------------------------------- */

static dicore_span bytes_of(const file *f, const uint8_t *base, const dicore_selected *e)
{
    size_t size = base == f->head && f->data != f->head ? (size_t)(f->part.meta_offset + f->part.meta_size) : f->size;
    if (!(e->flags & DICORE_SELECTED) || e->offset > size || e->length > size - e->offset)
        return (dicore_span){0};
    return (dicore_span){base + e->offset, (size_t)e->length};
}

/* The tape over one sequence of the top level, items and all. */
static dicore_status open_tape(dicore_scan *s, const file *f, uint32_t at)
{
    const dicore_selected *e = &s->found[at];
    if (s->tape_of == at)
        return DICORE_OK;
    dicore_encoding encoding = (dicore_encoding)(e->flags & DICORE_ENTRY_ENCODING);
    uint64_t header = encoding & DICORE_ENTRY_EXPLICIT && e->vr && !dicore_vr_short(e->vr) ? 12 : 8;
    uint64_t end = e->offset + e->length + (e->flags & DICORE_ENTRY_DELIMITED ? 8 : 0);
    s->tape_of = NONE;
    s->tape.count = 0;
    if (end > f->size)
        end = f->size;
    TRY(dicore_tape_read(&s->tape, f->data, (size_t)end, e->offset - header, encoding, NULL, &s->allocator, NULL));
    s->tape_of = at;
    return DICORE_OK;
}

/* The value at a path of several steps. `v->bytes` stays empty when there is none. */
static dicore_status nested(dicore_scan *s, const file *f, const dicore_scan_column *c, uint32_t at, int sign, value *v)
{
    const dicore_selected *e = &s->found[at];
    if (!(e->flags & DICORE_SELECTED) || e->length == 0)
        return DICORE_OK;
    dicore_status status = open_tape(s, f, at);
    if (status == DICORE_NO_MEMORY)
        return status;
    v->offset = e->offset;
    if (status != DICORE_OK || s->tape.count == 0)
        return status == DICORE_OK ? DICORE_BAD_TAG : status;
    const dicore_entry *entries = s->tape.entries;
    uint32_t index = 0;
    for (uint32_t step = 0;; step++) {
        if (!(entries[index].flags & DICORE_ENTRY_SEQUENCE))
            return DICORE_OK; /* not a sequence, so it has no items */
        uint32_t item = index + 1, end = entries[index].next;
        for (uint32_t n = c->steps[step].item; item < end && n; n--)
            item = entries[item].next;
        if (item >= end || !(entries[item].flags & DICORE_ENTRY_ITEM))
            return DICORE_OK;
        uint32_t first = item + 1, last = entries[item].next;
        uint32_t charset = dicore_tape_find(&s->tape, first, last, TAG_CHARSET);
        if (charset != DICORE_NO_ENTRY && entries[charset].length)
            v->charset = (dicore_span){f->data + entries[charset].offset + entries[charset].header,
                                       (size_t)entries[charset].length};
        uint32_t own = dicore_tape_find(&s->tape, first, last, TAG_SIGN);
        if (own != DICORE_NO_ENTRY && entries[own].length >= 2)
            sign = f->data[entries[own].offset + entries[own].header + (entries[own].flags & DICORE_ENTRY_BIG_ENDIAN ? 1 : 0)] & 1;
        index = dicore_tape_find(&s->tape, first, last, c->steps[step + 1].tag);
        if (index == DICORE_NO_ENTRY)
            return DICORE_OK;
        if (step + 2 < c->count)
            continue;
        const dicore_entry *found = &entries[index];
        v->vr = dicore_tape_vr(&s->tape, f->data, f->size, first, last, index, sign);
        if (v->vr == DICORE_VR_UN && c->vr && found->vr != DICORE_VR_UN)
            v->vr = c->vr;
        v->bytes = (dicore_span){f->data + found->offset + found->header, (size_t)found->length};
        v->big = (found->flags & DICORE_ENTRY_BIG_ENDIAN) != 0;
        v->offset = found->offset + found->header;
        return DICORE_OK;
    }
}

static dicore_status add_row(dicore_scan *s, file *f, dicore_scan_batch *batch)
{
    dicore_span charset = s->charset_at == NONE ? (dicore_span){0} : bytes_of(f, f->data, &s->found[s->charset_at]);
    int sign = -1;
    if (s->sign_at != NONE) {
        dicore_span bytes = bytes_of(f, f->data, &s->found[s->sign_at]);
        if (bytes.size >= 2)
            sign = bytes.data[s->found[s->sign_at].flags & DICORE_ENTRY_BIG_ENDIAN ? 1 : 0] & 1;
    }
    for (size_t i = 0; i < s->count; i++) {
        const dicore_scan_column *c = &s->columns[i];
        const plan *p = &s->plans[i];
        if (c->count == 0) {
            dicore_span name = f->name;
            if (value_bits(name) & VALUE_HIGH && !value_is_utf8(name)) { /* a name may be any bytes; a column may not */
                TRY(need_bytes(s, &s->text, 2 * name.size));
                name = (dicore_span){s->text.data, value_latin(name, s->text.data)};
            }
            TRY(array_text(batch, &batch->arrays[i], &batch->arrays[i].values, name));
            continue;
        }
        const dicore_selected *e = p->meta ? &s->meta_found[p->found] : &s->found[p->found];
        value v = {.charset = charset, .offset = e->offset, .tag = c->steps[c->count - 1].tag};
        if (c->count > 1) {
            dicore_status status = p->meta ? DICORE_OK : nested(s, f, c, p->found, sign, &v);
            if (status == DICORE_NO_MEMORY)
                return status;
            if (status != DICORE_OK) {
                TRY(array_null(batch, &batch->arrays[i]));
                TRY(problem(f, batch, i, &v, status));
                continue;
            }
        } else if (e->flags & DICORE_SELECTED) {
            if (e->length > s->value_limit) {
                TRY(array_null(batch, &batch->arrays[i]));
                TRY(problem(f, batch, i, &v, DICORE_LIMIT));
                continue;
            }
            v.bytes = bytes_of(f, p->meta ? f->head : f->data, e);
            v.vr = e->vr;
            v.big = (e->flags & DICORE_ENTRY_BIG_ENDIAN) != 0;
            if (v.vr == 0 || (v.vr == DICORE_VR_UN && e->length < 0xFFFF && !(e->tag & 0x10000))) {
                v.vr = c->vr;
                if (c->flags & DICORE_SCAN_SIGNED)
                    v.vr = sign == 1 ? DICORE_VR('S', 'S') : DICORE_VR('U', 'S');
            }
        }
        if (v.bytes.size > s->value_limit) {
            TRY(array_null(batch, &batch->arrays[i]));
            TRY(problem(f, batch, i, &v, DICORE_LIMIT));
            continue;
        }
        TRY(append(s, f, batch, i, &v));
    }
    batch->rows++;
    return DICORE_OK;
}

/* How far the values reach that are to be read. */
static uint64_t reach(const dicore_scan *s)
{
    uint64_t most = 0;
    for (size_t i = 0; i < s->tag_count; i++) {
        const dicore_selected *e = &s->found[i];
        if (!(e->flags & DICORE_SELECTED))
            continue;
        uint64_t end = e->offset + e->length + (e->flags & DICORE_ENTRY_DELIMITED ? 8 : 0);
        if (end > most && (e->length <= s->value_limit || e->flags & DICORE_ENTRY_SEQUENCE || e->vr == DICORE_VR_SQ))
            most = end;
    }
    return most;
}

/* Read what is at f->head. @return DICORE_OK: a row was appended; DICORE_TRUNCATED: *need bytes are needed, or the whole. */
static dicore_status read_file(dicore_scan *s, file *f, dicore_scan_batch *batch, uint64_t *need, dicore_error *error)
{
    dicore_read_options options = {.partial = (uint8_t)!f->whole};
    size_t size = f->size;
    f->data = f->head;
    s->tape_of = NONE;
    dicore_status status = dicore_part10_parse(f->head, size, &options, &f->part, error);
    if (status != DICORE_OK) {
        *need = error->offset;
        return status;
    }
    uint64_t start = f->part.dataset_offset, position = start;
    if (f->part.deflated && s->tag_count) {
        if (!f->whole) {
            *need = 4 * (uint64_t)size;
            return DICORE_TRUNCATED;
        }
        uint8_t *data = NULL;
        size_t data_size = 0, capacity = 0;
        const dicore_inflate_limits limits = {.size = s->limit > 1u << 28 ? s->limit : 4 * s->limit};
        drop(s, &s->inflated);
        status = dicore_inflate(f->head + start, size - (size_t)start, &limits, NULL, &s->allocator, &data, &data_size, &capacity, error);
        if (status != DICORE_OK)
            return status;
        s->inflated = (dicore_scan_buffer){data, data_size, capacity};
        f->data = data;
        f->size = data_size;
        start = 0;
        options.partial = 0;
    }
    status = select_like(f->data, f->size, start, (dicore_encoding)f->part.encoding, &options, s->tags, s->tag_count, s->found,
                         &position, &s->layout, error);
    if (status != DICORE_OK) {
        *need = position;
        return status;
    }
    if (options.partial) {
        uint64_t end = reach(s);
        if (end > f->size) {
            *need = end;
            return DICORE_TRUNCATED;
        }
        if (end < position)
            end = position;
        if (end > s->needed && end <= s->first)
            s->needed = (uint32_t)end;
    }
    if (s->meta_count) {
        uint64_t ignored;
        status = dicore_select(f->head, (size_t)(f->part.meta_offset + f->part.meta_size), f->part.meta_offset,
                               (dicore_encoding)f->part.meta_encoding, NULL, s->meta_tags, s->meta_count, s->meta_found, &ignored,
                               error);
        if (status != DICORE_OK)
            return status;
    }
    status = add_row(s, f, batch);
    if (status != DICORE_OK) {
        batch_undo(batch);
        forget_values(s);
        dicore_fail(error, status, 0, 0);
    }
    return status;
}

/* Bring what reading a file came to into the batch. Only want of memory goes further up. */
static dicore_status conclude(const file *f, dicore_scan_batch *batch, dicore_status status, const dicore_error *error)
{
    if (status == DICORE_OK || status == DICORE_NO_MEMORY)
        return status;
    dicore_scan_problem p = {.source = f->source, .offset = error->offset, .tag = error->tag, .detail = error->detail,
                             .column = -1, .system = status == DICORE_IO ? error->system : 0, .status = status};
    return batch_problem(batch, &p);
}

/* Does the file have `size` bytes, or is that only the word of a length in it? */
static int reaches(dicore_scan *s, int opened, uint32_t slot, uint64_t size)
{
    uint8_t byte;
    size_t got = 0;
    if (size > INT64_MAX)
        return 0;
    if (opened >= 0)
        return dicore_file_read_some(opened, size - 1, &byte, 1, &got, NULL) == DICORE_OK && got == 1;
    return uring_read_more(&s->ring, slot, size - 1, &byte, 1) == 1;
}

/* A little more than the files of the last window needed; copying 1 KiB is as long as reading 10 elements. */
static uint32_t first_size(uint32_t needed, uint32_t before)
{
    uint32_t size = (needed + needed / 16 + 16 + 255) & ~255u;
    return size < FIRST_LEAST ? FIRST_LEAST : size < before ? size : before;
}

/* From the bytes at hand on: more, from an open file or a slot of the ring, until it is enough.
 * @return DICORE_OK, DICORE_NO_MEMORY, DICORE_END: the ring does not read on here, nothing was appended. */
static dicore_status go_on(dicore_scan *s, file *f, dicore_scan_batch *batch, int opened, uint32_t slot)
{
    dicore_error error = {0};
    uint64_t need = 0;
    dicore_status status;
    int grew = 0;
    while ((status = read_file(s, f, batch, &need, &error)) == DICORE_TRUNCATED && !f->whole) {
        grew = 1;
        uint64_t want = need > 2 * (uint64_t)f->size ? need : 2 * (uint64_t)f->size;
        size_t have = f->size, got = 0;
        if (need > s->limit && (have >= s->limit || reaches(s, opened, slot, need))) {
            status = dicore_fail(&error, DICORE_LIMIT, s->limit, 0);
            break;
        }
        if (want > s->limit)
            want = s->limit;
        want = (want + 4095) & ~(uint64_t)4095;
        if (want <= have)
            want = have + 4096;
        const uint8_t *before = f->head == s->bytes.data ? NULL : f->head; /* resizing keeps the bytes */
        TRY(need_bytes(s, &s->bytes, (size_t)want));
        if (before)
            memcpy(s->bytes.data, before, have);
        f->head = s->bytes.data;
        if (opened >= 0) {
            status = dicore_file_read(opened, have, s->bytes.data + have, (size_t)want - have, &got, &error);
            if (status != DICORE_OK)
                break;
        } else {
            while (have + got < want) {
                uint64_t left = want - have - got;
                int32_t n = uring_read_more(&s->ring, slot, have + got, s->bytes.data + have + got,
                                            left > 1u << 30 ? 1u << 30 : (uint32_t)left);
                if (n < 0)
                    return DICORE_END;
                if (n == 0)
                    break;
                got += (size_t)n;
            }
        }
        f->size = have + got;
        f->whole = f->size < want;
    }
    s->grown += (unsigned)grew;
    if (++s->judged == WINDOW) {
        if (s->grown > WINDOW / 8 && s->first < FIRST_MOST)
            s->first = s->first < FIRST_MOST / 2 ? s->first * 2 : FIRST_MOST;
        else if (s->grown == 0)
            s->first = first_size(s->needed, s->first);
        s->judged = s->grown = s->needed = 0;
    }
    if (f->data == s->inflated.data)
        forget_large(s, &s->inflated);
    forget_large(s, &s->bytes);
    if (s->tape.capacity > 1u << 15)
        dicore_tape_free(&s->tape, &s->allocator);
    return conclude(f, batch, status, &error);
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

typedef struct folder { /* an open directory: names in it need no walk down the whole path */
    const char *path;
    size_t size;
    int fd;
} folder;

static size_t folder_size(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static int in_folder(const folder *d, const char *path, size_t size)
{
    return d->fd >= 0 && size == d->size && memcmp(d->path, path, size) == 0;
}

/* Keep `d` if the file is in it, else open its folder if the next file is in it as well. 1: use d->fd. */
static int enter_folder(folder *d, const char *path, const char *next)
{
    size_t size = folder_size(path);
    if (in_folder(d, path, size))
        return 1;
    char name[4096];
    if (size == 0 || size >= sizeof name || !next || folder_size(next) != size || memcmp(path, next, size) != 0)
        return 0;
    memcpy(name, path, size);
    name[size] = '\0';
    int fd;
    if (dicore_file_open(AT_FDCWD, name, O_PATH | O_DIRECTORY, 0, &fd, NULL) != DICORE_OK)
        return 0;
    *d = (folder){path, size, fd};
    return 1;
}

/* By open, pread and close; `at` says where, and where to read to. */
static dicore_status scan_path(dicore_scan *s, const uring_read *at, const char *path, uint64_t source, dicore_scan_batch *batch)
{
    file f = {.name = {(const uint8_t *)path, strlen(path)}, .source = source, .head = at->data};
    dicore_error error = {0};
    int fd;
    dicore_status status = dicore_file_open(at->folder, at->name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, &fd, &error);
    if (status == DICORE_OK) {
        status = dicore_file_read_some(fd, 0, at->data, at->size, &f.size, &error);
        if (status == DICORE_OK) {
            f.whole = f.size == 0;
            status = go_on(s, &f, batch, fd, 0);
            dicore_file_close(fd);
            return status;
        }
        dicore_file_close(fd);
        if (error.system == ESPIPE) /* a pipe or a terminal, and no file */
            status = dicore_fail(&error, DICORE_NOT_DICOM, 0, 0);
    }
    return conclude(&f, batch, status, &error);
}

static dicore_status scan_group(dicore_scan *s, const char *const *paths, size_t count, size_t after, uint64_t first, folder *last,
                                dicore_scan_batch *batch, size_t *done)
{
    uring_read reads[URING_DEPTH];
    folder folders[URING_DEPTH + 1];
    size_t open = 0;
    dicore_status status = DICORE_OK;
    folders[0] = *last;
    for (size_t i = 0; i < count; i++) {
        folder next = folders[open];
        int inside = enter_folder(&next, paths[i], i + 1 < after ? paths[i + 1] : NULL);
        if (inside && next.fd != folders[open].fd)
            folders[++open] = next;
        reads[i] = (uring_read){.folder = inside ? next.fd : AT_FDCWD, .name = inside ? paths[i] + next.size + 1 : paths[i], .size = s->first,
                                .data = s->heads.data + i * s->first}; /* close together: they stay in the cache */
    }
    if (uring_read_heads(&s->ring, reads, (uint32_t)count) != 0) {
        uring_close(&s->ring);
        for (size_t i = 0; i < count; i++)
            reads[i].got = -ECANCELED;
    }
    for (*done = 0; *done < count && status == DICORE_OK; ++*done) {
        size_t i = *done;
        if (reads[i].got < 0 || s->ring.fd < 0) { /* the plain way says why, or does it all the same */
            if (reads[i].got == -EPERM) /* the file is another user's, who alone may leave its access time alone */
                s->ring.keep_atime = 0;
            status = scan_path(s, &reads[i], paths[i], first + i, batch);
            continue;
        }
        file f = {.name = {(const uint8_t *)paths[i], strlen(paths[i])}, .source = first + i, .head = reads[i].data,
                  .size = (size_t)reads[i].got, .whole = reads[i].got == 0};
        status = go_on(s, &f, batch, -1, (uint32_t)i);
        if (status == DICORE_END)
            status = scan_path(s, &reads[i], paths[i], first + i, batch);
    }
    for (size_t i = 0; i < open; i++)
        dicore_file_close(folders[i].fd);
    *last = folders[open];
    return status;
}

dicore_status dicore_scan_run(dicore_scan *s, const char *const *paths, size_t count, uint64_t first, dicore_scan_batch *batch,
                              size_t *done)
{
    dicore_status status = DICORE_OK;
    folder in = {NULL, 0, -1};
    *done = 0;
    if (!batch || batch->count != s->count || (count && !paths))
        return DICORE_BAD_ARGUMENT;
    forget_values(s);
    while (*done < count && status == DICORE_OK && batch->memory < BATCH_MOST) {
        size_t left = count - *done, n = 1;
        const char *const *at = paths + *done;
        if (s->ring.fd >= 0) {
            status = scan_group(s, at, left < URING_DEPTH ? left : URING_DEPTH, left, first + *done, &in, batch, &n);
        } else {
            folder next = in;
            int inside = enter_folder(&next, at[0], left > 1 ? at[1] : NULL);
            if (inside && next.fd != in.fd) {
                dicore_file_close(in.fd);
                in = next;
            }
            uring_read one = {.folder = inside ? in.fd : AT_FDCWD, .name = inside ? at[0] + in.size + 1 : at[0],
                              .data = s->heads.data, .size = s->first};
            status = scan_path(s, &one, at[0], first + *done, batch);
        }
        if (status == DICORE_OK)
            *done += n;
    }
    dicore_file_close(in.fd);
    if (s->ring.fd >= 0)
        uring_drop(&s->ring);
    return status;
}

dicore_status dicore_scan_memory(dicore_scan *s, dicore_span name, const uint8_t *data, size_t size, int whole, uint64_t source,
                                 dicore_scan_batch *batch, uint64_t *need)
{
    file f = {.name = name, .source = source, .head = data, .size = size, .whole = whole};
    dicore_error error = {0};
    if (!batch || batch->count != s->count || (size && !data))
        return DICORE_BAD_ARGUMENT;
    forget_values(s); /* it may be another batch than the time before */
    dicore_status status = read_file(s, &f, batch, need, &error);
    if (status == DICORE_TRUNCATED && !whole) {
        if (*need > s->limit && size < s->limit)
            *need = s->limit;
        if (*need <= s->limit)
            return status;
        status = dicore_fail(&error, DICORE_LIMIT, s->limit, 0);
    }
    if (f.data == s->inflated.data)
        forget_large(s, &s->inflated);
    return conclude(&f, batch, status, &error);
}
