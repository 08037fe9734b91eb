#include "bytes.h"

static void tags_have_entries(void)
{
    dicore_dictionary_entry e;
    CHECK(dicore_dictionary_find(0x00100010, &e));
    CHECK_EQ(e.tag, 0x00100010);
    CHECK_EQ(e.mask, 0xFFFFFFFF);
    CHECK_EQ(e.vr[0], DICORE_VR('P', 'N'));
    CHECK_EQ(e.vr[1], 0);
    CHECK_EQ(e.retired, 0);
    CHECK(strcmp(e.keyword, "PatientName") == 0 && strcmp(e.name, "Patient's Name") == 0 && strcmp(e.vm, "1") == 0);
    CHECK(dicore_dictionary_find(0x00280106, &e)); /* several VRs, in the order of the standard */
    CHECK(e.vr[0] == DICORE_VR('U', 'S') && e.vr[1] == DICORE_VR('S', 'S') && e.vr[2] == 0);
    CHECK(dicore_dictionary_find(0x00080001, &e) && e.retired);
    CHECK(dicore_dictionary_find(DICORE_TAG_ITEM, &e) && e.vr[0] == 0);
    CHECK(!dicore_dictionary_find(0x00100011, &e));
    CHECK(!dicore_dictionary_find(0xFFFFFFFF, &e));
    CHECK_EQ(dicore_dictionary_vr(0x7FE00010), DICORE_VR_OB);
    CHECK_EQ(dicore_dictionary_vr(0x00090010), 0);
}

static void repeating_groups(void)
{
    dicore_dictionary_entry e;
    CHECK(dicore_dictionary_find(0x60023000, &e));
    CHECK_EQ(e.tag, 0x60003000);
    CHECK_EQ(e.mask, 0xFF00FFFF);
    CHECK(strcmp(e.keyword, "OverlayData") == 0);
    CHECK_EQ(dicore_dictionary_vr(0x601E3000), DICORE_VR_OB);
    CHECK_EQ(dicore_dictionary_vr(0x50020010), DICORE_VR('U', 'S'));
    CHECK_EQ(dicore_dictionary_vr(0x60013000), 0); /* odd groups are private */
    CHECK_EQ(dicore_dictionary_vr(0x002031AB), DICORE_VR('C', 'S'));
}

static void keywords_and_tags_are_each_others_inverse(void)
{
    size_t count = dicore_dictionary_count(), named = 0, wrong = 0;
    CHECK(count > 5000);
    uint32_t before = 0;
    for (size_t i = 0; i < count; i++) {
        dicore_dictionary_entry e, again;
        CHECK(dicore_dictionary_at(i, &e));
        if (e.mask != 0xFFFFFFFF)
            continue;
        wrong += i > 0 && e.tag <= before;
        before = e.tag;
        wrong += !dicore_dictionary_find(e.tag, &again) || memcmp(&e, &again, sizeof e) != 0;
        wrong += dicore_dictionary_vr(e.tag) != e.vr[0];
        if (e.keyword[0] == '\0')
            continue;
        int found = 0;
        wrong += dicore_dictionary_keyword(e.keyword, strlen(e.keyword), &found) != e.tag || !found;
        named++;
    }
    CHECK_EQ(wrong, 0);
    CHECK(named > 5000);
    dicore_dictionary_entry e;
    CHECK(!dicore_dictionary_at(count, &e));
    int found = 1;
    CHECK_EQ(dicore_dictionary_keyword("NoSuchKeyword", 13, &found), 0);
    CHECK_EQ(found, 0);
    CHECK_EQ(dicore_dictionary_keyword("PatientNam", 10, &found), 0); /* a prefix is another word */
    CHECK_EQ(dicore_dictionary_keyword("PatientNames", 12, NULL), 0);
    CHECK_EQ(dicore_dictionary_keyword("", 0, &found), 0);
    CHECK_EQ(dicore_dictionary_keyword("CommandGroupLength", 18, &found), 0);
    CHECK_EQ(found, 1);
    char *longer = calloc(1, 100000);
    CHECK_EQ(dicore_dictionary_keyword(longer, 100000, &found), 0);
    free(longer);
    for (size_t size = 0; size < 11; size++) { /* not a byte beyond the word */
        uint8_t *word = guarded_copy("PatientName", size);
        CHECK_EQ(dicore_dictionary_keyword((const char *)word, size, &found), 0);
        guarded_free(word, size);
    }
}

