"""One association of the core for whoever drives it by hand, with a clock of his own: bytes and times in, bytes and events out
(dicore/net.h). The drivers, `net` and `engine`, have the core to themselves."""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from dicore._native.command cimport Command
from dicore._native.heap cimport heap
from dicore._native.libdicore cimport *
from dicore._native.status cimport check

cdef dict KINDS = {
    <int>DICORE_EVENT_ASSOCIATE_RQ: "associate_rq", <int>DICORE_EVENT_ASSOCIATE_AC: "associate_ac",
    <int>DICORE_EVENT_ASSOCIATE_RJ: "associate_rj", <int>DICORE_EVENT_COMMAND: "command", <int>DICORE_EVENT_DATA: "data",
    <int>DICORE_EVENT_RELEASE_RQ: "release_rq", <int>DICORE_EVENT_RELEASE_RP: "release_rp", <int>DICORE_EVENT_ABORT: "abort",
    <int>DICORE_EVENT_FAILED: "failed", <int>DICORE_EVENT_CLOSED: "closed", <int>DICORE_EVENT_TIMEOUT: "timeout",
}
cdef char *SOP_CLASS = b"1.2.840.10008.1.1"
cdef char *SYNTAX = b"1.2.840.10008.1.2"


cdef dicore_span span_of(char *text, size_t size):
    cdef dicore_span s
    s.data = <const uint8_t *>text
    s.size = size
    return s


cdef void one_context(dicore_associate *said, dicore_context *context, dicore_span *syntax) noexcept:
    """What an A-ASSOCIATE of either kind says of context 1. All three have to last until it is sent."""
    memset(said, 0, sizeof(said[0]))
    memset(context, 0, sizeof(context[0]))
    syntax[0] = span_of(SYNTAX, 17)
    context.id = 1
    context.syntaxes = syntax
    context.syntax_count = 1
    said.implementation_uid = span_of(b"1.2.3", 5)
    said.contexts = context
    said.context_count = 1


cdef class Association:
    """An association with one context, 1: Verification in implicit VR. What a state does not allow is False, nothing raises.
    Events are tuples that begin with their kind; every time is a number of the caller's clock."""
    cdef dicore_association *core

    def __cinit__(self, *, uint64_t artim, uint64_t request, uint64_t network, uint64_t dimse, uint64_t idle):
        cdef dicore_association_options options
        cdef dicore_allocator allocator = heap()
        dicore_association_defaults(&options)
        options.artim_timeout = artim
        options.request_timeout = request
        options.network_timeout = network
        options.dimse_timeout = dimse
        options.idle_timeout = idle
        self.core = dicore_association_new(&options, &allocator)
        if self.core == NULL:
            raise MemoryError()

    def __dealloc__(self):
        dicore_association_free(self.core)

    def request(self):
        """Propose, as the requestor."""
        cdef dicore_associate rq
        cdef dicore_context context
        cdef dicore_span syntax
        one_context(&rq, &context, &syntax)
        context.abstract_syntax = span_of(SOP_CLASS, 17)
        rq.called_ae = rq.calling_ae = span_of(b"A", 1)
        return dicore_association_request(self.core, &rq) == DICORE_OK

    def connected(self):
        return dicore_association_connected(self.core) == DICORE_OK

    def accept(self):
        """Accept the one context."""
        cdef dicore_associate ac
        cdef dicore_context context
        cdef dicore_span syntax
        one_context(&ac, &context, &syntax)
        return dicore_association_accept(self.core, &ac) == DICORE_OK

    def reject(self):
        return dicore_association_reject(self.core, 2, 3, 2) == DICORE_OK

    def release(self):
        return dicore_association_release(self.core) == DICORE_OK

    def release_reply(self):
        return dicore_association_release_reply(self.core) == DICORE_OK

    def abort(self):
        return dicore_association_abort(self.core, 0, 0) == DICORE_OK

    def send(self, Command command not None, bytes data=None):
        """The bytes of a message on context 1, whole; None: not now."""
        cdef dicore_command c
        cdef dicore_sender sender
        cdef uint8_t memory[1024]
        cdef uint8_t headers[48]
        cdef dicore_span pieces[6]
        cdef dicore_span whole
        cdef size_t count, i
        cdef dicore_status status
        cdef list out = []
        command.fill(&c)
        if data is not None:
            c.data_set_type = DICORE_DATA_SET
            c.present |= DICORE_HAS_DATA_SET_TYPE
            whole = span_of(data, <size_t>len(data))
        status = dicore_association_send(self.core, 1, &c, <uint64_t>(0 if data is None else len(data)), 0, memory, sizeof(memory), &sender)
        if status != DICORE_OK:
            return None
        if data is not None:
            check(dicore_sender_supply(&sender, &whole, 1), NULL)
        while status == DICORE_OK:
            status = dicore_sender_next(&sender, headers, sizeof(headers), pieces, 6, &count)
            for i in range(count):
                out.append((<const char *>pieces[i].data)[:pieces[i].size])
        return b"".join(out)

    def output(self):
        """What the core has to say, taken."""
        cdef const uint8_t *data
        cdef size_t size
        dicore_association_output(self.core, &data, &size)
        said = (<const char *>data)[:size] if size else b""
        dicore_association_sent(self.core, size)
        return said

    def receive(self, const uint8_t[::1] data not None):
        """The events in these bytes."""
        cdef dicore_event event
        cdef size_t at = 0, size = <size_t>data.shape[0], consumed
        cdef const uint8_t *begin = &data[0] if size else NULL
        cdef list events = []
        while True:
            dicore_association_receive(self.core, begin + at if size else NULL, size - at, &consumed, &event)
            at += consumed
            if event.kind == DICORE_EVENT_NONE:
                return events
            events.append(self.told(&event))

    cdef tuple told(self, const dicore_event *event):
        kind = KINDS[<int>event.kind]
        if event.kind == DICORE_EVENT_COMMAND:
            return kind, Command.of(&event.command), bool(event.last)
        if event.kind == DICORE_EVENT_DATA:
            return kind, (<const char *>event.data)[:event.size] if event.size else b"", bool(event.last)
        if event.kind in (DICORE_EVENT_RELEASE_RQ, DICORE_EVENT_RELEASE_RP):
            return kind, bool(event.collision)
        if event.kind == DICORE_EVENT_TIMEOUT:
            return kind, <int>event.timeout
        return (kind,)

    def closed(self):
        """The transport is gone: the event, or None."""
        cdef dicore_event event
        dicore_association_closed(self.core, &event)
        return None if event.kind == DICORE_EVENT_NONE else self.told(&event)

    def deadline(self, uint64_t now):
        """When to call `tick`; None: never."""
        cdef uint64_t at = dicore_association_deadline(self.core, now)
        return None if at == <uint64_t>-1 else at

    def tick(self, uint64_t now):
        """The event, or None."""
        cdef dicore_event event
        dicore_association_tick(self.core, now, &event)
        return None if event.kind == DICORE_EVENT_NONE else self.told(&event)

    @property
    def state(self):
        """1 to 13."""
        return dicore_association_state(self.core)

    @property
    def closing(self):
        """The transport is to be closed."""
        return bool(dicore_association_closing(self.core))

    @property
    def failed(self):
        return bool(dicore_association_failed(self.core))

    @property
    def pending(self):
        """Requests of the peer that have no final answer."""
        return dicore_association_pending(self.core)
