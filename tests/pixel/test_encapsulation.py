"""Items to frames: whatever the tables say, a frame's bytes come back as they went in."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicore._native.pixel import Encapsulation
from dicore.dataset.encode import encapsulated
from dicore.errors import PixelDataError

BODY = st.binary(min_size=1, max_size=40).filter(lambda body: b"\xff" not in body)
#: frames as lists of fragments, all even but the last: what an encoder writes
FRAMES = st.lists(
    st.tuples(st.lists(BODY.filter(lambda b: len(b) % 2 == 0), max_size=3), BODY).map(lambda t: [*t[0], t[1]]),
    min_size=1,
    max_size=8,
)


def even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value


@given(FRAMES)
def test_a_basic_offset_table_gives_every_frame(frames):
    found = Encapsulation(encapsulated(frames), len(frames))
    assert found.source == "basic"
    assert [bytes(found.frame(i)) for i in range(len(frames))] == [even(b"".join(f)) for f in frames]


@given(st.lists(BODY, min_size=1, max_size=8), st.booleans())
def test_an_extended_table_gives_lengths_without_padding(bodies, right):
    at, offsets = 0, []
    for body in bodies:
        offsets.append(at)
        at += 8 + len(even(body))
    lengths = [len(body) for body in bodies]
    if not right:
        lengths[-1] += 2
    found = Encapsulation(
        encapsulated(bodies, table=False),
        len(bodies),
        struct.pack(f"<{len(bodies)}Q", *offsets),
        struct.pack(f"<{len(bodies)}Q", *lengths),
    )
    assert found.source == ("extended" if right else "fragments")
    assert [bytes(found.frame(i)) for i in range(len(bodies))] == (bodies if right else [even(b) for b in bodies])


@given(FRAMES, st.data())
def test_a_lying_table_is_rebuilt_from_the_streams(frames, data):
    streams = [
        [even(b"\xff\xd8\xff\xe0" + f[0]), *f[1:-1], f[-1] + bytes(len(f[-1]) % 2) + b"\xff\xd9"] for f in frames
    ]
    items = encapsulated(streams, table=False)
    offsets = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=len(frames) + 2))
    lie = item(struct.pack(f"<{len(offsets)}I", *offsets)) + items[8:]
    honest = encapsulated(streams)
    found = Encapsulation(lie, len(frames))
    if lie != honest[: len(lie)] and found.source == "fragments":
        assert [bytes(found.frame(i)) for i in range(len(frames))] == [even(b"".join(s)) for s in streams]
    else:  # by chance the offsets name fragments: then they are believed
        assert found.source == "basic"


@given(st.binary(max_size=120), st.integers(1, 2**31), st.binary(max_size=32), st.binary(max_size=32))
def test_no_bytes_do_harm(items, frames, offsets, lengths):
    try:
        found = Encapsulation(items, frames, offsets, lengths)
    except PixelDataError:
        return
    assert 1 <= len(found) <= frames
    for i in range(len(found)):
        try:
            frame = found.frame(i)
        except PixelDataError:
            continue
        assert len(frame) <= len(items)


@given(FRAMES)
def test_every_truncation_keeps_the_whole_frames_before_it(frames):
    items = encapsulated(frames)
    ends, at = [], 8 + 4 * len(frames)
    for frame in frames:
        at += sum(8 + len(even(fragment)) for fragment in frame)
        ends.append(at)
    for size in range(0, len(items), 3):
        try:
            found = Encapsulation(items[:size], len(frames))
        except PixelDataError:
            continue
        if found.source == "basic":
            for i, frame in enumerate(frames):
                if ends[i] <= size:
                    assert bytes(found.frame(i)) == even(b"".join(frame))


def test_a_frame_that_is_cut_short_is_refused_and_the_others_are_not():
    items = encapsulated([b"aaaa", b"bbbb"])
    found = Encapsulation(items[:-2], 2)
    assert bytes(found.frame(0)) == b"aaaa"
    with pytest.raises(PixelDataError, match="ends inside") as caught:
        found.frame(1)
    assert caught.value.frame == 1


def test_one_frame_takes_all_fragments_and_none_of_the_empty_ones():
    items = item(b"") + item(b"ab") + item(b"cd") + item(b"") + item(b"")
    found = Encapsulation(items, 1)
    assert found.fragment_count == 2
    assert bytes(found.frame(0)) == b"abcd"


def test_a_single_fragment_is_a_view_and_keeps_the_data_alive():
    data = bytearray(item(b"") + item(b"abcd"))
    frame = Encapsulation(data, 1).frame(0)
    assert isinstance(frame, memoryview)
    data[-1] = ord("x")
    assert bytes(frame) == b"abcx"


def test_more_fragments_than_frames_without_any_hint_is_an_error():
    with pytest.raises(PixelDataError):
        Encapsulation(item(b"") + item(b"ab") * 3, 2)
    with pytest.raises(PixelDataError, match="no fragment"):
        Encapsulation(item(b"") + item(b""), 1)
    with pytest.raises(PixelDataError):
        Encapsulation(b"", 1)
    with pytest.raises(PixelDataError):
        Encapsulation(item(b"") + item(b"ab"), 0)
