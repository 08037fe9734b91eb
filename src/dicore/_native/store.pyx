"""The instance store of libdicore: converts, gives the GIL away around I/O, raises. Policy is in dicore.store."""
import os
from time import sleep

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from dicore import errors
from dicore._native.libdicore cimport *
from dicore._native.status cimport check, check_os

cdef extern from "base/file.h" nogil:
    dicore_status dicore_file_read(int file, uint64_t offset, void *data, size_t size, size_t *got, dicore_error *error)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

RELAXED, SYNC_DATA, SYNC_DIRECT = <int>DICORE_RELAXED, <int>DICORE_SYNC_DATA, <int>DICORE_SYNC_DIRECT
KEEP_FIRST, REPLACE, KEEP_BOTH, REJECT = <int>DICORE_KEEP_FIRST, <int>DICORE_REPLACE, <int>DICORE_KEEP_BOTH, <int>DICORE_REJECT
WAITS, STORED, DUPLICATE, CONFLICT = <int>DICORE_WAITS, <int>DICORE_STORED, <int>DICORE_DUPLICATE, <int>DICORE_CONFLICT
TASK_SEAL, TASK_MARK = <int>DICORE_TASK_SEAL, <int>DICORE_TASK_MARK
RECORD, DAMAGED, UNREADABLE = <int>DICORE_FOUND_RECORD, <int>DICORE_FOUND_DAMAGED, <int>DICORE_FOUND_UNREADABLE
ENTRY_SIZE = <int>DICORE_STORE_ENTRY_SIZE
RECORD_HEADER, RECORD_UNIT, SEGMENT_HEADER = <int>DICORE_RECORD_HEADER, <int>DICORE_RECORD_UNIT, <int>DICORE_SEGMENT_HEADER
SEGMENT_SINGLE = <int>DICORE_SEGMENT_SINGLE
REPLACES, ANOTHER, DELETED = <int>DICORE_RECORD_REPLACES, <int>DICORE_RECORD_ANOTHER, <int>DICORE_RECORD_DELETED
DEAD, LIVE, TOMBSTONE = <int>DICORE_STANDING_DEAD, <int>DICORE_STANDING_LIVE, <int>DICORE_STANDING_TOMBSTONE
FAILPOINTS = {
    "before-write": <int>DICORE_FAIL_BEFORE_WRITE,
    "after-write": <int>DICORE_FAIL_AFTER_WRITE,
    "before-sync": <int>DICORE_FAIL_BEFORE_SYNC,
    "after-sync": <int>DICORE_FAIL_AFTER_SYNC,
    "segment-made": <int>DICORE_FAIL_SEGMENT_MADE,
    "write-error": <int>DICORE_FAIL_WRITE_ERROR,
    "write-full": <int>DICORE_FAIL_WRITE_FULL,
    "sync-error": <int>DICORE_FAIL_SYNC_ERROR,
    "lane-written": <int>DICORE_FAIL_LANE_WRITTEN,
    "lane-named": <int>DICORE_FAIL_LANE_NAMED,
}

cdef enum:
    INLINE_PIECES = 32
    BATCH = 256
    MOST_TAGS = 64
    FIRST_READ = 8192
    MOST_READ = 16 << 20      # a data set that hides its identity behind more is found by its UID only
    LONGEST_VALUE = 1 << 16


cdef void *_resize(void *context, void *pointer, size_t old_size, size_t new_size) noexcept nogil:
    if new_size == 0:
        free(pointer)
        return NULL
    return realloc(pointer, new_size)


