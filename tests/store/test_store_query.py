"""Queries that stream, keys beyond the index, and the same answers from PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from instances import CT, EXPLICIT, data_set, element, store_one, uid

import dicore
from conftest import absent, free_port, peer_module
from dicore.store import Store
from dicore.store.match import matches

NAMES = ["Müller^Jörg", "Muller^Jorg", "MÜLLER^JÖRG", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Smith^A"]


def fill(store: Store) -> None:
    for n, name in enumerate(NAMES):
        instance = uid()
        data = data_set(
            instance, PatientID=f"P{n}", StudyInstanceUID=f"1.2.{n}", SeriesInstanceUID=f"1.2.{n}.1", PatientName="?",
            StudyDate=f"2024010{n + 1}", StudyTime=f"{10 + n}0000", SeriesNumber=f"0{n}",
            SpecificCharacterSet="ISO_IR 192",
        )  # fmt: skip
        mark = b"\x10\x00\x10\x00PN\x02\x00? "
        assert data.count(mark) == 1
        text = name.encode() + b" " * (len(name.encode()) % 2)
        store.append(CT, instance, EXPLICIT, [data.replace(mark, mark[:6] + len(text).to_bytes(2, "little") + text)])


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A server of its own in a temporary folder: its address."""
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
    peer_module("psycopg")
    if not tools:
        absent("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path("/tmp") / f"dicore-pg-{os.getpid()}"
    folder.mkdir()
    user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    port = free_port()
    run = {"check": True, "capture_output": True, "cwd": "/"}
    subprocess.run([*user, tools[-1] / "initdb", "-A", "trust", "-U", "postgres", "-N", folder / "data"], **run)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*user, tools[-1] / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], **{**run, "capture_output": False})
    yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **{**run, "capture_output": False})
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    address = request.getfixturevalue("postgres") if request.param == "postgres" else None
    with Store(tmp_path / "s", index=address) as opened:
        fill(opened)
        yield opened


@pytest.mark.parametrize(
    ("fold", "key", "wanted"),
    [
        ("exact", "Müller^Jörg", "P0"), ("case", "müller^jörg", "P0 P2"), ("accent", "MULLER^JORG", "P0 P1 P2"),
        ("case", "M?ller*", "P0 P1 P2"), ("case", "山田*", "P3"), ("case", "Yamada*=山田*", "P3"),
        ("case", "=山田^太郎", "P3"),
        ("case", "Yamada*=佐藤*", ""), ("case", "たろう*", ""), ("case", "やまだ^た?う", "P3"),
        ("case", "==やまだ*", "P3"),
        ("case", "=やまだ*", ""), ("case", "yamada*==やまだ*", "P3"), ("case", "Yamada*たろう", ""),
        ("accent", "*", "P0 P1 P2 P3 P4"),
        ("case", "\U0010ffff*", ""), ("accent", "Smith^A*", "P4"), ("accent", "Smith^A?", ""), ("case", '""', ""),
        ("case", "smith^a", "P4"), ("exact", "smith^a", ""),
    ],
)  # fmt: skip
def test_names_fold_as_told_and_match_by_component_group(store, fold, key, wanted):
    assert [row["PatientID"] for row in store.find(fold=fold, PatientName=key)] == wanted.split()


@pytest.mark.parametrize(
    ("keys", "combined", "wanted"),
    [
        ({"StudyDate": "20240101-20240103", "StudyTime": "1100-1200"}, False, "P1 P2"),
        ({"StudyDate": "20240101-20240103", "StudyTime": "1100-1159"}, True, "P1"),
        ({"StudyDate": "20240102-", "StudyTime": "1200-"}, True, "P2 P3 P4"),
        ({"SeriesNumber": "3"}, False, "P3"), ({"PatientID": "P1\\P2"}, False, "P1 P2"),
        ({"StudyDate": '""'}, False, ""),
        ({"StudyInstanceUID": "1.2.1\\1.2.4"}, False, "P1 P4"), ({"PatientID": "P_"}, False, ""),
        ({"PatientID": "P%"}, False, ""), ({"PatientID": "P?"}, False, "P0 P1 P2 P3 P4"),
        ({"BitsStored": "12"}, False, "P0 P1 P2 P3 P4"), ({"BitsStored": "8"}, False, ""),
        ({"PhotometricInterpretation": "MONO*"}, False, "P0 P1 P2 P3 P4"),
        ({"ReferencedStudySequence": [{"ReferencedSOPInstanceUID": "1"}]}, False, ""),
    ],
    ids=str,
)  # fmt: skip
def test_queries(store, keys, combined, wanted):
    rows = store.query("SERIES", {"PatientID": "", **keys}, combined=combined)
    assert iter(rows) is rows  # they come as they are asked for
    found = list(rows)
    assert sorted(row["PatientID"] for row in found) == wanted.split()
    for row in found:  # what was asked for and the unique keys, nothing else
        assert row.keys() == {"PatientID", "StudyInstanceUID", "SeriesInstanceUID", *keys}


