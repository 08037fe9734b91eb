"""The messages that pynetdicom carries in its tests, read and written again: the same bytes."""

from __future__ import annotations

import importlib
import struct
from typing import Any

import pytest

from conftest import peer_module
from dicore._native.command import Command
from dicore._native.net import associate_rebuilt
from dicore.dataset import Dataset
from dicore.errors import ProtocolViolation
from dicore.net import queries
from dicore.uid import EXPLICIT_LITTLE, IMPLICIT_LITTLE


def vectors(name: str) -> dict[str, bytes]:
    module = importlib.import_module(f"pynetdicom.tests.{name}")
    return {key: value for key, value in vars(module).items() if isinstance(value, bytes)}


peer_module("pynetdicom")
MESSAGES = vectors("encoded_dimse_msg") | vectors("encoded_dimse_n_msg")
PDUS = vectors("encoded_pdu_items")
TWICE = {"c_move_rsp_cmd_with_dup"}  # an element that comes twice: we refuse to choose
EMPTY_TITLE = {"a_associate_rq_called", "a_associate_rq_calling"}  # read, but never built (PS3.8 9.3.2)
REFUSED_SYNTAX = {"a_associate_ac_zero_ts", "a_associate_ac_no_ts"}  # not significant in a refused context (9.3.3.2)


def test_there_are_as_many_as_there_were() -> None:
    assert (len(PDUS), len(vectors("encoded_dimse_msg")), len(vectors("encoded_dimse_n_msg"))) == (43, 20, 23)


@pytest.mark.parametrize("name", [name for name, value in MESSAGES.items() if value[0] & 1])
def test_command_set_is_read_and_written(name: str) -> None:
    data = MESSAGES[name][1:]  # behind the message control header
    if name in TWICE:
        with pytest.raises(ProtocolViolation):
            Command.parse(data)
        return
    assert Command.parse(data).build() == data
    for end in range(len(data)):
        try:
            again = Command.parse(data[:end])
        except ProtocolViolation:
            continue
        assert len(again.build()) <= len(data) + 10  # cut between two elements: what is left of it


@pytest.mark.parametrize("name", [name for name, value in MESSAGES.items() if not value[0] & 1])
def test_data_set_is_read_and_written(name: str) -> None:
    data = MESSAGES[name][1:]
    dataset = queries.decode(data, IMPLICIT_LITTLE)
    assert len(dataset) > 0
    assert queries.encode(dataset, IMPLICIT_LITTLE) == data
    there: Any = queries.encode(dataset, EXPLICIT_LITTLE)
    assert queries.encode(Dataset.from_bytes(there, transfer_syntax=EXPLICIT_LITTLE), IMPLICIT_LITTLE) == data


def items(pdu: bytes) -> tuple[bytes, list[Any]]:
    """Fixed fields and items; the order of user information items is nobody's business."""

    def parts(data: bytes) -> list[tuple[int, bytes]]:
        found = []
        while data:
            size = struct.unpack(">H", data[2:4])[0]
            found.append((data[0], data[4 : 4 + size]))
            data = data[4 + size :]
        return found

    listed: list[Any] = []
    for kind, body in parts(pdu[74:]):
        if kind == 0x20:
            body = body[:1] + b"\0\0\0" + body[4:]  # reserved
        listed.append((kind, sorted(parts(body)) if kind == 0x50 else body))
    return pdu[:2] + pdu[6:42], listed  # without the length


@pytest.mark.parametrize("name", [name for name in PDUS if name.startswith(("a_associate_rq", "a_associate_ac"))])
def test_association_pdu_is_read_and_written(name: str) -> None:
    pdu = PDUS[name]
    if name in EMPTY_TITLE:
        with pytest.raises(ValueError, match="contract"):
            associate_rebuilt(pdu)
        return
    if name in REFUSED_SYNTAX:
        again = items(associate_rebuilt(pdu))[1]
        assert [(kind, body[:4] if kind == 0x21 else body) for kind, body in again] == [
            (kind, body[:4] if kind == 0x21 else body) for kind, body in items(pdu)[1]
        ]
        return
    assert items(associate_rebuilt(pdu)) == items(pdu)