cdef class _Pieces:
    """The bytes of some buffers as spans, for as long as this lives."""
    cdef Py_buffer held[INLINE_PIECES]
    cdef dicore_span inline_spans[INLINE_PIECES]
    cdef Py_buffer *buffers
    cdef dicore_span *spans
    cdef Py_ssize_t count

    def __cinit__(self, pieces):
        cdef Py_ssize_t wanted = len(pieces)
        self.count = 0
        self.buffers = self.held
        self.spans = self.inline_spans
        if wanted > INLINE_PIECES:
            self.buffers = <Py_buffer *>malloc(wanted * sizeof(Py_buffer))
            self.spans = <dicore_span *>malloc(wanted * sizeof(dicore_span))
            if self.buffers == NULL or self.spans == NULL:
                raise MemoryError
        for piece in pieces:
            if self.count == wanted:
                raise RuntimeError("the sequence of pieces grew while it was read")
            PyObject_GetBuffer(piece, &self.buffers[self.count], PyBUF_SIMPLE)
            self.spans[self.count].data = <const uint8_t *>self.buffers[self.count].buf
            self.spans[self.count].size = <size_t>self.buffers[self.count].len
            self.count += 1

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.buffers[i])
        if self.buffers != self.held:
            free(self.buffers)
        if self.spans != self.inline_spans:
            free(self.spans)


cdef inline dicore_span _text(str text) except *:
    cdef Py_ssize_t size
    cdef dicore_span span
    span.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(text, &size)
    span.size = <size_t>size
    return span


cdef int _raise(dicore_status status, const dicore_error *error, str what) except -1:
    if status == DICORE_IO:
        if error.system in (28, 122):  # ENOSPC, EDQUOT
            raise errors.StoreFull(f"the disk is full: {what} was not stored; free some space, storing then goes on by itself")
        raise errors.StoreError(f"{what} was not stored: {os.strerror(error.system)}")
    if status == DICORE_BAD_LENGTH:
        raise errors.StoreError(f"{what} was not stored: its UIDs do not fit into file meta (1 to 64 bytes, PS3.5 9.1)")
    if status == DICORE_POISONED:
        raise errors.StoreError(f"{what} was not stored: a sync has failed, and relaxed storing stops then; reopen the store")
    if status == DICORE_BAD_STATE:
        raise errors.StoreError(f"{what} was not stored: the store is closed or read-only")
    return check(status, error)


def crc32c(data not None, uint32_t crc=0):
    """CRC-32C of `data`, continuing `crc`."""
    cdef _Pieces bytes_ = _Pieces((data,))
    cdef uint32_t result
    with nogil:
        result = dicore_crc32c(crc, bytes_.spans[0].data, bytes_.spans[0].size)
    return result


def crc32c_combine(uint32_t first, uint32_t second, uint64_t second_size):
    """The CRC-32C of A followed by B from theirs and the size of B."""
    return dicore_crc32c_combine(first, second, second_size)


def uid_hash(str uid not None):
    """The 16 bytes that stand for a SOP Instance UID."""
    cdef uint8_t out[16]
    cdef dicore_span span = _text(uid)
    dicore_uid_hash(span.data, span.size, out)
    return out[:16]


cdef str _decoded(dicore_span span):
    return span.data[:span.size].decode("latin-1").rstrip("\0 ") if span.size else ""


def part10(data not None):
    """(SOP class, SOP instance, transfer syntax, source AE, offset of the data set) of a file in memory. What its file meta
    lacks is empty; without a transfer syntax it is the one that the bytes are in. DicomFormatError."""
    cdef _Pieces bytes_ = _Pieces((data,))
    cdef dicore_part10 parts
    cdef dicore_error error
    check(dicore_part10_parse(bytes_.spans[0].data, bytes_.spans[0].size, NULL, &parts, &error), &error)
    syntax = _decoded(parts.transfer_syntax)
    if not syntax:
        syntax = {0: "1.2.840.10008.1.2", 1: "1.2.840.10008.1.2.1", 3: "1.2.840.10008.1.2.2"}.get(parts.encoding, "")
    return _decoded(parts.sop_class), _decoded(parts.sop_instance), syntax, _decoded(parts.source_ae), parts.dataset_offset


