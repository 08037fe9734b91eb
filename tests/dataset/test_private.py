"""register_private: private elements that the program knows."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import dicore
from dicore.dataset import dictionary, register_private
from vectors.deviations import IMPLICIT, element, implicit, item, part10

BODY = (
    implicit(0x00091001 & 0xFFFF00FF | 0x1100, b"1.5\\2 ")
    + implicit(0x00091102, b"\5\0")
    + implicit(0x00091103, item(implicit(0x00100020, b"in")))
)
FILE = part10(implicit(0x00090011, b"DICORE TEST ") + BODY, IMPLICIT)
ELEMENTS = {
    0x00091001: ("DS", "1-n", "Drift"),
    (0x0009, 0x1002): ("US", "1", "Count"),
    0x00091003: ("SQ", "1", "Things"),
}


@pytest.fixture(autouse=True)
def registered() -> None:
    register_private("DICORE TEST", ELEMENTS)


def test_what_is_registered_is_read_by_its_vr() -> None:
    ds = dicore.read(FILE)
    assert ds[0x0009, 0x1101].value == [1.5, 2.0]
    assert ds[0x0009, 0x1102].value == 5
    assert (ds[0x0009, 0x1101].vr, ds[0x0009, 0x1101].name, ds[0x0009, 0x1101].stored_vr) == ("DS", "[Drift]", None)
    assert ds["0009,1103[0].PatientID"].value == "in"
    assert [p for p, _ in ds.walk()][-1] == "0009,1103[0].0010,0020"
    assert dictionary.private_vr("DICORE TEST", 0x00092203) == "SQ"


def test_un_is_read_so_too_and_a_stored_vr_stays() -> None:
    ds = dicore.read(
        part10(
            element(0x00090010, "LO", b"DICORE TEST ")
            + element(0x00091001, "UN", b"7 ")
            + element(0x00091002, "SS", b"\xff\xff")
        )
    )
    assert ds[0x00091001].value == 7.0
    assert (ds[0x00091002].vr, ds[0x00091002].value) == ("SS", -1)


def test_data_sets_that_are_open_do_not_change() -> None:
    other = part10(implicit(0x00090010, b"DICORE LATE ") + implicit(0x00091001, item(implicit(0x00100020, b"in"))), IMPLICIT)
    before = dicore.read(other)
    register_private("DICORE LATE", {0x00091001: ("SQ", "1", "Late")})
    assert before[0x00091001].vr == "UN"
    assert dicore.read(other)[0x00091001].vr == "SQ"
    assert before[0x00091001].vr == "UN"


def test_another_creator_has_its_own() -> None:
    data = part10(implicit(0x00090010, b"SOMEBODY") + implicit(0x00091001, b"1 "), IMPLICIT)
    assert dicore.read(data)[0x00091001].vr == "UN"


@pytest.mark.parametrize(
    ("creator", "elements"),
    [
        ("", {0x00091001: ("DS", "1", "x")}),
        ("A\\B", {0x00091001: ("DS", "1", "x")}),
        ("A", {0x00101001: ("DS", "1", "x")}),
        ("A", {0x00090010: ("DS", "1", "x")}),
        ("A", {0x00091001: ("XX", "1", "x")}),
        ("A", {0x00091001: ("DS", "1", "x"), 0x00091002: ("D", "1", "x")}),
        ("日本", {0x00091001: ("DS", "1", "x")}),
    ],
)
def test_nonsense_is_refused_whole(creator, elements) -> None:
    with pytest.raises(ValueError, match=r"."):
        register_private(creator, elements)
    assert dictionary.private_vr("A", 0x00091001) is None


def test_many_threads_register_and_read() -> None:
    start = threading.Barrier(4)
    wrong = []

    def work(number: int) -> None:
        start.wait()
        for i in range(50):
            register_private(f"DICORE T{number}", {0x00091000 + i: ("US", "1", f"n{i}")})
            ds = dicore.read(FILE)
            if ds[0x00091102].value != 5 or dictionary.private_vr(f"DICORE T{number}", 0x00091000 + i) != "US":
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(dictionary.private_vr(f"DICORE T{n}", 0x00091000 + i) == "US" for n in range(4) for i in range(50))


def test_without_any_registration_nothing_is_known() -> None:
    code = "from dicore.dataset import dictionary as d; assert d.private_vr('DICORE TEST', 0x00091001) is None"
    subprocess.run([sys.executable, "-c", code], check=True)
