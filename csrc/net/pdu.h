/* PDU and PDV headers and the control PDUs of fixed size (PS3.8 9.3, 9.3.1 and tables 9-11 to 9-26). Big endian all. */
#ifndef DICORE_NET_PDU_H
#define DICORE_NET_PDU_H

#include "base/load.h"
#include "dicore/net.h"

enum {
    PDU_ASSOCIATE_RQ = 1,
    PDU_ASSOCIATE_AC = 2,
    PDU_ASSOCIATE_RJ = 3,
    PDU_DATA = 4,
    PDU_RELEASE_RQ = 5,
    PDU_RELEASE_RP = 6,
    PDU_ABORT = 7
};

enum {
    PDU_HEADER = 6,   /* type, reserved, length of the rest in 4 bytes */
    PDV_HEADER = 6,   /* length of the rest in 4 bytes, context id, message control header */
    CONTROL_BODY = 4, /* RJ, RELEASE-RQ, RELEASE-RP, ABORT: always */
    CONTROL_PDU = PDU_HEADER + CONTROL_BODY
};

enum { PDV_COMMAND = 1, PDV_LAST = 2 }; /* bits of the message control header (PS3.8 E.2); bits 2 to 7 are not checked */

enum { /* provider reasons of an A-ABORT (PS3.8 table 9-26) */
    ABORT_NOT_SPECIFIED = 0,
    ABORT_UNRECOGNIZED_PDU = 1,
    ABORT_UNEXPECTED_PDU = 2,
    ABORT_UNRECOGNIZED_PARAMETER = 4,
    ABORT_UNEXPECTED_PARAMETER = 5,
    ABORT_INVALID_PARAMETER = 6
};

enum { SOURCE_USER = 0, SOURCE_PROVIDER = 2 };

typedef struct pdu_header {
    uint8_t type;
    uint32_t length; /* of what follows */
} pdu_header;

typedef struct pdv_header {
    uint32_t length; /* of the fragment alone */
    uint8_t context_id;
    uint8_t control;
} pdv_header;

/** Reads PDU_HEADER bytes. */
static inline pdu_header pdu_read(const uint8_t *p) { return (pdu_header){.type = p[0], .length = load_u32be(p + 2)}; }

/** Reads PDV_HEADER bytes; `left` is what the PDU still holds, these six included. False: the item length is below 2
 *  (there is a context id and a control header always) or passes the end of the PDU. */
static inline bool pdv_read(const uint8_t *p, uint32_t left, pdv_header *out)
{
    uint32_t length = load_u32be(p);
    if (length < 2 || length > left - 4u) /* left >= PDV_HEADER */
        return false;
    *out = (pdv_header){.length = length - 2, .context_id = p[4], .control = p[5]};
    return true;
}

static inline void pdu_write(uint8_t *p, uint8_t type, uint32_t length)
{
    p[0] = type;
    p[1] = 0;
    store_u32be(p + 2, length);
}

static inline void pdv_write(uint8_t *p, uint32_t fragment, uint8_t context_id, uint8_t control)
{
    store_u32be(p, fragment + 2);
    p[4] = context_id;
    p[5] = control;
}

/** Write one of the control PDUs: CONTROL_PDU bytes. The three numbers are 0 where the type has no such field. */
void pdu_write_control(uint8_t *p, uint8_t type, uint8_t result, uint8_t source, uint8_t reason);

#endif