@pytest.mark.parametrize(
    ("keys", "zone", "wanted"),
    [
        # 2024-01-01 23:30 in +0100 is 22:30 in UTC and 07:30 of the next day in +0900
        ({"StudyDate": "20240101", "StudyTime": "2330"}, "", "Z"),
        ({"StudyDate": "20240101", "StudyTime": "2330"}, "+0100", "Z"),
        ({"StudyDate": "20240101", "StudyTime": "2230"}, "+0000", "Z"),
        ({"StudyDate": "20240101", "StudyTime": "2330"}, "+0000", ""),
        ({"StudyDate": "20240102", "StudyTime": "0730"}, "+0900", "Z"), ({"StudyDate": "20240102"}, "+0900", "Z N"),
        ({"StudyDate": "20240101"}, "+0900", ""), ({"StudyTime": "0700-0759"}, "+0900", "Z"),
        ({"StudyDate": "20240102", "StudyTime": "0800"}, "+0900", "N"),  # no zone: taken as the query's
        ({"AcquisitionDate": "20240102", "AcquisitionTime": "073000"}, "+0900", "Z"),
        ({"AcquisitionDate": "20240101"}, "+0900", ""), ({"AcquisitionTime": "2330"}, "", "Z"),
        ({"AcquisitionDateTime": "20240101223000"}, "+0000", "Z"),
        ({"AcquisitionDateTime": "20240101233000"}, "+0000", ""),
        ({"AcquisitionDateTime": "20240102073000+0900"}, "", "Z"),
        ({"AcquisitionDateTime": "20240102073000+0900"}, "+0100", "Z"),
        ({"AcquisitionDateTime": "20240102070000-20240102080000"}, "+0900", "Z"),
    ],
    ids=str,
)  # fmt: skip
def test_dates_and_times_are_shifted_to_the_zone_of_the_query(zoned, keys, zone, wanted):
    asked = {"PatientID": "", **keys, **({"TimezoneOffsetFromUTC": zone} if zone else {})}
    assert {row["PatientID"] for row in zoned.query("STUDY", asked)} == set(wanted.split())
    if "StudyTime" not in keys or "StudyDate" in keys:  # else combined is another question
        assert {row["PatientID"] for row in zoned.query("STUDY", asked, combined=True)} == set(wanted.split())


@pytest.fixture(scope="module")
def zoned(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("zoned") / "s") as store:
        for patient, date, clock, more in (
            ("Z", "20240101", "233000", {0x00080201: ("SH", "+0100"), 0x00080022: ("DA", "20240101"),
                                         0x00080032: ("TM", "233000"), 0x0008002A: ("DT", "20240101233000")}),
            ("N", "20240102", "0800", {}),
        ):  # fmt: skip
            name = uid()
            data = data_set(name, PatientID=patient, StudyInstanceUID=f"1.{date}", SeriesInstanceUID=f"1.{date}.1",
                            StudyDate=date, StudyTime=clock)  # fmt: skip
            at = data.index(element(0x00080050, "SH", "A1"))
            front = [(tag, element(tag, *one)) for tag, one in more.items() if tag < 0x00080050]
            behind = b"".join(element(tag, *one) for tag, one in more.items() if tag > 0x00080050)
            head = data[:at]
            for tag, one in sorted(front):  # each before the first that is greater
                cut = next((head.index(element(t, v, x)) for t, v, x in
                            ((0x00080030, "TM", clock),) if t > tag), len(head))  # fmt: skip
                head = head[:cut] + one + head[cut:]
            rest = data[at:]
            cut = rest.index(element(0x00100010, "PN", "Doe^John"))
            store.append(CT, name, EXPLICIT, [head + rest[:cut] + behind + rest[cut:]])
        yield store


