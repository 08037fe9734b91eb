"""The assembled archive over real sockets, on every kind of event loop."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicore
from conftest import ROOT
from dicore import synth
from dicore.server import Access

Run = Callable[..., Any]


def body(part10: Any) -> str:
    """SHA-256 of what follows the file meta information."""
    data = memoryview(part10)
    return hashlib.sha256(data[144 + int.from_bytes(data[140:144], "little") :]).hexdigest()


@pytest.fixture(scope="module")
def instances() -> list[synth.Instance]:
    return list(synth.studies(11, 2, modality="mixed", slices=6, size=64))


@pytest.fixture
def files(instances: list[synth.Instance], tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number, instance in enumerate(instances):
        (folder / f"{number}.dcm").write_bytes(instance.data)
    return folder


@pytest.mark.parametrize("durability", ["durable", "relaxed"])
@pytest.mark.parametrize("associations", [1, 4])
def test_every_instance_sent_is_stored_bit_identical(
    run: Run,
    driver: Any,
    files: Path,
    instances: list[synth.Instance],
    tmp_path: Path,
    durability: Any,
    associations: int,
) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", durability=durability, segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0, ae_title="ARCHIVE") as server:
                to = f"ARCHIVE@127.0.0.1:{server.port}"
                report = await dicore.send([files], to=to, associations=associations, calling="MODALITY")
            assert (report.sent, report.failures) == (len(instances), [])
            assert server.counters["stores"] == len(instances)
            assert {uid: body(store.record(uid)) for uid in store} == {
                one.sop_instance_uid: body(one.data) for one in instances
            }
            assert store[instances[0].sop_instance_uid].file_meta.SourceApplicationEntityTitle == "MODALITY"
            assert len(store.find(level="STUDY")) == 2

    run(main())


def test_sending_again_succeeds_without_a_second_copy(run: Run, driver: Any, files: Path, tmp_path: Path) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                to = f"A@127.0.0.1:{server.port}"
                first = await dicore.send([files], to=to, associations=2)
                before = store.stats()["bytes"]
                second = await dicore.send([files], to=to, associations=2)
            assert (first.failed, second.sent, second.failed) == (0, first.sent, 0)
            assert store.stats()["bytes"] == before

    run(main())


def part10(instance: synth.Instance, *, sop_class: str, syntax: str, uid: str, padding: int = 0) -> bytes:
    """A copy of an instance under another SOP class and transfer syntax UID, its bytes otherwise as they are."""
    import io

    import pydicom

    ds = pydicom.dcmread(io.BytesIO(instance.data))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    if padding:
        ds.add_new(0xFFFCFFFC, "OB", bytes(padding))
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    data = out.getvalue()
    old = b"1.2.840.10008.1.2.1\0"
    assert data.count(old, 0, 600) == 1
    return data.replace(old, syntax.encode().ljust(len(old), b"\0"), 1)


def test_unknown_sop_classes_and_transfer_syntaxes_are_taken_as_they_come(
    run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path
) -> None:
    sop_class, syntax = "2.25.4711", "1.2.3.4.5.6.7"
    data = part10(instances[0], sop_class=sop_class, syntax=syntax, uid="2.25.1")

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with (
                dicore.serve(store, driver=driver, port=0) as server,
                dicore.connect(
                    f"A@127.0.0.1:{server.port}", contexts=[(sop_class, (syntax, "1.2.840.10008.1.2"))]
                ) as association,
            ):
                assert list(association.contexts) == [(sop_class, syntax)]  # the proposer's first choice
                assert await association.c_store(data) == 0
            assert body(store.record("2.25.1")) == body(data)
            assert store["2.25.1"].file_meta.TransferSyntaxUID == syntax

    run(main())


def test_a_data_set_beyond_the_buffers_goes_through_a_lane(
    run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path
) -> None:
    ct, syntax = instances[0].sop_class_uid, "1.2.840.10008.1.2.1"
    data = part10(instances[0], sop_class=ct, syntax=syntax, uid="2.25.2", padding=20 << 20)

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                to = f"A@127.0.0.1:{server.port}"
                async with dicore.connect(to, contexts=[(ct, (syntax,))]) as association:
                    assert await association.c_store(data) == 0
                assert server.counters["streamed"] == 1
            assert body(store.record("2.25.2")) == body(data)

    run(main())


def test_a_full_store_is_answered_a700_and_the_association_lives(
    run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICORE_FAILPOINT", "write-full:1")

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24, durability="relaxed") as store:
            async with (
                dicore.serve(store, driver=driver, port=0) as server,
                dicore.connect(f"A@127.0.0.1:{server.port}") as association,
            ):
                assert server.driver == driver
                with pytest.raises(dicore.DimseError) as caught:
                    await association.c_store(instances[0].data)
                assert caught.value.status == 0xA700
                assert server.counters["stores_failed"] == 1
                assert await association.c_store(instances[0].data) == 0
            assert list(store) == [instances[0].sop_instance_uid]

    run(main())


def test_other_bytes_under_a_stored_uid_are_refused_where_the_policy_is_to_reject(
    run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path
) -> None:
    one, other = instances[0], instances[1]
    syntax = "1.2.840.10008.1.2.1"
    changed = part10(other, sop_class=one.sop_class_uid, syntax=syntax, uid=one.sop_instance_uid)

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24, duplicates="reject") as store:
            async with (
                dicore.serve(store, driver=driver, port=0) as server,
                dicore.connect(f"A@127.0.0.1:{server.port}") as association,
            ):
                assert await association.c_store(one.data) == 0
                with pytest.raises(dicore.DimseError) as caught:
                    await association.c_store(changed)
                assert caught.value.status == 0xC111
                assert await association.c_store(one.data) == 0  # identical bytes are no conflict
            assert body(store.record(one.sop_instance_uid)) == body(one.data)

    run(main())


def test_leaving_the_block_ends_idle_associations_and_keeps_what_was_acknowledged(
    run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path
) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0, grace=0.2) as server:
                association = await dicore.connect(f"A@127.0.0.1:{server.port}")
                assert await association.c_store(instances[0].data) == 0
            assert server.associations == 0
            with pytest.raises(dicore.NetworkError):
                await association.c_echo()
            await association.release()
            assert list(store) == [instances[0].sop_instance_uid]

    run(main())


def test_only_callers_that_are_allowed_come_in(run: Run, driver: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0, access=Access.of(["CT1"], ["127.0.0.0/8"])) as server:
                to = f"A@127.0.0.1:{server.port}"
                async with dicore.connect(to, calling="CT1") as association:
                    await association.c_echo()
                with pytest.raises(dicore.AssociationRejected) as caught:
                    await dicore.connect(to, calling="CT2")
                assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)
            async with dicore.serve(store, driver=driver, port=0, access=Access.of((), ["192.0.2.0/24"])) as server:
                with pytest.raises(dicore.AssociationRejected) as caught:
                    await dicore.connect(f"A@127.0.0.1:{server.port}", calling="CT1")
                assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 1)
            with pytest.raises(dicore.DicoreError, match="--insecure"):
                async with dicore.serve(store, driver=driver, port=0, host="0.0.0.0"):
                    pass

    run(main())


def test_an_association_is_one_line_in_the_log(
    run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0, ae_title="ARCHIVE") as server:
                to = f"ARCHIVE@127.0.0.1:{server.port}"
                async with dicore.connect(to, calling="CT1") as association:
                    await association.c_store(instances[0].data)

    with caplog.at_level(logging.INFO, logger="dicore"):
        run(main())
    lines = [record.getMessage() for record in caplog.records if "CT1" in record.getMessage()]
    assert len(lines) == 1
    assert "ARCHIVE" in lines[0]
    assert "1 stored" in lines[0]


def test_pynetdicom_and_we_agree(run: Run, driver: Any, instances: list[synth.Instance], tmp_path: Path) -> None:
    import io

    import pydicom
    from pynetdicom import AE

    def send(port: int) -> list[int]:
        ae = AE()
        for one in {instance.sop_class_uid for instance in instances}:
            ae.add_requested_context(one, "1.2.840.10008.1.2.1")
        association = ae.associate("127.0.0.1", port)
        assert association.is_established
        found = [association.send_c_store(pydicom.dcmread(io.BytesIO(one.data))).Status for one in instances]
        association.release()
        return found

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, driver=driver, port=0) as server:
                statuses = await asyncio.to_thread(send, server.port)
            assert statuses == [0] * len(instances)
            for one in instances:
                assert store[one.sop_instance_uid].pixels().tobytes() == dicore.read(one.data).pixels().tobytes()

    run(main())


def test_an_option_that_the_engine_lacks_takes_the_event_loop_or_is_refused(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, port=0) as server:
                assert server.driver == "engine"
            async with dicore.serve(store, port=0, on_c_echo=lambda request: 0) as server:
                assert server.driver == "asyncio"
            with pytest.raises(ValueError, match="on_c_echo"):
                async with dicore.serve(store, port=0, driver="engine", on_c_echo=lambda request: 0):
                    pass
            with pytest.raises(ValueError, match="engine_threads"):
                async with dicore.serve(store, port=0, engine_threads=65):
                    pass

    run(main())


def test_several_engine_threads_share_a_port_a_store_and_the_counters(
    run: Run, files: Path, instances: list[synth.Instance], tmp_path: Path
) -> None:
    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, port=0, driver="engine", engine_threads=3) as server:
                report = await dicore.send([files], to=f"A@127.0.0.1:{server.port}", associations=6)
                assert (report.sent, report.failed) == (len(instances), 0)
                counters = server.counters
                assert (counters["stores"], counters["associations"]) == (len(instances), 6)
            assert len(store.find(level="STUDY")) == 2

    run(main())


def test_a_busy_python_thread_does_not_keep_the_engine_from_answering(
    run: Run, files: Path, instances: list[synth.Instance], tmp_path: Path
) -> None:
    """While no other thread may run Python at all, DCMTK's echo is answered: no part of that is Python."""
    import subprocess
    import sys

    async def main() -> None:
        with dicore.Store(tmp_path / "store", segment_size=1 << 24) as store:
            async with dicore.serve(store, port=0, driver="engine") as server:
                process = subprocess.Popen(  # noqa: ASYNC220 nothing else waits for this loop
                    [sys.executable, "-c", CALLER, str(server.port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
                )
                assert process.stdout is not None
                with process, process.stdout as said:
                    assert said.readline() == "ready\n"
                    before = sys.getswitchinterval()
                    sys.setswitchinterval(60)  # nobody asks this thread for the interpreter
                    try:
                        while process.poll() is None and server.counters["echoes"] < 3:
                            pass
                    finally:
                        sys.setswitchinterval(before)
                    assert server.counters["echoes"] == 3

    run(main())


CALLER = """
import sys
sys.path.insert(0, "tests")
import wire
connection = wire.connect(int(sys.argv[1]))
print("ready", flush=True)
connection.sendall(wire.associate_rq())
assert wire.receive_pdu(connection).kind == wire.AC
for number in (1, 2, 3):
    assert wire.echo(connection, number) == 0
wire.release(connection)
"""
