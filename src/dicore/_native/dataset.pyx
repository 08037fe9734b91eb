"""Data sets over bytes: the fast half of `dicore.dataset`.

A `Source` is the bytes (a buffer, or a file of which the head is here and the rest is fetched when asked for) and the tape
over them. A `DatasetBase` is a range of the tape: the top level or one item. Values decode on access and are kept.
An edit is recorded, not made: a changed element is a small data set of its own (a patch), which reads see in the place of what
the source has, and which splicing puts there when bytes are asked for. The source never changes.
All state changes happen under the GIL and are published whole; fetching and growing take the source's lock. So any number
of threads may read one data set.
"""
import operator
import os
import pathlib
import threading

from dicore import errors

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_GetItem, PyDict_GetItemWithError, PyDict_Size
from cpython.list cimport PyList_Append
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject, PyObject_GenericGetAttr
from cpython.unicode cimport PyUnicode_DecodeASCII, PyUnicode_DecodeLatin1
from libc.errno cimport EINTR, errno
from libc.stdint cimport int16_t, int32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strlen

from dicore._native.heap cimport heap
from dicore._native.libdicore cimport *
from dicore._native.status cimport check

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyErr_SetFromErrnoWithFilenameObject(object kind, object path)
    object PyUnicode_EncodeFSDefault(object text)
    Py_UCS4 PyUnicode_READ_CHAR(object text, Py_ssize_t index)
    object PyMemoryView_FromObject(object owner)
    int PyObject_GenericSetAttr(object owner, object name, PyObject *value) except -1

cdef extern from "<fcntl.h>" nogil:
    int os_open "open"(const char *path, int flags, ...)
    enum:
        O_RDONLY
        O_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    ssize_t os_pread "pread"(int fd, void *buffer, size_t size, long long offset)
    ssize_t os_read "read"(int fd, void *buffer, size_t size)
    int os_close "close"(int fd)
    int os_dup "dup"(int fd)

cdef extern from "<sys/mman.h>" nogil:
    void *os_mmap "mmap"(void *address, size_t size, int protection, int flags, int fd, long long offset)
    int os_munmap "munmap"(void *address, size_t size)
    int os_madvise "madvise"(void *address, size_t size, int advice)
    enum:
        PROT_READ
        PROT_WRITE
        MAP_PRIVATE
        MAP_ANONYMOUS
        MAP_NORESERVE
        MADV_DONTNEED
    void *MAP_FAILED

cdef extern from *:
    """
    #include <errno.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <unistd.h>
    /* What tells one state of a file from another, and whether pread works on it. */
    typedef struct file_identity { uint64_t device, inode, size; int64_t seconds, nanoseconds; int regular; } file_identity;
    static int identify(int fd, file_identity *out)
    {
        struct stat s;
        if (fstat(fd, &s) != 0)
            return -1;
        out->device = (uint64_t)s.st_dev;
        out->inode = (uint64_t)s.st_ino;
        out->size = (uint64_t)s.st_size;
    #ifdef __APPLE__
        out->seconds = s.st_mtimespec.tv_sec;
        out->nanoseconds = s.st_mtimespec.tv_nsec;
    #else
        out->seconds = s.st_mtim.tv_sec;
        out->nanoseconds = s.st_mtim.tv_nsec;
    #endif
        out->regular = S_ISREG(s.st_mode) || S_ISBLK(s.st_mode) || S_ISDIR(s.st_mode);
        return 0;
    }
    /* Up to `size` bytes at `offset` of `from` to where `to` stands, within the kernel: what was copied, 0 at the end of the
     * file, -1 with errno; -2: not by this kernel, or not between these two. */
    static ssize_t copy_range(int from, long long offset, int to, size_t size)
    {
    #ifdef __linux__
        off64_t at = offset;
        ssize_t n = copy_file_range(from, &at, to, NULL, size, 0);
        if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EPERM
                      || errno == EBADF || errno == ETXTBSY))
            return -2;
        return n;
    #else
        (void)from, (void)offset, (void)to, (void)size;
        return -2;
    #endif
    }
    static int write_all(int fd, const uint8_t *data, size_t size)
    {
        while (size) {
            ssize_t n = write(fd, data, size);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return -1;
            data += n;
            size -= (size_t)n;
        }
        return 0;
    }
    static void close_quietly(int fd) /* errno stays that of the call before */
    {
        int kept = errno;
        close(fd);
        errno = kept;
    }
    static int same_file(const file_identity *a, const file_identity *b)
    {
        return a->device == b->device && a->inode == b->inode && a->size == b->size && a->seconds == b->seconds
            && a->nanoseconds == b->nanoseconds;
    }
    """
    ctypedef struct file_identity:
        uint64_t device
        uint64_t inode
        uint64_t size
        int regular
    int identify(int fd, file_identity *out) nogil
    void close_quietly(int fd) nogil
    ssize_t copy_range(int source, long long offset, int to, size_t size) nogil
    int write_all(int fd, const uint8_t *data, size_t size) nogil
    int same_file(const file_identity *a, const file_identity *b) nogil

