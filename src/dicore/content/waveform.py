"""Waveforms (PS3.3 C.10.9): samples in the units of their channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dicore.content.elements import Code, Elements, code, first, is_there, items, need, number, text, whole, wrong
from dicore.errors import DicomFormatError

__all__ = ["Channel", "WaveformGroup", "waveform"]

# Waveform Bits Allocated and Sample Interpretation (C.10.9.1.5); MB and AB are mu-law and A-law of ITU-T G.711
_KINDS = {
    "SB": "i1", "UB": "u1", "MB": "u1", "AB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4", "SV": "i8",
    "UV": "u8",
}  # fmt: skip


@dataclass(frozen=True)
class Channel:
    """One channel of a multiplex group (C.10.9.1.4).

    A sample is `sensitivity * correction * stored + baseline`, in `units` (UCUM, '' when the file tells none: then the
    samples are the stored numbers, but for what it tells of the three). Skews are in samples and seconds, filters in
    Hz; None where the file says nothing.
    """

    label: str
    source: Code | None
    units: str
    sensitivity: float
    correction: float
    baseline: float
    bits_stored: int | None
    sample_skew: float | None
    time_skew: float | None
    low_cut: float | None
    high_cut: float | None
    notch: float | None

    @property
    def name(self) -> str:
        """The label, else the meaning of the source ('Lead I (Einthoven)')."""
        return self.label or (str(self.source) if self.source else "")


@dataclass(frozen=True)
class WaveformGroup:
    """A multiplex group: channels that were sampled together.

    `samples` is float64 (samples, channels) in the units of each channel, NaN where the file has the padding value;
    `stored` are the numbers as stored (mu-law and A-law expanded to 16-bit linear), read-only.
    """

    label: str
    originality: str
    sampling_frequency: float  # Hz
    time_offset: float  # milliseconds from the beginning of the acquisition (0018,1068)
    trigger_offset: float | None  # milliseconds (0018,1069)
    channels: tuple[Channel, ...]
    stored: npt.NDArray[Any] = field(repr=False)
    padding: int | None = None

    @property
    def samples(self) -> npt.NDArray[np.float64]:
        """float64 (samples, channels), computed at each call."""
        gain = np.array([channel.sensitivity * channel.correction for channel in self.channels])
        base = np.array([channel.baseline for channel in self.channels])
        out: npt.NDArray[np.float64] = self.stored * gain + base
        if self.padding is not None:
            out[self.stored == self.padding] = np.nan
        return out

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Seconds of each sample from the beginning of the acquisition, without the channels' skew."""
        found: npt.NDArray[np.float64] = np.arange(len(self.stored)) / self.sampling_frequency + self.time_offset / 1000
        return found

    def __len__(self) -> int:
        return len(self.stored)


def waveform(ds: Elements) -> list[WaveformGroup]:
    """The multiplex groups of Waveform Sequence (5400,0100), in the order of the file.

    8, 16, 32 and 64 bits, signed and unsigned, and 8-bit mu-law and A-law. Raises MissingElement when this is no
    waveform or a group lacks what C.10.9 requires, DicomFormatError when numbers and bytes do not fit each other.
    """
    need(ds, "WaveformSequence", "waveform", "this data set holds no waveform")
    return [_group(item, f"waveform group {number_}") for number_, item in enumerate(items(ds, "WaveformSequence"))]


def _group(item: Any, what: str) -> WaveformGroup:
    channel_count = whole(item, "NumberOfWaveformChannels", what)
    sample_count = whole(item, "NumberOfWaveformSamples", what)
    if channel_count < 1 or sample_count < 0:
        raise wrong(item, "NumberOfWaveformChannels", what, "at least one channel")
    interpretation = str(need(item, "WaveformSampleInterpretation", what)).strip()
    if interpretation not in _KINDS:
        raise wrong(item, "WaveformSampleInterpretation", what, ", ".join(_KINDS))
    size = np.dtype(_KINDS[interpretation]).itemsize
    if whole(item, "WaveformBitsAllocated", what) != 8 * size:
        raise wrong(item, "WaveformBitsAllocated", what, f"{8 * size} for {interpretation}")
    frequency = number(item, "SamplingFrequency", what)
    if frequency <= 0:
        raise wrong(item, "SamplingFrequency", what, "a frequency in Hz")
    definitions = items(item, "ChannelDefinitionSequence")
    if len(definitions) != channel_count:
        raise DicomFormatError(
            f"{what}: {len(definitions)} channels are defined",
            path=item.path,
            tag_path="003A,0200",
            expected=f"{channel_count}",
        )
    padding = item["WaveformPaddingValue"].raw if is_there(item, "WaveformPaddingValue") else None
    need(item, "WaveformData", what)
    stored = _stored(item, item["WaveformData"], interpretation, sample_count * channel_count, what)
    return WaveformGroup(
        label=text(item, "MultiplexGroupLabel"),
        originality=text(item, "WaveformOriginality"),
        sampling_frequency=frequency,
        time_offset=number(item, "MultiplexGroupTimeOffset", what, default=0.0),
        trigger_offset=_maybe(item, "TriggerTimeOffset", what),
        channels=tuple(_channel(d, f"{what}, channel {i}") for i, d in enumerate(definitions)),
        stored=stored.reshape(sample_count, channel_count),
        padding=None if padding is None else _padding(item, bytes(padding), interpretation, what),
    )


