"""Stored instances that leave without Python: records in, associations lent, outcomes out. Who asks is dicore.server.retrieve."""
cimport cython
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

from dicore._native.libdicore cimport *
from dicore._native.status cimport check, check_os

cdef extern from "poll.h" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout)
    short POLLIN

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

LEFT, ANSWERED, UNREADABLE, DAMAGED, UNFIT, LOST, UNANSWERED = (
    <int>DICORE_SUB_LEFT, <int>DICORE_SUB_ANSWERED, <int>DICORE_SUB_UNREADABLE, <int>DICORE_SUB_DAMAGED, <int>DICORE_SUB_UNFIT,
    <int>DICORE_SUB_LOST, <int>DICORE_SUB_UNANSWERED)


cdef void *_resize(void *context, void *pointer, size_t old_size, size_t new_size) noexcept nogil:
    if new_size == 0:
        free(pointer)
        return NULL
    return realloc(pointer, new_size)


cdef dicore_span _text(str text) except *:
    cdef dicore_span span
    cdef Py_ssize_t size
    span.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
    span.size = <size_t>size
    return span


cdef class Records:
    """Where instances stand. What `keep` has been given stays open as long as this lives."""
    cdef dicore_stored *items
    cdef size_t count, capacity
    cdef dict kept

    def __cinit__(self):
        self.kept = {}

    def __dealloc__(self):
        free(self.items)

    def __len__(self):
        return <Py_ssize_t>self.count

    def add(self, segment not None, uint64_t offset, uint64_t size, str uid not None):
        """The record of `uid` at `offset` of an open Segment; `size`: its bytes, 0: not known."""
        cdef dicore_stored *grown
        cdef dicore_span text = _text(uid)
        cdef dicore_stored *item
        if self.count == self.capacity:
            grown = <dicore_stored *>realloc(self.items, (self.capacity * 2 + 16) * sizeof(dicore_stored))
            if grown == NULL:
                raise MemoryError()
            self.items = grown
            self.capacity = self.capacity * 2 + 16
        item = &self.items[self.count]
        item.file = segment.fileno()
        item.nonce = segment.nonce
        item.offset = offset
        item.size = size
        dicore_uid_hash(text.data, text.size, item.uid_hash)
        self.kept[item.file] = segment
        self.count += 1


cdef class Retrieval:
    """Sub-operations under way on one association."""
    cdef dicore_retrieval *job
    cdef dicore_stored *items
    cdef dicore_sub_result *outcomes
    cdef size_t count
    cdef list order
    cdef object records, loan
    cdef readonly bint over
    cdef public object on_done     # called with this, when it is over

    def __dealloc__(self):
        dicore_retrieval_free(self.job)
        free(self.items)
        free(self.outcomes)

    def cancel(self):
        """Begin no more sub-operations."""
        if not self.over and self.job != NULL:
            dicore_retrieval_cancel(self.job)

    def stop(self):
        """Let go of the association now."""
        if not self.over and self.job != NULL:
            dicore_retrieval_stop(self.job)

    @property
    def progress(self):
        """(completed, failed, with a warning, bytes) so far."""
        cdef uint64_t[4] out
        dicore_retrieval_progress(self.job, out)
        return out[0], out[1], out[2], out[3]

    @property
    def message_id(self):
        """The last one that was used."""
        return dicore_retrieval_ended(self.job).message_id

    @property
    def ended(self):
        """Address of the dicore_retrieval_end, for whoever takes the association back; valid while this lives."""
        return <size_t>dicore_retrieval_ended(self.job)

    def results(self):
        """(index of the record, outcome, status, detail) of each."""
        cdef size_t i
        return [(self.order[i], <int>self.outcomes[i].outcome, self.outcomes[i].status, self.outcomes[i].detail)
                for i in range(self.count)]


