"""Memory for libdicore from Python's raw allocator, which needs no GIL."""
from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc

from dicore._native.libdicore cimport dicore_allocator


cdef inline void *resize(void *context, void *pointer, size_t old_size, size_t new_size) noexcept nogil:
    if new_size == 0:
        PyMem_RawFree(pointer)
        return NULL
    return PyMem_RawRealloc(pointer, new_size)


cdef inline dicore_allocator heap() noexcept nogil:
    cdef dicore_allocator made
    made.resize = <void *(*)(void *, void *, size_t, size_t) noexcept>resize
    made.context = NULL
    return made
