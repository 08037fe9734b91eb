# ruff: noqa: SIM117  (loops raise; a listener, and in it a client, read better on two lines)
"""Several operations at a time on one association (PS3.7 D.3.3.3): answers in any order, data sets that stream,
consumers that are slow while others wait."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netcommon import Memory, Wire, ct, feed, part10, until

import dicore
import wire
from conftest import run_on
from dicore import uid
from dicore.errors import AssociationStateError, DimseError
from dicore.net import FindRequest, Limits, RetrieveRequest, StoreRequest
from dicore.net.operations import Ready
from dicore.net.tls import client_context, server_context
from dicore.net.transport import _Protocol

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
WINDOW_4 = wire.item(0x53, b"\0\4\0\4")


def address(scp: Any, title: str = "SCP") -> str:
    return f"{title}@127.0.0.1:{scp.port}"


def made_ready(count: int, size: int = 600) -> list[Ready]:
    return [Ready.of(memoryview(part10(*ct(number, size)))) for number in range(count)]


async def last_of(answers: Any) -> Any:
    """The last Progress of a retrieval."""
    found = [one async for one in answers]
    return found[-1]


class Slow(Memory):
    """A sink that writes when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[asyncio.Future[None]] = []

    async def write(self, handle: Any, pieces: Sequence[memoryview]) -> None:
        data = b"".join(pieces)
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        handle[1].extend(data)


# ---- streams


@pytest.mark.parametrize("step", [997, 60_000, 300_000, 1 << 30])
@pytest.mark.parametrize("deaf", [True, False])  # a TLS transport may bring one read more after it was paused
def test_what_follows_a_stream_waits_for_its_last_write(step: int, deaf: bool) -> None:
    """A peer with a window does not wait for the answer: the next request may be in the read that ends a stream."""

    async def main() -> None:
        sink = Slow()
        listener = dicore.listen(port=0, on_c_store=sink, limits=Limits(stream_from=100_000), window=4)
        listener._begin(asyncio.get_running_loop())
        protocol, transport = _Protocol(listener._hub), Wire()
        protocol.connection_made(transport)  # type: ignore[arg-type]
        rq = wire.associate_rq(wire.store_contexts(), user_items=WINDOW_4)
        sent = [ct(1, 700_000), ct(2, 2_000), ct(3, 300_000), ct(4, 150_000)]
        messages = [wire.store_message(*one, message=number + 1) for number, one in enumerate(sent)]
        echo = wire.data_pdu(1, wire.echo_rq(9), command=True)
        said = messages[0] + messages[1] + echo + messages[2] + messages[3] + echo
        feed(protocol, rq)
        at = 0
        late = 0 if deaf else 1
        while at < len(said) or len(sink.stored) < len(sent) or sink.gates:
            while at < len(said) and (transport.reading or late):
                late -= not transport.reading
                feed(protocol, said[at : at + step])
                at += step
            late = 0 if deaf else 1
            await asyncio.sleep(0)
            for gate in sink.gates:
                gate.set_result(None)
            sink.gates.clear()
            for _ in range(3):
                await asyncio.sleep(0)
        assert sink.stored == dict(sent)
        answers = [wire.response(one) for one in transport.pdus()[1:]]
        expected = [(0x8001, 1, 0), (0x8001, 2, 0), (0x8030, 9, 0), (0x8001, 3, 0), (0x8001, 4, 0), (0x8030, 9, 0)]
        assert answers == expected
        assert transport.reading
        assert listener._hub.in_flight == 0
        protocol.connection_lost(None)
        listener._end()

    run_on("asyncio", main())


@pytest.mark.parametrize("how", ["abort", "closed"])
def test_an_association_that_ends_while_a_stream_is_written_gives_everything_back(how: str) -> None:
    async def main() -> None:
        sink = Slow()
        listener = dicore.listen(port=0, on_c_store=sink, limits=Limits(stream_from=100_000), window=4)
        listener._begin(asyncio.get_running_loop())
        protocol, transport = _Protocol(listener._hub), Wire()
        protocol.connection_made(transport)  # type: ignore[arg-type]
        feed(protocol, wire.associate_rq(wire.store_contexts(), user_items=WINDOW_4))
        feed(protocol, wire.store_message(*ct(1, 300_000)) + wire.store_message(*ct(2, 900), message=2))
        await asyncio.sleep(0)
        assert sink.gates
        if how == "abort":
            protocol.stop("enough")
        protocol.connection_lost(None)
        for gate in sink.gates:
            gate.set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)
        assert sink.stored == {}
        assert sink.calls[-1] == "abort"
        assert listener._hub.in_flight == 0
        listener._end()

    run_on("asyncio", main())


