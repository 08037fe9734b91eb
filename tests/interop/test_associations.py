"""2,000 associations at once in one server process, each answered; what one costs while it is idle."""

from __future__ import annotations

import resource
import selectors
import socket

import wire
from conftest import Serving

COUNT = 2000


def allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        assert hard >= count, f"the hard limit of open files is {hard}"
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))  # the server inherits it


def converse(connections: list[socket.socket], says: list[bytes]) -> list[wire.Pdu]:
    """Send to all, then read one PDU from each, whichever answers first."""
    for connection, data in zip(connections, says, strict=True):
        connection.sendall(data)
    got: dict[int, bytes] = dict.fromkeys(range(len(connections)), b"")
    done: dict[int, wire.Pdu] = {}
    with selectors.DefaultSelector() as selector:
        for number, connection in enumerate(connections):
            selector.register(connection, selectors.EVENT_READ, number)
        while len(done) < len(connections):
            ready = selector.select(timeout=30)
            assert ready, f"{len(connections) - len(done)} of {len(connections)} have no answer"
            for key, _ in ready:
                piece = connections[key.data].recv(65536)
                assert piece, f"association {key.data} was closed"
                got[key.data] += piece
                data = got[key.data]
                if len(data) >= 6 and len(data) >= 6 + (size := int.from_bytes(data[2:6])):
                    done[key.data] = wire.Pdu(data[0], data[6 : 6 + size])
                    selector.unregister(key.fileobj)
    return [done[number] for number in range(len(connections))]


def test_2000_associations_are_open_and_answered(serve: Serving, capsys: object) -> None:
    allow_files(3 * COUNT)
    server = serve(None, "--durability", "relaxed")
    with wire.associate(server.port) as first:  # set up what is set up once
        assert wire.echo(first) == 0
        wire.release(first)
    threads, rss = server.threads, server.rss
    connections = [wire.connect(server.port) for _ in range(COUNT)]
    try:
        answers = converse(connections, [wire.associate_rq()] * COUNT)
        assert [a.kind for a in answers] == [wire.AC] * COUNT
        idle, open_threads = server.rss, server.threads
        for turn in range(2):
            asks = [wire.data_pdu(1, wire.echo_rq(n % 65535 + 1), command=True) for n in range(COUNT)]
            answers = converse(connections, asks)
            assert [wire.response(a) for a in answers] == [(0x8030, n % 65535 + 1, 0) for n in range(COUNT)], turn
        assert server.threads == open_threads == threads, "a thread per association"
        with wire.associate(server.port) as one_more:
            assert wire.echo(one_more) == 0
            wire.release(one_more)
        each = (idle - rss) / COUNT
        print(f"\n{COUNT} idle associations: {each:,.0f} bytes of resident memory each, {threads} threads")
        assert each < 64 * 1024
        answers = converse(connections, [wire.pdu(wire.RELEASE_RQ, bytes(4))] * COUNT)
        assert [a.kind for a in answers] == [wire.RELEASE_RP] * COUNT
    finally:
        for connection in connections:
            connection.close()
    assert server.stop() == 0
