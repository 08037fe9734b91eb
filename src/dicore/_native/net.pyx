"""The association core under its two asyncio drivers: `Acceptor` for a listener, `Link` and `Pump` for a client.

Here is what happens per read and per message; policy, sockets and timers are in dicore.net."""
cimport cython
import os
from collections import deque

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.errno cimport EAGAIN, ECONNRESET, EINTR, EPIPE, errno
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from dicore import errors
from dicore._native.capture cimport Stream
from dicore._native.command cimport Command
from dicore._native.libdicore cimport *
from dicore._native.status cimport check

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *out)
    int CLOCK_MONOTONIC
    int CLOCK_MONOTONIC_COARSE

cdef extern from "sys/uio.h" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "sys/socket.h" nogil:
    cdef struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    ssize_t c_recv "recv"(int fd, void *data, size_t size, int flags)
    ssize_t c_sendmsg "sendmsg"(int fd, const msghdr *message, int flags)
    int setsockopt(int fd, int level, int name, const void *value, unsigned int size)
    int MSG_NOSIGNAL
    int MSG_DONTWAIT
    int MSG_MORE

cdef extern from "netinet/in.h" nogil:
    int IPPROTO_TCP

cdef extern from "netinet/tcp.h" nogil:
    int TCP_QUICKACK

cdef extern from "poll.h" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd *fds, unsigned long count, int timeout)
    int POLLIN
    int POLLOUT
    int POLLERR
    int POLLHUP

cdef extern from "sys/eventfd.h" nogil:
    int eventfd(unsigned int value, int flags)
    int EFD_CLOEXEC
    int EFD_NONBLOCK

cdef extern from "fcntl.h" nogil:
    int c_open "open"(const char *path, int flags)
    int O_RDONLY
    int O_CLOEXEC
    int O_NOCTTY

cdef extern from "unistd.h" nogil:
    int c_close "close"(int fd)
    ssize_t c_pread "pread"(int fd, void *data, size_t size, long offset)
    ssize_t c_read "read"(int fd, void *data, size_t size)
    ssize_t c_write "write"(int fd, const void *data, size_t size)

cdef extern from "sys/stat.h" nogil:
    cdef struct c_stat "stat":
        long st_size
        unsigned int st_mode
    int c_fstat "fstat"(int fd, c_stat *out)
    int c_stat_path "stat"(const char *path, c_stat *out)
    bint S_ISREG(unsigned int mode)
    bint S_ISDIR(unsigned int mode)

cdef enum:
    LANDING = 512 * 1024     # of a landing buffer: what one read may bring
    ROOM = 128 * 1024        # a landing buffer with less room left is not read into again
    TAKE = 32 * 1024         # less than this of an unfinished data set is copied out of a landing buffer
    JOIN = 512               # a fragment up to this size is moved to the one before it
    KEPT = 64                # landing buffers that stay when nobody needs them
    MESSAGE_COST = 4096      # what an unanswered message counts in flight beside its bytes
    PIECES = 64              # of one gather write
    BATCH = 64 * 1024        # small messages are sent together, up to this many bytes
    SMALL = 32 * 1024        # a message up to this size is one
    TURN = 1 << 20           # bytes of large messages that one association sends before others have their turn
    BACKLOG = 4 << 20        # bytes of answers that a peer may leave unread
    QUEUED = 4096            # messages that may wait for an unfinished one
    OVERFLOW = 256           # connections beyond the limit that are still told so by an A-ASSOCIATE-RJ
    OVERFLOW_PEER = 32       # the same, of one address

PENDING = -1
"""What `Sink.store` and `Sink.commit` return when `request.answer(status)` will follow."""

cdef uint64_t now_ms() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t)
    return <uint64_t>t.tv_sec * 1000 + <uint64_t>t.tv_nsec // 1000000


cdef void *c_resize(void *context, void *pointer, size_t old_size, size_t new_size) noexcept nogil:
    if new_size == 0:
        free(pointer)
        return NULL
    return realloc(pointer, new_size)


cdef dicore_allocator ALLOCATOR
ALLOCATOR.resize = c_resize
ALLOCATOR.context = NULL


cdef str text_of(dicore_span span):
    """Text of a peer: ASCII, other bytes escaped."""
    return PyUnicode_DecodeASCII(<const char *>span.data, <Py_ssize_t>span.size, "backslashreplace")


cdef dicore_span span_of_bytes(bytes data):
    cdef dicore_span span
    span.data = <const uint8_t *>PyBytes_AS_STRING(data)
    span.size = <size_t>PyBytes_GET_SIZE(data)
    return span


cdef dicore_span span_of_chars(const char *text, size_t size) noexcept nogil:
    cdef dicore_span span
    span.data = <const uint8_t *>text
    span.size = size
    return span


cdef dicore_span span_of_text(str text) except *:
    """The UTF-8 bytes of a str, which live as long as it does."""
    cdef dicore_span span
    cdef Py_ssize_t size
    span.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
    span.size = <size_t>size
    return span


cdef bytes span_bytes(dicore_span span):
    return PyBytes_FromStringAndSize(<const char *>span.data, <Py_ssize_t>span.size)


cdef str same_text(str known, dicore_span span):
    """`known` itself when the span says the same, so that no new str is made."""
    cdef dicore_span other = span_of_text(known)
    if other.size == span.size and memcmp(other.data, span.data, span.size) == 0:
        return known
    return text_of(span)


TIMEOUT_NAMES = {
    <int>DICORE_TIMEOUT_ARTIM: "artim",
    <int>DICORE_TIMEOUT_REQUEST: "request",
    <int>DICORE_TIMEOUT_NETWORK: "network",
    <int>DICORE_TIMEOUT_DIMSE: "dimse",
    <int>DICORE_TIMEOUT_IDLE: "idle",
}


LIMIT_NAMES = {
    <int>DICORE_WIRE_PDU_LIMIT: "limit_pdu",
    <int>DICORE_WIRE_NEGOTIATION_LIMIT: "limit_negotiation",
    <int>DICORE_WIRE_COMMAND_LIMIT: "limit_command",
}


# ---- landing buffers -------------------------------------------------------------------------------------------------

@cython.final
cdef class Host:
    """What all associations from one address share."""
    cdef readonly str address
    cdef readonly Py_ssize_t connections
    cdef readonly uint64_t admitted      # associations
    cdef readonly uint64_t in_flight
    cdef readonly bint local

    def __init__(self, str address, bint local):
        self.address = address
        self.local = local


@cython.final
cdef class Buffer:
    """Memory that bytes of a peer land in. Exports itself read-only; a memoryview that outlives its message keeps it."""
    cdef uint8_t *data
    cdef size_t capacity
    cdef size_t used           # what lies before belongs to messages
    cdef Py_ssize_t exports    # memoryviews that exist
    cdef int holders           # messages and calls that need it
    cdef Host host             # who is charged for it, None while nobody is

    def __cinit__(self, size_t capacity):
        self.data = <uint8_t *>malloc(capacity)
        if self.data == NULL:
            raise MemoryError()
        self.capacity = capacity

    def __dealloc__(self):
        free(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t>self.capacity, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


@cython.final
cdef class Window:
    """The writable room that `get_buffer` lends to the transport: one object per listener, moved for each read."""
    cdef Buffer buffer
    cdef size_t start, size

    def __len__(self):
        return <Py_ssize_t>self.size

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.buffer.data + self.start, <Py_ssize_t>self.size, 0, flags)


@cython.final
cdef class Outgoing:
    """A message that waits to be sent, or is being sent. Its data set is `pieces` (buffers, of `size` bytes together), and
    what `more(message)` brings by `message.supply(buffer)` when those are used up."""
    cdef Command command
    cdef object owner          # the Acceptor or Link
    cdef list pieces           # None: no data set
    cdef Py_ssize_t next       # of them
    cdef object more, done     # done(): the last byte has been handed on
    cdef bytes memory          # of the command set
    cdef uint64_t size
    cdef Py_buffer view
    cdef dicore_span span
    cdef uint8_t context
    cdef bint held, asked

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    def supply(self, piece):
        """The next bytes of the data set: the answer to `more`."""
        if self.pieces is not None:
            self.pieces = [piece]
            self.next = 0
            self.asked = False
            self.owner.resume()

    def fail(self, str why):
        """The data set cannot be completed: the association is aborted, there is no other way out of a message."""
        if self.pieces is not None:
            self.pieces = None
            self.owner.stop(why)

    cdef dicore_status begin(self, dicore_association *core, dicore_sender *sender) except *:
        cdef dicore_command c
        cdef size_t size = 0
        cdef dicore_status status
        self.command.fill(&c)
        status = dicore_command_build(&c, NULL, 0, &size)
        if status != DICORE_NO_MEMORY:
            return status
        self.memory = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        return dicore_association_send(core, self.context, &c, self.size, 0, <uint8_t *>PyBytes_AS_STRING(self.memory), size,
                                       sender)

    cdef bint feed(self, dicore_sender *sender) except -1:
        """Supply the sender with the next piece; False: none is here."""
        self.let_go()
        while self.pieces is not None and self.next < len(self.pieces):
            piece = self.pieces[self.next]
            self.pieces[self.next] = None
            self.next += 1
            PyObject_GetBuffer(piece, &self.view, PyBUF_SIMPLE)
            self.held = True
            if self.view.len == 0:
                self.let_go()
                continue
            self.span.data = <const uint8_t *>self.view.buf
            self.span.size = <size_t>self.view.len
            check(dicore_sender_supply(sender, &self.span, 1), NULL)
            return True
        if self.pieces is not None and self.more is not None and not self.asked:
            self.asked = True
            self.more(self)                    # may supply at once
            if not self.asked:
                return self.feed(sender)
        return False

    cdef int let_go(self) except -1:
        if self.held:
            self.held = False
            PyBuffer_Release(&self.view)
        return 0

    cdef int finish(self) except -1:
        self.let_go()
        self.pieces = None
        if self.done is not None:
            self.done()
        return 0


cdef Outgoing outgoing(object owner, int context_id, Command command, list pieces, object size, object more, object done):
    cdef Outgoing message = Outgoing.__new__(Outgoing)
    message.owner = owner
    message.context = <uint8_t>context_id
    message.command = command
    message.more = more
    message.done = done
    if pieces is None and more is None:
        command.data_set_type = 0x0101
        return message
    message.pieces = [] if pieces is None else list(pieces)
    if command.data_set_type == 0x0101:
        command.data_set_type = 0x0001
    message.size = <uint64_t>(sum([len(piece) for piece in message.pieces]) if size is None else size)
    return message


cdef struct outlet:            # of an association that has data sets to send
    dicore_sender sender
    dicore_span pieces[PIECES]
    uint8_t headers[12 * PIECES]


cdef struct fragment:
    uint32_t buffer            # index into the association's buffers; one past the last: the buffer being read
    uint32_t offset
    uint32_t length


# ---- requests --------------------------------------------------------------------------------------------------------

cdef class Request:
    """One request of a peer."""
    cdef readonly int message_id
    cdef readonly str sop_class_uid
    cdef Acceptor _association

    @property
    def calling_ae(self):
        return self._association.calling_ae

    @property
    def called_ae(self):
        return self._association.called_ae

    @property
    def peer(self):
        """Address and port of the peer as 'host:port'."""
        return self._association.peer


@cython.final
cdef class StoreRequest(Request):
    """One C-STORE-RQ."""
    cdef readonly int priority
    cdef readonly str sop_instance_uid
    cdef readonly str transfer_syntax
    cdef list _buffers         # held until the answer
    cdef object _handle        # of the sink, when the data set is streamed
    cdef uint64_t _size        # of the data set
    cdef uint64_t _commanded, _first, _last, _settled   # ns: see dicore/phases.h
    cdef int _status
    cdef uint8_t _context
    cdef bint _answered, _waits

    def answer(self, int status):
        """Give the answer that `PENDING` has promised. On the loop's thread, once; after the association has ended it
        only gives the memory back."""
        if self._answered:
            raise RuntimeError("this request has been answered")
        self._association.settle(self, status)
        self._association.flush()

    def _resolved(self, future):
        if self._answered:
            return
        if future.cancelled():
            self._association.hub.on_error(self, errors.AssociationStateError("the sink was cancelled"))
            self.answer(0xC000)
            return
        error = future.exception()
        status = self._association.hub.on_error(self, error) if error is not None else future.result()
        self.answer(self._association.checked(self, status))

    def _written(self, future):
        error = errors.AssociationStateError("the sink was cancelled") if future.cancelled() else future.exception()
        self._association.written(self, error)


# ---- times -----------------------------------------------------------------------------------------------------------

PHASES = ("accept", "negotiate", "first_byte", "last_byte", "commit", "answer")
"""In the order of dicore_phase."""
PHASE_FIRST, PHASE_LAST = <int>DICORE_PHASE_FIRST, <int>DICORE_PHASE_LAST
"""Powers of two, in ns: four buckets from each to the next, one for what is less, one for what is not."""


cdef dict times_of(const dicore_times *times):
    cdef dict out = {}
    cdef int i, j
    for i in range(<int>DICORE_PHASES):
        out[PHASES[i]] = (times[i].count, times[i].sum, [times[i].buckets[j] for j in range(<int>DICORE_PHASE_BUCKETS)])
    return out


# ---- the listener's side ---------------------------------------------------------------------------------------------

cdef class Hub:
    """What the associations of one listener share: landing buffers, limits, policy, counters, the sink's methods."""
    cdef public object store, begin, write, commit, abort         # bound methods of the sink; None: C-STORE is not served
    cdef public object on_echo                                    # callable(Request) -> status, or None
    cdef public object on_error                                   # callable(StoreRequest, exception) -> status
    cdef public object on_end                                     # callable(Acceptor)
    cdef public object ensure_future                              # callable(awaitable) -> future of the loop
    cdef public object sop_classes, transfer_syntaxes             # frozenset[bytes] or None
    cdef public object called_ae, calling_ae                      # frozenset[str] or None
    cdef public object admit_certificate                          # callable(association) -> bool, or None
    cdef public object admit                                      # callable(peer's IP address) -> bool, or None
    cdef public object on_message                                 # callable(Acceptor, context id, Command, data set or None)
    cdef public object on_class                                   # callable(SOP class) -> bool: is it served beside C-STORE
    cdef public object on_role                                    # callable(SOP class) -> bool: can we be its SCU
    cdef public object on_identity                                # callable(Acceptor, type, primary, secondary, asked) or None
    cdef public object call_soon                                  # of the loop
    cdef public object capture                                    # a Capture that shows what is said, or None
    cdef public dict extended                                     # SOP class -> bytes of extended negotiation that we support
    cdef public int window                                        # operations at a time, when the peer asks for more than one
    cdef public uint64_t limit_identifier                         # bytes of a data set that is not a C-STORE's
    cdef public bytes implementation_uid, implementation_version
    cdef public uint64_t limit_associations, limit_per_peer, limit_dataset, limit_stream, limit_in_flight, limit_in_flight_peer
    cdef public bint draining
    cdef readonly set open
    cdef readonly uint64_t in_flight
    cdef readonly uint64_t admitted
    cdef readonly dict counters
    cdef dicore_association_options options
    cdef dict hosts
    cdef dict uids             # bytes -> str, so that a thousand associations share one text
    cdef list spare            # landing buffers nobody needs, the warmest last
    cdef Buffer current        # what the next read lands in, unless its association has a buffer of its own
    cdef Window room
    cdef dict served           # SOP class -> bool
    cdef list waiting          # associations that are not read because of the limits in flight
    # hot counters, folded into `counters` when they are asked for
    cdef uint64_t echoes, stores, stores_failed, bytes_in, streamed
    cdef uint64_t read_at      # ns of the last read
    cdef dicore_times times[<int>DICORE_PHASES]
    cdef public object on_done # callable(Acceptor, service, message id, SOP class, instance, status, bytes, ns of the phases), or None
    cdef dicore_engine *engine # with which the budget of bytes in flight is shared, or NULL
    cdef object engine_owner

    def __init__(self, *, uint32_t pdu, uint32_t negotiation, uint32_t command, uint64_t artim, uint64_t network,
                 uint64_t dimse, uint64_t idle):
        dicore_association_defaults(&self.options)
        self.options.max_length = pdu
        self.options.negotiation_limit = negotiation
        self.options.command_limit = command
        self.options.artim_timeout = artim
        self.options.network_timeout = network
        self.options.dimse_timeout = dimse
        self.options.idle_timeout = idle
        self.open = set()
        self.hosts = {}
        self.uids = {}
        self.spare = []
        self.waiting = []
        self.room = Window()
        self.window = 1
        self.extended = {}
        self.served = {}
        self.counters = dict.fromkeys((
            "connections", "associations", "released", "aborted_by_peer", "aborted", "closed", "rejected", "violations",
            "limit_associations", "limit_per_peer", "limit_in_flight", "limit_dataset", "timeout_artim", "timeout_network",
            "timeout_dimse", "timeout_idle", "unsupported", "limit_identifier", "operations", "operations_failed",
            "tls_failures", "limit_pdu", "limit_negotiation", "limit_command", "limit_in_flight_per_peer", "limit_unread"), 0)

    def counts(self):
        """All counters, as a new dict."""
        counts = dict(self.counters)
        counts.update(echoes=self.echoes, stores=self.stores, stores_failed=self.stores_failed, streamed=self.streamed,
                      bytes=self.bytes_in, open=len(self.open), in_flight=self.in_flight)
        return counts

    def times_by_phase(self):
        """{phase: (count, sum in ns, counts of the buckets)} of all messages."""
        return times_of(self.times)

    def tick(self):
        """Look at every association's deadline: called by the listener's one timer."""
        cdef uint64_t now = now_ms()
        cdef Acceptor association
        for association in list(self.open):
            association.tick(now)
        if self.waiting:                       # all memory is with data sets that wait for each other
            for association in list(self.waiting):
                if association.fragment_count:
                    association.spill()
            self.wake()

    def share(self, engine):
        """One budget of bytes in flight with a `dicore._native.engine.Engine`; None: no more."""
        if self.engine != NULL:
            dicore_engine_hold(self.engine, -<int64_t>self.in_flight)
        self.engine_owner = engine
        self.engine = NULL if engine is None else <dicore_engine *><size_t>engine.address
        if self.engine != NULL:
            dicore_engine_hold(self.engine, <int64_t>self.in_flight)

    cdef void charge(self, Host host, int64_t size) noexcept:
        host.in_flight += <uint64_t>size
        self.in_flight += <uint64_t>size
        if self.engine != NULL:
            dicore_engine_hold(self.engine, size)

    def drain(self):
        """No new associations or messages: what is under way is finished, what is idle is aborted."""
        cdef Acceptor association
        self.draining = True
        for association in list(self.open):
            association.finish_draining()

    cdef object count(self, str name):
        self.counters[name] = self.counters[name] + 1

    def counted(self, str name):
        """Add one to a counter."""
        self.count(name)

    cdef str shared(self, dicore_span span):
        cdef bytes key = PyBytes_FromStringAndSize(<const char *>span.data, <Py_ssize_t>span.size)
        cdef object found = self.uids.get(key)
        if found is None:
            found = text_of(span)
            if len(self.uids) < 4096:
                self.uids[key] = found
        return <str>found

    cdef Host host_of(self, str address):
        cdef object host = self.hosts.get(address)
        if host is None:
            host = Host(address, address.startswith("127.") or address in ("::1", ""))
            self.hosts[address] = host
        (<Host>host).connections += 1
        return <Host>host

    cdef object leave(self, Host host):
        host.connections -= 1
        self.forget(host)

    cdef object forget(self, Host host):
        if host.connections == 0 and host.in_flight == 0:
            self.hosts.pop(host.address, None)

    cdef Buffer landing(self):
        """The shared buffer for the next read: nobody holds it, no memoryview of it is left."""
        cdef Buffer buffer = self.current
        if buffer is None or buffer.holders != 0 or buffer.exports != 0:
            if self.spare:
                buffer = <Buffer>self.spare.pop()
            else:
                buffer = Buffer(LANDING)
            buffer.used = 0
            self.current = buffer
        return buffer

    cdef int hold(self, Buffer buffer, Host host) except -1:
        buffer.holders += 1
        if buffer.host is None:
            buffer.host = host
            self.charge(host, <int64_t>buffer.capacity)
        return 0

    cdef int release(self, Buffer buffer) except -1:
        cdef Host host
        buffer.holders -= 1
        if buffer.holders == 0:
            host = buffer.host
            if host is not None:
                buffer.host = None
                self.charge(host, -<int64_t>buffer.capacity)
            if buffer is not self.current and buffer.exports == 0 and buffer.capacity == LANDING and len(self.spare) < KEPT:
                self.spare.append(buffer)
            if host is not None and host.connections == 0:
                self.forget(host)
            if self.waiting:
                self.wake()
        return 0

    cdef int wake(self) except -1:
        """Go on reading where the limits allow it again."""
        cdef list waiting = self.waiting
        cdef Acceptor association
        self.waiting = []
        for association in waiting:
            association.paused_by_limit = False
            if self.full(association.host):
                association.paused_by_limit = True
                self.waiting.append(association)
            else:
                association.update_reading()
        return 0

    cdef bint full(self, Host host):
        return self.all_in_flight() >= self.limit_in_flight or host.in_flight >= self.limit_in_flight_peer

    cdef uint64_t all_in_flight(self):
        return self.in_flight if self.engine == NULL else dicore_engine_hold(self.engine, 0)