def test_64_writers_of_one_new_patient_make_one_patient(tmp_path, request, made_by):
    """Each with a store, an index and a connection of its own on the same folder, as processes have them."""
    address = None if made_by == "sqlite" else request.getfixturevalue("postgres")
    writers, images = 64, 3
    folder = tmp_path / "s"
    Store(folder, index=address).close()
    ready = threading.Barrier(writers)
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with Store(folder, index=address, segment_size=1 << 20, durability="relaxed") as store:
                ready.wait(60)
                for _ in range(images):
                    study = f"1.9.{number % 4}"  # sixteen writers of each study, four of each series
                    series = f"{study}.{number % 16}"
                    store_one(store, PatientID="NEW", StudyInstanceUID=study, SeriesInstanceUID=series)
                store.sync_index()
        except BaseException as error:
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with Store(folder, index=address) as store:
        patients = store.find("PATIENT", PatientID="NEW")
        what = ("Studies", "Series", "Instances")
        counts = [[one[f"NumberOfPatientRelated{level}"] for level in what] for one in patients]
        assert counts == [["4", "16", str(writers * images)]]
        assert len(store.find("STUDY", PatientID="NEW")) == 4
        assert len(store) == len(store.find("IMAGE")) == writers * images
        assert store.verify().ok


@pytest.fixture(params=["sqlite", "postgres"])
def made_by(request):
    return request.param


def test_a_query_takes_a_data_set_and_counts(store):
    asked = dicore.new(CT, PatientName="", StudyDate="20240101-20240103", NumberOfStudyRelatedInstances=None,
                       ModalitiesInStudy="CT", SOPClassesInStudy=None)  # fmt: skip
    keys = {k: v for k, v in dicore.store.query.keys_of(asked).items() if k not in ("SOPClassUID", "SOPInstanceUID")}
    rows = list(store.query("STUDY", keys, limit=2))
    assert [row["NumberOfStudyRelatedInstances"] for row in rows] == ["1", "1"]
    assert {row["SOPClassesInStudy"] for row in rows} == {CT}
    (patient,) = store.query("PATIENT", {"PatientID": "P1", "NumberOfPatientRelatedSeries": ""})
    assert patient["NumberOfPatientRelatedSeries"] == "1"


def test_deleted_and_compacted_in_the_index_too(store):
    assert store.delete(PatientID="P1") == 1
    store.compact()
    assert [row["PatientID"] for row in store.find()] == ["P0", "P2", "P3", "P4"]
    for row in store.find("IMAGE"):
        assert row["SOPInstanceUID"] in store


def test_extra_keys_are_kept_and_make_the_index_anew(tmp_path):
    with Store(tmp_path / "s") as store:
        store_one(store)
        with pytest.raises(ValueError, match="not a key"):
            store.find(PhotometricInterpretation="MONO*")
    with Store(tmp_path / "s", extra_keys={"STUDY": ["PhotometricInterpretation"]}) as store:
        assert store.find(PhotometricInterpretation="MONO*")[0]["PhotometricInterpretation"] == "MONOCHROME2"
    with Store(tmp_path / "s") as store:
        assert len(store.find(PhotometricInterpretation="MONO*")) == 1


COMMON = [
    {"PatientID": "P1"}, {"PatientID": "P1*"}, {"PatientID": "P1\\P2"}, {"PatientName": "Smith^A"},
    {"PatientName": "Smi*"},
    {"PatientName": "Smi?h^A"}, {"PatientName": "Yamada*=山*"}, {"PatientBirthDate": "19700101"},
    {"PatientName": "S*", "PatientBirthDate": "1970-1971"}, {"PatientID": "P1", "PatientName": "S*"},
]  # fmt: skip
OF_STUDY = [
    *COMMON, {"StudyInstanceUID": "1.2"}, {"StudyInstanceUID": "1.2\\1.3"}, {"AccessionNumber": "A"},
    {"AccessionNumber": "A*"}, {"StudyDate": "20240101-20240102"}, {"StudyDate": "20240101"}, {"StudyTime": "10-11"},
    {"StudyDate": "20240101-", "StudyTime": "-1200"}, {"StudyID": "S1"}, {"ReferringPhysicianName": "Hou*"},
    {"PatientName": "S*", "StudyDate": "20240101-"}, {"StudyDate": "20240101", "ModalitiesInStudy": "MR"},
    {"ModalitiesInStudy": "MR"}, {"ModalitiesInStudy": "C*", "PatientID": "P*"}, {"StudyDate": '""'},
]  # fmt: skip
OF_SERIES = [
    *OF_STUDY, {"SeriesInstanceUID": "1.2"}, {"StudyInstanceUID": "1.2", "SeriesNumber": "3"}, {"Modality": "CT"},
    {"StudyInstanceUID": "1.2", "Modality": "C*"}, {"SeriesDate": "20240101-20240102"},
]  # fmt: skip
OF_IMAGE = [
    *OF_SERIES, {"SOPInstanceUID": "1.2"}, {"SOPInstanceUID": "1.2\\1.3"},
    {"SeriesInstanceUID": "1.2", "InstanceNumber": "7"}, {"SeriesInstanceUID": "1.2", "SOPClassUID": CT},
]  # fmt: skip
PLANS = {"PATIENT": COMMON, "STUDY": OF_STUDY, "SERIES": OF_SERIES, "IMAGE": OF_IMAGE}


