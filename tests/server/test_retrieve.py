"""Retrievals by the retriever's threads: what they do beside sending, and what badly behaved peers cost the others."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import dicore
import wire
from dicore import synth
from dicore._native import net as native
from dicore.net import Timeouts
from dicore.server import retrieve
from dicore.store.reading import Reader

Run = Callable[..., Any]
GET = "1.2.840.10008.5.1.4.1.2.2.3"
SLICES = 12


@pytest.fixture(scope="module")
def instances() -> list[Instance]:
    return [
        Instance(one.sop_instance_uid, one.data[native.identify_bytes(one.data)[3] :])
        for one in synth.studies(31, 1, modality="CT", slices=SLICES, size=64)
    ]


class Instance(NamedTuple):
    sop_instance_uid: str
    body: bytes
    sop_class_uid: str = wire.CT_IMAGE
    transfer_syntax: str = wire.EXPLICIT


@pytest.fixture(scope="module")
def large() -> list[Instance]:
    """More than a buffer of the retriever, and than the sockets between it and a peer that does not read."""
    size, uid = 2 * 2400 * 2400, wire.instance_uid(1)
    return [Instance(uid, wire.ct_data_set(uid, side=2400)[:-size] + random.Random(1).randbytes(size))]


def fill(store: dicore.Store, instances: list[Instance]) -> None:
    for one in instances:
        store.append(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax, [one.body])


class Getter:
    """A raw requestor of one C-GET."""

    def __init__(self, port: int, *, small: bool = False, window: int = 1) -> None:
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(30)
        self.socket.connect(("127.0.0.1", port))
        role = struct.pack(">H", len(wire.CT_IMAGE)) + wire.CT_IMAGE.encode() + b"\1\1"
        user = wire.item(0x54, role) + (wire.item(0x53, struct.pack(">HH", 1, window)) if window > 1 else b"")
        contexts = [*wire.store_contexts(), wire.context(5, GET, [wire.IMPLICIT])]
        self.socket.sendall(wire.associate_rq(contexts, user_items=user, maximum=1 << 18))
        answer = wire.receive_pdu(self.socket)
        assert answer is not None
        assert answer.kind == wire.AC

    def ask(self, study: str, message: int = 7) -> None:
        command = wire.command_set(
            wire.element(0x00000002, wire.uid(GET)),
            wire.element(0x00000100, wire.us(0x0010)),
            wire.element(0x00000110, wire.us(message)),
            wire.element(0x00000700, wire.us(0)),
            wire.element(0x00000800, wire.us(1)),
        )
        keys = wire.element(0x00080052, b"STUDY ") + wire.element(0x0020000D, wire.uid(study))
        self.socket.sendall(wire.data_pdu(5, command, command=True) + wire.data_pdu(5, keys, command=False))

    def message(self) -> tuple[int, dict[int, bytes], bytes]:
        """(command field, elements, data set) of the next message."""
        fields: dict[int, bytes] = {}
        command, data = b"", b""
        while True:
            got = wire.receive_pdu(self.socket)
            assert got is not None, "the peer closed"
            assert got.kind == wire.DATA, f"PDU type {got.kind:02X}H"
            at = 0
            while at < len(got.body):
                size, _, flags = struct.unpack_from(">IBB", got.body, at)
                piece = got.body[at + 6 : at + 4 + size]
                at += 4 + size
                if flags & 1:
                    command += piece
                    if flags & 2:
                        fields = wire.parse_command(command)
                else:
                    data += piece
                if flags & 2 and fields and (not flags & 1 or fields[0x00000800] == b"\1\1"):
                    return int.from_bytes(fields[0x00000100], "little"), fields, data

    def answer(self, fields: dict[int, bytes], status: int = 0) -> None:
        command = wire.command_set(
            wire.element(0x00000002, fields[0x00000002]),
            wire.element(0x00000100, wire.us(0x8001)),
            wire.element(0x00000120, fields[0x00000110]),
            wire.element(0x00000800, wire.us(0x0101)),
            wire.element(0x00000900, wire.us(status)),
            wire.element(0x00001000, fields[0x00001000]),
        )
        self.socket.sendall(wire.data_pdu(3, command, command=True))

    def rest(self, *, status: int = 0) -> tuple[dict[str, bytes], dict[str, int]]:
        """Answer what comes until the last response: {SOP instance: data set}, the response's numbers."""
        got = {}
        while True:
            field, fields, data = self.message()
            if field == 1:
                got[fields[0x00001000].rstrip(b"\0").decode()] = data
                self.answer(fields, status)
            elif field == 0x8010 and (last := numbers(fields))["status"] != 0xFF00:
                return got, last

    def cancel(self, message: int = 7) -> None:
        command = wire.command_set(
            wire.element(0x00000100, wire.us(0x0FFF)),
            wire.element(0x00000120, wire.us(message)),
            wire.element(0x00000800, wire.us(0x0101)),
        )
        self.socket.sendall(wire.data_pdu(5, command, command=True))


