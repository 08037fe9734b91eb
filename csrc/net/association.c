/* The association: PS3.8 table 9-10, the framing of PDUs and PDVs, the order of DIMSE messages. No socket, no clock. */
#include <string.h>

#include "net/pdu.h"

enum {
    SMALL_OUTPUT = 320,    /* an answer to a C-STORE with the longest UIDs is 208 bytes: no heap for it */
    SLACK = 64,            /* kept free behind the output, so that control PDUs (at most 5 of 10 bytes) need no memory */
    MIN_SEND_LENGTH = 128, /* a peer that announces less gets this much: smaller PDUs are mostly header */
    MESSAGE_HEADER = PDU_HEADER + PDV_HEADER
};

enum { ACCEPTOR_SIDE, REQUESTOR_SIDE };

/** Where the stream stands. */
typedef enum phase {
    PHASE_PDU,       /* in a PDU header */
    PHASE_CONTROL,   /* in the 4-byte body of RJ, RELEASE-RQ, RELEASE-RP, ABORT */
    PHASE_ASSOCIATE, /* in the body of an RQ or AC that is wanted */
    PHASE_PDV,       /* in a PDV header */
    PHASE_COMMAND,   /* in a command fragment */
    PHASE_DATA,      /* in a data set fragment */
    PHASE_SKIP,      /* in the rest of a PDU that nobody wants */
    PHASE_SWALLOW    /* the framing is lost, or the association is over */
} phase;

/** What the message that is arriving waits for. */
typedef enum message { MESSAGE_NONE, MESSAGE_COMMAND, MESSAGE_DATA } message;

struct dicore_association {
    dicore_allocator allocator;
    dicore_association_options options;
    uint64_t received;   /* bytes of earlier calls of receive() */
    uint64_t deadline;   /* of the timer `armed` */
    uint8_t state;       /* 1 to 13 */
    uint8_t side;
    uint8_t armed;       /* dicore_timeout */
    bool restart;        /* the timer starts anew at the next deadline() */
    uint32_t moved;      /* bytes in and out since it did, up to DICORE_PROGRESS */
    bool failed, ended, closing;
    bool sending;        /* a message of send() is unfinished */
    bool amid_pdu;       /* and a PDU of it is half handed out */

    uint8_t phase;
    uint8_t message;
    uint8_t pdu_type;
    uint8_t head_size;   /* bytes in `head` */
    uint8_t head[CONTROL_PDU];
    uint8_t context_id;  /* of the message that is arriving */
    bool pdv_last;
    uint32_t pdu_left;   /* of the PDU's body, not yet consumed */
    uint32_t pdv_left;   /* of the fragment */

    uint8_t *gather; /* a control PDU or command set that spans reads */
    size_t gather_size, gather_capacity;
    bool lent;           /* an event points into `gather` or `proposal`: given back at the next receive() */
    dicore_associate *proposal; /* an RQ or AC while somebody looks at it */

    size_t peer_pending, our_pending; /* requests without a final answer: the peer's, ours */
    uint32_t send_length;
    uint8_t proposed[16], accepted[16]; /* a bit per odd context id */

    uint8_t *output;
    size_t output_start, output_end, output_capacity; /* SLACK more bytes are behind output_capacity */
    uint8_t small[SMALL_OUTPUT + SLACK];
};

/** What an event brings along, besides itself. */
typedef struct cause {
    dicore_event *event;            /* where an indication goes; NULL: the local user did it and needs none */
    uint8_t result, source, reason; /* of a PDU to send */
    dicore_status status;           /* why an association fails */
    uint64_t offset;
    size_t size;                    /* bytes that were built behind the output and go out with the action */
} cause;

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static void *resize(dicore_association *a, void *pointer, size_t old_size, size_t new_size)
{
    return a->allocator.resize(a->allocator.context, pointer, old_size, new_size);
}

static void drop_gather(dicore_association *a)
{
    if (a->gather)
        resize(a, a->gather, a->gather_capacity, 0);
    a->gather = NULL;
    a->gather_size = a->gather_capacity = 0;
}

static void drop_proposal(dicore_association *a)
{
    if (!a->proposal)
        return;
    dicore_associate_free(a->proposal, &a->allocator);
    resize(a, a->proposal, sizeof *a->proposal, 0);
    a->proposal = NULL;
}

/** Append bytes that have arrived; memory grows with them, at most twofold. */
static bool gather(dicore_association *a, const uint8_t *data, size_t size)
{
    if (a->gather_capacity - a->gather_size < size) {
        size_t capacity = a->gather_capacity ? a->gather_capacity : 256;
        while (capacity - a->gather_size < size)
            capacity *= 2;
        uint8_t *grown = resize(a, a->gather, a->gather_capacity, capacity);
        if (!grown)
            return false;
        a->gather = grown;
        a->gather_capacity = capacity;
    }
    if (size)
        memcpy(a->gather + a->gather_size, data, size);
    a->gather_size += size;
    return true;
}

static void output_drained(dicore_association *a)
{
    if (a->output != a->small)
        resize(a, a->output, a->output_capacity + SLACK, 0);
    a->output = a->small;
    a->output_capacity = SMALL_OUTPUT;
    a->output_start = a->output_end = 0;
}

/** Room for `size` bytes at output + output_end, besides SLACK. */
static bool output_reserve(dicore_association *a, size_t size)
{
    if (a->output_end <= a->output_capacity && a->output_capacity - a->output_end >= size)
        return true;
    size_t used = a->output_end - a->output_start, capacity = a->output_capacity;
    while (capacity < used + size)
        capacity *= 2;
    if (a->output_start && used + size <= a->output_capacity) {
        memmove(a->output, a->output + a->output_start, used);
    } else {
        uint8_t *grown = resize(a, NULL, 0, capacity + SLACK);
        if (!grown)
            return false;
        memcpy(grown, a->output + a->output_start, used);
        if (a->output != a->small)
            resize(a, a->output, a->output_capacity + SLACK, 0);
        a->output = grown;
        a->output_capacity = capacity;
    }
    a->output_start = 0;
    a->output_end = used;
    return true;
}

/** A control PDU: goes into the slack if there is no other room. There is: an association sends at most one RJ or AC, one
 *  RELEASE-RQ, one RELEASE-RP, one A-ABORT, and one more from AA-7. */
static void put_control(dicore_association *a, uint8_t type, uint8_t result, uint8_t source, uint8_t reason)
{
    pdu_write_control(a->output + a->output_end, type, result, source, reason);
    a->output_end += CONTROL_PDU;
}

/* ---- PS3.8 table 9-10 ----------------------------------------------------------------------------------------------- */

/* The actions of tables 9-6 to 9-9: each changes the association and queues effects; none does I/O or reads a clock. */
typedef void action(dicore_association *a, const cause *x);

static void start_artim(dicore_association *a) { a->restart = true; } /* it runs in Sta2 and Sta13, see running_timer */

static void end(dicore_association *a)
{
    a->state = 1;
    a->ended = true;
    a->phase = PHASE_SWALLOW;
}

static void close_transport(dicore_association *a)
{
    a->closing = true;
    end(a);
}

/** Into Sta13: what is left of a PDU under way is of no interest, nor is a message under way. */
static void await_close(dicore_association *a)
{
    a->state = 13;
    start_artim(a);
    a->message = MESSAGE_NONE;
    if (a->phase == PHASE_PDV || a->phase == PHASE_COMMAND || a->phase == PHASE_DATA || a->phase == PHASE_ASSOCIATE) {
        a->phase = PHASE_SKIP;
        a->head_size = 0;
        if (!a->lent)
            drop_gather(a);
    }
}

