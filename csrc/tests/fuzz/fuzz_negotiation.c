/* A-ASSOCIATE-RQ, -AC and -RJ with all their items, and every answer that a policy may give to a proposal: what is read can be
 * said again, what may be answered is what the standard allows, and both sides come to the same result.
 *
 * Input: a byte (its low two bits: 0, 3 RQ, 1 AC, 2 RJ), 8 bytes of policy, the body of the PDU. */
#include "fuzz.h"
#include "wire.h"

#include "net/pdu.h"

static bool same(dicore_span a, dicore_span b) { return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0); }

/** The span lies within the body, or is empty. */
static void inside(dicore_span s, const uint8_t *body, size_t size)
{
    MUST(s.size == 0 || (s.data >= body && s.size <= size && s.data + s.size <= body + size));
}

static void all_inside(const dicore_associate *a, const uint8_t *body, size_t size)
{
    const dicore_span spans[] = {a->called_ae, a->calling_ae, a->application_context, a->implementation_uid,
                                 a->implementation_version, a->identity_primary, a->identity_secondary, a->identity_response};
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++)
        inside(spans[i], body, size);
    MUST(a->context_count <= 128 && a->block_size <= 8 * size + 8192);
    for (size_t i = 0; i < a->context_count; i++) {
        MUST(a->contexts[i].id & 1);
        inside(a->contexts[i].abstract_syntax, body, size);
        for (size_t s = 0; s < a->contexts[i].syntax_count; s++)
            inside(a->contexts[i].syntaxes[s], body, size);
    }
    for (size_t i = 0; i < a->role_count; i++)
        inside(a->roles[i].sop_class, body, size);
    for (size_t i = 0; i < a->extended_count; i++) {
        inside(a->extended[i].sop_class, body, size);
        inside(a->extended[i].information, body, size);
    }
}

static bool equal(const dicore_associate *a, const dicore_associate *b)
{
    if (!same(a->called_ae, b->called_ae) || !same(a->calling_ae, b->calling_ae) || a->context_count != b->context_count ||
        !same(a->implementation_uid, b->implementation_uid) || !same(a->implementation_version, b->implementation_version) ||
        a->has_async != b->has_async || a->async_invoked != b->async_invoked || a->async_performed != b->async_performed ||
        a->role_count != b->role_count || a->extended_count != b->extended_count || a->identity_type != b->identity_type ||
        a->has_identity_response != b->has_identity_response || !same(a->identity_response, b->identity_response))
        return false;
    if (a->identity_type && (a->identity_wants_response != b->identity_wants_response ||
                             !same(a->identity_primary, b->identity_primary) || !same(a->identity_secondary, b->identity_secondary)))
        return false;
    for (size_t i = 0; i < a->context_count; i++) {
        const dicore_context *x = &a->contexts[i], *y = &b->contexts[i];
        if (x->id != y->id || x->result != y->result || !same(x->abstract_syntax, y->abstract_syntax) ||
            x->syntax_count != y->syntax_count)
            return false;
        for (size_t s = 0; s < x->syntax_count; s++)
            if (!same(x->syntaxes[s], y->syntaxes[s]))
                return false;
    }
    for (size_t i = 0; i < a->role_count; i++)
        if (!same(a->roles[i].sop_class, b->roles[i].sop_class) || a->roles[i].scu != b->roles[i].scu ||
            a->roles[i].scp != b->roles[i].scp)
            return false;
    for (size_t i = 0; i < a->extended_count; i++)
        if (a->extended[i].item != b->extended[i].item || !same(a->extended[i].sop_class, b->extended[i].sop_class) ||
            !same(a->extended[i].information, b->extended[i].information))
            return false;
    return true;
}

/** What was read, said again, in a block of its exact size; NULL when it may not be said. */
static uint8_t *rebuilt(uint8_t type, const dicore_associate *a, size_t *size)
{
    const dicore_status status = dicore_associate_build(type, a, a->max_length, NULL, 0, size);
    MUST(status == DICORE_NO_MEMORY || status == DICORE_BAD_ARGUMENT);
    if (status == DICORE_BAD_ARGUMENT)
        return NULL;
    uint8_t *memory = malloc(*size);
    size_t again = 0;
    MUST(memory);
    MUST(dicore_associate_build(type, a, a->max_length, memory, *size, &again) == DICORE_OK && again == *size);
    return memory;
}