def numbers(fields: dict[int, bytes]) -> dict[str, int]:
    tags = {"status": 0x900, "remaining": 0x1020, "completed": 0x1021, "failed": 0x1022, "warning": 0x1023}
    return {name: int.from_bytes(fields[tag], "little") for name, tag in tags.items() if tag in fields}


def archive(run: Run, folder: Path, instances: list[Instance], raw: Any, **options: Any) -> None:
    """Run `raw(server, study)` in a thread beside a filled archive, and see that nothing stays behind."""

    async def main() -> None:
        with dicore.Store(folder / "store", durability="relaxed", segment_size=1 << 26) as store:
            fill(store, instances)
            async with dicore.serve(store, port=0, **options) as server:
                await asyncio.to_thread(raw, server, store.find()[0]["StudyInstanceUID"])
                while server.associations:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.01)

    run(main())


@pytest.fixture
def natively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may take the way through Python."""

    def fail(*_: Any) -> Any:
        raise AssertionError("not by the threads")

    monkeypatch.setattr(retrieve.Retriever, "_rest", fail)


@pytest.mark.usefixtures("natively")
def test_a_study_leaves_without_python(run: Run, instances: list[Instance], tmp_path: Path) -> None:
    def raw(server: Any, study: str) -> None:
        peer = Getter(server.port)
        peer.ask(study)
        got, last = peer.rest()
        assert got == {one.sop_instance_uid: one.body for one in instances}
        assert last == {"status": 0, "completed": SLICES, "failed": 0, "warning": 0}
        wire.release(peer.socket)

    archive(run, tmp_path, instances, raw)


@pytest.mark.usefixtures("natively")
def test_an_instance_beyond_a_buffer_is_checked_before_it_is_sent(
    run: Run, large: list[Instance], tmp_path: Path
) -> None:
    def raw(server: Any, study: str) -> None:
        peer = Getter(server.port)
        peer.ask(study)
        got, last = peer.rest()
        assert got == {one.sop_instance_uid: one.body for one in large}
        segment, offset = server.store._native.find(large[0].sop_instance_uid)[0]
        with open(server.store.path / "segments" / f"{segment:010d}.seg", "r+b") as file:
            file.seek(offset + (5 << 20))
            before = file.read(1)[0]
            file.seek(offset + (5 << 20))
            file.write(bytes([before ^ 0xFF]))
        peer.ask(study, 8)
        got, last = peer.rest()
        assert got == {}
        assert (last["status"], last["failed"]) == (0xA702, 1)
        wire.release(peer.socket)

    archive(run, tmp_path, large, raw)


def test_what_the_disk_does_not_give_is_a_failed_sub_operation(
    run: Run, instances: list[Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory stands for a bad sector: reading it is an errno."""
    folder = os.open(tmp_path, os.O_RDONLY)
    locate = Reader.locate

    class Bad:
        nonce = 1

        def fileno(self) -> int:
            return folder

    bad = instances[3].sop_instance_uid
    monkeypatch.setattr(Reader, "locate", lambda self, uid: (Bad(), 4096) if uid == bad else locate(self, uid))

    def raw(server: Any, study: str) -> None:
        peer = Getter(server.port)
        peer.ask(study)
        got, last = peer.rest()
        assert set(got) == {one.sop_instance_uid for one in instances} - {bad}
        assert last == {"status": 0xB000, "completed": SLICES - 1, "failed": 1, "warning": 0}
        wire.release(peer.socket)

    archive(run, tmp_path, instances, raw)
    os.close(folder)


