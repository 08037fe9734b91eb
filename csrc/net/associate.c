/* The items of A-ASSOCIATE-RQ and -AC: PS3.8 9.3.2, 9.3.3, annex D; PS3.7 annex D.3.3. */
#include <string.h>

#include "net/pdu.h"

enum { FIXED = 68, AE_TITLE = 16, UID = 64 }; /* FIXED: version, reserved, two AE titles, reserved */

enum {
    ITEM_APPLICATION = 0x10,
    ITEM_CONTEXT_RQ = 0x20,
    ITEM_CONTEXT_AC = 0x21,
    ITEM_ABSTRACT = 0x30,
    ITEM_TRANSFER = 0x40,
    ITEM_USER = 0x50,
    ITEM_MAX_LENGTH = 0x51,
    ITEM_IMPLEMENTATION_UID = 0x52,
    ITEM_ASYNC = 0x53,
    ITEM_ROLE = 0x54,
    ITEM_IMPLEMENTATION_VERSION = 0x55,
    ITEM_EXTENDED = 0x56,
    ITEM_COMMON_EXTENDED = 0x57,
    ITEM_IDENTITY_RQ = 0x58,
    ITEM_IDENTITY_AC = 0x59
};

static const char APPLICATION_CONTEXT[] = "1.2.840.10008.3.1.1.1";

/* ---- parsing -------------------------------------------------------------------------------------------------------- */

/** What one walk over the items counts (arrays NULL) or fills. */
typedef struct collector {
    uint8_t pdu_type;
    dicore_associate *out;
    dicore_context *contexts;
    dicore_span *syntaxes;
    dicore_role *roles;
    dicore_extended *extended;
    size_t context_count, syntax_count, role_count, extended_count;
    uint8_t seen[32]; /* a bit per context id */
} collector;

/** Where the bytes stopped making sense; NULL: nowhere. */
typedef const uint8_t *fault;

static dicore_span span(const uint8_t *data, size_t size) { return (dicore_span){.data = data, .size = size}; }

/** Without trailing NUL and space: the padding of UIDs, and what some peers put behind AE titles. */
static dicore_span trimmed(const uint8_t *data, size_t size)
{
    while (size && (data[size - 1] == 0 || data[size - 1] == ' '))
        size--;
    return span(data, size);
}

static dicore_span ae_title(const uint8_t *data)
{
    dicore_span title = trimmed(data, AE_TITLE);
    while (title.size && title.data[0] == ' ')
        title = span(title.data + 1, title.size - 1);
    return title;
}

/** The item at `*at`: its type and value; `*at` moves behind it. False: it does not fit before `end`. */
static bool next_item(const uint8_t **at, const uint8_t *end, uint8_t *type, dicore_span *value)
{
    if (end - *at < 4)
        return false;
    size_t length = load_u16be(*at + 2);
    if ((size_t)(end - *at) - 4 < length)
        return false;
    *type = (*at)[0];
    *value = span(*at + 4, length);
    *at += 4 + length;
    return true;
}

/** A 2-byte length and that many bytes at `offset` of `value`. */
static bool counted(dicore_span value, size_t offset, dicore_span *out)
{
    if (offset > value.size || value.size - offset < 2)
        return false;
    size_t length = load_u16be(value.data + offset);
    if (value.size - offset - 2 < length)
        return false;
    *out = span(value.data + offset + 2, length);
    return true;
}

static fault read_context(collector *c, dicore_span item)
{
    if (item.size < 4)
        return item.data;
    const uint8_t *at = item.data + 4, *end = item.data + item.size;
    dicore_context context = {.id = item.data[0], .result = item.data[2]};
    uint8_t bit = (uint8_t)(1u << (context.id & 7)), *seen = &c->seen[context.id >> 3];
    if (context.id % 2 == 0 || *seen & bit)
        return item.data;
    *seen |= bit;
    if (c->pdu_type == PDU_ASSOCIATE_RQ)
        context.result = 0;
    size_t first = c->syntax_count;
    bool has_abstract = false;
    while (at < end && context.result == 0) { /* 9.3.3.2: with another result the sub-item is not significant */
        const uint8_t *here = at;
        uint8_t type = 0;
        dicore_span value = {0};
        if (!next_item(&at, end, &type, &value))
            return here;
        if (type == ITEM_TRANSFER) {
            if (c->syntaxes)
                c->syntaxes[c->syntax_count] = trimmed(value.data, value.size);
            c->syntax_count++;
        } else if (type == ITEM_ABSTRACT && c->pdu_type == PDU_ASSOCIATE_RQ) {
            context.abstract_syntax = trimmed(value.data, value.size);
            has_abstract = true;
        }
    }
    context.syntax_count = c->syntax_count - first;
    if (c->pdu_type == PDU_ASSOCIATE_RQ ? !has_abstract : context.result == 0 && context.syntax_count != 1)
        return item.data;
    if (c->contexts) {
        context.syntaxes = c->syntaxes + first;
        c->contexts[c->context_count] = context;
    }
    c->context_count++;
    return NULL;
}