cdef enum:
    MESSAGE_NONE = 0           # between data sets
    MESSAGE_STORE = 1          # a data set is gathered
    MESSAGE_STREAM = 2         # a data set goes to the sink as it comes
    MESSAGE_REFUSED = 3        # a data set is dropped, `refusal` will be answered
    MESSAGE_OTHER = 4          # a data set of another service is gathered for `on_message`


cdef dict EMPTY = {}           # never written to


cdef class Acceptor:
    """One association of a listener. dicore.net.transport makes an asyncio.BufferedProtocol of it."""
    cdef readonly Hub hub
    cdef readonly str calling_ae, called_ae, peer, why
    cdef readonly uint64_t stores, stored_bytes, echoes, started
    cdef readonly Host host
    cdef readonly dict roles       # SOP class -> (SCU, SCP): what the requestor may be, where it was negotiated
    cdef readonly dict extended    # SOP class -> bytes of extended negotiation, as agreed
    cdef readonly tuple identity   # of the user: (type, primary, secondary), or None
    cdef readonly int window_invoked, window_performed             # operations at a time: the peer's, ours
    cdef readonly str implementation_uid, implementation_version   # of the peer
    cdef public object exchange    # what dicore.net keeps of this association
    cdef public Py_ssize_t operations                              # services under way: as long as there are some it is not idle
    cdef public bint wants_room    # tell `exchange.on_room()` when messages can be posted again
    cdef dicore_association *core
    cdef object transport
    cdef int fd                # for writing past the transport; -1: do not
    cdef bint secure           # TLS
    cdef bint queued           # the transport has bytes of ours waiting
    cdef bint admitted         # it counts against the limits of associations
    cdef bint ended            # nothing is read or answered any more
    cdef bint lent             # to threads: the core and the socket are theirs, see `lend`
    cdef bint lost             # the transport has gone meanwhile
    cdef str recalled          # why it is wanted back
    cdef public object loan    # whose `stop()` brings it back
    cdef bint paused, paused_by_limit, paused_by_peer, resumed
    cdef uint64_t closing_since
    cdef uint8_t kind          # MESSAGE_...
    cdef uint16_t refusal
    cdef tuple contexts        # of (SOP class, transfer syntax), in the order of `context_ids`
    cdef bytes context_ids
    cdef StoreRequest request  # whose data set is coming
    cdef uint64_t message_size # bytes of it so far
    cdef uint64_t gathered     # of those the ones in `fragments`
    cdef list buffers          # that hold fragments of it; each is held once
    cdef Buffer own            # the last of them when there is room in it for what comes next
    cdef Buffer tail           # the small one that slow senders' bytes are copied to
    cdef fragment *fragments
    cdef uint32_t fragment_count, fragment_capacity
    cdef list writing          # buffers of a write that is under way
    cdef list rests            # (buffer, begin, end) of reads that wait for it; each buffer is held once
    cdef bint taking           # the first of them is being taken
    cdef bint stream_done      # its last byte is here
    cdef Py_ssize_t unanswered # messages that the sink has
    cdef dict by_id            # `accepted`, once it was asked for
    cdef int holds             # who wants nothing to be read
    cdef Command message       # whose data set is coming
    cdef uint8_t message_context
    cdef object queue          # deque of Outgoing, None: never had one
    cdef Outgoing current      # the one that is being sent
    cdef outlet *out
    cdef uint8_t *batch        # small messages that go out together
    cdef size_t batch_size
    cdef bint pumping, feeding, flush_due
    cdef const dicore_associate *proposal      # while the user's identity is looked at
    cdef public uint64_t accepted_at                               # ns
    cdef uint64_t asked_at     # of the A-ASSOCIATE-RQ, while it is not answered
    cdef bint concluded
    cdef uint64_t commanded_at, first_byte_at                      # of the data set that is coming
    cdef uint64_t accept_time, negotiate_time
    cdef list settled          # C-STOREs whose responses are to be sent; None: never had one
    cdef list echoed           # (message id, status, ns) of C-ECHOs
    cdef uint64_t single[4]    # the phases of the first message
    cdef uint64_t timed_count  # messages
    cdef dicore_times *times   # the phases of all, from the second message on
    cdef Stream shown          # of the capture; None: nobody captures
    cdef size_t shown_before   # bytes that come again, and stand in the capture already
    cdef bint peer_closed
    cdef size_t stalled_size   # bytes the transport could not send ..
    cdef uint64_t stalled_since                # .. since then

    def __cinit__(self, Hub hub, *args):
        self.hub = hub
        self.fd = -1
        self.core = dicore_association_new(&hub.options, &ALLOCATOR)
        if self.core == NULL:
            raise MemoryError()
        self.calling_ae = self.called_ae = self.peer = self.why = ""
        self.implementation_uid = self.implementation_version = ""
        self.roles = self.extended = EMPTY
        self.window_invoked = self.window_performed = 1

    def __dealloc__(self):
        free(self.fragments)
        free(self.out)
        free(self.batch)
        free(self.times)
        dicore_association_free(self.core)

    @property
    def idle(self):
        """No message is under way."""
        return not self.lent and self.kind == MESSAGE_NONE and self.unanswered == 0 and self.operations == 0

    def extra(self, str name):
        """What the transport knows of the connection: 'ssl_object', 'socket', ...; None: nothing."""
        return None if self.transport is None else self.transport.get_extra_info(name)

    # -- what the transport calls

    def connection_made(self, transport):
        cdef Hub hub = self.hub
        self.transport = transport
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.host = hub.host_of(name[0])
            self.peer = f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"
        else:
            self.host = hub.host_of("")
            self.peer = "unix"
        self.secure = transport.get_extra_info("sslcontext") is not None
        if not self.secure:
            self.fd = transport.get_extra_info("socket").fileno()
        self.started = now_ms()
        if not self.accepted_at:
            self.accepted_at = dicore_now_ns()
        if hub.capture is not None and self.shown is None:
            self.shown = hub.capture.begin(transport.get_extra_info("sockname"), name, True, self.secured())
        hub.count("connections")
        hub.open.add(self)
        crowded = <uint64_t>len(hub.open) > hub.limit_associations + OVERFLOW
        if crowded or (not self.host.local and <uint64_t>self.host.connections > hub.limit_per_peer + OVERFLOW_PEER):
            hub.count("limit_associations" if crowded else "limit_per_peer")
            self.why = "closed: too many connections"
            self.end()
            transport.abort()
            return
        check(dicore_association_connected(self.core), NULL)
        dicore_association_deadline(self.core, self.started)

    def show_on(self, Stream shown not None, size_t before):
        """Go on with the stream of a capture that has the first `before` bytes. Before `connection_made`."""
        self.shown = shown
        self.shown_before = before

    cdef str secured(self):
        """What TLS there is, for the capture."""
        connection = self.extra("ssl_object")
        if connection is None:
            return ""
        cipher = connection.cipher()
        return f"decrypted: {connection.version()} {cipher[0] if cipher else ''}"

    cdef int show(self, bint ours, const uint8_t *data, size_t size) except -1:
        cdef size_t known = 0
        if not ours and self.shown_before:
            known = min(self.shown_before, size)
            self.shown_before -= known
        return self.shown.data(ours, data + known, size - known)

    cdef int show_end(self, object error) except -1:
        cdef dicore_capture_how how = DICORE_CAPTURE_CLOSED
        if error is not None:
            how = DICORE_CAPTURE_RESET_BY_PEER
        elif self.peer_closed:
            how = DICORE_CAPTURE_CLOSED_BY_PEER
        self.shown.end(how, f"{self.calling_ae} -> {self.called_ae}: {self.why}" if self.calling_ae else self.why)
        self.shown = None
        return 0

    def get_buffer(self, Py_ssize_t hint):
        cdef Window window = self.hub.room
        cdef Buffer own = self.own
        if own is not None:
            window.buffer = own
            window.start = own.used
            window.size = own.capacity - own.used
        else:
            window.buffer = self.hub.landing()
            window.start = 0
            window.size = TAKE if self.hub.full(self.host) else LANDING
        return memoryview(window) if self.secure else window       # asyncio takes slices of it

    def buffer_updated(self, Py_ssize_t size):
        cdef Window window = self.hub.room
        cdef Buffer buffer = window.buffer
        cdef bint answered
        buffer.holders += 1                    # for the length of this call
        self.hub.read_at = dicore_now_ns()
        if self.shown is not None:
            self.show(False, buffer.data + window.start, <size_t>size)
        try:
            answered = self.feed(buffer, window.start, <size_t>size)
        finally:
            self.hub.release(buffer)
        if not answered and self.fd >= 0:
            self.acknowledge()
        if not self.paused_by_limit and not self.ended and self.hub.full(self.host):
            self.relieve()

    def eof_received(self):
        self.peer_closed = not self.closing_since
        return None

    def pause_writing(self):
        self.paused_by_peer = True
        self.update_reading()

    def resume_writing(self):
        self.paused_by_peer = False
        self.stalled_since = 0
        self.update_reading()
        self.resume()

    def resume(self):
        """Go on sending."""
        self.pump()
        if not self.feeding:
            self.flush()

    def connection_lost(self, error):
        cdef dicore_event event
        self.fd = -1
        if self.lent:
            self.lost = True
            self.recall("connection lost")
            return
        dicore_association_closed(self.core, &event)
        if not self.why:
            self.hub.count("closed")
            if error is not None:
                self.why = f"connection lost: {error}"
            else:
                self.why = "connection closed without release" if self.calling_ae else "connection closed before an association"
        self.end()
        if self.shown is not None:
            self.show_end(error)
        self.hub.open.discard(self)
        if self.admitted:
            self.hub.admitted -= 1
            self.host.admitted -= 1
        self.hub.leave(self.host)
        if self.exchange is not None:
            self.exchange.on_end()
        if self.hub.on_end is not None:
            self.hub.on_end(self)
        self.transport = None

    # -- bytes in

    cdef bint feed(self, Buffer buffer, size_t start, size_t size) except -1:
        """Take what has landed at `start`. True when something was sent, which acknowledges the bytes by itself."""
        cdef dicore_event event
        cdef size_t at = start, end = start + size, consumed
        cdef dicore_status status
        self.feeding = True
        try:
            while True:
                if self.writing is not None and not self.ended:    # what follows may be the next message: it waits
                    if at < end:
                        self.hub.hold(buffer, self.host)
                        if self.rests is None:
                            self.rests = []
                        self.rests.insert(0 if self.taking else len(self.rests), (buffer, at, end))
                    break
                status = dicore_association_receive(self.core, buffer.data + at, end - at, &consumed, &event)
                at += consumed
                if event.kind == DICORE_EVENT_DATA:
                    self.data(buffer, &event)
                elif event.kind == DICORE_EVENT_NONE:
                    break
                elif event.kind == DICORE_EVENT_COMMAND:
                    self.command(&event)
                else:
                    self.control(&event, status)
                if status != DICORE_OK and event.kind != DICORE_EVENT_FAILED:
                    break
            if self.writing is None or self.ended:
                self.keep(buffer, end)
        finally:
            self.feeding = False
        return self.flush()

    cdef int control(self, const dicore_event *event, dicore_status status) except -1:
        cdef Hub hub = self.hub
        if event.kind == DICORE_EVENT_ASSOCIATE_RQ:
            self.negotiate(event.associate)
        elif event.kind == DICORE_EVENT_RELEASE_RQ:
            self.why = "released"
            hub.count("released")
            dicore_association_release_reply(self.core)
            self.end()
        elif event.kind == DICORE_EVENT_ABORT:
            self.why = f"aborted by the peer (source {event.source}, reason {event.reason})"
            hub.count("aborted_by_peer")
            self.end()
        elif event.kind == DICORE_EVENT_FAILED:
            self.why = (f"protocol violation at byte {event.offset}: {dicore_status_text(event.status).decode()} "
                        f"(answered with reason {event.reason})")
            hub.count("violations")
            if event.limit != DICORE_WIRE_NO_LIMIT:
                hub.count(LIMIT_NAMES[<int>event.limit])
            self.end()
        return 0

    cdef int negotiate(self, const dicore_associate *proposal) except -1:
        """Accept or reject, by the listener's settings (PS3.8 table 9-21 for the reasons)."""
        cdef Hub hub = self.hub
        self.asked_at = hub.read_at
        self.accept_time = hub.read_at - self.accepted_at
        dicore_times_add(&hub.times[<int>DICORE_PHASE_ACCEPT], self.accept_time)
        self.calling_ae = hub.shared(proposal.calling_ae)
        self.called_ae = hub.shared(proposal.called_ae)
        if hub.draining:
            return self.refuse("shutting down", 2, 3, 1)
        if hub.admitted >= hub.limit_associations:
            hub.count("limit_associations")
            return self.refuse("too many associations", 2, 3, 2)
        if not self.host.local and self.host.admitted >= hub.limit_per_peer:
            hub.count("limit_per_peer")
            return self.refuse("too many associations of this peer", 2, 3, 2)
        if text_of(proposal.application_context) != "1.2.840.10008.3.1.1.1":
            return self.refuse("application context not supported", 1, 1, 2)
        if hub.called_ae is not None and self.called_ae not in hub.called_ae:
            return self.refuse("called AE title not recognized", 1, 1, 7)
        if hub.calling_ae is not None and self.calling_ae not in hub.calling_ae:
            return self.refuse("calling AE title not recognized", 1, 1, 3)
        if hub.admit is not None and not hub.admit(self.host.address):
            return self.refuse("address not allowed", 1, 1, 1)
        if hub.admit_certificate is not None and not hub.admit_certificate(self):
            return self.refuse("certificate not allowed", 1, 1, 1)
        self.implementation_uid = hub.shared(proposal.implementation_uid)
        self.implementation_version = hub.shared(proposal.implementation_version)
        if proposal.identity_type:
            self.identity = (proposal.identity_type, span_bytes(proposal.identity_primary), span_bytes(proposal.identity_secondary))
        if hub.on_identity is None:
            return self.conclude(proposal, None)
        kind, primary, secondary = self.identity or (0, b"", b"")
        try:
            verdict = hub.on_identity(self, kind, primary, secondary, bool(proposal.identity_wants_response))
        except Exception as error:
            return self.misjudged(error)
        if hasattr(verdict, "__await__"):
            self.proposal = proposal
            hub.ensure_future(verdict).add_done_callback(self._identified)
            return self.update_reading()
        return self.conclude(proposal, verdict)

    def _identified(self, future):
        """The verdict on the user that was awaited."""
        cdef const dicore_associate *proposal = self.proposal
        self.proposal = NULL
        if self.ended or self.transport is None:
            return
        error = errors.AssociationStateError("cancelled") if future.cancelled() else future.exception()
        if error is not None:
            self.misjudged(error)
        else:
            self.conclude(proposal, future.result())
        self.update_reading()
        self.flush()

    cdef int misjudged(self, object error) except -1:
        cdef Request request = Request()
        request._association = self
        request.sop_class_uid = ""
        self.hub.on_error(request, error)
        return self.refuse("the user's identity could not be looked at", 2, 1, 1)

    cdef int conclude(self, const dicore_associate *proposal, object verdict) except -1:
        """Accept, with what is served. `verdict` on the user: False, or True, None or the bytes of the response."""
        cdef Hub hub = self.hub
        cdef dicore_associate answer
        cdef dicore_context *contexts = NULL
        cdef dicore_role *roles = NULL
        cdef dicore_extended *extended = NULL
        cdef const dicore_context *context
        cdef size_t i, j
        cdef list accepted = [], keep = []
        cdef bytearray ids = bytearray()
        if verdict is False:
            return self.refuse("user identity refused", 1, 1, 1)
        memset(&answer, 0, sizeof(answer))
        contexts = <dicore_context *>calloc(proposal.context_count + 1, sizeof(dicore_context))
        roles = <dicore_role *>calloc(proposal.role_count + 1, sizeof(dicore_role))
        extended = <dicore_extended *>calloc(proposal.extended_count + 1, sizeof(dicore_extended))
        try:
            if contexts == NULL or roles == NULL or extended == NULL:
                raise MemoryError()
            if proposal.role_count:
                self.grant_roles(proposal, roles, &answer)
            for i in range(proposal.context_count):
                context = &proposal.contexts[i]
                contexts[i].id = context.id
                contexts[i].result = 3
                if not self.serves(context.abstract_syntax):
                    continue
                contexts[i].result = 4
                for j in range(context.syntax_count):
                    if hub.transfer_syntaxes is None or span_bytes(context.syntaxes[j]) in hub.transfer_syntaxes:
                        contexts[i].result = 0
                        contexts[i].syntaxes = &context.syntaxes[j]
                        contexts[i].syntax_count = 1
                        accepted.append((hub.shared(context.abstract_syntax), hub.shared(context.syntaxes[j])))
                        ids.append(context.id)
                        break
            if proposal.extended_count and hub.extended:
                self.agree_extended(proposal, extended, &answer, keep)
            if proposal.has_async and hub.window > 1:
                # of the offer the first number is what the peer invokes, the second what it performs; 0 is unlimited
                self.window_invoked = min(hub.window, <int>proposal.async_invoked or hub.window)
                self.window_performed = min(hub.window, <int>proposal.async_performed or hub.window)
                answer.has_async = True
                answer.async_invoked = <uint16_t>self.window_invoked
                answer.async_performed = <uint16_t>self.window_performed
            if proposal.identity_wants_response and verdict is not None:
                keep.append(bytes(verdict) if verdict is not True else b"")
                answer.has_identity_response = True
                answer.identity_response = span_of_bytes(keep[len(keep) - 1])
            answer.contexts = contexts
            answer.context_count = proposal.context_count
            answer.implementation_uid = span_of_bytes(hub.implementation_uid)
            answer.implementation_version = span_of_bytes(hub.implementation_version)
            check(dicore_association_accept(self.core, &answer), NULL)
        finally:
            free(contexts)
            free(roles)
            free(extended)
        self.concluded = True
        self.contexts = tuple(accepted)
        self.context_ids = bytes(ids)
        self.admitted = True
        hub.admitted += 1
        self.host.admitted += 1
        hub.count("associations")
        return 0

    cdef int grant_roles(self, const dicore_associate *proposal, dicore_role *roles, dicore_associate *answer) except -1:
        """PS3.7 D.3.3.4: the requestor may be what it asks for and our other side serves."""
        cdef size_t i
        cdef dict granted = {}
        for i in range(proposal.role_count):
            name = self.hub.shared(proposal.roles[i].sop_class)
            scp = bool(proposal.roles[i].scp) and self.hub.on_role is not None and bool(self.hub.on_role(name))
            scu = bool(proposal.roles[i].scu) and self.serves(proposal.roles[i].sop_class)
            roles[i].sop_class = proposal.roles[i].sop_class
            roles[i].scp = scp
            roles[i].scu = scu
            granted[name] = (scu, scp)
        answer.roles = roles
        answer.role_count = proposal.role_count
        self.roles = granted
        return 0

    cdef int agree_extended(self, const dicore_associate *proposal, dicore_extended *items, dicore_associate *answer,
                            list keep) except -1:
        """PS3.7 D.3.3.5: byte by byte what both support, never more bytes than were offered (PS3.4 C.5.2)."""
        cdef size_t i
        cdef dict agreed = {}
        for i in range(proposal.extended_count):
            name = self.hub.shared(proposal.extended[i].sop_class)
            ours = self.hub.extended.get(name)
            if proposal.extended[i].item != 0x56 or ours is None or name in agreed:
                continue
            both = bytes([x & y for x, y in zip(span_bytes(proposal.extended[i].information), ours)])
            keep.append(both)
            agreed[name] = both
            items[answer.extended_count].item = 0x56
            items[answer.extended_count].sop_class = proposal.extended[i].sop_class
            items[answer.extended_count].information = span_of_bytes(both)
            answer.extended_count += 1
        answer.extended = items
        self.extended = agreed
        return 0

    cdef bint serves(self, dicore_span sop_class) except -1:
        cdef Hub hub = self.hub
        cdef bytes uid = span_bytes(sop_class)
        cdef object known
        if uid == b"1.2.840.10008.1.1":
            return True
        if hub.sop_classes is not None and uid not in hub.sop_classes:
            return False
        known = hub.served.get(uid)
        if known is None:
            known = hub.store is not None if hub.on_class is None else bool(hub.on_class(text_of(sop_class)))
            if len(hub.served) < 4096:
                hub.served[uid] = known
        if known:
            return True
        name = text_of(sop_class)              # or the peer is to be its SCP
        return name in self.roles and self.roles[name][1]

    @property
    def accepted(self):
        """{context id: (SOP class, transfer syntax)} of the accepted contexts."""
        if self.by_id is None:
            self.by_id = dict(zip(self.context_ids or b"", self.contexts or ()))
        return self.by_id

    def hold(self, bint on):
        """Read nothing while `on`; as many times off as on."""
        self.holds += 1 if on else -1
        self.update_reading()

    cdef int refuse(self, str why, uint8_t result, uint8_t source, uint8_t reason) except -1:
        self.why = f"rejected: {why}"
        self.concluded = True
        self.hub.count("rejected")
        check(dicore_association_reject(self.core, result, source, reason), NULL)
        self.end()
        return 0

    cdef int command(self, const dicore_event *event) except -1:
        cdef const dicore_command *command = &event.command
        if self.ended:
            return 0
        if command.command_field == DICORE_C_STORE_RQ and self.hub.store is not None:
            self.begin_store(event)
        elif command.command_field == DICORE_C_ECHO_RQ:
            self.echo(event)
        elif self.hub.on_message is not None:
            self.begin_message(event)
        elif command.command_field == DICORE_C_CANCEL_RQ:
            pass                               # nothing that we do can be cancelled; there is no answer (PS3.7 9.3.2.3)
        elif command.command_field & 0x8000:
            self.give_up("a response to nothing", 2, 6)
        else:
            self.hub.count("unsupported")
            self.refuse_message(event, 0x0211)
        return 0

    cdef int begin_message(self, const dicore_event *event) except -1:
        if event.last:
            self.hub.on_message(self, event.context_id, Command.of(&event.command), None)
        else:
            self.message = Command.of(&event.command)
            self.message_context = event.context_id
            self.message_size = 0
            self.kind = MESSAGE_OTHER
        return 0

    cdef int message_data(self, Buffer buffer, const dicore_event *event) except -1:
        """The data set of a message that Python decides about: it is small, and copied when it is whole."""
        cdef Command command
        cdef list buffers
        if self.message_size > self.hub.limit_identifier:
            self.hub.count("limit_identifier")
            self.drop_fragments()
            command, self.message = self.message, None
            if command.is_response:
                return self.give_up("a data set of a response beyond the limit", 0, 0)
            self.kind = MESSAGE_NONE if event.last else MESSAGE_REFUSED
            self.request = None
            self.post(self.message_context, Command(
                command.field | 0x8000, responded_to=command.message_id or 0, affected_class=usable_uid(command.sop_class),
                affected_instance=usable_uid(command.sop_instance), error_comment="the data set is beyond our limit",
                status=0xA700 if command.field in (DICORE_C_FIND_RQ, DICORE_C_MOVE_RQ, DICORE_C_GET_RQ) else 0x0213))
            return 0
        if event.size:
            self.gathered += event.size
            self.add_fragment(buffer, <uint32_t>(event.data - buffer.data), <uint32_t>event.size)
        if event.last:
            data = b"".join(self.collect(buffer))
            buffers, self.buffers = self.buffers, None
            self.let_go(buffers)
            self.kind = MESSAGE_NONE
            command, self.message = self.message, None
            self.hub.on_message(self, self.message_context, command, data)
        return 0

    cdef int echo(self, const dicore_event *event) except -1:
        cdef Request request
        cdef uint16_t status = 0
        self.echoes += 1
        self.hub.echoes += 1
        if self.hub.on_echo is not None:
            request = Request()
            request._association = self
            request.message_id = event.command.message_id
            request.sop_class_uid = "1.2.840.10008.1.1"
            try:
                status = <uint16_t>(<int>self.hub.on_echo(request))
            except Exception as error:
                status = <uint16_t>(<int>self.hub.on_error(request, error))
        if self.echoed is None:
            self.echoed = []
        self.echoed.append((event.command.message_id, status, self.hub.read_at))
        return self.refuse_message(event, status)

    cdef int refuse_message(self, const dicore_event *event, uint16_t status) except -1:
        """Answer without looking at the data set, if there is one: it is dropped as it comes."""
        cdef dicore_command answer
        if not event.last:
            self.kind = MESSAGE_REFUSED
            self.request = None
            self.message_size = 0
        dicore_command_response(&event.command, status, &answer)
        if not dicore_uid_usable(answer.affected_class):  # what is none cannot be repeated
            answer.affected_class.data = NULL
        if not dicore_uid_usable(answer.affected_instance):
            answer.affected_instance.data = NULL
        return self.respond(event.context_id, &answer)

    cdef int begin_store(self, const dicore_event *event) except -1:
        cdef const dicore_command *command = &event.command
        cdef StoreRequest request
        cdef const void *found
        cdef tuple context
        if event.last or not dicore_uid_usable(command.affected_class) or not dicore_uid_usable(command.affected_instance):
            self.hub.stores_failed += 1
            return self.refuse_message(event, 0xC000 if event.last else 0x0117)
        request = StoreRequest.__new__(StoreRequest)
        self.commanded_at = self.hub.read_at
        self.first_byte_at = 0
        request._association = self
        request._context = event.context_id
        request.message_id = command.message_id
        request.priority = command.priority
        request.sop_instance_uid = text_of(command.affected_instance)
        found = memchr(PyBytes_AS_STRING(self.context_ids), event.context_id, <size_t>len(self.context_ids))
        if found == NULL:                      # the core lets only accepted contexts through
            raise RuntimeError("a context that was never accepted")
        context = <tuple>self.contexts[<const char *>found - PyBytes_AS_STRING(self.context_ids)]
        request.transfer_syntax = <str>context[1]
        request.sop_class_uid = same_text(<str>context[0], command.affected_class)
        self.request = request
        self.message_size = 0
        self.kind = MESSAGE_STORE
        return 0

    cdef int data(self, Buffer buffer, const dicore_event *event) except -1:
        cdef Hub hub = self.hub
        cdef uint32_t offset, length
        if self.ended:
            return 0
        self.message_size += event.size
        hub.bytes_in += event.size
        if not self.first_byte_at:
            self.first_byte_at = hub.read_at
        if event.last and self.request is not None:
            self.request._commanded = self.commanded_at
            self.request._first = self.first_byte_at
            self.request._last = hub.read_at
        if self.kind == MESSAGE_OTHER:
            return self.message_data(buffer, event)
        if self.message_size > hub.limit_dataset:
            hub.count("limit_dataset")
            return self.give_up("a data set beyond the limit", 0, 0)
        if self.kind == MESSAGE_STORE or self.kind == MESSAGE_STREAM:
            if event.size:
                offset = <uint32_t>(event.data - buffer.data)
                length = <uint32_t>event.size
                self.gathered += length
                self.add_fragment(buffer, offset, length)
            if event.last:
                if self.kind == MESSAGE_STREAM:
                    self.stream_done = True
                    self.write(buffer)
                else:
                    self.deliver(buffer)
            elif self.kind == MESSAGE_STORE and self.message_size > hub.limit_stream:
                self.begin_stream(buffer)
        elif event.last:
            if self.kind == MESSAGE_REFUSED and self.request is not None:
                self.settle(self.request, self.refusal)
                self.request = None
            self.kind = MESSAGE_NONE
        return 0

    cdef int add_fragment(self, Buffer buffer, uint32_t offset, uint32_t length) except -1:
        cdef uint32_t index, count
        cdef fragment *last
        cdef void *grown
        if self.buffers is None:
            self.buffers = []
        count = <uint32_t>len(self.buffers)
        index = count - 1 if count and self.buffers[count - 1] is buffer else count
        if self.fragment_count:
            last = &self.fragments[self.fragment_count - 1]
            if last.buffer == index:
                if last.offset + last.length == offset:
                    last.length += length
                    return 0
                if length <= JOIN:             # many small PDVs: over the headers, to the bytes before them
                    memmove(buffer.data + last.offset + last.length, buffer.data + offset, length)
                    last.length += length
                    return 0
        if self.fragment_count == self.fragment_capacity:
            grown = realloc(self.fragments, <size_t>(self.fragment_capacity * 2 + 8) * sizeof(fragment))
            if grown == NULL:
                raise MemoryError()
            self.fragments = <fragment *>grown
            self.fragment_capacity = self.fragment_capacity * 2 + 8
        last = &self.fragments[self.fragment_count]
        last.buffer = index
        last.offset = offset
        last.length = length
        self.fragment_count += 1
        return 0

    cdef int keep(self, Buffer buffer, size_t end) except -1:
        """The read is taken; see to it that an unfinished data set keeps its bytes, and nobody else's."""
        cdef uint32_t count, first
        cdef size_t inside = 0
        if self.fragment_count == 0:
            self.own = None
            return 0
        if self.kind == MESSAGE_STREAM and self.writing is None and self.gathered >= LANDING - ROOM:
            return self.write(buffer)
        if buffer is self.own:
            buffer.used = end
        else:
            count = <uint32_t>len(self.buffers)
            first = self.fragment_count
            while first > 0 and self.fragments[first - 1].buffer == count:
                first -= 1
                inside += self.fragments[first].length
            if inside == 0:
                return 0
            if inside < TAKE or (self.hub.full(self.host) and end <= TAKE):
                self.copy_out(buffer, first, inside)
                return 0
            self.hub.hold(buffer, self.host)
            self.buffers.append(buffer)
            self.own = buffer
            buffer.used = end
        if buffer.capacity - buffer.used < ROOM:
            self.own = None
        return 0

    cdef int copy_out(self, Buffer buffer, uint32_t first, size_t size) except -1:
        """Copy the fragments from `first` on, which lie in `buffer`, to a small buffer that grows with arrival."""
        cdef Buffer tail = self.tail
        cdef size_t capacity
        cdef uint32_t count = self.fragment_count, i
        cdef fragment moved
        if tail is None or tail.capacity - tail.used < size or self.buffers[len(self.buffers) - 1] is not tail:
            capacity = 4096 if tail is None else min(tail.capacity * 4, <size_t>LANDING)
            while capacity < size:
                capacity *= 4
            tail = Buffer(capacity)
            self.hub.hold(tail, self.host)
            self.buffers.append(tail)
            self.tail = tail
        self.fragment_count = first
        for i in range(first, count):
            moved = self.fragments[i]
            memcpy(tail.data + tail.used, buffer.data + moved.offset, moved.length)
            self.add_fragment(tail, <uint32_t>tail.used, moved.length)
            tail.used += moved.length
        return 0

    cdef list collect(self, Buffer buffer):
        """The gathered bytes as memoryviews. Afterwards `buffers` holds every buffer under them, once."""
        cdef list pieces = []
        cdef uint32_t i, count
        cdef int64_t current = -1
        cdef object whole = None
        cdef fragment *f
        if self.buffers is None:
            self.buffers = []
        count = <uint32_t>len(self.buffers)
        if self.fragment_count and self.fragments[self.fragment_count - 1].buffer == count:
            self.hub.hold(buffer, self.host)
            self.buffers.append(buffer)
        for i in range(self.fragment_count):
            f = &self.fragments[i]
            if f.buffer != current:
                current = f.buffer
                whole = PyMemoryView_FromObject(self.buffers[f.buffer])
            pieces.append(whole[f.offset:f.offset + f.length])
        self.fragment_count = 0
        self.gathered = 0
        if self.fragment_capacity > 64:
            free(self.fragments)
            self.fragments = NULL
            self.fragment_capacity = 0
        self.own = None
        self.tail = None
        return pieces

    cdef int let_go(self, list buffers) except -1:
        cdef Buffer buffer
        if buffers is not None:
            for buffer in buffers:
                self.hub.release(buffer)
        return 0

    cdef int deliver(self, Buffer buffer) except -1:
        """A whole data set: one call of the sink."""
        cdef StoreRequest request = self.request
        cdef list pieces = self.collect(buffer)
        cdef object status
        request._buffers = self.buffers
        request._size = self.message_size
        self.buffers = None
        self.request = None
        self.kind = MESSAGE_NONE
        try:
            status = self.hub.store(request, pieces)
        except Exception as error:
            status = self.hub.on_error(request, error)
        del pieces
        return self.outcome(request, status)

    cdef int outcome(self, StoreRequest request, object status) except -1:
        """A status, PENDING, or an awaitable of a status."""
        cdef object future
        if type(status) is not int and hasattr(status, "__await__"):
            self.wait_for_answer(request)
            future = self.hub.ensure_future(status)
            future.add_done_callback(request._resolved)
        elif type(status) is int and <int>status == PENDING:
            if not request._answered:
                self.wait_for_answer(request)
        else:
            self.settle(request, self.checked(request, status))
        return 0

    cdef int wait_for_answer(self, StoreRequest request) except -1:
        request._waits = True
        self.unanswered += 1
        self.hub.charge(self.host, MESSAGE_COST)
        return 0

    cdef int checked(self, StoreRequest request, object status) except? -2:
        """A status as the sink gave it; what is none of 16 bits is a fault of the sink."""
        if isinstance(status, int) and 0 <= status <= 0xFFFF:
            return <int>status
        return self.hub.on_error(request, TypeError(f"the sink answered {status!r}, not a DIMSE status"))

    cdef int settle(self, StoreRequest request, int status) except -1:
        """The answer to a C-STORE: memory back, response out (flush() sends it)."""
        cdef dicore_command answer
        cdef Hub hub = self.hub
        request._answered = True
        request._settled = dicore_now_ns()
        request._status = status
        if request._waits:
            self.unanswered -= 1
            hub.charge(self.host, -MESSAGE_COST)
        if status == 0 or status & 0xF000 == 0xB000:
            self.stored_bytes += request._size
            hub.stores += 1
            self.stores += 1
        else:
            hub.stores_failed += 1
        if not self.ended:
            memset(&answer, 0, sizeof(answer))
            answer.present = (DICORE_HAS_COMMAND_FIELD | DICORE_HAS_RESPONDED_TO | DICORE_HAS_DATA_SET_TYPE |
                              DICORE_HAS_STATUS)
            answer.command_field = DICORE_C_STORE_RSP
            answer.responded_to = <uint16_t>request.message_id
            answer.data_set_type = DICORE_NO_DATA_SET
            answer.status = <uint16_t>status
            answer.affected_class = span_of_text(request.sop_class_uid)
            answer.affected_instance = span_of_text(request.sop_instance_uid)
            self.respond(request._context, &answer)
            if self.settled is None:
                self.settled = []
            self.settled.append(request)
        if request._buffers is not None:
            self.let_go(request._buffers)
            request._buffers = None
        if self.host.connections == 0:
            hub.forget(self.host)
        if request._waits and hub.waiting:
            hub.wake()
        return 0

    cdef int respond(self, uint8_t context_id, const dicore_command *answer) except -1:
        if self.ended:
            return 0
        if self.current is not None or self.queue or self.lent:     # one message at a time (PS3.8 annex E)
            self.post(context_id, Command.of(answer))
        elif dicore_association_respond(self.core, context_id, answer) != DICORE_OK:
            self.unread()
        return 0

    # -- messages that Python sends

    def post(self, int context_id, Command command not None, list pieces=None, *, size=None, more=None, done=None):
        """Send a message; True while there is room for another one, False: wait for `exchange.on_room()`.

        The data set is `pieces`, buffers that do not change, or `size` bytes that `more(message)` is asked for; an even
        number of them. Nothing happens after the association has ended."""
        if self.ended or self.transport is None:
            return True
        if self.queue is None:
            self.queue = deque()
        self.queue.append(outgoing(self, context_id, command, pieces, size, more, done))
        if len(self.queue) > QUEUED:
            self.unread()
            return True
        self.pump()
        if not self.feeding and not self.flush_due:
            self.flush_due = True
            self.hub.call_soon(self._flush_later)
        return self.current is None and not self.queue and not self.paused_by_peer

    def _flush_later(self):
        self.flush_due = False
        self.pump()
        self.flush()

    cdef int pump(self) except -1:
        """Send what waits, as long as the peer reads."""
        cdef Outgoing message
        cdef dicore_command c
        cdef dicore_status status
        cdef size_t count, i, total, turn = 0
        if self.pumping or self.queue is None or self.lent:
            return 0
        self.pumping = True
        try:
            while not self.ended and self.transport is not None and not self.paused_by_peer:
                message = self.current
                if message is None:
                    if not self.queue:
                        break
                    message = self.queue.popleft()
                    if message.pieces is None:
                        message.command.fill(&c)
                        status = dicore_association_respond(self.core, message.context, &c)
                        if status == DICORE_OK:
                            message.finish()
                            continue
                    else:
                        if self.out == NULL:
                            self.out = <outlet *>malloc(sizeof(outlet))
                            if self.out == NULL:
                                raise MemoryError()
                        status = message.begin(self.core, &self.out.sender)
                        if status == DICORE_OK:
                            self.current = message
                            continue
                    if status == DICORE_BAD_ARGUMENT:
                        self.give_up("a message that cannot be sent", 0, 0)
                        raise ValueError(f"this message cannot be sent: {message.command!r}")
                    self.unread()
                    break
                status = dicore_sender_next(&self.out.sender, self.out.headers, sizeof(self.out.headers), self.out.pieces, PIECES,
                                            &count)
                if status != DICORE_OK and status != DICORE_END:
                    break                      # it has ended
                if count:
                    total = 0
                    for i in range(count):
                        total += self.out.pieces[i].size
                    self.put(self.out.pieces, count, total)
                    turn += total
                if status == DICORE_END:
                    self.current = None
                    message.finish()
                elif count == 0 and not message.feed(&self.out.sender):
                    if message.more is None:
                        self.give_up("a message shorter than announced", 0, 0)
                    break
                if turn >= TURN:
                    if not self.flush_due:
                        self.flush_due = True
                        self.hub.call_soon(self._flush_later)
                    break
        finally:
            self.pumping = False
        if self.wants_room and not self.paused_by_peer and self.current is None and not self.queue:
            self.wants_room = False
            self.exchange.on_room()
        return 0

    cdef int put(self, const dicore_span *pieces, size_t count, size_t total) except -1:
        """Pieces of a message, behind what the core has said before: small ones wait for company."""
        cdef const uint8_t *data
        cdef size_t size, i
        cdef ssize_t n = 0
        cdef iovec vector[PIECES]
        cdef msghdr header
        dicore_association_output(self.core, &data, &size)
        if size:
            if size <= SMALL:
                self.add_to_batch(data, size)
            else:
                self.write_batch()
                self.write_bytes(data, size)
            dicore_association_sent(self.core, size)
        if total <= SMALL:
            for i in range(count):
                self.add_to_batch(pieces[i].data, pieces[i].size)
            return 0
        self.write_batch(MSG_MORE)             # a command and its data set wake the peer once
        if self.shown is not None:
            for i in range(count):
                self.show(True, pieces[i].data, pieces[i].size)
        if self.fd >= 0 and not self.is_queued():
            for i in range(count):
                vector[i].iov_base = <void *>pieces[i].data
                vector[i].iov_len = pieces[i].size
            memset(&header, 0, sizeof(header))
            header.msg_iov = vector
            header.msg_iovlen = count
            n = c_sendmsg(self.fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT)
            n = 0 if n < 0 else n
        if <size_t>n < total:
            rest = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>total - n)
            size = 0
            for i in range(count):
                if <size_t>n >= pieces[i].size:
                    n -= <ssize_t>pieces[i].size
                    continue
                memcpy(PyBytes_AS_STRING(rest) + size, pieces[i].data + n, pieces[i].size - <size_t>n)
                size += pieces[i].size - <size_t>n
                n = 0
            self.queued = True
            self.transport.write(rest)
        return 0

    cdef int add_to_batch(self, const uint8_t *data, size_t size) except -1:
        if self.batch_size + size > BATCH:
            self.write_batch()
        if self.batch == NULL:
            self.batch = <uint8_t *>malloc(BATCH)
            if self.batch == NULL:
                raise MemoryError()
        memcpy(self.batch + self.batch_size, data, size)
        self.batch_size += size
        return 0

    cdef int write_batch(self, int flags=0) except -1:
        cdef uint8_t *batch = self.batch
        cdef size_t size = self.batch_size
        if batch == NULL:
            return 0
        self.batch = NULL
        self.batch_size = 0
        try:
            self.write_bytes(batch, size, flags)
        finally:
            free(batch)
        return 0

    cdef bint is_queued(self) except -1:
        """The transport has bytes of ours waiting."""
        if self.queued and self.transport.get_write_buffer_size() == 0:
            self.queued = False
        return self.queued

    cdef int write_bytes(self, const uint8_t *data, size_t size, int flags=0) except -1:
        cdef ssize_t n = 0
        if self.shown is not None:
            self.show(True, data, size)
        if self.fd >= 0 and not self.is_queued():
            n = c_send(self.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT | flags)
            n = 0 if n < 0 else n              # what is wrong with the socket the transport will find out
        if <size_t>n < size:
            self.queued = True
            self.transport.write(PyBytes_FromStringAndSize(<const char *>data + n, <Py_ssize_t>size - n))
        return 0

    # -- data sets that are streamed

    cdef int begin_stream(self, Buffer buffer) except -1:
        """From here on the data set goes to the sink as it comes."""
        self.hub.streamed += 1
        self.stream_done = False
        self.kind = MESSAGE_STREAM
        try:
            self.request._handle = self.hub.begin(self.request)
        except Exception as error:
            return self.stream_failed(error)
        return self.write(buffer)

    cdef int write(self, Buffer buffer) except -1:
        cdef StoreRequest request = self.request
        cdef list pieces, buffers
        cdef object result
        if self.writing is not None:
            return 0                           # written() goes on
        if self.fragment_count:
            pieces = self.collect(buffer)
            buffers = self.buffers
            self.buffers = None
            try:
                result = self.hub.write(request._handle, pieces)
            except Exception as error:
                del pieces
                self.let_go(buffers)
                return self.stream_failed(error)
            del pieces
            if result is not None:
                self.writing = buffers
                self.hub.ensure_future(result).add_done_callback(request._written)
                return self.update_reading()
            self.let_go(buffers)
        if self.stream_done:
            return self.finish_stream()
        return 0

    cdef int written(self, StoreRequest request, object error) except -1:
        """A write that was awaited is done."""
        self.let_go(self.writing)
        self.writing = None
        if self.ended:
            self.abort_stream(request)
        elif error is not None:
            self.stream_failed(error)
        elif self.fragment_count or self.stream_done:
            self.write(None)
        self.take_rests()
        self.update_reading()
        self.flush()
        return 0

    cdef int take_rests(self) except -1:
        """Take what has waited for a write."""
        cdef Buffer buffer
        cdef size_t begin, end
        while self.rests and self.writing is None and not self.ended:
            buffer, begin, end = self.rests.pop(0)
            self.taking = True
            try:
                self.feed(buffer, begin, end - begin)
            finally:
                self.taking = False
                self.hub.release(buffer)
        return 0

    cdef int drop_rests(self) except -1:
        cdef Buffer buffer
        rests, self.rests = self.rests, None
        if rests is not None:
            for buffer, _, _ in rests:
                self.hub.release(buffer)
        return 0

    cdef int finish_stream(self) except -1:
        cdef StoreRequest request = self.request
        cdef object status
        self.request = None
        self.kind = MESSAGE_NONE
        request._size = self.message_size
        try:
            status = self.hub.commit(request._handle)
        except Exception as error:
            status = self.hub.on_error(request, error)
            self.abort_stream(request)
        request._handle = None
        return self.outcome(request, status)

    cdef int stream_failed(self, object error) except -1:
        cdef StoreRequest request = self.request
        cdef int status = self.checked(request, self.hub.on_error(request, error))
        self.abort_stream(request)
        self.drop_fragments()
        if self.stream_done:
            self.request = None
            self.kind = MESSAGE_NONE
            return self.settle(request, status)
        self.kind = MESSAGE_REFUSED
        self.refusal = <uint16_t>status
        return 0

    cdef int abort_stream(self, StoreRequest request) except -1:
        if request._handle is not None:
            handle, request._handle = request._handle, None
            try:
                self.hub.abort(handle)
            except Exception as error:
                self.hub.on_error(request, error)
        return 0

    cdef int drop_fragments(self) except -1:
        cdef list buffers = self.buffers
        self.fragment_count = 0
        self.gathered = 0
        self.buffers = None
        self.own = None
        self.tail = None
        return self.let_go(buffers)

    # -- back-pressure

    cdef int relieve(self) except -1:
        """Too much is in flight. Who has room in a buffer of its own goes on; who would need another one streams what it
        has; who has next to nothing is not read until there is room."""
        if self.own is not None or self.writing is not None:
            return 0
        self.hub.count("limit_in_flight" if self.hub.all_in_flight() >= self.hub.limit_in_flight else "limit_in_flight_per_peer")
        if self.message_size >= LANDING // 2 and self.fragment_count:
            return self.spill()
        self.paused_by_limit = True
        self.hub.waiting.append(self)
        return self.update_reading()

    cdef int spill(self) except -1:
        """Give the memory of an unfinished data set to the sink."""
        if self.kind == MESSAGE_STORE and self.fragment_count:
            self.begin_stream(None)
        elif self.kind == MESSAGE_STREAM:
            self.write(None)
        return self.flush()

    cdef int update_reading(self) except -1:
        # who does not read our answers is not read, but for what may end an operation: a C-CANCEL, a response
        cdef bint pause = not self.ended and (self.lent or self.paused_by_limit or self.writing is not None or self.proposal != NULL or self.holds > 0 or
                                              (self.paused_by_peer and self.operations == 0))
        if self.transport is None or pause == self.paused or self.transport.is_closing():
            return 0
        self.paused = pause
        if pause:
            self.transport.pause_reading()
        else:
            self.resumed = True                # the peer was not silent, we were deaf: its clock starts anew
            self.transport.resume_reading()
        return 0

    # -- bytes out, and the end

    cdef int acknowledge(self) except -1:
        """Ask for an ACK now: a sender with Nagle's algorithm holds its next bytes back until it has one."""
        cdef int one = 1
        setsockopt(self.fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one))
        return 0

    cdef bint flush(self) except -1:
        """Send what the core has to say. True when there was something."""
        cdef const uint8_t *data
        cdef size_t size
        cdef bint batched = self.batch != NULL
        if self.transport is None or self.lent:
            return False
        if self.hub.draining and not self.ended and self.kind == MESSAGE_NONE and self.unanswered == 0 and self.operations == 0:
            self.give_up("aborted: the listener closes", 0, 0)
        self.write_batch()
        dicore_association_output(self.core, &data, &size)
        if size:
            self.write_bytes(data, size)
            dicore_association_sent(self.core, size)
        if self.settled or self.echoed or (self.concluded and self.asked_at):
            self.sent_all()
        if self.queued and not self.ended and self.transport.get_write_buffer_size() > BACKLOG:
            self.unread()
            self.hang_up()
            return True
        if dicore_association_closing(self.core) or (self.ended and self.hub.draining):
            self.hang_up()
        return batched or size != 0

    cdef int sent_all(self) except -1:
        """Responses are with the kernel, or with the transport where the peer does not read."""
        cdef Hub hub = self.hub
        cdef uint64_t now = dicore_now_ns()
        cdef uint64_t took[4]
        cdef StoreRequest request
        cdef list settled
        cdef int i
        if self.concluded and self.asked_at:
            self.negotiate_time = now - self.asked_at
            self.asked_at = 0
            dicore_times_add(&hub.times[<int>DICORE_PHASE_NEGOTIATE], self.negotiate_time)
        if self.echoed:
            settled, self.echoed = self.echoed, None
            for number, status, at in settled:
                dicore_times_add(&hub.times[<int>DICORE_PHASE_ANSWER], now - <uint64_t>at)
                if hub.on_done is not None:
                    hub.on_done(self, "C-ECHO", number, "1.2.840.10008.1.1", "", status, 0, (0, 0, 0, now - <uint64_t>at))
        if self.settled:
            settled, self.settled = self.settled, None
            for request in settled:
                took[0] = request._first - request._commanded
                took[1] = request._last - request._first
                took[2] = request._settled - request._last
                took[3] = now - request._settled
                self.timed(took)
                if hub.on_done is not None:
                    hub.on_done(self, "C-STORE", request.message_id, request.sop_class_uid, request.sop_instance_uid, request._status,
                                request._size, (took[0], took[1], took[2], took[3]))
        return 0

    cdef int timed(self, const uint64_t *took) except -1:
        """The phases of a message."""
        cdef int i, j
        for i in range(4):
            dicore_times_add(&self.hub.times[<int>DICORE_PHASE_FIRST_BYTE + i], took[i])
        self.timed_count += 1
        if self.timed_count == 1:
            for i in range(4):
                self.single[i] = took[i]
            return 0
        if self.times == NULL:
            self.times = <dicore_times *>calloc(4, sizeof(dicore_times))
            if self.times == NULL:
                return 0                       # the first one stands for all
            for i in range(4):
                dicore_times_add(&self.times[i], self.single[i])
        for i in range(4):
            dicore_times_add(&self.times[i], took[i])
        return 0

    def operated(self, str service, int message_id, str sop_class, str sop_instance, int status, uint64_t began, uint64_t settled):
        """A service that is none of C-STORE and C-ECHO is over, and its last response is on its way."""
        cdef uint64_t now = dicore_now_ns()
        dicore_times_add(&self.hub.times[<int>DICORE_PHASE_COMMIT], settled - began)
        dicore_times_add(&self.hub.times[<int>DICORE_PHASE_ANSWER], now - settled)
        if self.hub.on_done is not None:
            self.hub.on_done(self, service, message_id, sop_class, sop_instance, status, 0, (0, 0, settled - began, now - settled))

    @property
    def phases(self):
        """{phase: (count, p50, p99, longest)} in ns, of C-STOREs; the first two are the association's."""
        cdef dicore_time_summary one
        cdef dict out = {}
        cdef int i
        if self.accept_time:
            out["accept"] = (1, self.accept_time, self.accept_time, self.accept_time)
        if self.negotiate_time:
            out["negotiate"] = (1, self.negotiate_time, self.negotiate_time, self.negotiate_time)
        for i in range(4):
            if self.times != NULL:
                dicore_times_summary(&self.times[i], &one)
                out[PHASES[2 + i]] = (one.count, one.p50, one.p99, one.longest)
            elif self.timed_count:
                out[PHASES[2 + i]] = (1, self.single[i], self.single[i], self.single[i])
        return out

    cdef int hang_up(self) except -1:
        self.fd = -1
        if self.closing_since == 0:
            self.closing_since = now_ms()
        self.transport.close()
        return 0

    cdef int unread(self) except -1:
        if not self.ended:
            self.hub.count("limit_unread")
        return self.give_up("its answers are not read", 0, 0)

    cdef int give_up(self, str why, uint8_t source, uint8_t reason) except -1:
        """Abort from our side."""
        if self.ended:
            return 0
        if self.lent:
            return self.recall(why)
        if not self.why:
            self.why = why
        self.hub.count("aborted")
        dicore_association_abort(self.core, source, reason)
        return self.end()

    def stop(self, str why):
        """Abort the association now, whatever is under way."""
        if self.lent:
            self.recall(why)
            return
        self.give_up(why, 0, 0)
        self.flush()
        if self.transport is not None:
            self.hang_up()

    cdef int end(self) except -1:
        """Nothing more is taken or answered; memory goes back, a stream is aborted."""
        if self.ended:
            return 0
        self.ended = True
        self.drop_fragments()
        self.drop_rests()
        if self.kind == MESSAGE_STREAM and self.writing is None:
            self.abort_stream(self.request)
        self.kind = MESSAGE_NONE
        self.request = None
        self.message = None
        self.queue = None
        self.current = None
        if self.exchange is not None:
            self.exchange.on_end()
        return self.update_reading()

    cdef int finish_draining(self) except -1:
        if self.kind == MESSAGE_NONE and self.unanswered == 0 and self.operations == 0:
            self.flush()
        return 0

    cdef int tick(self, uint64_t now) except -1:
        cdef dicore_event event
        if self.transport is None or self.lent:
            return 0
        if self.closing_since:
            if now > self.closing_since + self.hub.options.artim_timeout:
                self.transport.abort()         # it does not read our last words
            return 0
        if self.paused_by_peer:                # bytes that lie in the transport are out of the core's sight
            self.watch_stall(now)
            return 0
        if self.paused or self.resumed:
            self.resumed = False
            dicore_association_touch(self.core)
            dicore_association_deadline(self.core, now)
            return 0
        if dicore_association_deadline(self.core, now) > now:
            return 0
        dicore_association_tick(self.core, now, &event)
        if event.kind == DICORE_EVENT_TIMEOUT:
            self.timed_out(&event)
        self.flush()
        return 0

    cdef int timed_out(self, const dicore_event *event) except -1:
        name = TIMEOUT_NAMES.get(<int>event.timeout, "artim")
        if not self.why:
            self.why = f"timeout: {name}"
        self.hub.count("timeout_" + name)
        return self.end()

    cdef int watch_stall(self, uint64_t now) except -1:
        cdef size_t size = self.transport.get_write_buffer_size()
        if self.stalled_since == 0 or size != self.stalled_size:
            self.stalled_since = now
            self.stalled_size = size
        elif now - self.stalled_since >= self.hub.options.network_timeout > 0:
            self.reads_nothing()
        return 0

    cdef int reads_nothing(self) except -1:
        self.hub.count("timeout_network")
        self.why = "timeout: network (it does not read)"
        self.give_up(self.why, 0, 0)
        self.flush()
        self.transport.abort()
        return 0

    # -- lending it to threads that send (dicore/retrieve.h)

    def lend(self):
        """Give the association and its socket away until `take_back`: (address of the core, a duplicate of the socket, network
        timeout in ms); None: something is under way on it, it is not a plain socket, or a capture shows it. Then `loan` is to be
        set."""
        cdef const uint8_t *data
        cdef size_t size
        if (self.shown is not None or self.lent or self.ended or self.transport is None or self.fd < 0 or self.secure or self.kind != MESSAGE_NONE or
                self.unanswered or self.proposal != NULL or self.paused_by_peer or self.paused_by_limit or self.holds):
            return None
        self.pump()
        self.flush()
        if self.ended or self.transport is None or self.current is not None or self.queue or self.batch != NULL or self.is_queued():
            return None
        dicore_association_output(self.core, &data, &size)
        if size:
            return None
        fd = os.dup(self.fd)
        self.lent = True
        self.recalled = None
        self.update_reading()
        return <size_t>self.core, fd, self.hub.options.network_timeout

    cdef int recall(self, str why) except -1:
        if self.recalled is None:
            self.recalled = why
            if self.loan is not None:
                self.loan.stop()
        return 0

    def take_back(self, size_t address):
        """It is ours again: what `address`, of a dicore_retrieval_end, has is dealt with here. 0: nothing came of it."""
        cdef const dicore_retrieval_end *end = <const dicore_retrieval_end *>address
        cdef Buffer buffer
        self.lent = False
        self.loan = None
        if self.lost:
            return self.connection_lost(None)
        if end != NULL:
            if end.why == DICORE_RETRIEVAL_EVENT:
                self.happened(end)
            elif end.why == DICORE_RETRIEVAL_STALLED:
                self.reads_nothing()
            elif end.why == DICORE_RETRIEVAL_CUT:
                self.give_up("an instance could not be read any more when half of it was sent", 0, 0)
            if end.amid and self.transport is not None and end.why != DICORE_RETRIEVAL_STALLED:
                if end.why == DICORE_RETRIEVAL_STOPPED:
                    self.give_up(self.recalled or "stopped", 0, 0)
                self.fd = -1
                self.transport.abort()         # it has half a PDU: nothing that we say would be understood
                return None
        if self.recalled is not None:
            self.stop(self.recalled)
        self.update_reading()
        self.resume()

    cdef int happened(self, const dicore_retrieval_end *end) except -1:
        cdef Buffer buffer
        if end.event.kind == DICORE_EVENT_TIMEOUT:
            return self.timed_out(&end.event)
        if end.event.kind != DICORE_EVENT_COMMAND:
            return self.control(&end.event, end.status)
        self.feeding = True
        try:
            self.command(&end.event)
        finally:
            self.feeding = False
        if end.rest_size and not self.ended:
            buffer = self.hub.landing()
            memcpy(buffer.data, end.rest, end.rest_size)
            buffer.holders += 1
            try:
                self.feed(buffer, 0, end.rest_size)
            finally:
                self.hub.release(buffer)
        return 0


