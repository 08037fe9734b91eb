/* The items of A-ASSOCIATE-RQ and -AC (csrc/net/associate.c). */
#include "check.h"
#include "wire.h"

#define AE_CALLED 'S', 'T', 'O', 'R', 'E', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '
#define AE_CALLING ' ', ' ', 'M', 'E', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '
#define ZERO8 0, 0, 0, 0, 0, 0, 0, 0

/* The body of an A-ASSOCIATE-RQ, by hand. */
static const uint8_t RQ[] = {
    0x00, 0x03, 0xAA, 0xAA,                    /* protocol version: bit 0 and another; reserved: not tested */
    AE_CALLED, AE_CALLING,                     /* called, calling (leading spaces are not significant) */
    0xFF, 0, 0, 0, 0, 0, 0, 0, ZERO8, ZERO8, ZERO8, /* 32 reserved, not tested */
    0x10, 0x00, 0x00, 0x15, '1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '3', '.', '1', '.', '1', '.', '1',
    0x20, 0xFF, 0x00, 0x18,                    /* presentation context */
        0x01, 0x00, 0x77, 0x00,                /* id 1, reserved (77: not tested) */
        0x30, 0x00, 0x00, 0x04, '1', '.', '2', 0x00, /* abstract syntax, padded by a peer who should not */
        0x40, 0x00, 0x00, 0x03, '1', '.', '3', /* transfer syntaxes */
        0x40, 0x00, 0x00, 0x01, '9',
    0x20, 0x00, 0x00, 0x13,
        0xFF, 0x00, 0x00, 0x00,                /* id 255 */
        0x30, 0x00, 0x00, 0x03, '1', '.', '4',
        0x40, 0x00, 0x00, 0x00,                /* an empty syntax: can only be refused */
        0x99, 0x00, 0x00, 0x00,                /* unknown sub-item: skipped */
    0x77, 0x00, 0x00, 0x02, 0xAB, 0xCD,        /* unknown item: skipped (9.3.1) */
    0x50, 0x00, 0x00, 0x54,                    /* user information */
        0x51, 0x00, 0x00, 0x04, 0x00, 0x00, 0x40, 0x00,       /* maximum length 16384 */
        0x52, 0x00, 0x00, 0x05, '1', '.', '2', '.', '3',      /* implementation class UID */
        0x53, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02,       /* async: unlimited, 2 */
        0x54, 0x00, 0x00, 0x07, 0x00, 0x03, '1', '.', '2', 0x01, 0x01, /* role: both */
        0x55, 0x00, 0x00, 0x02, 'V', '1',                     /* implementation version */
        0x56, 0x00, 0x00, 0x08, 0x00, 0x03, '1', '.', '2', 0x01, 0x00, 0x01, /* extended negotiation */
        0x58, 0x00, 0x00, 0x0A, 0x02, 0x01, 0x00, 0x02, 'm', 'e', 0x00, 0x02, 'p', 'w', /* user identity */
        0x5F, 0x00, 0x00, 0x0C, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, /* unknown: ignored (D.2) */
};

/* The body of an A-ASSOCIATE-AC, by hand. */
static const uint8_t AC[] = {
    0x00, 0x01, 0x00, 0x00,
    AE_CALLED, AE_CALLING, ZERO8, ZERO8, ZERO8, ZERO8, /* all reserved here */
    0x10, 0x00, 0x00, 0x01, '1',
    0x21, 0x00, 0x00, 0x0B, 0x01, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x03, '1', '.', '3', /* 1: accepted */
    0x21, 0x00, 0x00, 0x04, 0x03, 0x00, 0x03, 0x00,                                        /* 3: refused, nothing behind */
    0x21, 0x00, 0x00, 0x08, 0x05, 0x00, 0x04, 0x00, 0x40, 0x00, 0xFF, 0xFF,                /* 5: refused, nonsense behind */
    0x50, 0x00, 0x00, 0x0F,
        0x59, 0x00, 0x00, 0x04, 0x00, 0x02, 'o', 'k',          /* user identity response */
        0x52, 0x00, 0x00, 0x03, '1', '.', '2',
};

static bool is(dicore_span span, const char *expected)
{
    return span.size == strlen(expected) && memcmp(span.data, expected, span.size) == 0;
}