def test_failures_and_warnings_of_the_peer_are_counted(run: Run, instances: list[Instance], tmp_path: Path) -> None:
    def raw(server: Any, study: str) -> None:
        for status, counted in ((0xA700, "failed"), (0xB007, "warning"), (0x0110, "failed")):
            peer = Getter(server.port)
            peer.ask(study)
            got, last = peer.rest(status=status)
            assert len(got) == SLICES
            assert last[counted] == SLICES
            assert last["status"] == (0xA702 if counted == "failed" else 0xB000)
            wire.release(peer.socket)

    archive(run, tmp_path, instances, raw)


@pytest.mark.usefixtures("natively")
def test_a_cancel_ends_it_after_the_sub_operation_under_way(
    run: Run, instances: list[Instance], tmp_path: Path
) -> None:
    def raw(server: Any, study: str) -> None:
        peer = Getter(server.port)
        peer.ask(study)
        field, fields, _ = peer.message()
        assert field == 1
        peer.cancel()
        peer.answer(fields)
        got, last = peer.rest()
        assert got == {}
        assert last == {"status": 0xFE00, "remaining": SLICES - 1, "completed": 1, "failed": 0, "warning": 0}
        peer.ask(study, 9)  # the association lives
        assert len(peer.rest()[0]) == SLICES
        wire.release(peer.socket)

    archive(run, tmp_path, instances, raw)


@pytest.mark.usefixtures("natively")
def test_another_request_amid_it_is_served_and_it_goes_on(run: Run, instances: list[Instance], tmp_path: Path) -> None:
    def raw(server: Any, study: str) -> None:
        peer = Getter(server.port)
        peer.ask(study)
        for number in range(3):
            field, fields, _ = peer.message()
            assert field == 1
            peer.socket.sendall(wire.data_pdu(1, wire.echo_rq(20 + number), command=True))
            field, answer, _ = peer.message()
            assert (field, answer[0x00000120]) == (0x8030, wire.us(20 + number))
            peer.answer(fields)
        got, last = peer.rest()
        assert len(got) == SLICES - 3
        assert last["completed"] == SLICES
        wire.release(peer.socket)

    archive(run, tmp_path, instances, raw)


@pytest.mark.usefixtures("natively")
def test_the_window_that_was_negotiated_is_used(run: Run, instances: list[Instance], tmp_path: Path) -> None:
    def raw(server: Any, study: str) -> None:
        peer = Getter(server.port, window=4)
        peer.ask(study)
        waiting = [peer.message()[1] for _ in range(4)]
        for fields in reversed(waiting):
            peer.answer(fields)
        got, last = peer.rest()
        assert len(got) == SLICES - 4
        assert (last["status"], last["completed"]) == (0, SLICES)
        wire.release(peer.socket)

    archive(run, tmp_path, instances, raw, window=8)


def test_who_does_not_read_holds_nobody_up_and_is_given_up(run: Run, large: list[Instance], tmp_path: Path) -> None:
    def raw(server: Any, study: str) -> None:
        deaf = [Getter(server.port, small=True) for _ in range(6)]
        for peer in deaf:
            peer.ask(study)
        other = Getter(server.port)
        other.ask(study)
        assert other.rest()[1]["status"] == 0
        wire.release(other.socket)
        while server.associations:  # until their time is over
            pass
        assert server.listener.counters["timeout_network"] == len(deaf)
        for peer in deaf:
            peer.socket.close()

    archive(run, tmp_path, large, raw, timeouts=Timeouts(network=1.0))


