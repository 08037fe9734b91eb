# ruff: noqa: ASYNC240, B007  (what peers wrote is looked at between the awaits)
"""Query, retrieve, worklist, procedure steps and storage commitment with real peers, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import dicore
from conftest import absent, free_port, peer_module, run_on
from dicore import uid
from dicore.net import FindRequest, NormalizedRequest, RetrieveRequest

CT = "1.2.840.10008.5.1.4.1.1.2"
MPPS = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"
FILM_SESSION = "1.2.840.10008.5.1.1.1"


def need(*tools: str) -> None:
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        absent(f"not installed: {', '.join(missing)}")


def archive() -> list[dicore.Dataset]:
    """Two studies of two instances each."""
    return [
        dicore.new(
            "CT Image Storage",
            SOPInstanceUID=f"1.2.{study}.1.{number}",
            StudyInstanceUID=f"1.2.{study}",
            SeriesInstanceUID=f"1.2.{study}.1",
            StudyID=str(study),
            StudyDate="20260101",
            StudyTime="120000",
            AccessionNumber=f"A{study}",
            Modality="CT",
            SeriesNumber=1,
            InstanceNumber=number,
            PatientID=f"P{study}",
            PatientName=f"DOE^{study}",
            Rows=64, Columns=64, BitsAllocated=16, BitsStored=16, HighBit=15, PixelRepresentation=0,
            SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
            PixelData=bytes([study, number]) * 4096,
        )
        for study in (1, 2)
        for number in (1, 2)
    ]  # fmt: skip


class Archive:
    """Handlers over a list of data sets."""

    def __init__(self, held: list[dicore.Dataset]) -> None:
        self.held = held

    def matching(self, request: FindRequest) -> list[dicore.Dataset]:
        keys = request.identifier
        names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        wanted = {name: keys.get(name) for name in names if keys.get(name)}
        return [ds for ds in self.held if all(ds[name].value == value for name, value in wanted.items())]

    async def find(self, request: FindRequest) -> AsyncIterator[Any]:
        unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}
        seen = set()
        for ds in self.matching(request):
            name = ds[unique.get(request.level, "SOPInstanceUID")].value
            if name not in seen:
                seen.add(name)
                yield {"QueryRetrieveLevel": request.level} | {
                    one.keyword: ds.get(one.keyword, "") for one in request.identifier if one.keyword in ds
                }

    def retrieve(self, request: RetrieveRequest) -> list[dicore.Dataset]:
        return self.matching(request)


@contextlib.contextmanager
def daemon(*command: str, port: int, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A peer's server, until it listens."""
    import socket
    import time

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)
    try:
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{command[0]} does not listen: {process.poll()}")
            threading.Event().wait(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


async def tool(*command: str | Path, status: int = 0) -> str:
    """Run a peer's client to its end; what it says."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    text = out.decode(errors="replace")
    assert process.returncode == status, text
    return text


# ---- DCMTK's clients against our listener


def test_findscu_finds() -> None:
    need("findscu")

    async def main() -> None:
        async with dicore.listen(port=0, on_c_find=Archive(archive()).find) as scp:
            said = await tool(
                "findscu", "-v", "-S", "-aec", "DICORE", "127.0.0.1", str(scp.port),
                "-k", "0008,0052=STUDY", "-k", "0010,0020=P2", "-k", "0020,000D", "-k", "PatientName",
            )  # fmt: skip
            assert said.count("[1.2.2") == 1
            assert "[1.2.1" not in said
            said = await tool(
                "findscu", "-v", "-P", "--cancel", "1", "127.0.0.1", str(scp.port), "-k", "0008,0052=IMAGE",
                "-k", "0008,0018",
            )  # fmt: skip
            assert "1.2.1.1.1" in said

    run_on("asyncio", main())


def test_getscu_gets(tmp_path: Path) -> None:
    need("getscu")

    async def main() -> None:
        held = archive()
        async with dicore.listen(port=0, on_c_get=Archive(held).retrieve) as scp:
            said = await tool(
                "getscu", "-v", "-S", "-od", tmp_path, "127.0.0.1", str(scp.port),
                "-k", "0008,0052=STUDY", "-k", "0020,000D=1.2.1",
            )  # fmt: skip
            got = sorted((dicore.read(path) for path in tmp_path.iterdir()), key=lambda ds: ds.SOPInstanceUID)
            assert [bytes(ds["PixelData"].raw) for ds in got] == [bytes(ds["PixelData"].raw) for ds in held[:2]], said

    run_on("asyncio", main())


def test_movescu_moves(tmp_path: Path) -> None:
    need("movescu")

    async def main() -> None:
        held, port = archive(), free_port()
        places = {"MOVESCU": f"127.0.0.1:{port}"}
        async with dicore.listen(port=0, on_c_move=Archive(held).retrieve, destinations=places) as scp:
            where = ["127.0.0.1", str(scp.port), "-k", "0008,0052=STUDY", "-k", "0020,000D=1.2.2"]
            said = await tool("movescu", "-v", "-S", "-od", tmp_path, "--port", str(port), *where)
            got = sorted(dicore.read(path).SOPInstanceUID for path in tmp_path.iterdir())
            assert got == ["1.2.2.1.1", "1.2.2.1.2"], said
            said = await tool("movescu", "-v", "-S", "-aem", "NOBODY", *where, status=69)
            assert "MoveDestinationUnknown" in said.replace(" ", "")

    run_on("asyncio", main())


# ---- our client against DCMTK's servers


def test_dcmqrscp_is_queried_and_brings_what_it_has(tmp_path: Path) -> None:
    need("dcmqrscp")
    port, mine = free_port(), free_port()
    (tmp_path / "db").mkdir()
    (tmp_path / "qr.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ndest = (DEST, 127.0.0.1, {mine})\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nQR {tmp_path / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with daemon("dcmqrscp", "-c", "qr.cfg", port=port, cwd=tmp_path):
        run_on("asyncio", archive_service(f"QR@127.0.0.1:{port}", mine))


async def archive_service(address: str, mine: int) -> None:
    """C-STORE, C-FIND (cancelled too), C-GET and C-MOVE with an archive that sends to DEST at port `mine`."""
    held = archive()
    async with dicore.connect(address, receive=True) as assoc:
        for ds in held:
            assert await assoc.c_store(ds) == 0
        found = [ds async for ds in assoc.c_find(level="STUDY", PatientID="P*")]
        assert sorted(ds.StudyInstanceUID for ds in found) == ["1.2.1", "1.2.2"]
        async for _ in assoc.c_find(level="STUDY", PatientID="P*"):
            break
        answers = assoc.c_get(level="STUDY", StudyInstanceUID="1.2.1")
        got = sorted([ds async for ds in answers], key=lambda ds: ds.SOPInstanceUID)
        assert [bytes(ds["PixelData"].raw) for ds in got] == [bytes(ds["PixelData"].raw) for ds in held[:2]]
        assert answers.status == 0
        received: list[str] = []

        def take(request: Any, data: memoryview) -> int:
            received.append(request.sop_instance_uid)
            return 0

        async with dicore.listen(port=mine, on_c_store=take, ae_title="DEST"):
            last = None
            async for last in assoc.c_move(destination="DEST", level="STUDY", StudyInstanceUID="1.2.2"):
                pass
        assert last is not None
        assert last.status == 0
        assert sorted(received) == ["1.2.2.1.1", "1.2.2.1.2"]
        with pytest.raises(dicore.DimseError):
            async for _ in assoc.c_move(destination="NOBODY", level="STUDY", StudyInstanceUID="1.2.2"):
                pass


def test_wlmscpfs_gives_its_worklist(tmp_path: Path) -> None:
    need("wlmscpfs")
    port = free_port()
    folder = tmp_path / "WORK"
    folder.mkdir()
    (folder / "lockfile").touch()
    for number, modality in enumerate(("CT", "MR")):
        dicore.new(
            "1.2.840.10008.5.1.4.31",
            SpecificCharacterSet="ISO_IR 100",
            PatientID=f"P{number}",
            PatientName="MÜLLER^EVA",
            PatientBirthDate="19700101",
            PatientSex="F",
            AccessionNumber="A1",
            StudyInstanceUID="1.2.3",
            RequestedProcedureID="R1",
            RequestedProcedureDescription="x",
            ReferringPhysicianName="DOC",
            ScheduledProcedureStepSequence=[
                {
                    "Modality": modality,
                    "ScheduledStationAETitle": "STATION",
                    "ScheduledProcedureStepStartDate": "20260101",
                    "ScheduledProcedureStepStartTime": "080000",
                    "ScheduledPerformingPhysicianName": "DOC",
                    "ScheduledProcedureStepDescription": "x",
                    "ScheduledProcedureStepID": "S1",
                }
            ],
        ).write(folder / f"{number}.wl")

    async def main() -> None:
        async with dicore.connect(f"WORK@127.0.0.1:{port}") as assoc:
            found = [ds async for ds in assoc.c_find(model="worklist", Modality="MR")]
            assert [(ds.PatientID, str(ds.PatientName)) for ds in found] == [("P1", "MÜLLER^EVA")]
            assert found[0].ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "STATION"

    with daemon("wlmscpfs", "-s", "-dfp", str(tmp_path), str(port), port=port, cwd=tmp_path):
        run_on("asyncio", main())


# ---- Orthanc


def test_orthanc_stores_finds_moves_and_gets(tmp_path: Path) -> None:
    need("Orthanc")
    port, mine = free_port(), free_port()
    (tmp_path / "orthanc.json").write_text(
        json.dumps(
            {
                "HttpServerEnabled": False,
                "DicomPort": port,
                "DicomAet": "ORTHANC",
                "StorageDirectory": str(tmp_path / "db"),
                "IndexDirectory": str(tmp_path / "db"),
                "DicomModalities": {"dest": ["DEST", "127.0.0.1", mine], "us": ["DICORE", "127.0.0.1", mine]},
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowGet": True,
                "DicomAlwaysAllowMove": True,
            }
        )
    )
    with daemon("Orthanc", "orthanc.json", port=port, cwd=tmp_path):
        run_on("asyncio", archive_service(f"ORTHANC@127.0.0.1:{port}", mine))


# ---- pynetdicom, both roles


def test_pynetdicom_asks_everything_of_us() -> None:
    pynetdicom = peer_module("pynetdicom")
    from pydicom import Dataset as Theirs

    held, port = archive(), free_port()
    steps: dict[str, str] = {}

    def create(request: NormalizedRequest) -> Any:
        steps[request.sop_instance_uid] = request.dataset.PerformedProcedureStepStatus
        return request.dataset

    def change(request: NormalizedRequest) -> Any:
        steps[request.sop_instance_uid] = request.dataset.PerformedProcedureStepStatus
        return {"PerformedProcedureStepStatus": "COMPLETED"}

    def ask(ours: int) -> None:
        received: list[str] = []

        def store(event: Any) -> int:
            received.append(event.request.AffectedSOPInstanceUID)
            assert event.dataset.PixelData
            return 0x0000

        ae = pynetdicom.AE("PYNET")
        server = ae.start_server(
            ("127.0.0.1", port), block=False, contexts=[pynetdicom.build_context(CT)],
            evt_handlers=[(pynetdicom.evt.EVT_C_STORE, store)],
        )  # fmt: skip
        contexts = [
            pynetdicom.build_context(one) for one in (CT, MPPS, *(f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3)))
        ]
        role = pynetdicom.build_role(CT, scu_role=True, scp_role=True)
        assoc = ae.associate(
            "127.0.0.1", ours, contexts=contexts, ext_neg=[role], evt_handlers=[(pynetdicom.evt.EVT_C_STORE, store)]
        )
        assert assoc.is_established
        keys = Theirs()
        keys.QueryRetrieveLevel, keys.PatientID, keys.StudyInstanceUID = "STUDY", "P1", ""
        found = [(status.Status, ds) for status, ds in assoc.send_c_find(keys, "1.2.840.10008.5.1.4.1.2.2.1")]
        assert [status for status, _ in found] == [0xFF00, 0]
        assert found[0][1].StudyInstanceUID == "1.2.1"
        got = [
            (s.Status, s.get("NumberOfRemainingSuboperations"))
            for s, _ in assoc.send_c_get(keys, "1.2.840.10008.5.1.4.1.2.2.3")
        ]
        assert got == [(0xFF00, 1), (0xFF00, 0), (0, None)]
        assert received == ["1.2.1.1.1", "1.2.1.1.2"]
        moved = [s.Status for s, _ in assoc.send_c_move(keys, "PYNET", "1.2.840.10008.5.1.4.1.2.2.2")]
        assert moved == [0xFF00, 0xFF00, 0]
        assert received[2:] == ["1.2.1.1.1", "1.2.1.1.2"]
        (last,) = [s.Status for s, _ in assoc.send_c_move(keys, "NOBODY", "1.2.840.10008.5.1.4.1.2.2.2")]
        assert last == 0xA801
        step = Theirs()
        step.PerformedProcedureStepStatus = "IN PROGRESS"
        status, back = assoc.send_n_create(step, MPPS, "1.2.77")
        assert (status.Status, back.PerformedProcedureStepStatus) == (0, "IN PROGRESS")
        step.PerformedProcedureStepStatus = "COMPLETED"
        assert assoc.send_n_set(step, MPPS, "1.2.77")[0].Status == 0
        status, back = assoc.send_n_get([0x00400252], MPPS, "1.2.77")
        assert (status.Status, back.PerformedProcedureStepStatus) == (0, "COMPLETED")
        assert assoc.send_n_delete(MPPS, "1.2.77").Status == 0
        assert assoc.send_n_action(step, 5, MPPS, "1.2.77")[0].Status == 0x0123
        assoc.release()
        server.shutdown()

    async def main() -> None:
        handlers: Any = {
            "on_c_find": Archive(held).find, "on_c_get": Archive(held).retrieve, "on_c_move": Archive(held).retrieve,
            "on_n_create": create, "on_n_set": change, "on_n_action": lambda request: 0x0123,
            "on_n_get": lambda request: {"PerformedProcedureStepStatus": steps[request.sop_instance_uid]},
            "on_n_delete": lambda request: None,
        }  # fmt: skip
        async with dicore.listen(port=0, destinations={"PYNET": f"127.0.0.1:{port}"}, **handlers) as scp:
            await asyncio.get_running_loop().run_in_executor(None, ask, scp.port)
        assert steps == {"1.2.77": "COMPLETED"}

    run_on("asyncio", main())


def test_we_ask_everything_of_pynetdicom() -> None:
    pynetdicom = peer_module("pynetdicom")
    from pydicom import Dataset as Theirs

    evt = pynetdicom.evt
    mine = free_port()
    held = [ds.to_pydicom() for ds in archive()]
    threads: list[threading.Thread] = []

    def find(event: Any) -> Iterator[Any]:
        for number in range(3):
            answer = Theirs()
            answer.QueryRetrieveLevel, answer.PatientID = "STUDY", f"P{number}"
            yield 0xFF01 if number else 0xFF00, answer

    def get(event: Any) -> Iterator[Any]:
        yield 2
        for ds in held[:2]:
            yield 0xFF00, ds

    def move(event: Any) -> Iterator[Any]:
        yield ("127.0.0.1", mine, {"contexts": [pynetdicom.build_context(CT, [uid.EXPLICIT_LITTLE])]})
        yield 2
        for ds in held[2:]:
            yield 0xFF00, ds

    def echoed(event: Any) -> Any:
        ds = event.attribute_list if hasattr(event, "attribute_list") else event.modification_list
        return 0x0000, ds

    def got(event: Any) -> Any:
        answer = Theirs()
        answer.PatientID = "7"
        return 0x0000, answer

    def commit(event: Any) -> Any:
        info = event.action_information
        report = Theirs()
        report.TransactionUID = info.TransactionUID
        report.ReferencedSOPSequence = info.ReferencedSOPSequence

        def later() -> None:
            event.assoc.send_n_event_report(report, 1, COMMITMENT, "1.2.840.10008.1.20.1.1")

        threads.append(threading.Thread(target=later))
        threads[-1].start()
        return 0x0000, None

    ae = pynetdicom.AE("PYNET")
    for one in (
        "1.2.840.10008.1.1",
        FILM_SESSION,
        MPPS,
        COMMITMENT,
        *(f"1.2.840.10008.5.1.4.1.2.2.{n}" for n in (1, 2, 3)),
    ):
        ae.add_supported_context(one)
    ae.add_supported_context(CT, scu_role=True, scp_role=True)
    handlers = [
        (evt.EVT_C_FIND, find), (evt.EVT_C_GET, get), (evt.EVT_C_MOVE, move), (evt.EVT_N_CREATE, echoed),
        (evt.EVT_N_SET, echoed), (evt.EVT_N_GET, got), (evt.EVT_N_ACTION, commit),
        (evt.EVT_N_DELETE, lambda event: 0x0000),
    ]  # fmt: skip
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    port = server.socket.getsockname()[1]

    async def main() -> None:
        received: list[str] = []

        def take(request: Any, data: memoryview) -> int:
            received.append(request.sop_instance_uid)
            return 0

        async with (
            dicore.listen(port=mine, on_c_store=take) as _,
            dicore.connect(f"PYNET@127.0.0.1:{port}", receive=True) as assoc,
        ):
            assert await assoc.c_echo() == 0
            assert [ds.PatientID async for ds in assoc.c_find(PatientID="P*")] == ["P0", "P1", "P2"]
            answers = assoc.c_get(StudyInstanceUID="1.2.1")
            assert [ds.SOPInstanceUID async for ds in answers] == ["1.2.1.1.1", "1.2.1.1.2"]
            assert answers.progress.completed == 2
            moved = [p async for p in assoc.c_move(destination="DICORE", StudyInstanceUID="1.2.2")]
            assert (moved[-1].status, moved[-1].completed) == (0, 2)
            assert received == ["1.2.2.1.1", "1.2.2.1.2"]
            step = await assoc.mpps_begin(PatientID="7")
            assert (await assoc.mpps_end(step, PatientID="8")).dataset.PatientID == "8"
            assert (await assoc.n_get(MPPS, step, ["PatientID"])).dataset.PatientID == "7"
            result = await assoc.request_commitment([(CT, "1.2.1.1.1"), (CT, "1.2.1.1.2")])
            assert result.committed == ((CT, "1.2.1.1.1"), (CT, "1.2.1.1.2"))
            assert result.failed == ()
            await asyncio.get_running_loop().run_in_executor(None, threads[0].join)
            async with dicore.connect(f"PYNET@127.0.0.1:{port}", contexts=[FILM_SESSION]) as other:
                assert (await other.n_delete(FILM_SESSION, "1.2.3")).status == 0

    try:
        run_on("asyncio", main())
    finally:
        server.shutdown()
