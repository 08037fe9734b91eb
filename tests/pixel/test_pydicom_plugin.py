"""accelerate_pydicom: pydicom's own pixel_array with our decoders, the same arrays, and undone when asked."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

import dicore
from conftest import peer_module
from dicore.pixel import pydicom_plugin
from test_transcode import instance, pictures

pydicom = peer_module("pydicom")
P = "1.2.840.10008.1.2.4."


def plugins() -> dict[str, list[str]]:
    from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS

    return {str(syntax): list(decoder._available) for syntax, (decoder, _) in _PIXEL_DATA_DECODERS.items()}


def test_it_is_asked_first_and_taken_out_again():
    before = copy.deepcopy(plugins())
    undo = dicore.accelerate_pydicom()
    again = dicore.accelerate_pydicom()  # changes nothing
    try:
        now = plugins()
        assert now[P + "70"][0] == now[P + "90"][0] == now["1.2.840.10008.1.2.5"][0] == "dicore"
        assert now["1.2.840.10008.1.2.1"] == before["1.2.840.10008.1.2.1"]
        assert all(set(now[s]) == set(before[s]) | ({"dicore"} if "dicore" in now[s] else set()) for s in before)
    finally:
        again()
        assert "dicore" in plugins()[P + "70"]
        undo()
    assert plugins() == before
    undo()  # twice is once
    only = dicore.accelerate_pydicom([P + "70"])
    assert [s for s, names in plugins().items() if "dicore" in names] == [P + "70"]
    only()


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", *(P + end for end in ("57", "70", "80", "90", "201"))])
@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("i2", 12), ("rgb", 8)])
def test_the_arrays_are_the_same(syntax, dtype, bits, monkeypatch):
    want = pictures((3, 20, 24, 3), "u1", 8) if dtype == "rgb" else pictures((3, 20, 24), dtype, bits)
    made = dicore.transcode(instance(want, bits, "RGB" if dtype == "rgb" else "MONOCHROME2"), syntax)
    calls = []
    real = pydicom_plugin.decode_frame
    monkeypatch.setattr(pydicom_plugin, "decode_frame", lambda *a, **k: (calls.append(1), real(*a, **k)))
    undo = dicore.accelerate_pydicom()
    try:
        np.testing.assert_array_equal(made.to_pydicom().pixel_array, want)
    finally:
        undo()
    assert len(calls) == 3
    np.testing.assert_array_equal(made.to_pydicom().pixel_array, want)
    assert len(calls) == 3


def test_the_corpus_is_what_pydicom_makes_of_it(corpus: Path):
    """Exact where the coding is lossless or deterministic; lossy DCTs differ by rounding between libraries."""
    compared = 0
    for path in sorted((corpus / "dev").rglob("*.dcm"))[::3]:
        try:
            ds = pydicom.dcmread(path, force=True)
            syntax = str(ds.file_meta.TransferSyntaxUID)
            if syntax in dicore.pixel.layout.NATIVE or "PixelData" not in ds:
                continue
            want = ds.pixel_array
        except Exception:  # what pydicom cannot read is nothing to compare with
            continue
        undo = dicore.accelerate_pydicom()
        try:
            got = pydicom.dcmread(path, force=True).pixel_array
        finally:
            undo()
        assert (got.shape, got.dtype) == (want.shape, want.dtype), path
        off = int(np.abs(got.astype(np.int64) - want.astype(np.int64)).max())
        assert off <= (3 if syntax in (P + "50", P + "51") else 0), (path, syntax, off)
        compared += 1
    assert compared > 10


def test_pydicom_2_takes_it_as_a_handler(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("pydicom.pixels"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(pydicom.config, "pixel_data_handlers", [], raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    undo = dicore.accelerate_pydicom()
    monkeypatch.setattr(builtins, "__import__", real)
    assert pydicom.config.pixel_data_handlers == [pydicom_plugin]
    assert pydicom_plugin.supports_transfer_syntax(P + "70")
    assert not pydicom_plugin.supports_transfer_syntax("1.2.840.10008.1.2.1")
    want = pictures((3, 20, 24))
    flat = pydicom_plugin.get_pixeldata(dicore.transcode(instance(want, 12), P + "80").to_pydicom())
    np.testing.assert_array_equal(flat, want.reshape(-1))
    undo()
    assert pydicom.config.pixel_data_handlers == []