static fault read_user_item(collector *c, uint8_t type, dicore_span value)
{
    dicore_associate *out = c->out;
    dicore_span uid;
    switch (type) {
    case ITEM_MAX_LENGTH:
        if (value.size < 4)
            return value.data;
        out->max_length = load_u32be(value.data);
        break;
    case ITEM_IMPLEMENTATION_UID: out->implementation_uid = trimmed(value.data, value.size); break;
    case ITEM_IMPLEMENTATION_VERSION: out->implementation_version = trimmed(value.data, value.size); break;
    case ITEM_ASYNC:
        if (value.size < 4)
            return value.data;
        out->has_async = true;
        out->async_invoked = load_u16be(value.data);
        out->async_performed = load_u16be(value.data + 2);
        break;
    case ITEM_ROLE:
        if (!counted(value, 0, &uid) || value.size - 2 - uid.size < 2)
            return value.data;
        if (c->roles)
            c->roles[c->role_count] = (dicore_role){.sop_class = trimmed(uid.data, uid.size),
                                                    .scu = uid.data[uid.size], .scp = uid.data[uid.size + 1]};
        c->role_count++;
        break;
    case ITEM_EXTENDED:
    case ITEM_COMMON_EXTENDED:
        if (!counted(value, 0, &uid))
            return value.data;
        if (c->extended)
            c->extended[c->extended_count] = (dicore_extended){.item = type, .sop_class = trimmed(uid.data, uid.size),
                                                               .information = span(uid.data + uid.size, value.size - 2 - uid.size)};
        c->extended_count++;
        break;
    case ITEM_IDENTITY_RQ:
        if (c->pdu_type != PDU_ASSOCIATE_RQ)
            break;
        if (!counted(value, 2, &out->identity_primary) ||
            !counted(value, 4 + out->identity_primary.size, &out->identity_secondary))
            return value.data;
        out->identity_type = value.data[0];
        out->identity_wants_response = value.data[1] != 0;
        break;
    case ITEM_IDENTITY_AC:
        if (c->pdu_type != PDU_ASSOCIATE_AC)
            break;
        if (!counted(value, 0, &out->identity_response))
            return value.data;
        out->has_identity_response = true;
        break;
    default: break; /* PS3.8 D.2: an item that is not known is ignored */
    }
    return NULL;
}

static fault read_items(collector *c, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        const uint8_t *here = at;
        uint8_t type = 0;
        dicore_span value = {0};
        fault wrong = NULL;
        if (!next_item(&at, end, &type, &value))
            return here;
        if (type == ITEM_APPLICATION)
            c->out->application_context = trimmed(value.data, value.size);
        else if (type == (c->pdu_type == PDU_ASSOCIATE_RQ ? ITEM_CONTEXT_RQ : ITEM_CONTEXT_AC))
            wrong = read_context(c, value);
        else if (type == ITEM_USER) {
            const uint8_t *sub = value.data, *sub_end = value.data + value.size;
            while (sub < sub_end && !wrong) {
                here = sub;
                uint8_t sub_type = 0;
                dicore_span sub_value = {0};
                wrong = next_item(&sub, sub_end, &sub_type, &sub_value) ? read_user_item(c, sub_type, sub_value) : here;
            }
        } /* 9.3.1: other items are skipped */
        if (wrong)
            return wrong;
    }
    return NULL;
}