static void send_abort(dicore_association *a, uint8_t source, uint8_t reason)
{
    if (a->amid_pdu) /* the peer would read an A-ABORT as data: only closing says it */
        a->closing = true;
    else
        put_control(a, PDU_ABORT, 0, source, source == SOURCE_PROVIDER ? reason : 0);
}

static void indicate_failure(const cause *x)
{
    if (!x->event)
        return;
    x->event->kind = DICORE_EVENT_FAILED;
    x->event->limit = DICORE_WIRE_NO_LIMIT;
    x->event->source = SOURCE_PROVIDER;
    x->event->reason = x->reason;
    x->event->status = x->status;
    x->event->offset = x->offset;
}

static void indicate(const cause *x, dicore_event_kind kind) { x->event->kind = kind; }

/* Table 9-6: establishment. */
static void AE1(dicore_association *a, const cause *x) /* issue TRANSPORT CONNECT: the driver's next step */
{
    a->side = REQUESTOR_SIDE;
    a->output_end += x->size; /* the RQ; output() shows it from Sta5 on */
    a->state = 4;
}
static void AE2(dicore_association *a, const cause *x) /* send A-ASSOCIATE-RQ */
{
    (void)x;
    a->restart = true;
    a->state = 5;
}
static void AE3(dicore_association *a, const cause *x) /* A-ASSOCIATE confirmation (accept) */
{
    indicate(x, DICORE_EVENT_ASSOCIATE_AC);
    x->event->associate = a->proposal;
    a->state = 6;
}
static void AE4(dicore_association *a, const cause *x) /* A-ASSOCIATE confirmation (reject), close */
{
    indicate(x, DICORE_EVENT_ASSOCIATE_RJ);
    x->event->result = a->head[7];
    x->event->source = a->head[8];
    x->event->reason = a->head[9];
    close_transport(a);
}
static void AE5(dicore_association *a, const cause *x) /* TRANSPORT response, start ARTIM */
{
    (void)x;
    a->side = ACCEPTOR_SIDE;
    start_artim(a);
    a->state = 2;
}
static void AE6(dicore_association *a, const cause *x) /* stop ARTIM; A-ASSOCIATE indication, or RJ and start ARTIM */
{
    if (a->proposal->protocol_version & 1) { /* 9.3.2: test bit 0 only */
        indicate(x, DICORE_EVENT_ASSOCIATE_RQ);
        x->event->associate = a->proposal;
        a->state = 3;
        return;
    }
    put_control(a, PDU_ASSOCIATE_RJ, 1, 2, 2); /* permanent, ACSE provider, protocol version not supported */
    a->failed = true;
    indicate_failure(&(cause){.event = x->event, .reason = ABORT_NOT_SPECIFIED, .status = DICORE_BAD_PDU, .offset = x->offset});
    await_close(a);
}
static void AE7(dicore_association *a, const cause *x) /* send A-ASSOCIATE-AC */
{
    a->output_end += x->size;
    a->state = 6;
}
static void AE8(dicore_association *a, const cause *x) /* send A-ASSOCIATE-RJ, start ARTIM */
{
    put_control(a, PDU_ASSOCIATE_RJ, x->result, x->source, x->reason);
    await_close(a);
}

/* Table 9-7: data. */
static void DT1(dicore_association *a, const cause *x) { a->output_end += x->size; } /* send P-DATA-TF */
static void DT2(dicore_association *a, const cause *x)                               /* P-DATA indication: PDV by PDV */
{
    (void)x;
    a->phase = PHASE_PDV;
}

/* Table 9-8: release. */
static void AR1(dicore_association *a, const cause *x) /* send A-RELEASE-RQ */
{
    (void)x;
    put_control(a, PDU_RELEASE_RQ, 0, 0, 0);
    a->restart = true;
    a->state = 7;
}
static void AR2(dicore_association *a, const cause *x) /* A-RELEASE indication */
{
    indicate(x, DICORE_EVENT_RELEASE_RQ);
    x->event->collision = false;
    a->state = 8;
}
static void AR3(dicore_association *a, const cause *x) /* A-RELEASE confirmation, close */
{
    indicate(x, DICORE_EVENT_RELEASE_RP);
    x->event->collision = false;
    close_transport(a);
}
static void AR4(dicore_association *a, const cause *x) /* send A-RELEASE-RP, start ARTIM */
{
    (void)x;
    put_control(a, PDU_RELEASE_RP, 0, 0, 0);
    await_close(a);
}
static void AR5(dicore_association *a, const cause *x) /* stop ARTIM */
{
    (void)x;
    end(a);
}
static void AR6(dicore_association *a, const cause *x) { DT2(a, x); } /* P-DATA indication */
static void AR7(dicore_association *a, const cause *x) { DT1(a, x); } /* send P-DATA-TF */
static void AR8(dicore_association *a, const cause *x)                /* A-RELEASE indication: collision */
{
    indicate(x, DICORE_EVENT_RELEASE_RQ);
    x->event->collision = true;
    a->state = a->side == REQUESTOR_SIDE ? 9 : 10;
}
static void AR9(dicore_association *a, const cause *x) /* send A-RELEASE-RP */
{
    (void)x;
    put_control(a, PDU_RELEASE_RP, 0, 0, 0);
    a->restart = true;
    a->state = 11;
}
static void AR10(dicore_association *a, const cause *x) /* A-RELEASE confirmation */
{
    indicate(x, DICORE_EVENT_RELEASE_RP);
    x->event->collision = true;
    a->state = 12;
}

/* Table 9-9: abort. */
static void AA1(dicore_association *a, const cause *x) /* send A-ABORT (service-user source), (re)start ARTIM */
{
    send_abort(a, x->source, x->reason); /* the user's source is 0 unless the caller of abort() said otherwise */
    indicate_failure(x);
    await_close(a);
}
static void AA2(dicore_association *a, const cause *x) /* stop ARTIM, close */
{
    if (x->event && a->state == 2 && a->pdu_type == PDU_ABORT && a->head_size == CONTROL_PDU) {
        indicate(x, DICORE_EVENT_ABORT); /* no user yet, but a log */
        x->event->source = a->head[8];
        x->event->reason = a->head[8] == SOURCE_PROVIDER ? a->head[9] : 0;
    }
    close_transport(a);
}
static void AA3(dicore_association *a, const cause *x) /* A-ABORT or A-P-ABORT indication, close */
{
    indicate(x, DICORE_EVENT_ABORT);
    x->event->source = a->head[8];
    x->event->reason = a->head[8] == SOURCE_PROVIDER ? a->head[9] : 0; /* 9.3.8: significant from a provider only */
    close_transport(a);
}
static void AA4(dicore_association *a, const cause *x) /* A-P-ABORT indication */
{
    indicate(x, DICORE_EVENT_CLOSED);
    end(a);
}
static void AA5(dicore_association *a, const cause *x) /* stop ARTIM */
{
    (void)x;
    end(a);
}
static void AA6(dicore_association *a, const cause *x) /* ignore the PDU */
{
    (void)x;
    a->phase = PHASE_SKIP;
}
static void AA7(dicore_association *a, const cause *x) /* send A-ABORT; once: the stream is not read any further */
{
    send_abort(a, SOURCE_PROVIDER, x->reason);
    a->phase = PHASE_SWALLOW;
}
static void AA8(dicore_association *a, const cause *x) /* send A-ABORT (provider), A-P-ABORT indication, start ARTIM */
{
    send_abort(a, SOURCE_PROVIDER, x->reason);
    indicate_failure(x);
    await_close(a);
}

