/* dicore/net.h: the DICOM upper layer and DIMSE without I/O (PS3.8, PS3.7).
 *
 * A `dicore_association` is one association as one side sees it. It has no socket and no clock. What a driver does:
 *
 *     connected()                 the transport is open (acceptor: at once; requestor: after request())
 *     receive()                   in a loop, with whatever bytes came, cut anywhere, until it says NONE
 *     request() accept() reject() respond() send() release() release_reply() abort()        what the local user wants
 *     output() / sent()           after any call: bytes that must go to the peer, in order
 *     closing()                   after any call: close the transport now
 *     deadline(now) / tick(now)   after any call: when to wake up, and waking up
 *     closed()                    the transport is gone
 *
 * The memory of data sets is the driver's: a DATA event is (pointer, length) inside the bytes handed to receive(), never a
 * copy. What must be gathered (control PDUs and command sets that span reads) is gathered through the allocator, as much
 * as has arrived, never on the word of a length field. An idle association holds well under 1 KiB.
 *
 * What has failed stays failed: the answer for the wire (A-ABORT, or A-ASSOCIATE-RJ) waits in output(), every later byte
 * is swallowed, every later primitive is DICORE_FAILED or DICORE_BAD_STATE.
 *
 * One association is used by one thread at a time; two associations are independent. */
#ifndef DICORE_NET_H
#define DICORE_NET_H

#include <stdbool.h>

#include "dicore/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- negotiation: the items of A-ASSOCIATE-RQ and -AC (PS3.8 9.3.2, 9.3.3; PS3.7 D.3.3) ------------------------------ */

/** One presentation context. */
typedef struct dicore_context {
    uint8_t id;                      /* odd */
    uint8_t result;                  /* AC: 0 accepted, 1 user rejection, 2 no reason, 3 abstract syntax, 4 transfer syntaxes
                                        not supported; in an RQ it is not used */
    dicore_span abstract_syntax;     /* RQ only; an AC has none */
    const dicore_span *syntaxes;     /* RQ: proposed transfer syntaxes; AC: the one, not significant when result != 0 */
    size_t syntax_count;             /* AC: 0 or 1 */
} dicore_context;

typedef struct dicore_role {         /* PS3.7 D.3.3.4: SCP/SCU role selection */
    dicore_span sop_class;
    uint8_t scu, scp;                /* 1: proposed (RQ) or granted (AC) to the association requestor */
} dicore_role;

typedef struct dicore_extended {     /* PS3.7 D.3.3.5 (item 56H) and D.3.3.6 (57H) */
    uint8_t item;                    /* 0x56 or 0x57 */
    dicore_span sop_class;
    dicore_span information;         /* everything after the SOP Class UID, not interpreted */
} dicore_extended;

/** A-ASSOCIATE-RQ or -AC, both as parsed (spans into the PDU) and as the caller wants it built (spans are the caller's).
 *  UIDs have no padding; AE titles have no leading or trailing spaces. */
typedef struct dicore_associate {
    dicore_span called_ae, calling_ae;       /* 1 to 16 bytes (parsed: also none); of an AC never tested, and accept()
                                                repeats the RQ's */
    dicore_span application_context;         /* built: empty means 1.2.840.10008.3.1.1.1 */
    const dicore_context *contexts;          /* ids are odd and unique, so at most 128 */
    size_t context_count;
    uint32_t max_length;                     /* parsed: what the peer can receive, 0: no limit (also when the item is
                                                absent); built: not used, the options decide */
    dicore_span implementation_uid;          /* required when built */
    dicore_span implementation_version;      /* 0 to 16 bytes; size 0: no item */
    bool has_async;                          /* PS3.7 D.3.3.3; absent means 1/1; a number of 0 is unlimited */
    uint16_t async_invoked, async_performed;
    const dicore_role *roles;
    size_t role_count;
    const dicore_extended *extended;
    size_t extended_count;
    uint8_t identity_type;                   /* RQ, PS3.7 D.3.3.7: 0 none, 1 name, 2 name + passcode, 3 Kerberos, 4 SAML, 5 JWT */
    bool identity_wants_response;            /* RQ */
    dicore_span identity_primary, identity_secondary; /* RQ */
    bool has_identity_response;              /* AC */
    dicore_span identity_response;           /* AC */
    uint16_t protocol_version;               /* parsed only; bit 0 is what counts */
    void *block;                             /* parsed only: the one block that holds the arrays */
    size_t block_size;
} dicore_associate;