cdef enum:
    HEAD = 8192          # the first pread
    LARGE = 1 << 18      # a value from this size on gets a window of its own
    MAPPED = 1 << 25     # a file from this size on gets pages of its own
    HOLE = 65536         # a value from this size on is not fetched until it is asked for
    GIL_LIMIT = 1 << 20  # from this many bytes on the tape is read without the GIL
    APART = 1 << 24      # what is left in the file from this size on is not fetched to edit or write what is around it
    CHUNK = 1 << 20      # what is copied at once from file to file, where the kernel does not do it
    AHEAD = 1 << 26      # how far the length of a sequence is believed when its bytes are fetched
    PEEKS = 12           # attributes that are searched for one by one before the tape is made
    NOTES = 1000         # deviations that are kept; more are only counted
    PLAIN = 32           # changes of plain text that are made in one go

cdef enum:
    VR_AE = 0x4145
    VR_AS = 0x4153
    VR_AT = 0x4154
    VR_CS = 0x4353
    VR_DA = 0x4441
    VR_DS = 0x4453
    VR_DT = 0x4454
    VR_FD = 0x4644
    VR_FL = 0x464C
    VR_IS = 0x4953
    VR_LO = 0x4C4F
    VR_LT = 0x4C54
    VR_PN = 0x504E
    VR_SH = 0x5348
    VR_SL = 0x534C
    VR_SQ = 0x5351
    VR_SS = 0x5353
    VR_ST = 0x5354
    VR_SV = 0x5356
    VR_TM = 0x544D
    VR_UC = 0x5543
    VR_UI = 0x5549
    VR_UL = 0x554C
    VR_UN = 0x554E
    VR_UR = 0x5552
    VR_US = 0x5553
    VR_UT = 0x5554
    VR_UV = 0x5556

cdef uint32_t TAG_CHARSET = 0x00080005
cdef uint32_t TAG_SIGN = 0x00280103
cdef dict KEYWORDS = {}  # keyword: tag, filled as keywords are met
cdef dict NAMES = {}     # tag: (keyword, name, vm), likewise
cdef dict VRS = {}       # VR as a number: as text


cdef dicore_allocator HEAP = heap()


cdef inline dicore_read_options read_options(bint strict, bint partial, dicore_deviations *deviations) noexcept nogil:
    cdef dicore_read_options options
    memset(&options, 0, sizeof(options))
    options.strict = strict
    options.partial = partial
    options.deviations = deviations
    return options


cdef str vr_text(uint16_t vr):
    cdef PyObject *known = PyDict_GetItem(VRS, vr)
    if known != NULL:
        return <str>known
    text = chr(vr >> 8) + chr(vr & 0xFF)
    VRS[vr] = text
    return text


cdef inline str tag_text(uint32_t tag):
    return "%04X,%04X" % (tag >> 16, tag & 0xFFFF)


cdef tuple names_of(uint32_t tag):
    """(keyword, name, value multiplicity) of a public tag; three empty strings when the standard has none."""
    cdef PyObject *known = PyDict_GetItem(NAMES, tag)
    if known != NULL:
        return <tuple>known
    cdef dicore_dictionary_entry entry
    if dicore_dictionary_find(tag, &entry):
        names = (entry.keyword.decode(), entry.name.decode(), entry.vm.decode())
    elif tag & 0xFFFF == 0:
        names = ("", "Group Length", "1")
    else:
        names = ("", "", "")
    if len(NAMES) < 16384:
        NAMES[tag] = names
    return names


cdef object keyword_tag(str name):
    """The tag of a keyword as an int, or None."""
    cdef PyObject *known = PyDict_GetItem(KEYWORDS, name)
    if known != NULL:
        return <object>known
    cdef Py_ssize_t size
    cdef int found = 0
    if not name.isascii():
        return None
    cdef const char *text = PyUnicode_AsUTF8AndSize(name, &size)
    cdef uint32_t tag = dicore_dictionary_keyword(text, <size_t>size, &found)
    if not found:
        return None
    number = tag
    KEYWORDS[name] = number
    return number


