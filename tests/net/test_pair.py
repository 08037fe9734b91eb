"""Two associations of the core that talk to each other, with a clock that is only turned by hand: whatever they do, and
however the bytes are cut, both come to an end in Sta1, and nothing happens after it (PS3.8 9.2)."""

from __future__ import annotations

from collections import deque
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dicore._native.association import Association
from dicore._native.command import Command

C_STORE, C_FIND, C_ECHO, C_CANCEL = 0x0001, 0x0020, 0x0030, 0x0FFF
ARTIM, REQUEST, NETWORK, DIMSE, IDLE = 30, 25, 60, 70, 300
LONGEST = max(ARTIM, REQUEST, NETWORK, DIMSE, IDLE)
SIDES = st.integers(0, 1)
SELDOM = st.integers(0, 11).map(lambda number: number == 7)  # or no association would live for fifty steps


class Side:
    """One end: its core, the bytes on their way to it, and what its user knows."""

    def __init__(self) -> None:
        self.core = Association(artim=ARTIM, request=REQUEST, network=NETWORK, dimse=DIMSE, idle=IDLE)
        self.inbox = bytearray()
        self.eof = False  # behind the inbox
        self.gone = False  # the transport, at this end
        self.ended = False
        self.asked: dict[int, int] = {}  # message id -> command field of requests without a final answer
        self.owed: dict[int, int] = {}  # the peer's
        self.said: deque[bytes] = deque()  # data sets that the peer has not seen whole
        self.part = bytearray()
        self.next_id = 0
        self.cancelled: list[int] = []
        self.since: int | None = None  # when ARTIM began to run
        self.events: list[tuple[Any, ...]] = []

    def message_id(self) -> int:
        self.next_id += 1
        return self.next_id