/** Parse the body (what follows the 6-byte PDU header) of an A-ASSOCIATE-RQ (`pdu_type` 1) or -AC (2).
 *  Unknown user-information items are skipped (PS3.8 D.2), reserved bytes are not tested. The arrays come from
 *  `allocator` in one block of at most 8 x size + 8 KiB; the spans point into `body`, which must outlive `*out`.
 *  @return DICORE_OK; DICORE_BAD_PDU with the offset in `body` (NULL `error` is allowed); DICORE_NO_MEMORY. */
DICORE_API dicore_status dicore_associate_parse(uint8_t pdu_type, const uint8_t *body, size_t size,
                                                const dicore_allocator *allocator, dicore_associate *out,
                                                dicore_error *error);

/** Give back the block of a parsed `associate`. A zeroed one is allowed. */
DICORE_API void dicore_associate_free(dicore_associate *associate, const dicore_allocator *allocator);

/** Build the whole PDU (header included) of an RQ (1) or AC (2) at `buffer`; `max_length` is announced. `*size` is set to
 *  what it needs, also when that is more than `capacity` (then DICORE_NO_MEMORY, and nothing useful is in `buffer`).
 *  @return DICORE_OK; DICORE_NO_MEMORY; DICORE_BAD_ARGUMENT: an id even or twice, a UID or AE title too long or empty,
 *  an RQ context without transfer syntax, more than 65,535 bytes in an item. */
DICORE_API dicore_status dicore_associate_build(uint8_t pdu_type, const dicore_associate *associate,
                                                uint32_t max_length, uint8_t *buffer, size_t capacity, size_t *size);

/** Is this a triple of PS3.8 table 9-21? Result 1 permanent, 2 transient; source 1 user (reasons 1, 2, 3, 7), 2 ACSE
 *  provider (1, 2), 3 presentation provider (1 temporary congestion, 2 local limit exceeded). */
DICORE_API bool dicore_reject_legal(uint8_t result, uint8_t source, uint8_t reason);

/* ---- command sets (PS3.7 6.3, 9.3, 10.3, annex E) ------------------------------------------------------------------- */

enum { /* Command Field (0000,0100); a response is the request + 8000H */
    DICORE_C_STORE_RQ = 0x0001, DICORE_C_STORE_RSP = 0x8001,
    DICORE_C_GET_RQ = 0x0010, DICORE_C_GET_RSP = 0x8010,
    DICORE_C_FIND_RQ = 0x0020, DICORE_C_FIND_RSP = 0x8020,
    DICORE_C_MOVE_RQ = 0x0021, DICORE_C_MOVE_RSP = 0x8021,
    DICORE_C_ECHO_RQ = 0x0030, DICORE_C_ECHO_RSP = 0x8030,
    DICORE_C_CANCEL_RQ = 0x0FFF,
    DICORE_N_EVENT_REPORT_RQ = 0x0100, DICORE_N_EVENT_REPORT_RSP = 0x8100,
    DICORE_N_GET_RQ = 0x0110, DICORE_N_GET_RSP = 0x8110,
    DICORE_N_SET_RQ = 0x0120, DICORE_N_SET_RSP = 0x8120,
    DICORE_N_ACTION_RQ = 0x0130, DICORE_N_ACTION_RSP = 0x8130,
    DICORE_N_CREATE_RQ = 0x0140, DICORE_N_CREATE_RSP = 0x8140,
    DICORE_N_DELETE_RQ = 0x0150, DICORE_N_DELETE_RSP = 0x8150
};
#define DICORE_NO_DATA_SET 0x0101u /* the only Data Set Type that means none (PS3.7 E.1) */
#define DICORE_DATA_SET 0x0001u    /* what we write when there is one */

