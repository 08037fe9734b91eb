"""`dicore loadtest` as a process against a server of ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


def test_a_generator_starved_of_cpu_is_invalid(target: str) -> None:
    cpu = str(min(os.sched_getaffinity(0)))
    spin = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    busy = [subprocess.Popen(["taskset", "-c", cpu, sys.executable, "-c", spin]) for _ in range(4)]
    try:
        run = subprocess.run(
            ["taskset", "-c", cpu, *dicore_command(), "loadtest", "run", target, "--rate", "4000", "--duration", "2s"],
            capture_output=True,
            text=True,
            timeout=100,
        )
    finally:
        for one in busy:
            one.kill()
            one.wait()
    assert run.returncode == 4, run.stdout
    assert "INVALID" in run.stdout
    assert "the generator waited for a CPU" in run.stdout


def test_a_day_is_recorded_and_replayed(target: str, tmp_path: Path) -> None:
    day, out = tmp_path / "day.jsonl", tmp_path / "replay.json"
    process = subprocess.Popen(
        [*dicore_command(), "loadtest", "record", target, "--port", "0", "-o", str(day)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    port = process.stderr.readline().partition(" ")[0].rpartition(":")[2]
    assert loadtest("run", f"A@127.0.0.1:{port}", "--rate", "20", "--duration", "1s").returncode in (0, 4)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "associations" in said
    played = loadtest("replay", day, target, "--speed", "2", "-o", out, "--json")
    assert played.returncode in (0, 4), played.stderr
    assert Result.load(out).streams[0].operation == "echo"
    assert Result.load(out).streams[0].errors == 0
    again = loadtest("record", target, "--port", "0", "-o", day)
    assert again.returncode == 1
    assert "never overwritten" in again.stderr


def test_cleanup_finds_what_a_run_made_and_removes_it_from_a_store(serve: Serving, tmp_path: Path) -> None:
    server = serve()
    target, out = f"DICORE@127.0.0.1:{server.port}", tmp_path / "x.json"
    run = loadtest("run", target, "--operation", "store", "--rate", "30", "--duration", "1s", "-o", out)
    assert "acknowledged but not found: 0" in run.stdout
    result = Result.load(out)
    listed = loadtest("cleanup", out, "--target", target)
    assert listed.returncode == 0, listed.stderr
    studies = listed.stdout.split()
    assert studies
    assert loadtest("cleanup", result.run, "--target", target).stdout.split() == studies
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    assert loadtest("cleanup", out, "--store", server.store).stdout.split() == studies
    removed = loadtest("cleanup", out, "--store", server.store, "--remove")
    assert f"removed {result.streams[0].operations} instances" in removed.stderr, removed.stderr
    assert loadtest("cleanup", out, "--store", server.store).stdout == ""
    assert loadtest("cleanup", "no-run", "--store", server.store).returncode == 1