static void request_is_read(void)
{
    heap h = {0};
    dicore_allocator allocator = heap_allocator(&h);
    uint8_t *body = guarded_copy(RQ, sizeof RQ);
    dicore_associate a;
    CHECK_EQ(dicore_associate_parse(1, body, sizeof RQ, &allocator, &a, NULL), DICORE_OK);
    CHECK_EQ(a.protocol_version, 3);
    CHECK(is(a.called_ae, "STORE"));
    CHECK(is(a.calling_ae, "ME"));
    CHECK(is(a.application_context, "1.2.840.10008.3.1.1.1"));
    CHECK_EQ(a.context_count, 2);
    CHECK_EQ(a.contexts[0].id, 1);
    CHECK_EQ(a.contexts[0].result, 0);
    CHECK(is(a.contexts[0].abstract_syntax, "1.2"));
    CHECK_EQ(a.contexts[0].syntax_count, 2);
    CHECK(is(a.contexts[0].syntaxes[0], "1.3"));
    CHECK(is(a.contexts[0].syntaxes[1], "9"));
    CHECK_EQ(a.contexts[1].id, 255);
    CHECK_EQ(a.contexts[1].syntax_count, 1);
    CHECK(is(a.contexts[1].syntaxes[0], ""));
    CHECK_EQ(a.max_length, 16384);
    CHECK(is(a.implementation_uid, "1.2.3"));
    CHECK(is(a.implementation_version, "V1"));
    CHECK(a.has_async && a.async_invoked == 0 && a.async_performed == 2);
    CHECK_EQ(a.role_count, 1);
    CHECK(is(a.roles[0].sop_class, "1.2") && a.roles[0].scu == 1 && a.roles[0].scp == 1);
    CHECK_EQ(a.extended_count, 1);
    CHECK_EQ(a.extended[0].item, 0x56);
    CHECK(is(a.extended[0].sop_class, "1.2"));
    CHECK_EQ(a.extended[0].information.size, 3);
    CHECK_EQ(a.identity_type, 2);
    CHECK(a.identity_wants_response);
    CHECK(is(a.identity_primary, "me"));
    CHECK(is(a.identity_secondary, "pw"));
    dicore_associate_free(&a, &allocator);
    CHECK_EQ(h.live, 0);
    guarded_free(body, sizeof RQ);
}

static void answer_is_read(void)
{
    heap h = {0};
    dicore_allocator allocator = heap_allocator(&h);
    uint8_t *body = guarded_copy(AC, sizeof AC);
    dicore_associate a;
    CHECK_EQ(dicore_associate_parse(2, body, sizeof AC, &allocator, &a, NULL), DICORE_OK);
    CHECK_EQ(a.context_count, 3);
    CHECK_EQ(a.contexts[0].syntax_count, 1);
    CHECK(is(a.contexts[0].syntaxes[0], "1.3"));
    CHECK_EQ(a.contexts[1].result, 3);
    CHECK_EQ(a.contexts[1].syntax_count, 0);
    CHECK_EQ(a.contexts[2].result, 4);
    CHECK_EQ(a.max_length, 0); /* absent: no limit was named */
    CHECK(!a.has_async);
    CHECK(a.has_identity_response && is(a.identity_response, "ok"));
    dicore_associate_free(&a, &allocator);
    CHECK_EQ(h.live, 0);
    guarded_free(body, sizeof AC);
}

/** Cut anywhere: never read past the cut, never more than was there, and no whole answer but at an item's end. */
static void no_truncation_passes_for_the_whole(const uint8_t *wire, size_t size, uint8_t type)
{
    heap h = {0};
    dicore_allocator allocator = heap_allocator(&h);
    int complete = 0;
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *body = guarded_copy(wire, cut);
        dicore_associate a = {0};
        dicore_error error = {0};
        dicore_status status = dicore_associate_parse(type, body, cut, &allocator, &a, &error);
        if (status == DICORE_OK) {
            complete++;
            CHECK(!a.implementation_uid.size); /* the user information is the last item, and it is not whole */
        } else {
            CHECK_EQ(status, DICORE_BAD_PDU);
            CHECK(error.offset <= cut);
        }
        dicore_associate_free(&a, &allocator);
        guarded_free(body, cut);
    }
    CHECK_EQ(h.live, 0);
    CHECK(complete <= 6); /* the ends of items */
}

