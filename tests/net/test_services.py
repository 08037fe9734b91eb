# ruff: noqa: PT012, SIM117  (loops raise; a listener, and in it a client, read better on two lines)
"""Every DIMSE service between our two sides: what streams, what cancels, what fails; the association lives on."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import dicore
from dicore import uid
from dicore.errors import AssociationAborted, AssociationRejected, AssociationStateError, DimseError, NetworkError
from dicore.net import (
    Commitments,
    FindRequest,
    Identity,
    Limits,
    NormalizedRequest,
    RetrieveRequest,
    Timeouts,
    UserIdentity,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
UPS = "1.2.840.10008.5.1.4.34.6.1"
COMMITMENT = "1.2.840.10008.1.20.1"


def instances(count: int, size: int = 512, syntax: str = uid.EXPLICIT_LITTLE) -> list[dicore.Dataset]:
    return [
        dicore.new(
            "CT Image Storage",
            SOPInstanceUID=f"1.2.3.{number + 1}",
            StudyInstanceUID="1.2.3",
            PatientName="DOE^JANE",
            transfer_syntax=syntax,
            Rows=1,
            Columns=1,
            BitsAllocated=16,
            PixelData=bytes([number % 256]) * size,
        )
        for number in range(count)
    ]


def address(scp: Any) -> str:
    return f"SCP@127.0.0.1:{scp.port}"


# ---- C-FIND


def test_matches_come_as_they_are_yielded_and_identifiers_are_read(run: Any) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        seen: list[FindRequest] = []

        async def find(request: FindRequest) -> AsyncIterator[Any]:
            seen.append(request)
            yield {"StudyInstanceUID": "1.2.1", "PatientName": "MÜLLER^EVA"}
            await gate.wait()
            yield 0xFF01, dicore.new("CT Image Storage", StudyInstanceUID="1.2.2")
            yield b""

        async with dicore.listen(port=0, on_c_find=find) as scp, dicore.connect(address(scp), calling="ME") as assoc:
            answers = assoc.c_find(level="study", PatientID="12*")
            first = await anext(answers)
            assert (first.StudyInstanceUID, str(first.PatientName)) == ("1.2.1", "MÜLLER^EVA")
            assert not gate.is_set()  # the first is here while the handler waits
            gate.set()
            assert [ds.get("StudyInstanceUID") async for ds in answers] == ["1.2.2", None]
            assert answers.status == 0
            (request,) = seen
            assert (request.level, request.model, request.calling_ae) == ("STUDY", "study", "ME")
            assert request.identifier.PatientID == "12*"
            assert "ModalitiesInStudy" in request.identifier
            assert request.peer.startswith("127.0.0.1:")

    run(main())


@pytest.mark.parametrize("kind", ["list", "generator", "coroutine", "asynchronous generator", "nothing"])
def test_every_kind_of_handler_will_do(run: Any, kind: str) -> None:
    async def main() -> None:
        wanted = [{"PatientID": str(number)} for number in range(200)]

        def generator(request: FindRequest) -> Iterator[Any]:
            yield from wanted

        async def coroutine(request: FindRequest) -> Any:
            return wanted

        async def asynchronous(request: FindRequest) -> AsyncIterator[Any]:
            for one in wanted:
                yield one

        handler: Any = {
            "list": lambda request: wanted,
            "generator": generator,
            "coroutine": coroutine,
            "asynchronous generator": asynchronous,
            "nothing": lambda request: None,
        }[kind]
        async with dicore.listen(port=0, on_c_find=handler) as scp, dicore.connect(address(scp)) as assoc:
            found = [ds.PatientID async for ds in assoc.c_find(level="PATIENT", model="patient")]
            assert found == ([] if kind == "nothing" else [str(number) for number in range(200)])

    run(main())


@pytest.mark.parametrize("kind", ["asynchronous", "waiting", "thread"])
def test_leaving_the_loop_cancels_and_the_association_is_free_at_once(run: Any, kind: str) -> None:
    async def main() -> None:
        ended: asyncio.Queue[bool] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def asynchronous(request: FindRequest) -> AsyncIterator[Any]:
            try:
                yield {"PatientID": "1"}
                while True:
                    if kind == "waiting":
                        await loop.create_future()
                    yield {"PatientID": "2"}
            finally:
                ended.put_nowait(request.cancelled)

        def threaded(request: FindRequest) -> Iterator[Any]:
            try:
                while True:
                    yield {"PatientID": "3"}
            finally:
                loop.call_soon_threadsafe(ended.put_nowait, request.cancelled)

        handler: Any = threaded if kind == "thread" else asynchronous
        async with dicore.listen(port=0, on_c_find=handler) as scp, dicore.connect(address(scp)) as assoc:
            async for _ in assoc.c_find(level="PATIENT", model="patient"):
                break
            assert await assoc.c_echo() == 0  # waits until the cancelled one has ended
            assert await ended.get() is True
            answers = assoc.c_find(level="PATIENT", model="patient")
            await anext(answers)
            await answers.aclose()
            assert await ended.get() is True

    run(main())


def test_an_operation_amid_another_one_is_refused_instead_of_waiting_for_ever(run: Any) -> None:
    async def main() -> None:
        async def find(request: FindRequest) -> AsyncIterator[Any]:
            yield {"PatientID": "1"}
            await asyncio.get_running_loop().create_future()

        async with dicore.listen(port=0, on_c_find=find) as scp:
            async with dicore.connect(address(scp)) as assoc:
                async for _ in assoc.c_find():
                    with pytest.raises(AssociationStateError, match="in the middle of an operation"):
                        await assoc.c_echo()
                    break
            async with dicore.connect(address(scp), window=2) as assoc:
                assert assoc.window == 1  # the listener grants no more unless it is told to

    run(main())


def test_a_slow_consumer_holds_the_handler_back(run: Any) -> None:
    async def main() -> None:
        yielded = 0

        async def find(request: FindRequest) -> AsyncIterator[Any]:
            nonlocal yielded
            for _ in range(20_000):
                yielded += 1
                yield {"PatientID": "1", "PatientComments": "x" * 2000}

        async with dicore.listen(port=0, on_c_find=find) as scp, dicore.connect(address(scp)) as assoc:
            answers = assoc.c_find()
            await anext(answers)
            async with dicore.connect(address(scp)) as other:  # others are served meanwhile
                for _ in range(50):
                    assert await other.c_echo() == 0
            before = yielded
            for _ in range(20):
                await asyncio.sleep(0)
            assert before == yielded < 20_000
            assert sum([1 async for _ in answers]) == 19_999

    run(main())


@pytest.mark.parametrize(
    ("error", "status", "comment"),
    [
        (DimseError("no", status=0xA700, comment="try later"), 0xA700, "try later"),
        (ValueError("bad \x1b[31m é key" + "x" * 99), 0xC001, "bad /x1b[31m /xe9 key"),
        (MemoryError(), 0xA700, "MemoryError"),
        (DimseError("a success is no failure", status=0), 0x0110, "a success is no failure"),
    ],
)
def test_a_handler_that_raises_is_a_failure_status_and_the_association_lives(
    run: Any, error: Exception, status: int, comment: str
) -> None:
    async def main() -> None:
        async def find(request: FindRequest) -> AsyncIterator[Any]:
            yield {"PatientID": "1"}
            raise error

        async with dicore.listen(port=0, on_c_find=find) as scp, dicore.connect(address(scp)) as assoc:
            found = []
            with pytest.raises(DimseError) as caught:
                async for ds in assoc.c_find():
                    found.append(ds.PatientID)
            assert found == ["1"]
            assert caught.value.status == status
            assert caught.value.comment.startswith(comment)
            assert len(caught.value.comment) <= 64
            assert await assoc.c_echo() == 0
            assert scp.counters["operations_failed"] == 1

    run(main())


def test_worklist_keys_of_the_step_go_into_its_sequence(run: Any) -> None:
    async def main() -> None:
        def find(request: FindRequest) -> Any:
            (step,) = request.identifier.ScheduledProcedureStepSequence
            assert request.model == "worklist"
            assert request.level == ""
            return [{"PatientID": "7", "ScheduledProcedureStepSequence": [{"Modality": step.Modality}]}]

        async with dicore.listen(port=0, on_c_find=find) as scp, dicore.connect(address(scp)) as assoc:
            (match,) = [ds async for ds in assoc.c_find(model="worklist", Modality="MR", PatientName="DOE*")]
            assert match.ScheduledProcedureStepSequence[0].Modality == "MR"

    run(main())


@pytest.mark.parametrize("syntax", [uid.IMPLICIT_LITTLE, uid.EXPLICIT_LITTLE, uid.EXPLICIT_BIG, uid.DEFLATED])
def test_identifiers_go_in_the_syntax_of_the_context(run: Any, syntax: str) -> None:
    async def main() -> None:
        def find(request: FindRequest) -> Any:
            assert request.transfer_syntax == syntax
            yield {"PatientID": request.identifier.PatientID, "NumberOfStudyRelatedSeries": 3, "Rows": 258}
            yield {"ReferencedStudySequence": [{"StudyID": "1", "PatientName": "Ä"}]}

        find_class = "1.2.840.10008.5.1.4.1.2.2.1"
        async with dicore.listen(port=0, on_c_find=find) as scp:
            async with dicore.connect(address(scp), contexts=[(find_class, [syntax])]) as assoc:
                first, second = [ds async for ds in assoc.c_find({"PatientID": "P1"})]
                assert (first.PatientID, first.NumberOfStudyRelatedSeries, first.Rows) == ("P1", 3, 258)
                assert str(second.ReferencedStudySequence[0].PatientName) == "Ä"

    run(main())


def test_extended_negotiation_is_what_both_support(run: Any) -> None:
    async def main() -> None:
        study = "1.2.840.10008.5.1.4.1.2.2.1"
        seen = []

        def find(request: FindRequest) -> Any:
            seen.append(request.extended)

        async with dicore.listen(port=0, on_c_find=find, extended={study: b"\1\0\1\1"}) as scp:
            async with dicore.connect(address(scp), extended={study: b"\1\1\1", CT: b"\2"}) as assoc:
                assert assoc.extended == {study: b"\1\0\1"}
                assert [ds async for ds in assoc.c_find()] == []
        assert seen == [b"\1\0\1"]

    run(main())


# ---- C-GET


@pytest.mark.parametrize("source", ["datasets", "paths", "bytes", "long file"])
def test_get_brings_whole_instances_as_they_come(run: Any, tmp_path: Path, source: str) -> None:
    async def main() -> None:
        sent = instances(5, size=40 << 20 if source == "long file" else 40_000)[: 1 if source == "long file" else 5]
        paths = []
        for number, ds in enumerate(sent):
            paths.append(tmp_path / f"{number}.dcm")
            ds.write(paths[-1])
        given: Any = {"datasets": sent, "bytes": [ds.to_bytes() for ds in sent]}.get(source, paths)

        async def get(request: RetrieveRequest) -> AsyncIterator[Any]:
            yield len(given)
            for one in given:
                yield one

        async with dicore.listen(port=0, on_c_get=get) as scp, dicore.connect(address(scp), receive=True) as assoc:
            answers = assoc.c_get(level="STUDY", StudyInstanceUID="1.2.3")
            found = [ds async for ds in answers]
            assert [bytes(ds.dataset_bytes()) for ds in found] == [bytes(ds.dataset_bytes()) for ds in sent]
            assert (answers.status, answers.progress.completed) == (0, len(sent))
            assert await assoc.c_echo() == 0

    run(main())


def test_get_into_a_folder_counts_and_names_no_path_after_a_peer(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        sent = instances(3)
        async with dicore.listen(port=0, on_c_get=lambda request: sent) as scp:
            async with dicore.connect(address(scp), receive=True) as assoc:
                seen = [p async for p in assoc.c_get(to=tmp_path / "in", StudyInstanceUID="1.2.3")]
        assert [p.instance for p in seen[:-1]] == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
        assert seen[-1].final
        assert (seen[-1].status, seen[-1].completed) == (0, 3)
        assert sorted(path.name for path in (tmp_path / "in").iterdir()) == [f"1.2.3.{n}.dcm" for n in (1, 2, 3)]
        again = dicore.read(tmp_path / "in" / "1.2.3.2.dcm")
        assert again == sent[1]

    run(main())


def test_get_into_a_store_and_streams_what_is_long(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        sent = instances(3, size=100_000)
        with dicore.Store(tmp_path / "store", segment_size=1 << 20) as store:
            async with dicore.listen(port=0, on_c_get=lambda request: sent) as scp:
                limits = Limits(stream_from=16_384)
                async with dicore.connect(address(scp), receive=True, limits=limits) as assoc:
                    async for _ in assoc.c_get(to=store, StudyInstanceUID="1.2.3"):
                        pass
            assert {str(name): store[name] == ds for name, ds in zip(sorted(store), sent, strict=True)} == {
                f"1.2.3.{n}": True for n in (1, 2, 3)
            }

    run(main())


def test_get_without_the_role_is_refused_on_our_side(run: Any) -> None:
    async def main() -> None:
        async with dicore.listen(port=0, on_c_get=lambda request: instances(1)) as scp:
            async with dicore.connect(address(scp)) as assoc:
                with pytest.raises(AssociationStateError, match="receive=True"):
                    await anext(assoc.c_get(StudyInstanceUID="1"))

    run(main())


def test_leaving_a_get_cancels_it(run: Any) -> None:
    async def main() -> None:
        sent = instances(300, size=20_000)
        yielded = 0

        async def get(request: RetrieveRequest) -> AsyncIterator[Any]:
            nonlocal yielded
            for one in sent:
                yielded += 1
                yield one

        async with dicore.listen(port=0, on_c_get=get) as scp, dicore.connect(address(scp), receive=True) as assoc:
            async for _ in assoc.c_get(StudyInstanceUID="1.2.3"):
                break
            assert await assoc.c_echo() == 0
            assert yielded < 300

    run(main())


def test_sub_operations_that_fail_are_listed(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        jpeg = dicore.new(
            "CT Image Storage",
            SOPInstanceUID="1.2.3.9",
            transfer_syntax="1.2.840.10008.1.2.4.70",
            PixelData=dicore.dataset.encode.encapsulated([b"\xff\xd8\xff\xd9"]),
        )
        given = [*instances(2), jpeg, str(tmp_path / "absent.dcm")]
        async with dicore.listen(port=0, on_c_get=lambda request: given) as scp:
            contexts = ["1.2.840.10008.5.1.4.1.2.2.3", CT]
            async with dicore.connect(address(scp), contexts=contexts, receive=True) as assoc:
                answers = assoc.c_get(StudyInstanceUID="1.2.3")
                assert len([ds async for ds in answers]) == 2
                assert answers.status == 0xB000
                assert answers.progress.failed_uids == ("1.2.3.9",)
                assert (answers.progress.completed, answers.progress.failed) == (2, 2)

    run(main())


# ---- C-MOVE


def test_move_sends_to_a_configured_destination_over_a_pooled_association(run: Any) -> None:
    async def main() -> None:
        received: list[tuple[str, str]] = []

        def take(request: Any, data: memoryview) -> int:
            received.append((request.calling_ae, request.sop_instance_uid))
            return 0xB000 if request.sop_instance_uid.endswith(".2") else 0

        sent = instances(4)
        async with dicore.listen(port=0, on_c_store=take, ae_title="DEST") as destination:
            places = {"DEST": f"127.0.0.1:{destination.port}", "GONE": "127.0.0.1:1"}
            async with (
                dicore.listen(port=0, on_c_move=lambda request: sent, destinations=places, ae_title="PACS") as scp,
                dicore.connect(address(scp)) as assoc,
            ):
                seen = [p async for p in assoc.c_move(destination="DEST", StudyInstanceUID="1.2.3")]
                assert [(p.remaining, p.completed, p.warning) for p in seen[:-1]] == [
                    (3, 1, 0), (2, 1, 1), (1, 2, 1), (0, 3, 1),
                ]  # fmt: skip
                assert (seen[-1].status, seen[-1].completed, seen[-1].warning) == (0xB000, 3, 1)
                assert received == [("PACS", f"1.2.3.{n}") for n in (1, 2, 3, 4)]
                async for _ in assoc.c_move(destination="DEST", StudyInstanceUID="1.2.3"):
                    pass
                assert destination.counters["associations"] == 1  # the pool's, used twice
                with pytest.raises(DimseError, match="not configured") as caught:
                    await anext(assoc.c_move(destination="NOBODY", StudyInstanceUID="1.2.3"))
                assert caught.value.status == 0xA801
                gone = assoc.c_move(destination="GONE", StudyInstanceUID="1.2.3")
                with pytest.raises(DimseError) as caught:
                    async for _ in gone:
                        pass
                assert caught.value.status == 0xA702
                assert await assoc.c_echo() == 0

    run(main())


# ---- N-services


def test_normalized_services_carry_everything_both_ways(run: Any) -> None:
    async def main() -> None:
        seen: list[tuple[Any, ...]] = []

        def create(request: NormalizedRequest) -> Any:
            seen.append(("create", request.sop_class_uid, request.sop_instance_uid, request.dataset))
            return {"ProcedureStepState": "SCHEDULED"}

        async def set_(request: NormalizedRequest) -> Any:
            seen.append(("set", request.sop_instance_uid, request.dataset.ProcedureStepState))
            return 0x0107, {"ProcedureStepState": "DISCONTINUED"}

        def get(request: NormalizedRequest) -> Any:
            seen.append(("get", request.sop_instance_uid, request.attributes))
            return dicore.new("CT Image Storage", PatientID="7")

        def action(request: NormalizedRequest) -> Any:
            seen.append(("action", request.action_type))
            raise DimseError("no", status=0x0123, comment="no such action")

        def delete(request: NormalizedRequest) -> Any:
            seen.append(("delete", request.sop_instance_uid))

        handlers: Any = {
            "on_n_create": create, "on_n_set": set_, "on_n_get": get, "on_n_action": action, "on_n_delete": delete,
        }  # fmt: skip
        async with dicore.listen(port=0, **handlers) as scp, dicore.connect(address(scp), contexts=[UPS]) as assoc:
            made = await assoc.n_create(UPS, {"PatientID": "7"})
            assert (made.status, made.dataset.ProcedureStepState) == (0, "SCHEDULED")
            assert uid.is_valid(made.sop_instance_uid)  # made by the listener
            assert (await assoc.n_create(UPS, None, instance="1.2.9")).sop_instance_uid == "1.2.9"
            changed = await assoc.n_set(UPS, "1.2.9", {"ProcedureStepState": "CANCELED"})
            assert (changed.status, changed.dataset.ProcedureStepState) == (0x0107, "DISCONTINUED")
            assert (await assoc.n_get(UPS, "1.2.9", ["PatientID", 0x00100010])).dataset.PatientID == "7"
            with pytest.raises(DimseError, match="no such action"):
                await assoc.n_action(UPS, "1.2.9", 3)
            assert (await assoc.n_delete(UPS, "1.2.9")).status == 0
            with pytest.raises(DimseError) as caught:
                await assoc.n_event_report(UPS, "1.2.9", 1)
            assert caught.value.status == 0x0211
        assert seen[2:] == [
            ("set", "1.2.9", "CANCELED"), ("get", "1.2.9", (0x00100020, 0x00100010)), ("action", 3),
            ("delete", "1.2.9"),
        ]  # fmt: skip

    run(main())


def test_a_procedure_step_begins_and_ends(run: Any) -> None:
    async def main() -> None:
        steps: dict[str, str] = {}

        def create(request: NormalizedRequest) -> Any:
            if request.sop_instance_uid in steps:
                return 0x0111
            steps[request.sop_instance_uid] = request.dataset.PerformedProcedureStepStatus

        def set_(request: NormalizedRequest) -> Any:
            if request.sop_instance_uid not in steps:
                return 0x0112
            steps[request.sop_instance_uid] = request.dataset.PerformedProcedureStepStatus

        async with dicore.listen(port=0, on_n_create=create, on_n_set=set_) as scp:
            async with dicore.connect(address(scp)) as assoc:
                step = await assoc.mpps_begin(Modality="CT", PatientID="7")
                assert steps == {step: "IN PROGRESS"}
                with pytest.raises(DimseError, match="duplicate"):
                    await assoc.mpps_begin(instance=step)
                await assoc.mpps_end(step, PerformedProcedureStepEndDate="20260101")
                assert steps == {step: "COMPLETED"}
                with pytest.raises(DimseError, match="no such sop instance"):
                    await assoc.mpps_end("1.2.3", status="DISCONTINUED")

    run(main())


@pytest.mark.parametrize("where", ["same association", "new association"])
def test_storage_commitment_is_reported(run: Any, where: str) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = []
        places: list[str] = []

        def action(request: NormalizedRequest) -> int:
            pairs = [
                (r.ReferencedSOPClassUID, r.ReferencedSOPInstanceUID) for r in request.dataset.ReferencedSOPSequence
            ]
            transaction = request.dataset.TransactionUID

            async def report() -> None:
                good, bad = pairs[:-1], pairs[-1]
                content: Any = {
                    "TransactionUID": transaction,
                    "ReferencedSOPSequence": [
                        {"ReferencedSOPClassUID": a, "ReferencedSOPInstanceUID": b} for a, b in good
                    ],
                    "FailedSOPSequence": [
                        {"ReferencedSOPClassUID": bad[0], "ReferencedSOPInstanceUID": bad[1], "FailureReason": 0x0112}
                    ],
                }
                if where == "same association":
                    await request.association.n_event_report(COMMITMENT, "1.2.840.10008.1.20.1.1", 2, content)
                else:
                    roles = {COMMITMENT: (False, True)}
                    async with dicore.connect(places[0], contexts=[COMMITMENT], roles=roles) as back:
                        assert back.roles == roles
                        await back.n_event_report(COMMITMENT, "1.2.840.10008.1.20.1.1", 2, content)

            if len(pairs) > 1:
                tasks.append(asyncio.create_task(report()))
            return 0

        commitments = Commitments()
        async with dicore.listen(port=0, on_n_event_report=commitments) as mine:
            places.append(address(mine))
            async with dicore.listen(port=0, on_n_action=action) as scp, dicore.connect(address(scp)) as assoc:
                given = commitments if where == "new association" else None
                result = await assoc.request_commitment([(CT, "1.2.1"), (CT, "1.2.2")], commitments=given)
                assert result.committed == ((CT, "1.2.1"),)
                assert result.failed == ((CT, "1.2.2", 0x0112),)
                await asyncio.gather(*tasks)
                with pytest.raises(TimeoutError, match="no storage commitment report"):
                    await assoc.request_commitment([(CT, "1.2.1")], commitments=Commitments(), timeout=0.001)

    run(main())


# ---- the operations window, roles, users


def test_a_window_lets_operations_overlap(run: Any) -> None:
    async def main() -> None:
        under_way = most = 0
        gate = asyncio.Event()

        async def get(request: NormalizedRequest) -> int:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            if under_way == 3:
                gate.set()
            await gate.wait()
            under_way -= 1
            return 0

        async with dicore.listen(port=0, on_n_get=get, window=3) as scp:
            async with dicore.connect(address(scp), contexts=[UPS], window=8) as assoc:
                assert assoc.window == 3
                await asyncio.gather(*(assoc.n_get(UPS, f"1.{n}") for n in range(9)))
        assert most == 3

    run(main())


def test_stores_are_pipelined_in_a_window(run: Any) -> None:
    async def main() -> None:
        got: dict[str, int] = {}

        async def take(request: Any, data: memoryview) -> int:
            got[request.sop_instance_uid] = len(data)
            return 0

        sent = instances(20, size=50_000)
        async with dicore.listen(port=0, on_c_store=take, window=4) as scp:
            async with dicore.connect(address(scp), window=4) as assoc:
                assert assoc.window == 4
                assert await asyncio.gather(*(assoc.c_store(ds) for ds in sent)) == [0] * 20
        assert got == {ds.SOPInstanceUID: len(ds.dataset_bytes()) for ds in sent}

    run(main())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_user_is_looked_at(run: Any, asynchronous: bool) -> None:
    async def main() -> None:
        seen: list[UserIdentity] = []

        def verdict(user: UserIdentity) -> Any:
            seen.append(user)
            if user.type == 0:
                return False
            if user.type == 5:
                raise ValueError("no key")
            return b"ticket" if user.type == 3 else user.passcode == "secret"

        async def later(user: UserIdentity) -> Any:
            await asyncio.sleep(0)
            return verdict(user)

        async with dicore.listen(port=0, on_user_identity=later if asynchronous else verdict) as scp:
            where = address(scp)
            async with dicore.connect(where, identity=Identity.user("eva", "secret", wants_response=True)) as assoc:
                assert assoc.identity_response == b""
                assert await assoc.c_echo() == 0
            async with dicore.connect(where, identity=Identity.kerberos(b"abc", wants_response=True)) as assoc:
                assert assoc.identity_response == b"ticket"
            with pytest.raises(AssociationRejected):
                await dicore.connect(where, identity=Identity.user("eva", "wrong"))
            with pytest.raises(AssociationRejected):
                await dicore.connect(where)
            with pytest.raises(AssociationRejected, match="for now"):
                await dicore.connect(where, identity=Identity.jwt("x.y.z"))
        assert [(u.type, u.name) for u in seen] == [(2, "eva"), (3, ""), (2, "eva"), (0, ""), (5, "")]
        assert "secret" not in repr(seen)

    run(main())


def test_only_what_is_served_is_accepted(run: Any) -> None:
    async def main() -> None:
        async with dicore.listen(port=0, on_c_find=lambda request: None) as scp:
            async with dicore.connect(address(scp), receive=True) as assoc:
                kept = {one for one, _ in assoc.contexts}
                assert kept == {uid.VERIFICATION, *(f"1.2.840.10008.5.1.4.1.2.{n}.1" for n in (1, 2)),
                                "1.2.840.10008.5.1.4.31"}  # fmt: skip
                assert not any(scp_role for _, scp_role in assoc.roles.values())
                with pytest.raises(AssociationStateError, match="no context for"):
                    await anext(assoc.c_move(destination="X"))

    run(main())


# ---- hostile peers, and limits


def test_an_identifier_beyond_the_limit_is_refused(run: Any) -> None:
    async def main() -> None:
        limits = Limits(identifier=100_000)
        async with dicore.listen(port=0, on_c_find=lambda request: None, limits=limits) as scp:
            async with dicore.connect(address(scp)) as assoc:
                with pytest.raises(DimseError, match="beyond our limit") as caught:
                    await anext(assoc.c_find({"PatientComments": "x" * 10_000, "ImageComments": b"y" * 1_000_000}))
                assert caught.value.status == 0xA700
                assert await assoc.c_echo() == 0
                assert scp.counters["limit_identifier"] == 1

    run(main())


def pdata(context: int, command: bytes) -> bytes:
    return struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, context, 3) + command


def test_a_response_to_nothing_aborts_and_a_cancel_of_nothing_does_not(run: Any) -> None:
    from dicore._native.command import Command

    async def main() -> None:
        async with dicore.listen(port=0, on_c_find=lambda request: None) as scp:
            assoc = await dicore.connect(address(scp))
            number = next(n for n, (one, _) in assoc.accepted.items() if one == uid.VERIFICATION)
            assoc.post(number, Command(0x0FFF, responded_to=77))
            assert await assoc.c_echo() == 0
            assoc.post(number, Command(0x8020, responded_to=77, status=0))
            with pytest.raises((AssociationAborted, AssociationStateError)):
                await assoc.c_echo()

    run(main())


def test_a_wrong_message_id_in_a_response_aborts(run: Any) -> None:
    from dicore._native.command import Command

    async def main() -> None:
        def find(request: FindRequest) -> Any:
            request.association._wire.post(request.context_id, Command(0x8020, responded_to=99, status=0))

        async with dicore.listen(port=0, on_c_find=find) as scp:
            assoc = await dicore.connect(address(scp))
            with pytest.raises(NetworkError, match="a response to nothing"):
                await anext(assoc.c_find())
            assert not assoc.open

    run(main())


def test_a_sub_operation_that_nobody_answers_times_out(run: Any) -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def get(request: RetrieveRequest) -> AsyncIterator[Any]:
            try:
                yield instances(1)[0]
            finally:
                ended.set()

        async def never(request: Any, data: memoryview) -> int:
            await asyncio.get_running_loop().create_future()
            return 0

        times = Timeouts(dimse=0.2, network=5)
        async with dicore.listen(port=0, on_c_get=get, timeouts=times) as scp:
            assoc = await dicore.connect(address(scp), receive=True)
            with pytest.raises(NetworkError):
                async for _ in assoc.c_get(to=never, StudyInstanceUID="1"):
                    pass
            await ended.wait()
            assert scp.counters["timeout_dimse"] == 1

    run(main())


def test_a_peer_that_goes_cancels_its_handlers(run: Any) -> None:
    async def main() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def find(request: FindRequest) -> AsyncIterator[Any]:
            try:
                begun.set()
                await asyncio.get_running_loop().create_future()
                yield {}
            finally:
                ended.set()

        async with dicore.listen(port=0, on_c_find=find) as scp:
            assoc = await dicore.connect(address(scp))
            waiting = asyncio.ensure_future(anext(assoc.c_find()))
            await begun.wait()
            assoc.abort()
            with pytest.raises(NetworkError):
                await waiting
            await ended.wait()

    run(main())