enum { STATES = 13 };
typedef enum fsm_event {
    A_ASSOCIATE_REQUEST,
    TRANSPORT_CONFIRMED,
    GOT_A_ASSOCIATE_AC,
    GOT_A_ASSOCIATE_RJ,
    TRANSPORT_INDICATED,
    GOT_A_ASSOCIATE_RQ,
    A_ASSOCIATE_ACCEPT,
    A_ASSOCIATE_REJECT,
    P_DATA_REQUEST,
    GOT_P_DATA_TF,
    A_RELEASE_REQUEST,
    GOT_A_RELEASE_RQ,
    GOT_A_RELEASE_RP,
    A_RELEASE_RESPONSE,
    A_ABORT_REQUEST,
    GOT_A_ABORT,
    TRANSPORT_CLOSED,
    ARTIM_EXPIRED,
    GOT_INVALID_PDU,
    EVENTS
} fsm_event;

/* PS3.8 table 9-10 as printed: an event a row (Evt1 to Evt19), Sta1 to Sta13 across, __ cannot happen.
 * tests/net/test_state_table.py holds it against another implementation's, cell by cell. */
#define __ NULL
/* clang-format off */
static action *const TABLE[EVENTS][STATES] = {
    /*                      Sta1 Sta2 Sta3 Sta4 Sta5 Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12 Sta13 */
    [A_ASSOCIATE_REQUEST] = {AE1, __,  __,  __,  __,  __,  __,  __,  __,  __,   __,   __,   __},
    [TRANSPORT_CONFIRMED] = {__,  __,  __,  AE2, __,  __,  __,  __,  __,  __,   __,   __,   __},
    [GOT_A_ASSOCIATE_AC]  = {__,  AA1, AA8, __,  AE3, AA8, AA8, AA8, AA8, AA8,  AA8,  AA8,  AA6},
    [GOT_A_ASSOCIATE_RJ]  = {__,  AA1, AA8, __,  AE4, AA8, AA8, AA8, AA8, AA8,  AA8,  AA8,  AA6},
    [TRANSPORT_INDICATED] = {AE5, __,  __,  __,  __,  __,  __,  __,  __,  __,   __,   __,   __},
    [GOT_A_ASSOCIATE_RQ]  = {__,  AE6, AA8, __,  AA8, AA8, AA8, AA8, AA8, AA8,  AA8,  AA8,  AA7},
    [A_ASSOCIATE_ACCEPT]  = {__,  __,  AE7, __,  __,  __,  __,  __,  __,  __,   __,   __,   __},
    [A_ASSOCIATE_REJECT]  = {__,  __,  AE8, __,  __,  __,  __,  __,  __,  __,   __,   __,   __},
    [P_DATA_REQUEST]      = {__,  __,  __,  __,  __,  DT1, __,  AR7, __,  __,   __,   __,   __},
    [GOT_P_DATA_TF]       = {__,  AA1, AA8, __,  AA8, DT2, AR6, AA8, AA8, AA8,  AA8,  AA8,  AA6},
    [A_RELEASE_REQUEST]   = {__,  __,  __,  __,  __,  AR1, __,  __,  __,  __,   __,   __,   __},
    [GOT_A_RELEASE_RQ]    = {__,  AA1, AA8, __,  AA8, AR2, AR8, AA8, AA8, AA8,  AA8,  AA8,  AA6},
    [GOT_A_RELEASE_RP]    = {__,  AA1, AA8, __,  AA8, AA8, AR3, AA8, AA8, AR10, AR3,  AA8,  AA6},
    [A_RELEASE_RESPONSE]  = {__,  __,  __,  __,  __,  __,  __,  AR4, AR9, __,   __,   AR4,  __},
    [A_ABORT_REQUEST]     = {__,  __,  AA1, AA2, AA1, AA1, AA1, AA1, AA1, AA1,  AA1,  AA1,  __},
    [GOT_A_ABORT]         = {__,  AA2, AA3, __,  AA3, AA3, AA3, AA3, AA3, AA3,  AA3,  AA3,  AA2},
    [TRANSPORT_CLOSED]    = {__,  AA5, AA4, AA4, AA4, AA4, AA4, AA4, AA4, AA4,  AA4,  AA4,  AR5},
    [ARTIM_EXPIRED]       = {__,  AA2, __,  __,  __,  __,  __,  __,  __,  __,   __,   __,   AA2},
    [GOT_INVALID_PDU]     = {__,  AA1, AA8, __,  AA8, AA8, AA8, AA8, AA8, AA8,  AA8,  AA8,  AA7},
};
/* clang-format on */
#undef __

static action *action_for(const dicore_association *a, fsm_event event) { return TABLE[event][a->state - 1]; }

/** A primitive of the local user: does what the table says, or says that the state does not allow it. */
static dicore_status perform(dicore_association *a, fsm_event event, const cause *x)
{
    action *act = action_for(a, event);
    if (a->failed && event != TRANSPORT_CLOSED && event != ARTIM_EXPIRED)
        return DICORE_FAILED;
    if (!act || (a->ended && event != TRANSPORT_CLOSED))
        return DICORE_BAD_STATE;
    act(a, x);
    return DICORE_OK;
}

/* ---- receiving ------------------------------------------------------------------------------------------------------ */

/** The bytes of one call of receive(). */
typedef struct feed {
    const uint8_t *begin, *at, *end;
    dicore_event *event;
    dicore_status status;
} feed;

static uint64_t stream_offset(const dicore_association *a, const feed *f) { return a->received + (uint64_t)(f->at - f->begin); }

/** A PDU that cannot be read (Evt19): its framing is lost with it. */
static void invalid(dicore_association *a, feed *f, dicore_status status, uint8_t reason, uint64_t offset)
{
    bool over = a->state == 13;
    cause x = {.event = over ? NULL : f->event, .source = SOURCE_USER, .reason = reason, .status = status, .offset = offset};
    action_for(a, GOT_INVALID_PDU)(a, &x);
    a->phase = PHASE_SWALLOW;
    if (!over) {
        a->failed = true;
        f->status = status;
    }
}

static void invalid_here(dicore_association *a, feed *f, dicore_status status, uint8_t reason)
{
    invalid(a, f, status, reason, stream_offset(a, f));
}

/** A PDU that can be read, at its header or behind it: what the table says. */
static void got(dicore_association *a, feed *f, fsm_event event)
{
    action *act = action_for(a, event);
    cause x = {.event = f->event, .source = SOURCE_USER, .reason = ABORT_UNEXPECTED_PDU, .status = DICORE_BAD_PDU,
               .offset = stream_offset(a, f)};
    act(a, &x);
    if (act == AA1 || act == AA8) {
        a->failed = true;
        f->status = DICORE_BAD_PDU;
    }
}

/** Copy into `head` until it holds `size` bytes. */
static bool head_complete(dicore_association *a, feed *f, size_t size)
{
    size_t missing = size - a->head_size, here = (size_t)(f->end - f->at);
    size_t taken = here < missing ? here : missing;
    memcpy(a->head + a->head_size, f->at, taken);
    a->head_size = (uint8_t)(a->head_size + taken);
    f->at += taken;
    return taken == missing;
}

