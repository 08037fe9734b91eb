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


# ---- private elements that the program knows ---------------------------------------------------------------------------

cdef class PrivateTable:
    """What `register_private` was told, as libdicore and as Python read it. Never changes: a new one takes its place."""

    cdef dict known  # (creator in bytes, tag without block): (VR as a number, VM, name)
    cdef dicore_private_dictionary table

    def __cinit__(self, dict known):
        cdef dicore_private_entry *entries = <dicore_private_entry *>malloc((len(known) + 1) * sizeof(dicore_private_entry))
        cdef size_t i = 0
        if entries == NULL:
            raise MemoryError()
        self.table.entries = entries
        self.known = known
        for creator, tag in sorted(known, key=operator.itemgetter(1, 0)):
            entries[i].creator = PyBytes_AS_STRING(creator)  # lives as long as the key in `known`
            entries[i].tag = tag
            entries[i].vr = known[creator, tag][0]
            i += 1
        self.table.count = i

    def __dealloc__(self):
        free(<void *>self.table.entries)


cdef PrivateTable PRIVATE = None
cdef object REGISTERING = threading.Lock()


def register_private_elements(str creator, list elements):
    """Add (tag, VR, VM, name) of a private creator to what data sets opened from now on know. All or nothing."""
    global PRIVATE
    cdef uint16_t vr
    cdef bytes key = creator.strip(" \0").encode("latin-1")
    with REGISTERING:
        known = {} if PRIVATE is None else dict(PRIVATE.known)
        for tag, vr_name, vm, name in elements:
            letters = vr_name.encode("ascii", "replace")
            vr = letters[0] << 8 | letters[1] if len(letters) == 2 else 0
            if not dicore_vr_known(vr):
                raise ValueError(f"({tag:08X}): {vr_name!r} is no VR")
            known[key, tag & 0xFFFF00FF] = (vr, vm, name)
        PRIVATE = PrivateTable(known)


class Tag(int):
    """A tag: an int (group << 16 | element) that prints as '(0010,0020)'."""

    __slots__ = ()

    @property
    def group(self):
        return int(self) >> 16

    @property
    def element(self):
        return int(self) & 0xFFFF

    elem = element

    @property
    def is_private(self):
        return bool(int(self) >> 16 & 1)

    def __str__(self):
        return f"({int(self) >> 16:04X},{int(self) & 0xFFFF:04X})"

    __repr__ = __str__


cdef class Warning:
    """Something in the file that the standard does not have, and that was read all the same.

    `code` is a short name ("odd-length"), `offset` the byte (in the inflated data set when it is deflated), `tag_path` the
    element as '0008,1115[0].0020,000E' or None.
    """

    cdef readonly str code
    cdef readonly str message
    cdef readonly object offset
    cdef readonly object tag_path

    def __init__(self, str code, str message, offset=None, tag_path=None):
        self.code = code
        self.message = message
        self.offset = offset
        self.tag_path = tag_path

    def __repr__(self):
        return f"Warning({self.code!r}, {self.message!r}, offset={self.offset}, tag_path={self.tag_path!r})"

    def __str__(self):
        where = f"byte {self.offset}: " if self.offset is not None else ""
        return f"{where}{f'({self.tag_path}) ' if self.tag_path else ''}{self.message} [{self.code}]"

    def __eq__(self, other):
        if not isinstance(other, Warning):
            return NotImplemented
        return (self.code, self.message, self.offset, self.tag_path) == (
            other.code, other.message, other.offset, other.tag_path)

    def __hash__(self):
        return hash((self.code, self.offset, self.tag_path))


cdef class PersonName:
    """A value of VR PN (PS3.5 6.2.1): up to three groups (alphabetic, ideographic, phonetic), each of five components.
    Equal to, and hashed as, its text."""

    cdef str text

    def __init__(self, text=""):
        self.text = str(text).rstrip("=")

    @property
    def components(self):
        """The groups that are there, as a tuple of str."""
        return tuple(self.text.split("=")) if self.text else ()

    cdef str group(self, Py_ssize_t number):
        parts = self.text.split("=")
        return parts[number] if number < len(parts) else ""

    cdef str part(self, Py_ssize_t number):
        parts = self.group(0).split("^")
        return parts[number] if number < len(parts) else ""

    @property
    def alphabetic(self):
        return self.group(0)

    @property
    def ideographic(self):
        return self.group(1)

    @property
    def phonetic(self):
        return self.group(2)

    @property
    def family_name(self):
        return self.part(0)

    @property
    def given_name(self):
        return self.part(1)

    @property
    def middle_name(self):
        return self.part(2)

    @property
    def name_prefix(self):
        return self.part(3)

    @property
    def name_suffix(self):
        return self.part(4)

    def family_comma_given(self):
        """'Family, Given'."""
        return f"{self.part(0)}, {self.part(1)}"

    def formatted(self, format_str):
        """`format_str % {...}` with family_name, given_name, middle_name, name_prefix, name_suffix, ideographic, phonetic."""
        fields = ("family_name", "given_name", "middle_name", "name_prefix", "name_suffix", "ideographic", "phonetic")
        return format_str % {field: getattr(self, field) for field in fields}

    def __str__(self):
        return self.text

    def __repr__(self):
        return repr(self.text)

    def __eq__(self, other):
        if isinstance(other, PersonName):
            return self.text == (<PersonName>other).text
        if isinstance(other, str):
            return self.text == other
        return NotImplemented

    def __lt__(self, other):
        if isinstance(other, (str, PersonName)):
            return self.text < str(other)
        return NotImplemented

    def __hash__(self):
        return hash(self.text)

    def __bool__(self):
        return bool(self.text)

    def __len__(self):
        return len(self.text)

    def __iter__(self):
        return iter(self.text)

    def __contains__(self, part):
        return part in self.text

    def __reduce__(self):
        return PersonName, (self.text,)


cdef inline PersonName person_name(str text):
    cdef PersonName name = PersonName.__new__(PersonName)
    name.text = text.rstrip("=") if text and PyUnicode_READ_CHAR(text, len(text) - 1) == c"=" else text
    return name


# ---- bytes -----------------------------------------------------------------------------------------------------------

cdef class Region:
    """Memory that views stand on: what pread fills (pages cost nothing until then), or a map of a file."""

    cdef uint8_t *data
    cdef size_t size
    cdef bint mapped

    def __dealloc__(self):
        if self.mapped:
            os_munmap(self.data, self.size)
        else:
            PyMem_RawFree(self.data)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, <Py_ssize_t>self.size, 1, flags)

    def __len__(self):
        return <Py_ssize_t>self.size


@cython.no_gc
cdef class Export:
    """A buffer that is held. Apart, and no part of garbage collection: that would clear a memoryview of which something
    is still exported, and releasing it then reads freed memory."""

    cdef Py_buffer view
    cdef bint held

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef Region new_region(size_t size, bint zeroed=False):
    """Memory for a file, of which only what pread has filled is looked at; `zeroed`: all of it may be."""
    cdef Region region = Region.__new__(Region)
    cdef void *at
    if size < MAPPED and not zeroed:  # from the heap, where fresh pages need not be faulted in each time
        region.data = <uint8_t *>PyMem_RawMalloc(size if size else 1)
        if region.data == NULL:
            raise MemoryError(f"{size} bytes for a file")
    else:  # address space, whatever the size of the file; memory is what pread fills
        at = os_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if at == MAP_FAILED:
            raise MemoryError(f"{size} bytes for a file")
        region.data = <uint8_t *>at
        region.mapped = True
    region.size = size
    return region


cdef int pread_all(int fd, uint8_t *out, size_t size, size_t offset, size_t *got) noexcept nogil:
    """pread until `size` bytes or the end of the file. 0, or -1 with errno."""
    cdef ssize_t n
    got[0] = 0
    while got[0] < size:
        n = os_pread(fd, out + got[0], size - got[0], <long long>(offset + got[0]))
        if n < 0:
            if errno == EINTR:
                continue
            return -1
        if n == 0:
            break
        got[0] += <size_t>n
    return 0


cdef int open_file(const char *path) noexcept nogil:
    cdef int fd
    while True:
        fd = os_open(path, O_RDONLY | O_CLOEXEC)
        if fd >= 0 or errno != EINTR:
            return fd


cdef int read_head(const char *path, uint8_t *out, size_t *got, file_identity *identity, int *fd) noexcept nogil:
    """Open, identify, read HEAD bytes, close: 0, or -1 with errno. A pipe or the like stays open in `*fd`."""
    cdef int failed
    fd[0] = open_file(path)
    if fd[0] < 0:
        return -1
    if identify(fd[0], identity) != 0:
        failed = -1
    elif not identity.regular:
        return 0
    else:
        failed = pread_all(fd[0], out, HEAD, 0, got)
    close_quietly(fd[0])
    fd[0] = -1
    return failed


cdef uint64_t chain_end(int fd, uint64_t value, uint64_t size) noexcept nogil:
    """Where the fragments that begin at `value` end: the offset of their delimiter, 0 when they do not chain up to one."""
    cdef uint8_t header[8]
    cdef size_t got
    cdef uint64_t at = value
    cdef uint32_t tag
    while at + 8 <= size:
        if pread_all(fd, header, 8, at, &got) != 0 or got != 8:
            return 0
        tag = <uint32_t>header[1] << 24 | <uint32_t>header[0] << 16 | <uint32_t>header[3] << 8 | header[2]
        if tag == 0xFFFEE0DDU:
            return at
        if tag != DICORE_TAG_ITEM:
            return 0
        at += 8 + (<uint64_t>header[7] << 24 | <uint64_t>header[6] << 16 | <uint64_t>header[5] << 8 | header[4])
    return 0


cdef class FileWindow:
    """A large value that stays in its file: memory as long as it, of which only what is asked for is read.

    What was not filled reads as zeros. `drop` gives all of it back. One thread at a time.
    """

    cdef Region region
    cdef readonly object path
    cdef int fd
    cdef file_identity identity
    cdef readonly uint64_t offset  # of the value in the file
    cdef readonly uint64_t size    # of the value; of items that were not followed to their end: to the end of the file

    def __cinit__(self):
        self.fd = -1

    def fileno(self):
        return self.fd

    def check(self):
        """Raises DicomFormatError when the file is not what it was when it was opened, OSError."""
        cdef file_identity now
        if identify(self.fd, &now) != 0:
            PyErr_SetFromErrnoWithFilenameObject(OSError, self.path)
        if not same_file(&now, &self.identity):
            raise_changed(self.path, self.offset)

    def __dealloc__(self):
        if self.fd >= 0:
            os_close(self.fd)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.region.data, <Py_ssize_t>self.region.size, 1, flags)

    def fill(self, size_t start, size_t size):
        """Read [start, start + size) of the value, as far as it goes, from the file. Raises DicomFormatError, OSError."""
        cdef file_identity now
        cdef size_t got = 0
        cdef int failed = 0
        if start >= self.region.size:
            return
        if size > self.region.size - start:
            size = self.region.size - start
        with nogil:
            if pread_all(self.fd, self.region.data + start, size, self.offset + start, &got) != 0 \
                    or identify(self.fd, &now) != 0:
                failed = 1
        if failed:
            PyErr_SetFromErrnoWithFilenameObject(OSError, self.path)
        if got != size or not same_file(&now, &self.identity):
            raise_changed(self.path, self.offset + start)

    def drop(self):
        """Give the memory back; what was filled has to be filled again."""
        if self.region.mapped:
            os_madvise(self.region.data, self.region.size, MADV_DONTNEED)


@cython.no_gc
cdef class Held:
    """A file that was read from: open once a write has put another in its place, so that what was not read still can be."""

    cdef bytes name
    cdef object path
    cdef int fd

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            os_close(self.fd)


cdef int open_held(Held held, const char *name) noexcept nogil:
    """open(2), of what was held when something is."""
    if held.fd >= 0:
        return os_dup(held.fd)
    return open_file(name)


