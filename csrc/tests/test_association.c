/* The association (csrc/net/association.c): the state table, framing in every split, both roles, hostile peers. */
#include "check.h"
#include "wire.h"

#include <stdbool.h>

static heap memory;

static dicore_association *new_association(const dicore_association_options *options)
{
    dicore_allocator allocator = heap_allocator(&memory);
    dicore_association *made = dicore_association_new(options, &allocator);
    if (!made)
        refuse_end();
    return made;
}

static const dicore_span SYNTAXES[] = {{(const uint8_t *)"1.2.840.10008.1.2.1", 19}, {(const uint8_t *)"1.2.840.10008.1.2", 17}};

/** Propose `count` contexts (ids 1, 3, ...). */
static dicore_status request(dicore_association *a, size_t count)
{
    static dicore_context contexts[128];
    for (size_t i = 0; i < count; i++)
        contexts[i] = (dicore_context){.id = (uint8_t)(2 * i + 1), .abstract_syntax = text("1.2.840.10008.5.1.4.1.1.2"),
                                       .syntaxes = SYNTAXES, .syntax_count = 2};
    dicore_associate rq = {.called_ae = text("CALLED"), .calling_ae = text("CALLING"), .contexts = contexts,
                           .context_count = count, .implementation_uid = text("1.2.3")};
    return dicore_association_request(a, &rq);
}

static bytes output_of(dicore_association *a)
{
    bytes b = {0};
    const uint8_t *data;
    size_t size;
    dicore_association_output(a, &data, &size);
    bytes_add(&b, data, size);
    dicore_association_sent(a, size);
    return b;
}

/** The A-ASSOCIATE-RQ that `request` makes with three contexts. */
static bytes rq_bytes(void)
{
    dicore_association *a = new_association(NULL);
    CHECK_EQ(request(a, 3), DICORE_OK);
    CHECK_EQ(dicore_association_connected(a), DICORE_OK);
    bytes b = output_of(a);
    dicore_association_free(a);
    return b;
}

/** The AC to it. */
static bytes ac_bytes(void)
{
    bytes rq = rq_bytes();
    user u = {.association = new_association(NULL)};
    CHECK_EQ(dicore_association_connected(u.association), DICORE_OK);
    CHECK_EQ(user_feed(&u, rq.data, rq.size), DICORE_OK);
    bytes ac = {0};
    bytes_add(&ac, u.output.data, u.output.size);
    user_free(&u);
    bytes_free(&rq);
    return ac;
}

/* The answer of `output` ends with these ten bytes? */
static bool ends_with_control(const bytes *output, uint8_t type, uint8_t result, uint8_t source, uint8_t reason)
{
    uint8_t expected[10] = {type, 0, 0, 0, 0, 4, 0, result, source, reason};
    return output->size >= 10 && memcmp(output->data + output->size - 10, expected, 10) == 0;
}

static bool log_is(const user *u, const char *expected)
{
    if (u->log.size == strlen(expected) && memcmp(u->log.data, expected, u->log.size) == 0)
        return true;
    fprintf(stderr, "log:\n%.*sexpected:\n%s", (int)u->log.size, (const char *)u->log.data, expected);
    return false;
}

/* ---- the state table ------------------------------------------------------------------------------------------------ */

/** An association in the given state; `requestor` matters where both roles get there. */
static user in_state(int state, bool requestor)
{
    dicore_association_options options;
    dicore_association_defaults(&options);
    options.request_timeout = options.network_timeout = options.dimse_timeout = options.idle_timeout = 0;
    user u = {.association = new_association(&options), .passive = true};
    dicore_association *a = u.association;
    bytes wire = {0};
    if (state == 9 || state == 11 || state == 4 || state == 5)
        requestor = true;
    if (state == 10 || state == 12 || state == 2 || state == 3)
        requestor = false;
    if (state == 1)
        return u;
    if (requestor) {
        request(a, 3);
        if (state == 4)
            return u;
        dicore_association_connected(a);
        if (state == 5)
            return u;
        wire = ac_bytes();
        user_feed(&u, wire.data, wire.size);
    } else {
        dicore_association_connected(a);
        if (state == 2)
            return u;
        wire = rq_bytes();
        if (state != 3)
            u.passive = false; /* accept */
        user_feed(&u, wire.data, wire.size);
        u.passive = true;
        if (state == 3)
            goto done;
    }
    wire.size = 0;
    bytes release_rq = {0}, release_rp = {0};
    bytes_control(&release_rq, 5, 0, 0, 0);
    bytes_control(&release_rp, 6, 0, 0, 0);
    if (state == 8)
        user_feed(&u, release_rq.data, release_rq.size);
    if (state == 7 || (state >= 9 && state <= 12))
        dicore_association_release(a);
    if (state >= 9 && state <= 12)
        user_feed(&u, release_rq.data, release_rq.size);
    if (state == 11)
        dicore_association_release_reply(a);
    if (state == 12)
        user_feed(&u, release_rp.data, release_rp.size);
    if (state == 13)
        dicore_association_abort(a, 0, 0);
    bytes_free(&release_rq);
    bytes_free(&release_rp);
done:
    bytes_free(&wire);
    user_take_output(&u);
    u.output.size = u.log.size = 0;
    return u;
}

/* What follows each event in each state; 0: cannot happen. Written from tables 9-6 to 9-10, not from the code: 14 is Sta13
 * reached with an A-ABORT of the provider (AA-8), 15 Sta13 with one of the user (AA-1), 16 Sta13 with AA-7. */