# ---- the parts, each upon those before it ----
include "dataset/types.pxi"
include "dataset/bytes.pxi"
include "dataset/source.pxi"
include "dataset/element.pxi"
include "dataset/base.pxi"
include "dataset/items.pxi"


# ---- entry points ----------------------------------------------------------------------------------------------------

def read_into(DatasetBase dataset, source, bint strict, bint mmap):
    """What `dicore.read` does, into a new Dataset."""
    cdef Source opened
    if type(source) is PLAIN_PATH or isinstance(source, str) or hasattr(source, "__fspath__"):
        opened = source_of_path(source, strict, mmap)
    elif PyObject_CheckBuffer(source):
        opened = source_of_buffer(source, None, strict)
    elif hasattr(source, "read"):
        data = source.read()
        if not PyObject_CheckBuffer(data):
            raise TypeError("the file object must be binary: open it with 'rb'")
        name = getattr(source, "name", None)
        opened = source_of_buffer(data, name if isinstance(name, (str, os.PathLike)) else None, strict)
    else:
        raise TypeError(f"a path, bytes or a binary file object is needed, not {type(source).__name__}")
    if strict:
        opened.final_tape()
    dataset.source = opened
    return dataset


def open_buffer(DatasetBase dataset, data, path, owner, transfer_syntax, bint strict):
    """What `Dataset.from_bytes` does, into a new Dataset."""
    cdef Source opened
    if transfer_syntax is None:
        opened = source_of_buffer(data, path, strict)
    else:
        opened = source_of_dataset(data, str(transfer_syntax), path, strict)
    opened.keep = owner
    if strict:
        opened.final_tape()
    dataset.source = opened
    return dataset


def select(data, tags, transfer_syntax=None):
    """Raw values of a few top-level tags, as a list of memoryview or None in the order of `tags`.

    `data` is a Part 10 file or, when `transfer_syntax` is given, a bare data set in it. One pass that skips by length and
    stops beyond the last wanted tag. Raises DicomFormatError.
    """
    cdef Source source
    cdef dicore_error error
    cdef dicore_status status
    cdef uint64_t position = 0
    cdef size_t count, i
    cdef list wanted = sorted(set(tags))
    cdef uint32_t *list_of_tags
    cdef dicore_selected *found
    if transfer_syntax is None:
        source = source_of_buffer(data, None, False)
    else:
        source = source_of_dataset(data, str(transfer_syntax), None, False)
    if source.deflated:
        source.inflate()
    count = len(wanted)
    cdef void *memory = PyMem_RawMalloc(count * (sizeof(dicore_selected) + sizeof(uint32_t)) + 1)
    if memory == NULL:
        raise MemoryError()
    try:
        found = <dicore_selected *>memory
        list_of_tags = <uint32_t *>(found + count)
        for i in range(count):
            list_of_tags[i] = wanted[i]
        status = dicore_select(source.base, source.size, source.start, source.encoding, NULL, list_of_tags, count, found,
                               &position, &error)
        if status != DICORE_OK:
            source.fail(status, &error)
        view = PyMemoryView_FromObject(source.owner)
        values = {}
        for i in range(count):
            if found[i].flags & DICORE_SELECTED:
                values[wanted[i]] = view[found[i].offset:found[i].offset + found[i].length]
        return [values.get(tag) for tag in tags]
    finally:
        PyMem_RawFree(memory)


def keyword_to_tag(str name):
    """The tag of a keyword as an int, None when there is no such keyword."""
    return keyword_tag(name)


def dictionary_entry(tag, str creator=None):
    """(VRs, VM, name, keyword, retired) of a tag by PS3.6, or of a private tag of `creator`; None when it is not known."""
    cdef dicore_dictionary_entry entry
    cdef bytes text
    cdef uint32_t number = tag
    if creator is not None:
        text = creator.encode("latin-1", "replace")
        if PRIVATE is not None:
            known = PRIVATE.known.get((text, number & 0xFFFF00FF))
            if known is not None:
                return (vr_text(known[0]),), known[1], known[2], "", False
        if not dicore_dictionary_private(<const uint8_t *>PyBytes_AS_STRING(text), <size_t>len(text), number, &entry):
            return None
    elif not dicore_dictionary_find(number, &entry):
        return None
    vrs = tuple(vr_text(entry.vr[i]) for i in range(3) if entry.vr[i])
    return vrs, entry.vm.decode(), entry.name.decode(), entry.keyword.decode(), bool(entry.retired)


def deviation_names():
    """Short names of the named deviations in the order of their numbers, from 1."""
    return [dicore_deviation_name(code).decode() for code in range(1, DICORE_DEV_COUNT)]
