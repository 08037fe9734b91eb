#include "check.h"
#include "dicore/dicore.h"

int main(void)
{
    CHECK(strcmp(dicore_version(), DICORE_VERSION) == 0);
    CHECK(strcmp(dicore_status_text(DICORE_OK), "success") == 0);
    CHECK(dicore_status_text((dicore_status)9999) != NULL);
    dicore_error error = {0};
    CHECK_EQ(dicore_fail(&error, DICORE_TRUNCATED, 7, 0x00080018), DICORE_TRUNCATED);
    CHECK_EQ(error.offset, 7);
    CHECK_EQ(error.tag, 0x00080018);
    CHECK_EQ(dicore_fail(NULL, DICORE_LIMIT, 0, 0), DICORE_LIMIT);
    return check_result("test_status");
}
