/* One value by its VR as a number, date, time or text. */
#ifndef DICORE_SCAN_VALUE_H
#define DICORE_SCAN_VALUE_H

#include "dicore/scan.h"

int value_is_text(uint16_t vr);  /* text of any kind; DS, IS, DA, TM, DT too */
int value_governed(uint16_t vr); /* in the character sets of (0008,0005), PS3.5 6.1.2.3 */
int value_single(uint16_t vr);   /* a backslash is a character: LT ST UT UR, PS3.5 6.2 */
dicore_span value_trimmed(dicore_span text, uint16_t vr);

#define VALUE_HIGH 1u   /* bytes from 80H on */
#define VALUE_ESCAPE 2u /* ESC */
unsigned value_bits(dicore_span text);

typedef enum value_charset { VALUE_LATIN, VALUE_UTF8, VALUE_OTHER } value_charset;
/* What the value of (0008,0005) means for text with these bits. */
value_charset value_charset_of(dicore_span names, unsigned bits);
int value_is_utf8(dicore_span text);
size_t value_latin(dicore_span text, uint8_t *out); /* Latin-1 to UTF-8, at most twice as long */

/* One number of VR `vr` as `type`, written to out[8]. @return DICORE_OK, DICORE_LIMIT (does not fit), DICORE_BAD_VR. */
dicore_status value_number(unsigned type, uint16_t vr, int big, const uint8_t *data, uint8_t out[8]);
/* One value of text, trimmed, as a number, date or time. @return also DICORE_BAD_ARGUMENT, DICORE_BAD_LENGTH: it is none. */
dicore_status value_from_text(unsigned type, uint16_t vr, dicore_span text, uint8_t out[8]);

#endif