def check_record(data not None, uint64_t nonce, uint64_t offset, bint whole=True):
    """Check a record that stands at `offset` of its segment: (file size, data set offset, flags, received in microseconds,
    UID hash). `whole=False` checks its header only. StoreCorrupt when it is damaged."""
    cdef _Pieces bytes_ = _Pieces((data,))
    cdef dicore_record record
    cdef dicore_status status
    cdef dicore_error error
    if whole and bytes_.spans[0].size > 1 << 17:
        with nogil:
            status = dicore_record_check(bytes_.spans[0].data, bytes_.spans[0].size, nonce, offset, &record)
    elif whole:
        status = dicore_record_check(bytes_.spans[0].data, bytes_.spans[0].size, nonce, offset, &record)
    else:
        status = dicore_record_read_header(bytes_.spans[0].data, bytes_.spans[0].size, nonce, offset, &record)
    if status != DICORE_OK:
        raise errors.StoreCorrupt(dicore_status_text(status).decode(), offset=offset)
    return record.file_size, record.data_offset, record.flags, record.received, record.uid_hash[:16]


def segment_header(uint64_t id, uint64_t nonce, uint64_t created, uint64_t size):
    """The 4096 bytes that a segment begins with."""
    cdef uint8_t out[4096]
    cdef dicore_segment_info info
    info.id, info.nonce, info.created, info.size, info.flags = id, nonce, created, size, 0
    dicore_segment_write_header(&info, out)
    return out[:4096]


