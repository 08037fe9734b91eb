"""PS3.8 table 9-10 as it stands in csrc/net/association.c, held against another implementation's, cell by cell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import peer_module

SOURCE = Path(__file__).parents[2] / "csrc" / "net" / "association.c"

# Evt1 to Evt19 of table 9-10, by the names that the source gives them.
EVENTS = [
    "A_ASSOCIATE_REQUEST",
    "TRANSPORT_CONFIRMED",
    "GOT_A_ASSOCIATE_AC",
    "GOT_A_ASSOCIATE_RJ",
    "TRANSPORT_INDICATED",
    "GOT_A_ASSOCIATE_RQ",
    "A_ASSOCIATE_ACCEPT",
    "A_ASSOCIATE_REJECT",
    "P_DATA_REQUEST",
    "GOT_P_DATA_TF",
    "A_RELEASE_REQUEST",
    "GOT_A_RELEASE_RQ",
    "GOT_A_RELEASE_RP",
    "A_RELEASE_RESPONSE",
    "A_ABORT_REQUEST",
    "GOT_A_ABORT",
    "TRANSPORT_CLOSED",
    "ARTIM_EXPIRED",
    "GOT_INVALID_PDU",
]


def grid() -> dict[str, list[str]]:
    """The rows of TABLE: event name -> 13 cells."""
    source = SOURCE.read_text()
    table = re.search(r"TABLE\[EVENTS\]\[STATES\] = \{(.*?)\n\};", source, re.S)
    assert table is not None
    rows = re.findall(r"\[(\w+)\]\s*=\s*\{([^}]*)\}", table[1])
    return {name: [cell.strip() for cell in cells.split(",")] for name, cells in rows}


def test_every_event_is_a_row_in_the_order_of_the_standard() -> None:
    assert list(grid()) == EVENTS


def test_every_row_has_thirteen_states() -> None:
    assert {name: len(cells) for name, cells in grid().items()} == dict.fromkeys(EVENTS, 13)


@pytest.mark.parametrize("number", range(1, 20))
def test_row_is_that_of_pynetdicom(number: int) -> None:
    transitions = peer_module("pynetdicom.fsm").TRANSITION_TABLE
    theirs = [transitions.get((f"Evt{number}", f"Sta{state}"), "__").replace("-", "") for state in range(1, 14)]
    assert grid()[EVENTS[number - 1]] == theirs


def test_every_action_of_tables_9_6_to_9_9_is_one_function() -> None:
    source = SOURCE.read_text()
    defined = re.findall(r"^static void ((?:AE|DT|AR|AA)\d+)\(dicore_association \*a, const cause \*x\)", source, re.M)
    expected = [f"AE{n}" for n in range(1, 9)] + ["DT1", "DT2"]
    expected += [f"AR{n}" for n in range(1, 11)] + [f"AA{n}" for n in range(1, 9)]
    assert defined == expected