cdef class FileSpan:
    """Bytes that are written as they stand in a file, or with each number of `swap` bytes turned, without being fetched first."""

    cdef Held held
    cdef file_identity identity
    cdef readonly uint64_t offset
    cdef readonly uint64_t size
    cdef uint32_t swap

    def __len__(self):
        return <Py_ssize_t>self.size

    cdef int open(self) except -1:
        cdef file_identity now
        cdef const char *name = PyBytes_AS_STRING(self.held.name)
        cdef int fd
        cdef int failed = 0
        with nogil:
            fd = open_held(self.held, name)
            if fd < 0 or identify(fd, &now) != 0:
                failed = 1
            elif not same_file(&now, &self.identity):
                failed = 2
            if failed and fd >= 0:
                close_quietly(fd)
        if failed == 1:
            PyErr_SetFromErrnoWithFilenameObject(OSError, self.held.path)
        if failed == 2:
            raise_changed(self.held.path, self.offset)
        return fd

    def hold(self, device, inode):
        """Keep the file open when it is the one that is about to be replaced."""
        if self.held.fd < 0 and self.identity.device == <uint64_t>device and self.identity.inode == <uint64_t>inode:
            self.held.fd = self.open()

    cdef int chunk(self, int fd, uint64_t at, uint8_t *out, uint8_t *spare, size_t size) noexcept nogil:
        """`size` bytes from `at` of the span on into `out`, turned by way of `spare`: 0, 1 with errno, 2 when they are not there."""
        cdef dicore_piece piece
        cdef dicore_plan plan
        cdef size_t got = 0
        if pread_all(fd, spare if self.swap else out, size, self.offset + at, &got) != 0:
            return 1
        if got != size:
            return 2
        if self.swap:
            memset(&plan, 0, sizeof(dicore_plan))
            memset(&piece, 0, sizeof(dicore_piece))
            piece.data = spare
            piece.size = size
            piece.swap = self.swap
            plan.pieces = &piece
            plan.count = 1
            plan.size = size
            dicore_plan_emit(&plan, out, size)
        return 0

    def copy_to(self, int to):
        """To where the file descriptor `to` stands. Raises OSError; DicomFormatError when the file has changed."""
        cdef uint64_t done = 0
        cdef ssize_t n = 0
        cdef size_t step
        cdef file_identity now
        cdef int failed = 0
        cdef bint in_kernel = self.swap == 0
        cdef uint8_t *memory = NULL
        cdef int fd = self.open()
        try:
            while done < self.size and not failed:
                with nogil:
                    if in_kernel:
                        step = <size_t>(self.size - done) if self.size - done < (1 << 26) else 1 << 26
                        n = copy_range(fd, <long long>(self.offset + done), to, step)
                        if n > 0:
                            done += <uint64_t>n
                        elif n == 0:
                            failed = 2
                        elif n == -2:
                            in_kernel = False
                        elif errno != EINTR:
                            failed = 1
                    else:
                        if memory == NULL:
                            memory = <uint8_t *>malloc(2 * CHUNK)
                        step = <size_t>(self.size - done) if self.size - done < CHUNK else CHUNK
                        if memory == NULL:
                            failed = 3
                        else:
                            failed = self.chunk(fd, done, memory, memory + CHUNK, step)
                            if not failed and write_all(to, memory, step) != 0:
                                failed = 1
                        done += step
                if failed == 1:
                    PyErr_SetFromErrnoWithFilenameObject(OSError, self.held.path)
            if failed == 3:
                raise MemoryError()
            if failed == 2 or identify(fd, &now) != 0 or not same_file(&now, &self.identity):
                raise_changed(self.held.path, self.offset + done)
        finally:
            free(memory)
            os_close(fd)

    def __iter__(self):
        """The bytes, at most 1 MiB at a time."""
        cdef uint64_t done = 0
        cdef size_t step
        cdef bytes out, spare = bytes(CHUNK) if self.swap else b""
        cdef int failed
        cdef int fd = self.open()
        try:
            while done < self.size:
                step = <size_t>(self.size - done) if self.size - done < CHUNK else CHUNK
                out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>step)
                failed = self.chunk(fd, done, <uint8_t *>PyBytes_AS_STRING(out), <uint8_t *>PyBytes_AS_STRING(spare), step)
                if failed == 1:
                    PyErr_SetFromErrnoWithFilenameObject(OSError, self.held.path)
                if failed:
                    raise_changed(self.held.path, self.offset + done)
                done += step
                yield out
        finally:
            os_close(fd)


cdef int raise_changed(object path, uint64_t offset) except -1:
    raise errors.DicomFormatError("the file has changed since it was opened", path=path, offset=offset,
                                  expected="the same inode, size and modification time")


cdef bytes drain(int fd, object path):
    """All that comes out of a pipe, socket or terminal; closes it."""
    cdef list pieces = []
    cdef ssize_t n
    cdef bytes piece
    cdef char *out
    try:
        while True:
            piece = PyBytes_FromStringAndSize(NULL, 1 << 16)
            out = PyBytes_AS_STRING(piece)
            with nogil:
                n = os_read(fd, out, 1 << 16)
            if n < 0:
                if errno == EINTR:
                    continue
                PyErr_SetFromErrnoWithFilenameObject(OSError, path)
            if n == 0:
                return b"".join(pieces)
            pieces.append(piece[:n])
    finally:
        os_close(fd)


cdef Region heap_region(size_t size):
    cdef Region region = Region.__new__(Region)
    region.size = size
    region.data = <uint8_t *>PyMem_RawMalloc(size if size else 1)
    if region.data == NULL:
        raise MemoryError(f"{size} bytes for a data set")
    return region


cdef Region emitted(bytes head, dicore_plan *plan):
    """`head` and the pieces of `plan`, whose size is not looked at."""
    cdef size_t i, before = <size_t>len(head)
    cdef Region region
    plan.size = 0
    for i in range(plan.count):
        plan.size += plan.pieces[i].size
    region = heap_region(before + plan.size)
    memcpy(region.data, PyBytes_AS_STRING(head), before)
    dicore_plan_emit(plan, region.data + before, plan.size)
    return region


