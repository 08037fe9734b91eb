"""Durable before acknowledged, shown from outside: by the order of system calls, by a sync that fails, by SIGKILL."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import order
import pytest

import dicore
import wire
from conftest import Served, Serving, dicore_cli
from faults import count

SMALL = [sys.executable, str(Path(__file__).with_name("serve_small.py"))]
ASSOCIATIONS = 8
EACH = 25


def instances(first: int, count: int) -> dict[str, bytes]:
    """SOP Instance UID: data set; about 8 KB each, no two alike, as every 8-byte piece of pixels carries the number."""
    return {
        (name := wire.instance_uid(first + n)): wire.ct_data_set(name, side=64, fill=f"{first + n:08}".encode())
        for n in range(count)
    }


class Senders:
    """Several associations at once, each storing its share until it is through or the server is gone."""

    def __init__(self, port: int, shares: list[dict[str, bytes]]) -> None:
        self.statuses: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._send, args=(port, share), daemon=True) for share in shares]
        for thread in self._threads:
            thread.start()

    def _send(self, port: int, share: Mapping[str, bytes]) -> None:
        try:
            with wire.associate(port) as connection:
                for number, (name, data) in enumerate(share.items()):
                    self.statuses[name] = wire.store(connection, name, data, number + 1)
                wire.release(connection)
        except BaseException as error:
            self.errors.append(error)

    def wait(self, timeout: float = 90) -> None:
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "a sender hangs"

    @property
    def acknowledged(self) -> set[str]:
        return {name for name, status in self.statuses.items() if status == 0}


def shares(of: dict[str, bytes]) -> list[dict[str, bytes]]:
    items = list(of.items())
    return [dict(items[n::ASSOCIATIONS]) for n in range(ASSOCIATIONS)]


def kept(store: Path) -> dict[str, bytes]:
    """Read back by a fresh process's worth of opening: SOP Instance UID -> data set."""
    with dicore.Store(store) as opened:
        found = {}
        for uid in opened:
            record = bytes(opened.record(uid))
            found[uid] = record[144 + int.from_bytes(record[140:144], "little") :]
        return found


def traced(serve: Serving, folder: Path, *inject: str) -> tuple[Served, Path]:
    trace = folder / "trace"
    wrapper = ["strace", *order.OPTIONS, *inject, "-o", str(trace)]
    plain = {"UV_USE_IO_URING": "0"}  # libuv may submit its epoll changes through io_uring, which a trace cannot show
    return serve(None, wrapper=wrapper, command=SMALL, env=plain), trace


@pytest.mark.usefixtures("strace")
def test_no_success_leaves_before_its_bytes_are_on_the_disk(serve: Serving, tmp_path: Path) -> None:
    server, path = traced(serve, tmp_path)
    sent = instances(0, ASSOCIATIONS * EACH)
    senders = Senders(server.port, shares(sent))
    senders.wait()
    assert not senders.errors, senders.errors
    assert senders.acknowledged == sent.keys()
    assert server.stop() == 0
    found = order.check(order.Trace.read(path), sent, server.store / "segments")
    print(f"\n{found.successes} successes behind {found.syncs} syncs, {ASSOCIATIONS} associations, none too early")
    assert found.wrong == []
    assert found.successes == len(sent)
    assert found.syncs > 0
    assert kept(server.store) == sent


