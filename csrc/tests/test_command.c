/* Command sets (csrc/net/command.c). */
#include "check.h"
#include "wire.h"

/* C-STORE-RQ as DCMTK writes it: PS3.7 table 9.3-1. */
static const uint8_t C_STORE_RQ[] = {
    0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x62, 0x00, 0x00, 0x00,             /* group length 98 */
    0x00, 0x00, 0x02, 0x00, 0x1A, 0x00, 0x00, 0x00,                                     /* Affected SOP Class UID, 26 */
        '1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '5', '.', '1', '.', '4', '.', '1', '.', '1', '.', '2', 0,
    0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00,                         /* Command Field C-STORE-RQ */
    0x00, 0x00, 0x10, 0x01, 0x02, 0x00, 0x00, 0x00, 0x07, 0x00,                         /* Message ID 7 */
    0x00, 0x00, 0x00, 0x07, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00,                         /* Priority low */
    0x00, 0x00, 0x00, 0x08, 0x02, 0x00, 0x00, 0x00, 0x01, 0x00,                         /* Data Set Type: one follows */
    0x00, 0x00, 0x00, 0x10, 0x06, 0x00, 0x00, 0x00, '1', '.', '2', '.', '3', 0x00,      /* Affected SOP Instance UID */
    0x00, 0x00, 0x31, 0x10, 0x02, 0x00, 0x00, 0x00, 0x2A, 0x00,                         /* Move Originator Message ID 42 */
};

static bool is(dicore_span span, const char *expected)
{
    return span.size == strlen(expected) && memcmp(span.data, expected, span.size) == 0;
}

static void store_request_is_read(void)
{
    uint8_t *copy = guarded_copy(C_STORE_RQ, sizeof C_STORE_RQ);
    dicore_command c;
    CHECK_EQ(dicore_command_parse(copy, sizeof C_STORE_RQ, &c, NULL), DICORE_OK);
    CHECK_EQ(c.command_field, DICORE_C_STORE_RQ);
    CHECK_EQ(c.message_id, 7);
    CHECK_EQ(c.priority, 2);
    CHECK_EQ(c.data_set_type, 1);
    CHECK_EQ(c.originator_id, 42);
    CHECK(is(c.affected_class, "1.2.840.10008.5.1.4.1.1.2"));
    CHECK(is(c.affected_instance, "1.2.3"));
    CHECK(!c.requested_class.data && !c.originator.data && !(c.present & DICORE_HAS_STATUS));
    uint8_t again[sizeof C_STORE_RQ];
    size_t size = 0;
    CHECK_EQ(dicore_command_build(&c, again, sizeof again, &size), DICORE_OK);
    CHECK_EQ(size, sizeof C_STORE_RQ);
    CHECK(memcmp(again, C_STORE_RQ, size) == 0); /* canonical in, the same out */
    guarded_free(copy, sizeof C_STORE_RQ);
}

static void truncations_end_at_elements_or_fail(void)
{
    for (size_t cut = 0; cut < sizeof C_STORE_RQ; cut++) {
        uint8_t *copy = guarded_copy(C_STORE_RQ, cut);
        dicore_command c;
        dicore_status status = dicore_command_parse(copy, cut, &c, NULL);
        bool readable = cut == 86 || cut == 100; /* behind Data Set Type: the rest is optional */
        CHECK_EQ(status, readable ? DICORE_OK : DICORE_BAD_COMMAND);
        guarded_free(copy, cut);
    }
}

static void missing_retired_and_shuffled_elements_are_tolerated(void)
{
    static const uint8_t WIRE[] = {
        /* no group length; Data Set Type before Command Field */
        0x00, 0x00, 0x00, 0x08, 0x02, 0x00, 0x00, 0x00, 0x01, 0x01,
        0x00, 0x00, 0x01, 0x00, 0x04, 0x00, 0x00, 0x00, 0x7E, 0x00, 0x00, 0x00, /* (0000,0001) Length to End, retired */
        0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x30, 0x00,
        0x00, 0x00, 0x10, 0x00, 0x0C, 0x00, 0x00, 0x00, 'A', 'C', 'R', '-', 'N', 'E', 'M', 'A', ' ', '2', '.', '0', /* retired */
        0x00, 0x00, 0x10, 0x01, 0x00, 0x00, 0x00, 0x00,                         /* Message ID, empty: as if absent */
        0x00, 0x00, 0xFE, 0xFF, 0x01, 0x00, 0x00, 0x00, 0x00,                   /* unknown, odd */
    };
    uint8_t *copy = guarded_copy(WIRE, sizeof WIRE);
    dicore_command c;
    CHECK_EQ(dicore_command_parse(copy, sizeof WIRE, &c, NULL), DICORE_OK);
    CHECK_EQ(c.command_field, DICORE_C_ECHO_RQ);
    CHECK_EQ(c.data_set_type, DICORE_NO_DATA_SET);
    CHECK_EQ(c.present, DICORE_HAS_COMMAND_FIELD | DICORE_HAS_DATA_SET_TYPE);
    guarded_free(copy, sizeof WIRE);
}