cdef class Source:
    """The bytes of a data set and the tape over them. [0, have) and [tail, size) are at `base`, the rest is in the file."""

    cdef object path          # as given; None for bytes
    cdef object fs_path       # bytes for open(2); None when everything is here
    cdef Held held            # of fs_path; what is made of this by edits shares it. None: nothing was yet
    cdef int64_t shift        # from a place here to that in the file, of what is still in the file
    cdef object owner         # exports the bytes at `base`
    cdef object keep          # what the caller wants to live as long
    cdef Export export        # of the caller's buffer
    cdef bint strict
    cdef bint deflated        # and not inflated yet
    cdef bint started         # the tape holds what could be read from [0, have)
    cdef bint complete        # the tape holds everything
    cdef bint guessed
    cdef bint part10          # there is a head (preamble, group 0002) before the data set
    cdef const uint8_t *base
    cdef size_t have, size, tail
    cdef size_t start         # of the data set
    cdef size_t hole_start, hole_end
    cdef uint64_t chain_at               # where an encapsulated Pixel Data stands that goes beyond the bytes at hand
    cdef uint64_t chain_value, chain_end # its value and its delimiter, once followed through the file
    cdef PrivateTable private            # of when this was opened: the shape of the tape depends on it
    cdef int peeks
    cdef uint32_t peeked_tag[PEEKS]
    cdef uint64_t peeked_at[PEEKS]
    cdef file_identity identity
    cdef dicore_encoding encoding
    cdef size_t meta_start, meta_size
    cdef dicore_encoding meta_encoding
    cdef object head          # exports the bytes of the head (differs from `owner` once inflated)
    cdef const uint8_t *head_base
    cdef size_t head_size, head_total # how much of it was parsed, and the size of the file then
    cdef object packed        # the file before it was inflated
    cdef size_t packed_start  # of the deflate stream in it
    cdef str syntax
    cdef dicore_tape tape
    cdef object lock
    cdef dict values          # offset: bytes of a large value that was read apart
    cdef list notes           # Warnings that decoding values gave
    cdef set noted
    cdef list deviations      # Warnings that the structure gave; None: not asked for yet

    def __cinit__(self):
        self.private = PRIVATE

    def __dealloc__(self):
        if self.tape.entries != NULL:
            dicore_tape_free(&self.tape, &HEAP)

    cdef object guard(self):
        if self.lock is None:
            self.lock = threading.RLock()
        return self.lock

    # -- fetching ------------------------------------------------------------------------------------------------------

    cdef int fetch(self, size_t until, size_t tail) except -1:
        """Make [0, until) and [tail, size) present. The caller holds the lock."""
        cdef Region region
        cdef int fd, failed = 0
        cdef size_t got = 0, wanted = 0
        cdef file_identity now
        cdef const char *path
        cdef uint8_t *out
        cdef size_t have = self.have, size = self.size, old_tail = self.tail
        if until > size:
            until = size
        if until <= have and tail >= old_tail:
            return 0
        if self.fs_path is None:
            raise errors.DicomFormatError("bytes that are not there", path=self.path, offset=have)
        if isinstance(self.owner, Region):
            region = self.owner
        else:
            region = new_region(size)
            memcpy(region.data, self.base, have)
        out = region.data
        path = PyBytes_AS_STRING(self.fs_path)
        self.holding()
        with nogil:
            fd = open_held(self.held, path)
            if fd < 0:
                failed = 1
            else:
                if identify(fd, &now) != 0:
                    failed = 1
                elif not same_file(&now, &self.identity):
                    failed = 2
                else:
                    if until > have:
                        wanted = (until if until < old_tail else old_tail) - have  # what is behind may be an edit
                        if pread_all(fd, out + have, wanted, have + self.shift, &got) != 0:
                            failed = 1
                    if not failed and got == wanted and tail < old_tail:
                        wanted = old_tail - tail
                        if pread_all(fd, out + tail, wanted, tail + self.shift, &got) != 0:
                            failed = 1
                    if not failed and got != wanted:
                        failed = 2
                close_quietly(fd)
        if failed == 1:
            PyErr_SetFromErrnoWithFilenameObject(OSError, self.path)
        if failed == 2:
            raise_changed(self.path, have)
        self.owner = region
        self.base = out
        if until > have:
            self.have = until
        if tail < old_tail:
            self.tail = tail
        if self.have >= self.tail:
            self.have = self.tail = size
        return 0

    cdef int holding(self) except -1:
        cdef Held held
        if self.held is None:
            held = Held.__new__(Held)
            held.name = self.fs_path
            held.path = self.path
            self.held = held
        return 0

    cdef bint lies_apart(self):
        """Whether so much of this is in the file only that edits leave it there."""
        self.final_tape()
        return self.fs_path is not None and self.tail > self.have and self.tail - self.have >= APART and not self.deflated

    cdef int present(self, size_t offset, size_t size) except -1:
        """Make the value at [offset, offset + size) present."""
        if offset + size <= self.have or offset >= self.tail or size == 0:
            return 0
        with self.guard():
            self.fetch(offset + size, self.tail)
        return 0

    cdef bytes apart(self, size_t offset, size_t size):
        """A large value that is still in the file as bytes of its own, read once: what `raw` and `value` both stand on. None:
        it is at `base`, or too small for that."""
        cdef bytes found
        cdef file_identity now
        cdef const char *path
        cdef char *out
        cdef size_t got = 0
        cdef int fd, failed = 0
        if size < HOLE or self.fs_path is None or offset + size <= self.have or offset >= self.tail:
            return None
        with self.guard():
            if self.values is None:
                self.values = {}
            known = self.values.get(offset)
            if known is not None and len(<bytes>known) == <Py_ssize_t>size:
                return known
            if offset + size <= self.have:  # fetched meanwhile
                return None
            found = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
            out = PyBytes_AS_STRING(found)
            path = PyBytes_AS_STRING(self.fs_path)
            self.holding()
            with nogil:
                fd = open_held(self.held, path)
                if fd < 0 or identify(fd, &now) != 0:
                    failed = 1
                elif not same_file(&now, &self.identity):
                    failed = 2
                elif pread_all(fd, <uint8_t *>out, size, offset + self.shift, &got) != 0:
                    failed = 1
                elif got != size:
                    failed = 2
                if fd >= 0:
                    close_quietly(fd)
            if failed == 1:
                PyErr_SetFromErrnoWithFilenameObject(OSError, self.path)
            if failed == 2:
                raise_changed(self.path, offset)
            self.values[offset] = found
            return found

    cdef int cut(self, const dicore_plan *plan, object head, list pieces) except -1:
        """What `plan` makes, behind `head`, as Regions of what is at hand and FileSpans of what is not."""
        cdef size_t i, first = 0, size, before, inside, behind
        cdef uint64_t at
        cdef dicore_piece piece
        cdef dicore_plan part
        cdef FileSpan span
        cdef bytes pending = bytes(head)
        cdef const uint8_t *hole = self.base + self.have
        cdef const uint8_t *hole_end = self.base + self.tail
        part = plan[0]
        for i in range(plan.count):
            piece = plan.pieces[i]
            if piece.data + piece.size <= hole or piece.data >= hole_end or piece.data < self.base:
                continue
            # what comes before it
            before = 0 if piece.swap or piece.data >= hole else <size_t>(hole - piece.data)
            inside = piece.size - before
            behind = 0 if piece.swap or piece.data + piece.size <= hole_end else <size_t>(piece.data + piece.size - hole_end)
            inside -= behind
            part.pieces = plan.pieces + first
            part.count = i + 1 - first
            plan.pieces[i].size = before
            pieces.append(emitted(pending, &part))
            pending = b""
            self.holding()
            span = FileSpan.__new__(FileSpan)
            span.held = self.held
            span.identity = self.identity
            span.offset = <uint64_t>(<int64_t>(piece.data + before - self.base) + self.shift)
            span.size = inside
            span.swap = piece.swap
            pieces.append(span)
            plan.pieces[i].data = piece.data + before + inside
            plan.pieces[i].size = behind
            plan.pieces[i].swap = 0
            first = i
        part.pieces = plan.pieces + first
        part.count = plan.count - first
        pieces.append(emitted(pending, &part))
        return 0

    cdef int inflate(self) except -1:
        cdef uint8_t *out = NULL
        cdef size_t out_size = 0, capacity = 0
        cdef dicore_error error
        cdef dicore_read_options options
        cdef dicore_status status
        cdef dicore_deviation met
        cdef dicore_deviations list_of_one
        cdef const uint8_t *data
        cdef size_t size
        self.fetch(self.size, self.size)
        list_of_one.items = &met
        list_of_one.capacity = 1
        list_of_one.count = 0
        options = read_options(self.strict, False, &list_of_one)
        data = self.base + self.start
        size = self.size - self.start
        with nogil:
            status = dicore_inflate(data, size, NULL, &options, &HEAP, &out, &out_size, &capacity, &error)
        if status != DICORE_OK:
            error.offset += self.start
            self.fail(status, &error)
        if list_of_one.count:
            met.offset += self.start
            self.notes = [deviation(&met, None)]
        cdef Region region = Region.__new__(Region)
        region.data = out
        region.size = out_size
        self.packed = PyMemoryView_FromObject(self.owner)[:self.size]
        self.packed_start = self.start
        self.owner = region
        self.base = out
        self.size = self.have = self.tail = out_size
        self.start = 0
        self.fs_path = None
        self.deflated = False
        return 0

    # -- the tape ------------------------------------------------------------------------------------------------------

    cdef dicore_status scan(self, size_t size, bint partial, dicore_tape *tape, dicore_deviations *deviations,
                            dicore_error *error):
        """The tape over [start, size) into `tape`, which the caller owns."""
        cdef dicore_read_options options
        cdef dicore_status status
        options = read_options(self.strict and deviations == NULL, partial, deviations)
        options.chain_value = self.chain_value
        options.chain_end = self.chain_end
        if self.private is not None:
            options.private_dictionary = &self.private.table
        if size - self.start < GIL_LIMIT:
            return dicore_tape_read(tape, self.base, size, self.start, self.encoding, &options, &HEAP, error)
        with nogil:
            status = dicore_tape_read(tape, self.base, size, self.start, self.encoding, &options, &HEAP, error)
        return status

    cdef int publish(self, dicore_tape *tape, bint complete) except -1:
        cdef dicore_tape old = self.tape
        if self.complete:  # another thread was faster
            dicore_tape_free(tape, &HEAP)
            return 0
        self.tape = tape[0]
        self.started = True
        self.complete = complete
        if old.entries != NULL:
            dicore_tape_free(&old, &HEAP)
        return 0

    cdef int begin(self) except -1:
        """The tape over the bytes at hand: final, or the beginning of the final one."""
        cdef dicore_tape tape
        cdef dicore_error error
        cdef dicore_entry last
        cdef dicore_status status
        cdef size_t value
        if self.deflated or self.have == self.size:
            return self.finish()
        tape.entries = <dicore_entry *>PyMem_RawMalloc(128 * sizeof(dicore_entry))
        tape.capacity = 128 if tape.entries != NULL else 0
        tape.count = 0
        status = self.scan(self.have, True, &tape, NULL, &error)
        if status != DICORE_OK and status != DICORE_TRUNCATED:
            dicore_tape_free(&tape, &HEAP)
            return self.fail(status, &error)
        # A large value at the top level is left in the file; what stands behind it is read with the rest, if anything does.
        complete = False
        if status == DICORE_TRUNCATED and self.hole_end == 0 and error.depth == 0 and tape.count:
            last = tape.entries[tape.count - 1]
            value = last.offset + last.header
            if (last.depth == 0 and not last.flags & (DICORE_ENTRY_ITEM | DICORE_ENTRY_SEQUENCE | DICORE_ENTRY_FRAGMENTS)
                    and last.length >= HOLE and value + 8 <= self.have and last.length <= self.size - value):
                self.hole_start = value + 8  # whether it is a sequence has been seen
                self.hole_end = value + last.length
                complete = self.hole_end == self.size
        if status == DICORE_TRUNCATED and self.hole_end == 0 and error.depth == 0 and error.tag == DICORE_TAG_PIXEL_DATA:
            self.chain_at = tape.end
        return self.publish(&tape, complete)

    cdef int finish(self) except -1:
        """The final tape, over everything."""
        cdef dicore_tape tape
        cdef dicore_error error
        cdef dicore_status status
        cdef size_t had, ahead
        with self.guard():
            if self.deflated:
                self.inflate()
            while not self.complete:
                if self.have == self.size or self.hole_end != 0:
                    if self.hole_end != 0:
                        self.fetch(self.hole_start, self.hole_end)
                    self.whole()
                    tape.entries = NULL
                    tape.capacity = tape.count = 0
                    status = self.scan(self.size, False, &tape, NULL, &error)
                    if status != DICORE_OK:
                        dicore_tape_free(&tape, &HEAP)
                        self.fail(status, &error)
                    self.publish(&tape, True)
                    break
                if self.started:
                    if self.chain_at and self.follow_chain():
                        continue
                    had = self.have
                    ahead = self.end_of_sequence()
                    self.fetch(ahead if ahead > had else had * 8 if had * 8 > 65536 else 65536, self.size)
                    if self.have == self.size:
                        continue
                self.begin()
        return 0

    cdef size_t end_of_sequence(self) noexcept:
        """A little behind the sequence of defined length at the top level in which the bytes at hand end; 0: there is none."""
        cdef uint32_t i = self.tape.count
        cdef const dicore_entry *last
        cdef const uint8_t *p
        cdef uint64_t at, length
        while i > 0 and self.tape.entries[i - 1].depth:
            i -= 1
        if i == 0:
            return 0
        last = &self.tape.entries[i - 1]
        at = last.offset + last.header
        if not last.flags & DICORE_ENTRY_SEQUENCE or last.flags & DICORE_ENTRY_UNDEFINED or at > self.have or last.header < 8:
            return 0
        p = self.base + at - 4
        length = number_at(p, 4, last.flags & DICORE_ENTRY_BIG_ENDIAN)
        if length > AHEAD or length > self.size - at:
            return 0
        return at + length + HEAD

    cdef bint reach_pixels(self) except -1:
        """Read until encapsulated Pixel Data is met that goes beyond the bytes at hand: `chain_at`. False: there is none,
        or it has been followed already."""
        with self.guard():
            if not self.started:
                self.begin()
            while not self.complete and not self.chain_at and self.have < self.size and self.hole_end == 0:
                self.fetch(self.have * 8 if self.have * 8 > 65536 else 65536, self.size)
                if self.have < self.size:
                    self.begin()
            return not self.complete and self.chain_at != 0

    cdef bint follow_chain(self) except -1:
        """Find the end of an encapsulated Pixel Data by its item headers in the file, so that it need not be read."""
        cdef dicore_element_header header
        cdef file_identity now
        cdef const char *path
        cdef uint64_t value, end = 0, at = self.chain_at
        cdef int fd, failed = 0
        self.chain_at = 0
        if (self.fs_path is None or self.encoding & 2 or at >= self.have
                or dicore_read_element_header(self.base + at, self.have - at, self.encoding, &header) != DICORE_OK
                or header.tag != DICORE_TAG_PIXEL_DATA or header.length != DICORE_UNDEFINED_LENGTH
                or at + header.size + 8 > self.have):
            return False
        value = at + header.size
        path = PyBytes_AS_STRING(self.fs_path)
        self.holding()
        with nogil:
            fd = open_held(self.held, path)
            if fd < 0 or identify(fd, &now) != 0:
                failed = 1
            elif same_file(&now, &self.identity):
                end = chain_end(fd, value, self.size)
            if fd >= 0:
                close_quietly(fd)
        if failed or end < value + HOLE:
            return False  # whoever reads the rest will say what is wrong
        self.chain_value = value
        self.chain_end = end
        self.hole_start = value + 8
        self.hole_end = end
        return True

    cdef int whole(self) except -1:
        """`base` spans the whole size, be it with a hole that nobody reads."""
        cdef Region region
        if self.have < self.size and not isinstance(self.owner, Region):
            region = new_region(self.size, self.size >= LARGE)
            memcpy(region.data, self.base, self.have)
            self.owner = region
            self.base = region.data
        return 0

    cdef bint peek(self, uint32_t tag, dicore_entry *entry) noexcept:
        """A top-level element whose value is at hand, without a tape: what a few attributes need. False: ask the tape."""
        cdef dicore_read_options options
        cdef dicore_selected found
        cdef dicore_error error
        cdef dicore_dictionary_entry known
        cdef uint64_t position, start = self.start
        cdef int i
        if self.peeks == PEEKS or self.deflated:
            return False
        for i in range(self.peeks):  # go on from the last element found before this one
            if self.peeked_tag[i] < tag and self.peeked_at[i] > start:
                start = self.peeked_at[i]
        options = read_options(False, self.have < self.size, NULL)
        found.flags = 0
        dicore_select(self.base, self.have, start, self.encoding, &options, &tag, 1, &found, &position, &error)
        self.peeked_tag[self.peeks] = 0xFFFFFFFF
        self.peeks += 1
        if not found.flags & DICORE_SELECTED or found.flags & DICORE_ENTRY_SEQUENCE or found.length > self.have - found.offset:
            return False
        entry.vr = found.vr
        if found.vr == 0:
            if not dicore_dictionary_find(tag, &known) or known.vr[1] != 0 or known.vr[0] == 0:
                return False
            entry.vr = known.vr[0]
        if entry.vr == VR_UN or entry.vr == VR_SQ:
            return False
        entry.header = 8 if found.vr == 0 or dicore_vr_short(found.vr) else 12
        entry.offset = found.offset - entry.header
        entry.length = found.length
        entry.tag = tag
        entry.flags = found.flags & ~DICORE_SELECTED
        self.peeked_tag[self.peeks - 1] = tag
        self.peeked_at[self.peeks - 1] = entry.offset
        return True

    cdef int final_tape(self) except -1:
        if not self.complete:
            self.finish()
        return 0

    # -- saying where --------------------------------------------------------------------------------------------------

    cdef str path_at(self, const dicore_tape *tape, uint64_t offset, uint32_t tag):
        """The path of what stands at `offset`: its element, or the innermost item around it and `tag`."""
        cdef uint32_t i = 0, end = tape.count, child
        cdef const dicore_entry *entry
        cdef list parts = []
        cdef Py_ssize_t item
        while True:
            entry = NULL
            while i < end:
                if tape.entries[i].offset > offset:
                    break
                entry = &tape.entries[i]
                child = i + 1
                i = entry.next
            if entry == NULL:
                break
            if entry.offset == offset or not entry.flags & DICORE_ENTRY_SEQUENCE:
                if entry.offset == offset or offset < entry.offset + entry.header + entry.length:
                    parts.append(tag_text(entry.tag))
                    return ".".join(parts)
                break
            if offset > entry.offset + entry.header + entry.length:
                break
            end = entry.next
            text = tag_text(entry.tag)
            entry = NULL
            item = -1
            i = child
            while i < end and tape.entries[i].offset <= offset:
                entry = &tape.entries[i]
                child = i + 1
                i = entry.next
                item += 1
            if entry == NULL or offset == entry.offset or offset >= entry.offset + entry.header + entry.length:
                # at an item; or before or behind all of them, where delimiters stand
                parts.append(f"{text}[{item}]" if entry != NULL and offset == entry.offset else text)
                return ".".join(parts)
            parts.append(f"{text}[{item}]")
            end = entry.next
            i = child
        if tag:
            parts.append(tag_text(tag))
        return ".".join(parts) or None

    cdef int fail(self, dicore_status status, const dicore_error *error) except -1:
        """Raise for what reading the structure came to, with the path of the element."""
        cdef dicore_tape tape
        cdef dicore_error ignored
        cdef dicore_deviations none
        if status in (DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT, DICORE_IO):
            return check(status, error, self.path)
        tag_path = None
        if not self.deflated and error.offset >= self.start and self.have > self.start:
            none.items = NULL
            none.capacity = none.count = 0
            tape.entries = NULL
            tape.capacity = tape.count = 0
            self.scan(self.have, False, &tape, &none, &ignored)
            tag_path = self.path_at(&tape, error.offset, error.tag)
            dicore_tape_free(&tape, &HEAP)
        elif error.tag:
            tag_path = tag_text(error.tag)
        raise format_error(status, error, self.path, tag_path)

    cdef int note(self, str code, str message, uint64_t offset, str tag_path, kind=errors.DicomFormatError) except -1:
        """A value that is not what its VR asks for: a warning, or `kind` when reading strictly."""
        if self.strict:
            raise kind(f"{message} [{code}]", path=self.path, offset=offset, tag_path=tag_path)
        if self.noted is None:
            self.noted = set()
        key = (code, offset)
        if key not in self.noted and len(self.noted) < NOTES:
            self.noted.add(key)
            if self.notes is None:
                self.notes = []
            self.notes.append(Warning(code, message, offset, tag_path))
        return 0

    cdef list warnings(self):
        """What deviates in the structure, by reading it once more with a list."""
        cdef dicore_deviations met
        cdef dicore_tape tape
        cdef dicore_error error
        cdef dicore_read_options options
        cdef dicore_part10 part
        cdef uint32_t i
        cdef list found = []
        if self.deviations is None:
            self.final_tape()
            with self.guard():
                self.whole()
            met.items = <dicore_deviation *>PyMem_RawMalloc(NOTES * sizeof(dicore_deviation))
            if met.items == NULL:
                raise MemoryError()
            met.capacity = NOTES
            met.count = 0
            tape.entries = NULL
            tape.capacity = tape.count = 0
            try:
                if self.part10:
                    options = read_options(False, self.head_size < self.head_total, &met)
                    options.total = self.head_total
                    dicore_part10_parse(self.head_base, self.head_size, &options, &part, &error)
                    for i in range(min(met.count, met.capacity)):
                        found.append(deviation(&met.items[i], tag_text(met.items[i].tag) if met.items[i].tag else None))
                    met.count = 0
                self.scan(self.size, False, &tape, &met, &error)
                for i in range(min(met.count, met.capacity)):
                    found.append(deviation(&met.items[i], self.path_at(&tape, met.items[i].offset, met.items[i].tag)))
                if met.count > met.capacity:
                    found.append(Warning("more", f"{met.count - met.capacity} more deviations"))
            finally:
                dicore_tape_free(&tape, &HEAP)
                PyMem_RawFree(met.items)
            self.deviations = found
        return self.deviations + (self.notes or [])


cdef Warning deviation(const dicore_deviation *met, str tag_path):
    return Warning(dicore_deviation_name(met.code).decode(), dicore_deviation_text(met.code).decode(), met.offset, tag_path)


cdef object format_error(dicore_status status, const dicore_error *error, object path, object tag_path):
    text = dicore_status_text(status).decode()
    if status == DICORE_DEVIATION:
        text = f"{dicore_deviation_text(error.detail).decode()} [{dicore_deviation_name(error.detail).decode()}]"
    kind = errors.TransferSyntaxError if status == DICORE_BAD_SYNTAX else errors.DicomFormatError
    return kind(text, path=path, offset=error.offset, tag_path=tag_path)


