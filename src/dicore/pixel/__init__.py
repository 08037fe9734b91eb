"""Frames: FrameLayout + the bytes of Pixel Data -> arrays. Knows no data set: the usual way in is Dataset.pixels()."""

from dicore.pixel.codec_table import CodecInfo, codecs
from dicore.pixel.frames import decode, iter_frames
from dicore.pixel.images import render, window
from dicore.pixel.layout import FrameLayout, layout_from
from dicore.pixel.png_file import apng, png
from dicore.pixel.sheet import contact_sheet, thumbnail

__all__ = [
    "CodecInfo",
    "FrameLayout",
    "apng",
    "codecs",
    "contact_sheet",
    "decode",
    "iter_frames",
    "layout_from",
    "png",
    "render",
    "thumbnail",
    "window",
]
