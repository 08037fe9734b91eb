#include "net/pdu.h"

void pdu_write_control(uint8_t *p, uint8_t type, uint8_t result, uint8_t source, uint8_t reason)
{
    pdu_write(p, type, CONTROL_BODY);
    p[6] = 0;
    p[7] = result; /* RJ only: table 9-21; reserved elsewhere */
    p[8] = source;
    p[9] = reason;
}

bool dicore_reject_legal(uint8_t result, uint8_t source, uint8_t reason)
{
    if (result != 1 && result != 2)
        return false;
    switch (source) {
    case 1: return reason == 1 || reason == 2 || reason == 3 || reason == 7;
    case 2: return reason == 1 || reason == 2;
    case 3: return reason == 1 || reason == 2;
    default: return false;
    }
}