enum { /* bits of dicore_command.present: which numbers are there */
    DICORE_HAS_COMMAND_FIELD = 1 << 0, DICORE_HAS_MESSAGE_ID = 1 << 1, DICORE_HAS_RESPONDED_TO = 1 << 2,
    DICORE_HAS_PRIORITY = 1 << 3, DICORE_HAS_DATA_SET_TYPE = 1 << 4, DICORE_HAS_STATUS = 1 << 5, DICORE_HAS_ERROR_ID = 1 << 6,
    DICORE_HAS_EVENT_TYPE = 1 << 7, DICORE_HAS_ACTION_TYPE = 1 << 8, DICORE_HAS_REMAINING = 1 << 9,
    DICORE_HAS_COMPLETED = 1 << 10, DICORE_HAS_FAILED = 1 << 11, DICORE_HAS_WARNING = 1 << 12,
    DICORE_HAS_ORIGINATOR_ID = 1 << 13
};

/** One command set. A number is there when its bit is in `present`; a span when its data is not NULL (it may be empty).
 *  Parsed text and UIDs have no trailing padding (NUL or space) and point into the parsed bytes. */
typedef struct dicore_command {
    uint32_t present;                /* DICORE_HAS_... */
    uint16_t command_field;          /* (0000,0100) */
    uint16_t message_id;             /* (0000,0110) */
    uint16_t responded_to;           /* (0000,0120) Message ID Being Responded To */
    uint16_t priority;               /* (0000,0700) 0 medium, 1 high, 2 low */
    uint16_t data_set_type;          /* (0000,0800) */
    uint16_t status;                 /* (0000,0900) */
    uint16_t error_id;               /* (0000,0903) */
    uint16_t event_type;             /* (0000,1002) */
    uint16_t action_type;            /* (0000,1008) */
    uint16_t remaining, completed, failed, warning; /* (0000,1020) to (0000,1023): sub-operations */
    uint16_t originator_id;          /* (0000,1031) Move Originator Message ID */
    dicore_span affected_class;      /* (0000,0002) Affected SOP Class UID */
    dicore_span requested_class;     /* (0000,0003) */
    dicore_span move_destination;    /* (0000,0600) AE title */
    dicore_span offending;           /* (0000,0901) tags, 4 bytes each as stored */
    dicore_span error_comment;       /* (0000,0902) */
    dicore_span affected_instance;   /* (0000,1000) Affected SOP Instance UID */
    dicore_span requested_instance;  /* (0000,1001) */
    dicore_span attributes;          /* (0000,1005) Attribute Identifier List: tags, 4 bytes each as stored */
    dicore_span originator;          /* (0000,1030) Move Originator AE title */
} dicore_command;

/** Parse a whole command set: Implicit VR Little Endian, whatever was negotiated. A missing group length, missing
 *  optional elements, retired and unknown elements of group 0000 are tolerated; so is an order that is not ascending.
 *  @return DICORE_OK: command field and Data Set Type are there. DICORE_BAD_COMMAND: one of them is missing, an element of
 *  another group, a length that does not fit, a number that is not 2 bytes; `error` (NULL allowed) has offset and tag. */
DICORE_API dicore_status dicore_command_parse(const uint8_t *data, size_t size, dicore_command *out,
                                              dicore_error *error);

/** Build the command set: group length first, tags ascending, UIDs padded with NUL, text with a space; (0000,0800) is
 *  always written (absent in `present`: 0101H). `*size` is set also when it exceeds `capacity` (then DICORE_NO_MEMORY).
 *  @return DICORE_OK, DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT: no command field, or a span that cannot be (a UID over 64
 *  bytes, an AE title over 16, tags not a multiple of 4). */
DICORE_API dicore_status dicore_command_build(const dicore_command *command, uint8_t *buffer, size_t capacity,
                                              size_t *size);

/** The plain answer to `request`: response command field, Message ID Being Responded To, the SOP class and instance
 *  (requested ones become affected ones), `status`, no data set. Spans are those of `request`. */
DICORE_API void dicore_command_response(const dicore_command *request, uint16_t status, dicore_command *response);

/** FF00H and FF01H: more responses follow (PS3.7 C.1.3). */
DICORE_API bool dicore_status_pending(uint16_t dimse_status);

/* ---- the association ------------------------------------------------------------------------------------------------ */

typedef struct dicore_association dicore_association;

enum { DICORE_PROGRESS = 1024 }; /* bytes that must move within network_timeout, or the end of a command or message: a peer that
                                    drips a byte at a time is as good as silent */

