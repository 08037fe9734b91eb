"""Frames: FrameLayout + the bytes of Pixel Data -> arrays. Knows no data set: the usual way in is Dataset.pixels()."""

from dicore.pixel.codec_table import CodecInfo, codecs, encode, register_codec
from dicore.pixel.encoders import Options
from dicore.pixel.frames import coded_photometric, decode, items_of, iter_frames
from dicore.pixel.images import render, window
from dicore.pixel.layout import FrameLayout, layout_from
from dicore.pixel.png_file import apng, png
from dicore.pixel.sheet import contact_sheet, thumbnail

__all__ = [
    "CodecInfo",
    "FrameLayout",
    "Options",
    "apng",
    "codecs",
    "coded_photometric",
    "contact_sheet",
    "decode",
    "encode",
    "items_of",
    "iter_frames",
    "layout_from",
    "png",
    "register_codec",
    "render",
    "thumbnail",
    "window",
]