static void what_is_no_command_set_is_refused(void)
{
    static const struct {
        const char *why;
        size_t size;
        uint8_t wire[40];
        uint32_t tag;
    } CASES[] = {
        {"empty", 0, {0}, 0x0100},
        {"no data set type", 10, {0, 0, 0, 1, 2, 0, 0, 0, 0x30, 0}, 0x0800},
        {"no command field", 10, {0, 0, 0, 8, 2, 0, 0, 0, 1, 1}, 0x0100},
        {"group 0008", 10, {8, 0, 0, 1, 2, 0, 0, 0, 0x30, 0}, 0x00080100},
        {"length FFFFFFFF", 10, {0, 0, 0, 1, 255, 255, 255, 255, 0x30, 0}, 0x0100},
        {"number of 4 bytes", 12, {0, 0, 0, 1, 4, 0, 0, 0, 0x30, 0, 0, 0}, 0x0100},
        {"command field twice", 20, {0, 0, 0, 1, 2, 0, 0, 0, 0x30, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0}, 0x0100},
        {"class twice", 20, {0, 0, 2, 0, 2, 0, 0, 0, '1', 0, 0, 0, 2, 0, 2, 0, 0, 0, '2', 0}, 0x0002},
        {"explicit VR", 10, {0, 0, 0, 1, 'U', 'S', 2, 0, 0x30, 0}, 0x0100},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        uint8_t *copy = guarded_copy(CASES[i].wire, CASES[i].size);
        dicore_command c;
        dicore_error error = {0};
        if (dicore_command_parse(copy, CASES[i].size, &c, &error) != DICORE_BAD_COMMAND) {
            fprintf(stderr, "%s: ", CASES[i].why);
            CHECK(!"refused");
        }
        CHECK_EQ(error.tag, CASES[i].tag);
        guarded_free(copy, CASES[i].size);
    }
}

/** Every kind of message with every field that it may have: built, read, compared. */
static void every_message_survives_the_wire(void)
{
    static const uint8_t TAGS[] = {0x10, 0x00, 0x10, 0x00, 0x08, 0x00, 0x60, 0x00};
    static const uint16_t FIELDS[] = {
        DICORE_C_STORE_RQ, DICORE_C_STORE_RSP, DICORE_C_GET_RQ, DICORE_C_GET_RSP, DICORE_C_FIND_RQ, DICORE_C_FIND_RSP,
        DICORE_C_MOVE_RQ, DICORE_C_MOVE_RSP, DICORE_C_ECHO_RQ, DICORE_C_ECHO_RSP, DICORE_C_CANCEL_RQ,
        DICORE_N_EVENT_REPORT_RQ, DICORE_N_EVENT_REPORT_RSP, DICORE_N_GET_RQ, DICORE_N_GET_RSP, DICORE_N_SET_RQ,
        DICORE_N_SET_RSP, DICORE_N_ACTION_RQ, DICORE_N_ACTION_RSP, DICORE_N_CREATE_RQ, DICORE_N_CREATE_RSP,
        DICORE_N_DELETE_RQ, DICORE_N_DELETE_RSP};
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
        for (uint32_t bits = 0; bits < 1 << 13; bits += 37) {
            dicore_command c = {.present = DICORE_HAS_COMMAND_FIELD | (bits << 1), .command_field = FIELDS[i], .message_id = 1,
                                .responded_to = 2, .priority = 3, .data_set_type = 4, .status = 0xFF00, .error_id = 5,
                                .event_type = 6, .action_type = 7, .remaining = 8, .completed = 9, .failed = 10, .warning = 11,
                                .originator_id = 12};
            if (bits & 1) c.affected_class = text("1.2.3");
            if (bits & 2) c.requested_class = text("1.2.34");
            if (bits & 4) c.move_destination = text("DEST");
            if (bits & 8) c.offending = (dicore_span){.data = TAGS, .size = 4};
            if (bits & 16) c.error_comment = text("odd");
            if (bits & 32) c.affected_instance = text("1.2.3.4");
            if (bits & 64) c.requested_instance = text("");
            if (bits & 128) c.attributes = (dicore_span){.data = TAGS, .size = 8};
            if (bits & 256) c.originator = text("ME");
            uint8_t wire[512];
            size_t size = 0;
            CHECK_EQ(dicore_command_build(&c, wire, sizeof wire, &size), DICORE_OK);
            CHECK_EQ(size % 2, 0);
            CHECK_EQ(wire[8] | wire[9] << 8, (int)size - 12);
            uint8_t *copy = guarded_copy(wire, size);
            dicore_command d;
            CHECK_EQ(dicore_command_parse(copy, size, &d, NULL), DICORE_OK);
            CHECK_EQ(d.present, c.present | DICORE_HAS_DATA_SET_TYPE);
            CHECK_EQ(d.command_field, FIELDS[i]);
            CHECK_EQ(d.data_set_type, c.present & DICORE_HAS_DATA_SET_TYPE ? 4u : DICORE_NO_DATA_SET);
            if (c.present & DICORE_HAS_WARNING) CHECK_EQ(d.warning, 11);
            if (c.present & DICORE_HAS_RESPONDED_TO) CHECK_EQ(d.responded_to, 2);
            if (bits & 1) CHECK(is(d.affected_class, "1.2.3"));
            if (bits & 16) CHECK(is(d.error_comment, "odd"));
            if (bits & 64) CHECK(d.requested_instance.data && d.requested_instance.size == 0);
            if (bits & 128) CHECK(d.attributes.size == 8 && memcmp(d.attributes.data, TAGS, 8) == 0);
            if (bits & 256) CHECK(is(d.originator, "ME"));
            CHECK_EQ(!d.affected_instance.data, !(bits & 32));
            guarded_free(copy, size);
        }
}