static void broken_items_are_refused(void)
{
    static const struct {
        const char *why;
        uint8_t type;
        size_t size;
        uint8_t items[24];
    } CASES[] = {
        {"even id", 1, 15, {0x20, 0, 0, 11, 2, 0, 0, 0, 0x30, 0, 0, 3, '1', '.', '2'}},
        {"id zero", 1, 15, {0x20, 0, 0, 11, 0, 0, 0, 0, 0x30, 0, 0, 3, '1', '.', '2'}},
        {"no abstract syntax", 1, 8, {0x20, 0, 0, 4, 1, 0, 0, 0}},
        {"context too short", 1, 7, {0x20, 0, 0, 3, 1, 0, 0}},
        {"sub-item beyond its item", 1, 12, {0x20, 0, 0, 8, 1, 0, 0, 0, 0x30, 0, 0, 1}},
        {"accepted without syntax", 2, 8, {0x21, 0, 0, 4, 1, 0, 0, 0}},
        {"same id twice", 2, 16, {0x21, 0, 0, 4, 1, 0, 1, 0, 0x21, 0, 0, 4, 1, 0, 1, 0}},
        {"maximum length of 3 bytes", 1, 11, {0x50, 0, 0, 7, 0x51, 0, 0, 3, 1, 2, 3}},
        {"role without roles", 1, 12, {0x50, 0, 0, 8, 0x54, 0, 0, 4, 0, 2, '1', '.'}},
        {"role UID beyond its item", 1, 14, {0x50, 0, 0, 10, 0x54, 0, 0, 6, 0, 9, '1', '.', 0, 0}},
        {"identity too short", 1, 9, {0x50, 0, 0, 5, 0x58, 0, 0, 1, 1}},
        {"async of 2 bytes", 1, 10, {0x50, 0, 0, 6, 0x53, 0, 0, 2, 0, 1}},
        {"item beyond the PDU", 1, 4, {0x77, 0, 0xFF, 0xFF}},
        {"half an item header", 1, 3, {0x77, 0, 0}},
    };
    heap h = {0};
    dicore_allocator allocator = heap_allocator(&h);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t wire[128];
        memcpy(wire, RQ, 68);
        memcpy(wire + 68, CASES[i].items, CASES[i].size);
        uint8_t *body = guarded_copy(wire, 68 + CASES[i].size);
        dicore_associate a;
        dicore_error error = {0};
        if (dicore_associate_parse(CASES[i].type, body, 68 + CASES[i].size, &allocator, &a, &error) != DICORE_BAD_PDU) {
            fprintf(stderr, "%s: ", CASES[i].why);
            CHECK(!"refused");
        }
        CHECK(error.offset >= 68 && error.offset <= 68 + CASES[i].size);
        guarded_free(body, 68 + CASES[i].size);
    }
    CHECK_EQ(h.live, 0);
}

static void many_items_cost_little(void)
{
    heap h = {0};
    dicore_allocator allocator = heap_allocator(&h);
    bytes body = {0};
    bytes_add(&body, RQ, 68);
    uint8_t item[] = {0x50, 0, 40000 >> 8, 40000 & 255};
    bytes_add(&body, item, 4);
    for (int i = 0; i < 10000; i++)
        bytes_add(&body, (uint8_t[]){(uint8_t)(0x60 + i % 16), 0, 0, 0}, 4);
    dicore_associate a;
    CHECK_EQ(dicore_associate_parse(1, body.data, body.size, &allocator, &a, NULL), DICORE_OK);
    CHECK_EQ(h.peak, 0);
    dicore_associate_free(&a, &allocator);

    body.size = 68; /* 128 contexts of 40 syntaxes */
    for (int id = 1; id < 256; id += 2) {
        bytes_add(&body, (uint8_t[]){0x20, 0, (4 + 5 + 40 * 5) >> 8, (4 + 5 + 40 * 5) & 255, (uint8_t)id, 0, 0, 0, 0x30, 0, 0, 1, '1'}, 13);
        for (int s = 0; s < 40; s++)
            bytes_add(&body, (uint8_t[]){0x40, 0, 0, 1, (uint8_t)('0' + s)}, 5);
    }
    CHECK_EQ(dicore_associate_parse(1, body.data, body.size, &allocator, &a, NULL), DICORE_OK);
    CHECK_EQ(a.context_count, 128);
    CHECK_EQ(a.contexts[127].syntax_count, 40);
    CHECK_EQ(a.contexts[127].syntaxes[39].data[0], '0' + 39);
    CHECK(h.peak <= 8 * body.size + 8192);
    dicore_associate_free(&a, &allocator);

    h.fail_at = h.calls + 1;
    CHECK_EQ(dicore_associate_parse(1, body.data, body.size, &allocator, &a, NULL), DICORE_NO_MEMORY);
    CHECK_EQ(h.live, 0);
    bytes_free(&body);
}

static const dicore_span SYNTAXES[] = {{(const uint8_t *)"1.2.840.10008.1.2.1", 19}, {(const uint8_t *)"1.2.840.10008.1.2", 17}};

