"""Frames: FrameLayout + the bytes of Pixel Data -> arrays. Knows no data set: the usual way in is Dataset.pixels()."""

from dicore.pixel.codecs import CodecInfo, codecs
from dicore.pixel.decode import decode, iter_frames
from dicore.pixel.layout import FrameLayout, layout_from
from dicore.pixel.render import contact_sheet, png, render, window

__all__ = [
    "CodecInfo",
    "FrameLayout",
    "codecs",
    "contact_sheet",
    "decode",
    "iter_frames",
    "layout_from",
    "png",
    "render",
    "window",
]