cpdef object usable_uid(object text):
    """A UID of a peer that can be repeated in an answer, or None."""
    if text and dicore_uid_usable(span_of_text(text)):
        return text
    return None


# ---- the client's side: one association on a non-blocking socket ----------------------------------------------------------

cdef enum:
    PUSH_DONE = 0
    PUSH_BLOCKED = 1           # the socket takes no more now
    PUSH_DRY = 2               # the message under way needs more of its data set
    PUSH_BROKEN = 3            # the socket is gone: link_t.error

cdef struct link_t:
    dicore_association *core
    dicore_capture_stream *shown   # NULL: nobody captures
    int fd
    int error
    bint peer_closed           # .. the connection
    bint sending               # a message is under way
    dicore_sender sender
    size_t piece, piece_count
    dicore_span pieces[PIECES]
    dicore_span data           # what the sender was supplied with last
    uint8_t headers[12 * PIECES]
    uint8_t command[512]


cdef void link_show(link_t *link, bint ours, const uint8_t *data, size_t size) noexcept nogil:
    cdef dicore_span piece
    piece.data = data
    piece.size = size
    dicore_capture_data(link.shown, ours, &piece, 1)


cdef void link_show_pieces(link_t *link, size_t sent) noexcept nogil:
    """The first `sent` bytes of the pieces that are to be sent."""
    cdef dicore_span shown[PIECES]
    cdef size_t count = 0
    while sent:
        shown[count] = link.pieces[link.piece + count]
        shown[count].size = min(sent, shown[count].size)
        sent -= shown[count].size
        count += 1
    dicore_capture_data(link.shown, True, shown, count)


