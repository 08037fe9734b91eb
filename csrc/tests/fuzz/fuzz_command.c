/* Command sets, and messages as they are put together from fragments and taken apart again.
 *
 * Input: a byte of flags (1: data in the command's PDU where it fits), a byte that says how long our PDUs are at most, the
 * number of cuts, a byte for each (the size of a fragment), used in turn, two bytes with the size of the command set, it, and
 * the data set. */
#include "fuzz.h"
#include "wire.h"

#include "net/pdu.h"

static bool inside(dicore_span s, const uint8_t *data, size_t size)
{
    return s.data == NULL || (s.data >= data && s.size <= size && s.data + s.size <= data + size);
}

static bool same(dicore_span a, dicore_span b)
{
    return (a.data == NULL) == (b.data == NULL) && a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static bool equal(const dicore_command *a, const dicore_command *b)
{
    return a->present == b->present && a->command_field == b->command_field && a->message_id == b->message_id &&
           a->responded_to == b->responded_to && a->priority == b->priority && a->data_set_type == b->data_set_type &&
           a->status == b->status && a->error_id == b->error_id && a->event_type == b->event_type &&
           a->action_type == b->action_type && a->remaining == b->remaining && a->completed == b->completed &&
           a->failed == b->failed && a->warning == b->warning && a->originator_id == b->originator_id &&
           same(a->affected_class, b->affected_class) && same(a->requested_class, b->requested_class) &&
           same(a->move_destination, b->move_destination) && same(a->offending, b->offending) &&
           same(a->error_comment, b->error_comment) && same(a->affected_instance, b->affected_instance) &&
           same(a->requested_instance, b->requested_instance) && same(a->attributes, b->attributes) &&
           same(a->originator, b->originator);
}

/** `build`, in a block of the exact size that it asks for. NULL: it cannot be said. */
static uint8_t *built(const dicore_command *c, size_t *size)
{
    uint8_t none[1];
    *size = 0;
    const dicore_status status = dicore_command_build(c, none, 0, size);
    MUST(status == DICORE_NO_MEMORY || status == DICORE_BAD_ARGUMENT);
    if (status == DICORE_BAD_ARGUMENT)
        return NULL;
    uint8_t *memory = malloc(*size);
    size_t again = 0;
    MUST(memory);
    MUST(dicore_command_build(c, memory, *size, &again) == DICORE_OK && again == *size);
    return memory;
}

static void parse_and_build(const uint8_t *data, size_t size, dicore_command *c, dicore_status *parsed)
{
    dicore_error error = {0};
    *parsed = dicore_command_parse(data, size, c, &error);
    MUST(dicore_command_parse(data, size, c, NULL) == *parsed);
    if (*parsed != DICORE_OK) {
        MUST(*parsed == DICORE_BAD_COMMAND && error.status == *parsed && error.offset <= size);
        return;
    }
    const dicore_span *spans[] = {&c->affected_class, &c->requested_class, &c->move_destination, &c->offending,
                                  &c->error_comment, &c->affected_instance, &c->requested_instance, &c->attributes, &c->originator};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
        MUST(inside(*spans[i], data, size));
    size_t first, second;
    uint8_t *one = built(c, &first);
    if (one) {
        dicore_command again;
        MUST(dicore_command_parse(one, first, &again, NULL) == DICORE_OK && equal(c, &again));
        uint8_t *two = built(&again, &second);
        MUST(two && first == second && memcmp(one, two, first) == 0);
        MUST(load_u32le(one) == 0 && load_u32le(one + 4) == 4 && load_u32le(one + 8) == first - 12); /* (0000,0000) comes first */
        free(two);
        free(one);
    }
    dicore_command response;
    dicore_command_response(c, 0x0110, &response);
    one = built(&response, &first);
    if (one) {
        dicore_command again;
        MUST(dicore_command_parse(one, first, &again, NULL) == DICORE_OK && again.responded_to == c->message_id &&
             again.status == 0x0110 && again.command_field == (c->command_field | 0x8000));
        free(one);
    }
}

/* ---- messages ------------------------------------------------------------------------------------------------------------ */

typedef struct pair {
    heap h;
    dicore_association *scu, *scp;
    bytes command, data; /* what the acceptor got */
    bool last, failed;
    int commands, data_sets;
} pair;

static void receive(pair *p, const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    MUST(copy);
    if (size)
        memcpy(copy, data, size);
    size_t done = 0, consumed;
    dicore_event event;
    do {
        (void)dicore_association_receive(p->scp, copy + done, size - done, &consumed, &event);
        done += consumed;
        if (event.kind == DICORE_EVENT_COMMAND) {
            p->commands++;
            bytes_add(&p->command, event.data, event.size);
            p->last = event.last;
        } else if (event.kind == DICORE_EVENT_DATA) {
            bytes_add(&p->data, event.data, event.size);
            p->data_sets += event.last;
        } else if (event.kind == DICORE_EVENT_FAILED) {
            p->failed = true;
        }
    } while (event.kind != DICORE_EVENT_NONE);
    MUST(done == size);
    free(copy);
}

static void open_pair(pair *p, uint32_t longest)
{
    *p = (pair){0};
    const dicore_allocator allocator = heap_allocator(&p->h);
    dicore_association_options options;
    dicore_association_defaults(&options);
    options.max_send_length = longest;
    static const dicore_span SYNTAX = {(const uint8_t *)"1.2.840.10008.1.2", 17};
    const dicore_context context = {.id = 1, .abstract_syntax = text("1.2.840.10008.1.1"), .syntaxes = &SYNTAX, .syntax_count = 1};
    const dicore_associate rq = {.called_ae = text("A"), .calling_ae = text("B"), .contexts = &context, .context_count = 1,
                                 .implementation_uid = text("1.2.3")};
    p->scu = dicore_association_new(&options, &allocator);
    p->scp = dicore_association_new(&options, &allocator);
    MUST(dicore_association_request(p->scu, &rq) == DICORE_OK);
    (void)dicore_association_connected(p->scu);
    (void)dicore_association_connected(p->scp);
    user scp = {.association = p->scp}, scu = {.association = p->scu};
    user_take_output(&scu);
    user_feed(&scp, scu.output.data, scu.output.size);
    user_feed(&scu, scp.output.data, scp.output.size);
    MUST(dicore_association_state(p->scu) == 6 && dicore_association_state(p->scp) == 6);
    bytes *all[] = {&scu.log, &scu.output, &scu.data, &scp.log, &scp.output, &scp.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        bytes_free(all[i]);
}

static void close_pair(pair *p)
{
    dicore_association_free(p->scu);
    dicore_association_free(p->scp);
    MUST(p->h.live == 0);
    bytes_free(&p->command);
    bytes_free(&p->data);
}

/** In fragments as the cuts say, several in a PDU where the cut is odd. */
static void add_fragments(bytes *wire, uint8_t control, const uint8_t *data, size_t size, const uint8_t *cut, size_t cuts)
{
    size_t turn = 0;
    do {
        size_t part = cuts == 0 || (turn >= cuts && cut[turn % cuts] == 0) ? size : cut[turn % cuts];
        const bool two = cuts && cut[turn % cuts] & 1;
        if (part > size)
            part = size;
        const size_t rest = size - part < part ? size - part : part;
        const uint8_t last = PDV_LAST;
        if (two) {
            bytes_pdu(wire, PDU_DATA, (uint32_t)(12 + part + rest));
            bytes_pdv(wire, 1, control, data, part);
            bytes_pdv(wire, 1, (uint8_t)(control | (part + rest == size ? last : 0)), data + part, rest);
            part += rest;
        } else {
            bytes_pdata(wire, 1, (uint8_t)(control | (part == size ? last : 0)), data, part);
        }
        data += part;
        size -= part;
        turn++;
    } while (size);
}

static void assembled(const uint8_t *command, size_t command_size, const uint8_t *data, size_t size, const uint8_t *cut, size_t cuts,
                      const dicore_command *c, dicore_status parsed)
{
    pair p;
    open_pair(&p, 0);
    bytes wire = {0};
    add_fragments(&wire, PDV_COMMAND, command, command_size, cut, cuts);
    const bool has_data = parsed == DICORE_OK && c->data_set_type != DICORE_NO_DATA_SET;
    if (has_data)
        add_fragments(&wire, 0, data, size, cut, cuts);
    size_t at = 0;
    for (size_t turn = 0; at < wire.size; turn++) {
        size_t part = cuts == 0 ? wire.size : (size_t)cut[turn % cuts] + 1;
        if (part > wire.size - at)
            part = wire.size - at;
        receive(&p, wire.data + at, part);
        at += part;
    }
    MUST(p.failed == (parsed != DICORE_OK));
    if (parsed == DICORE_OK) {
        MUST(p.commands == 1 && p.last == !has_data && p.data_sets == has_data);
        MUST(p.command.size == command_size && (command_size == 0 || memcmp(p.command.data, command, command_size) == 0));
        if (has_data)
            MUST(p.data.size == size && (size == 0 || memcmp(p.data.data, data, size) == 0));
    }
    bytes_free(&wire);
    close_pair(&p);
}

static void sent(const dicore_command *c, const uint8_t *data, size_t size, uint32_t longest, uint32_t flags, const uint8_t *cut,
                 size_t cuts)
{
    size_t wanted;
    uint8_t *expected = built(c, &wanted);
    if (!expected)
        return;
    pair p;
    open_pair(&p, longest);
    dicore_sender sender;
    uint8_t headers[48];
    dicore_span pieces[6];
    size &= ~(size_t)1;
    const bool has_data = (c->present & DICORE_HAS_DATA_SET_TYPE) && c->data_set_type != DICORE_NO_DATA_SET;
    if (!has_data)
        size = 0;
    uint8_t *memory = malloc(wanted);
    MUST(memory);
    MUST(dicore_association_send(p.scu, 1, c, size, flags, memory, wanted, &sender) == DICORE_OK);
    MUST(dicore_association_release(p.scu) == DICORE_BAD_STATE); /* a message is half sent */
    dicore_status status = DICORE_OK;
    dicore_span supply;
    for (size_t at = 0, turn = 0; status == DICORE_OK;) {
        size_t count = 0;
        status = dicore_sender_next(&sender, headers, sizeof headers, pieces, 6, &count);
        for (size_t i = 0; i < count; i++)
            receive(&p, pieces[i].data, pieces[i].size);
        if (status == DICORE_OK && count == 0) {
            size_t part = cuts == 0 ? size : (size_t)cut[turn++ % cuts] + 1;
            if (part > size - at)
                part = size - at;
            MUST(part);
            supply = (dicore_span){data + at, part};
            MUST(dicore_sender_supply(&sender, &supply, 1) == DICORE_OK);
            at += part;
        }
    }
    MUST(status == DICORE_END && !p.failed && p.commands == 1 && p.data_sets == has_data);
    MUST(p.command.size == wanted && memcmp(p.command.data, expected, wanted) == 0);
    MUST(p.data.size == size && (size == 0 || memcmp(p.data.data, data, size) == 0));
    MUST(dicore_association_release(p.scu) == DICORE_OK);
    free(memory);
    free(expected);
    close_pair(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5 || size - 5 < data[2])
        return 0;
    const uint8_t flags = data[0], cuts = data[2], *cut = data + 3;
    const uint32_t longest = 64u + data[1] * 8u;
    data += 3 + cuts;
    size -= 3u + cuts;
    size_t command_size = load_u16be(data);
    data += 2;
    size -= 2;
    if (command_size > size)
        command_size = size;
    uint8_t *command = malloc(command_size ? command_size : 1);
    MUST(command);
    if (command_size)
        memcpy(command, data, command_size);
    data += command_size;
    size -= command_size;
    dicore_command c;
    dicore_status parsed;
    parse_and_build(command, command_size, &c, &parsed);
    assembled(command, command_size, data, size, cut, cuts, &c, parsed);
    if (parsed == DICORE_OK)
        sent(&c, data, size, longest, flags & DICORE_SEND_SHARED, cut, cuts);
    free(command);
    return 0;
}
