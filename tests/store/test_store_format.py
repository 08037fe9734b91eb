"""The bytes on the disk, read by a second reader that shares no line with the first (oracle.py)."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c
import oracle
import pytest
import siphash
from hypothesis import given
from hypothesis import strategies as st
from instances import body, store_one

from dicore._native import store as native
from dicore.store import Store

ROOT = Path(__file__).resolve().parents[2]


@given(st.binary(max_size=5000), st.integers(0, 5000))
def test_crc32c_is_that_of_google(data, cut):
    cut = min(cut, len(data))
    assert native.crc32c(data) == google_crc32c.value(data)
    first, second = native.crc32c(data[:cut]), native.crc32c(data[cut:])
    assert native.crc32c_combine(first, second, len(data) - cut) == google_crc32c.value(data)
    assert native.crc32c(data[cut:], first) == google_crc32c.value(data)


@pytest.mark.parametrize("size", [1 << 16, (1 << 20) + 7, 12288, 767, 768, 769])
def test_crc32c_of_long_runs(size):
    data = os.urandom(size)
    assert native.crc32c(data) == google_crc32c.value(data)


@given(st.text(max_size=80))
def test_the_uid_hash_is_siphash(uid):
    assert native.uid_hash(uid) == siphash.uid_hash(uid)


def test_siphash_of_the_oracle_is_that_of_its_authors():
    key = bytes(range(16))
    assert siphash.uid_hash("", key).hex() == "a3817f04ba25a8e66df67214c7550293"


def test_the_crc_table_is_what_its_script_writes():
    script = ROOT / "csrc" / "base" / "crc32c_table.py"
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert made == script.with_suffix(".h").read_text()


@pytest.mark.parametrize("durability", ["durable", "relaxed"])
def test_a_second_reader_finds_the_same(tmp_path, durability):
    with Store(tmp_path / "store", durability=durability, segment_size=1 << 20) as store:
        stored = dict(store_one(store, side=8 + i, seed=i) for i in range(20))
        name, data = store_one(store, side=800)  # a segment of its own
        stored[name] = data
    found = {}
    for segment in sorted((tmp_path / "store" / "segments").glob("*.seg")):
        bytes_ = segment.read_bytes()
        for offset, flags, digest, _, start, file in oracle.records(bytes_):
            assert offset % 64 == 0
            assert flags == 0
            assert file[:132] == bytes(128) + b"DICM"
            assert start == 144 + struct.unpack_from("<I", file, 140)[0]
            found[digest] = file[start:]
    assert found == {siphash.uid_hash(name): data for name, data in stored.items()}


def test_the_worked_example_of_the_documentation_is_true():
    text = (ROOT / "docs" / "store-format.md").read_text()
    dump = text.split("```hexdump\n")[1].split("```")[0]
    record = bytearray(64 + 512)
    for line in dump.splitlines():
        place, _, rest = line.partition("  ")
        if not rest:
            continue  # rows of zeros that are not printed
        data = bytes.fromhex(rest.split("|")[0])
        at = int(place, 16) - 4096
        record[at : at + len(data)] = data
    size, start, _, _, _ = native.check_record(bytes(record[: oracle_size(record)]), 0x0123456789ABCDEF, 4096)
    assert body(record[64 : 64 + size]) == record[64 + start : 64 + size]


def oracle_size(record: bytes) -> int:
    return (64 + struct.unpack_from("<Q", record, 32)[0] + 4 + 63) // 64 * 64