cdef class Segment:
    """An open segment file. `writable=True` takes its lock; `locked` says that another process has it (then nothing else works)."""
    cdef int file
    cdef dicore_segment_info info
    cdef dicore_scan last
    cdef readonly bint locked

    def __cinit__(self, int folder, uint64_t id, *, bint writable=False):
        cdef dicore_error error
        cdef dicore_status status
        self.file = -1
        self.locked = False
        with nogil:
            status = dicore_segment_open(folder, id, writable, &self.file, &self.info, &error)
        if status == DICORE_LIMIT:
            self.locked = True
        elif status == DICORE_BAD_SEGMENT and error.offset == 8:
            raise errors.StoreError(f"segment {id} was written by another version of dicore, which this one cannot read")
        elif status == DICORE_TRUNCATED:
            raise errors.StoreCorrupt("the file ends within the segment's header", segment=f"{id:010d}.seg", offset=error.offset)
        else:
            check(status, &error, f"segments/{id:010d}.seg")

    def __dealloc__(self):
        self.close()

    def close(self):
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    @property
    def id(self):
        return self.info.id

    @property
    def nonce(self):
        return self.info.nonce

    @property
    def size(self):
        """As its header has it; the file may have been cut."""
        return self.info.size

    @property
    def single(self):
        return bool(self.info.flags & DICORE_SEGMENT_SINGLE)

    def fileno(self):
        return self.file

    @property
    def unread(self) -> int:
        """How many reads of the last scan failed: it may have missed something that is there."""
        return self.last.unread

    def scan(self, *, uint64_t start=DICORE_SEGMENT_HEADER, uint64_t expected=0, uint64_t check_from=0, limit=None, most=None,
             progress=None):
        """Walk over all records from `start`; those that reach beyond `check_from` are read whole. `expected`: records are known to reach
        that far; `limit`: nothing stands behind; `most`: stop after so many, and `end` is where to go on. Returns (entries, damage, end, synced, dirty): packed entries, a list of
        (kind, offset, size, UID hash | None), the end of the last whole record, the highest synced mark met, and whether
        anything but zeros stands behind the end. `progress(bytes so far)` is called now and then."""
        cdef dicore_scan scan
        cdef dicore_found found[BATCH]
        cdef dicore_store_entry entry
        cdef uint8_t packed[DICORE_STORE_ENTRY_SIZE]
        cdef dicore_status status = DICORE_OK
        cdef int n, i
        cdef uint64_t since
        cdef int64_t left = -1 if most is None else most
        size = os.fstat(self.file).st_size
        scan.file = self.file
        scan.info = self.info
        scan.limit = size if limit is None else min(size, limit)
        scan.expected = expected
        scan.check_from = check_from
        scan.capacity = 1 << 20
        scan.offset = start
        scan.end = scan.synced = 0
        scan.dirty = 0
        scan.unread = 0
        scan.buffer = <uint8_t *>malloc(scan.capacity)
        if scan.buffer == NULL:
            raise MemoryError
        entries = bytearray()
        damage = []
        try:
            while status == DICORE_OK and left != 0:
                n = 0
                since = scan.offset
                with nogil:
                    while n < BATCH and n != left and scan.offset - since < (64 << 20):
                        status = dicore_scan_next(&scan, &found[n])
                        if status != DICORE_OK:
                            break
                        n += 1
                if status != DICORE_END:
                    check(status, NULL)
                if left > 0:
                    left -= n
                for i in range(n):
                    if found[i].kind == DICORE_FOUND_RECORD:
                        memcpy(entry.uid_hash, found[i].record.uid_hash, 16)
                        entry.received = found[i].record.received
                        entry.unit = <uint32_t>(found[i].offset // DICORE_RECORD_UNIT)
                        entry.units = <uint32_t>(found[i].size // DICORE_RECORD_UNIT)
                        entry.data_crc = found[i].record.data_crc
                        entry.flags = found[i].record.flags
                        dicore_store_entry_write(&entry, packed)
                        entries += packed[:DICORE_STORE_ENTRY_SIZE]
                    else:
                        damage.append((
                            <int>found[i].kind, found[i].offset, found[i].size,
                            found[i].record.uid_hash[:16] if found[i].kind == DICORE_FOUND_DAMAGED else None,
                        ))
                if progress is not None:
                    progress(scan.offset)
        finally:
            free(scan.buffer)
            scan.buffer = NULL
        self.last = scan
        if left == 0:
            scan.end = scan.offset
        return bytes(entries), damage, max(scan.end, <uint64_t>DICORE_SEGMENT_HEADER), scan.synced, bool(scan.dirty)

    def values(self, uint64_t offset, tags not None):
        """The values of top-level elements (`tags` strictly ascending) of the record at `offset`, from as few bytes of it as
        will do: (SOP Instance UID, transfer syntax, big endian, [bytes | None, ...]). For a deflated data set the list is
        None. What cannot be read as a data set has no values. StoreCorrupt when there is no record."""
        cdef uint32_t wanted[MOST_TAGS]
        cdef dicore_selected found[MOST_TAGS]
        cdef dicore_record record
        cdef dicore_part10 parts
        cdef dicore_read_options options
        cdef dicore_error error
        cdef dicore_status status
        cdef size_t count = 0, got = 0, size = FIRST_READ, i
        cdef uint64_t position = 0, need
        cdef uint8_t *data = NULL
        cdef bint whole
        if len(tags) > MOST_TAGS:
            raise ValueError("too many tags")
        for tag in tags:
            wanted[count] = tag
            count += 1
        memset(&options, 0, sizeof(options))
        try:
            while True:
                free(data)
                data = <uint8_t *>malloc(size)
                if data == NULL:
                    raise MemoryError
                with nogil:
                    status = dicore_file_read(self.file, offset, data, size, &got, &error)
                check(status, &error, f"segments/{self.info.id:010d}.seg")
                status = dicore_record_read_header(data, got, self.info.nonce, offset, &record)
                if status != DICORE_OK:
                    raise errors.StoreCorrupt("no record stands here", segment=f"{self.info.id:010d}.seg", offset=offset)
                if record.file_size < got - DICORE_RECORD_HEADER:
                    got = <size_t>record.file_size + DICORE_RECORD_HEADER
                whole = got == record.file_size + DICORE_RECORD_HEADER
                options.partial = not whole
                status = dicore_part10_parse(data + DICORE_RECORD_HEADER, got - DICORE_RECORD_HEADER, &options, &parts, &error)
                need = size * 2
                if status == DICORE_OK:
                    if parts.deflated:
                        return _decoded(parts.sop_instance), _decoded(parts.transfer_syntax), False, None
                    status = dicore_select(data + DICORE_RECORD_HEADER, got - DICORE_RECORD_HEADER, parts.dataset_offset,
                                           <dicore_encoding>parts.encoding, &options, wanted, count, found, &position, &error)
                    need = position
                    for i in range(count):
                        if found[i].flags & DICORE_SELECTED and found[i].length <= LONGEST_VALUE:
                            need = max(need, found[i].offset + found[i].length)
                elif status != DICORE_TRUNCATED:
                    check(status, &error, f"segments/{self.info.id:010d}.seg")
                need += DICORE_RECORD_HEADER
                if whole or need <= got or size >= MOST_READ:
                    break
                size = min(<size_t>MOST_READ, max(<size_t>need, size * 2))
            values = []
            for i in range(count):
                if (status == DICORE_OK or status == DICORE_TRUNCATED) and found[i].flags & DICORE_SELECTED and \
                        found[i].length <= LONGEST_VALUE and \
                        found[i].offset + found[i].length <= got - DICORE_RECORD_HEADER:
                    values.append(data[DICORE_RECORD_HEADER + found[i].offset:
                                       DICORE_RECORD_HEADER + found[i].offset + found[i].length])
                else:
                    values.append(None)
            return (_decoded(parts.sop_instance), _decoded(parts.transfer_syntax),
                    bool(parts.encoding & DICORE_EXPLICIT_BE & ~DICORE_EXPLICIT_LE), values)
        finally:
            free(data)

    def copy(self, const uint8_t[::1] entries not None, int to_file, uint64_t to_nonce, uint64_t to_offset):
        """Copy the records of packed entries, one behind the other, to `to_offset` of another segment: (packed entries of the
        copies, where they end). Every byte is checked: StoreCorrupt with the offset of a damaged record; StoreFull."""
        cdef dicore_record record
        cdef dicore_store_entry entry
        cdef dicore_status status = DICORE_OK
        cdef dicore_error error
        cdef Py_ssize_t at
        cdef uint8_t *buffer = <uint8_t *>malloc(1 << 20)
        if buffer == NULL:
            raise MemoryError
        copies = bytearray(entries.shape[0])
        cdef uint8_t[::1] out = copies
        try:
            for at in range(0, entries.shape[0], DICORE_STORE_ENTRY_SIZE):
                dicore_store_entry_read(&entries[at], DICORE_STORE_ENTRY_SIZE, &entry)
                with nogil:
                    status = dicore_record_copy(self.file, self.info.nonce, <uint64_t>entry.unit * DICORE_RECORD_UNIT, to_file, to_nonce,
                                                to_offset, buffer, 1 << 20, &record, &error)
                if status in (DICORE_BAD_RECORD, DICORE_BAD_CRC, DICORE_TRUNCATED):
                    raise errors.StoreCorrupt("the bytes of this record are damaged", segment=f"{self.info.id:010d}.seg",
                                              offset=entry.unit * DICORE_RECORD_UNIT)
                if status != DICORE_OK:
                    _raise(status, &error, "a copy")
                entry.unit = <uint32_t>(to_offset // DICORE_RECORD_UNIT)
                dicore_store_entry_write(&entry, &out[at])
                to_offset += <uint64_t>entry.units * DICORE_RECORD_UNIT
        finally:
            free(buffer)
        return bytes(copies), to_offset

    def repair(self):
        """Make everything behind the last whole record of the last scan zeros, durably."""
        cdef dicore_error error
        cdef dicore_status status
        with nogil:
            status = dicore_segment_repair(&self.last, &error)
        check_os(status, &error, f"segments/{self.info.id:010d}.seg")


cdef class Native:
    """A store's writer and UID table over the directory descriptor `folder` (borrowed)."""
    cdef dicore_store *store
    cdef Py_ssize_t busy  # calls that are under way without the GIL; counted with it
    cdef bint closing
    cdef object _implementation, _version_name

    def __cinit__(self, int folder, *, uint64_t segment_size, uint64_t fill_ahead, int durability, int duplicates, bint read_only,
                  int failpoint, uint32_t failpoint_countdown, str implementation, str version_name):
        cdef dicore_store_options options
        cdef dicore_error error
        self._implementation = implementation
        self._version_name = version_name
        options.folder = folder
        options.read_only = read_only
        options.segment_size = segment_size
        options.fill_ahead = fill_ahead
        options.durability = <dicore_durability>durability
        options.duplicates = <dicore_duplicates>duplicates
        options.failpoint = <dicore_failpoint>failpoint
        options.failpoint_countdown = failpoint_countdown
        options.allocator.resize = _resize
        options.allocator.context = NULL
        options.implementation = _text(implementation)
        options.version_name = _text(version_name)
        check(dicore_store_open(&options, &self.store, &error), &error)

    def __dealloc__(self):
        dicore_store_close(self.store)

    def close(self):
        """Free it and its locks, after the appends that are under way; `commit` and `work` have ended."""
        self.closing = True
        while self.busy:
            sleep(0.001)
        dicore_store_close(self.store)
        self.store = NULL

    def lend(self):
        """The address of the C store, for another native module; it stays open until `give_back`."""
        self._open()
        self.busy += 1
        return <size_t>self.store

    def give_back(self):
        """What `lend` gave is not used any more."""
        self.busy -= 1

    cdef int _open(self) except -1:
        if self.store == NULL or self.closing:
            raise errors.StoreError("the store is closed")
        return 0

    def append(self, str sop_class not None, str sop_instance not None, str transfer_syntax not None, pieces not None,
               str source_ae not None, done, token, uint16_t flags=0):
        """Append an instance: WAITS (commit() will name `done` and `token`), STORED, DUPLICATE, CONFLICT; 0 when it is too long
        for anything but a lane. With `flags` REPLACES in place of what is there, whatever the policy; with DELETED a tombstone,
        and DUPLICATE when nothing is there."""
        cdef dicore_instance instance
        cdef dicore_outcome outcome
        cdef dicore_error error
        cdef dicore_status status
        self._open()
        cdef _Pieces held = _Pieces(pieces)
        waiter = (done, token)
        instance.sop_class = _text(sop_class)
        instance.sop_instance = _text(sop_instance)
        instance.transfer_syntax = _text(transfer_syntax)
        instance.source_ae = _text(source_ae)
        instance.pieces = held.spans
        instance.count = <size_t>held.count
        instance.token = <void *>waiter
        instance.done = NULL
        Py_INCREF(waiter)  # the commit loop may be done with it before the call returns
        self.busy += 1
        with nogil:
            status = dicore_store_put(self.store, &instance, flags, &outcome, &error)
        self.busy -= 1
        if status != DICORE_OK or outcome != DICORE_WAITS:
            Py_DECREF(waiter)
        if status == DICORE_LIMIT:
            return 0
        if status != DICORE_OK:
            _raise(status, &error, sop_instance)
        return <int>outcome

    def commit(self):
        """Wait for a group and make it durable: a list of (done, [(token, error | None), ...]); None when the store has stopped."""
        cdef const dicore_waiter *waiters
        cdef size_t count, i
        cdef dicore_status status
        with nogil:
            while True:                        # groups whose waiters have all been told by their own `done` are not ours
                status = dicore_store_commit(self.store, &waiters, &count)
                if status != DICORE_OK or count:
                    break
        if status == DICORE_END:
            return None
        groups = {}
        failures = {}
        for i in range(count):
            waiter = <object>waiters[i].token
            Py_DECREF(waiter)
            done, token = <tuple>waiter
            error = None
            if waiters[i].status != DICORE_OK:
                error = failures.get(waiters[i].system)
                if error is None:
                    if waiters[i].system in (28, 122):
                        error = errors.StoreFull("the disk is full: not stored")
                    else:
                        error = errors.StoreError(f"not stored: the sync failed: {os.strerror(waiters[i].system)}")
                    failures[waiters[i].system] = error
            group = groups.get(done)
            if group is None:
                groups[done] = group = []
            (<list>group).append((token, error))
        return list(groups.items())

    def work(self):
        """The background, up to its next task: (kind, segment id, nonce, end), or None when the store has stopped."""
        cdef dicore_task task
        cdef dicore_status status
        with nogil:
            status = dicore_store_work(self.store, &task)
        return None if status == DICORE_END else (<int>task.kind, task.info.id, task.info.nonce, task.end)

    def prepare(self):
        dicore_store_prepare(self.store)

    def sealed(self, uint64_t segment):
        with nogil:
            dicore_store_sealed(self.store, segment)

    def stop(self):
        """Both loops end when nothing waits any more."""
        if self.store != NULL:
            with nogil:
                dicore_store_stop(self.store)

    def load(self, uint64_t segment, const uint8_t[::1] entries not None):
        """Make the packed entries of a segment known."""
        cdef dicore_store_entry batch[BATCH]
        cdef Py_ssize_t at = 0, size = entries.shape[0]
        cdef size_t n
        self._open()
        if size % DICORE_STORE_ENTRY_SIZE:
            raise ValueError("not packed entries")
        while at < size:
            n = 0
            while n < BATCH and at < size:
                dicore_store_entry_read(&entries[at], DICORE_STORE_ENTRY_SIZE, &batch[n])
                n += 1
                at += DICORE_STORE_ENTRY_SIZE
            check(dicore_store_load(self.store, segment, batch, n), NULL)

    def standing(self, uint64_t segment, const uint8_t[::1] entries not None):
        """For each packed entry of a segment a byte: DEAD, LIVE or TOMBSTONE."""
        cdef dicore_store_entry entry
        cdef Py_ssize_t at, i = 0
        self._open()
        result = bytearray(entries.shape[0] // DICORE_STORE_ENTRY_SIZE)
        cdef uint8_t[::1] out = result
        for at in range(0, entries.shape[0], DICORE_STORE_ENTRY_SIZE):
            dicore_store_entry_read(&entries[at], DICORE_STORE_ENTRY_SIZE, &entry)
            out[i] = <uint8_t>dicore_store_standing(self.store, entry.uid_hash, segment, entry.unit)
            i += 1
        return bytes(result)

    def moved(self, uint64_t segment, const uint8_t[::1] entries not None, uint64_t to_segment, const uint8_t[::1] copies not None):
        """The records of `entries` in `segment` are found as `copies` in `to_segment` from now on."""
        cdef dicore_store_move moves[BATCH]
        cdef dicore_store_entry entry
        cdef Py_ssize_t at
        cdef size_t n = 0
        self._open()
        if entries.shape[0] != copies.shape[0]:
            raise ValueError("as many copies as entries")
        for at in range(0, entries.shape[0], DICORE_STORE_ENTRY_SIZE):
            dicore_store_entry_read(&entries[at], DICORE_STORE_ENTRY_SIZE, &entry)
            memcpy(moves[n].uid_hash, entry.uid_hash, 16)
            moves[n].from_segment, moves[n].from_unit = <uint32_t>segment, entry.unit
            dicore_store_entry_read(&copies[at], DICORE_STORE_ENTRY_SIZE, &entry)
            moves[n].to_segment, moves[n].to_unit = <uint32_t>to_segment, entry.unit
            n += 1
            if n == BATCH:
                dicore_store_moved(self.store, moves, n)
                n = 0
        dicore_store_moved(self.store, moves, n)

    def forget(self, uint64_t segment):
        """The segment is gone; how many instances were known there."""
        self._open()
        return dicore_store_forget(self.store, segment)

    def roll(self):
        """Finish the segment that is written to: its number, or 0."""
        self._open()
        return dicore_store_roll(self.store)

    def resume(self, Segment segment not None, uint64_t end):
        """Continue a locked, recovered segment, whose descriptor is ours from now on. False: not needed, it was closed.
        StoreFull: it was closed, there is no room to continue it."""
        cdef int file = segment.file
        cdef dicore_status status
        cdef dicore_error error
        self._open()
        segment.file = -1
        with nogil:
            status = dicore_store_continue(self.store, &segment.info, file, end, &error)
        if status == DICORE_LIMIT:
            return False
        check_os(status, &error, f"segments/{segment.info.id:010d}.seg")
        return True

    def find(self, str uid not None):
        """Where instances of this UID are stored: [(segment id, offset), ...], the oldest first."""
        cdef uint8_t digest[16]
        cdef dicore_place places[8]
        cdef dicore_span span = _text(uid)
        cdef size_t n, i
        self._open()
        dicore_uid_hash(span.data, span.size, digest)
        n = dicore_store_find(self.store, digest, places, 8)
        return [(places[i].segment, <uint64_t>places[i].unit * DICORE_RECORD_UNIT) for i in range(n)]

    def holds(self, const uint8_t[::1] digest not None, uint64_t segment, uint64_t offset):
        """Is the record at that place the stored one under its hash, not one that was replaced or has failed?"""
        cdef dicore_place places[8]
        cdef size_t n, i
        self._open()
        if digest.shape[0] != 16:
            raise ValueError("a hash has 16 bytes")
        n = dicore_store_find(self.store, &digest[0], places, 8)
        for i in range(n):
            if places[i].segment == segment and <uint64_t>places[i].unit * DICORE_RECORD_UNIT == offset:
                return True
        return False

    def places(self):
        """All stored places as (segment id, offset), in the order of the disk."""
        cdef dicore_place places[BATCH]
        cdef uint64_t cursor = 0
        cdef size_t n, i
        self._open()
        result = []
        while True:
            n = dicore_store_places(self.store, &cursor, places, BATCH)
            if n == 0:
                break
            for i in range(n):
                result.append((places[i].segment, <uint64_t>places[i].unit * DICORE_RECORD_UNIT))
        result.sort()
        return result

    def extents(self):
        """{segment id: how far it may be read} of the segments that are not sealed yet."""
        cdef dicore_extent extents[BATCH]
        cdef size_t n, i
        self._open()
        n = dicore_store_extents(self.store, extents, BATCH)
        return {extents[i].segment: extents[i].end for i in range(n)}

    def counters(self):
        cdef dicore_store_counters c
        self._open()
        dicore_store_count(self.store, &c)
        return c

    def lane(self, str sop_class not None, str sop_instance not None, str transfer_syntax not None, str source_ae not None):
        """Begin a lane."""
        self._open()
        return NativeLane(self, sop_class, sop_instance, transfer_syntax, source_ae)


cdef class NativeLane:
    """A large instance on its way into a segment of its own."""
    cdef dicore_lane lane
    cdef Native native
    cdef str uid
    cdef bint open

    def __cinit__(self, Native native not None, str sop_class, str sop_instance, str transfer_syntax, str source_ae):
        cdef dicore_instance instance
        cdef dicore_error error
        cdef dicore_status status
        self.open = False
        self.native = native
        self.uid = sop_instance
        instance.sop_class = _text(sop_class)
        instance.sop_instance = _text(sop_instance)
        instance.transfer_syntax = _text(transfer_syntax)
        instance.source_ae = _text(source_ae)
        instance.pieces = NULL
        instance.count = 0
        instance.token = NULL
        instance.done = NULL
        with nogil:
            status = dicore_lane_begin(native.store, &instance, &self.lane, &error)
        if status != DICORE_OK:
            _raise(status, &error, sop_instance)
        self.open = True

    def __dealloc__(self):
        if self.open and self.native.store != NULL:
            dicore_lane_abort(&self.lane)

    @property
    def segment(self):
        """The segment it has become."""
        return self.lane.info.id

    def write(self, pieces not None):
        cdef dicore_error error
        cdef dicore_status status
        cdef _Pieces held = _Pieces(pieces)
        self._alive()
        self.native.busy += 1
        with nogil:
            status = dicore_lane_write(&self.lane, held.spans, <size_t>held.count, &error)
        self.native.busy -= 1
        if status != DICORE_OK:
            self.abort()
            _raise(status, &error, self.uid)

    def commit(self):
        """Make it durable and part of the store; blocks. STORED, DUPLICATE or CONFLICT."""
        cdef dicore_outcome outcome
        cdef dicore_error error
        cdef dicore_status status
        self._alive()
        self.open = False
        self.native.busy += 1
        with nogil:
            status = dicore_lane_commit(&self.lane, &outcome, &error)
        self.native.busy -= 1
        if status != DICORE_OK:
            _raise(status, &error, self.uid)
        return <int>outcome

    def abort(self):
        if self.open:
            self._alive()
            self.open = False
            self.native.busy += 1
            with nogil:
                dicore_lane_abort(&self.lane)
            self.native.busy -= 1

    cdef int _alive(self) except -1:
        if not self.open or self.native.store == NULL or self.native.closing:
            raise errors.StoreError(f"{self.uid}: this lane has ended")
        return 0