def test_the_order_check_finds_an_early_answer(tmp_path: Path) -> None:
    """The check itself: the same trace with the sync moved behind the answer, or without it, is refused."""
    name, folder = wire.instance_uid(1), tmp_path / "segments"
    data, segment = wire.ct_data_set(name, side=4), tmp_path / "segments" / "1.seg"
    rsp = wire.data_pdu(
        3,
        wire.command_set(
            wire.element(0x00000002, wire.uid(wire.CT_IMAGE)),
            wire.element(0x00000100, wire.us(0x8001)),
            wire.element(0x00000120, wire.us(1)),
            wire.element(0x00000800, wire.us(0x0101)),
            wire.element(0x00000900, wire.us(0)),
            wire.element(0x00001000, wire.uid(name)),
        ),
        command=True,
    )

    def text(raw: bytes) -> str:
        return "".join(f"\\x{b:02x}" for b in raw)

    def at(path: Path) -> str:
        return f"5<{text(str(path).encode())}>"

    write = f'1 pwritev2({at(segment)}, [{{iov_base="{text(b"HEAD" + data)}", iov_len=1}}], 1, 0, 0) = {len(data) + 4}'
    dsync = write.replace(", 0, 0) =", ", 0, RWF_DSYNC) =")
    sync, early = f"1 fdatasync({at(segment)}) = 0", f"1 fdatasync({at(segment)} <unfinished ...>"
    late, failed = "1 <... fdatasync resumed>) = 0", f"1 fdatasync({at(segment)}) = -1 EIO"
    answer = f'2 sendto(9<{text(b"socket:[7]")}>, "{text(rsp)}", {len(rsp)}, 0, NULL, 0) = {len(rsp)}'

    def verdict(*lines: str) -> order.Findings:
        (tmp_path / "trace").write_text("\n".join(lines) + "\n")
        return order.check(order.Trace.read(tmp_path / "trace"), {name: data}, folder)

    for good in ([write, sync, answer], [dsync, answer], [write, early, late, answer]):
        assert verdict(*good).wrong == []
        assert verdict(*good).successes == 1
    for bad in (
        [write, answer, sync],
        [write, answer],
        [write, early, answer, late],
        [sync, write, answer],
        [write, failed, answer],
        [answer, dsync],
        [write.replace(text(data[:9]), text(bytes(9))), sync, answer],
    ):
        assert verdict(*bad).wrong, bad


@pytest.mark.usefixtures("strace")
def test_a_sync_that_fails_is_answered_a700_and_reading_goes_on(serve: Serving, tmp_path: Path) -> None:
    """strace makes the twelfth sync of the commit thread fail with EIO, whichever call it is. Nothing of that group is
    acknowledged, the segment is sealed and never synced again, the next one is used, reads go on."""
    server, path = traced(serve, tmp_path, "-e", "inject=pwritev2,fdatasync:error=EIO:when=12")
    before, after = instances(1000, ASSOCIATIONS * EACH), instances(2000, ASSOCIATIONS * 5)
    senders = Senders(server.port, shares(before))
    senders.wait()
    assert not senders.errors, senders.errors
    refused = {name for name, status in senders.statuses.items() if status != 0}
    assert refused, "the sync failed and nobody was told"
    assert {senders.statuses[name] for name in refused} == {0xA700}
    again = Senders(server.port, [*shares(after), {name: before[name] for name in refused}])
    again.wait()
    assert not again.errors, again.errors
    assert again.acknowledged == after.keys() | refused, "the next segment takes what comes, and what was refused"
    assert server.stop() == 0

    trace = order.Trace.read(path)
    found = order.check(trace, before | after, server.store / "segments")
    assert found.wrong == []
    assert found.failures == len(refused)
    failed = next(c for c in trace.calls if c.is_sync and c.result < 0 and c.path.endswith(".seg"))
    later = [c for c in trace.calls if c.is_sync and c.path == failed.path and c.began > failed.ended]
    assert later == [], "a poisoned segment was synced again"
    held = kept(server.store)
    assert {name: held.get(name) for name in before | after} == before | after
    dicore_cli("store", "verify", server.store)


@pytest.mark.parametrize("segments", ["small", "default"])
def test_what_was_acknowledged_survives_sigkill(serve: Serving, tmp_path: Path, segments: str) -> None:
    """Five rounds of eight associations, killed after a random number of acknowledgements."""
    chance = random.Random(11)
    store, sent, acknowledged = tmp_path / "store", {}, set()
    for turn in range(count(2, 5, 20)):
        server = serve(store, command=SMALL if segments == "small" else ())
        mine = instances(10_000 * (turn + 1), 800)
        sent |= mine
        senders = Senders(server.port, shares(mine))
        enough = chance.randrange(1, 500)
        while len(senders.statuses) < enough and not senders.errors:
            threading.Event().wait(0.001)
        server.kill()
        senders.wait()
        acknowledged |= senders.acknowledged
    assert acknowledged
    dicore_cli("store", "verify", store)
    out = tmp_path / "out"
    dicore_cli("store", "export", store, out)
    held = kept(store)
    assert acknowledged <= held.keys(), f"{len(acknowledged - held.keys())} acknowledged instances are lost"
    assert all(sent.get(name) == data for name, data in held.items()), "damaged or foreign"
    assert len(list(out.rglob("*.dcm"))) == len(held)
