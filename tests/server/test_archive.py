"""Query, retrieve, worklist, procedure steps, commitment, hooks, forwarding, configuration, health: real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicore
from dicore import synth, uid
from dicore._native import net as native
from dicore.errors import DicoreError, DimseError
from dicore.net import queries
from dicore.server import Health, Hooks, Schedule
from dicore.server.config import load
from dicore.server.forward import Forwarder, Queue
from dicore.server.mpps import Steps
from dicore.server.query import encode_answer

Run = Callable[..., Any]
MPPS = "1.2.840.10008.3.1.2.3.3"


@pytest.fixture(scope="module")
def instances() -> list[synth.Instance]:
    return list(synth.studies(11, 3, modality="mixed", slices=6, size=32))


def fill(store: dicore.Store, instances: list[synth.Instance]) -> None:
    for one in instances:
        start = native.identify_bytes(one.data)[3]
        store.append(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax, [memoryview(one.data)[start:]])


def with_archive(run: Run, folder: Path, instances: list[synth.Instance], body: Any, **options: Any) -> None:
    """Run `body(store, server, association)` beside a filled archive."""

    async def main() -> None:
        with dicore.Store(folder / "store", durability="relaxed", segment_size=1 << 24) as store:
            fill(store, instances)
            async with (
                dicore.serve(store, port=0, ae_title="ARCHIVE", **options) as server,
                dicore.connect(f"ARCHIVE@127.0.0.1:{server.port}", calling="WS", receive=True) as assoc,
            ):
                await body(store, server, assoc)

    run(main())


def damage(store: dicore.Store, instance: str) -> None:
    """Turn one byte of its record."""
    segment, offset = store._native.find(instance)[0]
    with open(store.path / "segments" / f"{segment:010d}.seg", "r+b") as file:
        file.seek(offset + 900)
        before = file.read(1)[0]
        file.seek(offset + 900)
        file.write(bytes([before ^ 0xFF]))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (a file, a database: nobody tells)
        await asyncio.sleep(0.01)


async def matches(assoc: Any, **keys: Any) -> list[Any]:
    return [one async for one in assoc.c_find(**keys)]


def test_every_level_is_found_in_both_models(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        studies = await matches(assoc, level="STUDY")
        assert {str(one.StudyInstanceUID) for one in studies} == {row["StudyInstanceUID"] for row in store.find()}
        for one in studies:
            study, patient = str(one.StudyInstanceUID), str(one.PatientID)
            assert len(await matches(assoc, level="PATIENT", model="patient", PatientID=patient)) == 1
            series = await matches(assoc, level="SERIES", model="patient", PatientID=patient, StudyInstanceUID=study)
            assert len(series) == int(one.NumberOfStudyRelatedSeries)
            images = await matches(
                assoc, level="IMAGE", StudyInstanceUID=study, SeriesInstanceUID=str(series[0].SeriesInstanceUID)
            )
            assert len(images) == int(series[0].NumberOfSeriesRelatedInstances)
            assert {str(image.SOPInstanceUID) for image in images} <= set(store)

    with_archive(run, tmp_path, instances, body)


def test_answers_hold_what_was_asked_for_and_where_to_get_it(
    run: Run, instances: list[synth.Instance], tmp_path: Path
) -> None:
    asked = {"QueryRetrieveLevel": "STUDY", "PatientName": "", "StudyInstanceUID": "", "RetrieveAETitle": "",
             "InstanceAvailability": "", "PatientComments": ""}  # fmt: skip

    async def body(store: Any, server: Any, assoc: Any) -> None:
        found = [one async for one in assoc.c_find(asked)]
        assert len(found) == 3
        for one in found:
            assert str(one.RetrieveAETitle) == "ARCHIVE"
            assert str(one.InstanceAvailability) == "ONLINE"
            assert str(one.QueryRetrieveLevel) == "STUDY"
            assert not one.get("PatientComments")
            assert "PatientID" not in one
            stored = store.find(StudyInstanceUID=str(one.StudyInstanceUID))[0]
            assert str(one.PatientName) == stored["PatientName"]
            assert ("SpecificCharacterSet" in one) == (not stored["PatientName"].isascii())

    with_archive(run, tmp_path, instances, body)


@pytest.mark.parametrize(
    ("model", "identifier", "status"),
    [
        ("study", {"StudyInstanceUID": ""}, 0xA900),  # no level
        ("study", {"QueryRetrieveLevel": "PATIENT", "PatientID": ""}, 0xA900),  # PS3.4 C.6.2: not a level of this root
        ("study", {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ""}, 0xA900),  # C.4.1.2.1: no study
        ("study", {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.2\\1.3"}, 0xA900),  # two of them
        ("patient", {"QueryRetrieveLevel": "STUDY", "PatientID": "A*"}, 0xA900),  # a wildcard above the level
        ("study", {"QueryRetrieveLevel": "STUDY", "StudyDate": "yesterday"}, 0xA900),
    ],
)
def test_identifiers_that_are_none_are_refused_and_the_association_lives(
    run: Run, tmp_path: Path, model: str, identifier: dict[str, str], status: int
) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        with pytest.raises(DimseError) as caught:
            [one async for one in assoc.c_find(identifier, model=model)]
        assert caught.value.status == status
        assert await assoc.c_echo() == 0

    with_archive(run, tmp_path, [], body)


def test_relational_queries_need_no_keys_above_once_negotiated(
    run: Run, instances: list[synth.Instance], tmp_path: Path
) -> None:
    find = queries.FIND["study"]

    async def body(store: Any, server: Any, assoc: Any) -> None:
        async with dicore.connect(
            f"A@127.0.0.1:{server.port}", contexts=[find], extended={find: b"\1\0\0\0\0\0"}
        ) as other:
            assert other.extended[find][:1] == b"\1"
            series = await matches(other, level="SERIES")
            assert len(series) == len(store.find("SERIES"))

    with_archive(run, tmp_path, instances, body)


def test_keys_below_the_level_are_said_to_be_ignored(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        identifier = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "SeriesNumber": "77"}
        found = [one async for one in assoc.c_find(identifier)]
        assert len(found) == 3
        assert all("SeriesNumber" not in one for one in found)

    with_archive(run, tmp_path, instances, body)


def test_a_study_comes_back_bit_identical_by_c_get(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        study = store.find()[0]["StudyInstanceUID"]
        got = {str(ds.SOPInstanceUID): bytes(ds.dataset_bytes()) async for ds in assoc.c_get(StudyInstanceUID=study)}
        wanted = {row["SOPInstanceUID"] for row in store.find("IMAGE", StudyInstanceUID=study)}
        assert set(got) == wanted
        for instance, data in got.items():
            record = store.record(instance)
            assert data == bytes(record[native.identify_bytes(record)[3] :])

    with_archive(run, tmp_path, instances, body)


def test_one_instance_of_many_by_a_list_of_uids(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        rows = store.find("IMAGE", StudyInstanceUID=store.find()[0]["StudyInstanceUID"])[:2]
        keys = {name: rows[0][name] for name in ("StudyInstanceUID", "SeriesInstanceUID")}
        wanted = [row["SOPInstanceUID"] for row in rows if row["SeriesInstanceUID"] == keys["SeriesInstanceUID"]]
        got = [
            str(ds.SOPInstanceUID)
            async for ds in assoc.c_get(level="IMAGE", **keys, SOPInstanceUID="\\".join([*wanted, "1.2.3"]))
        ]
        assert sorted(got) == sorted(wanted)

    with_archive(run, tmp_path, instances, body)


def test_c_move_goes_to_configured_destinations_only(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def main() -> None:
        with (
            dicore.Store(tmp_path / "here", durability="relaxed") as here,
            dicore.Store(tmp_path / "there", durability="relaxed") as there,
        ):
            fill(here, instances)
            async with dicore.serve(there, port=0, ae_title="THERE") as target:
                where = {"THERE": f"127.0.0.1:{target.port}"}
                async with (
                    dicore.serve(here, port=0, destinations=where) as server,
                    dicore.connect(f"A@127.0.0.1:{server.port}") as assoc,
                ):
                    study = here.find()[0]["StudyInstanceUID"]
                    last = [one async for one in assoc.c_move(destination="THERE", StudyInstanceUID=study)][-1]
                    wanted = {row["SOPInstanceUID"] for row in here.find("IMAGE", StudyInstanceUID=study)}
                    assert (last.status, last.completed, last.failed) == (0, len(wanted), 0)
                    assert set(there) == wanted
                    with pytest.raises(DimseError) as caught:
                        [one async for one in assoc.c_move(destination="ELSEWHERE", StudyInstanceUID=study)]
                    assert caught.value.status == 0xA801

    run(main())


def test_a_damaged_record_is_one_failed_sub_operation(
    run: Run, instances: list[synth.Instance], tmp_path: Path
) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        study = store.find()[0]["StudyInstanceUID"]
        victim = store.find("IMAGE", StudyInstanceUID=study)[0]["SOPInstanceUID"]
        damage(store, victim)
        answers = assoc.c_get(StudyInstanceUID=study)
        got = {str(ds.SOPInstanceUID) async for ds in answers}
        assert got == {row["SOPInstanceUID"] for row in store.find("IMAGE", StudyInstanceUID=study)} - {victim}
        assert answers.progress.status == 0xB000
        assert answers.progress.failed_uids == (victim,)

    with_archive(run, tmp_path, instances, body)


def test_compressed_instances_are_decoded_for_peers_that_take_nothing_else(
    run: Run, instances: list[synth.Instance], tmp_path: Path
) -> None:
    plain = dicore.read(instances[0].data)
    packed = dicore.read(dicore.transcode(plain, "JPEGLSLossless").part10_bytes())
    syntaxes = (uid.EXPLICIT_LITTLE,)
    get, sop_class = queries.GET["study"], str(plain.SOPClassUID)

    async def main() -> None:
        with dicore.Store(tmp_path / "store", durability="relaxed") as store:
            data = memoryview(packed.part10_bytes())
            names = native.identify_bytes(data)
            store.append(names[0], names[1], names[2], [data[names[3] :]])
            async with (
                dicore.serve(store, port=0) as server,
                dicore.connect(
                    f"A@127.0.0.1:{server.port}",
                    contexts=[(get, syntaxes), (sop_class, syntaxes)],
                    roles={sop_class: (True, True)},
                ) as assoc,
            ):
                got = [ds async for ds in assoc.c_get(StudyInstanceUID=str(plain.StudyInstanceUID))]
                assert bytes(got[0]["PixelData"].raw) == bytes(plain["PixelData"].raw)

    run(main())


# ---- worklist, procedure steps, commitment


def worklist_folder(folder: Path) -> Path:
    folder.mkdir()
    for number, (station, name) in enumerate([("CT1", "Ångström^Åsa"), ("MR1", "Doe^Jane")]):
        item = dicore.Dataset.from_bytes(b"", transfer_syntax=uid.EXPLICIT_LITTLE)
        item.SpecificCharacterSet = "ISO_IR 192"
        item.PatientName, item.PatientID, item.AccessionNumber = name, f"P{number}", f"A{number}"
        item.ScheduledProcedureStepSequence = [
            {
                "ScheduledStationAETitle": station,
                "Modality": station[:2],
                "ScheduledProcedureStepStartDate": "20260105",
                "ScheduledProcedureStepID": f"S{number}",
            }
        ]
        (folder / f"{number}.json").write_text(item.to_json())
    (folder / "broken.wl").write_bytes(b"no DICOM")
    return folder


def test_the_worklist_is_matched_in_its_sequence_and_read_again(run: Run, tmp_path: Path) -> None:
    folder = worklist_folder(tmp_path / "wl")

    async def body(store: Any, server: Any, assoc: Any) -> None:
        found = await matches(assoc, model="worklist", Modality="CT", ScheduledProcedureStepStartDate="20260101-")
        assert [str(one.PatientName) for one in found] == ["Ångström^Åsa"]
        assert str(found[0].ScheduledProcedureStepSequence[0].ScheduledProcedureStepID) == "S0"
        assert len(await matches(assoc, model="worklist")) == 2
        assert not await matches(assoc, model="worklist", ScheduledStationAETitle="XA*")
        (folder / "1.json").unlink()
        assert len(await matches(assoc, model="worklist")) == 1

    with_archive(run, tmp_path, [], body, worklist=folder)


def test_the_worklist_of_the_store_answers_as_the_folder_does(run: Run, tmp_path: Path) -> None:
    folder = worklist_folder(tmp_path / "wl")
    items = [folder / "0.json", folder / "1.json"]
    (tmp_path / "schedule").mkdir()
    with contextlib.closing(Schedule(tmp_path / "schedule")) as schedule:
        assert schedule.add(items) == schedule.add(items) == len(schedule) == 2
        with pytest.raises(DicoreError, match="no worklist item"):
            schedule.add([dicore.new("CT Image Storage", SOPInstanceUID="1.2")])

        async def body(store: Any, server: Any, assoc: Any) -> None:
            asked: list[tuple[dict[str, str], str]] = [
                ({"Modality": "CT", "ScheduledProcedureStepStartDate": "20260101-"}, "S0"),
                ({"PatientName": "ångström*"}, "S0"), ({"PatientName": "D?e*"}, "S1"), ({"PatientID": "P*"}, "S0 S1"),
                ({"ScheduledStationAETitle": "XA*"}, ""), ({"AccessionNumber": "A1"}, "S1"), ({}, "S0 S1"),
                ({"ScheduledProcedureStepID": "S1"}, "S1"), ({"ScheduledProcedureStepStartDate": "-20251231"}, ""),
            ]  # fmt: skip
            for keys, wanted in asked:
                found = [
                    str(one.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID)
                    for one in await matches(assoc, model="worklist", **{"ScheduledProcedureStepID": "", **keys})
                ]
                assert found == wanted.split(), keys
            assert schedule.remove({"PatientID": "P1"}) == 1
            assert len(await matches(assoc, model="worklist")) == 1

        with_archive(run, tmp_path, [], body, worklist=schedule)
        looked: list[dict[str, Any]] = [
            {"PatientName": "Doe*"}, {"PatientID": "P1"}, {"AccessionNumber": "A*"},
            {"ScheduledProcedureStepSequence": [{"ScheduledProcedureStepStartDate": "20260105"}]},
        ]  # fmt: skip
        for one in looked:
            plan = schedule.plan(one)
            assert "SEARCH" in plan
            assert "SCAN" not in plan
        with pytest.raises(ValueError, match="needs a key"):
            schedule.remove({"PatientID": ""})
    with contextlib.closing(Schedule(tmp_path / "schedule")) as schedule:  # it is kept
        assert [item["PatientID"] for item in schedule.items()] == ["P0"]


def test_procedure_steps_are_kept_and_end_once(run: Run, tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        instance = await assoc.mpps_begin(PerformedStationAETitle="CT1", PatientName="Doe^Jane")
        with pytest.raises(DimseError) as caught:
            await assoc.mpps_begin(instance=instance, PatientName="Other")
        assert caught.value.status == 0x0111
        await assoc.n_set(MPPS, instance, {"PerformedProcedureStepDescription": "Thorax"})
        await assoc.mpps_end(instance, PerformedProcedureStepEndDate="20260105")
        with pytest.raises(DimseError) as caught:
            await assoc.n_set(MPPS, instance, {"PatientName": "Changed"})
        assert caught.value.status == 0x0110
        with pytest.raises(DimseError) as caught:
            await assoc.mpps_end("1.2.3.4")
        assert caught.value.status == 0x0112
        kept = Steps(store.path / "mpps")[instance]
        assert str(kept.PerformedProcedureStepStatus) == "COMPLETED"
        assert str(kept.PerformedProcedureStepDescription) == "Thorax"
        assert str(kept.PatientName) == "Doe^Jane"

    with_archive(run, tmp_path, [], body)


def test_commitment_is_given_for_what_is_whole_only(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        one, two = instances[0], instances[1]
        damage(store, two.sop_instance_uid)
        asked = [(i.sop_class_uid, i.sop_instance_uid) for i in (one, two)] + [(one.sop_class_uid, "1.2.3")]
        asked.append(("1.2.840.10008.5.1.4.1.1.7", instances[2].sop_instance_uid))
        result = await assoc.request_commitment(asked)
        assert result.committed == ((one.sop_class_uid, one.sop_instance_uid),)
        assert {instance: reason for _, instance, reason in result.failed} == {
            two.sop_instance_uid: 0x0110, "1.2.3": 0x0112, instances[2].sop_instance_uid: 0x0119,
        }  # fmt: skip
        await until(lambda: not list((store.path / "commitment").iterdir()))

    with_archive(run, tmp_path, instances, body)


# ---- hooks and forwarding


def test_hooks_filter_coerce_and_declare_it(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    refused, taken = instances[0], instances[1]
    hooks = Hooks(
        filter=lambda request: request.sop_instance_uid != refused.sop_instance_uid,
        coerce=lambda request, dataset: {"InstitutionName": "Somewhere", "PatientID": "X1"},
    )

    async def body(store: Any, server: Any, assoc: Any) -> None:
        with pytest.raises(DimseError) as caught:
            await assoc.c_store(refused.data)
        assert caught.value.status == 0x0124
        assert await assoc.c_store(taken.data) == 0xB000
        kept = store[taken.sop_instance_uid]
        assert (str(kept.PatientID), str(kept.InstitutionName)) == ("X1", "Somewhere")
        original = kept.OriginalAttributesSequence[0]
        assert str(original.ModifiedAttributesSequence[0].PatientID) == str(dicore.read(taken.data).PatientID)
        assert str(original.ReasonForTheAttributeModification) == "COERCE"

    with_archive(run, tmp_path, [], body, hooks=hooks)


def test_what_is_forwarded_waits_for_its_destination_and_arrives_once(
    run: Run, instances: list[synth.Instance], tmp_path: Path
) -> None:
    """The destination is down at first, and the server is restarted meanwhile."""

    async def main() -> None:
        with (
            dicore.Store(tmp_path / "here", durability="relaxed") as here,
            dicore.Store(tmp_path / "there", durability="relaxed") as there,
        ):
            hooks = Hooks(route=lambda request: ["THERE"])
            async with (
                dicore.serve(here, port=0, hooks=hooks, destinations={"THERE": "127.0.0.1:1"}) as server,
                dicore.connect(f"A@127.0.0.1:{server.port}") as assoc,
            ):
                for one in instances:
                    assert await assoc.c_store(one.data) == 0
            queue = Queue(here.path / "forward.sqlite")
            assert queue.counts()["THERE"][0] == len(instances)
            async with dicore.serve(there, port=0, ae_title="THERE") as target:
                forwarder = Forwarder(
                    here, queue, ae_title="HERE", destinations={"THERE": f"127.0.0.1:{target.port}"}, pauses=[0.01]
                )
                forwarder.start()
                await until(lambda: queue.counts()["THERE"][1] == len(instances))
                queue.put([(instances[0].sop_instance_uid, "THERE")])  # its sender has sent it again
                forwarder.wake(["THERE"])
                assert queue.counts()["THERE"] == (0, len(instances), 0)
                await forwarder.close()
                assert target.counters["stores"] == len(instances)
                assert set(there) == {one.sop_instance_uid for one in instances}
            queue.close()

    run(main())


# ---- configuration, health


def test_mistakes_in_the_configuration_are_named_with_their_path(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('[server]\nstore = "s"\nport = 70000\nallow_ae = ["THIS IS TOO LONG A TITLE"]\ncolour = 1\n')
    with pytest.raises(DicoreError) as caught:
        load(file)
    for path in ("server.port", "server.allow_ae.0", "server.colour"):
        assert path in str(caught.value)
    file.write_text('[server]\nstore = "s"\n[[forward]]\nto = ["NOBODY"]\n')
    with pytest.raises(DicoreError, match=r"forward\.0\.to: NOBODY"):
        load(file)
    file.write_text('[server]\nstore = "s"\n[destinations]\nA = "h:104"\n[[forward]]\nto = ["A"]\n')
    assert load(file).destinations == {"A": "h:104"}
    file.write_text('[server]\nstore = "s"\n[keys]\nSTUDY = ["InstitutionName"]\n')
    assert load(file).keys == {"STUDY": ("InstitutionName",)}
    file.write_text('[server]\nstore = "s"\n[keys]\nSTUDY = ["Shoe"]\nWARD = ["Rows"]\n')
    with pytest.raises(DicoreError, match=r"keys\.STUDY: .*Shoe.*keys\.WARD"):
        load(file)


def test_health_readiness_and_metrics(run: Run, instances: list[synth.Instance], tmp_path: Path) -> None:
    async def body(store: Any, server: Any, assoc: Any) -> None:
        def fetch(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{health.port}{path}", timeout=10) as answer:
                return str(answer.read().decode())

        async with Health(server, port=0) as health:
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, fetch, "/healthz") == "ok\n"
            assert await loop.run_in_executor(None, fetch, "/readyz") == "ready\n"
            lines = (await loop.run_in_executor(None, fetch, "/metrics")).splitlines()
            assert f"dicore_store_instances {len(instances)}" in lines
            assert "dicore_associations_open 1" in lines

    with_archive(run, tmp_path, instances, body)


def test_answers_are_encoded_as_the_long_way_would() -> None:
    row = {"StudyDate": "20260101", "PatientName": "Müller^Jörg", "Rows": "512", "StudyInstanceUID": "1.2.3",
           "ReferencedStudySequence": [{"ReferencedSOPInstanceUID": "1.2"}], "StudyDescription": ""}  # fmt: skip
    for syntax in (uid.IMPLICIT_LITTLE, uid.EXPLICIT_LITTLE, uid.EXPLICIT_BIG, uid.DEFLATED):
        found = queries.decode(encode_answer(row, syntax, "ISO_IR 100"), syntax)
        assert str(found.SpecificCharacterSet) == "ISO_IR 100"
        assert str(found.PatientName) == "Müller^Jörg"
        assert found.Rows == 512
        assert str(found.ReferencedStudySequence[0].ReferencedSOPInstanceUID) == "1.2"
    beyond = queries.decode(
        encode_answer({"PatientName": "山田"}, uid.EXPLICIT_LITTLE, "ISO_IR 100"), uid.EXPLICIT_LITTLE
    )
    assert str(beyond.SpecificCharacterSet) == "ISO_IR 192"
    assert json.dumps(str(beyond.PatientName), ensure_ascii=False) == '"山田"'
