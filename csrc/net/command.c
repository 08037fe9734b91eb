/* Command sets: PS3.7 6.3 (encoding), 9.3 and 10.3 (fields of each message), E.1 (registry). */
#include <stddef.h>
#include <string.h>

#include "base/load.h"
#include "dicore/net.h"

enum kind { NUMBER, UID, AE, TEXT, TAGS };

/** The elements we know, ascending: what parse() looks up and the order build() writes. */
static const struct field {
    uint16_t element;
    uint8_t kind;
    uint16_t offset; /* in dicore_command */
    uint32_t bit;    /* of `present`, for numbers */
} FIELDS[] = {
    {0x0002, UID, offsetof(dicore_command, affected_class), 0},
    {0x0003, UID, offsetof(dicore_command, requested_class), 0},
    {0x0100, NUMBER, offsetof(dicore_command, command_field), DICORE_HAS_COMMAND_FIELD},
    {0x0110, NUMBER, offsetof(dicore_command, message_id), DICORE_HAS_MESSAGE_ID},
    {0x0120, NUMBER, offsetof(dicore_command, responded_to), DICORE_HAS_RESPONDED_TO},
    {0x0600, AE, offsetof(dicore_command, move_destination), 0},
    {0x0700, NUMBER, offsetof(dicore_command, priority), DICORE_HAS_PRIORITY},
    {0x0800, NUMBER, offsetof(dicore_command, data_set_type), DICORE_HAS_DATA_SET_TYPE},
    {0x0900, NUMBER, offsetof(dicore_command, status), DICORE_HAS_STATUS},
    {0x0901, TAGS, offsetof(dicore_command, offending), 0},
    {0x0902, TEXT, offsetof(dicore_command, error_comment), 0},
    {0x0903, NUMBER, offsetof(dicore_command, error_id), DICORE_HAS_ERROR_ID},
    {0x1000, UID, offsetof(dicore_command, affected_instance), 0},
    {0x1001, UID, offsetof(dicore_command, requested_instance), 0},
    {0x1002, NUMBER, offsetof(dicore_command, event_type), DICORE_HAS_EVENT_TYPE},
    {0x1005, TAGS, offsetof(dicore_command, attributes), 0},
    {0x1008, NUMBER, offsetof(dicore_command, action_type), DICORE_HAS_ACTION_TYPE},
    {0x1020, NUMBER, offsetof(dicore_command, remaining), DICORE_HAS_REMAINING},
    {0x1021, NUMBER, offsetof(dicore_command, completed), DICORE_HAS_COMPLETED},
    {0x1022, NUMBER, offsetof(dicore_command, failed), DICORE_HAS_FAILED},
    {0x1023, NUMBER, offsetof(dicore_command, warning), DICORE_HAS_WARNING},
    {0x1030, AE, offsetof(dicore_command, originator), 0},
    {0x1031, NUMBER, offsetof(dicore_command, originator_id), DICORE_HAS_ORIGINATOR_ID},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS, ELEMENT_HEADER = 8 };

/* The fields by offset: members of the caller's struct, no foreign bytes. */
static uint16_t *number_of(dicore_command *c, const struct field *f) { return (uint16_t *)(void *)((char *)c + f->offset); }
static dicore_span *span_of(dicore_command *c, const struct field *f) { return (dicore_span *)(void *)((char *)c + f->offset); }

static dicore_span unpadded(const uint8_t *data, size_t size, enum kind kind)
{
    if (kind != TAGS)
        while (size && (data[size - 1] == 0 || data[size - 1] == ' '))
            size--;
    if (kind == AE)
        while (size && *data == ' ') {
            data++;
            size--;
        }
    return (dicore_span){.data = data, .size = size};
}

/** Put one element into `c`; false: it cannot be, or it was there already (two answers to one question are none). */
static bool take(dicore_command *c, const struct field *f, const uint8_t *value, uint32_t length)
{
    if (f->kind == NUMBER) {
        if (length == 0) /* present and empty: as if it were not there */
            return true;
        if (length != 2 || c->present & f->bit)
            return false;
        *number_of(c, f) = load_u16le(value);
        c->present |= f->bit;
        return true;
    }
    if (span_of(c, f)->data)
        return false;
    *span_of(c, f) = unpadded(value, length, f->kind);
    return true;
}