class Pair(RuleBasedStateMachine):
    @initialize(established=st.sampled_from([True, True, True, False]))
    def connect(self, established: bool) -> None:
        self.now = 1000
        self.sides = (Side(), Side())
        requestor, acceptor = self.sides
        assert requestor.core.request()
        assert requestor.core.connected()
        assert acceptor.core.connected()
        for side in self.sides:
            self.flush(side)
        if established:
            self.deliver(1, 1 << 20)
            self.decide(True)
            self.deliver(0, 1 << 20)
            assert [side.core.state for side in self.sides] == [6, 6]

    # -- the wire

    def other(self, side: Side) -> Side:
        return self.sides[1 - self.sides.index(side)]

    def flush(self, side: Side) -> None:
        """Send what is to be sent, close what is to be closed, ask for the time."""
        other = self.other(side)
        if not side.gone:
            other.inbox += side.core.output()
            if side.core.closing:
                self.hang_up(side)
        in_artim = side.core.state in (2, 13)
        if in_artim and side.since is None:
            side.since = self.now
        elif not in_artim:
            side.since = None
        at = side.core.deadline(self.now)
        if in_artim:  # PS3.8 9.1.5: from the moment of the state, and no byte of the peer winds it up
            assert at == side.since + ARTIM
        if at is not None and side.core.state != 1:
            assert self.now <= at <= self.now + LONGEST

    def hang_up(self, side: Side) -> None:
        side.gone = True
        side.inbox.clear()
        self.other(side).eof = True
        event = side.core.closed()
        self.happened(side, [] if event is None else [event])

    def send(self, side: Side, command: Command, data: bytes | None = None) -> bool:
        said = side.core.send(command, data)
        if said is None:
            assert side.core.state not in (6, 8) or side.core.failed
            return False
        # what the core had said before has been taken after every step, so the order is right
        self.other(side).inbox += said
        if data is not None:
            side.said.append(data)
        self.flush(side)
        return True

    def happened(self, side: Side, events: list[tuple[Any, ...]]) -> None:
        for event in events:
            assert not side.ended, f"{event} after {side.events}"
            side.events.append(event[:1])
            match event:
                case ("command", command, last):
                    self.command(side, command, last)
                case ("data", data, last):
                    side.part += data
                    if last:
                        assert bytes(side.part) == self.other(side).said.popleft()
                        side.part.clear()
                case ("failed", *_):
                    raise AssertionError("nobody breaks the protocol here")
                case ("abort" | "closed" | "associate_rj",) | ("release_rp", False):
                    side.ended = True

    def command(self, side: Side, command: Command, last: bool) -> None:
        if command.is_response:
            field = side.asked[command.responded_to or 0]  # a response to something
            assert command.field == field | 0x8000
            if command.status not in (0xFF00, 0xFF01):
                del side.asked[command.responded_to or 0]
        elif command.field == C_CANCEL:
            assert command.responded_to in self.other(side).cancelled
        else:
            assert command.message_id not in side.owed
            side.owed[command.message_id or 0] = command.field
            assert last == (command.field == C_ECHO)

    # -- what may happen

    @rule(which=SIDES, size=st.one_of(st.integers(1, 20), st.just(1 << 20)))
    def deliver(self, which: int, size: int) -> None:
        side = self.sides[which]
        if side.gone:
            side.inbox.clear()
            return
        piece = bytes(side.inbox[:size])
        del side.inbox[:size]
        if piece:
            self.happened(side, side.core.receive(piece))
        elif side.eof:
            self.hang_up(side)
        self.flush(side)

    @rule(by=st.sampled_from([1, 2, 3, 5, 8]), long=SELDOM, more=st.sampled_from([24, 31, 61, 301]))
    def time_passes(self, by: int, long: bool = False, more: int = 0) -> None:
        self.now += more if long else by
        for side in self.sides:
            state, at = side.core.state, side.core.deadline(self.now)
            event = side.core.tick(self.now)
            due = at is not None and at <= self.now and state != 1 and not side.gone
            assert (event is not None) == due, (state, at, self.now, event)
            if event is not None:
                self.happened(side, [event])
                assert side.core.state in (13, 1)
                assert state not in (2, 13) or side.core.closing
            self.flush(side)

    @precondition(lambda self: self.sides[1].core.state == 3)
    @rule(accept=st.sampled_from([True, True, True, False]))
    def decide(self, accept: bool) -> None:
        side = self.sides[1]
        assert side.core.accept() if accept else side.core.reject()
        self.flush(side)

    @rule(which=SIDES, field=st.sampled_from([C_STORE, C_FIND, C_ECHO]), size=st.integers(0, 40))
    def ask(self, which: int, field: int, size: int) -> None:
        side = self.sides[which]
        if side.core.state == 8:  # the peer wants to go: a user answers, and asks nothing more
            return
        number = side.message_id()
        data = None if field == C_ECHO else bytes([number & 0xFF]) * (2 * size)
        command = Command(field, message_id=number, affected_class="1.2.840.10008.1.1")
        side.asked[number] = field
        if not self.send(side, command, data):
            del side.asked[number]

    @rule(which=SIDES, status=st.sampled_from([0, 0xFF00, 0xFF00, 0xA700, 0xFE00]), pick=st.integers(0, 9))
    def answer(self, which: int, status: int, pick: int) -> None:
        side = self.sides[which]
        if not side.owed:
            return
        number = list(side.owed)[pick % len(side.owed)]  # in any order
        field = side.owed[number]
        pending = status == 0xFF00
        if pending and field != C_FIND:
            return
        command = Command(field | 0x8000, responded_to=number, status=status)
        if self.send(side, command, b"\x08\0\x52\0" if pending else None) and not pending:
            del side.owed[number]

    @rule(which=SIDES, pick=st.integers(0, 9))
    def cancel(self, which: int, pick: int) -> None:
        side = self.sides[which]
        finds = [number for number, field in side.asked.items() if field == C_FIND]
        if finds and side.core.state == 6:
            number = finds[pick % len(finds)]
            side.cancelled.append(number)
            assert self.send(side, Command(C_CANCEL, responded_to=number))

    @rule(which=SIDES, really=SELDOM)
    def ask_to_release(self, which: int, really: bool) -> None:
        if really:
            self.release(which)

    @rule(really=SELDOM)
    def both_ask_to_release(self, really: bool) -> None:
        if really:
            self.release(0)
            self.release(1)

    def release(self, which: int) -> None:
        side = self.sides[which]
        allowed = side.core.state == 6
        assert side.core.release() == allowed
        self.flush(side)

    @rule(which=SIDES)
    def reply(self, which: int) -> None:
        side = self.sides[which]
        allowed = side.core.state in (8, 9, 12)
        assert side.core.release_reply() == allowed
        self.flush(side)

    @rule(which=SIDES, really=SELDOM)
    def abort(self, which: int, really: bool) -> None:
        if not really:
            return
        side = self.sides[which]
        allowed = 3 <= side.core.state <= 12
        assert side.core.abort() == allowed
        self.flush(side)

    @rule(which=SIDES, really=SELDOM, at_all=st.booleans())
    def break_connection(self, which: int, really: bool, at_all: bool) -> None:
        if really and at_all and not self.sides[which].gone:
            self.hang_up(self.sides[which])
            self.flush(self.sides[which])

    # -- what must hold

    @invariant()
    def over_is_over(self) -> None:
        for side in getattr(self, "sides", ()):
            assert not side.ended or side.core.state in (1, 13)
            assert not side.gone or side.core.state == 1
            if side.ended:
                assert not side.core.release()
                assert not side.core.accept()
                assert side.core.send(Command(C_ECHO, message_id=1)) is None

    def teardown(self) -> None:
        """Left to themselves, with users who do what is asked of them, both end."""
        for _ in range(200):
            if all(side.core.state == 1 for side in self.sides):
                break
            if self.sides[1].core.state == 3:
                self.decide(True)
            for which, side in enumerate(self.sides):
                while side.inbox and not side.gone:
                    self.deliver(which, 1 << 20)
                if side.eof and not side.gone:
                    self.deliver(which, 1)
                while side.owed and side.core.state in (6, 8):
                    self.answer(which, 0, 0)
                if side.core.state == 6:
                    self.release(which)
                if side.core.state in (8, 9, 12):
                    self.reply(which)
            if not any(side.inbox for side in self.sides):
                self.time_passes(31)
        assert [side.core.state for side in self.sides] == [1, 1]
        for side in self.sides:
            assert side.core.receive(b"\4\0\0\0") == []
            assert side.core.tick(self.now + 10_000) is None


Pair.TestCase.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPair = Pair.TestCase
