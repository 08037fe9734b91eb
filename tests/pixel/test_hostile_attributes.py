"""`Dataset.pixels`, `hu`, `render` with attributes that are damaged: wrong lengths, wrong VRs, huge numbers.

Whatever stands in the elements, an error of the tree comes, or a picture; and memory stays within bounds.
"""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import dicore
from dicore.errors import DicoreError

MOST_MEMORY = 64 << 20  # of an image of 8 x 8
LONG = (b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT", b"UC", b"UR", b"OL", b"OV")


def element(tag, vr, value):
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr
    return head + (struct.pack("<HI", 0, len(value)) if vr in LONG else struct.pack("<H", len(value))) + value


def words(*values):
    return b"".join(struct.pack("<H", v & 0xFFFF) for v in values)


def item(*elements):
    body = b"".join(elements)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def lut(descriptor, data, vr=b"US"):
    return item(element(0x00283002, b"US", words(*descriptor)), element(0x00283006, vr, data))


#: what a sound image of each kind has, by tag: (VR, value)
GREY = {
    0x00080016: (b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"), 0x00080018: (b"UI", b"1.2.3.4\0"),
    0x00280002: (b"US", words(1)), 0x00280004: (b"CS", b"MONOCHROME2 "), 0x00280010: (b"US", words(8)),
    0x00280011: (b"US", words(8)), 0x00280100: (b"US", words(16)), 0x00280101: (b"US", words(12)),
    0x00280102: (b"US", words(11)), 0x00280103: (b"US", words(0)), 0x7FE00010: (b"OW", words(*range(0, 640, 10))),
}  # fmt: skip
PALETTE = GREY | {
    0x00280004: (b"CS", b"PALETTE COLOR "), 0x00280100: (b"US", words(8)), 0x00280101: (b"US", words(8)),
    0x00280102: (b"US", words(7)), 0x7FE00010: (b"OB", bytes(range(64))),
    **{0x00281101 + i: (b"US", words(64, 0, 16)) for i in range(3)},
}  # fmt: skip
DISCRETE = PALETTE | {0x00281201 + i: (b"OW", words(*range(0, 64000, 1000))) for i in range(3)}
SEGMENTED = PALETTE | {0x00281221 + i: (b"OW", words(0, 2, 0, 500, 1, 61, 60000, 2, 1, 4, 0)) for i in range(3)}
DRESSED = GREY | {
    0x00281050: (b"DS", b"300 "), 0x00281051: (b"DS", b"600 "), 0x00281052: (b"DS", b"-24 "), 0x00281053: (b"DS",
    b"2 "),
    0x00281056: (b"CS", b"SIGMOID "), 0x00281054: (b"LO", b"HU"),
    0x60000010: (b"US", words(8)), 0x60000011: (b"US", words(8)), 0x60000040: (b"CS", b"G "),
    0x60000050: (b"SS", words(1, 1)), 0x60000100: (b"US", words(1)), 0x60000102: (b"US", words(0)),
    0x60003000: (b"OW", bytes(range(8))), 0x00181600: (b"CS", b"RECTANGULAR "), 0x00181602: (b"IS", b"1 "),
    0x00181604: (b"IS", b"7 "), 0x00181606: (b"IS", b"1 "), 0x00181608: (b"IS", b"7 "),
}  # fmt: skip
TABLES = GREY | {
    0x00283000: (b"SQ", lut((64, 0, 16), words(*range(64)))), 0x00283010: (b"SQ", lut((640, 0, 8), bytes(640), b"OW")),
}  # fmt: skip
KINDS = {"grey": GREY, "dressed": DRESSED, "tables": TABLES, "discrete": DISCRETE, "segmented": SEGMENTED}
#: what may be damaged: all but the UIDs
EXTRA = (
    0x00280006, 0x00280008, 0x00280120, 0x00281055, 0x00280301, 0x20500020, 0x60000015, 0x60000051, 0x60020010,
    0x00181610,
    0x00181612, 0x00181620, 0x00181622, 0x00700001, 0x00409096, 0x52009229, 0x52009230, 0x00189075,
)  # fmt: skip
VRS = (
    b"US",
    b"SS",
    b"UL",
    b"DS",
    b"IS",
    b"CS",
    b"LO",
    b"OB",
    b"OW",
    b"UN",
    b"SQ",
    b"AT",
    b"FD",
    b"FL",
    b"PN",
    b"UI",
    b"OF",
)

number = st.sampled_from([0, 1, 2, 7, 8, 9, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF]) | st.integers(0, 0xFFFF)
text = st.sampled_from(
    [b"", b" ", b"\\", b"1\\", b"1e999", b"-1e999", b"nan", b"inf", b"1e-320", b"0", b"-0", b"99999999999999999999",
    b"x",
     b"SIGMOID", b"LINEAR_EXACT", b"CIRCULAR", b"POLYGONAL", b"BITMAP", b"RGB", b"YBR_FULL_422", b"YBR_PARTIAL_422",
     b"PALETTE COLOR", b"MONOCHROME1", b"INVERSE", b"1\\2\\3\\4\\5\\6", b"\xff\xfe"]
)  # fmt: skip
value = (
    st.lists(number, max_size=6).map(lambda v: words(*v)) | text | st.binary(max_size=24)
    | st.tuples(st.tuples(number, number, number), st.binary(max_size=40), st.sampled_from(VRS)).map(lambda v: lut(*v))
    | st.lists(st.floats(width=32), max_size=3).map(lambda v: struct.pack(f"<{len(v)}f", *v))
)  # fmt: skip


@st.composite
def damaged(draw):
    elements = dict(draw(st.sampled_from(list(KINDS.values()))))
    places = [tag for tag in elements if tag > 0x00080018] + list(EXTRA)
    for tag in draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True)):
        if tag in elements and draw(st.booleans()):  # the VR stays; or it is gone
            vr = elements.pop(tag)[0]
            if draw(st.integers(0, 5)):
                elements[tag] = vr, draw(value)
        else:
            elements[tag] = draw(st.sampled_from(VRS)), draw(value)
    return elements