@pytest.mark.parametrize("how", ["reset", "abort", "release"])
def test_who_leaves_amid_a_message_leaves_nothing_behind(
    run: Run, large: list[Instance], tmp_path: Path, how: str
) -> None:
    before = len(os.listdir("/proc/self/fd"))

    def raw(server: Any, study: str) -> None:
        peers = [Getter(server.port, small=True) for _ in range(4)]
        for peer in peers:
            peer.ask(study)
            wire.receive_exactly(peer.socket, 100_000)
            if how == "reset":
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.socket.close()
            else:
                kind, tail = (7, bytes(4)) if how == "abort" else (wire.RELEASE_RQ, bytes(4))
                peer.socket.sendall(wire.pdu(kind, tail))
                while peer.socket.recv(1 << 20):
                    pass
                peer.socket.close()

    archive(run, tmp_path, large, raw)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_server_closes_amid_a_message(run: Run, large: list[Instance], tmp_path: Path) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", durability="relaxed", segment_size=1 << 26) as store:
            fill(store, large)
            async with dicore.serve(store, port=0, grace=0.1) as server:
                study = store.find()[0]["StudyInstanceUID"]
                peer = await asyncio.to_thread(Getter, server.port, small=True)
                peer.ask(study)
                await asyncio.to_thread(wire.receive_exactly, peer.socket, 100_000)
        peer.socket.close()

    run(main())


@pytest.mark.usefixtures("natively")
def test_a_destination_that_dies_is_tried_again_and_what_it_had_is_not_sent_twice(
    run: Run, instances: list[Instance], tmp_path: Path
) -> None:
    taken: list[str] = []

    async def main() -> None:
        def store_one(request: Any, pieces: Any) -> int:
            taken.append(request.sop_instance_uid)
            if len(taken) == 5:
                for association in list(there._hub.open):
                    association.stop("gone")
            return 0

        class Sink:
            def __init__(self) -> None:
                self.store = store_one
                self.begin = self.write = self.commit = self.abort = store_one

        there = dicore.listen(port=0, on_c_store=Sink())
        async with there:
            with dicore.Store(tmp_path / "store", durability="relaxed") as store:
                fill(store, instances)
                where = {"THERE": f"127.0.0.1:{there.port}"}
                async with (
                    dicore.serve(store, port=0, destinations=where) as server,
                    dicore.connect(f"A@127.0.0.1:{server.port}") as assoc,
                ):
                    study = store.find()[0]["StudyInstanceUID"]
                    last = [one async for one in assoc.c_move(destination="THERE", StudyInstanceUID=study)][-1]
                    assert last.status == 0xB000
                    assert (last.completed, last.failed) == (SLICES - 1, 1)
                    assert last.failed_uids == (taken[4],)
                    assert sorted(taken) == sorted(one.sop_instance_uid for one in instances)

    run(main())


@pytest.mark.usefixtures("natively")
def test_a_c_move_is_cancelled_and_tells_how_far_it_is(run: Run, instances: list[Instance], tmp_path: Path) -> None:
    """The destination answers when it is let."""

    async def main() -> None:
        gate = asyncio.Event()
        begun = asyncio.Event()

        async def store_one(request: Any, dataset: Any) -> int:
            begun.set()
            await gate.wait()
            return 0

        async with dicore.listen(port=0, on_c_store=store_one) as there:
            with dicore.Store(tmp_path / "store", durability="relaxed") as store:
                fill(store, instances)
                where = {"THERE": f"127.0.0.1:{there.port}"}
                async with (
                    dicore.serve(store, port=0, destinations=where) as server,
                    dicore.connect(f"A@127.0.0.1:{server.port}") as assoc,
                ):
                    study = store.find()[0]["StudyInstanceUID"]
                    answers = assoc.c_move(destination="THERE", StudyInstanceUID=study)
                    first = await anext(answers)
                    assert (first.remaining, first.completed) == (SLICES, 0)
                    await begun.wait()
                    answers.cancel()
                    await anext(answers)  # what was said meanwhile; the cancel has been read by then
                    gate.set()
                    last = [one async for one in answers][-1]
                    assert last.status == 0xFE00
                    assert last.completed is not None
                    assert last.completed < SLICES

    run(main())