cdef int parse_head(Source source) except -1:
    """Find the parts of the file: where group 0002 and the data set are, and how they are encoded."""
    cdef dicore_part10 part
    cdef dicore_error error
    cdef dicore_read_options options
    cdef dicore_status status
    while True:
        options = read_options(source.strict, source.have < source.size, NULL)
        options.total = source.size
        status = dicore_part10_parse(source.base, source.have, &options, &part, &error)
        if status == DICORE_OK:
            break
        if status == DICORE_TRUNCATED and options.partial:
            with source.guard():
                source.fetch(source.have * 8, source.size)
            continue
        if status in (DICORE_NO_MEMORY, DICORE_BAD_ARGUMENT, DICORE_IO):
            check(status, &error, source.path)
        raise format_error(status, &error, source.path, tag_text(error.tag) if error.tag else None)
    source.part10 = True
    source.start = part.dataset_offset
    source.encoding = <dicore_encoding>part.encoding
    source.deflated = part.deflated
    source.guessed = part.guessed
    source.meta_start = part.meta_offset
    source.meta_size = part.meta_size
    source.meta_encoding = <dicore_encoding>part.meta_encoding
    source.head = source.owner
    source.head_base = source.base
    source.head_size = source.have
    source.head_total = source.size
    if part.transfer_syntax.size:
        source.syntax = PyUnicode_DecodeLatin1(
            <const char *>part.transfer_syntax.data, <Py_ssize_t>part.transfer_syntax.size, NULL)
    return 0


cdef Source source_of_path(object path, bint strict, bint mapped):
    cdef Source source = Source.__new__(Source)
    cdef object text = str(path) if type(path) is PLAIN_PATH else os.fspath(path)  # the same, by one call of Python less
    cdef bytes encoded = PyUnicode_EncodeFSDefault(text) if isinstance(text, str) else text
    cdef const char *name = PyBytes_AS_STRING(encoded)
    cdef bytes head
    cdef uint8_t *out
    cdef size_t got = 0
    cdef int failed, fd = -1
    if strlen(name) != <size_t>len(encoded):
        raise ValueError("embedded null byte in a path")
    source.path = path
    source.strict = strict
    if mapped:
        return map_file(source, encoded)
    head = PyBytes_FromStringAndSize(NULL, HEAD)
    out = <uint8_t *>PyBytes_AS_STRING(head)
    with nogil:
        failed = read_head(name, out, &got, &source.identity, &fd)
    if failed:
        PyErr_SetFromErrnoWithFilenameObject(OSError, path)
    if fd >= 0:  # not a file: whatever it yields
        return source_of_buffer(drain(fd, path), path, strict)
    source.size = source.tail = source.identity.size
    source.have = got
    if source.have > source.size or (got < HEAD and got < source.size):
        source.size = source.tail = got  # it grew or shrank just now: what was read counts
    source.fs_path = encoded
    source.owner = head
    source.base = out
    parse_head(source)
    return source


cdef Source map_file(Source source, bytes encoded):
    cdef const char *name = PyBytes_AS_STRING(encoded)
    cdef void *at = MAP_FAILED
    cdef int fd, failed = 0
    cdef Region region
    with nogil:
        fd = open_file(name)
        if fd < 0 or identify(fd, &source.identity) != 0:
            failed = 1
        elif source.identity.size:
            at = os_mmap(NULL, source.identity.size, PROT_READ, MAP_PRIVATE, fd, 0)
            failed = at == MAP_FAILED
    if failed:
        try:
            PyErr_SetFromErrnoWithFilenameObject(OSError, source.path)
        finally:
            if fd >= 0:
                os_close(fd)
    os_close(fd)
    if source.identity.size == 0:
        return source_of_buffer(b"", source.path, source.strict)
    region = Region.__new__(Region)
    region.mapped = True
    region.data = <uint8_t *>at
    region.size = source.identity.size
    source.owner = region
    source.base = region.data
    source.size = source.have = source.tail = region.size
    parse_head(source)
    return source


cdef Source source_over(object data, object path, bint strict):
    """A source over a buffer, head not parsed."""
    cdef Source source = Source.__new__(Source)
    source.export = Export.__new__(Export)
    PyObject_GetBuffer(data, &source.export.view, PyBUF_SIMPLE)
    source.export.held = True
    source.path = path
    source.strict = strict
    source.owner = data if type(data) is bytes else PyMemoryView_FromObject(data).toreadonly().cast("B")
    source.base = <const uint8_t *>source.export.view.buf
    source.size = source.have = source.tail = <size_t>source.export.view.len
    if source.base == NULL:
        source.base = <const uint8_t *>b""
    return source


cdef Source source_of_buffer(object data, object path, bint strict):
    cdef Source source = source_over(data, path, strict)
    parse_head(source)
    return source


cdef Source source_of_dataset(object data, str transfer_syntax, object path, bint strict):
    """A source over a bare data set (no preamble, no group 0002) in a known transfer syntax."""
    cdef Source source = source_over(data, path, strict)
    cdef Py_ssize_t size
    cdef int deflated = 0
    cdef const char *uid = PyUnicode_AsUTF8AndSize(transfer_syntax, &size)
    source.encoding = dicore_syntax_encoding(<const uint8_t *>uid, <size_t>size, &deflated)
    source.deflated = deflated
    source.syntax = transfer_syntax
    return source


cdef Source EMPTY = source_of_dataset(b"", "1.2.840.10008.1.2.1", None, False)
EMPTY.begin()


# ---- values ----------------------------------------------------------------------------------------------------------

cdef inline uint64_t number_at(const uint8_t *p, int width, bint big):
    cdef uint64_t value = 0
    cdef int i
    for i in range(width):
        value |= <uint64_t>p[i] << (8 * (width - 1 - i if big else i))
    return value


cdef inline object number(const uint8_t *p, uint16_t vr, bint big):
    cdef uint64_t bits
    cdef uint32_t half
    cdef double d
    cdef float f
    if vr == VR_US:
        return <long>number_at(p, 2, big)
    if vr == VR_UL:
        return <unsigned long>number_at(p, 4, big)
    if vr == VR_SS:
        return <long><int16_t>number_at(p, 2, big)
    if vr == VR_SL:
        return <long><int32_t>number_at(p, 4, big)
    if vr == VR_FD:
        bits = number_at(p, 8, big)
        memcpy(&d, &bits, 8)
        return d
    if vr == VR_FL:
        half = <uint32_t>number_at(p, 4, big)
        memcpy(&f, &half, 4)
        return <double>f
    if vr == VR_SV:
        return <int64_t>number_at(p, 8, big)
    if vr == VR_UV:
        return <uint64_t>number_at(p, 8, big)
    # AT: group, then element, each in the byte order of the file
    return Tag(number_at(p, 2, big) << 16 | number_at(p + 2, 2, big))


cdef inline int width_of(uint16_t vr):
    if vr in (VR_US, VR_SS):
        return 2
    if vr in (VR_UL, VR_SL, VR_FL, VR_AT):
        return 4
    if vr in (VR_FD, VR_SV, VR_UV):
        return 8
    return 0


cdef inline size_t trimmed(const uint8_t *p, size_t n):
    while n and (p[n - 1] == c" " or p[n - 1] == 0):
        n -= 1
    return n


cdef object decimal_text(str text):
    """One value of a DS: float, '' when blank. ValueError when it is no number."""
    text = text.strip()
    return float(text) if text else text


cdef object integer_text(str text):
    """One value of an IS: int, float when it has a fraction, '' when blank. ValueError when it is no number."""
    text = text.strip()
    if not text:
        return text
    try:
        return int(text)
    except ValueError:
        value = float(text)
        return int(value) if value.is_integer() else value


cdef class Element:
    """One data element of a data set. Cheap; the value decodes when asked for."""

    cdef DatasetBase dataset
    cdef uint32_t index
    cdef uint16_t resolved
    cdef dicore_entry entry
    cdef object kept

    @property
    def tag(self):
        """The tag: an int that prints as (gggg,eeee)."""
        return Tag(self.entry.tag)

    @property
    def stored_vr(self):
        """The VR in the file, or None where it has none (implicit VR)."""
        return vr_text(self.entry.vr) if self.entry.vr else None

    @property
    def vr(self):
        """The VR the value is read by: the stored one; where that is UN or absent, what the dictionaries say."""
        return vr_text(self.resolved)

    @property
    def VR(self):
        return vr_text(self.resolved)

    @property
    def keyword(self):
        """The keyword of PS3.6, '' for private and unknown elements."""
        return names_of(self.entry.tag)[0]

    @property
    def name(self):
        """The name of PS3.6; of a private element '[name]' when the private dictionary has it, else 'Private tag data'."""
        if self.entry.tag >> 16 & 1:
            return self.dataset.private_name(self.index, self.entry.tag)
        return names_of(self.entry.tag)[1]

    @property
    def is_private(self):
        return bool(self.entry.tag >> 16 & 1)

    @property
    def private_creator(self):
        """The text that reserved this private element's block (PS3.5 7.8.1), '' when there is none."""
        return self.dataset.creator(self.entry.tag)

    @property
    def length(self):
        """Length of `raw` in bytes."""
        return self.entry.length

    @property
    def offset(self):
        """Where the element begins in the file, in bytes (in the inflated data set when it is deflated); 0 when it was
        assigned since."""
        return self.entry.offset

    @property
    def is_undefined_length(self):
        return bool(self.entry.flags & DICORE_ENTRY_UNDEFINED)

    @property
    def is_little_endian(self):
        """Whether numbers in `raw` are little endian; may differ from item to item (PS3.5 6.2.2)."""
        return not self.entry.flags & DICORE_ENTRY_BIG_ENDIAN

    @property
    def raw(self):
        """The value's bytes as stored, without a copy: items with the offset table but without the delimiter where the
        length is undefined. Read-only; keeps the bytes alive."""
        return self.dataset.raw_at(&self.entry)

    @property
    def value(self):
        """The value as a Python object. Decoded once."""
        if self.kept is None:
            self.kept = self.dataset.element_value(self)
        return self.kept

    def as_date(self):
        """The value of a DA, or the day of a DT, as `datetime.date`; `temporal.Range` for a range (PS3.4 C.2.2.2.5), a
        list for several values, None when empty. See `dicore.dataset.temporal`. Raises DicomFormatError."""
        return self.dataset.home()._temporal(self, "date")

    def as_time(self):
        """The value of a TM, or the time of a DT, as `datetime.time`, otherwise as `as_date`."""
        return self.dataset.home()._temporal(self, "time")

    def as_datetime(self):
        """The value of a DT as `datetime.datetime`; of a DA together with the TM that belongs to it ("StudyDate" and
        "StudyTime"). In the time zone of the value, else of Timezone Offset From UTC, else of none. Otherwise as `as_date`."""
        return self.dataset.home()._temporal(self, "datetime")

    @property
    def VM(self):
        """Number of values: 0 when empty, 1 for a sequence."""
        if self.resolved == VR_SQ:
            return 1
        value = self.value
        if isinstance(value, list):
            return len(value)
        return 0 if value is None or (isinstance(value, (str, bytes, PersonName)) and not value) else 1

    @property
    def is_empty(self):
        return self.entry.length == 0 if self.resolved != VR_SQ else not self.value

    def __getitem__(self, key):
        return self.value[key]

    def __eq__(self, other):
        if not isinstance(other, Element):
            return NotImplemented
        return (self.entry.tag == (<Element>other).entry.tag and self.resolved == (<Element>other).resolved
                and self.value == other.value)

    def __hash__(self):
        return hash((self.entry.tag, self.entry.offset))

    def __repr__(self):
        return self.dataset._element_text(self)


