"""The epoll engine of libdicore: options in, events out. Who drives it is dicore.server.engine."""
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from dicore._native.capture cimport Capture, Stream
from dicore._native.libdicore cimport *
from dicore._native.status cimport check_os

HANDOVER, ENDED, FAILED, STORED, EMPTY = (
    <int>DICORE_ENGINE_HANDOVER, <int>DICORE_ENGINE_ENDED, <int>DICORE_ENGINE_FAILED, <int>DICORE_ENGINE_STORED,
    <int>DICORE_ENGINE_EMPTY)

PHASES = ("accept", "negotiate", "first_byte", "last_byte", "commit", "answer")   # in the order of dicore_phase

COUNTERS = (  # in the order of dicore_engine_counter
    "connections", "associations", "released", "aborted_by_peer", "aborted", "closed", "rejected", "violations",
    "limit_associations", "limit_per_peer", "limit_in_flight", "limit_dataset", "timeout_artim", "timeout_network",
    "timeout_dimse", "timeout_idle", "unsupported", "echoes", "stores", "stores_failed", "streamed", "bytes", "handed_over",
    "events_lost", "limit_pdu", "limit_negotiation", "limit_command", "limit_in_flight_per_peer", "limit_unread", "open",
    "in_flight")

_WHY = {
    <int>DICORE_WHY_RELEASED: "released",
    <int>DICORE_WHY_CLOSED: "connection closed without release",
    <int>DICORE_WHY_CLOSED_EARLY: "connection closed before an association",
    <int>DICORE_WHY_DRAINED: "aborted: the listener closes",
    <int>DICORE_WHY_OVERLOAD: "closed: too many connections",
    <int>DICORE_WHY_UNREAD: "its answers are not read",
    <int>DICORE_WHY_DATASET_LIMIT: "a data set beyond the limit",
    <int>DICORE_WHY_RESPONSE: "a response to nothing",
    <int>DICORE_WHY_NO_MEMORY: "aborted: out of memory",
    <int>DICORE_WHY_REJECTED_DRAINING: "rejected: shutting down",
    <int>DICORE_WHY_REJECTED_FULL: "rejected: too many associations",
    <int>DICORE_WHY_REJECTED_PEER_FULL: "rejected: too many associations of this peer",
    <int>DICORE_WHY_REJECTED_CONTEXT: "rejected: application context not supported",
    <int>DICORE_WHY_REJECTED_CALLED: "rejected: called AE title not recognized",
    <int>DICORE_WHY_REJECTED_CALLING: "rejected: calling AE title not recognized",
    <int>DICORE_WHY_REJECTED_ADDRESS: "rejected: address not allowed",
}
_TIMEOUTS = {
    <int>DICORE_TIMEOUT_ARTIM: "artim", <int>DICORE_TIMEOUT_NETWORK: "network", <int>DICORE_TIMEOUT_DIMSE: "dimse",
    <int>DICORE_TIMEOUT_IDLE: "idle",
}


cdef void *_resize(void *context, void *pointer, size_t old_size, size_t new_size) noexcept nogil:
    if new_size == 0:
        free(pointer)
        return NULL
    return realloc(pointer, new_size)


cdef void _lane_stored(void *context, uint64_t segment) noexcept with gil:
    (<Engine>context).on_lane(segment)


cdef class _Names:
    """A list of bytes as spans."""
    cdef dicore_span *items
    cdef list kept
    cdef dicore_names names

    def __cinit__(self, names):
        cdef Py_ssize_t i = 0
        self.names.items = NULL
        self.names.count = 0
        if names is None:
            return
        self.kept = list(names)
        self.items = <dicore_span *>malloc((len(self.kept) + 1) * sizeof(dicore_span))
        if self.items == NULL:
            raise MemoryError
        for one in self.kept:
            self.items[i].data = <const uint8_t *>PyBytes_AS_STRING(<bytes?>one)
            self.items[i].size = <size_t>PyBytes_GET_SIZE(one)
            i += 1
        self.names.items = self.items
        self.names.count = <size_t>i

    def __dealloc__(self):
        free(self.items)


cdef class _Networks:
    """A list of (family, address, bits)."""
    cdef dicore_network *items       # NULL: any
    cdef size_t count

    def __cinit__(self, networks):
        self.items = NULL
        self.count = 0
        if networks is None:
            return
        self.items = <dicore_network *>malloc((<size_t>len(networks) + 1) * sizeof(dicore_network))
        if self.items == NULL:
            raise MemoryError
        for family, address, bits in networks:
            self.items[self.count].family = family
            self.items[self.count].bits = bits
            memset(self.items[self.count].address, 0, 16)
            memcpy(self.items[self.count].address, PyBytes_AS_STRING(<bytes?>address), <size_t>min(16, len(address)))
            self.count += 1

    def __dealloc__(self):
        free(self.items)