@pytest.mark.parametrize("secure", [False, True])
def test_long_data_sets_are_pipelined(run: Any, tmp_path: Any, secure: bool) -> None:
    """Beyond `stream_from`, four at a time, with short ones between them."""

    async def main() -> None:
        class Sink(Memory):
            async def write(self, handle: Any, pieces: Sequence[memoryview]) -> None:
                data = b"".join(pieces)
                await asyncio.get_running_loop().run_in_executor(None, sum, data[:1000])
                handle[1].extend(data)

        sink = Sink()
        tls: Any = {}
        client: Any = {}
        if secure:
            authority = trustme.CA()
            pem, ca = tmp_path / "node.pem", tmp_path / "ca.pem"
            authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
            authority.cert_pem.write_to_path(ca)
            tls, client = {"tls": server_context(pem)}, {"tls": client_context(ca)}
        sent = [ct(number, 9 << 20 if number % 2 == 0 else 50_000) for number in range(8)]
        async with dicore.listen(port=0, on_c_store=sink, window=4, **tls) as scp:
            async with dicore.connect(address(scp).replace("127.0.0.1", "localhost"), window=4, **client) as assoc:
                assert assoc.window == 4
                done = await asyncio.gather(*(assoc.c_store(part10(*one)) for one in sent))
                assert done == [0] * len(sent)
                assert await assoc.c_echo() == 0
            assert scp.counters["streamed"] == 4
        assert sink.stored == dict(sent)

    run(main())


# ---- answers in any order, as the requestor


def find_answers(numbers: Sequence[int], order: Sequence[int]) -> list[tuple[int, int | None]]:
    """For each step which operation answers, and with which match; None: its last answer."""
    left = dict.fromkeys(range(len(numbers)), 0)
    said: list[tuple[int, int | None]] = []
    for turn in order:
        open_ = sorted(left)
        if not open_:
            break
        one = open_[turn % len(open_)]
        if left[one] == numbers[one]:
            said.append((one, None))
            del left[one]
        else:
            said.append((one, left[one]))
            left[one] += 1
    for one in sorted(left):
        said += [(one, number) for number in range(left[one], numbers[one])] + [(one, None)]
    return said


def match(one: int, number: int) -> bytes:
    return wire.element(0x00100020, f"{one}-{number}".ljust(8).encode())


def response(field: int, to: int, status: int, sop_class: str, data: bytes | None = None) -> bytes:
    command = wire.command_set(
        wire.element(0x00000002, wire.uid(sop_class)),
        wire.element(0x00000100, wire.us(field)),
        wire.element(0x00000120, wire.us(to)),
        wire.element(0x00000800, wire.us(0x0101 if data is None else 1)),
        wire.element(0x00000900, wire.us(status)),
    )
    said = wire.data_pdu(1, command, command=True)
    return said if data is None else said + wire.data_pdu(1, data, command=False)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 4), min_size=2, max_size=5), st.lists(st.integers(0, 9), max_size=25))
def test_answers_in_any_order_reach_whoever_asked(numbers: list[int], order: list[int]) -> None:
    async def main() -> None:
        async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def pdu() -> wire.Pdu:
                head = await reader.readexactly(6)
                return wire.Pdu(head[0], await reader.readexactly(struct.unpack(">BxI", head)[1]))

            rq = await pdu()
            assert wire.item(0x53, struct.pack(">HH", 8, 8)) in rq.body
            user = wire.item(0x51, struct.pack(">I", 16384)) + wire.item(0x52, b"1.2.3") + wire.item(0x53, b"\0\5\0\1")
            context = wire.item(0x21, b"\1\0\0\0" + wire.item(0x40, wire.IMPLICIT.encode()))
            head = rq.body[:68] + wire.item(0x10, wire.APPLICATION_CONTEXT.encode())
            writer.write(wire.pdu(wire.AC, head + context + wire.item(0x50, user)))
            ids: dict[int, int] = {}
            while len(ids) < len(numbers):
                command, identifier = await pdu(), await pdu()
                fields = wire.parse_command(command.body[6:])
                key = int(identifier.body.rsplit(b"PN", 1)[-1].strip() or b"0") if b"PN" in identifier.body else -1
                assert key >= 0
                assert int.from_bytes(fields[0x00000110], "little") not in ids.values()
                ids[key] = int.from_bytes(fields[0x00000110], "little")
            for one, number in find_answers(numbers, order):
                if number is None:
                    writer.write(response(0x8020, ids[one], 0, FIND))
                else:
                    writer.write(response(0x8020, ids[one], 0xFF00, FIND, match(one, number)))
            while (await pdu()).kind != wire.RELEASE_RQ:
                pass
            writer.write(wire.pdu(wire.RELEASE_RP, bytes(4)))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        contexts = [(FIND, [uid.IMPLICIT_LITTLE])]
        async with dicore.connect(f"A@127.0.0.1:{port}", contexts=contexts, window=8) as assoc:
            assert assoc.window == 5

            async def ask(one: int) -> list[str]:
                wanted = wire.element(0x00100010, f"PN{one}".ljust(4).encode())
                return [ds.PatientID async for ds in assoc.c_find(wanted, level=None)]

            found = await asyncio.gather(*(ask(one) for one in range(len(numbers))))
            assert found == [[f"{one}-{number}" for number in range(count)] for one, count in enumerate(numbers)]
        server.close()

    run_on("asyncio", main())