cdef class DatasetBase:
    """The part of `dicore.dataset.Dataset` that is hot; use that class."""

    cdef Source source
    cdef DatasetBase parent   # None at the top level
    cdef uint32_t first, stop # the range of the tape; at the top level: all of it
    cdef uint32_t owner_index # the sequence this is an item of
    cdef Py_ssize_t number    # of the item
    cdef dict kept            # tag: value
    cdef dict lists           # index of a sequence: its items
    cdef tuple names          # of the character sets; None: not looked up yet
    cdef int order            # 1: tags ascend strictly, -1: they do not, 0: not looked at yet
    cdef int sign             # Pixel Representation: 0, 1, -1 unknown, -2 not looked up yet
    cdef dict changes         # tag: patch, None when deleted; None: nothing was changed here
    cdef bint patch           # stands for one changed element of `parent`
    cdef bint touched         # something was changed here or in an item
    cdef bint detached        # an item of a sequence that was replaced
    cdef DatasetBase meta     # file meta, once asked for
    cdef bint of_meta         # this is one
    cdef DatasetBase applied  # this with its changes made, until the next change
    cdef public object _frames # where the frames of Pixel Data are, once looked up; of the unedited data set
    cdef object __weakref__

    def __cinit__(self):
        self.source = EMPTY
        self.kept = {}
        self.sign = -2

    def __init__(self):
        raise TypeError("a Dataset comes from dicore.read(), dicore.new() or Dataset.from_bytes()")

    # -- finding -------------------------------------------------------------------------------------------------------

    cdef inline uint32_t last(self):
        return self.stop if self.parent is not None else self.source.tape.count

    cdef uint32_t find(self, uint32_t tag) except? 0xFFFFFFFE:
        cdef Source source = self.source
        cdef const dicore_entry *entry
        cdef uint32_t index
        cdef uint64_t end
        if self.parent is not None:
            return dicore_tape_find(&source.tape, self.first, self.stop, tag)
        if not source.started:
            source.begin()
        index = dicore_tape_find(&source.tape, 0, source.tape.count, tag)
        if not source.complete:
            if index != DICORE_NO_ENTRY:
                entry = &source.tape.entries[index]
                # final is what ends within the bytes at hand, and a sequence that something follows
                end = entry.offset + entry.header + entry.length
                if entry.next >= source.tape.count if entry.flags & DICORE_ENTRY_SEQUENCE else end > source.have:
                    index = DICORE_NO_ENTRY
            if index == DICORE_NO_ENTRY:
                source.finish()
                index = dicore_tape_find(&source.tape, 0, source.tape.count, tag)
        return index

    cdef DatasetBase located(self, uint32_t tag, uint32_t *index):
        """Where an element is now: this data set or a patch of it, and the index there."""
        cdef PyObject *known
        if self.changes is not None:
            known = PyDict_GetItem(self.changes, <object>tag)
            if known != NULL:
                if <object>known is None:
                    index[0] = DICORE_NO_ENTRY
                    return self
                index[0] = 0
                return <DatasetBase>known
        index[0] = self.find(tag)
        return self

    cdef list places(self):
        """(data set, index) of the elements of this level as they are now: a new one before the first greater tag."""
        cdef uint32_t i = self.first, tag
        cdef dict left = dict(self.changes)
        cdef set seen = set()
        cdef list found = [], fresh
        self.source.final_tape()
        while i < self.last():
            tag = self.source.tape.entries[i].tag
            seen.add(tag)
            i = self.source.tape.entries[i].next
        fresh = sorted([tag_ for tag_ in left if tag_ not in seen and left[tag_] is not None], reverse=True)
        i = self.first
        while i < self.last():
            tag = self.source.tape.entries[i].tag
            while fresh and fresh[-1] < tag:
                found.append((left[fresh.pop()], 0))
            if tag not in left:
                found.append((self, i))
            elif left[tag] is not None and self.find(tag) == i:
                found.append((left[tag], 0))
            i = self.source.tape.entries[i].next
        while fresh:
            found.append((left[fresh.pop()], 0))
        return found

    cdef int pixel_sign(self) except? -3:
        """Pixel Representation here, or of the nearest data set around that has one."""
        cdef uint32_t index
        cdef dicore_entry entry
        cdef DatasetBase where
        if self.sign == -2:
            sign = -1
            where = self.located(TAG_SIGN, &index)
            if index != DICORE_NO_ENTRY:
                entry = where.source.tape.entries[index]
                if entry.length >= 2:
                    where.source.present(entry.offset + entry.header, entry.length)
                    sign = 1 if number_at(
                        where.source.base + entry.offset + entry.header, 2, entry.flags & DICORE_ENTRY_BIG_ENDIAN) else 0
            if sign == -1 and self.parent is not None:
                sign = self.parent.pixel_sign()
            self.sign = sign
        return self.sign

    cdef uint16_t vr_at(self, uint32_t index) except 0:
        cdef Source source = self.source
        cdef uint16_t vr = source.tape.entries[index].vr
        cdef uint32_t tag = source.tape.entries[index].tag
        cdef int sign = -1
        if vr != 0 and vr != VR_UN and not source.tape.entries[index].flags & DICORE_ENTRY_SEQUENCE:
            return vr
        if source.tape.entries[index].flags & DICORE_ENTRY_SEQUENCE:
            return VR_SQ
        if source.private is not None and tag >> 16 & 1 and tag & 0xFFFF >= 0x1000:
            known = self.registered(tag)
            if known is not None:
                return known[0] if known[0] != VR_SQ or source.tape.entries[index].length == 0 else VR_UN
        if tag != TAG_SIGN and not tag >> 16 & 1 and dicore_dictionary_vr(tag) == VR_US:
            sign = self.pixel_sign()  # may have grown the tape: entries are fetched anew below
        return dicore_tape_vr(&source.tape, source.base, source.size if source.complete else source.have,
                              self.first, self.last(), index, sign)

    cdef tuple registered(self, uint32_t tag):
        """(VR, VM, name) of a private element by `register_private`, None when it does not know it."""
        cdef dicore_span span = dicore_tape_creator(
            &self.source.tape, self.source.base, self.source.size if self.source.complete else self.source.have,
            self.first, self.last(), tag)
        if span.size == 0:
            return None
        return self.source.private.known.get(
            (PyBytes_FromStringAndSize(<const char *>span.data, <Py_ssize_t>span.size), tag & 0xFFFF00FF))

    # -- values --------------------------------------------------------------------------------------------------------

    cdef object raw_at(self, const dicore_entry *entry):
        cdef size_t at = entry.offset + entry.header
        cdef bytes apart = self.source.apart(at, entry.length)
        if apart is not None:
            return PyMemoryView_FromObject(apart)
        self.source.present(at, entry.length)
        return PyMemoryView_FromObject(self.source.owner)[at:at + entry.length]

    cdef str path_of(self, uint32_t tag):
        """The path of an element of this data set."""
        return self.prefix() + tag_text(tag)

    cdef str prefix(self):
        if self.parent is None:
            return ""
        if self.patch:
            return self.parent.prefix()
        return f"{self.parent.path_of(self.source.tape.entries[self.owner_index].tag)}[{self.number}]."

    cdef object items_at(self, uint32_t index):
        """The items of a sequence as a list of data sets: the same ones each time."""
        cdef dicore_entry *entries
        cdef DatasetBase item
        cdef uint32_t i, end
        cdef Py_ssize_t number = 0
        self.source.final_tape()
        if self.lists is None:
            self.lists = {}
        kept = self.lists.get(index)
        if kept is not None:
            return kept
        items = Items()
        items.dataset = self.parent if self.patch else self
        items.tag = self.source.tape.entries[index].tag
        cls = type(self)
        entries = self.source.tape.entries
        i = index + 1
        end = entries[index].next
        while i < end:
            if entries[i].flags & DICORE_ENTRY_ITEM:
                item = cls.__new__(cls)
                item.source = self.source
                item.parent = self
                item.first = i + 1
                item.stop = entries[i].next
                item.owner_index = index
                item.number = number
                number += 1
                PyList_Append(items, item)
            i = entries[i].next
        return self.lists.setdefault(index, items)

    cdef object value_of(self, uint32_t tag, object key, object default):
        """The value of a tag, kept under `key` (the tag as an int); `default` when there is none."""
        cdef PyObject *known
        cdef dicore_entry entry
        cdef uint32_t index
        if PyDict_Size(self.kept):
            known = PyDict_GetItemWithError(self.kept, key)
            if known != NULL:
                return <object>known
        if self.changes is not None:
            known = PyDict_GetItemWithError(self.changes, key)
            if known != NULL:
                if <object>known is None:
                    return default
                return self.kept.setdefault(key, (<DatasetBase><object>known).value_at(0))
        if not self.source.started and self.parent is None and self.source.peek(tag, &entry):
            value = self.decode(&entry, entry.vr)
        else:
            index = self.find(tag)
            if index == DICORE_NO_ENTRY:
                return default
            value = self.value_at(index)
        return self.kept.setdefault(key, value)

    cdef bint ascending(self) noexcept:
        """Whether tags ascend strictly here, so that none stands twice. False while the tape is not whole."""
        cdef uint32_t i = self.first, end = self.last(), before = 0
        cdef const dicore_entry *entries = self.source.tape.entries
        if self.order == 0 and self.source.complete:
            self.order = 1
            while i < end:
                if entries[i].tag <= before and i != self.first:
                    self.order = -1
                    break
                before = entries[i].tag
                i = entries[i].next
        return self.order == 1

    cdef object element_value(self, Element element):
        cdef uint32_t tag = element.entry.tag
        cdef PyObject *known
        if self.changes is None and self.ascending():  # it is the one that counts
            key = <object>tag
            known = PyDict_GetItem(self.kept, key)
            if known != NULL:
                return <object>known
            value = self.items_at(element.index) if element.resolved == VR_SQ else self.decode(
                &element.entry, element.resolved)
            return self.kept.setdefault(key, value)
        if (self.changes is None or tag not in self.changes) and self.find(tag) == element.index:
            return self.value_of(tag, <object>tag, None)
        return self.value_at(element.index)

    cdef object value_at(self, uint32_t index):
        cdef dicore_entry entry
        cdef uint16_t vr = self.vr_at(index)
        if vr == VR_SQ:
            return self.items_at(index)
        entry = self.source.tape.entries[index]
        return self.decode(&entry, vr)

    cdef object decode(self, const dicore_entry *entry, uint16_t vr):
        """The value at an entry, by its VR: what pydicom makes of it, with int, float and str for its subclasses."""
        cdef size_t n = entry.length
        cdef const uint8_t *p
        cdef size_t i
        cdef uint8_t bits = 0
        cdef bint plain = True, single = True
        cdef uint8_t c
        cdef double real
        cdef int64_t whole
        cdef int width
        cdef bint big
        cdef object owner  # another thread may put the bytes elsewhere: this keeps `p` good
        width = width_of(vr)
        if n == 0:
            return empty_value(vr, width)
        if n >= HOLE and not width and not is_text(vr):
            apart = self.source.apart(entry.offset + entry.header, n)
            if apart is not None:
                return apart
        self.source.present(entry.offset + entry.header, n)
        owner = self.source.owner
        p = self.source.base + entry.offset + entry.header
        if width:
            # what is stored as UN is in little endian, also in a big endian file (PS3.5 6.2.2)
            big = (entry.flags & DICORE_ENTRY_BIG_ENDIAN) != 0 and entry.vr != VR_UN
            if n == <size_t>width:
                return number(p, vr, big)
            if n % <size_t>width:
                self.source.note("value-length", f"{n} bytes are no whole number of values of VR {vr_text(vr)}",
                                 entry.offset, self.path_of(entry.tag))
                return PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>n)
            values = [number(p + i, vr, big) for i in range(0, n, <size_t>width)]
            if entry.tag in (0x00281101, 0x00281102, 0x00281103, 0x00283002) and values[0] < 0:
                values[0] += 65536  # LUT descriptors: the number of entries is unsigned whatever the VR (PS3.3 C.11.1.1.1)
            return values
        if not is_text(vr):
            return PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>n)
        for i in range(n):
            c = p[i]
            bits |= c
            if c == c"\\":
                single = False
            elif c == 0x1B:
                plain = False
        if bits & 0x80:
            plain = False
        if vr == VR_DS or vr == VR_IS:
            if single:
                if vr == VR_DS:
                    if dicore_value_decimal(p, n, &real) == DICORE_OK:
                        return real
                elif dicore_value_integer(p, n, &whole) == DICORE_OK:
                    return whole
            text = PyUnicode_DecodeLatin1(<const char *>p, <Py_ssize_t>n, NULL)
            text = text.strip().rstrip(" \0") if vr == VR_DS else text.rstrip(" \0")
            try:
                if vr == VR_DS:
                    values = [decimal_text(part) for part in text.split("\\")]
                else:
                    values = [integer_text(part) for part in text.split("\\")]
            except (ValueError, OverflowError):
                self.source.note("value-number", f"not a number: {text[:64]!r}", entry.offset, self.path_of(entry.tag))
                values = [part.rstrip("\0 ") for part in text.split("\\")]
            return values[0] if len(values) == 1 else values
        if vr in (VR_CS, VR_UI, VR_DA, VR_TM, VR_AS, VR_DT):  # the default repertoire (PS3.5 6.2)
            n = trimmed(p, n)
            text = PyUnicode_DecodeLatin1(<const char *>p, <Py_ssize_t>n, NULL)
            if not plain:
                self.beyond_default(entry)
            return text if single else text.split("\\")
        if vr == VR_AE:
            text = PyUnicode_DecodeLatin1(<const char *>p, <Py_ssize_t>n, NULL)
            if not plain:
                self.beyond_default(entry)
            if single:
                return text.strip(" \0\t\r\n")
            return [part.strip(" \0\t\r\n") for part in text.split("\\")]
        if vr == VR_UR:
            return PyUnicode_DecodeLatin1(<const char *>p, <Py_ssize_t>n, NULL).rstrip(" \0\t\r\n\x0b\x0c")
        if plain:
            if vr != VR_PN or single:
                n = trimmed(p, n)
            text = PyUnicode_DecodeASCII(<const char *>p, <Py_ssize_t>n, NULL)
        else:
            text, problem = self._decode_text(PyBytes_FromStringAndSize(<const char *>p, <Py_ssize_t>(
                trimmed(p, n) if vr == VR_PN else n)), vr == VR_PN, vr in (VR_ST, VR_LT, VR_UT))
            if problem is not None:
                self.source.note("character-set", problem, entry.offset, self.path_of(entry.tag), errors.CharacterSetError)
            single = "\\" not in text
        if vr in (VR_ST, VR_LT, VR_UT):
            return text.rstrip("\0 ")
        if vr == VR_PN:
            if single:
                return person_name(text)
            return [person_name(part) for part in text.rstrip("\0 ").split("\\")]
        if single:
            return text.rstrip("\0 ") if not plain else text
        return [part.rstrip("\0 ") for part in text.split("\\")]

    cdef int beyond_default(self, const dicore_entry *entry) except -1:
        self.source.note("character-set", "a value outside the default character repertoire", entry.offset,
                         self.path_of(entry.tag), errors.CharacterSetError)
        return 0

    def _character_sets(self):
        """Values of Specific Character Set in effect here: own ones, else those of the data set around (PS3.5 7.5.3)."""
        cdef uint32_t index
        cdef DatasetBase where
        if self.names is None:
            where = self.located(TAG_CHARSET, &index)
            if index != DICORE_NO_ENTRY and where.source.tape.entries[index].length:
                value = where.value_at(index)
                names = tuple(value) if isinstance(value, list) else (str(value),)
            elif self.parent is not None:
                names = self.parent._character_sets()
            else:
                names = ()
            self.names = names
        return self.names

    cdef str creator(self, uint32_t tag):
        cdef dicore_span span
        if self.patch:
            return self.parent.creator(tag)
        if self.changes is not None and tag >> 16 & 1 and tag & 0xFFFF >= 0x1000:
            block = tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8
            if block in self.changes:
                return str(self.value_of(block, block, ""))
        self.source.final_tape()
        span = dicore_tape_creator(&self.source.tape, self.source.base, self.source.size, self.first, self.last(), tag)
        return PyUnicode_DecodeLatin1(<const char *>span.data, <Py_ssize_t>span.size, NULL) if span.size else ""

    cdef str private_name(self, uint32_t index, uint32_t tag):
        cdef dicore_dictionary_entry known
        cdef dicore_span span
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "Private Creator"
        if self.patch:
            return self.parent.private_name(index, tag)
        self.source.final_tape()
        span = dicore_tape_creator(&self.source.tape, self.source.base, self.source.size, self.first, self.last(), tag)
        if self.source.private is not None:
            registered = self.registered(tag)
            if registered is not None and registered[2]:
                return f"[{registered[2]}]"
        if span.size and dicore_dictionary_private(span.data, span.size, tag, &known):
            return f"[{known.name.decode()}]"
        return "Group Length" if tag & 0xFFFF == 0 else "Private tag data"

    # -- what Python sees ----------------------------------------------------------------------------------------------

    cdef Element element_at(self, uint32_t index):
        cdef Element element = Element.__new__(Element)
        element.dataset = self
        element.index = index
        element.resolved = self.vr_at(index)
        element.entry = self.source.tape.entries[index]
        return element

    def __getattribute__(self, str name):
        cdef PyObject *known = PyDict_GetItem(KEYWORDS, name)
        if known != NULL:
            tag = <object>known
        elif name and c"A" <= PyUnicode_READ_CHAR(name, 0) <= c"Z":
            tag = keyword_tag(name)
        else:
            return PyObject_GenericGetAttr(self, name)
        if tag is None:
            return PyObject_GenericGetAttr(self, name)
        value = self.value_of(tag, tag, MISSING)
        if value is MISSING:
            raise_missing(self, tag)
        return value

    def __getitem__(self, key):
        """The element of a keyword, a tag (int or pair) or a path; of a path that ends in [n] the item."""
        cdef DatasetBase dataset
        cdef uint32_t index
        dataset, tag, number = self.resolve(key)
        dataset = dataset.located(tag, &index)
        if index == DICORE_NO_ENTRY:
            raise_missing(dataset, tag)
        if number is None:
            return dataset.element_at(index)
        return dataset.item_of(index, number)

    def __setattr__(self, str name, value):
        tag = keyword_tag(name)
        if tag is None:
            PyObject_GenericSetAttr(self, name, <PyObject *>value)
        else:
            self._assign(tag, value)

    def __delattr__(self, str name):
        tag = keyword_tag(name)
        if tag is None:
            PyObject_GenericSetAttr(self, name, NULL)
        else:
            self._remove(tag)

    def __setitem__(self, key, value):
        """Record a new value (or an element with its VR) for a keyword, a tag or a path; of a path that ends in [n] a
        new item."""
        cdef DatasetBase dataset
        dataset, tag, number = self.resolve(key)
        if number is None:
            dataset._assign(tag, value)
        else:
            dataset.sequence(tag, number)[number] = value

    def __delitem__(self, key):
        """Record that an element, or an item, is not there any more. MissingElement when it was not."""
        cdef DatasetBase dataset
        dataset, tag, number = self.resolve(key)
        if number is None:
            dataset._remove(tag)
        else:
            del dataset.sequence(tag, number)[number]

    cdef object sequence(self, uint32_t tag, Py_ssize_t number):
        """The list of a sequence that has an item `number`."""
        cdef uint32_t index
        cdef DatasetBase dataset = self.located(tag, &index)
        if index == DICORE_NO_ENTRY:
            raise_missing(dataset, tag)
        dataset.item_of(index, number)
        return self.value_of(tag, <object>tag, None)

    def __contains__(self, key):
        cdef DatasetBase dataset
        cdef uint32_t index
        try:
            dataset, tag, number = self.resolve(key)
        except (KeyError, ValueError):
            return False
        dataset = dataset.located(tag, &index)
        return index != DICORE_NO_ENTRY and (number is None or number < len(dataset.items_at(index)))

    def get(self, key, default=None):
        """The value of a keyword, tag or path, or `default` when there is no such element."""
        cdef DatasetBase dataset
        cdef PyObject *known
        cdef uint32_t index
        if type(key) is str:
            known = PyDict_GetItemWithError(KEYWORDS, key)
            if known != NULL:
                return self.value_of(<object>known, <object>known, default)
        try:
            dataset, tag, number = self.resolve(key)
            if number is None:
                return dataset.value_of(tag, tag, default)
            dataset = dataset.located(tag, &index)
            return default if index == DICORE_NO_ENTRY else dataset.item_of(index, number)
        except (KeyError, ValueError):  # MissingElement is a KeyError; no such keyword
            return default

    cdef object item_of(self, uint32_t index, Py_ssize_t number):
        cdef uint32_t tag = self.source.tape.entries[index].tag
        if self.vr_at(index) != VR_SQ:
            raise errors.MissingElement(f"({self.path_of(tag)}) is no sequence", tag_path=self.path_of(tag))
        items = self.items_at(index)
        if number >= len(items):
            path = f"{self.path_of(tag)}[{number}]"
            raise errors.MissingElement(f"({path}): the sequence has {len(items)} items", tag_path=path)
        return items[number]

    cdef tuple resolve(self, key):
        """(data set, tag, item number or None) of a key; walks down a path."""
        cdef DatasetBase dataset = self
        cdef uint32_t index
        if isinstance(key, str):
            tag = keyword_tag(key)
            if tag is not None:
                return self, tag, None
            parts = key.split(".")
            for position, part in enumerate(parts):
                tag, number = parse_step(part, key)
                if position == len(parts) - 1:
                    return dataset, tag, number
                if number is None:
                    raise ValueError(f"{key!r}: {part!r} needs the number of an item, as {part + '[0]'!r}")
                dataset = dataset.located(tag, &index)
                if index == DICORE_NO_ENTRY:
                    raise_missing(dataset, tag)
                dataset = dataset.item_of(index, number)
        if isinstance(key, tuple):
            group, element = key
            if not (0 <= group <= 0xFFFF and 0 <= element <= 0xFFFF):
                raise ValueError(f"no tag: {key!r}")
            return self, group << 16 | element, None
        key = operator.index(key)
        if not 0 <= key <= 0xFFFFFFFF:
            raise ValueError(f"no tag: {key!r}")
        return self, key, None

    def __iter__(self):
        """Elements of this level in file order."""
        self.source.final_tape()
        return iterate(self) if self.changes is None else iterate_places(self.places())

    def __len__(self):
        """Number of elements of this level."""
        cdef uint32_t i = self.first
        cdef Py_ssize_t count = 0
        if self.changes is not None:
            return len(self.places())
        self.source.final_tape()
        while i < self.last():
            i = self.source.tape.entries[i].next
            count += 1
        return count

    def __bool__(self):
        if self.changes is not None:
            return bool(self.places())
        self.source.final_tape()
        return self.first < self.last()

    def keys(self):
        """Tags of this level in file order."""
        cdef uint32_t i = self.first
        cdef list tags = []
        if self.changes is not None:
            return [element.tag for element in self]
        self.source.final_tape()
        while i < self.last():
            tags.append(Tag(self.source.tape.entries[i].tag))
            i = self.source.tape.entries[i].next
        return tags

    def walk(self):
        """(path, element) of every element, nested ones included, in file order. The path is '0008,1115[0].0020,000E'."""
        self.source.final_tape()
        return walk_changed(self, "") if self.touched else walk_elements(self)

    @property
    def warnings(self):
        """What deviates from the standard in the file: of its structure, and of the values decoded so far."""
        return self.source.warnings()

    @property
    def path(self):
        """The file this came from, as given to `read`; None for bytes."""
        return self.source.path

    @property
    def transfer_syntax(self):
        """UID of the transfer syntax: the declared one; of the encoding found when there is none or it is another."""
        cdef Source source = self.source
        declared = source.syntax
        if declared and declared not in NATIVE.values():
            return declared
        if not source.guessed and declared and SYNTAX_ENCODING[declared] == <int>source.encoding:
            return declared
        return NATIVE.get(<int>source.encoding, declared or "1.2.840.10008.1.2")

    @property
    def is_little_endian(self):
        return not self.source.encoding & 2

    @property
    def is_implicit_vr(self):
        return not self.source.encoding & 1

    cdef DatasetBase _meta(self):
        """Group 0002 as a data set of its own."""
        cdef Source source = self.source
        cdef Source meta = Source.__new__(Source)
        cdef DatasetBase dataset = type(self).__new__(type(self))
        meta.path = source.path
        meta.strict = source.strict
        meta.owner = source.head
        meta.keep = source
        meta.base = source.head_base
        meta.start = source.meta_start
        meta.size = meta.have = meta.tail = source.meta_start + source.meta_size
        meta.encoding = source.meta_encoding
        meta.syntax = "1.2.840.10008.1.2.1"
        if not source.part10:
            meta = EMPTY
        dataset.source = meta
        return dataset

    def _file_meta(self):
        if self.meta is None:
            self.meta = self._meta()
            self.meta.of_meta = True
        return self.meta

    def _is_meta(self):
        """Whether this is the file meta of a file."""
        return self.of_meta

    # -- edits ---------------------------------------------------------------------------------------------------------

    @property
    def is_edited(self):
        """Whether something was assigned or deleted here, in an item, or in the file meta, since this was read."""
        return self.touched or (self.meta is not None and self.meta.touched)

    def _record(self, tag, element):
        """From now on `element` (bytes: one whole element, explicit VR in this data set's byte order) stands here; None:
        nothing does."""
        cdef DatasetBase patch = None, around
        cdef uint32_t number = tag
        cdef uint32_t index
        around = self
        while around is not None:
            if around.detached:
                raise ValueError("this item has been replaced in its sequence: take it from there again")
            around = around.parent
        self.source.final_tape()
        if element is not None:
            patch = type(self).__new__(type(self))
            patch.source = source_of_dataset(
                element, "1.2.840.10008.1.2.2" if self._is_big() else "1.2.840.10008.1.2.1", self.source.path, False)
            patch.source.finish()
            if (patch.source.tape.count == 0 or patch.source.tape.entries[0].next != patch.source.tape.count
                    or patch.source.tape.entries[0].tag != number):
                raise ValueError(f"({tag_text(number)}): no encoded element")
            patch.parent = self
            patch.patch = True
            patch.stop = patch.source.tape.count
        around = self.located(number, &index)
        if index != DICORE_NO_ENTRY and around.lists is not None and index in around.lists:
            for item in around.lists[index]:
                (<DatasetBase>item).detached = True
        if self.changes is None:
            self.changes = {}
        if patch is None and self.find(number) == DICORE_NO_ENTRY:
            self.changes.pop(number, None)
        else:
            self.changes[number] = patch
        self.kept.pop(number, None)
        if number == TAG_CHARSET or number == TAG_SIGN:
            self.forget()
        around = self
        while around is not None:
            around.touched = True
            around.applied = None
            around = around.parent

    cdef int forget(self) except -1:
        """What was looked up here and in the items depends on an element that has changed."""
        self.names = None
        self.sign = -2
        self.kept = {}
        for patch in (self.changes or {}).values():
            if patch is not None:
                (<DatasetBase>patch).forget()
        for items in (self.lists or {}).values():
            for item in items:
                (<DatasetBase>item).forget()
        return 0

    def _adopt(self, tag, items):
        """`items` (an Items that was changed) is the value of a sequence that has just been recorded."""
        cdef DatasetBase patch = self.changes[tag]
        cdef uint32_t number = tag
        fresh = patch.items_at(0)
        list.__setitem__(items, slice(None), fresh)
        items.dataset = self
        items.tag = number
        patch.lists[0] = items
        self.kept[tag] = items

    def _is_big(self):
        """Whether the bytes of this data set are in big endian."""
        if self.parent is None or self.patch or self.first == 0:
            return bool(self.source.encoding & 2)
        return bool(self.source.tape.entries[self.first - 1].flags & DICORE_ENTRY_BIG_ENDIAN)

    def _index(self):
        """Tape index of the item this is, 0 at the top."""
        return 0 if self.parent is None or self.patch else self.first - 1

    def _around(self):
        """The data set this is an item of, or None."""
        return self.parent.parent if self.parent is not None and self.parent.patch else self.parent

    def _has(self, tag):
        """Whether there is an element of this tag (an int)."""
        cdef uint32_t index
        self.located(tag, &index)
        return index != DICORE_NO_ENTRY

    def _current_vr(self, tag):
        """The VR an element has here now, or would have by the dictionaries; None when nothing says it."""
        cdef uint32_t index, number = tag
        cdef DatasetBase where = self.located(number, &index)
        cdef dicore_dictionary_entry known
        cdef uint16_t vr
        if index != DICORE_NO_ENTRY:
            vr = where.vr_at(index)
            if vr != VR_UN:
                return vr_text(vr)
        if number >> 16 & 1:
            if 0x10 <= number & 0xFFFF <= 0xFF:
                return "LO"
            creator = self.creator(number).encode("latin-1", "replace") if number & 0xFFFF >= 0x1000 else b""
            if creator and dicore_dictionary_private(
                    <const uint8_t *>PyBytes_AS_STRING(creator), <size_t>len(creator), number, &known) and known.vr[0]:
                return vr_text(known.vr[0])
        elif number & 0xFFFF == 0:
            return "UL"
        elif dicore_dictionary_find(number, &known) and known.vr[0]:
            if known.vr[1] == 0:
                return vr_text(known.vr[0])
            if known.vr[0] == VR_US and known.vr[1] == VR_SS and known.vr[2] == 0:
                return "SS" if self.pixel_sign() > 0 else "US"
            if known.vr[0] == 0x4F42:  # OB or OW
                bits = self.value_of(0x00280100, 0x00280100, None)
                return "OW" if number >> 16 != 0x7FE0 or not isinstance(bits, int) or bits > 8 else "OB"
            return "OW" if known.vr[2] else vr_text(known.vr[0])
        return "UN" if index != DICORE_NO_ENTRY else None

    def _targets(self, key):
        """[(data set, tag, item number or None)] of a key of `edit`: as `resolve`, with [*] for every item."""
        if not isinstance(key, str) or "[*]" not in key:
            return [self.resolve(key)]
        head, _, rest = key.partition("[*]")
        cdef DatasetBase dataset
        cdef uint32_t index
        if not rest:
            raise ValueError(f"{key!r} names items: delete or replace their sequence")
        if not rest.startswith("."):
            raise ValueError(f"{key!r}: what follows an item is '.' and an element")
        found = []
        for place, tag, number in self._targets(head):
            if number is not None:
                raise ValueError(f"{key!r}: an item is written [0], [1], ... or [*]")
            dataset = (<DatasetBase>place).located(tag, &index)
            if index != DICORE_NO_ENTRY and dataset.vr_at(index) == VR_SQ:
                for item in dataset.items_at(index):
                    found += (<DatasetBase>item)._targets(rest[1:])
        return found

    cdef int collect(self, list out) except -1:
        """(tape index of the item or 0, tag, encoded element or None) of what was changed over this source."""
        cdef DatasetBase patch, item
        if self.changes is not None:
            where = self._index()
            for tag, changed in self.changes.items():
                patch = changed
                if patch is None:
                    out.append((where, tag, None))
                elif patch.touched:
                    out.append((where, tag, patch.spliced(b"", [], -1, 0, False)))
                else:
                    out.append((where, tag, patch.source.owner))
        if self.lists is not None:
            for items in self.lists.values():
                for each in items:
                    item = each
                    if item.touched and item.source is self.source and not item.detached:
                        item.collect(out)
        return 0

    cdef Region spliced(self, object head, list more, int encoding, int lengths, bint canonical):
        """`head` and then this data set (of an item its elements), with the changes recorded and `more` of them. `encoding` -1:
        everything stays in the one it is in."""
        self.source.final_tape()
        self.source.present(0, self.source.size)
        return self.planned(head, more, encoding, lengths, canonical, None)

    cdef Region planned(self, object head, list more, int encoding, int lengths, bint canonical, list pieces):
        """`spliced` of what is at hand. With `pieces` what is in the file only may stay there: these are what comes of it, in
        order, Regions and FileSpans, and nothing is returned."""
        cdef Source source = self.source
        cdef list changes = []
        cdef dicore_edit_options options
        cdef dicore_plan plan
        cdef dicore_error error
        cdef dicore_status status
        cdef dicore_change *list_of_changes
        cdef dicore_change *change
        cdef const uint8_t[::1] view
        cdef Region region = None
        cdef size_t before = len(head), count
        cdef uint8_t *out
        cdef const uint8_t *from_head
        if self.touched:
            self.collect(changes)
        changes += more
        options.reencode = encoding >= 0
        options.encoding = <uint8_t>(encoding if encoding >= 0 else 0)
        options.lengths = <uint8_t>lengths
        options.canonical = canonical
        options.item = self._index()
        count = len(changes)
        list_of_changes = <dicore_change *>PyMem_RawCalloc(count + 1, sizeof(dicore_change))
        if list_of_changes == NULL:
            raise MemoryError()
        try:
            for number in range(len(changes)):
                where, tag, element = changes[number]
                change = &list_of_changes[number]
                change.item = where
                change.tag = tag
                if element is None:
                    change.kind = DICORE_CHANGE_DELETE
                else:  # explicit VR in the byte order of its surroundings
                    view = element
                    change.kind = DICORE_CHANGE_PUT
                    change.value.data = &view[0] if view.shape[0] else NULL
                    change.value.size = <size_t>view.shape[0]
                    change.encoded = 2 if (source.tape.entries[change.item].flags & DICORE_ENTRY_BIG_ENDIAN if change.item
                                           else source.encoding & 2) else 1
            status = dicore_edit_plan(&plan, &source.tape, source.base, source.size, source.encoding, list_of_changes, count,
                                      &options, &HEAP, &error)
            if status == DICORE_BAD_SYNTAX:
                raise errors.TransferSyntaxError(
                    "encapsulated pixel data is in explicit VR little endian only", path=source.path,
                    tag_path=tag_text(error.tag), expected="dicore.transcode for another transfer syntax")
            check(status, &error, source.path)
            try:
                if pieces is not None:
                    source.cut(&plan, head, pieces)
                else:
                    region = heap_region(before + plan.size)
                    if before:
                        view = head
                        from_head = &view[0]
                        memcpy(region.data, from_head, before)
                    out = region.data + before
                    if plan.size < GIL_LIMIT:
                        dicore_plan_emit(&plan, out, plan.size)
                    else:
                        with nogil:
                            dicore_plan_emit(&plan, out, plan.size)
            finally:
                dicore_plan_free(&plan, &HEAP)
        finally:
            PyMem_RawFree(list_of_changes)
        return region

    def _pieces_apart(self, head, int encoding, int lengths, bint canonical):
        """`head` and the data set to be written, as buffers and FileSpans; None when it may as well be joined in memory."""
        cdef list pieces = []
        if self.parent is not None or not self.source.lies_apart():
            return None
        with self.source.guard():
            self.source.whole()
            self.planned(head, [], encoding, lengths, canonical, pieces)
        return pieces

    cdef Source edited_apart(self, object head, list more):
        """The source of a new data set that leaves in the file what is left there now. None: what is, was changed."""
        cdef Source source = self.source
        cdef Source made
        cdef list pieces = []
        cdef FileSpan span = None
        cdef Region region, part
        cdef size_t total = 0, at = 0
        with source.guard():
            source.whole()
            self.planned(head, more, -1, 0, False, pieces)
        for piece in pieces:
            total += <size_t>len(piece)
            if isinstance(piece, FileSpan):
                if span is not None or (<FileSpan>piece).swap:
                    return None
                span = piece
        if span is None:
            return None
        region = new_region(total, total >= LARGE)
        made = Source.__new__(Source)
        for piece in pieces:
            if piece is span:
                made.have = at
                at += span.size
                made.tail = at
            else:
                part = piece
                memcpy(region.data + at, part.data, part.size)
                at += part.size
        made.strict = source.strict
        made.owner = region
        made.base = region.data
        made.size = total
        made.fs_path = source.fs_path
        made.held = source.held
        made.identity = source.identity
        made.shift = <int64_t>span.offset - <int64_t>made.have
        made.hole_start = made.have
        made.hole_end = made.tail
        if source.chain_end:
            made.chain_value = <uint64_t>(<int64_t>source.chain_value + source.shift - made.shift)
            made.chain_end = <uint64_t>(<int64_t>source.chain_end + source.shift - made.shift)
        parse_head(made)
        return made

    def _spliced(self, head, list more, int encoding, int lengths, bint canonical):
        """`spliced`, as a buffer."""
        return self.spliced(head, more, encoding, lengths, canonical)

    def _head(self, list more, bint ours):
        """Preamble and file meta as they are to be written before this data set: `more` changes [(0, tag, element or None)]
        made, VRs explicit, in order, with its length (PS3.10 7.1). What there was at all when `ours` is false and the file has no
        file meta."""
        cdef DatasetBase meta = self._file_meta()
        cdef Source source = self.source
        if source.meta_size == 0 and not ours and not meta.touched:
            return bytes((<const uint8_t *>source.head_base)[:source.start]) if source.part10 and source.start else b""
        group = bytes(meta.spliced(b"", more + [(0, 0x00020000, None)], DICORE_EXPLICIT_LE, 1, True))
        preamble = bytes(128)
        if source.part10 and source.meta_start == 132:
            preamble = PyBytes_FromStringAndSize(<const char *>source.head_base, 128)
        return preamble + b"DICM\2\0\0\0UL\4\0" + len(group).to_bytes(4, "little") + group

    def _twin(self):
        """Another data set over the same source, without edits of its own."""
        cdef DatasetBase dataset = type(self).__new__(type(self))
        dataset.source = self.source
        return dataset

    def _stored_dataset(self):
        """The deflate stream of a deflated file as it is stored; None when it is none."""
        cdef Source source = self.source
        source.final_tape()
        if source.packed is None:
            return None
        return source.packed[source.meta_start + source.meta_size:]

    def _committed(self):
        """This data set with the recorded changes made: itself when there are none."""
        if not self.touched and (self.meta is None or not self.meta.touched):
            return self
        if self.applied is None or (self.meta is not None and self.meta.touched):
            self.applied = self._edited([])
        return self.applied

    def _edited(self, list more):
        """A new data set with the recorded changes and `more` made. At the top level only."""
        cdef DatasetBase dataset = type(self).__new__(type(self))
        cdef Source source = self.source
        cdef Source made
        cdef Region region
        head = self._edited_head(more)
        if source.packed is not None or source.deflated:
            source.final_tape()
            region = self.spliced(b"", more, -1, 0, False)
            made = source_of_buffer(head + deflated(region), None, source.strict)
        elif source.part10 and source.lies_apart() and (made := self.edited_apart(head, more)) is not None:
            made.start = len(head)
            made.encoding = source.encoding
        elif not source.part10:
            made = source_of_dataset(self.spliced(b"", more, -1, 0, False), source.syntax, None, source.strict)
        else:
            made = source_of_buffer(self.spliced(head, more, -1, 0, False), None, source.strict)
            made.start = len(head)
            made.encoding = source.encoding
        dataset.source = made
        return dataset

    def _edit_plain(self, dict elements):
        """What `edit` does when all of `elements` are keywords with plain text for VRs that take any such text, and nothing else
        was changed: a new data set. None: not such elements, go the long way."""
        cdef Source source = self.source
        cdef Source made, of_meta
        cdef DatasetBase dataset
        cdef dicore_change changes[PLAIN]
        cdef dicore_change meta_changes[2]
        cdef dicore_edit_options options
        cdef dicore_dictionary_entry known
        cdef dicore_plan plan, meta_plan
        cdef dicore_error error
        cdef dicore_status status
        cdef PyObject *number
        cdef Region region
        cdef Py_ssize_t size
        cdef const char *text
        cdef size_t count = 0, meta_count = 0, head, at
        cdef uint32_t tag, index
        if (self.touched or self.parent is not None or not source.part10 or source.packed is not None or source.deflated
                or not source.meta_size or (self.meta is not None and self.meta.touched) or len(elements) > PLAIN
                or (source.fs_path is not None and source.size >= APART and source.lies_apart())):
            return None
        for name, value in elements.items():
            number = PyDict_GetItem(KEYWORDS, name)
            if type(value) is not str or not (<str>value).isascii():
                return None
            found = <object>number if number != NULL else keyword_tag(name)
            if found is None:
                return None
            tag = found
            if tag == TAG_CHARSET or tag >> 16 <= 2:
                return None
            text = PyUnicode_AsUTF8AndSize(value, &size)
            at = count
            while at > 0 and changes[at - 1].tag > tag:  # in order of tags
                changes[at] = changes[at - 1]
                at -= 1
            memset(&changes[at], 0, sizeof(dicore_change))
            changes[at].tag = tag
            changes[at].value.data = <const uint8_t *>text
            changes[at].value.size = <size_t>size
            count += 1
        source.final_tape()
        at = index = 0
        while index < source.tape.count:  # the VRs that they have now
            tag = source.tape.entries[index].tag
            if at > 0 and tag <= changes[at - 1].tag:
                at = 0
            while at < count and changes[at].tag < tag:
                at += 1
            if at < count and changes[at].tag == tag:
                changes[at].vr = self.vr_at(index)
            index = source.tape.entries[index].next
        for at in range(count):
            tag = changes[at].tag
            if changes[at].vr == 0:
                if not dicore_dictionary_find(tag, &known) or known.vr[1] != 0:
                    return None
                changes[at].vr = known.vr[0]
            if not takes(changes[at].vr, <const char *>changes[at].value.data, <Py_ssize_t>changes[at].value.size):
                return None
            if tag == 0x00080016 or tag == 0x00080018:
                meta_changes[meta_count] = changes[at]
                meta_changes[meta_count].tag = 0x00020002 if tag == 0x00080016 else 0x00020003
                meta_count += 1
        source.final_tape()
        source.present(0, source.size)
        memset(&options, 0, sizeof(dicore_edit_options))
        head = source.meta_start + source.meta_size
        meta_plan.size = 0
        if meta_count:
            of_meta = (<DatasetBase>self._file_meta()).source
            of_meta.final_tape()
            options.reencode = options.canonical = options.lengths = 1
            options.encoding = DICORE_EXPLICIT_LE
            check(dicore_edit_plan(&meta_plan, &of_meta.tape, of_meta.base, of_meta.size, of_meta.encoding, meta_changes,
                                   meta_count, &options, &HEAP, &error), &error, source.path)
            memset(&options, 0, sizeof(dicore_edit_options))
            head = 144 + meta_plan.size
        try:
            check(dicore_edit_plan(&plan, &source.tape, source.base, source.size, source.encoding, changes, count, &options,
                                   &HEAP, &error), &error, source.path)
            try:
                region = Region.__new__(Region)
                region.size = head + plan.size
                region.data = <uint8_t *>PyMem_RawMalloc(region.size)
                if region.data == NULL:
                    raise MemoryError(f"{region.size} bytes for a data set")
                if meta_count:
                    if source.meta_start == 132:
                        memcpy(region.data, source.head_base, 128)
                    else:
                        memset(region.data, 0, 128)
                    memcpy(region.data + 128, <const char *>b"DICM\2\0\0\0UL\4\0", 12)
                    for index in range(4):
                        region.data[140 + index] = <uint8_t>(meta_plan.size >> (8 * index))
                    dicore_plan_emit(&meta_plan, region.data + 144, meta_plan.size)
                else:
                    memcpy(region.data, source.head_base, head)
                if plan.size < GIL_LIMIT:
                    dicore_plan_emit(&plan, region.data + head, plan.size)
                else:
                    with nogil:
                        dicore_plan_emit(&plan, region.data + head, plan.size)
            finally:
                dicore_plan_free(&plan, &HEAP)
        finally:
            if meta_count:
                dicore_plan_free(&meta_plan, &HEAP)
        made = source_over(region, None, source.strict)
        made.part10 = True
        made.start = head
        made.encoding = source.encoding
        made.guessed = source.guessed
        made.syntax = source.syntax
        made.meta_start = 132 if meta_count else source.meta_start
        made.meta_size = head - made.meta_start
        made.meta_encoding = DICORE_EXPLICIT_LE if meta_count else source.meta_encoding
        made.head = region
        made.head_base = made.base
        made.head_size = region.size
        dataset = type(self).__new__(type(self))
        dataset.source = made
        return dataset

    cdef object _edited_head(self, list more):
        """The head of the file after `more` changes: SOP class and instance as the data set has them."""
        cdef Source source = self.source
        cdef bint same = self.meta is None or not self.meta.touched
        cdef list meta = []
        if not source.part10:
            return b""
        uids = {0x00080016: None, 0x00080018: None}
        if self.changes is not None:
            for tag in uids:
                if tag in self.changes and self.changes[tag] is not None:
                    uids[tag] = (<DatasetBase>self.changes[tag]).raw_at(&(<DatasetBase>self.changes[tag]).source.tape.entries[0])
        for where, tag, element in more:
            if where == 0 and element is not None and tag in uids:
                uids[tag] = element[8:]
        if source.meta_size:
            for tag, value in uids.items():
                if value is not None:
                    of_file = 0x00020002 if tag == 0x00080016 else 0x00020003
                    meta.append((0, of_file, short_element(of_file, bytes(value))))
        if same and not meta:
            return PyBytes_FromStringAndSize(<const char *>source.head_base,
                                             <Py_ssize_t>(source.meta_start + source.meta_size))
        return self._head(meta, False)

    def _window(self, key):
        """A FileWindow on the value of an element, None when it is in memory already or is not large."""
        cdef DatasetBase dataset
        cdef Source source = self.source
        cdef FileWindow window
        cdef dicore_entry entry
        cdef const char *path
        cdef uint32_t index
        cdef int failed = 0
        dataset, tag, number = self.resolve(key)
        if dataset.located(tag, &index) is not dataset:
            return None  # an edit: in memory
        if index == DICORE_NO_ENTRY or number is not None or source.fs_path is None:
            return None
        entry = source.tape.entries[index]
        at = entry.offset + entry.header
        if entry.length < LARGE or at + entry.length <= source.have or at >= source.tail:
            return None
        window = self.window_at(at, entry.length)
        if not entry.flags & DICORE_ENTRY_FRAGMENTS:
            window.region = new_region(entry.length, True)
        return window

    def _pixel_window(self):
        """A FileWindow on encapsulated Pixel Data of which not even the end is known, only that it goes beyond the bytes
        at hand; None when there is no such thing."""
        cdef Source source = self.source
        cdef dicore_element_header header
        if self.parent is not None or self.changes is not None or source.fs_path is None or source.deflated:
            return None
        if not source.reach_pixels():
            return None
        if (source.encoding & 2 or source.chain_at >= source.have
                or dicore_read_element_header(source.base + source.chain_at, source.have - source.chain_at, source.encoding,
                                              &header) != DICORE_OK
                or header.tag != DICORE_TAG_PIXEL_DATA or header.length != DICORE_UNDEFINED_LENGTH):
            return None
        at = source.chain_at + header.size
        return self.window_at(at, source.size - at)

    def _early(self, keyword):
        """The value of an element that stands before Pixel Data in what was read so far, else None: for the elements that
        must be there, so that Pixel Data need not be followed to its end to learn of those that are not."""
        cdef uint32_t tag = keyword_to_tag(keyword)
        if dicore_tape_find(&self.source.tape, 0, self.source.tape.count, tag) == DICORE_NO_ENTRY:
            return None
        return self.get(keyword)

    cdef FileWindow window_at(self, uint64_t at, uint64_t size):
        cdef Source source = self.source
        cdef FileWindow window = FileWindow.__new__(FileWindow)
        cdef const char *path
        window.path = source.held.path if source.held is not None else source.path
        window.offset = <uint64_t>(<int64_t>at + source.shift)
        window.size = size
        window.identity = source.identity
        path = PyBytes_AS_STRING(source.fs_path)
        source.holding()
        with nogil:
            window.fd = open_held(source.held, path)
        if window.fd < 0:
            PyErr_SetFromErrnoWithFilenameObject(OSError, source.path)
        window.check()
        return window

    def _file_bytes(self):
        """The whole file as it is, as a memoryview; of a bare data set the data set."""
        cdef Source source
        if self.parent is None and (self.touched or (self.meta is not None and self.meta.touched)):
            return self._committed()._file_bytes()
        source = self.source
        if source.packed is not None:
            return source.packed
        source.present(0, source.size)
        return PyMemoryView_FromObject(source.owner)[:source.size]

    cdef DatasetBase home(self):
        """The data set that an element belongs to: not the patch that an edit has put it in."""
        return self.parent if self.patch else self

    def _path_to(self, Element element not None):
        """The path of an element of this data set from the top level on."""
        return self.path_of(element.entry.tag)

    def _place(self):
        """(data set around, tag of the sequence, number) of an item; None at the top level."""
        if self.parent is None:
            return None
        return self._around(), self.source.tape.entries[self.owner_index].tag, self.number

    def _is_item(self):
        """Whether this is an item of a sequence."""
        return self.parent is not None

    def _state(self):
        """(bytes, path, transfer syntax of a bare data set, strict) to make it again from. At the top level only."""
        cdef DatasetBase committed = self._committed()
        cdef Source source = committed.source
        return bytes(committed._file_bytes()), source.path, None if source.part10 else source.syntax, source.strict

    def _parts(self):
        """(head of the file, bytes of the data set as stored) as memoryviews; the second is inflated when deflated."""
        cdef Source source = self.source
        if self.touched:
            if self.parent is None:
                return self._committed()._parts()
            if not self.patch:  # an item
                return memoryview(b""), PyMemoryView_FromObject(self.spliced(b"", [], -1, 0, False))
        source.final_tape()
        source.present(source.start, source.size - source.start)
        view = PyMemoryView_FromObject(source.owner)
        if self.parent is None:
            return view[:source.start], view[source.start:source.size]
        at = source.tape.entries[self.first - 1].offset + source.tape.entries[self.first - 1].header
        return view[:0], view[at:at + source.tape.entries[self.first - 1].length]