cdef class Event:
    """What the engine has to say; only what its kind has is set."""
    cdef readonly int kind, socket, status, system, why
    cdef readonly str calling_ae, called_ae, text
    cdef readonly bytes address, data
    cdef readonly Stream stream      # of a capture, which has `data`
    cdef readonly int port
    cdef readonly uint64_t started, accepted, stores, stored_bytes, echoes
    cdef readonly int contexts
    cdef readonly dict phases        # {phase: (count, p50, p99, longest)} in ns
    cdef readonly size_t host            # of a HANDOVER, for `Engine.gone`
    cdef int source, reason
    cdef uint64_t offset

    @property
    def why_text(self):
        """How the connection ended, in words."""
        if self.why == <int>DICORE_WHY_ABORTED_BY_PEER:
            return f"aborted by the peer (source {self.source}, reason {self.reason})"
        if self.why == <int>DICORE_WHY_VIOLATION:
            return (f"protocol violation at byte {self.offset}: {dicore_status_text(<dicore_status>self.status).decode()} "
                    f"(answered with reason {self.reason})")
        if self.why == <int>DICORE_WHY_TIMEOUT:
            return f"timeout: {_TIMEOUTS.get(self.reason, 'artim')}"
        if self.why == <int>DICORE_WHY_LOST:
            return f"connection lost: {os.strerror(self.system)}"
        return _WHY.get(self.why, "ended")


cdef str _text(const char *text):
    cdef Py_ssize_t size = 0
    while text[size]:
        size += 1
    return PyUnicode_DecodeASCII(text, size, "backslashreplace")


