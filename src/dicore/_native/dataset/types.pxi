# What a data set gives out beside its elements: Tag, Warning, PersonName, and the private elements that the program knows.
# A part of dataset.pyx, which includes it: one module, one C file.

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