static void pdu_begun(dicore_association *a, feed *f, pdu_header pdu)
{
    a->pdu_type = pdu.type;
    a->pdu_left = pdu.length;
    if (pdu.type == PDU_DATA) {
        bool wanted = action_for(a, GOT_P_DATA_TF) == DT2 || action_for(a, GOT_P_DATA_TF) == AR6;
        a->head_size = 0;
        if (wanted && (pdu.length < PDV_HEADER || (a->options.max_length && pdu.length > a->options.max_length))) {
            invalid_here(a, f, DICORE_BAD_PDU, ABORT_INVALID_PARAMETER); /* 9.3.5: one PDV or more; D.1: what we announced */
            if (pdu.length >= PDV_HEADER)
                f->event->limit = DICORE_WIRE_PDU_LIMIT;
            return;
        }
        a->phase = PHASE_SKIP; /* unless the action wants it */
        got(a, f, GOT_P_DATA_TF);
        return;
    }
    if (pdu.type == PDU_ASSOCIATE_RQ || pdu.type == PDU_ASSOCIATE_AC) {
        fsm_event event = pdu.type == PDU_ASSOCIATE_RQ ? GOT_A_ASSOCIATE_RQ : GOT_A_ASSOCIATE_AC;
        a->head_size = 0;
        if (action_for(a, event) != AE3 && action_for(a, event) != AE6) { /* not wanted: no need to see its body */
            a->phase = PHASE_SKIP;
            got(a, f, event);
        } else if (pdu.length > a->options.negotiation_limit) {
            invalid_here(a, f, DICORE_LIMIT, ABORT_NOT_SPECIFIED);
            f->event->limit = DICORE_WIRE_NEGOTIATION_LIMIT;
        } else {
            a->phase = PHASE_ASSOCIATE;
        }
        return;
    }
    if (pdu.type < PDU_ASSOCIATE_RQ || pdu.type > PDU_ABORT)
        invalid_here(a, f, DICORE_BAD_PDU, ABORT_UNRECOGNIZED_PDU);
    else if (pdu.length != CONTROL_BODY)
        invalid_here(a, f, DICORE_BAD_PDU, ABORT_INVALID_PARAMETER);
    else
        a->phase = PHASE_CONTROL; /* the header stays in `head`, the body joins it */
}

static void read_pdu_header(dicore_association *a, feed *f)
{
    if (head_complete(a, f, PDU_HEADER))
        pdu_begun(a, f, pdu_read(a->head));
}

static void read_control(dicore_association *a, feed *f)
{
    static const uint8_t EVENT_OF[] = {[PDU_ASSOCIATE_RJ] = GOT_A_ASSOCIATE_RJ, [PDU_RELEASE_RQ] = GOT_A_RELEASE_RQ,
                                       [PDU_RELEASE_RP] = GOT_A_RELEASE_RP, [PDU_ABORT] = GOT_A_ABORT};
    if (!head_complete(a, f, CONTROL_PDU))
        return;
    a->pdu_left = 0;
    a->phase = PHASE_PDU; /* unless the action ends the association */
    if (a->pdu_type == PDU_RELEASE_RQ)
        a->message = MESSAGE_NONE; /* nothing will complete it */
    got(a, f, (fsm_event)EVENT_OF[a->pdu_type]);
    a->head_size = 0;
}

static uint8_t bit_of(uint8_t context_id) { return (uint8_t)(1u << (context_id >> 1 & 7)); }
static bool has_context(const uint8_t *set, uint8_t id) { return id & 1 && set[id >> 4] & bit_of(id); }
static void add_context(uint8_t *set, uint8_t id) { set[id >> 4] |= bit_of(id); }

static void set_send_length(dicore_association *a, uint32_t peer)
{
    uint32_t ours = a->options.max_send_length;
    a->send_length = peer == 0 || (ours && peer > ours) ? ours : peer; /* D.1: 0 is no limit; each direction by itself */
    if (a->send_length == 0)
        a->send_length = 1u << 30;
    if (a->send_length < MIN_SEND_LENGTH)
        a->send_length = MIN_SEND_LENGTH;
}

static void read_associate(dicore_association *a, feed *f)
{
    size_t here = (size_t)(f->end - f->at);
    if (here > a->pdu_left)
        here = a->pdu_left;
    if (!gather(a, f->at, here)) {
        invalid_here(a, f, DICORE_NO_MEMORY, ABORT_NOT_SPECIFIED);
        return;
    }
    f->at += here;
    a->pdu_left -= (uint32_t)here;
    if (a->pdu_left)
        return;
    a->phase = PHASE_PDU;
    dicore_error error = {.status = DICORE_NO_MEMORY};
    dicore_associate *p = resize(a, NULL, 0, sizeof *p);
    if (!p) {
        invalid_here(a, f, DICORE_NO_MEMORY, ABORT_NOT_SPECIFIED);
        return;
    }
    *p = (dicore_associate){0};
    a->proposal = p;
    if (dicore_associate_parse(a->pdu_type, a->gather, a->gather_size, &a->allocator, p, &error) != DICORE_OK) {
        uint64_t body = stream_offset(a, f) - a->gather_size;
        drop_proposal(a);
        invalid(a, f, error.status, error.status == DICORE_NO_MEMORY ? ABORT_NOT_SPECIFIED : ABORT_INVALID_PARAMETER,
                body + error.offset);
        return;
    }
    set_send_length(a, p->max_length);
    if (a->pdu_type == PDU_ASSOCIATE_RQ) {
        got(a, f, GOT_A_ASSOCIATE_RQ);
        if (a->state == 3) {
            for (size_t i = 0; i < p->context_count; i++)
                add_context(a->proposed, p->contexts[i].id);
            return; /* gather and proposal stay until the local user has decided */
        }
        f->status = DICORE_BAD_PDU;
    } else {
        for (size_t i = 0; i < p->context_count; i++) {
            const dicore_context *context = &p->contexts[i];
            if (context->result == 0 && has_context(a->proposed, context->id))
                add_context(a->accepted, context->id);
        }
        got(a, f, GOT_A_ASSOCIATE_AC);
    }
    a->lent = true;
}

/** The PDU's next PDV, or the next PDU. */
static void pdv_done(dicore_association *a) { a->phase = a->pdu_left ? PHASE_PDV : PHASE_PDU; }

