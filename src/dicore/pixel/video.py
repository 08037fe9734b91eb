"""Video in Pixel Data (PS3.5 8.2.5-8.2.13): one stream for all frames, decoded by FFmpeg through PyAV when
installed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.errors import CodecUnavailable, PixelDataError
from dicore.pixel.layout import FrameLayout

__all__ = ["frames"]

Array = npt.NDArray[Any]
_AHEAD = 600  # pictures that a decoder may give beyond Number of Frames before it is stopped


def frames(stream: bytes, layout: FrameLayout, wanted: Sequence[int], raw: bool) -> Iterator[tuple[int, Array]]:
    """(number, frame) of the frames of a video that are wanted, ascending: RGB, or with `raw` Y, Cb, Cr at full
    resolution. Decodes from the beginning, as frames stand on each other. PixelDataError, CodecUnavailable."""
    try:
        import av
    except ImportError:
        raise CodecUnavailable(
            "no codec for video is installed", transfer_syntax=layout.transfer_syntax, hint="pip install dicore[video]"
        ) from None
    left = set(wanted)
    form = "gray" if layout.samples == 1 else "yuv444p" if raw else "rgb24"
    if layout.bits_allocated != 8:
        raise PixelDataError(f"video of {layout.bits_allocated} Bits Allocated", expected="8")
    number = 0
    try:
        with av.open(io.BytesIO(stream), metadata_errors="ignore") as container:
            track = container.streams.video[0]
            track.thread_count = 1
            if (track.height, track.width) != (layout.rows, layout.columns):
                raise PixelDataError(
                    f"the video is {track.height} x {track.width}", expected=f"{layout.rows} x {layout.columns}"
                )
            for picture in container.decode(track):
                if not left or number >= layout.frames + _AHEAD:
                    return
                if number in left:
                    if (picture.height, picture.width) != (layout.rows, layout.columns):
                        raise PixelDataError(
                            f"{picture.height} x {picture.width} pixels", frame=number, expected="one size"
                        )
                    array = picture.to_ndarray(format=form)
                    left.discard(number)
                    yield number, np.moveaxis(array, 0, -1) if form == "yuv444p" else array
                number += 1
    except PixelDataError:
        raise
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise PixelDataError(
            f"video: {type(error).__name__}: {str(error)[:200]}", frame=min(left) if left else None
        ) from error
    if left:
        raise PixelDataError(f"the video has {number} of {layout.frames} frames", frame=min(left))