cdef int link_push(link_t *link) noexcept nogil:
    """Send until all is out or the socket takes no more."""
    cdef const uint8_t *output
    cdef size_t size, i, count
    cdef ssize_t n
    cdef iovec vector[PIECES]
    cdef msghdr message
    cdef dicore_status status
    while True:
        dicore_association_output(link.core, &output, &size)
        if size:
            n = c_send(link.fd, output, size, MSG_NOSIGNAL | MSG_DONTWAIT)
            if n >= 0:
                if link.shown != NULL:
                    link_show(link, True, output, <size_t>n)
                dicore_association_sent(link.core, <size_t>n)
                continue
        elif link.piece < link.piece_count:
            count = link.piece_count - link.piece
            for i in range(count):
                vector[i].iov_base = <void *>link.pieces[link.piece + i].data
                vector[i].iov_len = link.pieces[link.piece + i].size
            memset(&message, 0, sizeof(message))
            message.msg_iov = vector
            message.msg_iovlen = count
            n = c_sendmsg(link.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
            if n >= 0:
                if link.shown != NULL:
                    link_show_pieces(link, <size_t>n)
                while link.piece < link.piece_count and <size_t>n >= link.pieces[link.piece].size:
                    n -= <ssize_t>link.pieces[link.piece].size
                    link.piece += 1
                if n:
                    link.pieces[link.piece].data += n
                    link.pieces[link.piece].size -= <size_t>n
                continue
        elif not link.sending:
            return PUSH_DONE
        else:
            status = dicore_sender_next(&link.sender, link.headers, sizeof(link.headers), link.pieces, PIECES, &count)
            link.piece = 0
            link.piece_count = count
            if status == DICORE_END:
                link.sending = False
            elif status != DICORE_OK:
                link.sending = False
                link.piece_count = 0
            elif count == 0:
                return PUSH_DRY
            continue
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return PUSH_BLOCKED
        link.error = errno
        return PUSH_BROKEN


cdef dicore_status link_store(link_t *link, uint8_t context_id, uint16_t message_id, dicore_span sop_class,
                              dicore_span sop_instance, const dicore_span *data, size_t count, uint64_t size) noexcept nogil:
    """Begin a C-STORE of `size` bytes, of which the `count` pieces of `data` are the first. They must last until they are sent."""
    cdef dicore_command command
    cdef dicore_status status
    memset(&command, 0, sizeof(command))
    command.present = DICORE_HAS_COMMAND_FIELD | DICORE_HAS_MESSAGE_ID | DICORE_HAS_PRIORITY | DICORE_HAS_DATA_SET_TYPE
    command.command_field = DICORE_C_STORE_RQ
    command.message_id = message_id
    command.data_set_type = DICORE_DATA_SET
    command.affected_class = sop_class
    command.affected_instance = sop_instance
    status = dicore_association_send(link.core, context_id, &command, size, 0, link.command, sizeof(link.command), &link.sender)
    if status != DICORE_OK:
        return status
    link.piece = link.piece_count = 0
    link.sending = True
    return dicore_sender_supply(&link.sender, data, count)


cdef enum:
    LINK_BROKEN = 0            # how a link ended, where no event of the association says it: an error of the socket
    LINK_STANDS = -1


cdef int link_receive(link_t *link, uint8_t *memory, size_t room, size_t *got) noexcept nogil:
    """What is there of the peer's bytes, `got` of them, maybe none. LINK_STANDS, else how the link ended."""
    cdef dicore_event event
    cdef ssize_t n = c_recv(link.fd, memory, room, MSG_DONTWAIT)
    got[0] = 0
    if n < 0:
        if errno == EAGAIN or errno == EINTR:
            return LINK_STANDS
        link.error = errno
        return LINK_BROKEN
    if n == 0:
        link.peer_closed = True
        dicore_association_closed(link.core, &event)
        return DICORE_EVENT_CLOSED
    if link.shown != NULL:
        link_show(link, False, memory, <size_t>n)
    got[0] = <size_t>n
    return LINK_STANDS


cdef bint link_ends(link_t *link, const dicore_event *event) noexcept nogil:
    """Whether an event is the end of a link that only stores; then what it is owed has been said."""
    if event.kind == DICORE_EVENT_COMMAND or event.kind == DICORE_EVENT_DATA:
        return False
    if event.kind == DICORE_EVENT_RELEASE_RQ:
        dicore_association_release_reply(link.core)
    link_push(link)
    return True


cdef bint link_times_out(link_t *link, uint64_t now, dicore_event *event) noexcept nogil:
    """Whether a timer has ended the link; then the abort has been sent, as far as there was room."""
    if dicore_association_deadline(link.core, now) > now:
        return False
    dicore_association_tick(link.core, now, event)
    if event.kind != DICORE_EVENT_TIMEOUT:
        return False
    link_push(link)
    return True


cdef void link_cut(link_t *link) noexcept nogil:
    """Abort; said to the peer unless that would be amid a PDU, where nobody could read it."""
    dicore_association_abort(link.core, 0, 0)
    if link.piece == link.piece_count:
        link.sending = False
        link_push(link)


cdef tuple link_end(uint8_t kind, uint8_t source_, int reason, int detail):
    """How a link ended, as Python is told: (what, source or 0, reason or errno, detail)."""
    if kind == LINK_BROKEN:
        return "broken", 0, reason, 0
    if kind == DICORE_EVENT_ABORT:
        return "aborted", source_, reason, 0
    if kind == DICORE_EVENT_FAILED:
        return "failed", 0, reason, detail
    if kind == DICORE_EVENT_TIMEOUT:
        return "timeout", 0, 0, detail
    if kind == DICORE_EVENT_RELEASE_RQ:
        return "release", 0, 0, 0
    return "closed", 0, 0, 0


cdef uint8_t PULLED[256 * 1024]     # what one read of a Link may bring; no thread gets between a read and its events


cdef class Link:
    """A requested association over a connected non-blocking socket. Who drives it calls `push` when there is something to
    send or the socket is writable, `pull` when it is readable."""
    cdef link_t link
    cdef readonly dict contexts     # (SOP class, transfer syntax) -> context id, of those accepted
    cdef readonly dict accepted     # context id -> (SOP class, transfer syntax)
    cdef readonly dict refused      # (SOP class, transfer syntax) -> result of PS3.8 table 9-18
    cdef readonly uint32_t peer_max_length
    cdef list proposed
    cdef readonly dict roles        # SOP class -> (SCU, SCP) that we may be, of those answered
    cdef readonly dict extended     # SOP class -> bytes of extended negotiation, as answered
    cdef readonly object identity_response                         # bytes, or None
    cdef readonly str implementation_uid, implementation_version   # of the peer
    cdef readonly int window_invoked, window_performed             # operations at a time: ours, the peer's
    cdef public object owner        # what is told to go on: `resume()`, `stop(why)`
    cdef Stream shown               # of a capture
    cdef object keep                # owner of the data set that is being sent
    cdef object queue               # deque of Outgoing
    cdef Outgoing current           # the one that is being sent
    cdef uint16_t message_id

    def __cinit__(self, *, uint32_t pdu, uint32_t negotiation, uint32_t command, uint64_t artim, uint64_t request,
                  uint64_t network, uint64_t dimse):
        cdef dicore_association_options options
        dicore_association_defaults(&options)
        options.max_length = pdu
        options.negotiation_limit = negotiation
        options.command_limit = command
        options.artim_timeout = artim
        options.request_timeout = request
        options.network_timeout = network
        options.dimse_timeout = dimse
        options.idle_timeout = 0           # whoever holds a client association decides how long
        self.link.fd = -1
        self.link.core = dicore_association_new(&options, &ALLOCATOR)
        if self.link.core == NULL:
            raise MemoryError()
        self.contexts = {}
        self.accepted = {}
        self.refused = {}
        self.roles = {}
        self.extended = {}
        self.implementation_uid = self.implementation_version = ""
        self.window_invoked = self.window_performed = 1
        self.queue = deque()

    def __dealloc__(self):
        dicore_association_free(self.link.core)

    def propose(self, str called, str calling, list contexts, bytes implementation_uid, bytes implementation_version, *,
                dict roles=None, dict extended=None, tuple window=None, tuple identity=None):
        """The A-ASSOCIATE-RQ: `contexts` is a list of (id, SOP class, [transfer syntaxes]); `roles` maps SOP classes to (SCU,
        SCP), `extended` to bytes; `window` is (invoked, performed); `identity` is (type, primary, secondary, wants response)."""
        cdef dicore_associate request
        cdef dicore_role *role_items = NULL
        cdef dicore_extended *extended_items = NULL
        cdef size_t count = <size_t>len(contexts), total = 0, i = 0, j = 0
        cdef dicore_context *array
        cdef dicore_span *syntaxes
        for _, _, offered in contexts:
            total += <size_t>len(offered)
        array = <dicore_context *>calloc(count + 1, sizeof(dicore_context))
        syntaxes = <dicore_span *>calloc(total + 1, sizeof(dicore_span))
        role_items = <dicore_role *>calloc(<size_t>len(roles or EMPTY) + 1, sizeof(dicore_role))
        extended_items = <dicore_extended *>calloc(<size_t>len(extended or EMPTY) + 1, sizeof(dicore_extended))
        try:
            if array == NULL or syntaxes == NULL or role_items == NULL or extended_items == NULL:
                raise MemoryError()
            for number, sop_class, offered in contexts:
                array[i].id = number
                array[i].abstract_syntax = span_of_text(sop_class)
                array[i].syntaxes = &syntaxes[j]
                array[i].syntax_count = <size_t>len(offered)
                for syntax in offered:
                    syntaxes[j] = span_of_text(syntax)
                    j += 1
                i += 1
            memset(&request, 0, sizeof(request))
            request.called_ae = span_of_text(called)
            request.calling_ae = span_of_text(calling)
            request.contexts = array
            request.context_count = count
            request.implementation_uid = span_of_bytes(implementation_uid)
            request.implementation_version = span_of_bytes(implementation_version)
            for sop_class, (scu, scp) in (roles or EMPTY).items():
                role_items[request.role_count].sop_class = span_of_text(sop_class)
                role_items[request.role_count].scu = bool(scu)
                role_items[request.role_count].scp = bool(scp)
                request.role_count += 1
            request.roles = role_items
            for sop_class, information in (extended or EMPTY).items():
                extended_items[request.extended_count].item = 0x56
                extended_items[request.extended_count].sop_class = span_of_text(sop_class)
                extended_items[request.extended_count].information = span_of_bytes(<bytes?>information)
                request.extended_count += 1
            request.extended = extended_items
            if window is not None:
                request.has_async = True
                request.async_invoked, request.async_performed = window
            if identity is not None:
                kind, primary, secondary, wants_response = identity
                request.identity_type = kind
                request.identity_primary = span_of_bytes(<bytes?>primary)
                request.identity_secondary = span_of_bytes(<bytes?>secondary)
                request.identity_wants_response = bool(wants_response)
            check(dicore_association_request(self.link.core, &request), NULL)
        finally:
            free(array)
            free(syntaxes)
            free(role_items)
            free(extended_items)
        self.proposed = contexts

    def attach(self, int fd, Stream shown=None):
        """The socket is connected: the request may go out. `shown`: of a capture."""
        self.link.fd = fd
        self.shown = shown
        if shown is not None:
            self.link.shown = shown.stream
        check(dicore_association_connected(self.link.core), NULL)

    def detach(self, str why="", bint reset=False):
        """The socket is going to be closed; `why` and whether by a reset of the peer, for the capture."""
        cdef dicore_event event
        self.link.shown = NULL
        if self.shown is not None:
            self.shown.end(DICORE_CAPTURE_CLOSED_BY_PEER if self.link.peer_closed else
                           DICORE_CAPTURE_RESET_BY_PEER if reset else DICORE_CAPTURE_CLOSED, why)
            self.shown = None
        if self.link.fd >= 0:
            self.link.fd = -1
            dicore_association_closed(self.link.core, &event)
        self.link.sending = False
        self.link.piece = self.link.piece_count = 0
        self.keep = None
        self.queue.clear()
        self.current = None

    def post(self, int context_id, Command command not None, list pieces=None, *, size=None, more=None, done=None):
        """A message to send: see `Acceptor.post`. `push` sends it."""
        if self.link.fd >= 0:
            self.queue.append(outgoing(self.owner, context_id, command, pieces, size, more, done))

    @property
    def sending(self):
        """Messages are not sent yet."""
        return self.current is not None or len(self.queue) != 0

    def push(self):
        """Send. True when the socket must become writable for the rest; raises OSError when it is gone."""
        cdef int result
        cdef Outgoing message
        cdef dicore_command c
        cdef dicore_status status
        while self.link.fd >= 0:
            result = link_push(&self.link)
            if result == PUSH_BROKEN:
                raise OSError(self.link.error, "the connection is broken")
            if result == PUSH_BLOCKED:
                return True
            if result == PUSH_DRY:
                if self.current is None or not self.current.feed(&self.link.sender):
                    return False               # `more` will bring it
                continue
            self.keep = None
            if self.current is not None:
                message, self.current = self.current, None
                message.finish()
            if not self.queue:
                return False
            message = self.queue.popleft()
            if message.pieces is None:
                message.command.fill(&c)
                status = dicore_association_respond(self.link.core, message.context, &c)
                if status == DICORE_OK:
                    message.finish()
            else:
                status = message.begin(self.link.core, &self.link.sender)
                if status == DICORE_OK:
                    self.current = message
                    self.link.sending = True
                    self.link.piece = self.link.piece_count = 0
            if status == DICORE_BAD_STATE or status == DICORE_FAILED:
                return False                   # it has ended
            check(status, NULL)
        return False

    def pull(self):
        """Read once and say what came, as tuples:

        ("accepted",)  ("rejected", result, source, reason)  ("command", context id, Command, a data set follows)
        ("data", context id, bytes, last)  ("release",)  ("released",)  ("aborted", source, reason)  ("failed", text, reason, offset)  ("closed",)
        An empty list: nothing whole yet. Raises OSError when the socket is gone."""
        cdef uint8_t *memory = PULLED
        cdef ssize_t n
        cdef dicore_event event
        cdef list said = []
        if self.link.fd < 0:
            return said
        n = c_recv(self.link.fd, memory, sizeof(PULLED), MSG_DONTWAIT)
        if n < 0:
            if errno == EAGAIN or errno == EINTR:
                return said
            raise OSError(errno, "the connection is broken")
        if n == 0:
            self.link.peer_closed = True
            dicore_association_closed(self.link.core, &event)
            said.append(("closed",))
            return said
        if self.link.shown != NULL:
            link_show(&self.link, False, memory, <size_t>n)
        self.digest(said, memory, <size_t>n)
        return said

    cdef int digest(self, list said, const uint8_t *memory, size_t n) except -1:
        cdef size_t at = 0, consumed
        cdef dicore_event event
        cdef dicore_status status
        while True:
            status = dicore_association_receive(self.link.core, memory + at, n - at, &consumed, &event)
            at += consumed
            if event.kind == DICORE_EVENT_NONE:
                return 0
            self.say(said, &event)
            if status != DICORE_OK and event.kind != DICORE_EVENT_FAILED:
                return 0

    def lend(self):
        """Give the association and its socket away until `take_back`: (address of the core, a duplicate of the socket); None:
        something is under way on it, or a capture shows it."""
        cdef const uint8_t *data
        cdef size_t size
        if self.shown is not None or self.link.fd < 0 or self.sending or self.link.sending or self.push() or self.link.fd < 0:
            return None
        dicore_association_output(self.link.core, &data, &size)
        return None if size else (<size_t>self.link.core, os.dup(self.link.fd))

    def take_back(self, size_t address):
        """(What `pull` would have said, the peer has half a PDU) of what `address`, of a dicore_retrieval_end, has."""
        cdef const dicore_retrieval_end *end = <const dicore_retrieval_end *>address
        cdef dicore_event event
        cdef list said = []
        if end == NULL:
            return said, False
        if end.why == DICORE_RETRIEVAL_EVENT and end.event.kind == DICORE_EVENT_TIMEOUT:
            said.append(("timeout", 0, 0, <int>end.event.timeout))
        elif end.why == DICORE_RETRIEVAL_EVENT:
            self.say(said, &end.event)
            if end.rest_size and end.event.kind == DICORE_EVENT_COMMAND:
                self.digest(said, end.rest, end.rest_size)
        elif end.why == DICORE_RETRIEVAL_CLOSED:
            dicore_association_closed(self.link.core, &event)
            said.append(("closed",))
        elif end.why == DICORE_RETRIEVAL_BROKEN:
            said.append(("broken", 0, end.system, 0))
        elif end.why == DICORE_RETRIEVAL_STALLED:
            said.append(("timeout", 0, 0, <int>DICORE_TIMEOUT_NETWORK))
        elif end.why == DICORE_RETRIEVAL_STOPPED:
            said.append(("stopped",))
        elif end.why == DICORE_RETRIEVAL_CUT:
            said.append(("cut",))
        return said, bool(end.amid)

    cdef int say(self, list said, const dicore_event *event) except -1:
        if event.kind == DICORE_EVENT_COMMAND:
            said.append(("command", event.context_id, Command.of(&event.command), not event.last))
        elif event.kind == DICORE_EVENT_DATA:
            said.append(("data", event.context_id, PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.size),
                         bool(event.last)))
        elif event.kind == DICORE_EVENT_ASSOCIATE_AC:
            self.agreed(event.associate)
            said.append(("accepted",))
        elif event.kind == DICORE_EVENT_ASSOCIATE_RJ:
            said.append(("rejected", event.result, event.source, event.reason))
        elif event.kind == DICORE_EVENT_RELEASE_RQ:
            said.append(("release",))
        elif event.kind == DICORE_EVENT_RELEASE_RP:
            said.append(("released",))
        elif event.kind == DICORE_EVENT_ABORT:
            said.append(("aborted", event.source, event.reason))
        elif event.kind == DICORE_EVENT_FAILED:
            said.append(("failed", dicore_status_text(event.status).decode(), event.reason, event.offset))
        return 0

    cdef int agreed(self, const dicore_associate *answer) except -1:
        cdef size_t i
        cdef dict results = {}
        for i in range(answer.context_count):
            results[answer.contexts[i].id] = (
                answer.contexts[i].result,
                text_of(answer.contexts[i].syntaxes[0]) if answer.contexts[i].syntax_count else "")
        for number, sop_class, offered in self.proposed:
            result, syntax = results.get(number, (2, ""))
            if result == 0 and syntax in offered:
                self.contexts.setdefault((sop_class, syntax), number)
                self.accepted[number] = (sop_class, syntax)
            else:
                for one in offered:
                    self.refused[sop_class, one] = result
        self.peer_max_length = answer.max_length
        self.implementation_uid = text_of(answer.implementation_uid)
        self.implementation_version = text_of(answer.implementation_version)
        for i in range(answer.role_count):
            self.roles[text_of(answer.roles[i].sop_class)] = (bool(answer.roles[i].scu), bool(answer.roles[i].scp))
        for i in range(answer.extended_count):
            if answer.extended[i].item == 0x56:
                self.extended[text_of(answer.extended[i].sop_class)] = span_bytes(answer.extended[i].information)
        if answer.has_async:
            self.window_invoked = answer.async_invoked
            self.window_performed = answer.async_performed
        if answer.has_identity_response:
            self.identity_response = span_bytes(answer.identity_response)
        return 0

    def start_release(self):
        """Ask for release; nothing may be half sent."""
        check(dicore_association_release(self.link.core), NULL)

    def release_reply(self):
        """Agree to the peer's release."""
        dicore_association_release_reply(self.link.core)

    def start_abort(self, int source=0, int reason=0):
        """An A-ABORT, where the state has one."""
        dicore_association_abort(self.link.core, <uint8_t>source, <uint8_t>reason)

    def touch(self):
        """We keep the peer waiting: its clock starts anew."""
        dicore_association_touch(self.link.core)

    def deadline(self):
        """Milliseconds until `tick` is due, None: never."""
        cdef uint64_t now = now_ms()
        cdef uint64_t at = dicore_association_deadline(self.link.core, now)
        if at == <uint64_t>-1:
            return None
        return max(0, <int64_t>(at - now)) if at > now else 0

    def tick(self):
        """The name of the timeout that has run out, or None."""
        cdef dicore_event event
        dicore_association_tick(self.link.core, now_ms(), &event)
        if event.kind == DICORE_EVENT_TIMEOUT:
            return TIMEOUT_NAMES.get(<int>event.timeout, "artim")
        return None

    @property
    def closing(self):
        """The socket is to be closed now."""
        return dicore_association_closing(self.link.core)

    @property
    def state(self):
        """1 to 13, for Sta1 to Sta13 of PS3.8 9.2."""
        return dicore_association_state(self.link.core)