static void read_pdv_header(dicore_association *a, feed *f)
{
    pdv_header pdv;
    const uint8_t *bytes = f->at;
    uint32_t left = a->pdu_left + a->head_size; /* with the whole header */
    if (left < PDV_HEADER) {
        invalid_here(a, f, DICORE_BAD_PDU, ABORT_INVALID_PARAMETER);
        return;
    }
    if (a->head_size == 0 && f->end - f->at >= PDV_HEADER) {
        f->at += PDV_HEADER;
        a->pdu_left -= PDV_HEADER;
    } else {
        uint8_t before = a->head_size;
        bool complete = head_complete(a, f, PDV_HEADER);
        a->pdu_left -= (uint32_t)(a->head_size - before);
        if (!complete)
            return;
        bytes = a->head;
        a->head_size = 0;
    }
    uint64_t start = stream_offset(a, f) - PDV_HEADER;
    if (!pdv_read(bytes, left, &pdv) || !has_context(a->accepted, pdv.context_id)) {
        invalid(a, f, DICORE_BAD_PDU, ABORT_INVALID_PARAMETER, start);
        return;
    }
    bool command = pdv.control & PDV_COMMAND;
    bool first = a->message == MESSAGE_NONE;
    /* One message at a time, all of it in one context, command before data, data only if announced (PS3.7 6.3, PS3.8 E.2). */
    if (first ? !command : (command != (a->message == MESSAGE_COMMAND) || pdv.context_id != a->context_id)) {
        invalid(a, f, DICORE_BAD_PDU, ABORT_UNEXPECTED_PARAMETER, start);
        return;
    }
    a->context_id = pdv.context_id;
    a->pdv_left = pdv.length;
    a->pdv_last = pdv.control & PDV_LAST;
    a->phase = command ? PHASE_COMMAND : PHASE_DATA;
    if (!command)
        return;
    a->message = MESSAGE_COMMAND;
    if (pdv.length > a->options.command_limit - a->gather_size) { /* gather_size never passes the limit */
        invalid(a, f, DICORE_LIMIT, ABORT_NOT_SPECIFIED, start);
        f->event->limit = DICORE_WIRE_COMMAND_LIMIT;
    }
}

static void command_done(dicore_association *a, feed *f, const uint8_t *data, size_t size)
{
    dicore_event *event = f->event;
    dicore_error error;
    if (dicore_command_parse(data, size, &event->command, &error) != DICORE_OK) {
        /* near enough: the set may have been spread over PDVs */
        invalid_here(a, f, error.status, ABORT_INVALID_PARAMETER);
        return;
    }
    const dicore_command *c = &event->command;
    bool has_data = c->data_set_type != DICORE_NO_DATA_SET;
    a->message = has_data ? MESSAGE_DATA : MESSAGE_NONE;
    if (c->command_field & 0x8000) {
        if (a->our_pending && !((c->present & DICORE_HAS_STATUS) && dicore_status_pending(c->status)))
            a->our_pending--;
    } else if (c->command_field != DICORE_C_CANCEL_RQ) {
        a->peer_pending++;
    }
    event->kind = DICORE_EVENT_COMMAND;
    event->context_id = a->context_id;
    event->last = !has_data;
    event->data = data;
    event->size = size;
}

static void read_command(dicore_association *a, feed *f)
{
    size_t here = (size_t)(f->end - f->at);
    const uint8_t *data = f->at;
    if (here > a->pdv_left)
        here = a->pdv_left;
    bool whole = a->gather_size == 0 && a->pdv_last && here == a->pdv_left; /* nothing to gather */
    if (!whole && !gather(a, f->at, here)) {
        invalid_here(a, f, DICORE_NO_MEMORY, ABORT_NOT_SPECIFIED);
        return;
    }
    f->at += here;
    a->pdv_left -= (uint32_t)here;
    a->pdu_left -= (uint32_t)here;
    if (a->pdv_left)
        return;
    pdv_done(a);
    if (!a->pdv_last)
        return;
    if (whole) {
        command_done(a, f, data, here);
    } else {
        a->lent = true;
        command_done(a, f, a->gather, a->gather_size);
    }
}

static void read_data(dicore_association *a, feed *f)
{
    size_t here = (size_t)(f->end - f->at);
    if (here > a->pdv_left)
        here = a->pdv_left;
    const uint8_t *data = f->at;
    f->at += here;
    a->pdv_left -= (uint32_t)here;
    a->pdu_left -= (uint32_t)here;
    bool last = false;
    if (a->pdv_left == 0) {
        pdv_done(a);
        last = a->pdv_last;
        if (last)
            a->message = MESSAGE_NONE;
    }
    if (here == 0 && !last)
        return;
    dicore_event *event = f->event;
    event->kind = DICORE_EVENT_DATA;
    event->context_id = a->context_id;
    event->last = last;
    event->data = data;
    event->size = here;
}

static void skip(dicore_association *a, feed *f)
{
    size_t here = (size_t)(f->end - f->at);
    if (here > a->pdu_left)
        here = a->pdu_left;
    f->at += here;
    a->pdu_left -= (uint32_t)here;
    if (a->pdu_left == 0) {
        a->phase = PHASE_PDU;
        a->head_size = 0;
    }
}

/** Can the phase go on without another byte? True of what is complete but not yet said: an empty fragment or body. */
static bool goes_on(const dicore_association *a)
{
    switch ((phase)a->phase) {
    case PHASE_COMMAND:
    case PHASE_DATA: return a->pdv_left == 0;
    case PHASE_ASSOCIATE:
    case PHASE_SKIP: return a->pdu_left == 0;
    case PHASE_PDV: return a->pdu_left + a->head_size < PDV_HEADER;
    case PHASE_PDU:
    case PHASE_CONTROL:
    case PHASE_SWALLOW: return false;
    }
    return false;
}

/** Bytes have moved: enough of them, and the timer of the network starts anew. A peer that drips a byte at a time gains nothing. */
static void progress(dicore_association *a, size_t size)
{
    if (a->state < 6 || a->state > 12)
        return;
    if (a->armed != DICORE_TIMEOUT_NETWORK || size >= DICORE_PROGRESS - a->moved) {
        a->moved = 0;
        a->restart = true;
    } else {
        a->moved += (uint32_t)size;
    }
}

dicore_status dicore_association_receive(dicore_association *a, const uint8_t *data, size_t size, size_t *consumed,
                                         dicore_event *event)
{
    feed f = {.begin = data, .at = data, .end = size ? data + size : data, .event = event, .status = DICORE_OK};
    event->kind = DICORE_EVENT_NONE;
    *consumed = 0;
    if (!a->ended && (a->state == 1 || a->state == 4))
        return DICORE_BAD_STATE; /* no transport */
    if (a->lent) {
        a->lent = false;
        drop_gather(a);
        drop_proposal(a);
    }
    if (a->phase == PHASE_SWALLOW) {
        a->received += size;
        *consumed = size;
        return a->failed ? DICORE_FAILED : DICORE_OK;
    }
    if (size)
        progress(a, size);
    bool failed_before = a->failed;
    while (event->kind == DICORE_EVENT_NONE && (f.at < f.end || goes_on(a))) {
        switch ((phase)a->phase) {
        case PHASE_PDU: read_pdu_header(a, &f); break;
        case PHASE_CONTROL: read_control(a, &f); break;
        case PHASE_ASSOCIATE: read_associate(a, &f); break;
        case PHASE_PDV: read_pdv_header(a, &f); break;
        case PHASE_COMMAND: read_command(a, &f); break;
        case PHASE_DATA: read_data(a, &f); break;
        case PHASE_SKIP: skip(a, &f); break;
        case PHASE_SWALLOW: f.at = f.end; break;
        }
    }
    if (a->phase == PHASE_SWALLOW)
        f.at = f.end;
    if (event->kind == DICORE_EVENT_COMMAND || (event->kind == DICORE_EVENT_DATA && event->last))
        progress(a, DICORE_PROGRESS); /* what is done by a step is no dripping */
    *consumed = (size_t)(f.at - f.begin);
    a->received += *consumed;
    return failed_before ? DICORE_FAILED : f.status;
}