/** Times are in the unit of `now`, whatever the driver counts in (the defaults are milliseconds); 0 switches one off. */
typedef struct dicore_association_options {
    uint32_t max_length;         /* the P-DATA length we announce and enforce; 0: no limit. Default 1 MiB */
    uint32_t max_send_length;    /* our own bound on P-DATA that we send, whatever the peer allows; default 1 MiB */
    uint32_t negotiation_limit;  /* bytes of an A-ASSOCIATE PDU; default 64 KiB */
    uint32_t command_limit;      /* bytes of a command set; default 64 KiB */
    uint32_t output_limit;       /* bytes of responses that wait in output(); default 1 MiB */
    uint64_t artim_timeout;      /* PS3.8 9.1.5: accept until RQ, and RJ, RP or ABORT until close; default 30 s */
    uint64_t request_timeout;    /* requestor: RQ sent until AC or RJ; default 30 s */
    uint64_t network_timeout;    /* fewer than DICORE_PROGRESS bytes while a PDU or message is under way, or no A-RELEASE-RP;
                                    default 60 s */
    uint64_t dimse_timeout;      /* no byte while we wait for a response; default 60 s */
    uint64_t idle_timeout;       /* nothing under way in either direction; default 300 s */
} dicore_association_options;

DICORE_API void dicore_association_defaults(dicore_association_options *options);

/** A new association in Sta1; `options` NULL: defaults. NULL when the allocator (copied) has no memory. */
DICORE_API dicore_association *dicore_association_new(const dicore_association_options *options,
                                                      const dicore_allocator *allocator);
/** Free it and all it holds. NULL is allowed. Does not say anything to the peer. */
DICORE_API void dicore_association_free(dicore_association *association);

typedef enum dicore_event_kind {
    DICORE_EVENT_NONE = 0,         /* nothing (more) to report: all bytes are consumed */
    DICORE_EVENT_ASSOCIATE_RQ = 1, /* acceptor: .associate, valid until accept() or reject(), one of which must follow */
    DICORE_EVENT_ASSOCIATE_AC = 2, /* requestor: .associate, valid until the next call of receive() */
    DICORE_EVENT_ASSOCIATE_RJ = 3, /* requestor: .result .source .reason; closing() */
    DICORE_EVENT_COMMAND = 4,      /* .context_id, .command, and its bytes .data .size; valid until the next receive() */
    DICORE_EVENT_DATA = 5,         /* .context_id, .data .size inside the caller's bytes (size may be 0 only with .last) */
    DICORE_EVENT_RELEASE_RQ = 6,   /* the peer wants to release: release_reply(), at once or after pending responses. An
                                      unfinished message will not be finished. .collision: we had asked too */
    DICORE_EVENT_RELEASE_RP = 7,   /* the peer agreed. closing(), unless .collision (acceptor: release_reply() now) */
    DICORE_EVENT_ABORT = 8,        /* the peer's A-ABORT: .source (0 user, 2 provider) .reason; closing() */
    DICORE_EVENT_FAILED = 9,       /* the peer broke the protocol: .status why, .reason as in PS3.8 table 9-26, .offset the
                                      byte in the stream; the answer is in output(). Also a limit of ours, or no memory */
    DICORE_EVENT_CLOSED = 10,      /* the transport went away under an association */
    DICORE_EVENT_TIMEOUT = 11      /* .timeout; the A-ABORT is in output(), or closing() */
} dicore_event_kind;

typedef enum dicore_timeout {
    DICORE_TIMEOUT_NONE = 0, DICORE_TIMEOUT_ARTIM = 1, DICORE_TIMEOUT_REQUEST = 2, DICORE_TIMEOUT_NETWORK = 3,
    DICORE_TIMEOUT_DIMSE = 4, DICORE_TIMEOUT_IDLE = 5
} dicore_timeout;

/** Only the fields that the kind names are set. */
typedef enum dicore_wire_limit {       /* which limit of dicore_association_options a peer went beyond */
    DICORE_WIRE_NO_LIMIT = 0,
    DICORE_WIRE_PDU_LIMIT = 1,         /* max_length */
    DICORE_WIRE_NEGOTIATION_LIMIT = 2,
    DICORE_WIRE_COMMAND_LIMIT = 3
} dicore_wire_limit;

typedef struct dicore_event {
    dicore_event_kind kind;
    dicore_wire_limit limit;           /* FAILED */
    uint8_t context_id;
    bool last;                         /* DATA: the data set ends with these bytes. COMMAND: no data set follows */
    bool collision;
    uint8_t result, source, reason;
    dicore_status status;
    dicore_timeout timeout;
    uint64_t offset;
    const uint8_t *data;
    size_t size;
    const dicore_associate *associate;
    dicore_command command;
} dicore_event;