@cython.no_gc_clear                        # the threads use what is running until they have ended
cdef class Retriever:
    """Threads that send, from construction until `close`."""
    cdef dicore_retriever *retriever
    cdef set running

    def __cinit__(self, *, unsigned int threads=2, uint64_t memory=256 << 20):
        cdef dicore_retriever_options options
        cdef dicore_error error
        cdef dicore_status status
        memset(&error, 0, sizeof(error))
        dicore_retriever_defaults(&options)
        options.allocator.resize = _resize
        options.allocator.context = NULL
        options.threads = threads
        options.memory = memory
        self.running = set()
        status = dicore_retriever_start(&options, &self.retriever, &error)
        check_os(status, &error, None)

    def __dealloc__(self):
        with nogil:
            dicore_retriever_free(self.retriever)

    def fileno(self):
        """Becomes readable when `next` has something."""
        return -1 if self.retriever == NULL else dicore_retriever_descriptor(self.retriever)

    def close(self):
        """End: what is under way is stopped, and `next` has it still."""
        cdef dicore_retriever *retriever = self.retriever
        for one in list(self.running):
            (<Retrieval>one).stop()
        while self.running:
            self.wait()
            while (done := self.next()) is not None:
                if done.on_done is not None:
                    done.on_done(done)
        self.retriever = NULL
        with nogil:
            dicore_retriever_free(retriever)

    cdef int wait(self) except -1:
        cdef pollfd one
        one.fd = dicore_retriever_descriptor(self.retriever)
        one.events = POLLIN
        with nogil:
            poll(&one, 1, 1000)
        return 0

    def start(self, Records records not None, list order not None, *, size_t association, int socket, list offers not None,
              uint16_t message_id, unsigned int window, uint64_t network_timeout, str originator not None="", uint16_t originator_id=0,
              answers=None, uint64_t answer_every=100, uint64_t total=0, uint64_t completed=0, uint64_t failed=0,
              uint64_t warning=0, loan=None):
        """Send the records `order` over the association at that address. The duplicate of its socket is the retrieval's. `offers` are
        (SOP class, transfer syntax, context id), `answers` (context id, message id, SOP class) of the C-GET that is told how far it is.
        `loan` is kept until it is over."""
        cdef dicore_retrieval_options options
        cdef Retrieval out = Retrieval()
        cdef dicore_offer *offered = NULL
        cdef size_t i = 0, j
        if self.retriever == NULL:
            raise RuntimeError("it is closed")
        memset(&options, 0, sizeof(options))
        out.count = <size_t>len(order)
        out.order = order
        out.records = records
        out.loan = loan
        out.items = <dicore_stored *>calloc(out.count + 1, sizeof(dicore_stored))
        out.outcomes = <dicore_sub_result *>calloc(out.count + 1, sizeof(dicore_sub_result))
        offered = <dicore_offer *>calloc(<size_t>len(offers) + 1, sizeof(dicore_offer))
        try:
            if out.items == NULL or out.outcomes == NULL or offered == NULL:
                raise MemoryError()
            for i in range(out.count):
                j = order[i]
                if j >= records.count:
                    raise IndexError(j)
                out.items[i] = records.items[j]
            for sop_class, syntax, number in offers:
                offered[options.offer_count].sop_class = _text(sop_class)
                offered[options.offer_count].transfer_syntax = _text(syntax)
                offered[options.offer_count].id = number
                options.offer_count += 1
            options.association = <dicore_association *>association
            options.socket = socket
            options.offers = offered
            options.items = out.items
            options.results = out.outcomes
            options.count = out.count
            options.message_id = message_id
            options.window = window
            options.network_timeout = network_timeout
            options.originator = _text(originator)
            options.originator_id = originator_id
            options.total, options.completed, options.failed, options.warning = total, completed, failed, warning
            if answers is not None:
                options.answers = True
                options.context_id, options.request_id, request_class = answers
                options.request_class = _text(request_class)
                options.answer_every = answer_every
            options.token = <void *>out
            self.running.add(out)          # before it can be done
            try:
                check(dicore_retrieval_start(self.retriever, &options, &out.job), NULL)
            except BaseException:
                self.running.discard(out)
                raise
        finally:
            free(offered)
        return out

    def next(self):
        """The next Retrieval that is over, or None."""
        cdef void *token
        cdef Retrieval out
        if self.retriever == NULL or not dicore_retriever_next(self.retriever, &token):
            return None
        out = <Retrieval>token
        out.over = True
        self.running.discard(out)
        return out