class Items(list):
    """The items of a sequence, in order: data sets. Changing the list records the change on the data set it is in; what is put
    in (a Dataset, or a mapping of keywords, tags or paths to values) is copied, so take it from the list to go on with it."""

    __slots__ = ("dataset", "tag")

    def _store(self, items):
        dataset, tag = self.dataset, self.tag
        current = dataset.get(tag)
        if current is not self:
            raise ValueError("this sequence has been replaced: take it from the data set again")
        dataset._assign(tag, items, "SQ")
        dataset._adopt(tag, self)

    def append(self, item):
        self._store([*self, item])

    def extend(self, items):
        self._store([*self, *items])

    def insert(self, index, item):
        items = list(self)
        items.insert(index, item)
        self._store(items)

    def pop(self, index=-1):
        items = list(self)
        item = items.pop(index)
        self._store(items)
        return item

    def remove(self, item):
        items = list(self)
        items.remove(item)
        self._store(items)

    def clear(self):
        self._store([])

    def reverse(self):
        self._store(self[::-1])

    def sort(self, *, key=None, reverse=False):
        self._store(sorted(self, key=key, reverse=reverse))

    def __setitem__(self, index, value):
        items = list(self)
        items[index] = value
        self._store(items)

    def __delitem__(self, index):
        items = list(self)
        del items[index]
        self._store(items)

    def __iadd__(self, items):
        self.extend(items)
        return self

    def __imul__(self, times):
        self._store(list(self) * times)
        return self

    def __reduce_ex__(self, protocol):
        return list, (list(self),)