def file_of(elements):
    meta = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
    meta = element(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta
    return b"\0" * 128 + b"DICM" + meta + b"".join(element(tag, *elements[tag]) for tag in sorted(elements))


def use(data):
    """Everything that makes a picture of it; how many gave one."""
    made = 0
    for what in (
        lambda ds: ds.pixels(),
        lambda ds: ds.hu(),
        lambda ds: ds.render(),
        lambda ds: ds.render(overlays=True),
        lambda ds: ds.render(window=(40, 400)),
    ):
        try:
            what(dicore.read(data))
            made += 1
        except DicoreError:
            pass
    return made


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(damaged())
@example(SEGMENTED | {0x00281221: (b"OW", words(2, 0xFFFF, 0, 0) * 3)})  # leads to itself
@example(SEGMENTED | {0x00281221: (b"OW", words(0, 1, 1, *[1, 0xFFFF, 9] * 200))})  # far more than a table can hold
@example(SEGMENTED | {0x00281221: (b"US", words(1))})
@example(DRESSED | {0x60000010: (b"US", words(0xFFFF)), 0x60000011: (b"US", words(0xFFFF))})
@example(DRESSED | {0x60000050: (b"SS", words(1))})
@example(DRESSED | {0x60000050: (b"CS", b"AB")})
@example(DRESSED | {0x60000050: (b"SS", words(0x8000, 0x7FFF))})
@example(TABLES | {0x00283000: (b"SQ", lut((0, 0, 16), b"\1\0"))})
@example(TABLES | {0x00283010: (b"SQ", item())})
def test_no_crash_and_no_other_error(elements):
    tracemalloc.start()
    try:
        use(file_of(elements))
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_undamaged_they_are_pictures(kind):
    assert use(file_of(KINDS[kind])) >= 4  # a palette has no Hounsfield units
