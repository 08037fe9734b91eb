"""One association of a listener without a socket: any split, any cut, memory and timers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from netcommon import CT, Memory, Wire, ct, feed

import wire
from dicore.net import PENDING, Limits, StoreRequest, Timeouts, listen
from dicore.net.transport import Listener, _Protocol

KIB = 1024


def made(sink: Any, peer: tuple[str, int] = ("127.0.0.1", 4711), **options: Any) -> tuple[Listener, _Protocol, Wire]:
    listener = listen(port=0, on_c_store=sink, **options)
    return listener, *joined(listener, peer)


def joined(listener: Listener, peer: tuple[str, int] = ("127.0.0.1", 4711)) -> tuple[_Protocol, Wire]:
    protocol, transport = _Protocol(listener._hub), Wire(peer)
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport


RQ = wire.associate_rq(wire.store_contexts())
SIZES = (2, 600, 5_000, 70_000, 700_000)
INSTANCES = [ct(number, size) for number, size in enumerate(SIZES)]


def recorded(piece: int = 16_000) -> bytes:
    """An association: echo, five instances, echo, release."""
    messages = [
        wire.store_message(instance, data, message=number + 2, piece=piece)
        for number, (instance, data) in enumerate(INSTANCES)
    ]
    echo = wire.data_pdu(1, wire.echo_rq(1), command=True)
    return b"".join([RQ, echo, *messages, echo, wire.pdu(wire.RELEASE_RQ, bytes(4))])


def assert_whole(sink: Memory, transport: Wire) -> None:
    assert sink.stored == dict(INSTANCES)
    said = transport.pdus()
    assert [one.kind for one in said] == [wire.AC] + [wire.DATA] * (len(INSTANCES) + 2) + [wire.RELEASE_RP]
    assert [wire.response(one) for one in said[1:-1]] == [
        (0x8030, 1, 0),
        *((0x8001, number + 2, 0) for number in range(len(INSTANCES))),
        (0x8030, 1, 0),
    ]


@pytest.mark.parametrize(
    ("step", "piece"),
    [(1, 1000), (2, 1000), (3, 16_000)]
    + [(step, piece) for step in (7, 64, 1000, 4096, 65_537, 1 << 30) for piece in (1000, 16_000, 1_000_000)],
)
def test_any_split_of_the_stream_gives_the_same(step: int, piece: int) -> None:
    sink = Memory()
    listener, protocol, transport = made(sink)
    feed(protocol, recorded(piece), step)
    assert_whole(sink, transport)
    assert listener._hub.in_flight == 0
    assert sink.calls == ["store"] * len(INSTANCES)


@pytest.mark.parametrize("seed", range(20))
def test_random_splits_and_tiny_pdus_give_the_same(seed: int) -> None:
    rng = random.Random(seed)
    sink = Memory()
    listener, protocol, transport = made(sink)
    data = recorded(rng.choice([100, 333, 2_000, 50_000]))
    feed(protocol, data, [rng.choice([1, 5, 100, 3_000, 40_000, 200_000]) for _ in range(50)])
    assert_whole(sink, transport)
    assert listener._hub.in_flight == 0


def test_a_cut_at_every_byte_leaves_nothing_behind() -> None:
    instance, data = ct(1, 300)
    stream = RQ + wire.store_message(instance, data, piece=100) + wire.pdu(wire.RELEASE_RQ, bytes(4))
    whole = len(stream) - 10
    for end in range(len(stream)):
        sink = Memory()
        listener, protocol, _ = made(sink)
        feed(protocol, stream[:end], 61)
        protocol.connection_lost(None)
        assert (sink.stored == {instance: data}) == (end >= whole), end
        assert listener._hub.in_flight == 0
        assert listener.associations == 0
        assert not listener._hub.open


def test_a_request_says_all_about_itself() -> None:
    sink = Memory()
    _, protocol, _ = made(sink, ("10.1.2.3", 99))
    instance, data = ct(5)
    feed(protocol, RQ + wire.store_message(instance, data, message=77))
    (request,) = sink.requests
    assert (request.message_id, request.sop_class_uid, request.sop_instance_uid) == (77, CT, instance)
    assert (request.transfer_syntax, request.priority) == (wire.EXPLICIT, 0)
    assert (request.calling_ae, request.called_ae, request.peer) == ("TEST", "DICORE", "10.1.2.3:99")


def test_pieces_of_many_tiny_fragments_are_joined() -> None:
    """A data set in PDVs of 2 bytes must not become a list of its bytes."""
    seen: list[int] = []

    class Counting(Memory):
        def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:
            seen.append(len(pieces))
            return super().store(request, pieces)  # type: ignore[no-any-return]

    sink = Counting()
    _, protocol, _ = made(sink)
    instance, data = ct(3, 20_000)
    feed(protocol, RQ + wire.store_message(instance, data, piece=2))
    assert sink.stored == {instance: data}
    assert seen[0] < 5


def test_a_view_that_the_sink_keeps_stays_as_it_was() -> None:
    kept: list[memoryview] = []

    class Keeping(Memory):
        def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:
            kept.extend(pieces)
            return 0

    _, protocol, _ = made(Keeping())
    feed(protocol, RQ)
    wanted = b""
    for number in range(30):
        instance, data = ct(number, 30_000)
        wanted += data
        feed(protocol, wire.store_message(instance, data), 50_000)
    assert b"".join(kept) == wanted
    assert all(piece.readonly for piece in kept)


def test_a_slow_sender_holds_little_more_than_it_sent() -> None:
    listener, protocol, _ = made(Memory())
    instance, data = ct(1, 300_000)
    message = wire.store_message(instance, data)
    feed(protocol, RQ)
    assert listener._hub.in_flight == 0
    for at in range(0, 100_000, 50):
        feed(protocol, message[at : at + 50])
        assert listener._hub.in_flight <= 4 * at + 8 * KIB


def test_idle_associations_hold_no_buffer() -> None:
    listener, protocol, _ = made(Memory())
    feed(protocol, RQ + wire.store_message(*ct(1, 100_000)), 30_000)
    assert protocol.idle
    assert listener._hub.in_flight == 0


# ---- answers that come later


def pending_sink() -> tuple[Memory, list[StoreRequest]]:
    waiting: list[StoreRequest] = []

    class Pending(Memory):
        def store(self, request: StoreRequest, pieces: Sequence[memoryview]) -> int:
            super().store(request, pieces)
            waiting.append(request)
            return PENDING

    return Pending(), waiting


def test_pending_is_answered_once_and_gives_its_memory_back() -> None:
    sink, waiting = pending_sink()
    listener, protocol, transport = made(sink)
    feed(protocol, RQ + wire.store_message(*ct(1, 100_000), message=9), 30_000)
    assert [one.kind for one in transport.pdus()] == [wire.AC]
    assert listener._hub.in_flight > 100_000
    assert not protocol.idle
    waiting[0].answer(0xB000)
    assert wire.response(transport.pdus()[1]) == (0x8001, 9, 0xB000)
    assert listener._hub.in_flight == 0
    assert protocol.idle
    with pytest.raises(RuntimeError, match="answered"):
        waiting[0].answer(0)


def test_an_answer_after_the_end_only_gives_memory_back() -> None:
    sink, waiting = pending_sink()
    listener, protocol, transport = made(sink)
    feed(protocol, RQ + wire.store_message(*ct(1, 100_000)))
    protocol.connection_lost(None)
    assert listener._hub.in_flight > 0
    waiting[0].answer(0)
    assert listener._hub.in_flight == 0
    assert [one.kind for one in transport.pdus()] == [wire.AC]
    assert not listener._hub.open


def test_other_associations_use_other_buffers_while_one_waits() -> None:
    sink, waiting = pending_sink()
    listener, first, _ = made(sink)
    second, _ = joined(listener)
    pieces: list[bytes] = []
    for number, protocol in enumerate((first, second)):
        instance, data = ct(number, 50_000)
        feed(protocol, RQ + wire.store_message(instance, data))
        pieces.append(data)
    assert [sink.stored[one.sop_instance_uid] for one in waiting] == pieces
    for one in waiting:
        one.answer(0)
    assert listener._hub.in_flight == 0


# ---- streams


@pytest.mark.parametrize("step", [997, 60_000, 1 << 30])
def test_a_long_data_set_is_streamed(step: int) -> None:
    sink = Memory()
    listener, protocol, transport = made(sink, limits=Limits(stream_from=200_000))
    instance, data = ct(1, 3_000_000)
    feed(protocol, RQ + wire.store_message(instance, data) + wire.store_message(*ct(2), message=2), step)
    assert sink.stored == dict([(instance, data), ct(2)])
    assert sink.calls[0] == "begin"
    assert sink.calls[-2:] == ["commit", "store"]
    assert set(sink.calls[1:-2]) == {"write"}
    assert len(sink.calls) < 25  # a write per full buffer, not per PDV
    assert sink.largest_write < 2 << 20
    assert [wire.response(one) for one in transport.pdus()[1:]] == [(0x8001, 1, 0), (0x8001, 2, 0)]
    assert listener.counters["streamed"] == 1
    assert listener._hub.in_flight == 0


@pytest.mark.parametrize("where", ["begin", "write", "commit"])
def test_a_stream_that_fails_is_aborted_and_answered(where: str) -> None:
    class Failing(Memory):
        def begin(self, request: StoreRequest) -> Any:
            if where == "begin":
                raise OSError("no")
            return super().begin(request)

        def write(self, handle: Any, pieces: Sequence[memoryview]) -> None:
            super().write(handle, pieces)
            if where == "write" and len(handle[1]) > 900_000:
                raise OSError("no")

        def commit(self, handle: Any) -> Any:
            raise OSError("no")

    sink = Failing()
    listener, protocol, transport = made(sink, limits=Limits(stream_from=200_000))
    feed(protocol, RQ + wire.store_message(*ct(1, 3_000_000)) + wire.store_message(*ct(2), message=2), 50_000)
    assert [wire.response(one) for one in transport.pdus()[1:]] == [(0x8001, 1, 0xC000), (0x8001, 2, 0)]
    assert sink.calls.count("abort") == (where != "begin")
    assert listener._hub.in_flight == 0
    assert listener.counters["stores_failed"] == 1


def test_a_stream_whose_peer_goes_is_aborted() -> None:
    sink = Memory()
    listener, protocol, _ = made(sink, limits=Limits(stream_from=200_000))
    feed(protocol, RQ + wire.store_message(*ct(1, 3_000_000))[:2_000_000])
    protocol.connection_lost(None)
    assert sink.calls[-1] == "abort"
    assert not sink.stored
    assert listener._hub.in_flight == 0


# ---- limits


def test_memory_in_flight_is_bounded_and_all_arrive() -> None:
    limits = Limits(in_flight=2 << 20, in_flight_per_peer=2 << 20)
    sink = Memory()
    listener, *_ = made(sink, limits=limits)
    hub = listener._hub
    count = 12
    instances = [ct(number, 900_000) for number in range(count)]
    streams = [bytearray(RQ + wire.store_message(*one)) for one in instances]
    joinings = [joined(listener) for _ in range(count)]
    turns = 0
    while any(streams):
        for stream, (protocol, transport) in zip(streams, joinings, strict=True):
            if stream and transport.reading:
                feed(protocol, bytes(stream[:40_000]))
                del stream[:40_000]
            assert hub.in_flight <= limits.in_flight + (512 + 64 * count) * KIB
        hub.tick()
        turns += 1
        assert turns < 1000
    assert sink.stored == dict(instances)
    assert listener.counters["limit_in_flight"] > 0
    assert hub.in_flight == 0
    assert all(transport.reading for _, transport in joinings)


def test_a_peer_is_not_read_while_its_messages_wait() -> None:
    sink, waiting = pending_sink()
    listener, protocol, transport = made(sink, limits=Limits(in_flight_per_peer=1 << 20))
    feed(protocol, RQ)
    number = 0
    while transport.reading:
        feed(protocol, wire.store_message(*ct(number, 60_000), message=number))
        number += 1
        assert number < 100
    other, other_transport = joined(listener, ("10.0.0.9", 5))
    feed(other, RQ + wire.store_message(*ct(500, 60_000)))
    assert other_transport.reading  # another peer has its own limit
    for one in waiting:
        one.answer(0)
    assert transport.reading
    assert listener._hub.in_flight == 0
    assert len(transport.pdus()) == 1 + number


def test_one_address_may_not_take_all_associations() -> None:
    listener, *_ = made(Memory(), limits=Limits(associations_per_peer=2))
    far, near = [], []
    for port in range(3):
        far.append(joined(listener, ("10.0.0.7", port)))
        near.append(joined(listener, ("127.0.0.1", port)))
        feed(far[-1][0], RQ)
        feed(near[-1][0], RQ)
    assert [transport.pdus()[0].kind for _, transport in far] == [wire.AC, wire.AC, wire.RJ]
    assert far[2][1].pdus()[0].body[1:] == bytes((2, 3, 2))  # transient, presentation provider, local limit exceeded
    assert all(transport.pdus()[0].kind == wire.AC for _, transport in near)
    assert listener.counters["limit_per_peer"] == 1


def test_too_many_associations_are_told_so() -> None:
    listener, first, transport = made(Memory(), limits=Limits(associations=1))
    feed(first, RQ)
    second, other = joined(listener)
    feed(second, RQ)
    assert [transport.pdus()[0].kind, other.pdus()[0].kind] == [wire.AC, wire.RJ]
    assert other.pdus()[0].body[1:] == bytes((2, 3, 2))  # transient, presentation provider, local limit exceeded
    assert listener.counters["limit_associations"] == 1
    assert second.why == "rejected: too many associations"


def test_a_data_set_beyond_the_limit_aborts() -> None:
    sink = Memory()
    listener, protocol, transport = made(sink, limits=Limits(dataset=100_000, stream_from=50_000))
    feed(protocol, RQ + wire.store_message(*ct(1, 300_000)), 20_000)
    assert transport.pdus()[-1].kind == wire.ABORT
    assert listener.counters["limit_dataset"] == 1
    assert sink.calls[-1] == "abort"
    assert not sink.stored


# ---- policy


def answer_of(contexts: Sequence[bytes], **options: Any) -> dict[int, tuple[int, str]]:
    """Context id: (result, transfer syntax) of the A-ASSOCIATE-AC."""
    _, protocol, transport = made(Memory(), **options)
    feed(protocol, wire.associate_rq(contexts))
    body = transport.pdus()[0].body
    at, found = 68, {}
    while at < len(body):
        size = int.from_bytes(body[at + 2 : at + 4])
        if body[at] == 0x21:
            name = body[at + 8 : at + 4 + size]
            syntax = name[4 : 4 + int.from_bytes(name[2:4])].decode() if len(name) > 4 else ""
            found[body[at + 4]] = body[at + 6], syntax
        at += 4 + size
    return found


def test_every_class_is_taken_in_the_first_syntax_proposed() -> None:
    contexts = [
        wire.context(1, CT, [wire.EXPLICIT, wire.IMPLICIT]),
        wire.context(3, "1.2.3.4.5.6", ["1.2.3.99", wire.IMPLICIT]),
        wire.context(255, wire.VERIFICATION, [wire.IMPLICIT]),
    ]
    assert answer_of(contexts) == {1: (0, wire.EXPLICIT), 3: (0, "1.2.3.99"), 255: (0, wire.IMPLICIT)}


def test_classes_and_syntaxes_can_be_restricted() -> None:
    contexts = [
        wire.context(1, CT, [wire.EXPLICIT, wire.IMPLICIT]),
        wire.context(3, "1.2.3", [wire.IMPLICIT]),
        wire.context(5, CT, [wire.EXPLICIT]),
        wire.context(7, wire.VERIFICATION, [wire.IMPLICIT]),
    ]
    got = answer_of(contexts, sop_classes=[CT], transfer_syntaxes=["ImplicitVRLittleEndian"])
    assert got[1] == (0, wire.IMPLICIT)
    assert [got[number][0] for number in (3, 5, 7)] == [3, 4, 0]  # abstract syntax, transfer syntaxes not supported


@pytest.mark.parametrize(
    ("options", "triple"),
    [({"check_called_ae": True}, (1, 1, 7)), ({"calling_ae": ["FRIEND"]}, (1, 1, 3)), ({}, None)],
    ids=["called", "calling", "none"],
)
def test_ae_titles_can_be_checked(options: dict[str, Any], triple: tuple[int, int, int] | None) -> None:
    _, protocol, transport = made(Memory(), ae_title="OTHER", **options)
    feed(protocol, RQ)
    (said,) = transport.pdus()
    assert said.kind == (wire.AC if triple is None else wire.RJ)
    if triple is not None:
        assert tuple(said.body[1:]) == triple


def test_without_a_sink_only_verification_is_served() -> None:
    listener = listen(port=0)
    protocol, transport = joined(listener)
    feed(protocol, RQ + wire.data_pdu(1, wire.echo_rq(), command=True))
    assert wire.response(transport.pdus()[1]) == (0x8030, 1, 0)
    assert protocol.echoes == 1


def test_an_unknown_request_is_answered_0211_and_its_data_set_dropped() -> None:
    listener, protocol, transport = made(Memory())
    find = wire.command_set(
        wire.element(0x00000002, wire.uid(CT)),
        wire.element(0x00000100, wire.us(0x0020)),
        wire.element(0x00000110, wire.us(4)),
        wire.element(0x00000800, wire.us(0x0001)),
    )
    data = wire.data_pdu(3, find, command=True) + wire.data_pdu(3, b"\0" * 500, command=False)
    feed(protocol, RQ + data + wire.data_pdu(1, wire.echo_rq(5), command=True), 33)
    assert [wire.response(one) for one in transport.pdus()[1:]] == [(0x8020, 4, 0x0211), (0x8030, 5, 0)]
    assert listener.counters["unsupported"] == 1


@pytest.mark.parametrize("instance", ["", "x y", "x\\y", "1" * 66])
def test_an_instance_uid_that_is_none_is_refused(instance: str) -> None:
    sink = Memory()
    _, protocol, transport = made(sink)
    feed(protocol, RQ + wire.store_message(instance, ct(1)[1]) + wire.data_pdu(1, wire.echo_rq(5), command=True))
    field, _, status = wire.response(transport.pdus()[1])
    assert (field, status) == (0x8001, 0x0117)
    assert wire.response(transport.pdus()[2]) == (0x8030, 5, 0)
    assert not sink.calls


@pytest.mark.parametrize("status", [None, "0", -5, 70_000, True])
def test_a_status_that_is_none_is_a_fault_of_the_sink(status: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, protocol, transport = made(Memory(status))
    feed(protocol, RQ + wire.store_message(*ct(1)))
    expected = 1 if status is True else 0xC000
    assert wire.response(transport.pdus()[1])[2] == expected
    assert (expected == 1) or "not a DIMSE status" in caplog.text


# ---- time


def clocked(**times: float) -> tuple[Listener, _Protocol, Wire]:
    return made(Memory(), timeouts=Timeouts(**times))


async def ticking(listener: Listener, transport: Wire) -> None:
    import asyncio

    while not transport.closed:
        await asyncio.sleep(0.01)
        listener._hub.tick()


def test_a_silent_peer_is_closed_by_artim(run: Any) -> None:
    listener, protocol, transport = clocked(artim=0.05)
    run(ticking(listener, transport))
    assert not transport.sent
    assert protocol.why == "timeout: artim"
    assert listener.counters["timeout_artim"] == 1


@pytest.mark.parametrize("phase", ["network", "idle"])
def test_a_peer_that_falls_silent_is_aborted(run: Any, phase: str) -> None:
    listener, protocol, transport = clocked(artim=0.05, **{phase: 0.05})
    feed(protocol, RQ + (wire.store_message(*ct(1, 5000))[:-20] if phase == "network" else b""))
    run(ticking(listener, transport))
    assert transport.pdus()[-1].kind == wire.ABORT
    assert protocol.why == f"timeout: {phase}"
    assert listener.counters[f"timeout_{phase}"] == 1
    assert listener._hub.in_flight == 0