/** Parse it; every item again; said again and read again it is the same. */
static bool reads(uint8_t type, const uint8_t *body, size_t size, const dicore_allocator *allocator, dicore_associate *a)
{
    dicore_error error = {0};
    const dicore_status status = dicore_associate_parse(type, body, size, allocator, a, &error);
    if (status != DICORE_OK) {
        MUST(status == DICORE_BAD_PDU && error.status == status && error.offset <= size);
        return false;
    }
    all_inside(a, body, size);
    size_t first, second;
    uint8_t *one = rebuilt(type, a, &first);
    if (one) {
        dicore_associate again;
        MUST(one[0] == type && load_u32be(one + 2) == first - 6);
        MUST(dicore_associate_parse(type, one + 6, first - 6, allocator, &again, NULL) == DICORE_OK);
        MUST(equal(a, &again) && again.max_length == a->max_length);
        uint8_t *two = rebuilt(type, &again, &second);
        MUST(two && first == second && memcmp(one, two, first) == 0);
        free(two);
        free(one);
        dicore_associate_free(&again, allocator);
    }
    return true;
}

static void prefix(uint8_t type, const uint8_t *body, size_t size, const dicore_allocator *allocator)
{
    uint8_t *copy = malloc(size ? size : 1);
    MUST(copy);
    if (size)
        memcpy(copy, body, size);
    dicore_associate a;
    if (reads(type, copy, size, allocator, &a))
        dicore_associate_free(&a, allocator);
    free(copy);
}

/** Feed a PDU in reads of `step` bytes; the one event that it must bring. */
static dicore_event feed(dicore_association *a, uint8_t type, const uint8_t *body, size_t size, size_t step)
{
    uint8_t head[6];
    dicore_event event = {0};
    size_t consumed;
    pdu_write(head, type, (uint32_t)size);
    MUST(dicore_association_receive(a, head, 6, &consumed, &event) == DICORE_OK || event.kind == DICORE_EVENT_FAILED);
    for (size_t at = 0; event.kind == DICORE_EVENT_NONE && (at < size || (at == 0 && size == 0)); at += step) {
        const size_t part = size - at < step ? size - at : step;
        (void)dicore_association_receive(a, body + at, part, &consumed, &event);
        MUST(consumed == part);
        if (size == 0)
            break;
    }
    return event;
}

static dicore_association *requestor(const dicore_associate *rq, const dicore_allocator *allocator)
{
    dicore_association *a = dicore_association_new(NULL, allocator);
    MUST(a);
    if (dicore_association_request(a, rq) != DICORE_OK) {
        dicore_association_free(a);
        return NULL;
    }
    MUST(dicore_association_connected(a) == DICORE_OK);
    return a;
}

/* ---- policies -------------------------------------------------------------------------------------------------------------- */

enum { WINDOW_RAISED = 1, ROLE_INVENTED, CONTEXT_MISSING, CONTEXT_TWICE, SYNTAX_INVENTED, RESPONSE_UNASKED, EXTENSION_LONGER, ILLEGAL };

typedef struct answer {
    dicore_associate ac;
    dicore_context contexts[129];
    dicore_role roles[16];
    dicore_extended extended[16];
} answer;

static uint16_t lowered(uint16_t offered, uint8_t by) { return offered == 0 ? by : (uint16_t)(1 + by % offered); }

