"""The generated dictionary tables: the script gives the file that is checked in, and what is in it is pydicom's."""

from __future__ import annotations

import importlib.util
import pathlib
import types

import pytest

DATASET = pathlib.Path(__file__).parents[2] / "csrc" / "dataset"


@pytest.fixture(scope="module")
def generator() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_dictionary", DATASET / "make_dictionary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_the_script_generates(generator: types.ModuleType) -> None:
    import pydicom

    table = (DATASET / "dictionary_table.c").read_text(encoding="ascii")
    made_from = table.split("from pydicom ", 1)[1].split(":", 1)[0]
    if made_from != pydicom.__version__:
        pytest.skip(f"the table was made from pydicom {made_from}, installed is {pydicom.__version__}")
    assert generator.generate() == table


def test_slots_hold_every_number_once(generator: types.ModuleType) -> None:
    table, longest = generator.slots([3, 3, 3, 7], 3)
    assert table == [0, 0, 0, 1, 2, 3, 0, 4]
    assert longest == 2


def test_hash_depends_on_length_and_every_byte(generator: types.ModuleType) -> None:
    words = [b"", b"\0", b"PatientName", b"PatientNamf", b"QatientName", b"PatientName\0"]
    assert len({generator.text_hash(word, 30) for word in words}) == len(words)


def test_vr_texts_of_the_dictionaries_become_lists(generator: types.ModuleType) -> None:
    assert generator.vrs_of("US or SS or OW") == ("US", "SS", "OW")
    assert generator.vrs_of("OB_OW") == ("OB", "OW")
    assert generator.vrs_of("NONE") == ()