def associate_rebuilt(const uint8_t[::1] pdu not None):
    """Parse a whole A-ASSOCIATE-RQ or -AC and build it anew: what we would say of what it says."""
    cdef dicore_associate found
    cdef dicore_error error
    cdef size_t size = 0
    cdef bytes out
    if pdu.shape[0] < 6:
        raise errors.ProtocolViolation("no PDU", section="PS3.8 9.3.2")
    memset(&found, 0, sizeof(found))
    check(dicore_associate_parse(pdu[0], &pdu[0] + 6, <size_t>pdu.shape[0] - 6, &ALLOCATOR, &found, &error), &error)
    try:
        dicore_associate_build(pdu[0], &found, found.max_length, NULL, 0, &size)
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        check(dicore_associate_build(pdu[0], &found, found.max_length, <uint8_t *>PyBytes_AS_STRING(out), size, &size), NULL)
    finally:
        dicore_associate_free(&found, &ALLOCATOR)
    return out


# ---- files -----------------------------------------------------------------------------------------------------------

def identify_bytes(const uint8_t[::1] data not None, *, bint partial=False):
    """(SOP class, SOP instance, transfer syntax, offset of the data set) of a Part 10 file in memory, or of the beginning
    of one. Raises DicomFormatError when a C-STORE cannot be made of it."""
    cdef dicore_identity found
    if data.shape[0] == 0:
        raise errors.DicomFormatError("no bytes", expected="a DICOM file")
    check(dicore_part10_identify(&data[0], <size_t>data.shape[0], partial, &found), NULL, None,
          "SOP Class UID, SOP Instance UID and a transfer syntax")
    return text_of(found.sop_class), text_of(found.sop_instance), text_of(found.transfer_syntax), found.start


