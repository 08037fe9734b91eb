"""The checked-in table E.1-1: what the script makes of the packages, and what must be in it."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dicore.deidentify import table
from dicore.deidentify.profile import OPTIONS, rows

BASIC = {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}


def make_table() -> ModuleType:
    script = Path(str(table.__file__)).with_name("make_table.py")
    spec = importlib.util.spec_from_file_location("make_table", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_table"] = module
    spec.loader.exec_module(module)
    return module


def test_the_basic_column_is_that_of_its_source() -> None:
    module = make_table()
    source = {str(tag): str(action) for tag, action in module.run(sys.executable, module.BASIC).items()}
    body = Path(str(table.__file__)).read_text().split('"""\n')[-2]
    ours = {words[0]: words[1] for words in map(str.split, body.splitlines()) if words and words[0] != "private"}
    assert len(ours) > 600
    assert ours == source


def test_the_table_is_what_the_script_generates() -> None:
    """Needs two environments that cannot be one: DICORE_DEID_BASIC and DICORE_DEID_OPTIONS name their Pythons."""
    root = Path(__file__).parents[2]
    basic = Path(os.environ.get("DICORE_DEID_BASIC", root / ".venv-peers" / "bin" / "python"))
    options = Path(os.environ.get("DICORE_DEID_OPTIONS", root / ".venv-idis" / "bin" / "python"))
    if not (basic.exists() and options.exists()):
        pytest.skip("no environments with dicom-anonymizer 2.1.0 and idiscore 1.2.0")
    assert make_table().generate(str(basic), str(options)) == Path(str(table.__file__)).read_text()


def test_rows_are_well_formed_unique_and_in_order() -> None:
    tags = [row.tag for row in rows()]
    assert len(tags) == len(set(tags)) == 656
    plain = [tag for tag in tags if re.fullmatch("[0-9A-F]{8}", tag)]
    assert plain == sorted(plain)
    assert tags[len(plain) :] == ["50xxxxxx", "60xx3000", "60xx4000", "private"]
    letters = {option.letter for option in OPTIONS.values()} - {""}
    for row in rows():
        assert row.basic in BASIC, row
        assert set(row.options) <= letters, row
        assert set(row.options.values()) <= {"K", "C"}, row
        assert tag_is_public(row.tag), row


def tag_is_public(tag: str) -> bool:
    return tag == "private" or int(tag[3].replace("x", "0"), 16) % 2 == 0


@pytest.mark.parametrize(
    ("tag", "basic", "options"),
    [
        ("00080018", "U", {"U": "K"}),
        ("00080020", "Z", {"F": "K", "M": "C"}),
        ("00081030", "X", {"T": "C"}),
        ("00100010", "Z", {}),
        ("00100040", "Z", {"C": "K"}),
        ("00180010", "Z/D", {"T": "C"}),
        ("00181000", "X/Z/D", {"D": "K"}),
        ("00080080", "X/Z/D", {"I": "K"}),
        ("0040A730", "D", {"S": "C"}),
        ("00700001", "D", {"G": "C"}),
        ("00081140", "X/Z/U*", {"U": "K"}),
        ("60xx3000", "X", {"G": "C"}),
        ("private", "X", {"P": "C"}),
    ],
)
def test_rows_are_those_of_the_standard(tag: str, basic: str, options: dict[str, str]) -> None:
    row = next(row for row in rows() if row.tag == tag)
    assert (row.basic, row.options) == (basic, options)