static const int NEXT[19][13] = {
    /*         1  2   3   4  5   6   7   8   9   10  11  12  13 */
    /* Evt1 */ {4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    /* Evt2 */ {0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    /* Evt3 */ {0, 15, 14, 0, 6, 14, 14, 14, 14, 14, 14, 14, 13},
    /* Evt4 */ {0, 15, 14, 0, 1, 14, 14, 14, 14, 14, 14, 14, 13},
    /* Evt5 */ {2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    /* Evt6 */ {0, 3, 14, 0, 14, 14, 14, 14, 14, 14, 14, 14, 16},
    /* Evt7 */ {0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    /* Evt8 */ {0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    /* Evt9 */ {0, 0, 0, 0, 0, 6, 0, 8, 0, 0, 0, 0, 0},
    /* Evt10 */ {0, 15, 14, 0, 14, 6, 7, 14, 14, 14, 14, 14, 13},
    /* Evt11 */ {0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0},
    /* Evt12 */ {0, 15, 14, 0, 14, 8, 9, 14, 14, 14, 14, 14, 13}, /* Sta7: 9 or 10 */
    /* Evt13 */ {0, 15, 14, 0, 14, 14, 1, 14, 14, 12, 1, 14, 13},
    /* Evt14 */ {0, 0, 0, 0, 0, 0, 0, 13, 11, 0, 0, 13, 0},
    /* Evt15 */ {0, 0, 15, 1, 15, 15, 15, 15, 15, 15, 15, 15, 0},
    /* Evt16 */ {0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    /* Evt17 */ {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
    /* Evt18 */ {0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
    /* Evt19 */ {0, 15, 14, 0, 14, 14, 14, 14, 14, 14, 14, 14, 16},
};

/** Make the event happen; DICORE_BAD_STATE where the API says that it cannot. */
static dicore_status happen(user *u, int number)
{
    dicore_association *a = u->association;
    dicore_command echo = {.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID, .command_field = DICORE_C_ECHO_RQ, .message_id = 1};
    dicore_event event;
    dicore_status status = DICORE_OK;
    bytes wire = {0};
    switch (number) {
    case 1: return request(a, 3);
    case 2: return dicore_association_connected(a);
    case 3: wire = ac_bytes(); break;
    case 4: bytes_control(&wire, 3, 1, 1, 1); break;
    case 5: return dicore_association_connected(a);
    case 6: wire = rq_bytes(); break;
    case 7: {
        if (!u->last.associate || dicore_association_state(a) != 3) {
            dicore_associate nothing = {0};
            return dicore_association_accept(a, &nothing);
        }
        return user_accept(u, u->last.associate);
    }
    case 8: return dicore_association_reject(a, 2, 3, 2);
    case 9: return dicore_association_respond(a, 1, &echo);
    case 10: {
        uint8_t set[64];
        size_t size = 0;
        dicore_command_build(&echo, set, sizeof set, &size);
        bytes_pdata(&wire, 1, 3, set, size);
        break;
    }
    case 11: return dicore_association_release(a);
    case 12: bytes_control(&wire, 5, 0, 0, 0); break;
    case 13: bytes_control(&wire, 6, 0, 0, 0); break;
    case 14: return dicore_association_release_reply(a);
    case 15: return dicore_association_abort(a, 0, 0);
    case 16: bytes_control(&wire, 7, 0, 0, 0); break;
    case 17:
        if (dicore_association_state(a) == 1)
            return DICORE_BAD_STATE;
        status = dicore_association_closed(a, &event);
        CHECK_EQ(event.kind, DICORE_EVENT_NONE == event.kind ? DICORE_EVENT_NONE : DICORE_EVENT_CLOSED);
        return status;
    case 18:
        dicore_association_deadline(a, 1000);
        dicore_association_tick(a, 1000 + 29999, &event);
        CHECK_EQ(event.kind, DICORE_EVENT_NONE); /* not yet */
        dicore_association_tick(a, 1000 + 30000, &event);
        return event.kind == DICORE_EVENT_TIMEOUT ? DICORE_OK : DICORE_BAD_STATE;
    case 19: bytes_pdu(&wire, 0x48, 0x54545020); break; /* "HTTP" */
    default: abort();
    }
    status = user_feed(u, wire.data, wire.size);
    bytes_free(&wire);
    return status;
}

static void the_whole_state_table(void)
{
    for (int number = 1; number <= 19; number++)
        for (int state = 1; state <= 13; state++)
            for (int requestor = 0; requestor < 2; requestor++) {
                if (state == 4 && number == 5)
                    continue; /* one call stands for Evt2 and Evt5: the state tells them apart */
                if (state == 1 && number == 2)
                    continue;
                user u = in_state(state, requestor);
                CHECK_EQ(dicore_association_state(u.association), state);
                int next = NEXT[number - 1][state - 1];
                if (number == 12 && state == 7 && !requestor)
                    next = 10;
                dicore_status status = happen(&u, number);
                user_take_output(&u);
                int got = dicore_association_state(u.association);
                if ((next == 0) != (status == DICORE_BAD_STATE) || got != (next == 0 ? state : next > 13 ? 13 : next))
                    fprintf(stderr, "Evt%d in Sta%d: status %d, Sta%d\n", number, state, (int)status, got);
                CHECK_EQ(next == 0, status == DICORE_BAD_STATE);
                CHECK_EQ(got, next == 0 ? state : next > 13 ? 13 : next);
                if (next == 14) {
                    CHECK(ends_with_control(&u.output, 7, 0, 2, number == 19 ? 1 : 2));
                    CHECK_EQ(u.failures, 1);
                    CHECK(dicore_association_failed(u.association));
                    CHECK_EQ(dicore_association_respond(u.association, 1, &(dicore_command){0}), DICORE_FAILED);
                } else if (next == 15) {
                    CHECK(ends_with_control(&u.output, 7, 0, 0, 0));
                } else if (next == 16) {
                    CHECK(ends_with_control(&u.output, 7, 0, 2, number == 19 ? 1 : 2));
                }
                bool closing = next == 1 && number != 17;
                CHECK_EQ(dicore_association_closing(u.association), closing);
                user_free(&u);
            }
    CHECK_EQ(memory.live, 0);
}

/* ---- one stream, every split ------------------------------------------------------------------------------------------ */

static void add_command(bytes *wire, uint8_t context, const dicore_command *c, size_t cut)
{
    uint8_t set[512];
    size_t size = 0;
    CHECK_EQ(dicore_command_build(c, set, sizeof set, &size), DICORE_OK);
    if (cut == 0 || cut >= size) {
        bytes_pdata(wire, context, 3, set, size);
    } else {
        bytes_pdata(wire, context, 1, set, cut);
        bytes_pdata(wire, context, 3, set + cut, size - cut);
    }
}

static dicore_command store_command(uint16_t id)
{
    return (dicore_command){.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_PRIORITY | DICORE_HAS_DATA_SET_TYPE,
                            .command_field = DICORE_C_STORE_RQ, .message_id = id, .data_set_type = DICORE_DATA_SET,
                            .affected_class = text("1.2.840.10008.5.1.4.1.1.2"), .affected_instance = text("1.2.3.4.5")};
}

static const char EXPECTED[] =
    "associate 1 called 'CALLED' calling 'CALLING' contexts 3 max 1048576 roles 0 extended 0\n"
    "command 48 context 1 id 1 to 0 status 0000 size 42 class '' alone\n"
    "command 1 context 3 id 2 to 0 status 0000 size 104 class '1.2.840.10008.5.1.4.1.1.2'\n"
    "data 9 sum 931b7d30 last\n"
    "command 1 context 5 id 3 to 0 status 0000 size 104 class '1.2.840.10008.5.1.4.1.1.2'\n"
    "data 4 sum 002d9442 last\n"
    "command 1 context 1 id 4 to 0 status 0000 size 104 class '1.2.840.10008.5.1.4.1.1.2'\n"
    "data 0 sum 00000000 last\n"
    "release\n";

/** An acceptor's whole life: RQ, echo, a store in odd pieces, a store in one PDU, an empty data set, release. */
static bytes acceptor_stream(void)
{
    bytes wire = rq_bytes();
    dicore_command echo = {.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID, .command_field = DICORE_C_ECHO_RQ, .message_id = 1};
    add_command(&wire, 1, &echo, 0);
    dicore_command store = store_command(2);
    add_command(&wire, 3, &store, 33);                    /* the command in two PDUs */
    bytes_pdu(&wire, 4, 6 + 4 + 6 + 6 + 3);               /* three PDVs in one PDU: 4 bytes, none, 3 bytes */
    bytes_pdv(&wire, 3, 0xF0, "DATA", 4);                 /* bits 2 to 7 are not checked */
    bytes_pdv(&wire, 3, 0, "", 0);
    bytes_pdv(&wire, 3, 0, "odd", 3);
    bytes_pdata(&wire, 3, 0, "it", 2);
    bytes_pdata(&wire, 3, 2, "", 0);                      /* the end, empty */
    uint8_t set[512];
    size_t size = 0;
    store.message_id = 3;
    CHECK_EQ(dicore_command_build(&store, set, sizeof set, &size), DICORE_OK);
    bytes_pdu(&wire, 4, (uint32_t)size + 6 + 6 + 4);      /* command and data share a PDU */
    bytes_pdv(&wire, 5, 3, set, size);
    bytes_pdv(&wire, 5, 2, "abcd", 4);
    store.message_id = 4;
    add_command(&wire, 1, &store, 0);
    bytes_pdata(&wire, 1, 2, "", 0);                      /* a data set of nothing at all */
    bytes_control(&wire, 5, 0, 0, 0);
    return wire;
}

static user new_acceptor(void)
{
    user u = {.association = new_association(NULL)};
    CHECK_EQ(dicore_association_connected(u.association), DICORE_OK);
    return u;
}

static void every_split_gives_the_same_events(void)
{
    bytes wire = acceptor_stream();
    user whole = new_acceptor();
    uint8_t *copy = guarded_copy(wire.data, wire.size);
    CHECK_EQ(user_feed(&whole, copy, wire.size), DICORE_OK);
    guarded_free(copy, wire.size);
    CHECK(log_is(&whole, EXPECTED));
    CHECK_EQ(dicore_association_state(whole.association), 13);
    CHECK(ends_with_control(&whole.output, 6, 0, 0, 0));

    user single = new_acceptor(); /* byte by byte */
    for (size_t i = 0; i < wire.size; i++)
        CHECK_EQ(user_feed_copy(&single, wire.data + i, 1), DICORE_OK);
    CHECK(log_is(&single, EXPECTED));
    CHECK(single.output.size == whole.output.size && memcmp(single.output.data, whole.output.data, whole.output.size) == 0);
    user_free(&single);

    for (size_t cut = 0; cut <= wire.size; cut++) { /* every split in two, the first part against a guard page */
        user u = new_acceptor();
        copy = guarded_copy(wire.data, cut);
        CHECK_EQ(user_feed(&u, copy, cut), DICORE_OK);
        guarded_free(copy, cut);
        CHECK(cut == wire.size || dicore_association_state(u.association) != 13); /* a prefix is never complete */
        CHECK_EQ(user_feed_copy(&u, wire.data + cut, wire.size - cut), DICORE_OK);
        CHECK(log_is(&u, EXPECTED));
        user_free(&u);
    }
    uint64_t seed = 1;
    for (int round = 0; round < 10000; round++) { /* any split */
        user u = new_acceptor();
        for (size_t at = 0; at < wire.size;) {
            size_t most = (next_random(&seed) & 3) == 0 ? 200 : 12, part = next_random(&seed) % most + (most == 200);
            if (part > wire.size - at)
                part = wire.size - at;
            user_feed_copy(&u, wire.data + at, part);
            at += part;
        }
        CHECK(log_is(&u, EXPECTED));
        user_free(&u);
    }
    user_free(&whole);
    bytes_free(&wire);
    CHECK_EQ(memory.live, 0);
}

/** Cut at every byte and the transport closed: the right event, nothing left allocated. */
static void every_cut_ends_cleanly(void)
{
    bytes wire = acceptor_stream();
    for (size_t cut = 0; cut <= wire.size; cut++) {
        user u = new_acceptor();
        user_feed_copy(&u, wire.data, cut);
        int state = dicore_association_state(u.association);
        dicore_event event;
        CHECK_EQ(dicore_association_closed(u.association, &event), DICORE_OK);
        CHECK_EQ(event.kind, state == 2 || state == 13 ? DICORE_EVENT_NONE : DICORE_EVENT_CLOSED);
        CHECK_EQ(dicore_association_state(u.association), 1);
        user_free(&u);
        CHECK_EQ(memory.live, 0);
    }
    bytes_free(&wire);
}

static void wanted_leads_through_the_stream(void)
{
    bytes wire = acceptor_stream();
    user u = new_acceptor();
    size_t at = 0, reads = 0;
    while (at < wire.size) { /* reading exactly what is wanted never passes the end of a PDU */
        uint64_t wanted = dicore_association_wanted(u.association);
        CHECK(wanted >= 1 && wanted <= wire.size - at);
        user_feed_copy(&u, wire.data + at, (size_t)wanted);
        at += (size_t)wanted;
        reads++;
    }
    CHECK(log_is(&u, EXPECTED));
    CHECK(reads < 40);
    user_free(&u);
    bytes_free(&wire);
}

static void no_memory_fails_and_leaks_nothing(void)
{
    bytes wire = acceptor_stream();
    size_t calls = 0;
    for (size_t fail_at = 1; calls == 0 || fail_at <= calls; fail_at++) {
        memory = (heap){.fail_at = fail_at};
        user u = {.association = new_association(NULL)};
        if (u.association) {
            dicore_association_connected(u.association);
            for (size_t i = 0; i < wire.size; i++)
                user_feed_copy(&u, wire.data + i, 1);
            if (u.failures) {
                CHECK_EQ(u.last.status, DICORE_NO_MEMORY);
                CHECK_EQ(dicore_association_state(u.association), 13);
            }
        }
        user_free(&u);
        CHECK_EQ(memory.live, 0);
        if (memory.calls < fail_at) {
            calls = memory.calls;
            break;
        }
    }
    CHECK(calls > 3);
    memory = (heap){0};
    bytes_free(&wire);
}

/* ---- both roles, back to back ---------------------------------------------------------------------------------------- */

/** Carry what `from` has to say to `to`, in chunks; returns whether there was anything. */
static bool carry(user *from, user *to, uint64_t *seed)
{
    const uint8_t *data;
    size_t size, part;
    dicore_association_output(from->association, &data, &size);
    if (!size)
        return false;
    part = 1 + next_random(seed) % size;
    bytes chunk = {0};
    bytes_add(&chunk, data, part);
    dicore_association_sent(from->association, part);
    const uint8_t *at = chunk.data;
    while (part) {
        dicore_event event;
        size_t consumed = 0;
        (void)dicore_association_receive(to->association, at, part, &consumed, &event);
        user_event(to, &event);
        at += consumed;
        part -= consumed;
    }
    bytes_free(&chunk);
    return true;
}

static void shuttle(user *x, user *y, uint64_t *seed)
{
    for (bool more = true; more;) {
        more = carry(x, y, seed);
        more = carry(y, x, seed) || more;
    }
}

/** Send one message with the given shape of spans and memory; the pieces arrive at `to`. Returns the PDUs' largest length. */
static uint32_t send_message(user *from, user *to, uint8_t context, const dicore_command *c, const uint8_t *data,
                             size_t size, uint32_t flags, uint64_t *seed)
{
    uint8_t set[512], headers[12 * 40];
    dicore_span pieces[40], spans[7];
    dicore_sender sender;
    bytes wire = {0};
    CHECK_EQ(dicore_association_send(from->association, context, c, size, flags, set, sizeof set, &sender), DICORE_OK);
    CHECK_EQ(dicore_association_respond(from->association, context, c), DICORE_BAD_STATE); /* no interleaving */
    CHECK_EQ(dicore_association_release(from->association), DICORE_BAD_STATE);
    dicore_status status;
    size_t supplied = 0;
    int rounds = 0;
    do {
        size_t capacity = 4 + next_random(seed) % 37, arena = 24 + next_random(seed) % (sizeof headers - 24), count = 0;
        status = dicore_sender_next(&sender, headers, arena, pieces, capacity, &count);
        CHECK(status == DICORE_OK || status == DICORE_END);
        CHECK(count <= capacity);
        for (size_t i = 0; i < count; i++)
            bytes_add(&wire, pieces[i].data, pieces[i].size);
        if (status == DICORE_OK && count == 0) {
            size_t spans_now = 0;
            while (spans_now < 7 && supplied < size) {
                size_t part = next_random(seed) % 4 ? next_random(seed) % (size - supplied + 1) : 0;
                spans[spans_now++] = (dicore_span){.data = data + supplied, .size = part};
                supplied += part;
            }
            CHECK_EQ(dicore_sender_supply(&sender, spans, spans_now), DICORE_OK);
        }
        if (++rounds > 1000000)
            abort();
    } while (status != DICORE_END);
    CHECK_EQ(supplied, size);
    uint32_t largest = 0;
    for (size_t at = 0; at < wire.size;) { /* what left is PDUs; each fragment is even */
        uint32_t length = (uint32_t)wire.data[at + 2] << 24 | (uint32_t)wire.data[at + 3] << 16 | (uint32_t)wire.data[at + 4] << 8 | wire.data[at + 5];
        CHECK_EQ(wire.data[at], 4);
        CHECK_EQ(length % 2, 0);
        largest = length > largest ? length : largest;
        at += 6 + length;
        CHECK(at <= wire.size);
    }
    for (size_t at = 0; at < wire.size;) {
        size_t part = 1 + next_random(seed) % (wire.size - at);
        user_feed_copy(to, wire.data + at, part);
        at += part;
    }
    bytes_free(&wire);
    return largest;
}

static void both_roles_back_to_back(void)
{
    static const uint32_t MAXIMA[] = {0, 1, 128, 130, 1000, 16384, 131072, 1u << 20, 0xFFFFFFFF};
    uint64_t seed = 7;
    static uint8_t data[300000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)next_random(&seed);
    for (size_t m = 0; m < sizeof MAXIMA / sizeof *MAXIMA; m++)
        for (uint32_t flags = 0; flags < 2; flags++) {
            dicore_association_options options;
            dicore_association_defaults(&options);
            options.max_length = MAXIMA[m];
            if (MAXIMA[m] == 1)
                continue; /* the peer that cannot be served at its word has a test of its own */
            user scp = {.association = new_association(&options)}, scu = {.association = new_association(NULL), .passive = true};
            CHECK_EQ(request(scu.association, 128), DICORE_OK);
            const uint8_t *waiting;
            size_t size;
            dicore_association_output(scu.association, &waiting, &size);
            CHECK_EQ(size, 0); /* no transport yet */
            dicore_association_connected(scu.association);
            dicore_association_connected(scp.association);
            shuttle(&scu, &scp, &seed);
            CHECK_EQ(dicore_association_state(scu.association), 6);
            CHECK_EQ(dicore_association_state(scp.association), 6);
            CHECK(dicore_association_accepted(scu.association, 255) && dicore_association_accepted(scp.association, 255));
            CHECK(!dicore_association_accepted(scu.association, 2));
            uint32_t bound = MAXIMA[m] == 0 || MAXIMA[m] > 1u << 20 ? 1u << 20 : MAXIMA[m];
            CHECK_EQ(dicore_association_send_length(scu.association), bound);
            static const size_t SIZES[] = {0, 2, 110, 112, 122, 124, 250, 988, 994, 16378, 16380, 131060, 131072, 300000};
            for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++) {
                if (MAXIMA[m] < 1000 && MAXIMA[m] && SIZES[s] > 20000)
                    continue;
                dicore_command c = store_command((uint16_t)(s + 1));
                scp.data.size = 0;
                uint32_t largest = send_message(&scu, &scp, 255, &c, data, SIZES[s], flags, &seed);
                CHECK(largest <= bound);
                CHECK_EQ(scp.data.size, SIZES[s]);
                CHECK(SIZES[s] == 0 || memcmp(scp.data.data, data, SIZES[s]) == 0);
                CHECK(scp.last.kind == DICORE_EVENT_DATA && scp.last.last);
                /* the SCP answers when it has the data set */
                dicore_command response;
                dicore_command_response(&c, 0, &response);
                scu.events = 0;
                for (size_t at = 0; at < scp.output.size; at++) /* it has answered the command at once: see user_event */
                    user_feed_copy(&scu, scp.output.data + at, 1);
                scp.output.size = 0;
                CHECK_EQ(scu.events, 1);
                CHECK_EQ(scu.last.command.command_field, DICORE_C_STORE_RSP);
                CHECK_EQ(scu.last.command.responded_to, s + 1);
                CHECK_EQ(dicore_association_pending(scp.association), 0);
            }
            CHECK_EQ(dicore_association_release(scu.association), DICORE_OK);
            shuttle(&scu, &scp, &seed);
            CHECK(dicore_association_closing(scu.association));
            CHECK_EQ(dicore_association_state(scp.association), 13);
            user_free(&scu);
            user_free(&scp);
            CHECK_EQ(memory.live, 0);
        }
}

static void release_collision_ends_in_peace(void)
{
    uint64_t seed = 3;
    user scp = {.association = new_association(NULL)}, scu = {.association = new_association(NULL)};
    request(scu.association, 1);
    dicore_association_connected(scu.association);
    dicore_association_connected(scp.association);
    shuttle(&scu, &scp, &seed);
    scu.log.size = scp.log.size = 0;
    CHECK_EQ(dicore_association_release(scu.association), DICORE_OK);
    CHECK_EQ(dicore_association_release(scp.association), DICORE_OK);
    shuttle(&scu, &scp, &seed);
    CHECK(log_is(&scu, "release collides\nreleased\n"));
    CHECK(log_is(&scp, "release collides\nreleased, collision\n"));
    CHECK(dicore_association_closing(scu.association));
    CHECK_EQ(dicore_association_state(scp.association), 13);
    user_free(&scu);
    user_free(&scp);
}

static void data_still_arrives_after_we_asked_to_release(void)
{
    user u = in_state(7, true);
    bytes wire = {0};
    dicore_command c = store_command(1);
    add_command(&wire, 1, &c, 0);
    bytes_pdata(&wire, 1, 2, "late", 4);
    bytes_control(&wire, 6, 0, 0, 0);
    CHECK_EQ(user_feed(&u, wire.data, wire.size), DICORE_OK);
    CHECK(u.data.size == 4 && u.last.kind == DICORE_EVENT_RELEASE_RP && !u.last.collision);
    CHECK_EQ(dicore_association_state(u.association), 1);
    user_free(&u);
    bytes_free(&wire);

    u = in_state(8, false); /* and we may still send after the peer asked (AR-7) */
    dicore_command response;
    dicore_command_response(&c, 0, &response);
    CHECK_EQ(dicore_association_respond(u.association, 1, &response), DICORE_OK);
    CHECK_EQ(dicore_association_release_reply(u.association), DICORE_OK);
    user_take_output(&u);
    CHECK(u.output.data[0] == 4 && ends_with_control(&u.output, 6, 0, 0, 0));
    user_free(&u);
}

/* ---- negotiation by the local user ------------------------------------------------------------------------------------ */

static void only_what_was_proposed_can_be_accepted(void)
{
    user u = in_state(3, false);
    dicore_context contexts[3];
    for (int i = 0; i < 3; i++)
        contexts[i] = (dicore_context){.id = (uint8_t)(2 * i + 1), .syntaxes = SYNTAXES, .syntax_count = 1};
    dicore_associate answer = {.contexts = contexts, .context_count = 3, .implementation_uid = text("1.2")};
    dicore_association *a = u.association;
    dicore_span foreign = text("1.2.9");
    dicore_role role = {.sop_class = text("1.2"), .scp = 1};

    answer.context_count = 2;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT); /* one is missing */
    answer.context_count = 3;
    contexts[2].id = 3;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT); /* one twice */
    contexts[2].id = 7;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT); /* one not proposed */
    contexts[2].id = 5;
    contexts[2].syntaxes = &foreign;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT); /* a syntax not proposed */
    contexts[2].syntaxes = SYNTAXES + 1;
    answer.roles = &role;
    answer.role_count = 1;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT);
    answer.role_count = 0;
    answer.has_async = true;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT);
    answer.has_async = false;
    answer.has_identity_response = true;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_BAD_ARGUMENT);
    answer.has_identity_response = false;
    CHECK_EQ(dicore_association_reject(a, 1, 1, 9), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_association_state(a), 3);
    contexts[1].result = 3;
    CHECK_EQ(dicore_association_accept(a, &answer), DICORE_OK);
    CHECK(dicore_association_accepted(a, 1) && !dicore_association_accepted(a, 3) && dicore_association_accepted(a, 5));
    bytes rq = rq_bytes();
    user_take_output(&u);
    CHECK(memcmp(u.output.data + 10, rq.data + 10, 64) == 0); /* table 9-17 */
    bytes_free(&rq);
    user_free(&u);
    CHECK_EQ(memory.live, 0);
}

