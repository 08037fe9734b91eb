"""`dicore loadtest` as a process against a server of ours."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import Serving, dicore_cli, dicore_command
from dicore.loadtest import Result, parse


def loadtest(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return dicore_cli("loadtest", *args, check=False, env={"COLUMNS": "120", "NO_COLOR": "1"})


@pytest.fixture
def target(serve: Serving) -> str:
    return f"DICORE@127.0.0.1:{serve().port}"


def test_init_writes_a_scenario_that_run_takes() -> None:
    made = loadtest("init", "hospital", "--exams-per-year", "300000")
    assert made.returncode == 0, made.stderr
    plan = parse(made.stdout)
    assert {one.operation for one in plan.streams} == {"worklist", "find", "get", "store"}
    assert "angiography" in made.stdout


def test_run_measures_writes_its_files_and_report_makes_the_page_again(target: str, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    run = loadtest(
        "run", target, "--operation", "store", "--rate", "20", "--duration", "2s", "-o", out,
        "--ledger", tmp_path / "ledger.txt",
    )  # fmt: skip
    assert run.returncode in (0, 3, 4), run.stderr  # 4: this box had no CPU to spare
    result = Result.load(out)
    assert result.streams[0].errors == 0
    assert result.streams[0].operations > 10
    assert {"connect", "negotiate", "transfer"} <= set(result.streams[0].phases)
    assert result.ledger is not None
    assert result.ledger.acknowledged == result.streams[0].operations
    assert len((tmp_path / "ledger.txt").read_text().splitlines()) == result.ledger.acknowledged
    assert out.with_suffix(".html").stat().st_size < 400_000
    page, csv, junit, metrics = (tmp_path / name for name in ("p.html", "p.csv", "p.xml", "p.prom"))
    again = loadtest(
        "report", out, "--baseline", out, "-o", page, "--csv", csv, "--junit", junit, "--prometheus", metrics
    )
    assert again.returncode == 0, again.stderr
    assert "no detectable change" in again.stdout
    assert "Content-Security-Policy" in page.read_text()
    assert len(csv.read_text().splitlines()) > 2
    assert junit.read_text().startswith("<?xml")
    assert "dicore_loadtest" in metrics.read_text()


def test_json_goes_to_stdout_and_talk_to_stderr(target: str) -> None:
    run = loadtest("run", target, "--rate", "20", "--duration", "1s", "--json")
    assert json.loads(run.stdout)["streams"][0]["operation"] == "echo"
    assert "arrivals" in run.stderr or "load" in run.stderr


def test_a_missed_objective_is_status_3_or_the_measurement_invalid(target: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'duration = "1s"\nledger = "off"\n[objective]\np50 = "1us"\n'
        '[[stream]]\nname = "echo"\noperation = "echo"\narrivals = {rate = 100}\n'
    )
    run = loadtest("run", target, plan)
    assert run.returncode in (3, 4)
    assert "MISSED" in run.stdout


def test_breakpoint_finds_a_rate_below_its_ceiling(target: str, tmp_path: Path) -> None:
    out = tmp_path / "b.json"
    run = loadtest(
        "breakpoint", target, "--p99", "10s", "--start", "40", "--ceiling", "80", "--trial", "1s", "--hold", "1s",
        "-o", out,
    )  # fmt: skip
    assert run.returncode in (0, 4), run.stderr
    result = Result.load(out)
    assert result.trials[0].rate == 40
    assert all(trial.rate <= 88 for trial in result.trials)


def test_a_scenario_with_mistakes_names_them_and_is_a_usage_error(tmp_path: Path) -> None:
    plan = tmp_path / "bad.toml"
    plan.write_text('duration = "soon"\n[[stream]]\nname = "a"\noperation = "ecko"\nusers = 1\n')
    run = loadtest("run", "A@127.0.0.1:1", plan)
    assert run.returncode == 2
    assert "stream[0].operation" in run.stderr
    assert "duration" in run.stderr


def test_another_machine_is_not_loaded_without_yes() -> None:
    run = loadtest("run", "PACS@192.0.2.1:104", "--duration", "1s")
    assert run.returncode == 2
    assert "--yes" in run.stderr


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "x.json"
    other.write_text("{}")
    run = loadtest("report", other)
    assert run.returncode == 1
    assert "not a dicore load-test result" in run.stderr


def test_control_c_ends_the_load_and_keeps_the_result(target: str, tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    command = [*dicore_command(), "loadtest", "run", target, "--rate", "50", "--duration", "60s", "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:  # the first line of progress: the load is on
        if " of 60 s: " in line:
            break
    process.send_signal(signal.SIGINT)
    _, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    result = Result.load(out)
    assert "The run was interrupted; this is what there was." in result.remarks
    assert result.duration < 60
