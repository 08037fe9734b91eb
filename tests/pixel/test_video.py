"""Video through PyAV, where it is installed; and what is said where it is not."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest

from dicore import pixel
from dicore.dataset.encode import encapsulated
from dicore.errors import CodecUnavailable, PixelDataError

P = "1.2.840.10008.1.2.4."
ROWS, COLUMNS, FRAMES = 64, 96, 12


def layout(syntax, frames=FRAMES, rows=ROWS):
    elements = {
        "Rows": rows,
        "Columns": COLUMNS,
        "SamplesPerPixel": 3,
        "NumberOfFrames": frames,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "PhotometricInterpretation": "YBR_PARTIAL_420",
    }
    return pixel.layout_from(elements.get, syntax)


def stream(codec, container):
    """Frames of one grey each, brighter by 10."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        track = file.add_stream(codec, rate=25)
        track.width, track.height, track.pix_fmt = COLUMNS, ROWS, "yuv420p"
        for n in range(FRAMES):
            grey = np.full((ROWS, COLUMNS, 3), 40 + 10 * n, np.uint8)
            file.mux(track.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        file.mux(track.encode(None))
    return out.getvalue()


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="PyAV is not installed")
@pytest.mark.parametrize(("end", "codec", "container"), [("100", "mpeg2video", "mpeg"), ("102", "libx264", "mp4")])
def test_frames_of_a_video(end, codec, container):
    import av

    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    data = stream(codec, container)
    cut = len(data) // 3 & ~1
    items = encapsulated([[data[:cut], data[cut:]]], table=False)  # all fragments are one stream
    made = layout(P + end)
    frames = pixel.decode(made, items)
    assert (frames.shape, frames.dtype) == ((FRAMES, ROWS, COLUMNS, 3), np.uint8)
    for n, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - (40 + 10 * n)).max() <= 4
    np.testing.assert_array_equal(pixel.decode(made, items, frames=7), frames[7])
    np.testing.assert_array_equal(pixel.decode(made, items, frames=[7, 2, 7]), frames[[7, 2, 7]])
    assert sum((a == b).all() for a, b in zip(pixel.iter_frames(made, items), frames, strict=True)) == FRAMES
    raw = pixel.decode(made, items, frames=3, raw=True)
    assert np.abs(raw[..., 1:].astype(int) - 128).max() <= 2
    with pytest.raises(PixelDataError, match=f"{FRAMES} of {FRAMES + 5} frames") as caught:
        pixel.decode(layout(P + end, FRAMES + 5), items)
    assert caught.value.frame == FRAMES
    with pytest.raises(PixelDataError, match="expected 32 x"):
        pixel.decode(layout(P + end, rows=32), items)
    for size in (0, 10, len(data) // 2):
        with pytest.raises(PixelDataError):
            pixel.decode(made, encapsulated([data[:size] + b"\0\0"]))


@pytest.mark.skipif(importlib.util.find_spec("av") is not None, reason="PyAV is installed")
def test_without_pyav_it_says_what_to_install():
    with pytest.raises(CodecUnavailable, match="pip install") as caught:
        pixel.decode(layout(P + "102"), encapsulated([b"abcd"]))
    assert caught.value.transfer_syntax == P + "102"