static void protocol_version_is_bit_0(void)
{
    bytes rq = rq_bytes();
    rq.data[6] = 0x80; /* other versions as well: fine */
    user u = new_acceptor();
    CHECK_EQ(user_feed(&u, rq.data, rq.size), DICORE_OK);
    CHECK_EQ(dicore_association_state(u.association), 6);
    user_free(&u);
    rq.data[7] = 0; /* not version 1 */
    u = new_acceptor();
    CHECK_EQ(user_feed(&u, rq.data, rq.size), DICORE_BAD_PDU);
    CHECK_EQ(u.output.size, 10);
    CHECK(ends_with_control(&u.output, 3, 1, 2, 2));
    CHECK_EQ(dicore_association_state(u.association), 13);
    user_free(&u);
    bytes_free(&rq);
}

static void a_tiny_maximum_is_served_in_sane_pieces(void)
{
    bytes rq = rq_bytes();
    for (size_t i = 0; i + 8 < rq.size; i++)
        if (memcmp(rq.data + i, "\x51\0\0\4\0\x10\0\0", 8) == 0)
            memcpy(rq.data + i + 4, "\0\0\0\1", 4);
    user u = new_acceptor();
    CHECK_EQ(user_feed(&u, rq.data, rq.size), DICORE_OK);
    CHECK_EQ(u.failures, 0);
    CHECK_EQ(dicore_association_send_length(u.association), 128);
    dicore_command c = store_command(1), response; /* 110 bytes: a response of more than one fragment */
    dicore_command_response(&c, 0, &response);
    response.error_comment = text("a comment that makes the command longer than one fragment of 122");
    u.output.size = 0;
    CHECK_EQ(dicore_association_respond(u.association, 1, &response), DICORE_OK);
    user_take_output(&u);
    CHECK_EQ(u.output.data[5], 128);
    CHECK_EQ(u.output.data[11], 1);                   /* command, not last */
    CHECK_EQ(u.output.data[6 + 128 + 11], 3);         /* command, last */
    uint8_t set[512];
    size_t size = 0;
    CHECK_EQ(dicore_command_build(&response, set, sizeof set, &size), DICORE_OK);
    CHECK_EQ(u.output.size, size + 24);
    CHECK(memcmp(u.output.data + 12, set, 122) == 0 && memcmp(u.output.data + 12 + 122 + 12, set + 122, size - 122) == 0);
    user_free(&u);
    bytes_free(&rq);
}