# ---- answers in any order, as the acceptor


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 3), min_size=2, max_size=4), st.lists(st.integers(0, 9), max_size=20))
def test_handlers_answer_in_any_order_and_say_to_whom(numbers: list[int], order: list[int]) -> None:
    async def main() -> None:
        turns = [asyncio.Event() for _ in numbers]
        taken = asyncio.Event()

        async def find(request: FindRequest) -> AsyncIterator[dict[str, Any]]:
            one = int(str(request.identifier["PatientName"].value)[2:])
            for number in range(numbers[one]):
                await turns[one].wait()
                turns[one].clear()
                taken.set()
                yield {"PatientID": f"{one}-{number}"}
            await turns[one].wait()
            taken.set()

        async with dicore.listen(port=0, on_c_find=find, window=4) as scp:
            reader, writer = await asyncio.open_connection("127.0.0.1", scp.port)

            async def pdu() -> wire.Pdu:
                head = await reader.readexactly(6)
                return wire.Pdu(head[0], await reader.readexactly(struct.unpack(">BxI", head)[1]))

            contexts = [wire.context(1, FIND, [wire.IMPLICIT])]
            writer.write(wire.associate_rq(contexts, user_items=WINDOW_4))
            answer = await pdu()
            assert answer.kind == wire.AC
            assert wire.item(0x53, b"\0\4\0\4") in answer.body
            for one in range(len(numbers)):  # all at once, behind each other
                command = wire.command_set(
                    wire.element(0x00000002, wire.uid(FIND)),
                    wire.element(0x00000100, wire.us(0x0020)),
                    wire.element(0x00000110, wire.us(100 + one)),
                    wire.element(0x00000700, wire.us(0)),
                    wire.element(0x00000800, wire.us(1)),
                )
                keys = wire.element(0x00100010, f"PN{one}".ljust(4).encode())
                writer.write(wire.data_pdu(1, command, command=True) + wire.data_pdu(1, keys, command=False))
            await until(lambda: scp.counters["operations"] == len(numbers))
            for one, number in find_answers(numbers, order):
                turns[one].set()
                await taken.wait()
                taken.clear()
                fields = wire.parse_command((await pdu()).body[6:])
                assert int.from_bytes(fields[0x00000120], "little") == 100 + one
                status = int.from_bytes(fields[0x00000900], "little")
                if number is None:
                    assert status == 0
                else:
                    assert status == 0xFF00
                    assert f"{one}-{number}".encode() in (await pdu()).body
            writer.close()

    run_on("asyncio", main())


# ---- services beside each other


