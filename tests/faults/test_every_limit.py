"""Each limit of `dicore.net.Limits` and `Timeouts`, on both drivers: what the peer gets, and the counter that tells of
it. docs/reference/limits.md is the table; it is checked against the code here."""

from __future__ import annotations

import dataclasses
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attacks
import pytest

import dicore
import wire
from conftest import ROOT, Served, Serving
from dicore.net import Limits, Timeouts

MIB = 1 << 20
RJ_FULL = "A-ASSOCIATE-RJ 2/3/2"  # transient, presentation provider, local limit exceeded
SMALL = {
    "associations": "6",
    "pdu": "32KiB",
    "negotiation": "8 KiB",
    "command": "2k",
    "identifier": "16KiB",
    "dataset": "4MiB",
}


def started(serve: Serving, *options: str, **settings: str) -> Served:
    given = [text for name, value in settings.items() for text in ("--limit", f"{name}={value}")]
    return serve(None, "--durability", "relaxed", "--metrics-port", "0", *given, *options)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, driver: str) -> Iterator[Served]:
    served = started(Serving(tmp_path_factory.mktemp("limits"), driver), **SMALL)
    yield served
    assert served.stop() == 0
    assert served.process.stdout is not None
    served.process.stdout.close()


def counted(served: Served, name: str, before: dict[str, int], by: int = 1) -> None:
    assert served.counters()[name] - before[name] == by, name


def refused(data: bytes, answer: str, *, associated: bool, served: Served, counter: str, by: int = 1) -> None:
    before = served.counters()
    said = attacks.plain(data, associated=associated, until=(*attacks.LAST_WORDS, wire.DATA))(served.port, 20)
    assert said.answer.startswith(answer), said.answer
    counted(served, counter, before, by)
    with wire.associate(served.port) as good:
        assert wire.echo(good) == 0
        wire.release(good)


def test_associations(server: Served) -> None:
    before = server.counters()
    find = [wire.context(1, attacks.FIND, [wire.IMPLICIT]), wire.context(3, wire.VERIFICATION, [wire.IMPLICIT])]
    mixed = [
        wire.associate(server.port, find if n % 2 else None) for n in range(6)
    ]  # three of them handed over by the engine
    for contexts in (wire.store_contexts(), find):
        said = attacks.in_association_words(wire.associate_rq(contexts))(server.port, 20)
        assert said.answer == RJ_FULL
    counted(server, "limit_associations", before, 2)
    for connection in mixed:
        wire.release(connection)
    with wire.associate(server.port) as good:
        wire.release(good)


