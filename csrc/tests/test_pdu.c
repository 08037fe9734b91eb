/* PDU and PDV headers and control PDUs (csrc/net/pdu.h). */
#include "check.h"
#include "net/pdu.h"

static void headers_are_read_big_endian(void)
{
    static const uint8_t wire[] = {4, 0xFF, 0x01, 0x02, 0x03, 0x04}; /* the reserved byte is not tested */
    uint8_t *copy = guarded_copy(wire, sizeof wire);
    pdu_header pdu = pdu_read(copy);
    CHECK_EQ(pdu.type, PDU_DATA);
    CHECK_EQ(pdu.length, 0x01020304);
    guarded_free(copy, sizeof wire);
}

static void pdv_must_fit_its_pdu(void)
{
    static const struct {
        uint8_t wire[6];
        uint32_t left; /* of the PDU */
        bool ok;
        uint32_t fragment;
    } CASES[] = {
        {{0, 0, 0, 2, 1, 3}, 6, true, 0},           /* an empty fragment is legal */
        {{0, 0, 0, 4, 1, 0}, 8, true, 2},
        {{0, 0, 0, 5, 1, 0}, 9, true, 3},           /* odd: tolerated */
        {{0, 0, 0, 4, 1, 0}, 7, false, 0},          /* one byte too long */
        {{0, 0, 0, 1, 1, 0}, 8, false, 0},          /* no room for context id and control header */
        {{0, 0, 0, 0, 1, 0}, 8, false, 0},
        {{0xFF, 0xFF, 0xFF, 0xFF, 1, 0}, 8, false, 0},
        {{0xFF, 0xFF, 0xFF, 0xFF, 1, 0}, 0xFFFFFFFF, false, 0},
        {{0xFF, 0xFF, 0xFF, 0xFB, 1, 0}, 0xFFFFFFFF, true, 0xFFFFFFF9},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t *copy = guarded_copy(CASES[i].wire, 6);
        pdv_header pdv = {0};
        CHECK_EQ(pdv_read(copy, CASES[i].left, &pdv), CASES[i].ok);
        CHECK_EQ(pdv.length, CASES[i].fragment);
        guarded_free(copy, 6);
    }
}

static void headers_are_written_as_they_are_read(void)
{
    uint8_t p[12];
    pdu_write(p, PDU_DATA, 0xA0B0C0D0);
    pdv_write(p + 6, 0xA0B0C0CA, 251, PDV_COMMAND | PDV_LAST);
    pdu_header pdu = pdu_read(p);
    pdv_header pdv = {0};
    CHECK_EQ(pdu.length, 0xA0B0C0D0);
    CHECK(pdv_read(p + 6, pdu.length, &pdv));
    CHECK_EQ(pdv.length, 0xA0B0C0CA);
    CHECK_EQ(pdv.context_id, 251);
    CHECK_EQ(pdv.control, 3);
}

static void control_pdus_are_the_standards(void)
{
    static const struct {
        uint8_t type, result, source, reason;
        uint8_t wire[10];
    } CASES[] = {
        {PDU_ASSOCIATE_RJ, 2, 3, 2, {3, 0, 0, 0, 0, 4, 0, 2, 3, 2}}, /* table 9-21 */
        {PDU_RELEASE_RQ, 0, 0, 0, {5, 0, 0, 0, 0, 4, 0, 0, 0, 0}},   /* table 9-24 */
        {PDU_RELEASE_RP, 0, 0, 0, {6, 0, 0, 0, 0, 4, 0, 0, 0, 0}},   /* table 9-25 */
        {PDU_ABORT, 0, 2, 6, {7, 0, 0, 0, 0, 4, 0, 0, 2, 6}},        /* table 9-26 */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t p[CONTROL_PDU];
        pdu_write_control(p, CASES[i].type, CASES[i].result, CASES[i].source, CASES[i].reason);
        CHECK(memcmp(p, CASES[i].wire, sizeof p) == 0);
    }
}

static void only_the_triples_of_table_9_21_are_legal(void)
{
    int legal = 0;
    for (int result = 0; result < 256; result++)
        for (int source = 0; source < 256; source++)
            for (int reason = 0; reason < 256; reason++)
                legal += dicore_reject_legal((uint8_t)result, (uint8_t)source, (uint8_t)reason);
    CHECK_EQ(legal, 2 * (4 + 2 + 2));
    CHECK(dicore_reject_legal(1, 1, 7)); /* called AE title not recognized */
    CHECK(dicore_reject_legal(2, 3, 2)); /* local limit exceeded */
    CHECK(!dicore_reject_legal(1, 1, 4));
    CHECK(!dicore_reject_legal(1, 3, 3));
    CHECK(!dicore_reject_legal(0, 1, 1));
}

int main(void)
{
    headers_are_read_big_endian();
    pdv_must_fit_its_pdu();
    headers_are_written_as_they_are_read();
    control_pdus_are_the_standards();
    only_the_triples_of_table_9_21_are_legal();
    return check_result("test_pdu");
}
