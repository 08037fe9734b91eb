# Items of a sequence, and what DatasetBase needs beside itself: checks of plain text, paths, iteration.
# A part of dataset.pyx, which includes it: one module, one C file.

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