cdef enum:
    OUTCOME_WAITING = 0
    OUTCOME_SENT = 1           # `status` is the peer's
    OUTCOME_UNREADABLE = 2     # `error` is an errno
    OUTCOME_NOT_DICOM = 3      # `error` is a dicore_status
    OUTCOME_ODD = 4            # a data set of odd length, which PS3.8 annex E does not let us send
    OUTCOME_NO_CONTEXT = 5     # not proposed, or refused
    OUTCOME_LOST = 6           # the association ended before the answer
    OUTCOME_CHANGED = 7        # the file became shorter while it was sent
    SURVEY_HEADER = 4096
    SURVEY_LONGEST = 1 << 20

WAITING, SENT, UNREADABLE, NOT_DICOM, ODD, NO_CONTEXT, LOST, CHANGED = range(8)

cdef struct source:
    uint8_t *memory
    size_t capacity
    size_t loaded
    uint64_t size              # of the file
    uint64_t position          # of the next byte to read, when streamed
    int fd                     # open while streamed, else -1
    size_t index
    dicore_identity id


cdef ssize_t read_all(int fd, uint8_t *memory, size_t size, uint64_t position) noexcept nogil:
    """Bytes read, fewer at the end of the file, -1: errno."""
    cdef size_t got = 0
    cdef ssize_t n
    while got < size:
        n = c_pread(fd, memory + got, size - got, <long>(position + got))
        if n < 0:
            if errno == EINTR:
                continue
            return -1
        if n == 0:
            break
        got += <size_t>n
    return <ssize_t>got


cdef int open_file(const char *path, uint64_t *size, int *error) noexcept nogil:
    cdef c_stat info
    cdef int fd = c_open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | 0o4000)   # O_NONBLOCK: a FIFO must not hold us up
    if fd < 0:
        error[0] = errno
        return -1
    if c_fstat(fd, &info) != 0:
        error[0] = errno
        c_close(fd)
        return -1
    if not S_ISREG(info.st_mode):
        error[0] = 22          # EINVAL
        c_close(fd)
        return -1
    size[0] = <uint64_t>info.st_size
    return fd


cdef uint8_t load(const char *path, source *out, size_t whole, size_t chunk, int *error) noexcept nogil:
    """Open and read a file: all of it up to `whole` bytes, else the first `chunk` of them."""
    cdef uint64_t size = 0
    cdef size_t wanted
    cdef ssize_t got
    cdef void *grown
    cdef dicore_status status
    cdef int fd = open_file(path, &size, error)
    if fd < 0:
        return OUTCOME_UNREADABLE
    wanted = <size_t>size if size <= whole else chunk
    if out.capacity < wanted + 1:              # one more for the pad byte of a deflate stream
        grown = realloc(out.memory, wanted + 1)
        if grown == NULL:
            c_close(fd)
            error[0] = 12                      # ENOMEM
            return OUTCOME_UNREADABLE
        out.memory = <uint8_t *>grown
        out.capacity = wanted + 1
    got = read_all(fd, out.memory, wanted, 0)
    if got < 0:
        error[0] = errno
        c_close(fd)
        return OUTCOME_UNREADABLE
    out.loaded = <size_t>got
    if wanted == size:
        c_close(fd)
        out.size = <uint64_t>got
        out.fd = -1
    else:
        out.size = size
        out.position = <uint64_t>got
        out.fd = fd
    status = dicore_part10_identify(out.memory, out.loaded, out.fd >= 0, &out.id)
    if status == DICORE_OK and out.id.start > out.loaded:
        status = DICORE_TRUNCATED
    if status == DICORE_OK and (out.size - out.id.start) % 2:
        if out.id.deflated and out.fd < 0:     # PS3.5 A.5: a deflate stream of odd length is padded with a NUL
            out.memory[out.loaded] = 0
            out.loaded += 1
            out.size += 1
        else:
            close_source(out)
            return OUTCOME_ODD
    if status != DICORE_OK:
        close_source(out)
        error[0] = <int>status
        return OUTCOME_NOT_DICOM
    return OUTCOME_SENT


cdef void close_source(source *out) noexcept nogil:
    if out.fd >= 0:
        c_close(out.fd)
        out.fd = -1


cdef class Paths:
    """File names as the system wants them, for loops without the GIL."""
    cdef readonly list names
    cdef const char **array
    cdef size_t count

    def __cinit__(self, list names):
        cdef size_t i
        self.names = names
        self.count = <size_t>len(names)
        self.array = <const char **>malloc((self.count + 1) * sizeof(char *))
        if self.array == NULL:
            raise MemoryError()
        for i in range(self.count):
            self.array[i] = PyBytes_AS_STRING(<bytes?>names[i])

    def __dealloc__(self):
        free(self.array)

    def __len__(self):
        return self.count

    def folders(self):
        """The indexes of those that are folders. Releases the GIL."""
        cdef size_t i = 0
        cdef c_stat info
        cdef list found = []
        while True:
            with nogil:
                while i < self.count and not (c_stat_path(self.array[i], &info) == 0 and S_ISDIR(info.st_mode)):
                    i += 1
            if i >= self.count:
                return found
            found.append(i)
            i += 1


def survey(Paths paths not None, list indexes not None):
    """Read the headers of the files with these indexes: {(SOP class, transfer syntax): [indexes]}. Files that cannot be
    read or sent are left out: sending them says why. Releases the GIL."""
    cdef dict found = {}
    cdef uint8_t *memory = <uint8_t *>malloc(SURVEY_LONGEST)
    cdef uint64_t size
    cdef size_t wanted
    cdef ssize_t got
    cdef int fd, error
    cdef dicore_identity id
    cdef dicore_status status
    cdef const char *path
    cdef object last_key = None
    cdef list last = None
    cdef str last_class = "", last_syntax = ""
    if memory == NULL:
        raise MemoryError()
    try:
        for index in indexes:
            path = paths.array[<size_t>index]
            with nogil:
                status = DICORE_IO
                fd = open_file(path, &size, &error)
                if fd >= 0:
                    wanted = SURVEY_HEADER
                    while True:
                        got = read_all(fd, memory, wanted, 0)
                        if got < 0:
                            break
                        status = dicore_part10_identify(memory, <size_t>got, <uint64_t>got < size, &id)
                        if status != DICORE_TRUNCATED or wanted >= SURVEY_LONGEST or <size_t>got < wanted:
                            break
                        wanted *= 4
                    c_close(fd)
            if status == DICORE_OK:
                last_class = same_text(last_class, id.sop_class)
                last_syntax = same_text(last_syntax, id.transfer_syntax)
                found.setdefault((last_class, last_syntax), []).append(index)
    finally:
        free(memory)
    return found


# ---- the sender ------------------------------------------------------------------------------------------------------

cdef struct offer:
    dicore_span sop_class, transfer_syntax
    uint8_t id

cdef struct unanswered:
    uint16_t message_id
    uint16_t status
    bint answered              # before all of it was sent
    size_t index
    uint64_t size              # of the data set

cdef struct lane:
    link_t *link
    offer *offers
    size_t offer_count, last_offer
    source *file               # what is being sent, NULL: nothing; its message is also among those that wait
    unanswered waiting[64]     # messages without an answer
    size_t waiting_count, window
    bint blocked
    bint over                  # no more messages on this one
    bint dead
    uint16_t message_id
    uint8_t end_kind           # dicore_event_kind that ended it; 0: an error of the socket
    uint8_t end_source, end_reason
    int end_detail             # dicore_status or dicore_timeout


