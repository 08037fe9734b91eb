from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

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


def test_queries_and_retrievals_are_loops() -> None:
    import dicore
    from dicore import blocking

    held = [dicore.new("CT Image Storage", SOPInstanceUID=f"1.2.{n}", PatientID=str(n)) for n in (1, 2, 3)]

    def find(request: Any) -> Any:
        yield from [{"PatientID": ds.PatientID} for ds in held]
        if request.level == "IMAGE":
            raise ValueError("no images today")

    with (
        blocking.listen(
            port=0, on_c_find=find, on_c_get=lambda request: held, on_n_get=lambda r: {"PatientID": "7"}
        ) as scp,
        blocking.connect(f"SCP@127.0.0.1:{scp.port}", receive=True) as assoc,
    ):
        assert [ds.PatientID for ds in assoc.c_find(level="STUDY")] == ["1", "2", "3"]
        for _ in assoc.c_find(level="STUDY"):
            break  # cancels
        found = []
        with pytest.raises(DimseError, match="no images today"):  # noqa: PT012 (the loop raises)
            for ds in assoc.c_find(level="IMAGE"):
                found.append(ds.PatientID)
        assert found == ["1", "2", "3"]
        answers = assoc.c_get(StudyInstanceUID="1")
        assert [ds.SOPInstanceUID for ds in answers] == ["1.2.1", "1.2.2", "1.2.3"]
        assert answers.status == 0
        assert assoc.n_get("1.2.840.10008.3.1.2.3.3", "1.2.9").dataset.PatientID == "7"
        assert assoc.c_echo() == 0
