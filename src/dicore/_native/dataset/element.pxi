# Values of elements, and Element.
# A part of dataset.pyx, which includes it: one module, one C file.

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
