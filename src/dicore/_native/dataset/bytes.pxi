# Memory, files and windows of files: what a Source stands on.
# A part of dataset.pyx, which includes it: one module, one C file.

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