def test_connections_beyond_the_associations_are_closed_in_the_end(serve: Serving) -> None:
    """256 more connections are heard and told so; whatever comes on top is closed at once."""
    served = started(serve, associations="4")
    before = served.counters()
    crowd = [wire.connect(served.port) for _ in range(4 + 256 + 20)]
    deadline = time.monotonic() + 20
    while served.counters()["limit_associations"] - before["limit_associations"] < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for connection in crowd:
        connection.close()
    while served.counters()["associations_open"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with wire.associate(served.port) as good:
        assert wire.echo(good) == 0
        wire.release(good)


def test_pdu(server: Served) -> None:
    data = b"\x04\x00" + (32 * 1024 + 1).to_bytes(4, "big")
    refused(data, "A-ABORT 2/", associated=True, served=server, counter="limit_pdu")


def test_negotiation(server: Served) -> None:
    refused(attacks.contexts(20, 40), "A-ABORT 0/", associated=False, served=server, counter="limit_negotiation")


def test_command(server: Served) -> None:
    data = wire.data_pdu(1, bytes(1500), command=True, last=False) * 2
    refused(data, "A-ABORT 2/", associated=True, served=server, counter="limit_command")


def test_dataset(server: Served) -> None:
    name = wire.instance_uid(1)
    message = wire.store_message(name, wire.ct_data_set(name) + wire.explicit(0x7FE10010, "OB", bytes(5 * MIB)))
    refused(message, "A-ABORT 0/", associated=True, served=server, counter="limit_dataset")
    short = wire.ct_data_set(name)
    message = wire.store_message(name, short + wire.explicit(0x7FE10010, "OB", bytes(4 * MIB - len(short) - 12)))
    refused(message, "status 0000", associated=True, served=server, counter="limit_dataset", by=0)


def test_dataset_beyond_by_its_last_fragment(serve: Serving) -> None:
    served = started(serve, dataset="1000")
    name = wire.instance_uid(1)
    message = wire.store_message(name, wire.ct_data_set(name, side=32))  # one fragment
    refused(message, "A-ABORT 0/", associated=True, served=served, counter="limit_dataset")


def test_identifier(server: Served) -> None:
    identifier = wire.explicit(0x00080052, "CS", b"STUDY ") + wire.explicit(0x00104000, "LT", bytes(20_000))
    before = server.counters()
    with wire.associate(server.port, [wire.context(1, attacks.FIND, [wire.EXPLICIT])]) as connection:
        connection.sendall(wire.data_pdu(1, attacks.find_rq(), command=True))
        connection.sendall(wire.data_pdu(1, identifier, command=False))
        got = wire.receive_pdu(connection)
        assert wire.response(got)[2] == 0xA700
        wire.release(connection)
    counted(server, "limit_identifier", before)


def test_stream_from(serve: Serving) -> None:
    """Longer data sets go to a lane of the store as they come."""
    served = started(serve, stream_from="1MiB")
    name = wire.instance_uid(2)
    data = wire.ct_data_set(name) + wire.explicit(0x7FE10010, "OB", bytes(3 * MIB))
    before = served.counters()
    with wire.associate(served.port) as connection:
        assert wire.store(connection, name, data) == 0
        wire.release(connection)
    counted(served, "streamed", before)
    assert served.stop() == 0
    with dicore.Store(served.store, read_only=True) as store:
        assert bytes(store.record(name)).endswith(data)


@pytest.mark.parametrize(
    ("setting", "counter"), [("in_flight", "limit_in_flight"), ("in_flight_per_peer", "limit_in_flight_per_peer")]
)
def test_bytes_in_flight(serve: Serving, setting: str, counter: str) -> None:
    """12 peers are each in the middle of 3 MiB, the budget is 4 MiB: they wait their turn or are streamed, all are
    served, and memory follows the budget."""
    served = started(serve, **{setting: "4MiB"})
    rss, before = served.rss, served.counters()
    messages = {}
    for number in range(12):
        name = wire.instance_uid(10 + number)
        data = wire.ct_data_set(name) + wire.explicit(0x7FE10010, "OB", bytes([number]) * (3 * MIB))
        messages[name] = wire.store_message(name, data)
    connections = [wire.associate(served.port) for _ in messages]
    statuses: list[int] = []

    def rest(connection: socket.socket, message: bytes) -> None:
        connection.sendall(message[2 * MIB :])
        statuses.append(wire.response(wire.receive_pdu(connection))[2])

    halves = [
        threading.Thread(target=connection.sendall, args=(message[: 2 * MIB],), daemon=True)
        for connection, message in zip(connections, messages.values(), strict=True)
    ]
    for thread in halves:
        thread.start()
    for thread in halves:
        thread.join(60)
        assert not thread.is_alive()
    threads = [
        threading.Thread(target=rest, args=pair, daemon=True)
        for pair in zip(connections, messages.values(), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert statuses == [0] * 12
    for connection in connections:
        wire.release(connection)
    after = served.counters()
    assert after[counter] > before[counter]
    assert after["in_flight"] == 0
    assert served.peak_rss < rss + 40 * MIB
    assert served.stop() == 0
    with dicore.Store(served.store, read_only=True) as store:
        assert set(store) == set(messages)
        assert store.verify().ok


def test_answers_that_are_not_read(serve: Serving) -> None:
    """Bounded by `network`: who does not read is not read, and is aborted; by ARTIM when that is not read either."""
    served = started(serve, "--timeout", "network=1", "--timeout", "artim=1")
    before = served.counters()
    said = attacks.unread(served.port, 20)
    assert said.end == "reset" or said.end == "closed"
    after = served.counters()
    assert after["timeout_network"] + after["limit_unread"] > before["timeout_network"] + before["limit_unread"]


def quiet(serve: Serving, name: str, say: bytes, answer: str, *, associated: bool) -> None:
    served = started(serve, "--timeout", f"{name}=0.5")
    before = served.counters()
    said = attacks.plain(say, associated=associated)(served.port, 20)
    assert (said.answer if said.pdus else said.end).startswith(answer)
    counted(served, f"timeout_{name}", before)


def test_artim(serve: Serving) -> None:
    quiet(serve, "artim", attacks.GOOD_RQ[:40], "closed", associated=False)


def test_network(serve: Serving) -> None:
    quiet(serve, "network", attacks.store_command(1)[:30], "A-ABORT 0/", associated=True)


def test_idle(serve: Serving) -> None:
    quiet(serve, "idle", b"", "A-ABORT 0/", associated=True)


def test_dimse(serve: Serving) -> None:
    """We are the one who waits: a C-GET whose C-STORE sub-operation is never answered."""
    served = started(serve, "--timeout", "dimse=0.5")
    name = wire.instance_uid(3)
    with wire.associate(served.port) as connection:
        assert wire.store(connection, name, wire.ct_data_set(name)) == 0
        wire.release(connection)
    before = served.counters()
    get = "1.2.840.10008.5.1.4.1.2.2.3"
    role = wire.item(0x54, len(wire.CT_IMAGE).to_bytes(2, "big") + wire.CT_IMAGE.encode() + b"\0\1")
    contexts = [wire.context(1, get, [wire.EXPLICIT]), wire.context(3, wire.CT_IMAGE, [wire.EXPLICIT])]
    request = (
        attacks.find_rq()
        .replace(wire.uid(attacks.FIND), wire.uid(get))
        .replace(wire.element(0x00000100, wire.us(0x0020)), wire.element(0x00000100, wire.us(0x0010)))
    )
    identifier = wire.explicit(0x00080052, "CS", b"STUDY ") + wire.explicit(
        0x0020000D, "UI", wire.uid("1.2.826.0.1.3680043.10.1338.7.1")
    )
    with wire.connect(served.port) as connection:
        connection.sendall(wire.associate_rq(contexts, user_items=role))
        assert wire.receive_pdu(connection).kind == wire.AC  # type: ignore[union-attr]
        connection.sendall(wire.data_pdu(1, request, command=True) + wire.data_pdu(1, identifier, command=False))
        said = attacks.listen_to(connection, 20, until=(wire.ABORT,))
    assert said.answer.startswith("A-ABORT 0/")
    counted(served, "timeout_dimse", before)


def test_connect() -> None:
    """The client's: nobody answers the connection. A listener whose backlog is full is such a one."""
    import asyncio

    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):  # fills the backlog
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)

        async def main() -> None:
            with pytest.raises(dicore.NetworkTimeout, match="connect"):
                async with dicore.connect(f"X@127.0.0.1:{full.getsockname()[1]}", timeouts=Timeouts(connect=0.3)):
                    raise AssertionError("connected")

        asyncio.run(main())
        for one in waiting:
            one.close()


def test_grace_loses_nothing_that_was_acknowledged(serve: Serving) -> None:
    """SIGTERM while eight senders are at it and one hangs inside a data set: what has begun is finished and answered,
    idle ones are ended, the hanging one is aborted when the grace time is over. Every success is in the store."""
    served = serve(None, "--grace", "1", "--metrics-port", "0")
    acknowledged: set[str] = set()
    begun = threading.Barrier(9)

    def send(number: int) -> None:
        begun.wait(60)
        try:
            with wire.associate(served.port) as connection:
                for turn in range(10_000):
                    name = wire.instance_uid(100_000 * (number + 1) + turn)
                    if wire.store(connection, name, wire.ct_data_set(name, side=64), turn % 65535 + 1) == 0:
                        acknowledged.add(name)
        except (AssertionError, OSError):
            return  # aborted: the server ends

    threads = [threading.Thread(target=send, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    hanging = wire.associate(served.port)
    hanging.sendall(attacks.store_command(5) + wire.data_pdu(3, bytes(2000), command=False, last=False))
    begun.wait(60)
    deadline = time.monotonic() + 60
    while len(acknowledged) < 100:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert served.stop() == 0
    said = attacks.listen_to(hanging, 20)
    assert said.answer.startswith("A-ABORT 0/")
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    with dicore.Store(served.store, read_only=True) as store:
        assert acknowledged <= set(store)
        assert store.verify().ok


# ---- settings
@pytest.mark.parametrize(
    ("given", "says"),
    [("in_flight=lots", "in_flight"), ("nothing=1", "nothing"), ("pdu=1", "pdu"), ("dataset", "NAME=VALUE")],
)
def test_a_limit_that_makes_no_sense_is_a_usage_error(tmp_path: Path, given: str, says: str, driver: str) -> None:
    from conftest import dicore_cli

    result = dicore_cli("serve", tmp_path / "s", "--port", "0", "--driver", driver, "--limit", given, check=False)
    assert result.returncode == 2
    assert says in result.stderr


def test_the_configuration_sets_them_too(serve: Serving, tmp_path: Path, driver: str) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        f'[server]\nstore = "{tmp_path / "store"}"\nmetrics_port = 0\n'
        '[limits]\ndataset = "2 MiB"\npdu = 16384\n[timeouts]\nartim = 0.5\n'
    )
    served = serve(None, "--config", str(config), "--limit", "dataset=1000")  # the line goes before the file
    assert attacks.silent(3)(served.port, 20).end == "closed"
    refused(b"\x04\x00" + (16385).to_bytes(4, "big"), "A-ABORT 2/", associated=True, served=served, counter="limit_pdu")
    message = wire.store_message(wire.instance_uid(1), wire.ct_data_set(wire.instance_uid(1), side=64))
    refused(message, "A-ABORT 0/", associated=True, served=served, counter="limit_dataset")


# ---- the table
TABLE = ROOT / "docs/reference/limits.md"


def rows() -> list[list[str]]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_limit_stands_in_the_table_and_the_table_is_true(serve: Serving) -> None:
    """name | default | Python | command line | file | counter | what the peer gets | test: each of them exists."""
    found = {}
    counters = started(serve).counters()
    for name, default, python, line, file, counter, gets, test in rows():
        (name,) = names_in(name)
        found[name] = True
        assert gets
        of_limits = {f.name: getattr(Limits, f.name, None) for f in dataclasses.fields(Limits)}
        of_timeouts = {f.name for f in dataclasses.fields(Timeouts)}
        for setting in names_in(python):
            kind, _, field = setting.partition(".")
            assert field in {"Limits": set(of_limits), "Timeouts": of_timeouts, "serve": {"grace", "window"}}[kind]
        plain = Limits(associations=12_000)
        value = {**dataclasses.asdict(plain), **dataclasses.asdict(Timeouts())}.get(name)
        if value is not None:
            assert default.startswith(_shown(value, seconds=name in of_timeouts)), (name, default, value)
        for option in names_in(line):
            assert option.split()[0] in ("--limit", "--timeout", "--grace")
            if option.split()[0] != "--grace":
                assert option.split()[1] == f"{name}="
        for setting in names_in(file):
            assert setting in (f"[limits] {name}", f"[timeouts] {name}", "[server] grace")
        for one in names_in(counter):
            assert one in counters, one
        for where in names_in(test):
            path, _, function = where.partition("::")
            assert re.search(rf"def {function}\b", (ROOT / "tests" / path).read_text()), where
    wanted = {f.name for kind in (Limits, Timeouts) for f in dataclasses.fields(kind)}
    assert wanted <= set(found)


def _shown(value: float, *, seconds: bool) -> str:
    if seconds:
        return f"{value:g} s"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size and value % size == 0:
            return f"{int(value) // size} {unit}"
    return f"{int(value):,}"
