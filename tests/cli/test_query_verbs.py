"""`dicore find`, `get`, `move` and `echo --probe` against a listener in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicore
from conftest import dicore_cli, run_on


def on_a_listener(check: Callable[[int], None], **handlers: Any) -> None:
    async def main() -> None:
        async with dicore.listen(port=0, **handlers) as scp:
            await asyncio.get_running_loop().run_in_executor(None, check, scp.port)

    run_on("asyncio", main())


def held() -> list[dicore.Dataset]:
    return [dicore.new("CT Image Storage", SOPInstanceUID=f"1.2.{n}", PatientID=f"P{n}") for n in (1, 2, 3)]


def test_find_prints_a_table_or_json_lines_and_stops_at_a_limit() -> None:
    seen: list[dict[str, Any]] = []

    def find(request: Any) -> Any:
        seen.append({one.keyword: one.value for one in request.identifier})
        for ds in held():
            yield {"PatientID": ds.PatientID, "PatientName": "A\x1b[31m^B"}

    def check(port: int) -> None:
        keys = ["-k", "0010,0020=P*", "-k", "PatientName", "-k", "0008,0052=PATIENT", "-m", "patient"]
        table = dicore_cli("find", f"X@127.0.0.1:{port}", *keys)
        assert table.stdout.splitlines() == ["PatientName\tPatientID"] + [f"A\\x1b[31m^B\tP{n}" for n in (1, 2, 3)]
        assert table.stderr == "3 matches\n"
        lines = dicore_cli("find", "-aec", "X", "-aet", "ME", "127.0.0.1", str(port), "--json", "--limit", "2")
        assert [json.loads(line)["00100020"]["Value"] for line in lines.stdout.splitlines()] == [["P1"], ["P2"]]
        assert dicore_cli("find", f"X@127.0.0.1:{port}", "-k", "NoKeyword=1", check=False).returncode == 2

    on_a_listener(check, on_c_find=find)
    assert seen[0] == {"QueryRetrieveLevel": "PATIENT", "PatientName": "", "PatientID": "P*"}
    assert "StudyInstanceUID" in seen[1]


def test_get_writes_files_or_into_a_store(tmp_path: Path) -> None:
    dicore.Store(tmp_path / "store", segment_size=1 << 20).close()

    def check(port: int) -> None:
        said = dicore_cli("get", f"X@127.0.0.1:{port}", "-k", "StudyInstanceUID=1", "-o", tmp_path / "files")
        assert said.stdout.startswith("got 3 instances; 0 failed")
        assert {path.name for path in (tmp_path / "files").iterdir()} == {f"1.2.{n}.dcm" for n in (1, 2, 3)}
        said = dicore_cli("get", f"X@127.0.0.1:{port}", "-k", "StudyInstanceUID=1", "-o", tmp_path / "store", "--json")
        assert json.loads(said.stdout.splitlines()[-1])["completed"] == 3
        with dicore.Store(tmp_path / "store", segment_size=1 << 20) as store:
            assert len(store) == 3

    on_a_listener(check, on_c_get=lambda request: held())


@pytest.mark.parametrize("known", [True, False])
def test_move_says_how_it_went(known: bool) -> None:
    received: list[str] = []

    def check(port: int) -> None:
        said = dicore_cli(
            "move", "-aec", "X", "-aem", "DEST" if known else "NOBODY", "127.0.0.1", str(port),
            "-k", "StudyInstanceUID=1", check=False,
        )  # fmt: skip
        assert said.returncode == (0 if known else 1)
        assert ("moved 3 instances" in said.stdout) == known
        assert ("A801" in said.stderr) != known

    async def main() -> None:
        def take(request: Any, data: memoryview) -> int:
            received.append(request.sop_instance_uid)
            return 0

        async with dicore.listen(port=0, on_c_store=take) as destination:
            places = {"DEST": f"127.0.0.1:{destination.port}"}
            async with dicore.listen(port=0, on_c_move=lambda request: held(), destinations=places) as scp:
                await asyncio.get_running_loop().run_in_executor(None, check, scp.port)

    run_on("asyncio", main())
    assert received == (["1.2.1", "1.2.2", "1.2.3"] if known else [])


def test_probe_tells_what_is_accepted() -> None:
    def check(port: int) -> None:
        found = json.loads(dicore_cli("echo", f"X@127.0.0.1:{port}", "--probe", "--json").stdout)
        assert found["implementation_version"] == "DICORE_0_1"
        assert (found["max_pdu"], found["window"], found["grants_scp_role"]) == (1 << 20, 4, True)
        assert "1.2.840.10008.5.1.4.1.2.2.3" in found["accepted"]
        assert found["refused"]["1.2.840.10008.5.1.4.31"] == "abstract syntax not supported"
        assert found["stall_ms"] is None
        said = dicore_cli("echo", f"X@127.0.0.1:{port}", "--probe").stdout
        assert "operations at a time: 4; role for C-GET: yes" in said

    on_a_listener(check, on_c_get=lambda request: held(), window=4)