/** What a policy of 8 bytes answers: within what was proposed, but for the one liberty of `wrong`. False: it cannot be taken here. */
static bool decide(const dicore_associate *rq, const uint8_t policy[8], int wrong, answer *out)
{
    static const dicore_span INVENTED = {(const uint8_t *)"1.2.3.4.5.6.7.8.9", 17};
    *out = (answer){.ac = {.implementation_uid = text("1.2.3"), .context_count = rq->context_count, .contexts = out->contexts,
                           .roles = out->roles, .extended = out->extended}};
    for (size_t i = 0; i < rq->context_count; i++) {
        const dicore_context *asked = &rq->contexts[i];
        dicore_context *given = &out->contexts[i];
        *given = (dicore_context){.id = asked->id, .result = (uint8_t)((policy[0] >> (i & 7) & 1) ? 1 + policy[1] % 4 : 0)};
        if (given->result == 0 && asked->syntax_count) {
            given->syntaxes = &asked->syntaxes[policy[2] % asked->syntax_count];
            given->syntax_count = 1;
        }
        if (given->result == 0 && (given->syntax_count == 0 || given->syntaxes->size == 0 || given->syntaxes->size > 64)) {
            given->result = 4;
            given->syntax_count = 0;
        }
    }
    if (rq->has_async && policy[3] & 1) {
        out->ac.has_async = true;
        out->ac.async_invoked = lowered(rq->async_invoked, policy[4]);
        out->ac.async_performed = lowered(rq->async_performed, policy[5]);
    }
    for (size_t i = 0; i < rq->role_count && i < 16 && policy[3] & 2; i++) {
        bool before = false; /* of two items for one class the first counts */
        for (size_t j = 0; j < i; j++)
            before = before || same(rq->roles[j].sop_class, rq->roles[i].sop_class);
        if (before)
            continue;
        dicore_role *role = &out->roles[out->ac.role_count++];
        *role = rq->roles[i];
        role->scu = role->scu && (policy[6] & 1);
        role->scp = role->scp && (policy[6] & 2);
    }
    for (size_t i = 0; i < rq->extended_count && i < 16 && policy[3] & 4; i++) {
        bool before = false;
        for (size_t j = 0; j < i; j++)
            before = before || (rq->extended[j].item == rq->extended[i].item && same(rq->extended[j].sop_class, rq->extended[i].sop_class));
        if (before)
            continue;
        dicore_extended *e = &out->extended[out->ac.extended_count++];
        *e = rq->extended[i];
        if (e->information.size)
            e->information.size = policy[7] % (e->information.size + 1);
    }
    if (rq->identity_wants_response && policy[3] & 8) {
        out->ac.has_identity_response = true;
        out->ac.identity_response = text("token");
    }
    switch (wrong) {
    case 0: return true;
    case WINDOW_RAISED:
        out->ac.has_async = true;
        out->ac.async_invoked = rq->has_async ? (uint16_t)(rq->async_invoked + 1) : 1;
        out->ac.async_performed = 1;
        return !rq->has_async || (rq->async_invoked != 0 && rq->async_invoked != UINT16_MAX);
    case ROLE_INVENTED:
        out->roles[0] = (dicore_role){.sop_class = INVENTED, .scu = 1, .scp = 1};
        out->ac.role_count = 1;
        for (size_t i = 0; i < rq->role_count; i++)
            if (same(rq->roles[i].sop_class, INVENTED))
                return false;
        return true;
    case CONTEXT_MISSING:
        if (rq->context_count)
            out->ac.context_count--;
        return rq->context_count != 0;
    case CONTEXT_TWICE:
        if (rq->context_count > 1)
            out->contexts[0] = out->contexts[1];
        return rq->context_count > 1;
    case SYNTAX_INVENTED:
        if (rq->context_count) {
            out->contexts[0].result = 0;
            out->contexts[0].syntaxes = &INVENTED;
            out->contexts[0].syntax_count = 1;
            for (size_t s = 0; s < rq->contexts[0].syntax_count; s++)
                if (same(rq->contexts[0].syntaxes[s], INVENTED))
                    return false;
        }
        return rq->context_count != 0;
    case RESPONSE_UNASKED: out->ac.has_identity_response = true; return !rq->identity_wants_response;
    default: /* EXTENSION_LONGER: of a class that was not mentioned every byte is too many */
        out->extended[0] = (dicore_extended){.item = 0x56, .sop_class = INVENTED, .information = text("1")};
        out->ac.extended_count = 1;
        for (size_t i = 0; i < rq->extended_count; i++)
            if (same(rq->extended[i].sop_class, INVENTED))
                return false;
        return true;
    }
}

static void proposed(const uint8_t *body, size_t size, const uint8_t policy[8], const dicore_allocator *allocator)
{
    dicore_associate read;
    const bool legible = reads(PDU_ASSOCIATE_RQ, body, size, allocator, &read);
    dicore_association *scp = dicore_association_new(NULL, allocator);
    MUST(scp && dicore_association_connected(scp) == DICORE_OK);
    dicore_event event = feed(scp, PDU_ASSOCIATE_RQ, body, size, 1 + policy[7] * 7u);
    if (!legible || !(read.protocol_version & 1)) { /* PS3.8 9.3.2: bit 0 of the version is what counts */
        MUST(event.kind == DICORE_EVENT_FAILED && dicore_association_state(scp) == 13);
        const uint8_t *out;
        size_t out_size;
        dicore_association_output(scp, &out, &out_size);
        MUST(out_size == 10 && out[0] == (legible ? PDU_ASSOCIATE_RJ : PDU_ABORT));
        dicore_association_free(scp);
        if (legible)
            dicore_associate_free(&read, allocator);
        return;
    }
    MUST(event.kind == DICORE_EVENT_ASSOCIATE_RQ && equal(event.associate, &read));
    static answer given;
    for (int wrong = 1; wrong < ILLEGAL; wrong++)
        if (decide(event.associate, policy, wrong, &given))
            MUST(dicore_association_accept(scp, &given.ac) == DICORE_BAD_ARGUMENT && dicore_association_state(scp) == 3);
    MUST(decide(event.associate, policy, 0, &given));
    dicore_association *scu = requestor(&read, allocator);
    MUST(dicore_association_accept(scp, &given.ac) == DICORE_OK && dicore_association_state(scp) == 6);
    MUST(dicore_association_send_length(scp) >= 128);
    MUST(read.max_length == 0 || read.max_length < 128 || dicore_association_send_length(scp) <= read.max_length);
    const uint8_t *out;
    size_t out_size, consumed;
    dicore_association_output(scp, &out, &out_size);
    MUST(out_size > 74 && out[0] == PDU_ASSOCIATE_AC && memcmp(out + 10, body + 4, 64) == 0); /* the titles as they came */
    uint8_t *ac = malloc(out_size);
    MUST(ac);
    memcpy(ac, out, out_size);
    dicore_association_sent(scp, out_size);
    if (scu) {
        MUST(dicore_association_receive(scu, ac, out_size, &consumed, &event) == DICORE_OK && consumed == out_size);
        MUST(event.kind == DICORE_EVENT_ASSOCIATE_AC && event.associate->context_count == read.context_count);
        MUST(event.associate->role_count == given.ac.role_count && event.associate->extended_count == given.ac.extended_count &&
             event.associate->has_async == given.ac.has_async && event.associate->async_invoked == given.ac.async_invoked &&
             event.associate->has_identity_response == given.ac.has_identity_response);
        for (unsigned id = 0; id < 256; id++)
            MUST(dicore_association_accepted(scu, (uint8_t)id) == dicore_association_accepted(scp, (uint8_t)id));
        dicore_association_free(scu);
    }
    free(ac);
    dicore_association_free(scp);
    dicore_associate_free(&read, allocator);
}

