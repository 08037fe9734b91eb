"""Files cut at every offset, and damaged ones: read or refused, and the same by path and by bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from compare_values import corpus_files

import dicore
from dicore.dataset import Dataset
from vectors.deviations import VECTORS


def small_files(corpus: Path, count: int = 20, most: int = 4096) -> list[Path]:
    """The smallest files, spread over what a corpus has: different transfer syntaxes and shapes come first."""
    folder = corpus / "dev" if (corpus / "dev").is_dir() else corpus
    files = sorted((p for p in corpus_files(folder) if 300 < p.stat().st_size <= most), key=lambda p: p.stat().st_size)
    step = max(1, len(files) // count)
    return files[::step][:count]


def everything(ds: Dataset) -> None:
    """Decode every value; only dicore's own errors may come out of it."""
    for _, element in ds.walk():
        try:
            _ = element.value
        except dicore.DicoreError:
            continue


@pytest.mark.parametrize("strict", [False, True])
def test_twenty_files_at_every_offset(corpus: Path, strict: bool) -> None:
    files = small_files(corpus)
    assert files
    cuts = read = 0
    for path in files:
        data = path.read_bytes()
        for end in range(len(data)):
            cuts += 1
            try:
                everything(dicore.read(memoryview(data)[:end], strict=strict))
                read += 1
            except dicore.DicomFormatError:
                continue
    assert cuts > 0
    assert read > 0 or strict


def outcome(source: object, strict: bool) -> object:
    try:
        ds = dicore.read(source, strict=strict)
        return ([(p, e.vr, e.offset, e.length) for p, e in ds.walk()], [str(w) for w in ds.warnings], ds.transfer_syntax)
    except dicore.DicomFormatError as error:
        return (error.message, error.offset, error.tag_path)


def mutated(data: bytes, seed: random.Random) -> bytes:
    kind = seed.randrange(4)
    at = seed.randrange(min(len(data), 600))
    if kind == 0:
        return data[: seed.randrange(len(data))]
    if kind == 1:
        return data[:at] + bytes((seed.randrange(256),)) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + seed.randrange(1, 9) :]
    return data[:at] + seed.randbytes(seed.randrange(1, 9)) + data[at:]


@pytest.mark.parametrize("strict", [False, True])
def test_a_path_and_its_bytes_give_the_same_answer(corpus: Path, tmp_path: Path, strict: bool) -> None:
    """Also where a file is longer than what is read of it at first, and where its encoding has to be guessed."""
    folder = corpus / "dev" if (corpus / "dev").is_dir() else corpus
    sources = [p.read_bytes() for p in corpus_files(folder) if 8192 < p.stat().st_size < 600_000][::3]
    sources += [vector.data + bytes(9000) for vector in VECTORS.values()]
    assert len(sources) > 20
    seed = random.Random(4)
    path = tmp_path / "file"
    for data in sources:
        for changed in (data, data[132:], mutated(data, seed), mutated(data[132:], seed), mutated(data[300:], seed), data[: len(data) * 2 // 3]):
            path.write_bytes(changed)
            assert outcome(path, strict) == outcome(changed, strict)


def test_the_size_that_is_not_read_yet_counts_in_the_guess(tmp_path: Path) -> None:
    """A first element longer than the first 8 KiB: possible only since there are more bytes."""
    data = b"\x09\0\x10\0UN\0\0" + (20_000).to_bytes(4, "little") + bytes(20_000) + b"\x10\0\x20\0LO\4\x004711"
    path = tmp_path / "bare"
    path.write_bytes(data)
    assert dicore.read(path).PatientID == dicore.read(data).PatientID == "4711"
    assert outcome(path, False) == outcome(data, False)