cdef bint takes(uint16_t vr, const char *text, Py_ssize_t size) noexcept:
    """Whether plain text is surely a value of `vr` (PS3.5 table 6.2-1). Numbers are never sure."""
    cdef Py_ssize_t i, part = 0
    if vr == VR_UI:
        if size > 64:
            return False
        for i in range(size):  # components without leading zeros (9.1)
            if text[i] == c".":
                if part == 0:
                    return False
                part = 0
            elif not c"0" <= text[i] <= c"9" or (part == 1 and text[i - 1] == c"0"):
                return False
            else:
                part += 1
        return size == 0 or part > 0
    if vr in (VR_LO, VR_PN):
        return size <= 64
    if vr in (VR_SH, VR_CS, VR_AE):
        return size <= 16
    return vr in (VR_DA, VR_TM, VR_DT, VR_AS) and size <= 54


cdef bytes short_element(uint32_t tag, bytes value):
    """A UID as an element in explicit VR little endian."""
    value = value.rstrip(b" \0")
    if len(value) & 1:
        value += b"\0"
    if len(value) > 0xFFFE:
        raise ValueError(f"({tag_text(tag)}): {len(value)} bytes for a UID")
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + b"UI" + len(value).to_bytes(2, "little") + value


def deflated(data):
    """A data set as a raw deflate stream of even length (PS3.5 A.5)."""
    cdef const uint8_t[::1] view = data
    cdef const uint8_t *base = &view[0] if view.shape[0] else NULL
    cdef size_t size = <size_t>view.shape[0], out_size = 0, capacity = 0
    cdef uint8_t *out = NULL
    cdef dicore_error error
    cdef dicore_status status
    with nogil:
        status = dicore_deflate(base, size, 0, &HEAP, &out, &out_size, &capacity, &error)
    check(status, &error)
    try:
        return PyBytes_FromStringAndSize(<const char *>out, <Py_ssize_t>out_size)
    finally:
        PyMem_RawFree(out)


