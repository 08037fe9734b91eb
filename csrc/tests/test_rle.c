#include "check.h"
#include "dicore/pixel.h"

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static void test_segment(void)
{
    /* a literal of 3, the byte that means nothing, a run of 5, a literal of 1 */
    static const uint8_t packed[] = {2, 'a', 'b', 'c', 128, 252, 'x', 0, 'z'};
    uint8_t out[9] = {0}, wide[18] = {0};
    uint8_t *source = guarded_copy(packed, sizeof packed);
    uint8_t *target = guarded_copy(out, 9);
    CHECK_EQ(dicore_rle_segment(source, sizeof packed, target, 9, 1), DICORE_OK);
    CHECK(memcmp(target, "abcxxxxxz", 9) == 0);
    CHECK_EQ(dicore_rle_segment(source, sizeof packed, wide, 9, 2), DICORE_OK);
    CHECK(wide[0] == 'a' && wide[1] == 0 && wide[4] == 'c' && wide[16] == 'z' && wide[17] == 0);
    for (size_t size = 0; size < sizeof packed; size++) { /* any prefix: never beyond it, and never called whole */
        uint8_t *cut = guarded_copy(packed, size);
        CHECK_EQ(dicore_rle_segment(cut, size, target, 9, 1), DICORE_BAD_FRAME);
        guarded_free(cut, size);
    }
    CHECK_EQ(dicore_rle_segment(source, sizeof packed, target, 5, 1), DICORE_OK); /* a run longer than the target */
    CHECK_EQ(dicore_rle_segment(source, sizeof packed, target, 9, 0), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_rle_segment(NULL, 0, NULL, 0, 1), DICORE_OK);
    guarded_free(source, sizeof packed);
    guarded_free(target, 9);
}

static void test_frame(void)
{
    /* two pixels of 16 bits: 0x0102, 0x0304; the most significant bytes come first */
    uint8_t frame[72] = {0};
    put_u32(frame, 2);
    put_u32(frame + 4, 64);
    put_u32(frame + 8, 68);
    memcpy(frame + 64, "\x01\x01\x03\x00\x01\x02\x04\x00", 8);
    uint8_t out[4] = {0};
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, NULL), DICORE_OK);
    CHECK(memcmp(out, "\x02\x01\x04\x03", 4) == 0);
    for (size_t size = 0; size < 71; size++) {
        uint8_t *cut = guarded_copy(frame, size);
        CHECK_EQ(dicore_rle_frame(cut, size, out, 4, 2, 1, 2, NULL), DICORE_BAD_FRAME);
        guarded_free(cut, size);
    }
    dicore_error error = {0};
    put_u32(frame + 8, 200); /* a segment beyond the frame */
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, &error), DICORE_BAD_FRAME);
    CHECK_EQ(error.offset, 4);
    put_u32(frame + 8, 60); /* inside the header */
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, NULL), DICORE_BAD_FRAME);
    put_u32(frame, 3); /* another number of segments */
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 1, 2, NULL), DICORE_BAD_FRAME);
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 3, 2, 1, 2, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, 2, 4, 4, NULL), DICORE_BAD_ARGUMENT);
    CHECK_EQ(dicore_rle_frame(frame, 72, out, 4, UINT64_MAX, 1, 2, NULL), DICORE_BAD_ARGUMENT);
}

int main(void)
{
    test_segment();
    test_frame();
    return check_result("test_rle");
}