static void private_elements(void)
{
    dicore_dictionary_entry e;
    static const uint8_t GEMS[] = "GEMS_GENIE_1";
    CHECK(dicore_dictionary_private(GEMS, 12, 0x00091010, &e)); /* '0009xx10' LO Study Name */
    CHECK_EQ(e.vr[0], DICORE_VR('L', 'O'));
    CHECK(strcmp(e.name, "Study Name") == 0 && e.keyword[0] == '\0');
    CHECK(dicore_dictionary_private(GEMS, 12, 0x0009FF10, &e)); /* in any block */
    CHECK_EQ(dicore_dictionary_private_vr(GEMS, 12, 0x00091010), DICORE_VR('L', 'O'));
    CHECK_EQ(dicore_dictionary_private_vr(GEMS, 11, 0x00091010), 0);
    CHECK_EQ(dicore_dictionary_private_vr(GEMS, 12, 0x00081010), 0);
    CHECK_EQ(dicore_dictionary_private_vr(GEMS, 12, 0x000910FE), 0);
    CHECK_EQ(dicore_dictionary_private_vr((const uint8_t *)"CANON_MEC_MR3", 13, 0x00290001), DICORE_VR_SQ); /* a whole tag */
    CHECK_EQ(dicore_dictionary_private_vr((const uint8_t *)"", 0, 0x00091010), 0);
    CHECK_EQ(dicore_dictionary_private_vr(NULL, 0, 0x00091010), 0);
}

static void private_elements_of_the_caller(void)
{
    const dicore_private_entry entries[] = {{"ACME", 0x00090001, DICORE_VR_SQ}, {"OTHER", 0x00090001, DICORE_VR('U', 'S')},
                                            {"ACME", 0x00110002, DICORE_VR('D', 'S')}, {"GEMS_GENIE_1", 0x00090010 | 0x80000, DICORE_VR('I', 'S')}};
    const dicore_private_dictionary dictionary = {entries, 3};
    const uint8_t *acme = (const uint8_t *)"ACME", *other = (const uint8_t *)"OTHER", *gems = (const uint8_t *)"GEMS_GENIE_1";
    CHECK_EQ(dicore_private_vr(&dictionary, acme, 4, 0x00091001), DICORE_VR_SQ);
    CHECK_EQ(dicore_private_vr(&dictionary, other, 5, 0x0009FF01), DICORE_VR('U', 'S')); /* in any block */
    CHECK_EQ(dicore_private_vr(&dictionary, acme, 4, 0x00111002), DICORE_VR('D', 'S'));
    CHECK_EQ(dicore_private_vr(&dictionary, acme, 3, 0x00111002), 0);
    CHECK_EQ(dicore_private_vr(&dictionary, acme, 4, 0x00131002), 0);
    CHECK_EQ(dicore_private_vr(&dictionary, gems, 12, 0x00091010), DICORE_VR('L', 'O')); /* the built-in one comes after */
    CHECK_EQ(dicore_private_vr(NULL, gems, 12, 0x00091010), DICORE_VR('L', 'O'));

    bytes b = {0}; /* a private sequence that only the caller knows, in implicit VR */
    put_text(&b, DICORE_IMPLICIT_LE, 0x00090010, NULL, "ACME");
    put_header(&b, DICORE_IMPLICIT_LE, 0x00091001, NULL, 18);
    put_item(&b, DICORE_IMPLICIT_LE, 10);
    put_text(&b, DICORE_IMPLICIT_LE, 0x00100020, NULL, "in");
    dicore_entry memory[8];
    dicore_tape tape = {memory, 0, 8, 0};
    dicore_read_options options = {0};
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, DICORE_IMPLICIT_LE, &options, NULL, NULL), DICORE_OK);
    CHECK_EQ(tape.count, 2);
    options.private_dictionary = &dictionary;
    CHECK_EQ(dicore_tape_read(&tape, b.data, b.size, 0, DICORE_IMPLICIT_LE, &options, NULL, NULL), DICORE_OK);
    CHECK_EQ(tape.count, 4);
    CHECK(tape.entries[1].flags & DICORE_ENTRY_SEQUENCE);
    CHECK_EQ(tape.entries[3].tag, 0x00100020);
}

int main(void)
{
    tags_have_entries();
    repeating_groups();
    keywords_and_tags_are_each_others_inverse();
    private_elements();
    private_elements_of_the_caller();
    return check_result("test_dictionary");
}
