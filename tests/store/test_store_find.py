"""Matching of PS3.4 C.2.2.2 over the index, and the index following the segments."""

from __future__ import annotations

import sqlite3

import pytest
from instances import CT, EXPLICIT, data_set, store_one, uid

from dicore.store import Store
from dicore.store.match import condition, fold_name, full_time

PATIENTS = {
    "P1": ("Doe^John", "20240101", "0830", "CT"),
    "P2": ("DOE^JANE^^^", "20240229", "101530.5", "MR"),
    "P3": ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046", "20241231", "235959", "CT"),
    "P4": ("Muster[x]^A", "", "", "CT"),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("find") / "store") as opened:
        for number, (patient, (name, date, time, modality)) in enumerate(PATIENTS.items()):
            for series in range(2):
                for image in range(2):
                    instance = uid()
                    data = data_set(
                        instance,
                        PatientID=patient,
                        PatientName=name.encode().decode("latin-1"),
                        StudyDate=date,
                        StudyTime=time,
                        Modality="SR" if series and number == 0 else modality,
                        SpecificCharacterSet="ISO_IR 192",
                        StudyInstanceUID=f"1.2.{number}",
                        SeriesInstanceUID=f"1.2.{number}.{series}",
                        AccessionNumber=f"A{number}",
                        SeriesNumber=str(series),
                        InstanceNumber=str(image),
                    )
                    opened.append(CT, instance, EXPLICIT, [data])
        yield opened


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, "P1 P2 P3 P4"),
        ({"PatientName": ""}, "P1 P2 P3 P4"),
        ({"PatientName": "*"}, "P1 P2 P3 P4"),
        ({"PatientID": "P2"}, "P2"),
        ({"PatientID": "p2"}, ""),  # case counts, but for names
        ({"PatientID": "P?"}, "P1 P2 P3 P4"),
        ({"PatientID": "*3"}, "P3"),
        ({"PatientName": "doe^john"}, "P1"),
        ({"PatientName": "Doe^Jane"}, "P2"),
        ({"PatientName": "DOE*"}, "P1 P2"),
        ({"PatientName": "doe^j?n*"}, "P2"),
        ({"PatientName": "doe^j?h?"}, "P1"),
        ({"PatientName": "\u5c71\u7530*"}, "P3"),
        ({"PatientName": "yamada^tarou"}, "P3"),
        ({"PatientName": "muster[*"}, "P4"),
        ({"PatientName": "muster[xyz]*"}, ""),
        ({"StudyDate": "20240229"}, "P2"),
        ({"StudyDate": "20240101-20240229"}, "P1 P2"),
        ({"StudyDate": "20240102-"}, "P2 P3"),
        ({"StudyDate": "-20240229"}, "P1 P2"),
        ({"StudyDate": "2024.02.29"}, "P2"),
        ({"StudyDate": '""'}, "P4"),
        ({"StudyTime": "08"}, "P1"),
        ({"StudyTime": "1015-"}, "P2 P3"),
        ({"StudyTime": "-1015"}, "P1 P2"),
        ({"StudyTime": "101530.5"}, "P2"),
        ({"StudyInstanceUID": "1.2.1\\1.2.3"}, "P2 P4"),
        ({"StudyInstanceUID": ["1.2.0", "1.2.2"]}, "P1 P3"),
        ({"StudyInstanceUID": "1.2.*"}, ""),  # no wildcards in UIDs
        ({"ModalitiesInStudy": "SR"}, "P1"),
        ({"ModalitiesInStudy": "C*"}, "P1 P3 P4"),
        ({"PatientID": "P1\\P3"}, "P1 P3"),
        ({"AccessionNumber": "A1", "PatientName": "doe*"}, "P2"),
        ({"PatientID": "' OR 1=1 --"}, ""),
    ],
    ids=str,
)
def test_studies_match_as_the_standard_says(store, keys, wanted):
    assert [row["PatientID"] for row in store.find("STUDY", **keys)] == wanted.split()