cdef class Engine:
    """Running threads over listening sockets, from construction until `stop`."""
    cdef dicore_engine *engine
    cdef object native               # the lent store
    cdef Capture capture
    cdef readonly object on_lane     # callable(segment id): a helper thread calls it

    def __cinit__(self, list sockets not None, *, native, on_lane, unsigned int threads, uint32_t window, uint32_t pdu, uint32_t negotiation,
                  uint32_t command, uint64_t artim, uint64_t network, uint64_t dimse, uint64_t idle, uint64_t interval,
                  uint64_t associations, uint64_t associations_per_peer, uint64_t dataset, uint64_t stream_from, uint64_t in_flight,
                  uint64_t in_flight_per_peer, uint32_t turn, bint report_ends, called_ae, calling_ae, sop_classes, transfer_syntaxes, foreign,
                  networks, Capture capture=None, bytes implementation_uid not None, bytes implementation_version not None):
        cdef dicore_engine_options options
        cdef dicore_error error
        cdef dicore_status status
        cdef int[64] fds
        cdef size_t count = 0
        cdef _Networks nets = _Networks(networks)
        cdef _Names called = _Names(called_ae), calling = _Names(calling_ae), classes = _Names(sop_classes)
        cdef _Names syntaxes = _Names(transfer_syntaxes), others = _Names(foreign)
        dicore_engine_defaults(&options)
        memset(&error, 0, sizeof(error))
        if len(sockets) > 64:
            raise ValueError("too many sockets")
        for one in sockets:
            fds[count] = one
            count += 1
        options.allocator.resize = _resize
        options.threads = threads
        options.window = window
        options.association.max_length = pdu
        options.association.negotiation_limit = negotiation
        options.association.command_limit = command
        options.association.artim_timeout = artim
        options.association.network_timeout = network
        options.association.dimse_timeout = dimse
        options.association.idle_timeout = idle
        options.interval = interval
        options.associations = associations
        options.associations_per_peer = associations_per_peer
        options.dataset = dataset
        options.stream_from = stream_from
        options.in_flight = in_flight
        options.in_flight_per_peer = in_flight_per_peer
        options.turn = turn
        options.report_ends = report_ends
        options.called_ae = called.names
        options.calling_ae = calling.names
        options.sop_classes = classes.names
        options.transfer_syntaxes = syntaxes.names
        options.foreign = others.names
        options.implementation_uid.data = <const uint8_t *>PyBytes_AS_STRING(implementation_uid)
        options.implementation_uid.size = <size_t>PyBytes_GET_SIZE(implementation_uid)
        options.implementation_version.data = <const uint8_t *>PyBytes_AS_STRING(implementation_version)
        options.implementation_version.size = <size_t>PyBytes_GET_SIZE(implementation_version)
        self.capture = capture
        if capture is not None:
            options.capture = capture.capture
        self.on_lane = on_lane
        if on_lane is not None:
            options.lane_stored = _lane_stored
            options.context = <void *>self
        options.networks = nets.items
        options.network_count = nets.count
        if native is not None:
            options.store = <dicore_store *><size_t>native.lend()
            self.native = native
        status = dicore_engine_start(&options, fds, count, &self.engine, &error)
        if status != DICORE_OK:
            self._return_store()
        check_os(status, &error, None)

    def __dealloc__(self):
        with nogil:
            dicore_engine_free(self.engine)

    def _return_store(self):
        native, self.native = self.native, None
        if native is not None:
            native.give_back()

    def fileno(self):
        """Becomes readable when `next` has something."""
        return -1 if self.engine == NULL else dicore_engine_descriptor(self.engine)

    def next(self):
        """The next Event, or None."""
        cdef dicore_engine_event event
        cdef Event out
        cdef int i
        if self.engine == NULL or not dicore_engine_next(self.engine, &event):
            return None
        out = Event.__new__(Event)
        out.kind, out.socket, out.status, out.system, out.why = event.kind, event.socket, event.status, event.system, event.why
        out.source, out.reason, out.offset = event.source, event.reason, event.offset
        out.port = event.port
        out.address = event.address[:4 if event.family == 4 else 16]
        out.started, out.stores, out.stored_bytes, out.echoes = event.started, event.stores, event.stored_bytes, event.echoes
        out.accepted, out.contexts = event.accepted, event.contexts
        if event.kind == DICORE_ENGINE_ENDED:
            out.phases = {}
            for i in range(<int>DICORE_PHASES):
                if event.phases[i].count:
                    out.phases[PHASES[i]] = (event.phases[i].count, event.phases[i].p50, event.phases[i].p99, event.phases[i].longest)
        out.calling_ae, out.called_ae, out.text = _text(event.calling_ae), _text(event.called_ae), _text(event.text)
        out.stream = Stream.of(event.stream)
        out.host = <size_t>event.host
        if event.data != NULL:
            out.data = PyBytes_FromStringAndSize(<const char *>event.data, <Py_ssize_t>event.size)
            dicore_engine_release(self.engine, &event)
        return out

    def gone(self, size_t host):
        """A connection that was handed over has ended."""
        if self.engine != NULL:
            dicore_engine_gone(self.engine, <void *>host)

    @property
    def address(self):
        """Of the dicore_engine, for `Hub.share`; good as long as this object is."""
        return <size_t>self.engine

    def drain(self):
        """No new associations or messages; an EMPTY event follows when the last connection has gone."""
        if self.engine != NULL:
            with nogil:
                dicore_engine_drain(self.engine)

    def stop(self):
        """Abort what is left and end the threads; blocks until the store has answered for what it has. Events and counters
        can still be had."""
        if self.engine != NULL:
            with nogil:
                dicore_engine_stop(self.engine)
            self._return_store()

    def admit(self, calling_ae, networks):
        """Other callers from now on: as the arguments of these names. Raises ValueError, MemoryError."""
        cdef _Names calling = _Names(calling_ae)
        cdef _Networks nets = _Networks(networks)
        cdef dicore_error error
        memset(&error, 0, sizeof(error))
        if self.engine != NULL:
            check_os(dicore_engine_admit(self.engine, calling.names, nets.items, nets.count), &error, None)

    def times_by_phase(self):
        """{phase: (count, sum in ns, counts of the buckets)} of all messages; see dicore._native.net.PHASES."""
        cdef dicore_times times[<int>DICORE_PHASES]
        cdef dict out = {}
        cdef int i, j
        if self.engine == NULL:
            return out
        dicore_engine_times(self.engine, times)
        for i in range(<int>DICORE_PHASES):
            out[PHASES[i]] = (times[i].count, times[i].sum, [times[i].buckets[j] for j in range(<int>DICORE_PHASE_BUCKETS)])
        return out

    def counts(self):
        """All counters by name."""
        cdef uint64_t[64] out
        cdef Py_ssize_t i
        if self.engine == NULL:
            return dict.fromkeys(COUNTERS, 0)
        dicore_engine_count(self.engine, out)
        return {COUNTERS[i]: out[i] for i in range(<Py_ssize_t>DICORE_COUNTERS)}