/** Feed bytes that came from the peer. Call in a loop: `*consumed` bytes of `data` are done with, `*event` says what they
 *  held; go on with the rest until the kind is NONE (then all are consumed). Any split of the stream gives the same
 *  events, but that a run of DATA may come in several. Bytes after the end of the association are swallowed.
 *  @return DICORE_OK. The call that fails the association returns the reason (event FAILED), later ones DICORE_FAILED.
 *  DICORE_BAD_STATE: no transport yet. */
DICORE_API dicore_status dicore_association_receive(dicore_association *association, const uint8_t *data, size_t size,
                                                    size_t *consumed, dicore_event *event);

/** Bytes still to come of the PDU (or of the header) that the stream stands in: at least 1. How much to read at least. */
DICORE_API uint64_t dicore_association_wanted(const dicore_association *association);

/** The transport is open: an acceptor begins to wait for the RQ (Sta2), a requestor's RQ goes to output() (Sta5). */
DICORE_API dicore_status dicore_association_connected(dicore_association *association);
/** The transport is gone, by whatever hand; nothing is read or written any more. `event`: CLOSED or NONE. */
DICORE_API dicore_status dicore_association_closed(dicore_association *association, dicore_event *event);

/** Requestor, first call: propose. The driver then opens the transport and calls connected(). Copies what it needs.
 *  @return DICORE_OK, DICORE_BAD_ARGUMENT (see dicore_associate_build), DICORE_BAD_STATE, DICORE_NO_MEMORY. */
DICORE_API dicore_status dicore_association_request(dicore_association *association, const dicore_associate *request);

/** Acceptor, after ASSOCIATE_RQ: accept. `answer` has every proposed context once (id, result, and one transfer syntax
 *  where result is 0), implementation_uid (and version), and what is granted of roles, extended negotiation, async window
 *  and identity. AE titles and application context are the RQ's. The event's `associate` is gone afterwards.
 *  @return DICORE_OK; DICORE_BAD_ARGUMENT: a context missing, twice or not proposed, a syntax that was not proposed, a role
 *  or async window that was not proposed or exceeds the proposal; DICORE_BAD_STATE; DICORE_NO_MEMORY. */
DICORE_API dicore_status dicore_association_accept(dicore_association *association, const dicore_associate *answer);
/** Acceptor, after ASSOCIATE_RQ: refuse. DICORE_BAD_ARGUMENT unless dicore_reject_legal. */
DICORE_API dicore_status dicore_association_reject(dicore_association *association, uint8_t result, uint8_t source,
                                                   uint8_t reason);

/** Ask for release, with no message half sent. Data of the peer may still arrive (Sta7). */
DICORE_API dicore_status dicore_association_release(dicore_association *association);
/** Answer the peer's RELEASE_RQ. In a collision the acceptor gets RELEASE_RP first: BAD_STATE until then. */
DICORE_API dicore_status dicore_association_release_reply(dicore_association *association);
/** Abort: `source` 0 (user, reason 0) or 2 (provider, reason 0, 1, 2, 4, 5, 6). Allowed in Sta3 to Sta12, also amid a message;
 *  amid a PDU that is half handed out by dicore_sender_next there is no room for an A-ABORT: then only closing() is set. */
DICORE_API dicore_status dicore_association_abort(dicore_association *association, uint8_t source, uint8_t reason);

/** Bytes to send now, in order: after all pieces that dicore_sender_next has handed out so far, before those it hands out
 *  later. `*size` 0: none. Valid until the next call that changes the association. */
DICORE_API void dicore_association_output(const dicore_association *association, const uint8_t **data, size_t *size);
/** The first `size` bytes of output() are on their way. */
DICORE_API void dicore_association_sent(dicore_association *association, size_t size);
/** True: close the transport now; what output() holds may be dropped. Then call closed(), or free(). In Sta13 it is false:
 *  the peer closes, or ARTIM makes it true. */
DICORE_API bool dicore_association_closing(const dicore_association *association);

/** When to call tick() at the latest, UINT64_MAX: never. Also starts, as of `now`, the timers that calls since the last
 *  one began: ask after every batch of calls. */