uint64_t dicore_association_wanted(const dicore_association *a)
{
    switch ((phase)a->phase) {
    case PHASE_PDU: return (uint64_t)(PDU_HEADER - a->head_size);
    case PHASE_CONTROL: return (uint64_t)(CONTROL_PDU - a->head_size);
    case PHASE_ASSOCIATE:
    case PHASE_PDV:
    case PHASE_COMMAND:
    case PHASE_DATA:
    case PHASE_SKIP: return a->pdu_left ? a->pdu_left : 1;
    case PHASE_SWALLOW: return 1;
    }
    return 1;
}

/* ---- the local user's primitives ------------------------------------------------------------------------------------ */

void dicore_association_defaults(dicore_association_options *options)
{
    *options = (dicore_association_options){
        .max_length = 1u << 20,
        .max_send_length = 1u << 20,
        .negotiation_limit = 64u << 10,
        .command_limit = 64u << 10,
        .output_limit = 1u << 20,
        .artim_timeout = 30000,
        .request_timeout = 30000,
        .network_timeout = 60000,
        .dimse_timeout = 60000,
        .idle_timeout = 300000,
    };
}

dicore_association *dicore_association_new(const dicore_association_options *options, const dicore_allocator *allocator)
{
    dicore_association *a = allocator->resize(allocator->context, NULL, 0, sizeof *a);
    if (!a)
        return NULL;
    memset(a, 0, sizeof *a);
    a->allocator = *allocator;
    if (options)
        a->options = *options;
    else
        dicore_association_defaults(&a->options);
    a->state = 1;
    a->phase = PHASE_PDU;
    a->deadline = UINT64_MAX;
    a->output = a->small;
    a->output_capacity = SMALL_OUTPUT;
    set_send_length(a, 0);
    return a;
}

void dicore_association_free(dicore_association *a)
{
    if (!a)
        return;
    dicore_allocator allocator = a->allocator;
    drop_gather(a);
    drop_proposal(a);
    output_drained(a);
    allocator.resize(allocator.context, a, sizeof *a, 0);
}

dicore_status dicore_association_connected(dicore_association *a)
{
    return perform(a, a->state == 4 ? TRANSPORT_CONFIRMED : TRANSPORT_INDICATED, &(cause){0});
}

dicore_status dicore_association_closed(dicore_association *a, dicore_event *event)
{
    event->kind = DICORE_EVENT_NONE;
    if (a->state != 1)
        (void)perform(a, TRANSPORT_CLOSED, &(cause){.event = event});
    a->ended = true;
    a->phase = PHASE_SWALLOW;
    output_drained(a);
    return DICORE_OK;
}

/** Build an RQ or AC behind the output; `*size` is what it takes. */
static dicore_status build_associate(dicore_association *a, uint8_t type, const dicore_associate *from, size_t *size)
{
    size_t first = 0;
    dicore_status status = dicore_associate_build(type, from, a->options.max_length, NULL, 0, &first);
    if (status != DICORE_NO_MEMORY) /* which only says how much */
        return DICORE_BAD_ARGUMENT;
    if (!output_reserve(a, first))
        return DICORE_NO_MEMORY;
    return dicore_associate_build(type, from, a->options.max_length, a->output + a->output_end, first, size);
}

dicore_status dicore_association_request(dicore_association *a, const dicore_associate *request)
{
    if (a->state != 1 || a->ended)
        return DICORE_BAD_STATE;
    size_t size = 0;
    dicore_status status = build_associate(a, PDU_ASSOCIATE_RQ, request, &size);
    if (status != DICORE_OK)
        return status;
    for (size_t i = 0; i < request->context_count; i++)
        add_context(a->proposed, request->contexts[i].id);
    return perform(a, A_ASSOCIATE_REQUEST, &(cause){.size = size});
}

static bool same(dicore_span x, dicore_span y) { return x.size == y.size && (x.size == 0 || memcmp(x.data, y.data, x.size) == 0); }

/** 0 means unlimited, so anything is within it and it is within nothing else (PS3.7 D.3.3.3). */
static bool within_window(uint16_t granted, uint16_t offered) { return offered == 0 || (granted != 0 && granted <= offered); }

static bool role_granted(const dicore_role *role, const dicore_associate *rq)
{
    for (size_t i = 0; i < rq->role_count; i++)
        if (same(rq->roles[i].sop_class, role->sop_class))
            return role->scu <= rq->roles[i].scu && role->scp <= rq->roles[i].scp;
    return false;
}

static bool extension_granted(const dicore_extended *e, const dicore_associate *rq)
{
    for (size_t i = 0; i < rq->extended_count; i++)
        if (rq->extended[i].item == e->item && same(rq->extended[i].sop_class, e->sop_class))
            return e->information.size <= rq->extended[i].information.size; /* PS3.4 C.5.2 */
    return false;
}

/** Is `answer` one that may be given to `rq`? */
static bool answers(const dicore_associate *answer, const dicore_associate *rq)
{
    const dicore_context *by_id[256] = {0};
    if (answer->context_count != rq->context_count)
        return false;
    for (size_t i = 0; i < rq->context_count; i++)
        by_id[rq->contexts[i].id] = &rq->contexts[i];
    for (size_t i = 0; i < answer->context_count; i++) {
        const dicore_context *given = &answer->contexts[i], *asked = by_id[given->id];
        if (!asked)
            return false;
        by_id[given->id] = NULL; /* once */
        if (given->result != 0)
            continue;
        if (given->syntax_count != 1)
            return false;
        size_t s = 0;
        while (s < asked->syntax_count && !same(asked->syntaxes[s], given->syntaxes[0]))
            s++;
        if (s == asked->syntax_count)
            return false;
    }
    for (size_t i = 0; i < answer->role_count; i++)
        if (!role_granted(&answer->roles[i], rq))
            return false;
    for (size_t i = 0; i < answer->extended_count; i++)
        if (!extension_granted(&answer->extended[i], rq))
            return false;
    if (answer->has_async && !(rq->has_async && within_window(answer->async_invoked, rq->async_invoked) &&
                               within_window(answer->async_performed, rq->async_performed)))
        return false;
    return !answer->has_identity_response || rq->identity_wants_response;
}

dicore_status dicore_association_accept(dicore_association *a, const dicore_associate *answer)
{
    if (a->failed)
        return DICORE_FAILED;
    if (!action_for(a, A_ASSOCIATE_ACCEPT))
        return DICORE_BAD_STATE;
    const dicore_associate *rq = a->proposal;
    if (!answers(answer, rq))
        return DICORE_BAD_ARGUMENT;
    dicore_associate ac = *answer;
    ac.application_context = rq->application_context.size <= 64 ? rq->application_context : (dicore_span){0};
    size_t size = 0;
    dicore_status status = build_associate(a, PDU_ASSOCIATE_AC, &ac, &size);
    if (status != DICORE_OK)
        return status;
    /* Table 9-17: the reserved fields, where the RQ has the AE titles, are sent back as they came. */
    memcpy(a->output + a->output_end + PDU_HEADER + 4, a->gather + 4, 64);
    for (size_t i = 0; i < answer->context_count; i++)
        if (answer->contexts[i].result == 0)
            add_context(a->accepted, answer->contexts[i].id);
    status = perform(a, A_ASSOCIATE_ACCEPT, &(cause){.size = size});
    drop_proposal(a);
    drop_gather(a);
    return status;
}

