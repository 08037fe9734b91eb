"""Stores of every released version of the format are opened, verified, queried, read by the oracle (T21)."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import oracle
import pytest
from instances import body, data_set

from dicore.store import Store

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
EXPECTED = {
    f"1.2.826.{n}": data_set(f"1.2.826.{n}", seed=99 if n == 1 else n, StudyInstanceUID=f"1.2.{n % 2}")
    for n in (0, 1, 3, 4, 5, 6, 8)
}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    with tarfile.open(VECTORS / "store-1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "store"


def test_it_is_opened_verified_and_queried(golden: Path) -> None:
    for read_only in (True, False):
        with Store(golden, read_only=read_only, segment_size=1 << 20) as store:
            assert store.recovered == []
            assert store.verify().ok
            assert {name: body(file) for name, file in store.scan_source()} == EXPECTED
            assert {row["SOPInstanceUID"] for row in store.find("IMAGE", StudyInstanceUID="1.2.1")} == {
                "1.2.826.1", "1.2.826.3", "1.2.826.5",
            }  # fmt: skip
    with Store(golden, segment_size=1 << 20) as store:
        store.rebuild()
        assert len(store.find("IMAGE")) == len(EXPECTED)
        assert store.compact().kept == []
        assert {name: body(file) for name, file in store.scan_source()} == EXPECTED


def test_the_oracle_finds_the_same_and_exports_it_without_dicore(golden: Path, tmp_path: Path) -> None:
    assert sorted(body(file) for file in oracle.instances(golden)) == sorted(EXPECTED.values())
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-I", str(Path(oracle.__file__)), str(golden), str(tmp_path / "out")]
    subprocess.run(command, check=True)
    files = {path.name.rsplit("-", 1)[0]: body(path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    assert files == EXPECTED


def test_the_oracle_is_short() -> None:
    lines = [line for line in Path(oracle.__file__).read_text().splitlines() if line.strip()]
    assert len(lines) <= 60
