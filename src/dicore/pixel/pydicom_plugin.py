"""Our decoders as pydicom's: `dicore.accelerate_pydicom()`.

pydicom 3 asks plug-ins in the order of a table for each transfer syntax; ours goes first. What pydicom does with a
decoded frame (colour, palettes, shapes) stays pydicom's. Releases before 3 know pixel data handlers instead: a list of
modules, which this one can stand in as well."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from dicore import uid
from dicore.errors import CodecUnavailable
from dicore.pixel.codec_table import CODECS, family
from dicore.pixel.frames import decode, decode_frame
from dicore.pixel.layout import NATIVE, FrameLayout, layout_from

__all__ = ["accelerate_pydicom"]

LABEL = "dicore"
HANDLER_NAME = "dicore"
DEPENDENCIES = {"numpy": ("http://www.numpy.org/", "NumPy"), "dicore": ("", "dicore")}


class _Anything(dict[Any, tuple[str, ...]]):
    """What pydicom tells its user to install for a syntax that is not there: dicore needs nothing it does not bring."""

    def __missing__(self, key: Any) -> tuple[str, ...]:
        return ("dicore",)


DECODER_DEPENDENCIES = _Anything()


def accelerate_pydicom(syntaxes: Iterable[str] | None = None) -> Callable[[], None]:
    """Make `Dataset.pixel_array` of pydicom decode with dicore; gives a function that undoes it.

    `syntaxes` are UIDs, keywords or names; None: every compressed one that both know. Doing it twice changes nothing;
    whoever asks pydicom for a plug-in by name still gets that one. Nothing of pydicom's results changes but the time.
    """
    wanted = None if syntaxes is None else {uid.transfer_syntax(s).uid for s in syntaxes}
    try:
        from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS
    except ImportError:
        return _as_handler()
    taken = []
    for syntax, (decoder, _) in _PIXEL_DATA_DECODERS.items():
        if str(syntax) in NATIVE or (wanted is not None and str(syntax) not in wanted) or not is_available(str(syntax)):
            continue
        if LABEL in decoder._available:
            continue
        decoder.add_plugin(LABEL, (__name__, "_decode_frame"))
        others = {name: call for name, call in decoder._available.items() if name != LABEL}
        ours = decoder._available[LABEL]
        decoder._available.clear()
        decoder._available.update({LABEL: ours, **others})
        taken.append(decoder)

    def undo() -> None:
        for decoder in taken:
            if LABEL in decoder._available:
                decoder.remove_plugin(LABEL)

    return undo


def is_available(syntax: str) -> bool:
    """Whether something here decodes a transfer syntax (pydicom asks)."""
    try:
        return any(a.serves(syntax) and a.available for a in CODECS[family(syntax)])
    except CodecUnavailable:
        return False


def _decode_frame(src: bytes, runner: Any) -> bytearray:
    """One frame for pydicom's DecodeRunner: components as coded, samples together."""
    import numpy as np

    layout = FrameLayout(
        rows=runner.rows,
        columns=runner.columns,
        samples=runner.samples_per_pixel,
        frames=1,
        bits_allocated=runner.bits_allocated,
        bits_stored=runner.bits_stored,
        high_bit=runner.bits_stored - 1,
        signed=bool(runner.pixel_representation),
        planar=False,
        photometric=str(getattr(runner.photometric_interpretation, "value", runner.photometric_interpretation)),
        transfer_syntax=str(runner.transfer_syntax),
    )
    frame = bytearray(layout.frame_bytes)
    decode_frame(layout, src, np.frombuffer(frame, layout.dtype).reshape(layout.frame_shape), raw=True)
    if layout.samples > 1:
        runner.set_option("planar_configuration", 0)
        if layout.photometric in ("YBR_ICT", "YBR_RCT"):  # undone by the decoder
            from pydicom.pixels.common import PhotometricInterpretation

            runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
    return frame


# ---- pydicom before 3 ------------------------------------------------------------------------------------------------


def _as_handler() -> Callable[[], None]:
    import pydicom

    handlers = pydicom.config.pixel_data_handlers
    module = sys.modules[__name__]
    if module not in handlers:
        handlers.insert(0, module)

    def undo() -> None:
        if module in handlers:
            handlers.remove(module)

    return undo


def supports_transfer_syntax(syntax: str) -> bool:
    """For pydicom 2: compressed syntaxes that can be decoded here."""
    return str(syntax) not in NATIVE and is_available(str(syntax))


def needs_to_convert_to_RGB(dataset: Any) -> bool:
    """For pydicom 2: components come as coded, so what says YBR is."""
    return False


def should_change_PhotometricInterpretation_to_RGB(dataset: Any) -> bool:
    """For pydicom 2: JPEG 2000 decoders undo its transforms."""
    return dataset.PhotometricInterpretation in ("YBR_ICT", "YBR_RCT")


def get_pixeldata(dataset: Any) -> Any:
    """For pydicom 2: the samples of all frames as a flat array."""
    layout = layout_from(
        lambda keyword: getattr(dataset, keyword, None), str(dataset.file_meta.TransferSyntaxUID), pixel_vr="OB"
    )
    return decode(layout, dataset.PixelData, raw=True).reshape(-1)
