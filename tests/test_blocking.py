from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "net"))

from netcommon import Memory, ct, part10, write_files

from conftest import free_port
from dicore import blocking
from dicore.errors import AssociationStateError, ConnectionFailed, DimseError


def test_everything_without_asyncio(tmp_path: Path) -> None:
    made = write_files(tmp_path, 10)
    sink = Memory()
    with blocking.listen(port=0, on_c_store=sink) as scp:
        address = f"X@127.0.0.1:{scp.port}"
        with blocking.connect(address) as assoc:
            assert assoc.c_echo() == 0
            assert assoc.c_store(part10(*ct(100))) == 0
            assert assoc.open
            assert assoc.contexts
        assert not assoc.open
        with pytest.raises(AssociationStateError):
            assoc.c_echo()
        report = blocking.send(tmp_path, to=address, associations=2)
        assert (report.sent, report.failed) == (10, 0)
        assert scp.counters["stores"] == 11
        sink.status = 0xA700
        with blocking.connect(address) as assoc, pytest.raises(DimseError):
            assoc.c_store(part10(*ct(100)))
        assoc = blocking.connect(address)
        assoc.abort()
        assert not assoc.open
    assert sink.stored == made | dict([ct(100)])
    with pytest.raises(ConnectionFailed):
        blocking.connect(f"X@127.0.0.1:{free_port()}")


def test_handlers_run_in_the_thread_of_the_loop_and_may_not_wait_for_it() -> None:
    seen: list[object] = []

    def handler(request: object) -> int:
        seen.append(threading.current_thread().name)
        try:
            blocking.connect("X@127.0.0.1:1")
        except RuntimeError as error:
            seen.append(str(error))
        return 0

    with blocking.listen(port=0, on_c_echo=handler) as scp, blocking.connect(f"X@127.0.0.1:{scp.port}") as assoc:
        assert assoc.c_echo() == 0
    assert seen[0] == "dicore.blocking"
    assert "waits for this very thread" in str(seen[1])


def test_it_works_where_a_loop_is_running_already() -> None:
    """As in a notebook."""

    async def cell() -> int:
        with blocking.listen(port=0) as scp, blocking.connect(f"X@127.0.0.1:{scp.port}") as assoc:
            return assoc.c_echo()

    assert asyncio.run(cell()) == 0


def test_attributes_exist_inside_the_block_only() -> None:
    with pytest.raises(AttributeError, match="enter the block"):
        _ = blocking.listen(port=0).port