dicore_status dicore_associate_parse(uint8_t pdu_type, const uint8_t *body, size_t size,
                                     const dicore_allocator *allocator, dicore_associate *out, dicore_error *error)
{
    if (pdu_type != PDU_ASSOCIATE_RQ && pdu_type != PDU_ASSOCIATE_AC)
        return dicore_fail(error, DICORE_BAD_ARGUMENT, 0, 0);
    if (size < FIXED)
        return dicore_fail(error, DICORE_BAD_PDU, size, 0);
    dicore_associate found = {.protocol_version = load_u16be(body), .called_ae = ae_title(body + 4),
                              .calling_ae = ae_title(body + 4 + AE_TITLE)};
    collector count = {.pdu_type = pdu_type, .out = &found};
    fault wrong = read_items(&count, body + FIXED, body + size);
    if (wrong)
        return dicore_fail(error, DICORE_BAD_PDU, (uint64_t)(wrong - body), 0);

    /* All sizes are bounded by `size`, an item being at least 4 bytes long. */
    size_t contexts = count.context_count * sizeof(dicore_context), syntaxes = count.syntax_count * sizeof(dicore_span),
           roles = count.role_count * sizeof(dicore_role), extended = count.extended_count * sizeof(dicore_extended);
    found.block_size = contexts + syntaxes + roles + extended;
    collector fill = {.pdu_type = pdu_type, .out = &found};
    if (found.block_size) {
        uint8_t *block = allocator->resize(allocator->context, NULL, 0, found.block_size);
        if (!block)
            return dicore_fail(error, DICORE_NO_MEMORY, 0, 0);
        found.block = block; /* every struct here is pointer-aligned and a multiple of it */
        fill.contexts = found.block;
        fill.syntaxes = (void *)(block + contexts);
        fill.roles = (void *)(block + contexts + syntaxes);
        fill.extended = (void *)(block + contexts + syntaxes + roles);
        (void)read_items(&fill, body + FIXED, body + size); /* has passed once */
    }
    found.contexts = fill.contexts;
    found.context_count = count.context_count;
    found.roles = fill.roles;
    found.role_count = count.role_count;
    found.extended = fill.extended;
    found.extended_count = count.extended_count;
    *out = found;
    return DICORE_OK;
}

void dicore_associate_free(dicore_associate *associate, const dicore_allocator *allocator)
{
    if (associate->block)
        allocator->resize(allocator->context, associate->block, associate->block_size, 0);
    *associate = (dicore_associate){0};
}

/* ---- building ------------------------------------------------------------------------------------------------------- */

/** Writes what fits and counts everything. */
typedef struct writer {
    uint8_t *buffer;
    size_t capacity, size;
    bool wrong;
} writer;

static void put(writer *w, const void *data, size_t size)
{
    if (size && w->size <= w->capacity && size <= w->capacity - w->size)
        memcpy(w->buffer + w->size, data, size);
    w->size += size;
}

static void put_u8(writer *w, uint8_t v) { put(w, &v, 1); }
static void put_u16(writer *w, size_t v)
{
    uint8_t bytes[2];
    if (v > UINT16_MAX)
        w->wrong = true;
    store_u16be(bytes, (uint16_t)v);
    put(w, bytes, 2);
}
static void put_u32(writer *w, uint32_t v)
{
    uint8_t bytes[4];
    store_u32be(bytes, v);
    put(w, bytes, 4);
}

/** Begin an item; its length is filled in by item_end with what came between. */
static size_t item_begin(writer *w, uint8_t type)
{
    put_u8(w, type);
    put_u8(w, 0);
    put_u16(w, 0);
    return w->size;
}

static void item_end(writer *w, size_t begin)
{
    size_t length = w->size - begin;
    if (length > UINT16_MAX)
        w->wrong = true;
    else if (begin <= w->capacity)
        store_u16be(w->buffer + begin - 2, (uint16_t)length);
}

static void put_item(writer *w, uint8_t type, dicore_span value)
{
    size_t begin = item_begin(w, type);
    put(w, value.data, value.size);
    item_end(w, begin);
}

static void put_uid_item(writer *w, uint8_t type, dicore_span uid)
{
    if (uid.size == 0 || uid.size > UID)
        w->wrong = true;
    put_item(w, type, uid);
}

static void put_counted(writer *w, dicore_span value)
{
    put_u16(w, value.size);
    put(w, value.data, value.size);
}

static void put_ae(writer *w, dicore_span title, bool tested)
{
    static const char SPACES[AE_TITLE + 1] = "                ";
    if (tested && (title.size == 0 || title.size > AE_TITLE))
        w->wrong = true;
    size_t size = title.size < AE_TITLE ? title.size : AE_TITLE;
    put(w, title.data, size);
    put(w, SPACES, AE_TITLE - size);
}