/* ---- hostile peers ----------------------------------------------------------------------------------------------------- */

/** Feed `wire` to an established acceptor: it must fail with `status`, and abort with `reason`. */
static void must_abort(const char *why, const bytes *wire, dicore_status status, uint8_t reason)
{
    for (int single = 0; single < 2; single++) {
        user u = in_state(6, false);
        size_t before = memory.live;
        dicore_status got = DICORE_OK;
        if (!single)
            got = user_feed_copy(&u, wire->data, wire->size);
        for (size_t i = 0; single && i < wire->size && (got == DICORE_OK || got == DICORE_FAILED); i++)
            got = user_feed_copy(&u, wire->data + i, 1);
        if (u.failures != 1 || u.last.status != status || !ends_with_control(&u.output, 7, 0, 2, reason))
            fprintf(stderr, "%s: failures %d status %d reason %d\n", why, u.failures, (int)u.last.status, u.last.reason);
        CHECK_EQ(u.failures, 1);
        CHECK_EQ(u.last.status, status);
        CHECK(ends_with_control(&u.output, 7, 0, 2, reason));
        CHECK_EQ(dicore_association_state(u.association), 13);
        CHECK(memory.live <= before + 4096);
        size_t said = u.output.size; /* what failed stays failed */
        user_feed_copy(&u, wire->data, wire->size);
        CHECK_EQ(u.failures, 1);
        CHECK_EQ(u.output.size, said);
        CHECK_EQ(dicore_association_release(u.association), DICORE_FAILED);
        user_free(&u);
    }
    CHECK_EQ(memory.live, 0);
}

