"""What associations say, as a pcapng file: dicore/capture.h."""
import os
import socket

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from dicore._native.libdicore cimport *
from dicore._native.status cimport check_os


cdef void *_resize(void *context, void *pointer, size_t old_size, size_t new_size) noexcept nogil:
    if new_size == 0:
        free(pointer)
        return NULL
    return realloc(pointer, new_size)


cdef void _failed(void *context, int system) noexcept with gil:
    on_failure, path = <tuple>context
    on_failure(path, OSError(system, os.strerror(system), path))


cdef dicore_span _span(bytes text):
    cdef dicore_span span
    span.data = <const uint8_t *>PyBytes_AS_STRING(text)
    span.size = <size_t>PyBytes_GET_SIZE(text)
    return span


cdef int _point(dicore_capture_end_point *out, object name) except -1:
    """Of what getsockname or getpeername gave."""
    memset(out, 0, sizeof(out[0]))
    if not isinstance(name, tuple) or len(name) < 2:
        return 0
    host = name[0].partition("%")[0]
    out.family = 6 if ":" in host else 4
    address = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    memcpy(out.address, PyBytes_AS_STRING(<bytes?>address), <size_t>len(address))
    out.port = name[1]
    return 0


cdef class Stream:
    """One connection of a capture."""

    @staticmethod
    cdef Stream of(dicore_capture_stream *stream):
        cdef Stream out = None
        if stream != NULL:
            out = Stream.__new__(Stream)
            out.stream = stream
        return out

    def __dealloc__(self):
        cdef dicore_span none
        none.data = NULL
        none.size = 0
        dicore_capture_end(self.stream, DICORE_CAPTURE_RESET, none)

    cdef int data(self, bint ours, const void *data, size_t size) except -1:
        cdef dicore_span piece
        if self.stream != NULL and size:
            piece.data = <const uint8_t *>data
            piece.size = size
            dicore_capture_data(self.stream, ours, &piece, 1)
        return 0

    cdef int end(self, dicore_capture_how how, str comment) except -1:
        cdef bytes text = comment.encode()
        cdef dicore_capture_stream *stream = self.stream
        self.stream = NULL
        dicore_capture_end(stream, how, _span(text))
        return 0


cdef class Capture:
    """A file that is being written, until `close`. `on_failure(path, OSError)` is called by another thread when it cannot be."""

    def __cinit__(self, path, *, on_failure, size_t buffer=32 << 20, str application=""):
        cdef dicore_error error
        cdef dicore_status status
        cdef bytes encoded = os.fsencode(path), name = application.encode()
        memset(&error, 0, sizeof(error))
        self.path = os.fsdecode(path)
        self.told = (on_failure, self.path)
        cdef dicore_allocator allocator
        allocator.resize = _resize
        allocator.context = NULL
        cdef const char *where = PyBytes_AS_STRING(encoded)
        cdef dicore_span by = _span(name)
        cdef tuple told = self.told
        with nogil:
            status = dicore_capture_open(where, buffer, by, &allocator, _failed, <void *>told, &self.capture, &error)
        check_os(status, &error, self.path)

    def __dealloc__(self):
        with nogil:
            dicore_capture_close(self.capture)

    cpdef Stream begin(self, own, peer, bint called, str comment):
        """A connection begins: the ends as getsockname and getpeername say them. None: the capture is closed."""
        cdef dicore_capture_end_point here, there
        cdef bytes text = comment.encode()
        if self.capture == NULL:
            return None
        _point(&here, own)
        _point(&there, peer)
        return Stream.of(dicore_capture_begin(self.capture, &here, &there, called, _span(text)))

    @property
    def closed(self):
        return self.capture == NULL

    @property
    def counts(self):
        """(packets so far, how many of them the file does not have); None when it is closed."""
        cdef uint64_t packets, lost
        if self.capture == NULL:
            return None
        dicore_capture_counts(self.capture, &packets, &lost)
        return packets, lost

    def close(self):
        """Write what waits and close the file; blocks."""
        cdef dicore_capture *capture = self.capture
        self.capture = NULL
        with nogil:
            dicore_capture_close(capture)