@cython.final
cdef class Pump:
    """Sends files over open associations, without the GIL, in the thread that calls `run`.

    Each association has as many C-STOREs under way as its peer has agreed to, at most 64; the next file is read while there
    is nothing else to do. `cancel` may be called from any thread. The counters may be read at any time."""
    cdef readonly uint64_t done, failed, bytes
    cdef list links
    cdef Paths paths
    cdef list keep
    cdef lane *lanes
    cdef size_t lane_count
    cdef size_t *order         # indexes into paths, in the order of sending
    cdef size_t order_count, next
    cdef source *sources
    cdef source **spare        # sources nobody uses, the warmest last
    cdef size_t source_count, spare_count
    cdef source *ready         # the file that was read ahead
    cdef uint8_t *outcomes
    cdef uint16_t *statuses
    cdef int *details
    cdef pollfd *fds
    cdef int wake
    cdef size_t whole, chunk
    cdef bint cancelled

    def __cinit__(self, list links, Paths paths not None, list order not None, *, size_t whole=8 << 20, size_t chunk=1 << 20):
        cdef size_t i, j
        cdef Link link
        self.wake = -1
        self.links = links
        self.paths = paths
        self.keep = []
        self.whole = whole
        self.chunk = chunk
        self.lane_count = <size_t>len(links)
        self.order_count = <size_t>len(order)
        self.source_count = self.lane_count + 1
        self.lanes = <lane *>calloc(self.lane_count + 1, sizeof(lane))
        self.order = <size_t *>calloc(self.order_count + 1, sizeof(size_t))
        self.sources = <source *>calloc(self.source_count, sizeof(source))
        self.spare = <source **>calloc(self.source_count, sizeof(source *))
        self.outcomes = <uint8_t *>calloc(paths.count + 1, sizeof(uint8_t))
        self.statuses = <uint16_t *>calloc(paths.count + 1, sizeof(uint16_t))
        self.details = <int *>calloc(paths.count + 1, sizeof(int))
        self.fds = <pollfd *>calloc(self.lane_count + 1, sizeof(pollfd))
        if (self.lanes == NULL or self.order == NULL or self.sources == NULL or self.spare == NULL or self.outcomes == NULL or
                self.statuses == NULL or self.details == NULL or self.fds == NULL):
            raise MemoryError()
        for i in range(self.order_count):
            j = <size_t>order[i]
            if j >= paths.count:
                raise IndexError(j)
            self.order[i] = j
        for i in range(self.source_count):
            self.sources[i].fd = -1
            self.spare[i] = &self.sources[i]
        self.spare_count = self.source_count
        for i in range(self.lane_count):
            link = <Link?>links[i]
            self.lanes[i].link = &link.link
            self.lanes[i].message_id = link.message_id
            self.lanes[i].window = <size_t>min(64, link.window_invoked) if link.window_invoked > 0 else 64
            self.lanes[i].offers = <offer *>calloc(<size_t>len(link.contexts) + 1, sizeof(offer))
            if self.lanes[i].offers == NULL:
                raise MemoryError()
            for (sop_class, syntax), number in link.contexts.items():
                self.keep += [sop_class, syntax]
                self.lanes[i].offers[self.lanes[i].offer_count].sop_class = span_of_text(sop_class)
                self.lanes[i].offers[self.lanes[i].offer_count].transfer_syntax = span_of_text(syntax)
                self.lanes[i].offers[self.lanes[i].offer_count].id = number
                self.lanes[i].offer_count += 1
        self.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.wake < 0:
            raise OSError(errno, "eventfd")

    def __dealloc__(self):
        cdef size_t i
        if self.lanes != NULL:
            for i in range(self.lane_count):
                free(self.lanes[i].offers)
        if self.sources != NULL:
            for i in range(self.source_count):
                close_source(&self.sources[i])
                free(self.sources[i].memory)
        free(self.lanes)
        free(self.order)
        free(self.sources)
        free(self.spare)
        free(self.outcomes)
        free(self.statuses)
        free(self.details)
        free(self.fds)
        if self.wake >= 0:
            c_close(self.wake)

    def cancel(self):
        """Make `run` abort its associations and return."""
        cdef uint64_t one = 1
        self.cancelled = True
        if self.wake >= 0:
            c_write(self.wake, &one, sizeof(one))

    def run(self):
        """Send. Returns when every file has an outcome or no association is left."""
        cdef size_t i
        cdef Link link
        with nogil:
            self.loop()
        c_close(self.wake)
        self.wake = -1
        for i in range(self.lane_count):
            link = <Link>self.links[i]
            link.message_id = self.lanes[i].message_id

    def results(self):
        """(path index, outcome, status, detail) of every file in the order of sending."""
        cdef size_t i, j
        cdef list out = []
        for i in range(self.order_count):
            j = self.order[i]
            out.append((j, self.outcomes[j], self.statuses[j], self.details[j]))
        return out

    def settled(self):
        """How many files were acknowledged with status 0000, and the results of all the others."""
        cdef size_t i, j, plain = 0
        cdef list out = []
        for i in range(self.order_count):
            j = self.order[i]
            if self.outcomes[j] == OUTCOME_SENT and self.statuses[j] == 0:
                plain += 1
            else:
                out.append((j, self.outcomes[j], self.statuses[j], self.details[j]))
        return plain, out

    def ended(self, size_t number):
        """What ended association `number`: None while it stands, else (kind, source or 0, reason or errno, detail)."""
        cdef lane *one
        if number >= self.lane_count:
            raise IndexError(number)
        one = &self.lanes[number]
        if not one.dead:
            return None
        return link_end(one.end_kind, one.end_source, one.link.error if one.end_kind == LINK_BROKEN else one.end_reason,
                        one.end_detail)

    # -- without the GIL from here on

    cdef void loop(self) noexcept nogil:
        cdef size_t i, waiting
        cdef int n, timeout
        cdef uint64_t now, checked = now_ms()
        cdef short events
        for i in range(self.lane_count):
            self.start(&self.lanes[i])
        while not self.cancelled:
            waiting = 0
            self.fds[0].fd = self.wake
            self.fds[0].events = <short>POLLIN
            for i in range(self.lane_count):
                self.fds[i + 1].fd = -1
                self.fds[i + 1].revents = 0
                if self.lanes[i].waiting_count and not self.lanes[i].dead:
                    waiting += 1
                    self.fds[i + 1].fd = self.lanes[i].link.fd
                    self.fds[i + 1].events = <short>(POLLIN | POLLOUT) if self.lanes[i].blocked else <short>POLLIN
            if waiting == 0:
                return
            timeout = 250
            if self.ready == NULL and self.next < self.order_count and self.spare_count:
                timeout = 0                    # nothing to do at once: then there is time to read ahead
            n = c_poll(self.fds, self.lane_count + 1, timeout)
            if n == 0 and timeout == 0:
                self.ready = self.take_file()
                continue
            for i in range(self.lane_count):
                events = self.fds[i + 1].revents
                if self.fds[i + 1].fd < 0 or events == 0:
                    continue
                if events & POLLOUT:
                    self.push(&self.lanes[i])
                    self.start(&self.lanes[i])
                if events & (POLLIN | POLLERR | POLLHUP) and not self.lanes[i].dead:
                    self.pull(&self.lanes[i])
            now = now_ms()
            if now - checked >= 250:
                checked = now
                for i in range(self.lane_count):
                    if self.lanes[i].waiting_count and not self.lanes[i].dead:
                        self.check_time(&self.lanes[i], now)
        for i in range(self.lane_count):       # cancelled
            if not self.lanes[i].dead:
                link_cut(self.lanes[i].link)
                self.die(&self.lanes[i], DICORE_EVENT_CLOSED, 0, 0, 0)

    cdef source *take_file(self) noexcept nogil:
        """The next file that can be sent, read; NULL: there is none. Files that cannot get their outcome."""
        cdef source *file
        cdef uint8_t outcome
        cdef size_t index
        if self.ready != NULL:
            file = self.ready
            self.ready = NULL
            return file
        while self.next < self.order_count and not self.cancelled:
            index = self.order[self.next]
            self.next += 1
            self.spare_count -= 1
            file = self.spare[self.spare_count]
            outcome = load(self.paths.array[index], file, self.whole, self.chunk, &self.details[index])
            if outcome == OUTCOME_SENT:
                file.index = index
                return file
            self.give_back(file)
            self.outcomes[index] = outcome
            self.failed += 1
            self.done += 1
        return NULL

    cdef void give_back(self, source *file) noexcept nogil:
        close_source(file)
        self.spare[self.spare_count] = file
        self.spare_count += 1

    cdef int context_for(self, lane *one, const dicore_identity *id) noexcept nogil:
        cdef size_t i, at
        for i in range(one.offer_count):
            at = (one.last_offer + i) % one.offer_count
            if (one.offers[at].transfer_syntax.size == id.transfer_syntax.size and
                    one.offers[at].sop_class.size == id.sop_class.size and
                    memcmp(one.offers[at].sop_class.data, id.sop_class.data, id.sop_class.size) == 0 and
                    memcmp(one.offers[at].transfer_syntax.data, id.transfer_syntax.data, id.transfer_syntax.size) == 0):
                one.last_offer = at
                return one.offers[at].id
        return -1

    cdef void start(self, lane *one) noexcept nogil:
        """The next messages on this association, as many as may be under way."""
        cdef source *file
        cdef int context_id
        cdef unanswered *entry
        while not one.dead and one.file == NULL and one.waiting_count < one.window:
            file = self.take_file()
            if file == NULL:
                return
            context_id = self.context_for(one, &file.id)
            if context_id < 0:
                self.outcomes[file.index] = OUTCOME_NO_CONTEXT
                self.give_back(file)
                continue
            one.message_id += 1
            one.file = file
            entry = &one.waiting[one.waiting_count]
            one.waiting_count += 1
            entry.message_id = one.message_id
            entry.answered = False
            entry.index = file.index
            entry.size = file.size - file.id.start
            one.link.data.data = file.memory + file.id.start
            one.link.data.size = file.loaded - <size_t>file.id.start
            if link_store(one.link, <uint8_t>context_id, one.message_id, file.id.sop_class, file.id.sop_instance,
                          &one.link.data, 1, entry.size) != DICORE_OK:
                self.die(one, DICORE_EVENT_CLOSED, 0, 0, 0)
                return
            self.push(one)

    cdef void push(self, lane *one) noexcept nogil:
        cdef int result
        cdef source *file
        cdef size_t wanted
        cdef ssize_t got
        cdef unanswered *entry
        while True:
            result = link_push(one.link)
            if result != PUSH_DRY:
                break
            file = one.file
            wanted = <size_t>min(<uint64_t>file.capacity, file.size - file.position)
            got = read_all(file.fd, file.memory, wanted, file.position)
            if got < 0 or <size_t>got < wanted or wanted == 0:
                self.outcomes[file.index] = OUTCOME_CHANGED
                self.failed += 1
                self.done += 1
                one.waiting_count -= 1                          # it is the last one
                dicore_association_abort(one.link.core, 0, 0)   # there is no other way out of a message that was begun
                link_push(one.link)
                one.file = NULL
                self.give_back(file)
                self.die(one, DICORE_EVENT_CLOSED, 0, 0, 0)
                return
            file.position += <uint64_t>got
            one.link.data.data = file.memory
            one.link.data.size = <size_t>got
            dicore_sender_supply(&one.link.sender, &one.link.data, 1)
        one.blocked = result == PUSH_BLOCKED
        if result == PUSH_BROKEN:
            self.die(one, LINK_BROKEN, 0, 0, 0)
        elif result == PUSH_DONE and one.file != NULL:
            file = one.file
            one.file = NULL
            self.give_back(file)
            entry = &one.waiting[one.waiting_count - 1]
            if entry.answered:
                self.finish(one, entry)

    cdef void pull(self, lane *one) noexcept nogil:
        cdef uint8_t memory[8192]
        cdef size_t at = 0, n, consumed
        cdef dicore_event event
        cdef dicore_status status
        cdef int over = link_receive(one.link, memory, sizeof(memory), &n)
        if over != LINK_STANDS:
            self.die(one, <uint8_t>over, 0, 0, 0)
            return
        if n == 0:
            return
        while True:
            status = dicore_association_receive(one.link.core, memory + at, n - at, &consumed, &event)
            at += consumed
            if event.kind == DICORE_EVENT_NONE:
                break
            if event.kind == DICORE_EVENT_COMMAND:
                if event.command.command_field == DICORE_C_STORE_RSP:
                    self.answer(one, event.command.responded_to, event.command.status)
            elif link_ends(one.link, &event):
                self.die(one, <uint8_t>event.kind, event.source, event.reason, <int>event.status)
                return
            if status != DICORE_OK:
                break
        self.start(one)

    cdef void answer(self, lane *one, uint16_t message_id, uint16_t status) noexcept nogil:
        cdef size_t i
        for i in range(one.waiting_count):
            if one.waiting[i].message_id == message_id and not one.waiting[i].answered:
                one.waiting[i].answered = True
                one.waiting[i].status = status
                if one.file == NULL or i + 1 < one.waiting_count:    # else it is still being sent
                    self.finish(one, &one.waiting[i])
                return

    cdef void finish(self, lane *one, unanswered *entry) noexcept nogil:
        """The answer is here and all is sent."""
        cdef size_t i = <size_t>(entry - one.waiting)
        self.outcomes[entry.index] = OUTCOME_SENT
        self.statuses[entry.index] = entry.status
        self.bytes += entry.size
        if entry.status != 0 and entry.status & 0xF000 != 0xB000:
            self.failed += 1
        self.done += 1
        one.waiting_count -= 1
        memmove(entry, entry + 1, (one.waiting_count - i) * sizeof(unanswered))   # the one being sent stays the last

    cdef void die(self, lane *one, uint8_t kind, uint8_t source_, uint8_t reason, int detail) noexcept nogil:
        cdef source *file = one.file
        cdef size_t i
        one.dead = True
        one.end_kind = kind
        one.end_source = source_
        one.end_reason = reason
        one.end_detail = detail
        one.link.sending = False
        one.link.piece = one.link.piece_count = 0
        one.file = NULL
        if file != NULL:
            self.give_back(file)
        for i in range(one.waiting_count):
            self.outcomes[one.waiting[i].index] = OUTCOME_LOST
            self.details[one.waiting[i].index] = <int>(one - self.lanes)
            self.failed += 1
            self.done += 1
        one.waiting_count = 0

    cdef void check_time(self, lane *one, uint64_t now) noexcept nogil:
        cdef dicore_event event
        if link_times_out(one.link, now, &event):
            self.die(one, <uint8_t>event.kind, 0, 0, <int>event.timeout)


# ---- a load of C-STOREs ----------------------------------------------------------------------------------------------

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout)
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT

cdef extern from "sys/timerfd.h" nogil:
    cdef struct itimerspec:
        timespec it_interval
        timespec it_value
    int timerfd_create(int clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec *new, itimerspec *old)

cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *mutex, void *attributes)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)

cdef enum:
    SHOT_ANSWERED = 0          # `status` is the peer's
    SHOT_LOST = 1              # the association ended before the answer
    SHOT_CUT = 2               # the run ended before the answer
    SHOT_NO_CONTEXT = 3        # the peer refused it: nothing was sent
    SHOT_NO_NUMBER = 4         # there are no more study numbers
    LANE_PARKED = 0            # without an association, free
    LANE_OPENING = 1           # Python makes one, for an operation that is due
    LANE_OPEN = 2
    LANE_DRAINING = 3          # the answers are awaited, then it is released
    LANE_CLOSING = 4           # Python ends it
    TELL_OPEN = 0
    TELL_RELEASE = 1
    TELL_ENDED = 2
    LAST_OF_SERIES = 1
    LAST_OF_STUDY = 2
    INSTANCE = 64              # characters of a UID

cdef struct pattern_t:         # an instance but for the number of its study, which stands at `places` in decimal digits
    dicore_span head, tail
    uint32_t *places
    size_t place_count, pair, last
    const char *sop_class
    size_t sop_class_size, instance_size, instance_place
    char instance[INSTANCE]

cdef struct shot_record:       # of 72 bytes: what `Volley.take` gives
    double due, start, begun, sent, end
    uint64_t size
    uint32_t study, pattern, lane, generation
    uint16_t status
    uint8_t outcome, free
    uint32_t unused

cdef struct shot_t:
    shot_record record
    uint16_t message_id
    bint active, answered
    uint8_t *head
    char instance[INSTANCE]
    dicore_span data[2]

cdef struct volley_lane:
    link_t *link
    shot_t *shots
    shot_t *sending
    uint8_t *contexts          # of each pair, 0: refused
    size_t window, outstanding
    int state
    bint blocked, queued
    uint16_t message_id
    uint32_t study, at, generation
    double ready               # closed model: when its user has thought

cdef struct volley_order:      # from Python: lane `lane` has an association, or is free again
    size_t lane
    bint attached
    link_t *link
    size_t window
    uint16_t message_id
    double due, start
    bint free

cdef struct volley_word:       # to Python
    int kind
    size_t lane
    double due, start
    bint free
    bint cut                   # the run ended first
    uint8_t end_kind, end_source
    int end_reason, end_detail