static void put_contexts(writer *w, uint8_t pdu_type, const dicore_associate *a)
{
    bool request = pdu_type == PDU_ASSOCIATE_RQ;
    uint8_t seen[32] = {0};
    for (size_t i = 0; i < a->context_count; i++) {
        const dicore_context *context = &a->contexts[i];
        uint8_t bit = (uint8_t)(1u << (context->id & 7)), *byte = &seen[context->id >> 3];
        if (context->id % 2 == 0 || *byte & bit || (context->syntax_count == 0 && (request || context->result == 0)) ||
            (!request && (context->syntax_count > 1 || context->result > 4)))
            w->wrong = true;
        *byte |= bit;
        size_t begin = item_begin(w, request ? ITEM_CONTEXT_RQ : ITEM_CONTEXT_AC);
        put_u8(w, context->id);
        put_u8(w, 0);
        put_u8(w, request ? 0 : context->result);
        put_u8(w, 0);
        if (request)
            put_uid_item(w, ITEM_ABSTRACT, context->abstract_syntax);
        for (size_t s = 0; s < context->syntax_count; s++)
            put_uid_item(w, ITEM_TRANSFER, context->syntaxes[s]);
        if (!request && context->syntax_count == 0) /* not significant, but readers look for it */
            put_item(w, ITEM_TRANSFER, (dicore_span){0});
        item_end(w, begin);
    }
}

static void put_user_information(writer *w, uint8_t pdu_type, const dicore_associate *a, uint32_t max_length)
{
    bool request = pdu_type == PDU_ASSOCIATE_RQ;
    size_t user = item_begin(w, ITEM_USER), begin = item_begin(w, ITEM_MAX_LENGTH);
    put_u32(w, max_length);
    item_end(w, begin);
    put_uid_item(w, ITEM_IMPLEMENTATION_UID, a->implementation_uid);
    if (a->has_async) {
        begin = item_begin(w, ITEM_ASYNC);
        put_u16(w, a->async_invoked);
        put_u16(w, a->async_performed);
        item_end(w, begin);
    }
    for (size_t i = 0; i < a->role_count; i++) {
        begin = item_begin(w, ITEM_ROLE);
        put_counted(w, a->roles[i].sop_class);
        put_u8(w, a->roles[i].scu);
        put_u8(w, a->roles[i].scp);
        item_end(w, begin);
    }
    if (a->implementation_version.size > 16)
        w->wrong = true;
    if (a->implementation_version.size)
        put_item(w, ITEM_IMPLEMENTATION_VERSION, a->implementation_version);
    for (size_t i = 0; i < a->extended_count; i++) {
        const dicore_extended *e = &a->extended[i];
        if (e->item != ITEM_EXTENDED && e->item != ITEM_COMMON_EXTENDED)
            w->wrong = true;
        begin = item_begin(w, e->item);
        put_counted(w, e->sop_class);
        put(w, e->information.data, e->information.size);
        item_end(w, begin);
    }
    if (request && a->identity_type) {
        begin = item_begin(w, ITEM_IDENTITY_RQ);
        put_u8(w, a->identity_type);
        put_u8(w, a->identity_wants_response);
        put_counted(w, a->identity_primary);
        put_counted(w, a->identity_secondary);
        item_end(w, begin);
    }
    if (!request && a->has_identity_response) {
        begin = item_begin(w, ITEM_IDENTITY_AC);
        put_counted(w, a->identity_response);
        item_end(w, begin);
    }
    item_end(w, user);
}

dicore_status dicore_associate_build(uint8_t pdu_type, const dicore_associate *associate, uint32_t max_length,
                                     uint8_t *buffer, size_t capacity, size_t *size)
{
    if (pdu_type != PDU_ASSOCIATE_RQ && pdu_type != PDU_ASSOCIATE_AC)
        return DICORE_BAD_ARGUMENT;
    static const uint8_t ZEROS[32] = {0};
    writer w = {.buffer = buffer, .capacity = capacity};
    bool request = pdu_type == PDU_ASSOCIATE_RQ;
    put_u8(&w, pdu_type);
    put_u8(&w, 0);
    put_u32(&w, 0);
    put_u16(&w, 1); /* protocol version: bit 0 */
    put_u16(&w, 0);
    put_ae(&w, associate->called_ae, request);
    put_ae(&w, associate->calling_ae, request);
    put(&w, ZEROS, sizeof ZEROS);
    dicore_span application = associate->application_context;
    if (application.size == 0)
        application = span((const uint8_t *)APPLICATION_CONTEXT, sizeof APPLICATION_CONTEXT - 1);
    put_uid_item(&w, ITEM_APPLICATION, application);
    put_contexts(&w, pdu_type, associate);
    put_user_information(&w, pdu_type, associate, max_length);
    *size = w.size;
    if (w.wrong)
        return DICORE_BAD_ARGUMENT;
    if (w.size > capacity)
        return DICORE_NO_MEMORY;
    store_u32be(buffer + 2, (uint32_t)(w.size - PDU_HEADER)); /* at most 128 contexts and a user item: far below 4 GiB */
    return DICORE_OK;
}