static void responses_answer_their_request(void)
{
    dicore_command request, response;
    CHECK_EQ(dicore_command_parse(C_STORE_RQ, sizeof C_STORE_RQ, &request, NULL), DICORE_OK);
    dicore_command_response(&request, 0xA700, &response);
    CHECK_EQ(response.command_field, DICORE_C_STORE_RSP);
    CHECK_EQ(response.responded_to, 7);
    CHECK_EQ(response.status, 0xA700);
    CHECK_EQ(response.data_set_type, DICORE_NO_DATA_SET);
    CHECK(is(response.affected_instance, "1.2.3"));
    request = (dicore_command){.present = DICORE_HAS_COMMAND_FIELD, .command_field = DICORE_N_SET_RQ,
                               .requested_class = text("1.2"), .requested_instance = text("3.4")};
    dicore_command_response(&request, 0, &response);
    CHECK(is(response.affected_class, "1.2") && is(response.affected_instance, "3.4") && !response.requested_class.data);
    CHECK(dicore_status_pending(0xFF00) && dicore_status_pending(0xFF01) && !dicore_status_pending(0xFE00) && !dicore_status_pending(0));
}

static void what_cannot_be_said_is_not_built(void)
{
    static const char LONG[] = "12345678901234567890123456789012345678901234567890123456789012345"; /* 65 */
    uint8_t wire[256];
    size_t size = 0;
    dicore_command c = {.present = DICORE_HAS_COMMAND_FIELD, .command_field = DICORE_C_ECHO_RQ};
    CHECK_EQ(dicore_command_build(&c, wire, 31, &size), DICORE_NO_MEMORY);
    CHECK_EQ(size, 32);
    CHECK_EQ(dicore_command_build(&c, wire, 32, &size), DICORE_OK);
    c.affected_class = text(LONG);
    CHECK_EQ(dicore_command_build(&c, wire, sizeof wire, &size), DICORE_BAD_ARGUMENT);
    c.affected_class = (dicore_span){0};
    c.move_destination = text("SEVENTEEN_LETTERS");
    CHECK_EQ(dicore_command_build(&c, wire, sizeof wire, &size), DICORE_BAD_ARGUMENT);
    c.move_destination = (dicore_span){0};
    c.attributes = text("abc");
    CHECK_EQ(dicore_command_build(&c, wire, sizeof wire, &size), DICORE_BAD_ARGUMENT);
    c = (dicore_command){0};
    CHECK_EQ(dicore_command_build(&c, wire, sizeof wire, &size), DICORE_BAD_ARGUMENT);
}

int main(void)
{
    store_request_is_read();
    truncations_end_at_elements_or_fail();
    missing_retired_and_shuffled_elements_are_tolerated();
    what_is_no_command_set_is_refused();
    every_message_survives_the_wire();
    responses_answer_their_request();
    what_cannot_be_said_is_not_built();
    return check_result("test_command");
}