def _stored(item: Any, element: Any, interpretation: str, count: int, what: str) -> npt.NDArray[Any]:
    dtype = np.dtype(_KINDS[interpretation])
    raw: Any = element.raw
    if len(raw) < count * dtype.itemsize:
        raise DicomFormatError(
            f"{what}: Waveform Data has {len(raw)} bytes",
            path=item.path,
            tag_path="5400,1010",
            expected=f"{count * dtype.itemsize}",
        )
    little = item.is_little_endian
    if dtype.itemsize == 1 and not little and element.vr == "OW":  # pairs of bytes are swapped (PS3.5 7.3)
        raw = np.frombuffer(raw[: len(raw) & ~1], np.uint16).byteswap().tobytes()
    found = np.frombuffer(raw, dtype.newbyteorder("<" if little else ">"), count).astype(dtype, copy=False)
    if interpretation in ("MB", "AB"):
        found = (_MU_LAW if interpretation == "MB" else _A_LAW)[found]
    found.flags.writeable = False
    return found


def _padding(item: Any, raw: bytes, interpretation: str, what: str) -> int | None:
    """The padding value is stored as a sample is; one byte may be padded to two."""
    dtype = np.dtype(_KINDS[interpretation]).newbyteorder("<" if item.is_little_endian else ">")
    if len(raw) < dtype.itemsize:
        raise wrong(item, "WaveformPaddingValue", what, f"{dtype.itemsize} bytes")
    value = int(np.frombuffer(raw, dtype, 1)[0])
    return int((_MU_LAW if interpretation == "MB" else _A_LAW)[value]) if interpretation in ("MB", "AB") else value


def _channel(item: Any, what: str) -> Channel:
    units = code(first(item, "ChannelSensitivityUnitsSequence"))
    bits = _maybe(item, "WaveformBitsStored", what)
    return Channel(
        label=text(item, "ChannelLabel"),
        source=code(first(item, "ChannelSourceSequence")),
        units=units.value if units else "",
        sensitivity=number(item, "ChannelSensitivity", what, default=1.0),
        correction=number(item, "ChannelSensitivityCorrectionFactor", what, default=1.0),
        baseline=number(item, "ChannelBaseline", what, default=0.0),
        bits_stored=None if bits is None else int(bits),
        sample_skew=_maybe(item, "ChannelSampleSkew", what),
        time_skew=_maybe(item, "ChannelTimeSkew", what),
        low_cut=_maybe(item, "FilterLowFrequency", what),
        high_cut=_maybe(item, "FilterHighFrequency", what),
        notch=_maybe(item, "NotchFilterFrequency", what),
    )


def _maybe(item: Any, keyword: str, what: str) -> float | None:
    return number(item, keyword, what) if is_there(item, keyword) else None


def _mu_law() -> npt.NDArray[np.int16]:
    """ITU-T G.711 table 2: all bits inverted; sign, three bits of exponent, four of mantissa, a bias of 33."""
    byte = ~np.arange(256, dtype=np.uint8)
    magnitude = (((byte & 15).astype(np.int32) * 2 + 33) << (byte >> 4 & 7)) - 33
    return (np.where(byte & 0x80, -magnitude, magnitude) * 4).astype(np.int16)


def _a_law() -> npt.NDArray[np.int16]:
    """ITU-T G.711 table 1: even bits inverted; the sign bit is 1 for positive; the first two segments are linear."""
    byte = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (byte >> 4 & 7).astype(np.int32), (byte & 15).astype(np.int32) * 2 + 1
    magnitude = np.where(exponent == 0, mantissa, (mantissa + 32) << np.maximum(exponent - 1, 0))
    return (np.where(byte & 0x80, magnitude, -magnitude) * 8).astype(np.int16)


_MU_LAW, _A_LAW = _mu_law(), _a_law()