static void hostile_streams_are_aborted(void)
{
    bytes wire = {0};
    dicore_command store = store_command(1), echo = {.present = DICORE_HAS_COMMAND_FIELD, .command_field = DICORE_C_ECHO_RQ};

    bytes_pdu(&wire, 4, 0xFFFFFFFF);
    must_abort("PDU length FFFFFFFF", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdu(&wire, 4, (1u << 20) + 2);
    must_abort("beyond the maximum we announced", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdu(&wire, 4, 0);
    must_abort("P-DATA without a PDV", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdu(&wire, 8, 4);
    must_abort("unknown PDU type", &wire, DICORE_BAD_PDU, 1);
    wire.size = 0;
    bytes_pdu(&wire, 5, 5);
    must_abort("RELEASE-RQ of 5 bytes", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdata(&wire, 7, 3, "", 0);
    must_abort("context that was not proposed", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdata(&wire, 2, 3, "", 0);
    must_abort("even context id", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdu(&wire, 4, 8);
    bytes_u32(&wire, 5);
    bytes_add(&wire, "\1\3\0\0", 4);
    must_abort("PDV beyond its PDU", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdu(&wire, 4, 6);
    bytes_u32(&wire, 1);
    bytes_add(&wire, "\1\3", 2);
    must_abort("PDV of length 1", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdu(&wire, 4, 6 + 3);
    bytes_pdv(&wire, 1, 1, "", 0);
    bytes_add(&wire, "\0\0\0", 3);
    must_abort("three bytes behind the last PDV", &wire, DICORE_BAD_PDU, 6);
    wire.size = 0;
    bytes_pdata(&wire, 1, 0, "data", 4);
    must_abort("data without a command", &wire, DICORE_BAD_PDU, 5);
    wire.size = 0;
    add_command(&wire, 1, &echo, 0);
    bytes_pdata(&wire, 1, 2, "data", 4);
    must_abort("data after a command that has none", &wire, DICORE_BAD_PDU, 5);
    wire.size = 0;
    add_command(&wire, 1, &store, 0);
    bytes_pdata(&wire, 1, 0, "data", 4);
    add_command(&wire, 1, &store, 0);
    must_abort("a command amid a data set", &wire, DICORE_BAD_PDU, 5);
    wire.size = 0;
    add_command(&wire, 1, &store, 0);
    bytes_pdata(&wire, 1, 0, "data", 4);
    bytes_pdata(&wire, 3, 0, "data", 4);
    must_abort("two data sets interleaved", &wire, DICORE_BAD_PDU, 5);
    wire.size = 0;
    bytes_pdata(&wire, 1, 1, "abcd", 4);
    bytes_pdata(&wire, 3, 1, "abcd", 4);
    must_abort("two command sets interleaved", &wire, DICORE_BAD_PDU, 5);
    wire.size = 0;
    bytes_pdata(&wire, 1, 1, "abcd", 4);
    bytes_pdata(&wire, 1, 2, "abcd", 4);
    must_abort("data amid a command set", &wire, DICORE_BAD_PDU, 5);
    wire.size = 0;
    bytes_pdata(&wire, 1, 3, "nonsense", 8);
    must_abort("a command set that is none", &wire, DICORE_BAD_COMMAND, 6);
    wire.size = 0;
    bytes_pdata(&wire, 1, 3, "", 0);
    must_abort("an empty command set", &wire, DICORE_BAD_COMMAND, 6);
    wire.size = 0;
    bytes_pdata(&wire, 1, 1, "abc", 3);
    bytes_pdata(&wire, 1, 3, "", 0);
    must_abort("an odd, incomplete command set", &wire, DICORE_BAD_COMMAND, 6);
    wire.size = 0;
    bytes_pdu(&wire, 4, 70000);
    bytes_u32(&wire, 70000 - 4);
    bytes_add(&wire, "\1\3", 2);
    must_abort("a command set of 70,000 bytes", &wire, DICORE_LIMIT, 0);
    bytes_free(&wire);
}

static void http_is_not_dicom(void)
{
    static const char HTTP[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    user u = new_acceptor();
    CHECK_EQ(user_feed_copy(&u, (const uint8_t *)HTTP, sizeof HTTP - 1), DICORE_BAD_PDU);
    CHECK_EQ(u.last.reason, 1);
    CHECK(ends_with_control(&u.output, 7, 0, 0, 0)); /* Sta2: AA-1, from the user */
    CHECK_EQ(dicore_association_state(u.association), 13);
    user_free(&u);

    u = new_acceptor(); /* a TLS ClientHello */
    CHECK_EQ(user_feed_copy(&u, (const uint8_t *)"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), DICORE_BAD_PDU);
    user_free(&u);
}

static void a_million_empty_fragments_cost_nothing(void)
{
    user u = in_state(6, false);
    dicore_command store = store_command(1);
    bytes wire = {0};
    add_command(&wire, 1, &store, 0);
    for (int i = 0; i < 20; i++) {
        bytes_pdu(&wire, 4, 6 * 50000);
        for (int p = 0; p < 50000; p++)
            bytes_pdv(&wire, 1, 0, "", 0);
    }
    bytes_pdata(&wire, 1, 2, "", 0);
    size_t before = memory.peak = memory.live;
    CHECK_EQ(user_feed(&u, wire.data, wire.size), DICORE_OK);
    CHECK_EQ(u.events, 1 + 2); /* the RQ, the command, the end */
    CHECK(u.last.last && u.last.size == 0);
    CHECK(memory.peak <= before + 1024);
    user_free(&u);
    wire.size = 0; /* the same as command fragments */
    u = in_state(6, false);
    for (int i = 0; i < 100000; i++)
        bytes_pdata(&wire, 1, 1, "", 0);
    CHECK_EQ(user_feed(&u, wire.data, wire.size), DICORE_OK);
    CHECK_EQ(memory.live, before);
    user_free(&u);
    bytes_free(&wire);
}

static void a_command_set_of_64_mib_ends_at_the_limit(void)
{
    user u = in_state(6, false);
    static uint8_t part[16000];
    bytes wire = {0};
    size_t sent = 0;
    memory.peak = memory.live;
    bytes_pdata(&wire, 1, 1, part, sizeof part);
    while (sent < 64u << 20 && user_feed(&u, wire.data, wire.size) == DICORE_OK)
        sent += sizeof part;
    CHECK_EQ(sent, 4 * sizeof part);
    CHECK_EQ(u.last.status, DICORE_LIMIT);
    CHECK(memory.peak < 256u << 10);
    CHECK(ends_with_control(&u.output, 7, 0, 2, 0));
    user_free(&u);
    bytes_free(&wire);
}

static void memory_grows_with_arrival_only(void)
{
    user u = new_acceptor(); /* an RQ that claims 64 KiB and sends 100 bytes */
    bytes wire = {0};
    bytes_pdu(&wire, 1, 65536);
    for (int i = 0; i < 25; i++)
        bytes_u32(&wire, 0);
    size_t before = memory.peak = memory.live;
    CHECK_EQ(user_feed(&u, wire.data, wire.size), DICORE_OK);
    CHECK(memory.peak <= before + 256);
    user_free(&u);
    wire.size = 0;
    bytes_pdu(&wire, 1, 65537);
    u = new_acceptor();
    CHECK_EQ(user_feed(&u, wire.data, wire.size), DICORE_LIMIT);
    CHECK(ends_with_control(&u.output, 7, 0, 0, 0));
    user_free(&u);
    bytes_free(&wire);

    u = in_state(6, false); /* an idle association is about 1 KiB */
    CHECK(memory.live <= 1024);
    printf("idle association: %zu bytes\n", memory.live);
    user_free(&u);
    CHECK_EQ(memory.live, 0);
}

static void a_broken_rq_is_aborted_with_its_offset(void)
{
    bytes rq = rq_bytes();
    size_t item = 6 + 68; /* the application context item */
    rq.data[item + 2] = 0xFF;
    user u = new_acceptor();
    CHECK_EQ(user_feed_copy(&u, rq.data, rq.size), DICORE_BAD_PDU);
    CHECK_EQ(u.last.offset, item);
    CHECK_EQ(u.last.reason, 6);
    user_free(&u);
    bytes_free(&rq);
    CHECK_EQ(memory.live, 0);
}

static void abort_amid_a_pdv(void)
{
    user u = in_state(6, false); /* the peer's "abort" inside the fragment is data; a real one comes behind it */
    dicore_command store = store_command(1);
    bytes wire = {0};
    add_command(&wire, 1, &store, 0);
    uint8_t abort_pdu[10] = {7, 0, 0, 0, 0, 4, 0, 0, 2, 5};
    bytes_pdata(&wire, 1, 0, abort_pdu, 10);
    bytes_add(&wire, abort_pdu, 10);
    CHECK_EQ(user_feed(&u, wire.data, wire.size), DICORE_OK);
    CHECK_EQ(u.data.size, 10);
    CHECK(u.last.kind == DICORE_EVENT_ABORT && u.last.source == 2 && u.last.reason == 5);
    CHECK(dicore_association_closing(u.association));
    user_free(&u);

    u = in_state(6, false); /* and ours amid the peer's fragment: the rest is skipped, then its PDUs are ignored */
    user_feed(&u, wire.data, wire.size - 15);
    CHECK_EQ(dicore_association_abort(u.association, 2, 5), DICORE_OK);
    CHECK_EQ(dicore_association_abort(u.association, 2, 3), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_association_abort(u.association, 0, 1), DICORE_BAD_ARGUMENT);
    user_take_output(&u);
    CHECK(ends_with_control(&u.output, 7, 0, 2, 5));
    int events = u.events;
    CHECK_EQ(user_feed(&u, wire.data + wire.size - 15, 5), DICORE_OK);
    bytes more = {0};
    bytes_control(&more, 5, 0, 0, 0); /* ignored: AA-6 */
    bytes_pdata(&more, 1, 0, "more", 4);
    CHECK_EQ(user_feed(&u, more.data, more.size), DICORE_OK);
    CHECK_EQ(u.events, events);
    CHECK(!dicore_association_closing(u.association));
    CHECK_EQ(user_feed(&u, abort_pdu, 10), DICORE_OK); /* AA-2 */
    CHECK(dicore_association_closing(u.association));
    user_free(&u);
    bytes_free(&more);
    bytes_free(&wire);
    CHECK_EQ(memory.live, 0);
}

static void abort_amid_a_pdu_of_ours_only_closes(void)
{
    user u = in_state(6, true);
    uint8_t set[512], headers[64];
    dicore_span pieces[8], part = {.data = (const uint8_t *)"half", .size = 4};
    dicore_sender sender;
    size_t count = 0;
    dicore_command c = store_command(1);
    CHECK_EQ(dicore_association_send(u.association, 1, &c, 3, 0, set, sizeof set, &sender), DICORE_BAD_ARGUMENT); /* odd */
    CHECK_EQ(dicore_association_send(u.association, 7, &c, 8, 0, set, sizeof set, &sender), DICORE_BAD_ARGUMENT); /* context */
    CHECK_EQ(dicore_association_send(u.association, 1, &c, 8, 0, set, 20, &sender), DICORE_NO_MEMORY);
    CHECK_EQ(dicore_association_send(u.association, 1, &c, 8, 0, set, sizeof set, &sender), DICORE_OK);
    CHECK_EQ(dicore_sender_supply(&sender, &part, 1), DICORE_OK);
    CHECK_EQ(dicore_sender_next(&sender, headers, sizeof headers, pieces, 3, &count), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_sender_next(&sender, headers, sizeof headers, pieces, 8, &count), DICORE_OK);
    CHECK_EQ(count, 4);
    CHECK_EQ(dicore_sender_supply(&sender, (dicore_span[]){part, part}, 2), DICORE_BAD_ARGUMENT); /* 12 of 8 bytes */
    CHECK_EQ(dicore_association_abort(u.association, 0, 0), DICORE_OK);
    CHECK(dicore_association_closing(u.association));
    user_take_output(&u);
    CHECK_EQ(u.output.size, 0);
    CHECK_EQ(dicore_sender_next(&sender, headers, sizeof headers, pieces, 8, &count), DICORE_BAD_STATE);
    user_free(&u);
}

/* ---- times ------------------------------------------------------------------------------------------------------------- */

/* A PDU of 1 MiB that comes a byte at a time: the bytes of one network_timeout have to be DICORE_PROGRESS. */
static void dripping_bytes_are_no_progress(void)
{
    dicore_event event;
    user u = new_acceptor();
    dicore_association *a = u.association;
    bytes wire = rq_bytes();
    user_feed(&u, wire.data, wire.size);
    wire.size = 0;
    dicore_command store = store_command(1);
    add_command(&wire, 1, &store, 0);
    u.passive = true;
    user_feed(&u, wire.data, wire.size);
    static const uint8_t head[] = {4, 0, 0, 0x0F, 0, 0, 0, 0x0E, 0xFF, 0xFC, 1, 0};
    user_feed(&u, head, sizeof head);
    CHECK_EQ(dicore_association_deadline(a, 1000), 61000);
    const uint8_t one = 0;
    for (int i = 0; i < DICORE_PROGRESS - 1; i++) {
        user_feed(&u, &one, 1);
        CHECK_EQ(dicore_association_deadline(a, 1001), 61000);
    }
    user_feed(&u, &one, 1);
    CHECK_EQ(dicore_association_deadline(a, 50000), 110000); /* enough of them are */
    user_feed(&u, &one, 1);
    CHECK_EQ(dicore_association_deadline(a, 109000), 110000);
    static const uint8_t lot[DICORE_PROGRESS];
    user_feed(&u, lot, sizeof lot);
    CHECK_EQ(dicore_association_deadline(a, 109000), 169000);
    dicore_association_tick(a, 169000, &event);
    CHECK_EQ(event.kind, DICORE_EVENT_TIMEOUT);
    CHECK_EQ(event.timeout, DICORE_TIMEOUT_NETWORK);
    user_free(&u);
    bytes_free(&wire);
    u = new_acceptor(); /* but whole commands are, however small */
    a = u.association;
    wire = rq_bytes();
    user_feed(&u, wire.data, wire.size);
    wire.size = 0;
    add_command(&wire, 1, &store, 0);
    u.passive = true;
    user_feed(&u, wire.data, wire.size);
    CHECK_EQ(dicore_association_deadline(a, 1000), 61000);
    static const uint8_t end[] = {4, 0, 0, 0, 0, 6, 0, 0, 0, 2, 1, 2};
    user_feed(&u, end, sizeof end);
    user_feed(&u, wire.data, wire.size);
    CHECK_EQ(dicore_association_deadline(a, 31000), 91000);
    user_free(&u);
    bytes_free(&wire);
}

static void timers_run_when_the_table_says_so(void)
{
    dicore_event event;
    user u = new_acceptor();
    dicore_association *a = u.association;
    CHECK_EQ(dicore_association_deadline(a, 100), 30100); /* ARTIM from accept */
    bytes wire = rq_bytes();
    user_feed(&u, wire.data, 10);
    CHECK_EQ(dicore_association_deadline(a, 20000), 30100); /* and bytes do not restart it */
    dicore_association_touch(a);
    CHECK_EQ(dicore_association_deadline(a, 20000), 30100);
    user_feed(&u, wire.data + 10, wire.size - 10);
    CHECK_EQ(dicore_association_state(a), 6);
    CHECK_EQ(dicore_association_deadline(a, 25000), 325000); /* idle */
    dicore_association_tick(a, 324999, &event);
    CHECK_EQ(event.kind, DICORE_EVENT_NONE);
    wire.size = 0;
    dicore_command store = store_command(1);
    add_command(&wire, 1, &store, 0);
    bytes_pdata(&wire, 1, 2, "data", 4);
    u.passive = true;
    user_feed(&u, wire.data, wire.size - 2);
    CHECK_EQ(dicore_association_deadline(a, 326000), 386000); /* amid a message: network */
    user_feed(&u, wire.data + wire.size - 2, 1);
    CHECK_EQ(dicore_association_deadline(a, 380000), 386000); /* a byte does not restart it */
    dicore_association_touch(a);
    CHECK_EQ(dicore_association_deadline(a, 390000), 450000);
    user_feed(&u, wire.data + wire.size - 1, 1);
    CHECK_EQ(dicore_association_pending(a), 1);
    CHECK_EQ(dicore_association_deadline(a, 400000), UINT64_MAX); /* our turn */
    dicore_command response;
    dicore_command_response(&store, 0, &response);
    CHECK_EQ(dicore_association_respond(a, 1, &response), DICORE_OK);
    CHECK_EQ(dicore_association_pending(a), 0);
    CHECK_EQ(dicore_association_deadline(a, 400000), 460000); /* the answer does not get out */
    user_take_output(&u);
    CHECK_EQ(dicore_association_deadline(a, 401000), 701000); /* idle again */
    dicore_association_tick(a, 701000, &event);
    CHECK_EQ(event.kind, DICORE_EVENT_TIMEOUT);
    CHECK_EQ(event.timeout, DICORE_TIMEOUT_IDLE);
    user_take_output(&u);
    CHECK(ends_with_control(&u.output, 7, 0, 0, 0));
    CHECK(!dicore_association_closing(a));
    CHECK_EQ(dicore_association_deadline(a, 701000), 731000); /* ARTIM */
    dicore_association_tick(a, 731000, &event);
    CHECK_EQ(event.timeout, DICORE_TIMEOUT_ARTIM);
    CHECK(dicore_association_closing(a));
    CHECK_EQ(dicore_association_deadline(a, 731000), UINT64_MAX);
    user_free(&u);
    bytes_free(&wire);

    u = in_state(1, true);
    dicore_association_free(u.association);
    u.association = a = new_association(NULL);
    request(a, 1);
    CHECK_EQ(dicore_association_deadline(a, 0), UINT64_MAX); /* connecting is the driver's */
    dicore_association_connected(a);
    CHECK_EQ(dicore_association_deadline(a, 5), 30005);
    dicore_association_tick(a, 30005, &event);
    CHECK_EQ(event.timeout, DICORE_TIMEOUT_REQUEST);
    CHECK_EQ(dicore_association_state(a), 13);
    user_free(&u);

    u = (user){.association = a = new_association(NULL), .passive = true};
    request(a, 3);
    dicore_association_connected(a);
    user_take_output(&u);
    wire = ac_bytes();
    user_feed(&u, wire.data, wire.size);
    dicore_command echo = {.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID, .command_field = DICORE_C_ECHO_RQ, .message_id = 9};
    CHECK_EQ(dicore_association_respond(a, 1, &echo), DICORE_OK); /* it is the way to send any command without data */
    user_take_output(&u);
    CHECK_EQ(dicore_association_deadline(a, 0), 60000);
    dicore_association_tick(a, 60000, &event);
    CHECK_EQ(event.timeout, DICORE_TIMEOUT_DIMSE);
    user_free(&u);
    bytes_free(&wire);
    CHECK_EQ(memory.live, 0);
}

static void output_has_a_limit(void)
{
    user u = in_state(6, false);
    dicore_command store = store_command(1), response;
    dicore_command_response(&store, 0, &response);
    dicore_status status = DICORE_OK;
    int queued = 0;
    while (queued < 100000 && (status = dicore_association_respond(u.association, 1, &response)) == DICORE_OK)
        queued++;
    CHECK_EQ(status, DICORE_LIMIT);
    CHECK(queued > 5000 && memory.live < 4u << 20);
    CHECK_EQ(dicore_association_abort(u.association, 0, 0), DICORE_OK); /* for which there is room always */
    user_take_output(&u);
    CHECK(ends_with_control(&u.output, 7, 0, 0, 0));
    CHECK_EQ(u.output.size % ((u.output.size - 10) / (size_t)queued), 10);
    user_free(&u);
    CHECK_EQ(memory.live, 0);
}

/** Everything that can be negotiated, granted; then each thing beyond what was offered, refused. */
static void grants_stay_within_the_proposal(void)
{
    dicore_context proposed = {.id = 9, .abstract_syntax = text("1.2"), .syntaxes = SYNTAXES, .syntax_count = 2};
    dicore_role role = {.sop_class = text("1.2"), .scu = 0, .scp = 1};
    dicore_extended extended = {.item = 0x56, .sop_class = text("1.2"), .information = text("ab")};
    dicore_associate rq = {.called_ae = text("CALLED"), .calling_ae = text("CALLING"), .contexts = &proposed, .context_count = 1,
                           .implementation_uid = text("1.2.3"), .has_async = true, .async_invoked = 4, .async_performed = 0,
                           .roles = &role, .role_count = 1, .extended = &extended, .extended_count = 1, .identity_type = 1,
                           .identity_wants_response = true, .identity_primary = text("me")};
    user scu = {.association = new_association(NULL), .passive = true}, scp = {.association = new_association(NULL), .passive = true};
    CHECK_EQ(dicore_association_request(scu.association, &rq), DICORE_OK);
    CHECK_EQ(dicore_association_request(scu.association, &rq), DICORE_BAD_STATE);
    dicore_association_connected(scu.association);
    dicore_association_connected(scp.association);
    user_take_output(&scu);
    CHECK_EQ(user_feed_copy(&scp, scu.output.data, scu.output.size), DICORE_OK);
    CHECK_EQ(dicore_association_state(scp.association), 3);

    dicore_role granted = {.sop_class = text("1.2"), .scu = 0, .scp = 1}, too_much = {.sop_class = text("1.2"), .scu = 1, .scp = 1};
    dicore_extended shorter = {.item = 0x56, .sop_class = text("1.2"), .information = text("a")};
    dicore_extended longer = {.item = 0x56, .sop_class = text("1.2"), .information = text("abc")};
    dicore_extended foreign = {.item = 0x57, .sop_class = text("1.2")};
    dicore_context given = {.id = 9, .syntaxes = SYNTAXES + 1, .syntax_count = 1};
    const dicore_associate good = {.contexts = &given, .context_count = 1, .implementation_uid = text("1.2"), .has_async = true,
                                   .async_invoked = 2, .async_performed = 0, .roles = &granted, .role_count = 1,
                                   .extended = &shorter, .extended_count = 1, .has_identity_response = true,
                                   .identity_response = text("ok")};
    dicore_associate bad = good;
    bad.roles = &too_much;
    CHECK_EQ(dicore_association_accept(scp.association, &bad), DICORE_BAD_ARGUMENT);
    bad = good;
    bad.extended = &longer;
    CHECK_EQ(dicore_association_accept(scp.association, &bad), DICORE_BAD_ARGUMENT);
    bad.extended = &foreign;
    CHECK_EQ(dicore_association_accept(scp.association, &bad), DICORE_BAD_ARGUMENT);
    bad = good;
    bad.async_invoked = 5;
    CHECK_EQ(dicore_association_accept(scp.association, &bad), DICORE_BAD_ARGUMENT);
    bad.async_invoked = 0; /* unlimited is more than 4 */
    CHECK_EQ(dicore_association_accept(scp.association, &bad), DICORE_BAD_ARGUMENT);
    bad = good;
    bad.implementation_uid = text("");
    CHECK_EQ(dicore_association_accept(scp.association, &bad), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_association_accept(scp.association, &good), DICORE_OK);
    CHECK_EQ(dicore_association_accept(scp.association, &good), DICORE_BAD_STATE);

    const uint8_t *ac;
    size_t size, consumed = 0;
    dicore_event event;
    dicore_association_output(scp.association, &ac, &size);
    CHECK_EQ(dicore_association_receive(scu.association, ac, size, &consumed, &event), DICORE_OK);
    CHECK_EQ(event.kind, DICORE_EVENT_ASSOCIATE_AC);
    const dicore_associate *a = event.associate;
    CHECK(a->has_async && a->async_invoked == 2 && a->async_performed == 0);
    CHECK(a->role_count == 1 && a->roles[0].scu == 0 && a->roles[0].scp == 1);
    CHECK(a->extended_count == 1 && a->extended[0].information.size == 1);
    CHECK(a->has_identity_response && a->identity_response.size == 2);
    CHECK(a->context_count == 1 && a->contexts[0].syntaxes[0].size == 17);
    CHECK_EQ(dicore_association_received(scu.association), size);
    user_free(&scu);
    user_free(&scp);

    user u = in_state(3, false); /* everything refused, without syntaxes: no context is usable afterwards */
    dicore_context refused[3] = {{.id = 1, .result = 1}, {.id = 3, .result = 3}, {.id = 5, .result = 4}};
    dicore_associate answer = {.contexts = refused, .context_count = 3, .implementation_uid = text("1.2")};
    CHECK_EQ(dicore_association_accept(u.association, &answer), DICORE_OK);
    user_take_output(&u);
    user v = in_state(5, true);
    CHECK_EQ(user_feed(&v, u.output.data, u.output.size), DICORE_OK);
    CHECK_EQ(dicore_association_state(v.association), 6);
    CHECK(!dicore_association_accepted(v.association, 1) && !dicore_association_accepted(v.association, 3));
    dicore_command echo = {.present = DICORE_HAS_COMMAND_FIELD, .command_field = DICORE_C_ECHO_RQ};
    CHECK_EQ(dicore_association_respond(v.association, 1, &echo), DICORE_BAD_ARGUMENT);
    user_free(&u);
    user_free(&v);
    CHECK_EQ(memory.live, 0);
}

static void output_survives_partial_sends(void)
{
    user u = in_state(6, false);
    uint64_t seed = 11;
    dicore_command store = store_command(1), response;
    uint8_t one[512];
    size_t one_size = 0, queued = 0;
    dicore_command_response(&store, 0, &response);
    CHECK_EQ(dicore_command_build(&response, one, sizeof one, &one_size), DICORE_OK);
    for (int round = 0; round < 2000; round++) {
        response.responded_to = (uint16_t)queued;
        if (next_random(&seed) % 2) {
            CHECK_EQ(dicore_association_respond(u.association, 1, &response), DICORE_OK);
            queued++;
        } else {
            const uint8_t *data;
            size_t size;
            dicore_association_output(u.association, &data, &size);
            size = size ? next_random(&seed) % (size + 1) : 0;
            bytes_add(&u.output, data, size);
            dicore_association_sent(u.association, size);
        }
    }
    user_take_output(&u);
    CHECK_EQ(u.output.size, queued * (one_size + 12));
    user reader = in_state(6, true);
    CHECK_EQ(user_feed(&reader, u.output.data, u.output.size), DICORE_OK);
    CHECK_EQ((size_t)reader.events, queued + 1); /* and the AC: whole and in order */
    CHECK_EQ(reader.last.command.responded_to, queued - 1);
    user_free(&u);
    user_free(&reader);
    CHECK_EQ(memory.live, 0);
}

int main(void)
{
    the_whole_state_table();
    every_split_gives_the_same_events();
    every_cut_ends_cleanly();
    wanted_leads_through_the_stream();
    no_memory_fails_and_leaks_nothing();
    both_roles_back_to_back();
    release_collision_ends_in_peace();
    data_still_arrives_after_we_asked_to_release();
    only_what_was_proposed_can_be_accepted();
    protocol_version_is_bit_0();
    a_tiny_maximum_is_served_in_sane_pieces();
    hostile_streams_are_aborted();
    http_is_not_dicom();
    a_million_empty_fragments_cost_nothing();
    a_command_set_of_64_mib_ends_at_the_limit();
    memory_grows_with_arrival_only();
    a_broken_rq_is_aborted_with_its_offset();
    abort_amid_a_pdv();
    abort_amid_a_pdu_of_ours_only_closes();
    dripping_bytes_are_no_progress();
    timers_run_when_the_table_says_so();
    output_has_a_limit();
    output_survives_partial_sends();
    grants_stay_within_the_proposal();
    return check_result("test_association");
}