def test_no_common_query_reads_a_whole_table(store):
    index = store._index
    sqlite = index.database.name.endswith("sqlite")
    if not sqlite:  # a few rows are read faster than searched: is there an index that would do?
        index.database.execute("SET enable_seqscan = off")
    looked = 0
    for level, asked in PLANS.items():
        wanted = [k for k in index.names(level) if not k.startswith("Number")]
        for keys in asked:
            for ordered, skip, days in ((False, (), 0), (True, (), 0), (True, ("StudyDate", "StudyTime"), 2)):
                if skip and not keys.get("StudyDate", "").strip('"'):  # as dates with a time zone are looked for
                    continue
                sql = index.statement(level, keys, wanted, skip=skip, days=days, first_uid=True, ordered=ordered)
                plan = index.database.plan(*sql)
                looked += 1
                if sqlite:
                    assert "SEARCH" in plan, (level, keys, plan)
                    assert "SCAN" not in plan.replace("SCAN CONSTANT ROW", ""), (level, keys, plan)
                else:
                    assert "Seq Scan" not in plan, (level, keys, plan)
    assert looked > 160


def test_an_index_of_an_earlier_layout_is_made_anew(tmp_path, postgres):
    """As version 2 had it: one folded column for the whole name. What is derived is derived again."""
    import sqlite3

    with Store(tmp_path / "s") as store:
        fill(store)
        store.sync_index()
    older = [
        "CREATE TABLE segment(id INTEGER PRIMARY KEY, nonce TEXT NOT NULL, upto INTEGER NOT NULL)",
        "CREATE TABLE patient(id INTEGER PRIMARY KEY, PatientID TEXT NOT NULL, PatientName TEXT NOT NULL, "
        "PatientName_key TEXT NOT NULL, IssuerOfPatientID TEXT NOT NULL, UNIQUE(PatientID, IssuerOfPatientID))",
        "CREATE TABLE study(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, StudyInstanceUID TEXT NOT NULL)",
        "CREATE TABLE series(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, SeriesInstanceUID TEXT NOT NULL)",
        "CREATE TABLE instance(id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, SOPInstanceUID TEXT NOT NULL)",
        "CREATE TABLE layout(text TEXT NOT NULL)", "INSERT INTO layout(text) VALUES('2: as it was then')",
        "INSERT INTO patient VALUES(1, 'GHOST', 'Ghost', 'ghost', '')",
    ]  # fmt: skip
    index = tmp_path / "s" / "index.sqlite"
    for suffix in ("", "-wal", "-shm"):
        index.with_name(index.name + suffix).unlink(missing_ok=True)
    with sqlite3.connect(index) as database:
        for statement in older:
            database.execute(statement)
    database.close()
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        for table in ("instance", "series", "study", "patient", "segment", "layout"):
            connection.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
        for statement in older:
            connection.execute(statement)
    for address in (None, postgres):
        for _ in range(2):  # and then it is there
            with Store(tmp_path / "s", index=address) as store:
                assert [row["PatientID"] for row in store.find(PatientName="smi*")] == ["P4"]
                assert store.find(PatientID="GHOST") == []


@pytest.mark.parametrize(
    ("vr", "key", "value", "wanted"),
    [
        ("DT", "20240101120000+0100", "20240101110000+0000", True), ("DT", "2024", "20240615", True),
        ("DT", "20240101-20240131", "20240131235959", True), ("DT", "-20240101", "20240102", False),
        ("CS", "ORIGINAL", "ORIGINAL\\PRIMARY", True), ("DS", "1.50", "1.5", True), ("CS", "A?", "ABC", False),
    ],
)  # fmt: skip
def test_values_in_memory(vr, key, value, wanted):
    assert matches(vr, key, value) is wanted