static void what_is_built_is_what_is_read(void)
{
    heap h = {0};
    dicore_allocator allocator = heap_allocator(&h);
    dicore_context contexts[2] = {{.id = 1, .abstract_syntax = text("1.2.840.10008.1.1"), .syntaxes = SYNTAXES, .syntax_count = 2},
                                  {.id = 3, .abstract_syntax = text("1.2.3"), .syntaxes = SYNTAXES + 1, .syntax_count = 1}};
    dicore_role role = {.sop_class = text("1.2.3"), .scu = 1, .scp = 1};
    dicore_extended extended = {.item = 0x56, .sop_class = text("1.2.3"), .information = text("\1\2")};
    dicore_associate rq = {.called_ae = text("CALLED"), .calling_ae = text("SIXTEEN_LETTERS_"), .contexts = contexts,
                           .context_count = 2, .implementation_uid = text("1.2.276"), .implementation_version = text("V"),
                           .has_async = true, .async_invoked = 5, .async_performed = 1, .roles = &role, .role_count = 1,
                           .extended = &extended, .extended_count = 1, .identity_type = 1, .identity_wants_response = true,
                           .identity_primary = text("me")};
    size_t size = 0;
    CHECK_EQ(dicore_associate_build(1, &rq, 65536, NULL, 0, &size), DICORE_NO_MEMORY);
    for (size_t capacity = 0; capacity < size; capacity++) { /* never writes past what it was given */
        uint8_t zero[512] = {0}, *buffer = guarded_copy(zero, capacity);
        size_t needed = 0;
        CHECK_EQ(dicore_associate_build(1, &rq, 65536, buffer, capacity, &needed), DICORE_NO_MEMORY);
        CHECK_EQ(needed, size);
        guarded_free(buffer, capacity);
    }
    uint8_t pdu[512];
    CHECK_EQ(dicore_associate_build(1, &rq, 65536, pdu, sizeof pdu, &size), DICORE_OK);
    CHECK_EQ(pdu[0], 1);
    CHECK_EQ(size, 6u + (size_t)(pdu[4] << 8 | pdu[5]));
    dicore_associate a;
    CHECK_EQ(dicore_associate_parse(1, pdu + 6, size - 6, &allocator, &a, NULL), DICORE_OK);
    CHECK(is(a.called_ae, "CALLED") && is(a.calling_ae, "SIXTEEN_LETTERS_"));
    CHECK(is(a.application_context, "1.2.840.10008.3.1.1.1"));
    CHECK_EQ(a.context_count, 2);
    CHECK(is(a.contexts[0].syntaxes[1], "1.2.840.10008.1.2") && a.contexts[0].syntax_count == 2);
    CHECK_EQ(a.max_length, 65536);
    CHECK(a.has_async && a.async_invoked == 5 && a.async_performed == 1);
    CHECK(a.role_count == 1 && a.extended_count == 1 && a.extended[0].information.size == 2);
    CHECK(a.identity_type == 1 && is(a.identity_primary, "me") && is(a.identity_secondary, ""));
    dicore_associate_free(&a, &allocator);
    CHECK_EQ(h.live, 0);
}

static void what_cannot_be_said_is_not_built(void)
{
    dicore_context context = {.id = 1, .abstract_syntax = text("1.2"), .syntaxes = SYNTAXES, .syntax_count = 1};
    const dicore_associate good = {.called_ae = text("A"), .calling_ae = text("B"), .contexts = &context, .context_count = 1,
                                   .implementation_uid = text("1.2")};
    uint8_t pdu[512];
    size_t size = 0;
    CHECK_EQ(dicore_associate_build(1, &good, 0, pdu, sizeof pdu, &size), DICORE_OK);
    CHECK_EQ(dicore_associate_build(4, &good, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
    dicore_associate bad = good;
    bad.called_ae = text("SEVENTEEN_LETTERS");
    CHECK_EQ(dicore_associate_build(1, &bad, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
    bad.called_ae = text("");
    CHECK_EQ(dicore_associate_build(1, &bad, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
    bad = good;
    bad.implementation_uid = text("");
    CHECK_EQ(dicore_associate_build(1, &bad, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
    context.id = 2;
    CHECK_EQ(dicore_associate_build(1, &good, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
    context.id = 1;
    context.syntax_count = 0;
    CHECK_EQ(dicore_associate_build(1, &good, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
    static uint8_t long_ticket[70000];
    context.syntax_count = 1;
    bad = good;
    bad.identity_type = 4;
    bad.identity_primary = (dicore_span){.data = long_ticket, .size = sizeof long_ticket};
    CHECK_EQ(dicore_associate_build(1, &bad, 0, pdu, sizeof pdu, &size), DICORE_BAD_ARGUMENT);
}

int main(void)
{
    request_is_read();
    answer_is_read();
    no_truncation_passes_for_the_whole(RQ, sizeof RQ, 1);
    no_truncation_passes_for_the_whole(AC, sizeof AC, 2);
    broken_items_are_refused();
    many_items_cost_little();
    what_is_built_is_what_is_read();
    what_cannot_be_said_is_not_built();
    return check_result("test_associate");
}