dicore_status dicore_association_reject(dicore_association *a, uint8_t result, uint8_t source, uint8_t reason)
{
    if (!dicore_reject_legal(result, source, reason))
        return DICORE_BAD_ARGUMENT;
    dicore_status status = perform(a, A_ASSOCIATE_REJECT, &(cause){.result = result, .source = source, .reason = reason});
    if (status == DICORE_OK) {
        drop_proposal(a);
        drop_gather(a);
    }
    return status;
}

dicore_status dicore_association_release(dicore_association *a)
{
    return a->sending && !a->failed ? DICORE_BAD_STATE : perform(a, A_RELEASE_REQUEST, &(cause){0});
}

dicore_status dicore_association_release_reply(dicore_association *a)
{
    return a->sending && !a->failed ? DICORE_BAD_STATE : perform(a, A_RELEASE_RESPONSE, &(cause){0});
}

dicore_status dicore_association_abort(dicore_association *a, uint8_t source, uint8_t reason)
{
    if (source != SOURCE_USER && source != SOURCE_PROVIDER)
        return DICORE_BAD_ARGUMENT;
    if (source == SOURCE_USER ? reason != 0 : reason > ABORT_INVALID_PARAMETER || reason == 3)
        return DICORE_BAD_ARGUMENT;
    dicore_status status = perform(a, A_ABORT_REQUEST, &(cause){.source = source, .reason = reason});
    if (status == DICORE_OK && !a->lent) {
        drop_proposal(a);
        drop_gather(a);
    }
    return status;
}

/* ---- effects -------------------------------------------------------------------------------------------------------- */

void dicore_association_output(const dicore_association *a, const uint8_t **data, size_t *size)
{
    *data = a->output + a->output_start;
    *size = a->state == 4 ? 0 : a->output_end - a->output_start;
}

void dicore_association_sent(dicore_association *a, size_t size)
{
    size_t waiting = a->output_end - a->output_start;
    a->output_start += size < waiting ? size : waiting;
    if (a->output_start == a->output_end) {
        output_drained(a);
        size = size ? DICORE_PROGRESS : 0;
    }
    if (size)
        progress(a, size);
}

bool dicore_association_closing(const dicore_association *a) { return a->closing; }

/** The timer that the state wants. */
static dicore_timeout running_timer(const dicore_association *a)
{
    bool waiting = a->sending || a->output_end != a->output_start;
    switch (a->state) {
    case 2:
    case 13: return DICORE_TIMEOUT_ARTIM; /* PS3.8 9.1.5 */
    case 5: return DICORE_TIMEOUT_REQUEST;
    case 6:
        if (a->phase != PHASE_PDU || a->head_size || a->message != MESSAGE_NONE || waiting)
            return DICORE_TIMEOUT_NETWORK;
        if (a->our_pending)
            return DICORE_TIMEOUT_DIMSE;
        return a->peer_pending ? DICORE_TIMEOUT_NONE : DICORE_TIMEOUT_IDLE; /* ours to answer, or nobody's turn */
    case 7:
    case 10:
    case 11: return DICORE_TIMEOUT_NETWORK;
    case 8: return waiting ? DICORE_TIMEOUT_NETWORK : DICORE_TIMEOUT_NONE;
    default: return DICORE_TIMEOUT_NONE; /* the local side's turn */
    }
}

static uint64_t duration(const dicore_association *a, dicore_timeout timer)
{
    switch (timer) {
    case DICORE_TIMEOUT_ARTIM: return a->options.artim_timeout;
    case DICORE_TIMEOUT_REQUEST: return a->options.request_timeout;
    case DICORE_TIMEOUT_NETWORK: return a->options.network_timeout;
    case DICORE_TIMEOUT_DIMSE: return a->options.dimse_timeout;
    case DICORE_TIMEOUT_IDLE: return a->options.idle_timeout;
    case DICORE_TIMEOUT_NONE: return 0;
    }
    return 0;
}

uint64_t dicore_association_deadline(dicore_association *a, uint64_t now)
{
    dicore_timeout timer = running_timer(a);
    if (timer != a->armed || a->restart) {
        uint64_t time = duration(a, timer);
        a->armed = (uint8_t)timer;
        a->restart = false;
        a->deadline = time == 0 || time > UINT64_MAX - now ? UINT64_MAX : now + time;
    }
    return a->deadline;
}

void dicore_association_touch(dicore_association *a)
{
    if (a->state >= 5 && a->state <= 12)
        a->restart = true;
}

dicore_status dicore_association_tick(dicore_association *a, uint64_t now, dicore_event *event)
{
    event->kind = DICORE_EVENT_NONE;
    dicore_timeout timer = running_timer(a);
    if (dicore_association_deadline(a, now) > now || a->closing || timer == DICORE_TIMEOUT_NONE)
        return DICORE_OK;
    bool artim = timer == DICORE_TIMEOUT_ARTIM;
    (void)perform(a, artim ? ARTIM_EXPIRED : A_ABORT_REQUEST, &(cause){.source = SOURCE_USER});
    if (!a->lent) {
        drop_proposal(a);
        drop_gather(a);
    }
    event->kind = DICORE_EVENT_TIMEOUT;
    event->timeout = timer;
    return DICORE_OK;
}

int dicore_association_state(const dicore_association *a) { return a->state; }
bool dicore_association_failed(const dicore_association *a) { return a->failed; }
bool dicore_association_accepted(const dicore_association *a, uint8_t context_id) { return has_context(a->accepted, context_id); }
uint64_t dicore_association_received(const dicore_association *a) { return a->received; }
uint32_t dicore_association_send_length(const dicore_association *a) { return a->send_length; }
size_t dicore_association_pending(const dicore_association *a) { return a->peer_pending; }

/* ---- sending -------------------------------------------------------------------------------------------------------- */

/** May a message begin? */
static dicore_status may_send(const dicore_association *a, uint8_t context_id)
{
    if (a->failed)
        return DICORE_FAILED;
    if (!action_for(a, P_DATA_REQUEST) || a->sending)
        return DICORE_BAD_STATE;
    return has_context(a->accepted, context_id) ? DICORE_OK : DICORE_BAD_ARGUMENT;
}

/** A command leaves: who owes whom an answer. */
static void count_sent(dicore_association *a, const dicore_command *c)
{
    if (!(c->command_field & 0x8000)) {
        if (c->command_field != DICORE_C_CANCEL_RQ)
            a->our_pending++;
    } else if (a->peer_pending && !((c->present & DICORE_HAS_STATUS) && dicore_status_pending(c->status))) {
        a->peer_pending--;
    }
    a->restart = true;
}

/** The largest even fragment for which a PDV with header fits into `length`. */
static uint32_t even_fragment(uint32_t length) { return (length - PDV_HEADER) & ~1u; }