def test_find_get_and_move_are_interleaved_on_one_association(run: Any) -> None:
    async def main() -> None:
        ready = made_ready(12)
        everybody = asyncio.Barrier(4)

        async def find(request: FindRequest) -> AsyncIterator[dict[str, Any]]:
            await everybody.wait()
            for number in range(40):
                yield {"PatientID": f"{request.identifier['PatientName'].value}-{number}"}
                await asyncio.sleep(0)

        async def retrieve(request: RetrieveRequest) -> AsyncIterator[Any]:
            await everybody.wait()
            yield len(ready)
            yield ready

        sink = Memory()
        async with dicore.listen(port=0, on_c_store=sink) as destination:
            async with dicore.listen(
                port=0,
                on_c_find=find,
                on_c_get=retrieve,
                on_c_move=retrieve,
                window=4,
                destinations={"DEST": f"127.0.0.1:{destination.port}"},
            ) as scp:
                async with dicore.connect(address(scp), receive=True, window=4) as assoc:
                    assert assoc.window == 4

                    async def finds(name: str) -> list[str]:
                        return [ds.PatientID async for ds in assoc.c_find(level="STUDY", PatientName=name)]

                    async def gets() -> set[str]:
                        keys = {"level": "STUDY", "StudyInstanceUID": "1.2"}
                        return {ds.SOPInstanceUID async for ds in assoc.c_get(**keys)}  # type: ignore[arg-type]

                    moves = last_of(assoc.c_move(destination="DEST", level="STUDY", StudyInstanceUID="1.2"))
                    one, two, got, moved = await asyncio.gather(finds("A"), finds("B"), gets(), moves)
                assert one == [f"A-{n}" for n in range(40)]
                assert two == [f"B-{n}" for n in range(40)]
                assert got == set(sink.stored) == {ready_one.sop_instance_uid for ready_one in ready}
                assert (moved.status, moved.completed) == (0, 12)

    run(main())


def test_one_task_may_take_two_queries_in_turn(run: Any) -> None:
    """Even when the answers of the one that it does not look at come first, in great number."""

    async def main() -> None:
        first_done = asyncio.Event()

        async def find(request: FindRequest) -> AsyncIterator[dict[str, Any]]:
            first = str(request.identifier["PatientName"].value) == "A"
            if not first:
                await first_done.wait()
            for number in range(600):
                yield {"PatientID": f"{number}"}
            if first:
                first_done.set()

        async with dicore.listen(port=0, on_c_find=find, window=2) as scp:
            async with dicore.connect(address(scp), window=2) as assoc:
                one = assoc.c_find(level="STUDY", PatientName="A")
                two = assoc.c_find(level="STUDY", PatientName="B")
                head = [await anext(one)]
                behind = [ds async for ds in two]  # all of it, while one's 600 lie before it
                head += [ds async for ds in one]
                assert [int(ds.PatientID) for ds in head] == list(range(600))
                assert len(behind) == 600
                assert await assoc.c_echo() == 0

    run(main())


def test_answers_that_nobody_takes_are_bounded_while_others_wait(run: Any) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def find(request: FindRequest) -> AsyncIterator[dict[str, Any]]:
            number = 0
            while True:
                yield {"PatientID": f"{number}"}
                number += 1
                begun.set()

        async def get(request: Any) -> int:
            await until(lambda: done)
            return 0

        done = False
        async with dicore.listen(port=0, on_c_find=find, on_n_get=get, window=2) as scp:
            contexts = [FIND, "1.2.840.10008.5.1.4.34.6.1"]
            async with dicore.connect(address(scp), contexts=contexts, window=2) as assoc:
                one = assoc.c_find(level="STUDY", PatientName="A")
                await anext(one)
                responses = one._responses
                assert responses is not None
                responses.most = 1000
                waiting = asyncio.ensure_future(assoc.n_get("1.2.840.10008.5.1.4.34.6.1", "1.2"))
                await until(lambda: responses.final is not None)  # C-CANCEL went out, and was obeyed
                done = True
                await waiting
                with pytest.raises(AssociationStateError, match="1000 answers waited"):
                    await anext(one)
                assert await assoc.n_get("1.2.840.10008.5.1.4.34.6.1", "1.2")

    run(main())


def test_a_second_get_waits_for_the_first(run: Any) -> None:
    async def main() -> None:
        ready = made_ready(6)
        under_way = most = 0

        async def get(request: RetrieveRequest) -> AsyncIterator[Any]:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            wanted = int(str(request.identifier["StudyInstanceUID"].value)[-1])
            for one in ready[wanted * 3 : wanted * 3 + 3]:
                yield one
                await asyncio.sleep(0)
            under_way -= 1

        async with dicore.listen(port=0, on_c_get=get, window=4) as scp:
            async with dicore.connect(address(scp), receive=True, window=4) as assoc:

                async def take(number: int) -> list[str]:
                    study = f"1.2.{number}"
                    return [ds.SOPInstanceUID async for ds in assoc.c_get(level="STUDY", StudyInstanceUID=study)]

                found = await asyncio.gather(take(0), take(1))
                assert found == [
                    [one.sop_instance_uid for one in ready[:3]],
                    [one.sop_instance_uid for one in ready[3:]],
                ]
                assert most == 1
                async for _ in assoc.c_get(level="STUDY", StudyInstanceUID="1.2.0"):
                    with pytest.raises(AssociationStateError, match="in the middle of a C-GET"):
                        await anext(assoc.c_get(level="STUDY", StudyInstanceUID="1.2.1"))
                    break

    run(main())