DICORE_API uint64_t dicore_association_deadline(dicore_association *association, uint64_t now);
/** The driver itself keeps the peer waiting (it stopped reading, say): the running timer starts anew, ARTIM excepted. */
DICORE_API void dicore_association_touch(dicore_association *association);
/** The time is `now`. Before the deadline nothing happens. `event`: TIMEOUT or NONE. */
DICORE_API dicore_status dicore_association_tick(dicore_association *association, uint64_t now, dicore_event *event);

DICORE_API int dicore_association_state(const dicore_association *association);              /* 1 to 13: Sta1 to Sta13 */
DICORE_API bool dicore_association_failed(const dicore_association *association);
DICORE_API bool dicore_association_accepted(const dicore_association *association, uint8_t context_id);
DICORE_API uint64_t dicore_association_received(const dicore_association *association);      /* bytes consumed so far */
DICORE_API uint32_t dicore_association_send_length(const dicore_association *association);   /* bound on P-DATA we send */
DICORE_API size_t dicore_association_pending(const dicore_association *association);         /* requests of the peer not yet
                                                                                               finally answered by us */

/* ---- sending -------------------------------------------------------------------------------------------------------- */

/** Append a command without data set to output() as one message: the fast way to answer.
 *  @return DICORE_OK; DICORE_BAD_ARGUMENT: context not accepted, or the command says a data set follows; DICORE_BAD_STATE;
 *  DICORE_FAILED; DICORE_LIMIT: output_limit; DICORE_NO_MEMORY. While a message of send() is unfinished: BAD_STATE. */
DICORE_API dicore_status dicore_association_respond(dicore_association *association, uint8_t context_id,
                                                    const dicore_command *command);

enum { DICORE_SEND_SHARED = 1 }; /* flag: the first data PDV may share a PDU with the command; some peers cannot read that */

/** A message on its way out. The caller's memory, not to be used after the association is freed; every field is private. */
typedef struct dicore_sender {
    dicore_association *association;
    const uint8_t *command;            /* what is left of it */
    size_t command_left;
    uint64_t data_left;                /* of the data set, as announced */
    const dicore_span *spans;          /* what the caller supplied last */
    size_t span_count, span_offset;    /* offset: into the first of them */
    uint32_t length;                   /* bound of a PDU's variable field */
    uint32_t pdv_left;                 /* data bytes of the open PDV not yet handed out */
    uint8_t context_id, flags;
    bool wants_data;                   /* the last data PDV has not been begun */
    bool done;
} dicore_sender;

/** Begin a message. Built into `memory` (512 bytes do for every command without long lists), which must live until the
 *  command's piece is on its way. `data_size` is the exact and even size of the data set; with Data Set Type 0101H it is 0.
 *  Only one message at a time, and it must be finished (next() gave DICORE_END), or the association aborted.
 *  @return DICORE_OK; DICORE_BAD_ARGUMENT: context not accepted, odd size, bad command; DICORE_NO_MEMORY: `memory` is too
 *  small; DICORE_BAD_STATE; DICORE_FAILED. */
DICORE_API dicore_status dicore_association_send(dicore_association *association, uint8_t context_id,
                                                 const dicore_command *command, uint64_t data_size, uint32_t flags,
                                                 uint8_t *memory, size_t memory_size, dicore_sender *sender);

/** Supply (more of) the data set, when the spans supplied before are used up. `spans` and what they point to must live until
 *  their pieces are on their way. More bytes than announced: DICORE_BAD_ARGUMENT. */
DICORE_API dicore_status dicore_sender_supply(dicore_sender *sender, const dicore_span *spans, size_t count);

/** The next pieces for one gather write: headers in `headers` (caller's memory, 12 bytes per PDU; both it and `pieces` may be
 *  reused once these pieces are on their way), command and data by reference. Fills at most `capacity` pieces (at least 4)
 *  and `header_size` bytes (at least 24). Pieces of all calls, in order, are the message.
 *  @return DICORE_OK: call again, with more data supplied if `*count` is 0; DICORE_END: these are the last pieces (possibly
 *  none), the association can send the next message; DICORE_FAILED or DICORE_BAD_STATE: the association has ended. */
DICORE_API dicore_status dicore_sender_next(dicore_sender *sender, uint8_t *headers, size_t header_size,
                                            dicore_span *pieces, size_t capacity, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