static void answered(uint8_t type, const uint8_t *body, size_t size, const uint8_t policy[8], const dicore_allocator *allocator)
{
    static const dicore_span SYNTAX = {(const uint8_t *)"1.2.840.10008.1.2", 17};
    dicore_context contexts[64];
    for (size_t i = 0; i < 64; i++)
        contexts[i] = (dicore_context){.id = (uint8_t)(2 * i + 1), .abstract_syntax = text("1.2.840.10008.1.1"),
                                       .syntaxes = &SYNTAX, .syntax_count = 1};
    const dicore_associate rq = {.called_ae = text("A"), .calling_ae = text("B"), .contexts = contexts, .context_count = 64,
                                 .implementation_uid = text("1.2.3")};
    dicore_association *scu = requestor(&rq, allocator);
    MUST(scu);
    const dicore_event event = feed(scu, type, body, size, 1 + policy[7] * 7u);
    if (type == PDU_ASSOCIATE_RJ) {
        if (size != 4) {
            MUST(event.kind == DICORE_EVENT_FAILED);
        } else {
            MUST(event.kind == DICORE_EVENT_ASSOCIATE_RJ && event.result == body[1] && event.source == body[2] &&
                 event.reason == body[3] && dicore_association_closing(scu));
        }
    } else {
        dicore_associate read;
        if (reads(type, body, size, allocator, &read)) {
            MUST(event.kind == DICORE_EVENT_ASSOCIATE_AC && dicore_association_state(scu) == 6 && equal(event.associate, &read));
            for (size_t i = 0; i < read.context_count; i++)
                MUST(dicore_association_accepted(scu, read.contexts[i].id) ==
                     (read.contexts[i].result == 0 && read.contexts[i].id < 128));
            MUST(dicore_association_send_length(scu) >= 128);
            dicore_associate_free(&read, allocator);
        } else {
            MUST(event.kind == DICORE_EVENT_FAILED && event.offset <= size + 6 + 1024);
        }
    }
    dicore_association_free(scu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 9 || size - 9 > 64u << 10) /* beyond the association's own limit: csrc/tests/test_association.c */
        return 0;
    const uint8_t kind = data[0] & 3, *policy = data + 1;
    const uint8_t type = kind == 1 ? PDU_ASSOCIATE_AC : kind == 2 ? PDU_ASSOCIATE_RJ : PDU_ASSOCIATE_RQ;
    heap h = {0};
    const dicore_allocator allocator = heap_allocator(&h);
    uint8_t *body = malloc(size - 9 ? size - 9 : 1);
    MUST(body);
    if (size > 9)
        memcpy(body, data + 9, size - 9);
    size -= 9;
    if (type == PDU_ASSOCIATE_RQ)
        proposed(body, size, policy, &allocator);
    else
        answered(type, body, size, policy, &allocator);
    if (type != PDU_ASSOCIATE_RJ)
        for (size_t i = 0; i < 8; i++)
            prefix(type, body, size * policy[i] / 256, &allocator);
    for (unsigned triple = policy[0], i = 0; i < 8; i++, triple = policy[i & 7]) /* table 9-21 */
        if (dicore_reject_legal((uint8_t)(triple & 3), (uint8_t)(triple >> 2 & 3), (uint8_t)(triple >> 4)))
            MUST((triple & 3) == 1 || (triple & 3) == 2);
    free(body);
    MUST(h.live == 0);
    return 0;
}
