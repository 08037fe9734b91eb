"""T17: packets lost, a thin line, a partition, a reset, between two network namespaces. Every instance arrives bit for
bit, once, or is reported with a clear error."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import network
import pytest

import dicore
import wire
from conftest import Served, Serving, counts_of

ALL = os.environ.get("DICORE_FAULTS") == "torture"
ROUNDS = 3 if ALL else 1
COUNT = 12 if ALL else 8


@pytest.fixture(scope="module")
def pair() -> Iterator[network.Pair]:
    pair = network.open_pair()
    yield pair
    pair.close()


@pytest.fixture(autouse=True)
def whole_again(pair: network.Pair) -> Iterator[None]:
    yield
    pair.filter()
    network.run(*pair.inside(pair.b), "tc", "qdisc", "del", "dev", pair.device, "root", check=False)


@pytest.fixture
def served(serve: Serving, pair: network.Pair) -> Served:
    options = ("--host", network.SERVER, "--insecure", "--timeout", "network=8", "--metrics-port", "0")
    return serve(None, *options, command=[*network.dicore_in(pair, pair.a), "serve"])


@pytest.fixture
def sent(tmp_path: Path) -> dict[str, bytes]:
    """SOP Instance UID: data set, 131 KB each; the files are in tmp_path / "files"."""
    folder = tmp_path / "files"
    folder.mkdir()
    found = {}
    for number in range(COUNT):
        name = wire.instance_uid(500 + number)
        found[name] = wire.ct_data_set(name, side=256, fill=f"{number:08}".encode())
        meta = wire.explicit(0x00020010, "UI", wire.uid(wire.EXPLICIT))
        meta = (
            wire.explicit(0x00020002, "UI", wire.uid(wire.CT_IMAGE))
            + wire.explicit(0x00020003, "UI", wire.uid(name))
            + meta
        )
        group = wire.explicit(0x00020000, "UL", len(meta).to_bytes(4, "little"))
        (folder / f"{number}.dcm").write_bytes(bytes(128) + b"DICM" + group + meta + found[name])
    return found


class Sending:
    """`dicore send` in the client's namespace."""

    def __init__(self, pair: network.Pair, served: Served, folder: Path, *options: str) -> None:
        to = f"{served.ae_title}@{network.SERVER}:{served.port}"
        command = [
            *network.dicore_in(pair, pair.b),
            "send",
            str(folder),
            "--to",
            to,
            "--json",
            "--associations",
            "2",
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def report(self) -> dict[str, Any]:
        out, error = self.process.communicate(timeout=100)
        assert "Traceback" not in error
        return dict(json.loads(out)) if out else {"sent": 0, "failed": COUNT, "why": error}


def stored(served: Served) -> dict[str, bytes]:
    found = {}
    with dicore.Store(served.store, read_only=True) as store:
        assert store.verify().ok
        for name in store:
            record = bytes(store.record(name))
            found[name] = record[144 + int.from_bytes(record[140:144], "little") :]
    return found


@pytest.mark.parametrize("what", ["loss 1 %", "loss 5 %", "loss 20 %", "10 Mbit/s"])
def test_t17_what_is_slow_or_lossy_arrives_whole(
    pair: network.Pair, served: Served, sent: dict[str, bytes], tmp_path: Path, what: str
) -> None:
    if what.startswith("loss"):
        pair.lose(int(what.split()[1]))
    else:
        pair.slow_down("10mbit")
    for _ in range(ROUNDS):
        report = Sending(pair, served, tmp_path / "files", "--retries", "5").report()
        assert (report["sent"], report["failed"]) == (COUNT, 0), report
    pair.filter()
    assert served.stop() == 0
    assert stored(served) == sent


def counters_in(pair: network.Pair, served: Served) -> dict[str, int]:
    """The metrics are on the loopback of the server's namespace."""
    script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{served.metrics_port}/metrics').read().decode())"
    text = subprocess.run(
        [*pair.inside(pair.a), sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    return counts_of(text)


@pytest.mark.parametrize("seconds", [2, 5] if ALL else [2])
def test_t17_a_partition_ends(
    pair: network.Pair, served: Served, sent: dict[str, bytes], tmp_path: Path, seconds: int
) -> None:
    """Nothing passes for a while, in the middle: TCP goes on by itself, and each instance is there once."""
    pair.slow_down("4mbit")
    sending = Sending(pair, served, tmp_path / "files", "--retries", "5")
    until_under_way(pair, served)
    pair.filter("input drop", "output drop")
    threading.Event().wait(seconds)
    pair.filter()
    report = sending.report()
    assert (report["sent"], report["failed"]) == (COUNT, 0), report
    assert served.stop() == 0
    assert stored(served) == sent


def until_under_way(pair: network.Pair, served: Served) -> None:
    for _ in range(200):
        if counters_in(pair, served)["bytes"] > 200_000:
            return
    raise AssertionError("no transfer")


def test_t17_a_reset_is_an_error_without_retries_and_none_with_them(
    pair: network.Pair, served: Served, sent: dict[str, bytes], tmp_path: Path
) -> None:
    for options, whole in (([], False), (["--retries", "5"], True)):
        pair.slow_down("4mbit")
        sending = Sending(pair, served, tmp_path / "files", *options)
        until_under_way(pair, served)
        pair.filter(f"input tcp sport {served.port} reject with tcp reset")  # the server hears it, then we do
        threading.Event().wait(0.3)
        pair.filter()
        report = sending.report()
        assert report["sent"] + report["failed"] == COUNT
        assert (report["failed"] == 0) == whole, report
    assert served.stop() == 0
    assert stored(served) == sent


def test_a_peer_beyond_its_share_is_refused_and_others_are_not(pair: network.Pair, serve: Serving) -> None:
    """associations_per_peer: the loopback has none, so it takes another address. 4 associations, the fifth is rejected;
    32 more connections that say nothing, and the next is closed at once."""
    command = [*network.dicore_in(pair, pair.a), "serve"]
    served = serve(
        None,
        "--host",
        "0.0.0.0",
        "--insecure",
        "--limit",
        "associations_per_peer=4",
        "--metrics-port",
        "0",
        command=command,
    )

    def connect() -> socket.socket:
        with pair.sockets_of(pair.b):
            connection = socket.socket()
        connection.settimeout(30)
        connection.connect((network.SERVER, served.port))
        return connection

    open_ones = []
    for _ in range(4):
        connection = connect()
        connection.sendall(wire.associate_rq())
        assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
        open_ones.append(connection)
    find = [
        wire.context(1, "1.2.840.10008.5.1.4.1.2.2.1", [wire.IMPLICIT])
    ]  # the engine gives it to asyncio: one count for both
    for contexts in (wire.associate_rq(), wire.associate_rq(find)):
        refused = connect()
        refused.sendall(contexts)
        answer = wire.receive_pdu(refused)
        assert answer is not None
        assert (answer.kind, bytes(answer.body[1:4])) == (wire.RJ, bytes((2, 3, 2)))
        refused.close()
    silent = [connect() for _ in range(40)]
    for _ in range(200):
        if counters_in(pair, served)["connections"] == 4 + 2 + 40:
            break
    closed = 0
    for connection in silent:
        connection.setblocking(False)
        try:
            closed += connection.recv(1) == b""
        except BlockingIOError:
            continue
        except ConnectionError:
            closed += 1
    assert 4 <= closed <= 12  # 36 may be open; the refused ones may not be gone yet
    assert counters_in(pair, served)["limit_per_peer"] >= 2 + closed
    assert wire.echo(open_ones[0]) == 0
    with pair.sockets_of(pair.a), wire.associate(served.port) as other:  # another address, ours, is served
        assert wire.echo(other) == 0
        wire.release(other)
    for connection in [*open_ones, *silent]:
        connection.close()
    assert served.stop() == 0