dicore_status dicore_association_respond(dicore_association *a, uint8_t context_id, const dicore_command *command)
{
    dicore_status status = may_send(a, context_id);
    if (status != DICORE_OK)
        return status;
    if ((command->present & DICORE_HAS_DATA_SET_TYPE) && command->data_set_type != DICORE_NO_DATA_SET)
        return DICORE_BAD_ARGUMENT;
    size_t size = 0, room = a->output_end + MESSAGE_HEADER <= a->output_capacity
                                ? a->output_capacity - a->output_end - MESSAGE_HEADER : 0;
    status = dicore_command_build(command, a->output + a->output_end + MESSAGE_HEADER, room, &size);
    if (status != DICORE_OK && status != DICORE_NO_MEMORY)
        return status;
    uint32_t most = even_fragment(a->send_length);
    size_t fragments = (size + most - 1) / most, total = size + fragments * MESSAGE_HEADER;
    if (a->output_end - a->output_start + total > a->options.output_limit)
        return DICORE_LIMIT;
    if (status == DICORE_NO_MEMORY || fragments > 1) { /* the uncommon case: more memory, or a peer with a tiny maximum */
        if (!output_reserve(a, total))
            return DICORE_NO_MEMORY;
        status = dicore_command_build(command, a->output + a->output_end + total - size, size, &size);
        if (status != DICORE_OK)
            return status;
    }
    uint8_t *at = a->output + a->output_end;
    const uint8_t *from = at + total - size; /* the set stands at the end, and moves down fragment by fragment */
    for (size_t left = size; left;) {
        uint32_t fragment = left < most ? (uint32_t)left : most;
        left -= fragment;
        pdu_write(at, PDU_DATA, fragment + PDV_HEADER);
        pdv_write(at + PDU_HEADER, fragment, context_id, left ? PDV_COMMAND : PDV_COMMAND | PDV_LAST);
        memmove(at + MESSAGE_HEADER, from, fragment);
        at += MESSAGE_HEADER + fragment;
        from += fragment;
    }
    count_sent(a, command);
    return perform(a, P_DATA_REQUEST, &(cause){.size = total});
}

dicore_status dicore_association_send(dicore_association *a, uint8_t context_id, const dicore_command *command,
                                      uint64_t data_size, uint32_t flags, uint8_t *memory, size_t memory_size,
                                      dicore_sender *sender)
{
    dicore_status status = may_send(a, context_id);
    if (status != DICORE_OK)
        return status;
    bool has_data = (command->present & DICORE_HAS_DATA_SET_TYPE) && command->data_set_type != DICORE_NO_DATA_SET;
    if (data_size % 2 || (data_size && !has_data)) /* PS3.8 E.1: fragments are even, so their sum is */
        return DICORE_BAD_ARGUMENT;
    size_t size = 0;
    status = dicore_command_build(command, memory, memory_size, &size);
    if (status != DICORE_OK)
        return status;
    *sender = (dicore_sender){
        .association = a,
        .command = memory,
        .command_left = size,
        .data_left = data_size,
        .length = a->send_length,
        .context_id = context_id,
        .flags = (uint8_t)(flags & DICORE_SEND_SHARED),
        .wants_data = has_data,
    };
    a->sending = true;
    count_sent(a, command);
    return DICORE_OK;
}

dicore_status dicore_sender_supply(dicore_sender *s, const dicore_span *spans, size_t count)
{
    uint64_t open = s->data_left + s->pdv_left, total = 0;
    if (s->span_count)
        return DICORE_BAD_ARGUMENT;
    for (size_t i = 0; i < count; i++) {
        if (spans[i].size > open - total)
            return DICORE_BAD_ARGUMENT;
        total += spans[i].size;
    }
    s->spans = spans;
    s->span_count = total ? count : 0;
    s->span_offset = 0;
    return DICORE_OK;
}

/** Where next() puts what it makes. */
typedef struct gatherer {
    uint8_t *headers;
    size_t header_left;
    dicore_span *pieces;
    size_t capacity, count;
} gatherer;

static uint8_t *add_header(gatherer *g, size_t size)
{
    uint8_t *p = g->headers;
    g->pieces[g->count++] = (dicore_span){.data = p, .size = size};
    g->headers += size;
    g->header_left -= size;
    return p;
}

static uint8_t begin_data(dicore_sender *s, uint32_t fragment)
{
    s->pdv_left = fragment;
    s->data_left -= fragment;
    s->wants_data = s->data_left != 0;
    return s->wants_data ? 0 : PDV_LAST;
}

static void next_command(dicore_sender *s, gatherer *g)
{
    uint32_t most = even_fragment(s->length);
    uint32_t fragment = s->command_left < most ? (uint32_t)s->command_left : most;
    uint8_t *header = add_header(g, MESSAGE_HEADER);
    g->pieces[g->count++] = (dicore_span){.data = s->command, .size = fragment};
    s->command += fragment;
    s->command_left -= fragment;
    uint32_t length = PDV_HEADER + fragment;
    pdv_write(header + PDU_HEADER, fragment, s->context_id, s->command_left ? PDV_COMMAND : PDV_COMMAND | PDV_LAST);
    if (s->command_left == 0 && s->flags & DICORE_SEND_SHARED && s->wants_data && s->length - length >= PDV_HEADER + 2) {
        uint32_t room = even_fragment(s->length - length), shared = s->data_left < room ? (uint32_t)s->data_left : room;
        uint8_t control = begin_data(s, shared);
        pdv_write(add_header(g, PDV_HEADER), shared, s->context_id, control);
        length += PDV_HEADER + shared;
    }
    pdu_write(header, PDU_DATA, length);
}

static void next_data_header(dicore_sender *s, gatherer *g)
{
    uint32_t most = even_fragment(s->length), fragment = s->data_left < most ? (uint32_t)s->data_left : most;
    uint8_t *header = add_header(g, MESSAGE_HEADER);
    uint8_t control = begin_data(s, fragment);
    pdu_write(header, PDU_DATA, PDV_HEADER + fragment);
    pdv_write(header + PDU_HEADER, fragment, s->context_id, control);
}

/** Hand out supplied bytes for the open PDV: one piece per span. */
static void next_data(dicore_sender *s, gatherer *g)
{
    size_t left = s->spans->size - s->span_offset, taken = left < s->pdv_left ? left : s->pdv_left;
    if (taken)
        g->pieces[g->count++] = (dicore_span){.data = s->spans->data + s->span_offset, .size = taken};
    s->pdv_left -= (uint32_t)taken;
    s->span_offset += taken;
    if (s->span_offset == s->spans->size) {
        s->spans++;
        s->span_count--;
        s->span_offset = 0;
    }
}

dicore_status dicore_sender_next(dicore_sender *s, uint8_t *headers, size_t header_size, dicore_span *pieces,
                                 size_t capacity, size_t *count)
{
    dicore_association *a = s->association;
    gatherer g = {.headers = headers, .header_left = header_size, .pieces = pieces, .capacity = capacity};
    *count = 0;
    if (capacity < 4 || header_size < 24)
        return DICORE_BAD_ARGUMENT;
    if (s->done)
        return DICORE_END;
    dicore_status status = perform(a, P_DATA_REQUEST, &(cause){0});
    if (status != DICORE_OK)
        return status;
    while (g.capacity - g.count >= 3) {
        if (s->pdv_left) {
            if (!s->span_count)
                break; /* supply more */
            next_data(s, &g);
        } else if (s->command_left) {
            if (g.header_left < MESSAGE_HEADER + PDV_HEADER)
                break;
            next_command(s, &g);
        } else if (s->wants_data) {
            if (g.header_left < MESSAGE_HEADER || (s->data_left && !s->span_count))
                break;
            next_data_header(s, &g);
        } else {
            s->done = true;
            break;
        }
    }
    /* Spans of size 0 behind the last byte are nobody's business; a message is done when nothing is owed. */
    if (!s->pdv_left && !s->command_left && !s->wants_data)
        s->done = true;
    a->sending = !s->done;
    a->amid_pdu = s->pdv_left != 0;
    a->restart = true;
    *count = g.count;
    return s->done ? DICORE_END : DICORE_OK;
}
