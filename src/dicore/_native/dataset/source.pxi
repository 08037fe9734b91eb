# Source: the bytes of a data set and the tape over them, and the ways to open one.
# A part of dataset.pyx, which includes it: one module, one C file.

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
