from dicore._native.libdicore cimport dicore_capture, dicore_capture_how, dicore_capture_stream

cdef class Stream:
    cdef dicore_capture_stream *stream

    @staticmethod
    cdef Stream of(dicore_capture_stream *stream)
    cdef int data(self, bint ours, const void *data, size_t size) except -1
    cdef int end(self, dicore_capture_how how, str comment) except -1

cdef class Capture:
    cdef dicore_capture *capture
    cdef readonly str path
    cdef tuple told            # on_failure and the path: the thread's, who must not touch what is being deallocated
    cdef object __weakref__

    cpdef Stream begin(self, object own, object peer, bint called, str comment)