dicore_status dicore_command_parse(const uint8_t *data, size_t size, dicore_command *out, dicore_error *error)
{
    dicore_command found = {0};
    size_t at = 0, field = 0;
    while (at < size) {
        if (size - at < ELEMENT_HEADER)
            return dicore_fail(error, DICORE_BAD_COMMAND, at, 0);
        uint32_t tag = load_tag_le(data + at), length = load_u32le(data + at + 4);
        size_t value = at + ELEMENT_HEADER;
        if (tag > 0xFFFF || length > size - value) /* group 0000 only */
            return dicore_fail(error, DICORE_BAD_COMMAND, at, tag);
        if (field && FIELDS[field - 1].element >= tag) /* out of order */
            field = 0;
        while (field < FIELD_COUNT && FIELDS[field].element < tag)
            field++;
        if (field < FIELD_COUNT && FIELDS[field].element == tag && !take(&found, &FIELDS[field], data + value, length))
            return dicore_fail(error, DICORE_BAD_COMMAND, at, tag);
        at = value + length; /* the group length, retired and unknown elements: skipped */
    }
    if (!(found.present & DICORE_HAS_COMMAND_FIELD))
        return dicore_fail(error, DICORE_BAD_COMMAND, size, 0x0100);
    if (!(found.present & DICORE_HAS_DATA_SET_TYPE))
        return dicore_fail(error, DICORE_BAD_COMMAND, size, 0x0800);
    *out = found;
    return DICORE_OK;
}

static bool can_be(const struct field *f, dicore_span value)
{
    switch ((enum kind)f->kind) {
    case NUMBER: return true;
    case UID: return value.size <= 64;
    case AE: return value.size <= 16;
    case TEXT: return value.size <= 64; /* LO */
    case TAGS: return value.size % 4 == 0 && value.size <= UINT32_MAX / 2;
    }
    return false;
}

static void put_header(uint8_t *p, uint16_t element, uint32_t length)
{
    store_u16le(p, 0);
    store_u16le(p + 2, element);
    store_u32le(p + 4, length);
}

dicore_status dicore_command_build(const dicore_command *command, uint8_t *buffer, size_t capacity, size_t *size)
{
    if (!(command->present & DICORE_HAS_COMMAND_FIELD))
        return DICORE_BAD_ARGUMENT;
    dicore_command c = *command;
    if (!(c.present & DICORE_HAS_DATA_SET_TYPE)) {
        c.present |= DICORE_HAS_DATA_SET_TYPE;
        c.data_set_type = DICORE_NO_DATA_SET;
    }
    size_t at = ELEMENT_HEADER + 4; /* the group length comes first and is known last */
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const struct field *f = &FIELDS[i];
        if (f->kind == NUMBER) {
            if (!(c.present & f->bit))
                continue;
            if (at + ELEMENT_HEADER + 2 <= capacity) {
                put_header(buffer + at, f->element, 2);
                store_u16le(buffer + at + ELEMENT_HEADER, *number_of(&c, f));
            }
            at += ELEMENT_HEADER + 2;
            continue;
        }
        dicore_span value = *span_of(&c, f);
        if (!value.data)
            continue;
        if (!can_be(f, value))
            return DICORE_BAD_ARGUMENT;
        size_t padded = value.size + (value.size & 1);
        if (at + ELEMENT_HEADER + padded <= capacity) {
            put_header(buffer + at, f->element, (uint32_t)padded);
            memcpy(buffer + at + ELEMENT_HEADER, value.data, value.size);
            if (padded != value.size)
                buffer[at + ELEMENT_HEADER + value.size] = f->kind == UID ? 0 : ' ';
        }
        at += ELEMENT_HEADER + padded;
    }
    *size = at;
    if (at > capacity)
        return DICORE_NO_MEMORY;
    put_header(buffer, 0, 4);
    store_u32le(buffer + ELEMENT_HEADER, (uint32_t)(at - ELEMENT_HEADER - 4));
    return DICORE_OK;
}

void dicore_command_response(const dicore_command *request, uint16_t status, dicore_command *response)
{
    *response = (dicore_command){
        .present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_RESPONDED_TO | DICORE_HAS_DATA_SET_TYPE | DICORE_HAS_STATUS,
        .command_field = request->command_field | 0x8000,
        .responded_to = request->message_id,
        .data_set_type = DICORE_NO_DATA_SET,
        .status = status,
        .affected_class = request->affected_class.data ? request->affected_class : request->requested_class,
        .affected_instance = request->affected_instance.data ? request->affected_instance : request->requested_instance,
    };
}

bool dicore_status_pending(uint16_t dimse_status) { return dimse_status == 0xFF00 || dimse_status == 0xFF01; }