# ---- sub-operations


class Together(Memory):
    """Answers none before `many` are here, and the last one first."""

    def __init__(self, many: int) -> None:
        super().__init__()
        self.many, self.most = many, 0
        self.waiting: list[asyncio.Future[int]] = []
        self.left = 12

    def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> Any:
        super().store(request, pieces)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.left -= 1
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == self.many or self.left == 0:
            for one in reversed(self.waiting):
                one.set_result(0)
            self.waiting = []

        async def answer() -> int:
            return await future

        return answer()


@pytest.mark.parametrize("kind", ["ready", "datasets"])
def test_the_instances_of_a_get_fill_the_window(run: Any, kind: str) -> None:
    async def main() -> None:
        ready = made_ready(12)

        async def get(request: RetrieveRequest) -> AsyncIterator[Any]:
            yield len(ready)
            if kind == "ready":
                yield ready
            else:
                for one in ready:
                    yield dicore.read(bytes(one.whole))

        sink = Together(3)
        async with dicore.listen(port=0, on_c_get=get, window=3) as scp:
            async with dicore.connect(address(scp), receive=True, window=5) as assoc:
                assert assoc.window == 3
                last = await last_of(assoc.c_get(to=sink, level="STUDY", StudyInstanceUID="1.2"))
                assert (last.status, last.completed) == (0, 12)
        assert sink.most == 3
        assert set(sink.stored) == {one.sop_instance_uid for one in ready}

    run(main())


def test_the_instances_of_a_move_fill_the_window_of_the_destination(run: Any) -> None:
    async def main() -> None:
        ready = made_ready(12)

        async def move(request: RetrieveRequest) -> AsyncIterator[Any]:
            yield len(ready)
            yield ready

        sink = Together(3)
        async with dicore.listen(port=0, on_c_store=sink, window=3) as destination:
            destinations = {"DEST": f"127.0.0.1:{destination.port}"}
            async with dicore.listen(port=0, on_c_move=move, window=4, destinations=destinations) as scp:
                async with dicore.connect(address(scp)) as assoc:  # the window is another one's business
                    assert assoc.window == 1
                    last = await last_of(assoc.c_move(destination="DEST", level="STUDY", StudyInstanceUID="1.2"))
                    assert (last.status, last.completed) == (0, 12)
            assert destination.counters["associations"] == 1
        assert sink.most == 3

    run(main())


@pytest.mark.parametrize("after", [0, 4, 9, 11])
def test_a_destination_that_goes_amid_a_window_leaves_each_instance_one_outcome(run: Any, after: int) -> None:
    async def main() -> None:
        ready = made_ready(12)

        async def move(request: RetrieveRequest) -> AsyncIterator[Any]:
            yield len(ready)
            yield ready

        class Going(Memory):
            gone = False

            async def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:  # type: ignore[override]
                super().store(request, pieces)
                if len(self.stored) > after and not self.gone:
                    self.gone = True
                    for one in list(destination._hub.open):
                        one.stop("gone")
                return 0

        sink = Going()
        async with dicore.listen(port=0, on_c_store=sink, window=3) as destination:
            destinations = {"DEST": f"127.0.0.1:{destination.port}"}
            async with dicore.listen(port=0, on_c_move=move, window=3, destinations=destinations) as scp:
                async with dicore.connect(address(scp)) as assoc:
                    answers = assoc.c_move(destination="DEST", level="STUDY", StudyInstanceUID="1.2")
                    if after == 0:  # a destination that has never answered is not tried again
                        with pytest.raises(DimseError, match="no sub-operation succeeded"):
                            await last_of(answers)
                        return
                    last = await last_of(answers)
                    assert last.status == 0xB000
                    assert (last.completed or 0) + (last.failed or 0) == 12
                    assert len(set(last.failed_uids)) == len(last.failed_uids) == last.failed
                    assert 1 <= last.failed <= 3
                    assert set(last.failed_uids) | set(sink.stored) == {one.sop_instance_uid for one in ready}
                    assert await assoc.c_echo() == 0

    run(main())