cdef object MISSING = object()
cdef object PLAIN_PATH = type(pathlib.Path())
cdef dict NATIVE = {0: "1.2.840.10008.1.2", 1: "1.2.840.10008.1.2.1", 3: "1.2.840.10008.1.2.2"}
cdef dict SYNTAX_ENCODING = {uid: encoding for encoding, uid in NATIVE.items()}


cdef inline bint is_text(uint16_t vr):
    return vr in (VR_PN, VR_LO, VR_SH, VR_CS, VR_UI, VR_DA, VR_TM, VR_DS, VR_IS, VR_DT, VR_AS, VR_AE, VR_LT, VR_ST, VR_UT,
                  VR_UC, VR_UR)


cdef object empty_value(uint16_t vr, int width):
    """As pydicom: '' for text, None for numbers (DS and IS too) and bytes."""
    if vr == VR_PN:
        return person_name("")
    if width or vr == VR_DS or vr == VR_IS or not is_text(vr):
        return None
    return ""


cdef int raise_missing(DatasetBase dataset, uint32_t tag) except -1:
    path = dataset.path_of(tag)
    raise errors.MissingElement(f"no {names_of(tag)[0] or 'element'} ({path}) in this data set", tag_path=path)


cdef tuple parse_step(str part, str key):
    """One step of a path, 'Keyword', 'gggg,eeee' or 'ggggeeee', each with or without [n]: (tag, n or None)."""
    name, bracket, rest = part.partition("[")
    number = None
    if bracket:
        digits = rest[:-1]
        if not rest.endswith("]") or not digits.isascii() or not digits.isdigit() or len(digits) > 9:
            raise ValueError(f"{key!r}: an item is written [0], [1], ...")
        number = int(digits)
    tag = keyword_tag(name)
    if tag is None:
        digits = name[:4] + name[5:] if name[4:5] == "," else name
        if len(digits) != 8 or not digits.isalnum():
            raise errors.MissingElement(f"{name!r} is no keyword, tag or path of DICOM")
        try:
            tag = int(digits, 16)
        except ValueError:
            raise errors.MissingElement(f"{name!r} is no keyword, tag or path of DICOM") from None
    return tag, number


def iterate(DatasetBase dataset):
    cdef uint32_t i = dataset.first
    while i < dataset.last():
        element = dataset.element_at(i)
        i = dataset.source.tape.entries[i].next
        yield element


def iterate_places(list places):
    for place, index in places:
        yield (<DatasetBase>place).element_at(index)


def walk_changed(DatasetBase dataset, str prefix):
    """walk_elements where something has changed; recursive."""
    cdef Element element
    for element in dataset:
        path = prefix + tag_text(element.entry.tag)
        yield path, element
        if element.entry.flags & DICORE_ENTRY_SEQUENCE:
            for number, item in enumerate(element.dataset.items_at(element.index)):
                yield from walk_changed(item, f"{path}[{number}].")


def walk_elements(DatasetBase dataset):
    cdef uint32_t i = dataset.first, index
    cdef uint32_t end = dataset.last()
    cdef list stack = []
    cdef str prefix = ""
    cdef Element element
    while True:
        if i >= end:
            if not stack:
                return
            dataset, i, end, prefix = stack.pop()
            continue
        index = i
        element = dataset.element_at(index)
        i = element.entry.next
        path = prefix + tag_text(element.entry.tag)
        yield path, element
        if element.entry.flags & DICORE_ENTRY_SEQUENCE:
            items = dataset.items_at(index)
            stack.append((dataset, i, end, prefix))
            for number in range(len(items) - 1, -1, -1):
                stack.append((items[number], (<DatasetBase>items[number]).first, (<DatasetBase>items[number]).stop,
                              f"{path}[{number}]."))
            i = end


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