def test_levels_have_their_keys_and_those_above(store):
    (study,) = store.find("STUDY", PatientID="P1")
    assert study["ModalitiesInStudy"].split("\\") == ["CT", "SR"]
    assert (study["NumberOfStudyRelatedSeries"], study["NumberOfStudyRelatedInstances"]) == ("2", "4")
    assert study["PatientName"] == "Doe^John"
    series = store.find("SERIES", StudyInstanceUID="1.2.0", SeriesNumber="01")
    assert [row["SeriesInstanceUID"] for row in series] == ["1.2.0.1"]
    assert series[0]["NumberOfSeriesRelatedInstances"] == "2"
    image = store.find("IMAGE", SeriesInstanceUID="1.2.0.0", InstanceNumber="1")
    assert [(row["Rows"], row["TransferSyntaxUID"], row["PatientID"]) for row in image] == [("16", EXPLICIT, "P1")]
    assert len(store.find("PATIENT")) == 4
    assert store.find("STUDY", PatientID="P3")[0]["PatientName"] == PATIENTS["P3"][0]


@pytest.mark.parametrize(
    ("level", "keys", "reason"),
    [
        ("WARD", {}, "level 'WARD'"),
        ("STUDY", {"SeriesNumber": "1"}, "not a key of the STUDY level"),
        ("STUDY", {"Shoe": "1"}, "not a key"),
        ("STUDY", {"StudyDate": "May"}, "neither a date nor a range"),
        ("STUDY", {"StudyDate": "-"}, "at least one end"),
        ("IMAGE", {"InstanceNumber": "one"}, "one"),
    ],
)
def test_what_cannot_be_matched_is_a_value_error(store, level, keys, reason):
    with pytest.raises(ValueError, match=reason):
        store.find(level, **keys)


def test_names_and_times_are_compared_in_one_form():
    assert fold_name("DOE^Jane^^^") == "doe^jane"
    assert fold_name("A^B= = ") == "a^b"
    assert full_time("08") == "080000000000"
    assert full_time("08", "9") == "085959999999"
    assert full_time("10:15:30.25") == "101530250000"
    assert condition("c", "CS", "") is None


def test_an_instance_without_study_or_patient_is_found(tmp_path):
    with Store(tmp_path / "store") as store:
        name = uid()
        store.append(CT, name, EXPLICIT, [data_set(name, PatientID="", StudyInstanceUID="", SeriesInstanceUID="")])
        assert store.find("IMAGE")[0]["SOPInstanceUID"] == name
        assert store.find("STUDY")[0]["StudyInstanceUID"] == ""


@pytest.mark.parametrize("fate", ["deleted", "cut", "garbage", "older", "foreign", "emptied"])
def test_a_lost_or_stale_index_is_made_anew(tmp_path, fate):
    with Store(tmp_path / "store") as store:
        names = sorted(store_one(store, PatientID=f"P{i}")[0] for i in range(5))
        store.sync_index()
    index = tmp_path / "store" / "index.sqlite"
    if fate == "deleted":
        index.unlink()
    elif fate == "cut":
        index.write_bytes(index.read_bytes()[:5000])
    elif fate == "garbage":
        index.write_bytes(b"not a database" * 1000)
    elif fate == "older":
        with sqlite3.connect(index) as database:
            database.execute("PRAGMA user_version = 999")
        database.close()
    elif fate == "foreign":
        with Store(tmp_path / "other") as other:
            store_one(other, PatientID="STRANGER")
            other.sync_index()
        index.write_bytes((tmp_path / "other" / "index.sqlite").read_bytes())
    else:
        index.write_bytes(b"")
    with Store(tmp_path / "store") as store:
        assert sorted(row["SOPInstanceUID"] for row in store.find("IMAGE")) == names
        assert [row["PatientID"] for row in store.find("PATIENT", PatientID="STRANGER")] == []
        assert store.rebuild() == 5


def test_a_deflated_data_set_is_indexed(tmp_path):
    import zlib

    name = uid()
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data_set(name, PatientID="SQUEEZED")) + packer.flush()
    with Store(tmp_path / "store") as store:
        store.append(CT, name, "1.2.840.10008.1.2.1.99", [packed])
        assert store.find("PATIENT")[0]["PatientID"] == "SQUEEZED"


def test_the_identity_of_an_instance_may_stand_behind_much_else(tmp_path):
    from instances import element

    name = uid()
    data = data_set(name, PatientID="FAR")
    cut = data.index(element(0x00100010, "PN", "Doe^John"))
    far = data[:cut] + element(0x00091001, "UN", bytes(300_000)) + data[cut:]
    with Store(tmp_path / "store") as store:
        store.append(CT, name, EXPLICIT, [far])
        assert store.find("IMAGE")[0]["PatientID"] == "FAR"
        assert store.find("IMAGE")[0]["Rows"] == "16"
