# DatasetBase: a range of the tape, its elements, its edits.
# A part of dataset.pyx, which includes it: one module, one C file.

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