@cython.final
cdef class Volley:
    """C-STOREs of made-up instances, each begun at its time, driven without the GIL by the thread that calls `run`.

    `patterns` are (pair, SOP Instance UID, place, head, tail, places, last): `pair` indexes `pairs` of (SOP class, transfer
    syntax); the data set is `head` + `tail`; at each of `places` in the head, and at `place` in the UID, stand the digits of
    the study number, as many as `first` has. `last` is 1 for the last of a series, 2 of a study, 3 of both. Studies are
    numbered from `first`; each lane sends one study after the other.

    Times are seconds from `origin` (of CLOCK_MONOTONIC, in ns). With `users` each lane begins the next as soon as it has
    its answer and has thought, until `end` or `limit` operations (0: no limit); without, operations begin at the times that
    `feed` brings. An operation that is due takes a lane with an association before it has one made: `events` then says
    "open", and `attach` or `park` answers it. `association` is how long one lives: 0 for good, 1 a series, 2 a study, 3 an
    image."""
    cdef readonly uint64_t given, begun, done, studies
    cdef readonly bint over    # users begin nothing more
    cdef list keep
    cdef list pairs
    cdef dict links
    cdef pattern_t *patterns
    cdef size_t pattern_count, widest, digits
    cdef uint64_t first
    cdef volley_lane *lanes
    cdef size_t lane_count, most
    cdef bint users
    cdef double end, think
    cdef uint64_t limit
    cdef int association
    cdef int64_t origin
    cdef int epoll, wake, bell, timer
    cdef bint stopping, running
    cdef size_t *idle          # ring of lanes
    cdef size_t idle_head, idle_count
    cdef size_t *parked        # stack of lanes
    cdef size_t parked_count
    cdef double *due           # times, from the one that is next; those up to `given` have come
    cdef size_t due_at, due_count, due_capacity
    cdef uint64_t taken
    # shared with Python, under the lock
    cdef pthread_mutex_t lock
    cdef double *fed
    cdef size_t fed_count, fed_capacity
    cdef volley_order *orders
    cdef size_t order_count, order_capacity
    cdef volley_word *words
    cdef size_t word_count, word_capacity
    cdef shot_record *records
    cdef size_t record_count, record_capacity
    cdef bint failed           # no memory

    def __cinit__(self, list patterns not None, list pairs not None, *, size_t lanes, size_t window, uint64_t first,
                  int association, bint users, double think, int64_t origin, double end, uint64_t limit):
        cdef size_t i, j
        cdef pattern_t *one
        self.epoll = self.wake = self.bell = self.timer = -1
        pthread_mutex_init(&self.lock, NULL)
        if not patterns or not 0 < lanes or not 0 < window <= 64:
            raise ValueError("patterns, lanes, and a window from 1 to 64")
        self.keep = []
        self.pairs = pairs
        self.links = {}
        self.first = first
        self.digits = <size_t>len(str(first))
        self.association, self.users, self.think = association, users, think
        self.origin, self.end, self.limit, self.most = origin, end, limit, window
        self.pattern_count = <size_t>len(patterns)
        self.patterns = <pattern_t *>calloc(self.pattern_count, sizeof(pattern_t))
        self.lane_count = lanes
        self.lanes = <volley_lane *>calloc(lanes, sizeof(volley_lane))
        self.idle = <size_t *>calloc(lanes, sizeof(size_t))
        self.parked = <size_t *>calloc(lanes, sizeof(size_t))
        if self.patterns == NULL or self.lanes == NULL or self.idle == NULL or self.parked == NULL:
            raise MemoryError()
        for i in range(self.pattern_count):
            one = &self.patterns[i]
            pair, instance, place, head, tail, places, last = patterns[i]
            sop_class, _ = pairs[pair]
            text = instance.encode()
            self.keep += [head, tail, sop_class]
            one.pair = pair
            one.last = last
            one.head = span_of_bytes(head)
            one.tail = span_of_bytes(tail)
            one.sop_class = <const char *>span_of_text(sop_class).data
            one.sop_class_size = span_of_text(sop_class).size
            one.instance_size = <size_t>len(text)
            one.instance_place = place
            one.place_count = <size_t>len(places)
            if one.instance_size > INSTANCE or one.instance_place + self.digits > one.instance_size:
                raise ValueError("a UID has at most 64 characters, and the study number among them")
            memcpy(one.instance, PyBytes_AS_STRING(text), one.instance_size)
            one.places = <uint32_t *>calloc(one.place_count + 1, sizeof(uint32_t))
            if one.places == NULL:
                raise MemoryError()
            for j in range(one.place_count):
                one.places[j] = places[j]
                if one.places[j] + self.digits > one.head.size:
                    raise ValueError("a study number stands outside the head")
            if (one.head.size + one.tail.size) % 2:
                raise ValueError("a data set of odd length")
            self.widest = max(self.widest, one.head.size)
        self.epoll = epoll_create1(EFD_CLOEXEC)
        self.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.timer = timerfd_create(CLOCK_MONOTONIC, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.epoll < 0 or self.wake < 0 or self.bell < 0 or self.timer < 0:
            raise OSError(errno, "epoll")
        self.listen(self.wake, lanes, EPOLLIN, EPOLL_CTL_ADD)
        self.listen(self.timer, lanes + 1, EPOLLIN, EPOLL_CTL_ADD)
        for i in range(lanes):
            self.free_lane(lanes - 1 - i if not users else i, 0.0)

    def __dealloc__(self):
        cdef size_t i, j
        if self.patterns != NULL:
            for i in range(self.pattern_count):
                free(self.patterns[i].places)
        if self.lanes != NULL:
            for i in range(self.lane_count):
                free(self.lanes[i].contexts)
                if self.lanes[i].shots != NULL:
                    for j in range(self.most):
                        free(self.lanes[i].shots[j].head)
                free(self.lanes[i].shots)
        free(self.patterns)
        free(self.lanes)
        free(self.idle)
        free(self.parked)
        free(self.due)
        free(self.fed)
        free(self.orders)
        free(self.words)
        free(self.records)
        for fd in (self.epoll, self.wake, self.bell, self.timer):
            if fd >= 0:
                c_close(fd)
        pthread_mutex_destroy(&self.lock)

    def fileno(self):
        """Readable when there are `events`."""
        return self.bell

    @property
    def waiting(self):
        """Operations that are due and have no lane."""
        return <int64_t>(self.given - self.taken)

    def feed(self, const double[::1] times not None):
        """Arrivals to come, in order."""
        cdef size_t count = <size_t>times.shape[0]
        if count == 0:
            return
        pthread_mutex_lock(&self.lock)
        self.fed = <double *>self.grown(self.fed, &self.fed_capacity, self.fed_count + count, sizeof(double))
        if not self.failed:
            memcpy(self.fed + self.fed_count, &times[0], count * sizeof(double))
            self.fed_count += count
        pthread_mutex_unlock(&self.lock)
        self.rouse()

    def attach(self, size_t lane, Link link not None, double due, double start, bint free):
        """A lane's association is open; `due`, `start` and `free` are those of the operation that it was opened for. The link
        is the volley's until `events` gives it back."""
        cdef volley_order order
        cdef volley_lane *one
        cdef size_t i
        if lane >= self.lane_count or self.lanes[lane].state != LANE_OPENING:
            raise IndexError(lane)
        one = &self.lanes[lane]
        if one.shots == NULL:                  # in this thread: the other has not seen it yet
            one.shots = <shot_t *>calloc(self.most, sizeof(shot_t))
            one.contexts = <uint8_t *>calloc(<size_t>len(self.pairs), 1)
            if one.shots == NULL or one.contexts == NULL:
                raise MemoryError()
            for i in range(self.most):
                one.shots[i].head = <uint8_t *>malloc(self.widest + 1)
                if one.shots[i].head == NULL:
                    raise MemoryError()
        for i in range(<size_t>len(self.pairs)):
            one.contexts[i] = link.contexts.get(self.pairs[i], 0)
        memset(&order, 0, sizeof(order))
        order.lane, order.attached, order.link = lane, True, &link.link
        order.due, order.start, order.free = due, start, free
        order.message_id = link.message_id
        order.window = min(self.most, <size_t>link.window_invoked if link.window_invoked > 0 else self.most)
        self.links[lane] = link
        self.post(&order)

    def park(self, size_t lane):
        """A lane's association is over, or was not to be had: the lane is free."""
        cdef volley_order order
        if lane >= self.lane_count or self.lanes[lane].state not in (LANE_OPENING, LANE_CLOSING):
            raise IndexError(lane)
        self.links.pop(lane, None)
        memset(&order, 0, sizeof(order))
        order.lane = lane
        self.post(&order)

    def halt(self):
        """Begin nothing more."""
        self.end = 0.0
        self.rouse()

    def cancel(self):
        """Make `run` return: what is under way is cut off, its associations aborted; the others are given back."""
        self.stopping = True
        self.rouse()

    def events(self):
        """What Python has to do, as tuples: ("open", lane, due, start, free); ("release", lane); ("ended", lane, end), where
        `end` is as of `Pump.ended`, or None when the run was cut off."""
        cdef list out = []
        cdef volley_word *words
        cdef size_t i, count
        cdef uint64_t drained
        pthread_mutex_lock(&self.lock)
        words, count = self.words, self.word_count
        self.words, self.word_count, self.word_capacity = NULL, 0, 0
        c_read(self.bell, &drained, sizeof(drained))
        pthread_mutex_unlock(&self.lock)
        for i in range(count):
            if words[i].kind == TELL_OPEN:
                out.append(("open", words[i].lane, words[i].due, words[i].start, bool(words[i].free)))
            elif words[i].kind == TELL_RELEASE:
                out.append(("release", words[i].lane))
            else:
                out.append(("ended", words[i].lane, None if words[i].cut else
                            link_end(words[i].end_kind, words[i].end_source, words[i].end_reason, words[i].end_detail)))
        free(words)
        return out

    def take(self):
        """The records of what has ended since the last call, as they stand in memory: `shot_record`."""
        cdef shot_record *records
        cdef size_t count
        pthread_mutex_lock(&self.lock)
        records, count = self.records, self.record_count
        self.records, self.record_count, self.record_capacity = NULL, 0, 0
        pthread_mutex_unlock(&self.lock)
        try:
            if self.failed:
                raise MemoryError()
            return PyBytes_FromStringAndSize(<const char *>records, <Py_ssize_t>(count * sizeof(shot_record)))
        finally:
            free(records)

    def left(self):
        """When `run` has returned: the times of those that were due and never began."""
        cdef size_t i
        return [self.due[self.due_at + i] for i in range(<size_t>(self.given - self.taken))]

    def run(self):
        """Drive until `cancel`."""
        with nogil:
            self.loop()
        if self.failed:
            raise MemoryError()

    # -- without the GIL from here on

    cdef void *grown(self, void *array, size_t *capacity, size_t wanted, size_t size) noexcept nogil:
        """Room for so many; `failed` when there is none."""
        cdef void *more
        if wanted <= capacity[0]:
            return array
        more = realloc(array, max(wanted, 2 * capacity[0] + 16) * size)
        if more == NULL:
            self.failed = True
            return array
        capacity[0] = max(wanted, 2 * capacity[0] + 16)
        return more

    cdef void rouse(self) noexcept nogil:
        cdef uint64_t one = 1
        c_write(self.wake, &one, sizeof(one))

    cdef void post(self, const volley_order *order) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        self.orders = <volley_order *>self.grown(self.orders, &self.order_capacity, self.order_count + 1, sizeof(volley_order))
        if not self.failed:
            self.orders[self.order_count] = order[0]
            self.order_count += 1
        pthread_mutex_unlock(&self.lock)
        self.rouse()

    cdef void tell(self, const volley_word *word) noexcept nogil:
        cdef uint64_t one = 1
        pthread_mutex_lock(&self.lock)
        self.words = <volley_word *>self.grown(self.words, &self.word_capacity, self.word_count + 1, sizeof(volley_word))
        if not self.failed:
            self.words[self.word_count] = word[0]
            self.word_count += 1
        c_write(self.bell, &one, sizeof(one))
        pthread_mutex_unlock(&self.lock)

    cdef void note(self, const shot_record *record) noexcept nogil:
        pthread_mutex_lock(&self.lock)
        self.records = <shot_record *>self.grown(self.records, &self.record_capacity, self.record_count + 1, sizeof(shot_record))
        if not self.failed:
            self.records[self.record_count] = record[0]
            self.record_count += 1
        pthread_mutex_unlock(&self.lock)

    cdef void listen(self, int fd, uint64_t key, uint32_t events, int operation) noexcept nogil:
        cdef epoll_event event
        event.events = events
        event.data.u64 = key
        epoll_ctl(self.epoll, operation, fd, &event)

    cdef double now(self) noexcept nogil:
        cdef timespec t
        clock_gettime(CLOCK_MONOTONIC, &t)
        return <double>(<int64_t>t.tv_sec * 1000000000 + t.tv_nsec - self.origin) * 1e-9

    cdef void loop(self) noexcept nogil:
        cdef epoll_event events[64]
        cdef int n, i
        cdef size_t key
        cdef uint64_t drained, checked = now_ms(), coarse
        cdef volley_lane *one
        while not self.stopping and not self.failed:
            self.arm()
            n = epoll_wait(self.epoll, events, 64, 250)
            for i in range(n):
                key = <size_t>events[i].data.u64
                if key >= self.lane_count:
                    c_read(self.wake if key == self.lane_count else self.timer, &drained, sizeof(drained))
                    continue
                one = &self.lanes[key]
                if one.state != LANE_OPEN and one.state != LANE_DRAINING:
                    continue
                if events[i].events & EPOLLOUT:
                    self.push(one)
                if events[i].events & ~EPOLLOUT and (one.state == LANE_OPEN or one.state == LANE_DRAINING):
                    self.pull(one)
            self.obey()
            self.dispatch()
            coarse = now_ms()
            if coarse - checked >= 250:
                checked = coarse
                for key in range(self.lane_count):
                    if self.lanes[key].outstanding:
                        self.check_time(&self.lanes[key], coarse)
        self.obey()                            # what came in time to be cut off
        for key in range(self.lane_count):
            one = &self.lanes[key]
            if one.state != LANE_OPEN and one.state != LANE_DRAINING:
                continue
            if one.outstanding:
                link_cut(one.link)
                self.die(one, DICORE_EVENT_CLOSED, 0, 0, 0, True)
            else:
                self.give_back(one)

    cdef void arm(self) noexcept nogil:
        """Be woken for the next arrival, or the next user that has thought."""
        cdef itimerspec at
        cdef int64_t when
        cdef double moment = -1.0
        if self.users:
            if self.idle_count:
                moment = self.lanes[self.idle[self.idle_head]].ready
                if moment <= self.now():
                    return                     # it is over
        elif <size_t>(self.given - self.taken) < self.due_count:
            moment = self.due[self.due_at + <size_t>(self.given - self.taken)]
        if moment < 0:
            return
        when = self.origin + <int64_t>(moment * 1e9)
        memset(&at, 0, sizeof(at))
        at.it_value.tv_sec = <time_t>(when // 1000000000)
        at.it_value.tv_nsec = <long>(when % 1000000000)
        timerfd_settime(self.timer, 1, &at, NULL)              # 1: absolute; a time that has passed wakes at once

    cdef void obey(self) noexcept nogil:
        """Take what Python has brought."""
        cdef volley_order *orders
        cdef size_t i, count
        cdef volley_lane *one
        if self.order_count == 0 and self.fed_count == 0:      # a look without the lock: `wake` rings again
            return
        pthread_mutex_lock(&self.lock)
        if self.fed_count:
            memmove(self.due, self.due + self.due_at, self.due_count * sizeof(double))
            self.due_at = 0
            self.due = <double *>self.grown(self.due, &self.due_capacity, self.due_count + self.fed_count, sizeof(double))
            if not self.failed:
                memcpy(self.due + self.due_count, self.fed, self.fed_count * sizeof(double))
                self.due_count += self.fed_count
                self.fed_count = 0
        orders, count = self.orders, self.order_count
        self.orders, self.order_count, self.order_capacity = NULL, 0, 0
        pthread_mutex_unlock(&self.lock)
        for i in range(count):
            one = &self.lanes[orders[i].lane]
            if not orders[i].attached:
                if one.state == LANE_OPENING:
                    self.done += 1
                self.free_lane(orders[i].lane, self.now() + self.think)
                continue
            one.link = orders[i].link
            one.window = orders[i].window
            one.message_id = orders[i].message_id
            one.state = LANE_OPEN
            one.generation += 1
            one.blocked = False
            self.listen(one.link.fd, orders[i].lane, EPOLLIN, EPOLL_CTL_ADD)
            self.start(one, orders[i].due, orders[i].start, orders[i].free)
        free(orders)

    cdef void free_lane(self, size_t lane, double ready) noexcept nogil:
        """A lane without an association."""
        self.lanes[lane].state = LANE_PARKED
        if self.users:
            self.queue(lane, ready)
        else:
            self.parked[self.parked_count] = lane
            self.parked_count += 1

    cdef void queue(self, size_t lane, double ready) noexcept nogil:
        cdef size_t at
        if self.lanes[lane].queued:
            return
        self.lanes[lane].queued = True
        self.lanes[lane].ready = ready
        at = self.idle_head + self.idle_count
        self.idle[at if at < self.lane_count else at - self.lane_count] = lane
        self.idle_count += 1

    cdef ssize_t next_idle(self) noexcept nogil:
        """A lane with an association that can send, -1: none."""
        cdef size_t lane
        while self.idle_count:
            lane = self.idle[self.idle_head]
            self.idle_head = self.idle_head + 1 if self.idle_head + 1 < self.lane_count else 0
            self.idle_count -= 1
            self.lanes[lane].queued = False
            if self.lanes[lane].state == LANE_PARKED or self.can_send(&self.lanes[lane]):
                return <ssize_t>lane
        return -1

    cdef bint can_send(self, const volley_lane *one) noexcept nogil:
        return one.state == LANE_OPEN and one.sending == NULL and one.outstanding < one.window

    cdef void dispatch(self) noexcept nogil:
        """Begin what is due, where a lane is free."""
        cdef ssize_t lane
        cdef bint fresh
        cdef size_t ahead
        cdef double now = self.now(), due
        if self.users:
            if now >= self.end or (self.limit and self.begun >= self.limit):
                self.over = True
                return
            while self.idle_count and self.lanes[self.idle[self.idle_head]].ready <= now:
                if now >= self.end or (self.limit and self.begun >= self.limit):
                    break
                lane = self.next_idle()
                if lane < 0:
                    break
                self.begin(<size_t>lane, now, now, True)
                now = self.now()
            return
        while self.due_count:
            fresh = self.given == self.taken
            due = self.due[self.due_at]
            if fresh and due > now:
                return
            lane = self.next_idle()
            if lane < 0 and self.parked_count:
                self.parked_count -= 1
                lane = <ssize_t>self.parked[self.parked_count]
            if lane < 0:
                break
            self.due_at += 1
            self.due_count -= 1
            self.taken += 1
            self.given += fresh
            self.begin(<size_t>lane, due, self.now(), fresh)
            now = self.now()
        ahead = <size_t>(self.given - self.taken)
        while ahead < self.due_count and self.due[self.due_at + ahead] <= now:
            ahead += 1
            self.given += 1                    # it waits

    cdef void begin(self, size_t lane, double due, double now, bint free) noexcept nogil:
        cdef volley_word word
        self.begun += 1
        if self.lanes[lane].state == LANE_OPEN:
            self.start(&self.lanes[lane], due, now, free)
            return
        self.lanes[lane].state = LANE_OPENING
        memset(&word, 0, sizeof(word))
        word.kind, word.lane, word.due, word.start, word.free = TELL_OPEN, lane, due, now, free
        self.tell(&word)

    cdef void start(self, volley_lane *one, double due, double start, bint free) noexcept nogil:
        """The next instance of this lane, sent."""
        cdef shot_t *shot = one.shots
        cdef pattern_t *pattern = &self.patterns[one.at]
        cdef size_t i, j
        cdef uint64_t number
        cdef char digits[20]
        while shot.active:
            shot += 1
        if one.at == 0:
            self.studies += 1
            one.study = <uint32_t>self.studies
        memset(&shot.record, 0, sizeof(shot.record))
        shot.record.due, shot.record.start, shot.record.free = due, start, free
        shot.record.begun = shot.record.sent = self.now()
        shot.record.lane, shot.record.generation = <uint32_t>(one - self.lanes), one.generation
        shot.record.study, shot.record.pattern = one.study, one.at
        shot.record.size = pattern.head.size + pattern.tail.size
        one.at = one.at + 1 if one.at + 1 < self.pattern_count else 0
        one.outstanding += 1
        shot.active = True
        shot.answered = False
        if self.association == 3 or self.association & <int>pattern.last:
            one.state = LANE_DRAINING
        number = self.first + one.study - 1
        for i in range(self.digits):
            digits[self.digits - 1 - i] = <char>(48 + number % 10)
            number //= 10
        if number or not one.contexts[pattern.pair]:
            self.finish(one, shot, SHOT_NO_NUMBER if number else SHOT_NO_CONTEXT)
            return
        memcpy(shot.head, pattern.head.data, pattern.head.size)
        for i in range(pattern.place_count):
            memcpy(shot.head + pattern.places[i], digits, self.digits)
        memcpy(shot.instance, pattern.instance, pattern.instance_size)
        memcpy(shot.instance + pattern.instance_place, digits, self.digits)
        shot.data[0].data, shot.data[0].size = shot.head, pattern.head.size
        shot.data[1] = pattern.tail
        one.message_id += 1
        shot.message_id = one.message_id
        one.sending = shot
        if link_store(one.link, one.contexts[pattern.pair], one.message_id, span_of_chars(pattern.sop_class, pattern.sop_class_size),
                      span_of_chars(shot.instance, pattern.instance_size), shot.data, 2 if pattern.tail.size else 1,
                      shot.record.size) != DICORE_OK:
            self.die(one, DICORE_EVENT_CLOSED, 0, 0, 0)
            return
        self.push(one)

    cdef void push(self, volley_lane *one) noexcept nogil:
        cdef int result = link_push(one.link)
        cdef shot_t *shot = one.sending
        if result == PUSH_BROKEN or result == PUSH_DRY:
            self.die(one, LINK_BROKEN, 0, 0, 0)
            return
        if (result == PUSH_BLOCKED) != one.blocked:
            one.blocked = result == PUSH_BLOCKED
            self.listen(one.link.fd, <size_t>(one - self.lanes), EPOLLIN | EPOLLOUT if one.blocked else EPOLLIN, EPOLL_CTL_MOD)
        if result == PUSH_DONE and shot != NULL:
            one.sending = NULL
            shot.record.sent = self.now()
            if shot.answered:
                self.finish(one, shot, SHOT_ANSWERED)
            elif self.can_send(one):
                self.queue(<size_t>(one - self.lanes), 0.0)

    cdef void pull(self, volley_lane *one) noexcept nogil:
        cdef uint8_t memory[8192]
        cdef size_t at = 0, n, consumed, i
        cdef dicore_event event
        cdef dicore_status status
        cdef int over = link_receive(one.link, memory, sizeof(memory), &n)
        if over != LINK_STANDS:
            self.die(one, <uint8_t>over, 0, 0, 0)
            return
        if n == 0:
            return
        while True:
            status = dicore_association_receive(one.link.core, memory + at, n - at, &consumed, &event)
            at += consumed
            if event.kind == DICORE_EVENT_NONE:
                return
            if event.kind == DICORE_EVENT_COMMAND:
                if event.command.command_field == DICORE_C_STORE_RSP:
                    for i in range(self.most):
                        if one.shots[i].active and one.shots[i].message_id == event.command.responded_to:
                            one.shots[i].record.status = event.command.status
                            one.shots[i].answered = True
                            if one.sending != &one.shots[i]:       # else it is still being sent
                                self.finish(one, &one.shots[i], SHOT_ANSWERED)
                            break
                    if one.state == LANE_CLOSING:
                        return
            elif link_ends(one.link, &event):
                self.die(one, <uint8_t>event.kind, event.source, event.reason, <int>event.status)
                return
            if status != DICORE_OK:
                return

    cdef void finish(self, volley_lane *one, shot_t *shot, uint8_t outcome) noexcept nogil:
        shot.record.end = self.now()
        shot.record.outcome = outcome
        shot.active = False
        one.outstanding -= 1
        self.note(&shot.record)
        self.done += 1
        if one.state == LANE_DRAINING and one.outstanding == 0:
            self.give_back(one)
        elif self.can_send(one):
            self.queue(<size_t>(one - self.lanes), shot.record.end + max(self.think, 0.01 if outcome else 0.0) if self.users else 0.0)

    cdef void give_back(self, volley_lane *one) noexcept nogil:
        """The association is Python's, to be released."""
        cdef volley_word word
        self.listen(one.link.fd, 0, 0, EPOLL_CTL_DEL)
        one.state = LANE_CLOSING
        memset(&word, 0, sizeof(word))
        word.kind, word.lane = TELL_RELEASE, <size_t>(one - self.lanes)
        self.tell(&word)

    cdef void die(self, volley_lane *one, uint8_t kind, uint8_t source_, uint8_t reason, int detail,
                  bint cut=False) noexcept nogil:
        cdef size_t i
        cdef volley_word word
        cdef double now = self.now()
        self.listen(one.link.fd, 0, 0, EPOLL_CTL_DEL)
        one.link.sending = False
        one.link.piece = one.link.piece_count = 0
        one.sending = NULL
        one.state = LANE_CLOSING
        for i in range(self.most):
            if one.shots[i].active:
                one.shots[i].active = False
                one.shots[i].record.end = now
                one.shots[i].record.outcome = SHOT_CUT if cut else SHOT_LOST
                self.note(&one.shots[i].record)
                self.done += 1
        one.outstanding = 0
        memset(&word, 0, sizeof(word))
        word.kind, word.lane = TELL_ENDED, <size_t>(one - self.lanes)
        word.cut, word.end_kind, word.end_source = cut, kind, source_
        word.end_reason = one.link.error if kind == LINK_BROKEN else reason
        word.end_detail = detail
        self.tell(&word)

    cdef void check_time(self, volley_lane *one, uint64_t now) noexcept nogil:
        cdef dicore_event event
        if link_times_out(one.link, now, &event):
            self.die(one, <uint8_t>event.kind, 0, 0, <int>event.timeout)

