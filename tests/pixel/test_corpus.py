"""Real files against independent decoders: the reference hashes that come with the corpus."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import dicore
from conftest import peer_module
from dicore import pixel

#: syntaxes that lose something: there a decoder may differ from another by rounding
LOSSY = tuple(f"1.2.840.10008.1.2.4.{end}" for end in ("50", "51", "53", "55", "91", "93", "203", "110", "112"))


@pytest.fixture(scope="module")
def referenced(corpus):
    """(path, transfer syntax, hashes) of the files that a reference decoder could decode."""
    listed = corpus / "dev" / "reference.jsonl"
    if not listed.exists():
        pytest.skip(f"no {listed}: all its files are left out")
    found = []
    for line in listed.read_text().splitlines():
        entry = json.loads(line)
        hashes = {v["sha256"] for v in entry.get("pixels", {}).values() if "sha256" in v}
        if hashes:
            found.append((corpus / "dev" / entry["path"], entry["transfer_syntax"], hashes))
    assert len(found) > 200
    return found


def test_lossless_files_decode_to_the_reference_exactly(referenced):
    wrong = []
    for path, syntax, hashes in referenced:
        if syntax not in LOSSY:
            got = np.ascontiguousarray(dicore.read(path).pixels(raw=True))
            if hashlib.sha256(got.tobytes()).hexdigest() not in hashes:
                wrong.append(str(path))
    assert not wrong


def test_lossy_files_are_within_rounding_of_pydicom(referenced):
    pydicom = peer_module("pydicom")
    from pydicom.pixels import get_decoder

    wrong, exact = [], 0
    for path, syntax, hashes in referenced:
        if syntax in LOSSY:
            got = np.ascontiguousarray(dicore.read(path).pixels(raw=True))
            if hashlib.sha256(got.tobytes()).hexdigest() in hashes:
                exact += 1
                continue
            ds = pydicom.dcmread(path, force=True)
            want = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, raw=True)[0]
            if got.shape != want.shape or np.abs(got.astype(int) - want.astype(int)).max() > 2:
                wrong.append(str(path))
    assert not wrong
    assert exact > 20


def test_every_way_to_the_frames_agrees(referenced):
    for path, _, _ in referenced[::7]:
        ds = dicore.read(path)
        layout = ds.pixel_layout()
        whole = ds.pixels(threads=2)
        assert whole.dtype.isnative
        assert whole.shape == layout.shape
        frames = whole[None] if layout.frames == 1 else whole
        for got, want in zip(ds.iter_frames(), frames, strict=True):
            np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(ds.pixels(frames=-1), frames[-1])
        out = np.zeros(whole.shape, whole.dtype)
        assert ds.pixels(out=out) is out
        np.testing.assert_array_equal(out, whole)


def test_colour_files_become_rgb_as_pydicom_makes_it(referenced):
    pydicom = peer_module("pydicom")
    from pydicom.pixels import get_decoder

    seen = 0
    for path, syntax, _ in referenced:
        ds = dicore.read(path)
        if ds.pixel_layout().samples != 3:
            continue
        theirs = pydicom.dcmread(path, force=True)
        want = get_decoder(theirs.file_meta.TransferSyntaxUID).as_array(theirs)[0]
        limit = 4 if syntax in LOSSY else 0  # a step of chroma is almost two of blue
        assert np.abs(ds.pixels().astype(int) - want.astype(int)).max() <= limit, path
        seen += 1
    assert seen > 50


def test_hostile_files_are_answered(corpus):
    folder = corpus / "malformed"
    files = sorted(folder.glob("*.dcm"))
    if not files:
        pytest.skip(f"no files in {folder}")
    decoded = 0
    for path in files:
        try:
            dicore.read(path).pixels()
            decoded += 1
        except dicore.DicoreError:
            pass
    assert decoded > len(files) // 10


def test_layouts_of_real_files_are_what_is_decoded(referenced):
    for path, _, _ in referenced[::5]:
        ds = dicore.read(path)
        layout = ds.pixel_layout()
        got = pixel.decode(layout, ds[layout.pixel_keyword].raw, raw=True)
        assert got.shape == layout.shape
        assert got.dtype == layout.dtype
