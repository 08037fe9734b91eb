"""The listener on real sockets: life, sinks that fail or wait, drain, logs, many associations."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from netcommon import Memory, ct, descriptors, part10, until

import wire
from dicore.errors import AssociationAborted, AssociationRejected, DimseError, NetworkError, StoreFull
from dicore.net import Limits, StoreRequest, Timeouts, connect, listen


def test_port_0_takes_a_free_port_and_closing_gives_it_back(run: Any) -> None:
    async def main() -> None:
        before = descriptors()
        async with listen(port=0) as scp:
            assert 0 < scp.port < 65536
            assert scp.sockets
            async with connect(f"DICORE@127.0.0.1:{scp.port}") as assoc:
                assert await assoc.c_echo() == 0
                assert scp.associations == 1
            port = scp.port
        async with listen(port=port) as again:
            assert again.port == port
        await until(lambda: descriptors() <= before)

    run(main())


def test_ipv6(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0, host="::1") as scp, connect(f"DICORE@[::1]:{scp.port}") as assoc:
            assert await assoc.c_echo() == 0

    run(main())


def test_an_address_in_use_is_an_oserror_and_leaves_nothing(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0) as scp:
            before = descriptors()
            with pytest.raises(OSError, match="in use"):
                await listen(port=scp.port).start()
            assert descriptors() == before

    run(main())


def test_nagles_algorithm_is_off_on_both_sides(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0) as scp:  # what is accepted inherits it
            assert scp.sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            async with connect(f"DICORE@127.0.0.1:{scp.port}") as assoc:
                assert assoc._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(main())


@pytest.mark.parametrize("kind", ["sync", "async", "future"])
def test_a_function_is_a_sink(run: Any, kind: str) -> None:
    async def main() -> None:
        got: list[tuple[str, bytes]] = []

        def sync(request: StoreRequest, data: memoryview) -> int:
            got.append((request.sop_instance_uid, bytes(data)))
            return 0xB000

        async def later(request: StoreRequest, data: memoryview) -> int:
            await asyncio.sleep(0)
            return sync(request, data)

        def future(request: StoreRequest, data: memoryview) -> asyncio.Future[int]:
            promised = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: promised.set_result(sync(request, data)))
            return promised

        function: Any = {"sync": sync, "async": later, "future": future}[kind]
        limits = Limits(stream_from=100_000)  # so that one of the two is spooled
        async with listen(port=0, on_c_store=function, limits=limits) as scp:
            async with connect(f"DICORE@127.0.0.1:{scp.port}") as assoc:
                for number, size in ((1, 5_000), (2, 400_000)):
                    instance, data = ct(number, size)
                    assert await assoc.c_store(part10(instance, data)) == 0xB000
                    assert got[-1] == (instance, data)
            assert scp.counters["stores"] == 2
            assert scp.counters["streamed"] == 1

    run(main())


def test_what_is_no_sink_is_refused() -> None:
    with pytest.raises(TypeError, match="neither a Sink nor a function"):
        listen(port=0, on_c_store="archive")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreFull("no space"), 0xA700), (MemoryError(), 0xA700), (ValueError("bad"), 0xC000)],
    ids=["full", "memory", "other"],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_exception_of_the_sink_is_answered_and_logged(
    run: Any, caplog: pytest.LogCaptureFixture, error: Exception, status: int, asynchronous: bool
) -> None:
    def sync(request: StoreRequest, data: memoryview) -> int:
        raise error

    async def later(request: StoreRequest, data: memoryview) -> int:
        raise error

    async def main() -> None:
        function: Any = later if asynchronous else sync
        async with listen(port=0, on_c_store=function) as scp:
            async with connect(f"DICORE@127.0.0.1:{scp.port}") as assoc:
                with pytest.raises(DimseError) as caught:
                    await assoc.c_store(part10(*ct(1)))
                assert caught.value.status == status
                assert await assoc.c_echo() == 0
            assert scp.counters["stores_failed"] == 1

    run(main())
    assert ct(1)[0] in caplog.text


def test_c_echo_can_be_answered_by_a_handler(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0, on_c_echo=lambda request: 0x0124 if request.calling_ae == "EVIL" else 0) as scp:
            async with connect(f"X@127.0.0.1:{scp.port}") as assoc:
                assert await assoc.c_echo() == 0
            async with connect(f"X@127.0.0.1:{scp.port}", calling="EVIL") as assoc:
                with pytest.raises(DimseError) as caught:
                    await assoc.c_echo()
                assert caught.value.status == 0x0124

    run(main())


def test_a_slow_write_of_a_stream_holds_its_peer_back(run: Any) -> None:
    class Slow(Memory):
        pending: asyncio.Future[None] | None = None
        at_once = 0

        async def _write(self, handle: Any, pieces: Sequence[memoryview]) -> None:
            assert self.pending is None, "two writes at once"
            self.pending = asyncio.get_running_loop().create_future()
            await asyncio.sleep(0.001)
            super().write(handle, pieces)
            self.pending = None

        def write(self, handle: Any, pieces: Sequence[memoryview]) -> Any:
            return self._write(handle, pieces)

        async def _commit(self, handle: Any) -> int:
            return int(super().commit(handle))

        def commit(self, handle: Any) -> Any:
            return self._commit(handle)

    async def main() -> None:
        sink = Slow()
        async with listen(port=0, on_c_store=sink, limits=Limits(stream_from=100_000)) as scp:
            async with connect(f"DICORE@127.0.0.1:{scp.port}") as assoc:
                instance, data = ct(1, 6_000_000)
                assert await assoc.c_store(part10(instance, data)) == 0
                assert await assoc.c_store(part10(*ct(2))) == 0
            assert sink.stored == dict([(instance, data), ct(2)])
            assert scp._hub.in_flight == 0

    run(main())


# ---- the end


def waiting_sink() -> tuple[Any, list[asyncio.Future[int]]]:
    futures: list[asyncio.Future[int]] = []

    def function(request: StoreRequest, data: memoryview) -> asyncio.Future[int]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    return function, futures


def test_closing_finishes_messages_and_aborts_the_idle(run: Any) -> None:
    async def main() -> None:
        function, futures = waiting_sink()
        scp = await listen(port=0, on_c_store=function).start()
        address = f"DICORE@127.0.0.1:{scp.port}"
        busy, idle = await connect(address), await connect(address)
        storing = asyncio.ensure_future(busy.c_store(part10(*ct(1))))
        await until(lambda: futures)
        closing = asyncio.ensure_future(scp.close(grace=30))
        await until(lambda: not idle.open)
        assert isinstance(idle.ended, AssociationAborted)
        with pytest.raises(NetworkError):
            await connect(address)
        assert busy.open
        assert not closing.done()
        futures[0].set_result(0)
        assert await storing == 0
        await closing
        await until(lambda: not busy.open)
        assert scp.associations == 0

    run(main())


def test_after_the_grace_what_is_left_is_aborted(run: Any) -> None:
    async def main() -> None:
        function, futures = waiting_sink()
        scp = await listen(port=0, on_c_store=function).start()
        busy = await connect(f"DICORE@127.0.0.1:{scp.port}")
        storing = asyncio.ensure_future(busy.c_store(part10(*ct(1))))
        await until(lambda: futures)
        await scp.close(grace=0.05)
        with pytest.raises(AssociationAborted):
            await storing
        assert futures[0].cancelled()
        assert scp._hub.in_flight == 0

    run(main())


def test_too_many_are_rejected_for_now(run: Any) -> None:
    async def main() -> None:
        async with listen(port=0, limits=Limits(associations=2)) as scp:
            address = f"DICORE@127.0.0.1:{scp.port}"
            async with connect(address), connect(address):
                with pytest.raises(AssociationRejected) as caught:
                    await connect(address)
                assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
                assert "local limit exceeded" in str(caught.value)
            await until(lambda: scp.associations < 2)
            async with connect(address) as assoc:
                assert await assoc.c_echo() == 0
            assert scp.counters["limit_associations"] == 1

    run(main())


def test_one_line_of_log_per_association_with_the_peers_text_escaped(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dicore.net")

    def rude(port: int) -> None:
        connection = wire.connect(port)
        connection.sendall(wire.associate_rq(wire.store_contexts(), calling=b"A\r\n\x1b[31mB"))
        assert wire.receive_pdu(connection) is not None
        assert wire.echo(connection) == 0
        wire.release(connection)

    async def main() -> None:
        async with listen(port=0) as scp:
            await asyncio.to_thread(rude, scp.port)
            await until(lambda: scp.associations == 0)

    run(main())
    lines = [one.getMessage() for one in caplog.records if "echoed" in one.getMessage()]
    assert len(lines) == 1
    assert "A\\r\\n\\x1b[31mB -> DICORE: released; 0 stored (0 bytes), 1 echoed" in lines[0]


def test_many_associations_answer_and_leave_nothing(run: Any) -> None:
    count = 300

    async def main() -> None:
        async with listen(port=0) as scp:
            before, threads = descriptors(), threading.active_count()
            address = f"DICORE@127.0.0.1:{scp.port}"
            open_ones = await asyncio.gather(*(connect(address) for _ in range(count)))
            assert scp.associations == count
            assert await asyncio.gather(*(one.c_echo() for one in open_ones)) == [0] * count
            assert threading.active_count() <= threads + 32  # name look-ups of the clients: the executor's, not ours
            await asyncio.gather(*(one.release() for one in open_ones))
            await until(lambda: descriptors() <= before)
            assert scp.counters["echoes"] == count
            assert scp.counters["released"] == count

    run(main())


def test_associations_of_every_end_leave_nothing(run: Any) -> None:
    """T18 in small: ended in order, rejected, aborted, cut."""

    async def main() -> None:
        async with listen(port=0, on_c_store=Memory(), calling_ae=["DICORE"], timeouts=Timeouts(artim=0.05)) as scp:
            address = f"DICORE@127.0.0.1:{scp.port}"
            await (await connect(address)).release()
            before, tasks = descriptors(), len(asyncio.all_tasks())
            for _ in range(25):
                await (await connect(address)).release()
                with pytest.raises(AssociationRejected):
                    await connect(address, calling="STRANGER")
                (await connect(address)).abort()
                raw = socket.create_connection(("127.0.0.1", scp.port))
                raw.sendall(b"\1\0\0\0")
                raw.close()
            silent = socket.create_connection(("127.0.0.1", scp.port))
            await until(lambda: scp.counters["timeout_artim"] >= 1)
            silent.close()
            await until(lambda: descriptors() <= before and scp.associations == 0)
            assert len(asyncio.all_tasks()) == tasks
            assert scp._hub.in_flight == 0

    run(main())
