"""What a result becomes: the same again from JSON, a page that needs nothing, tables for other programs."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from dicore.loadtest.compare import difference
from dicore.loadtest.histogram import Histogram
from dicore.loadtest.report.html import page
from dicore.loadtest.report.text import csv_text, junit, prometheus, summary
from dicore.loadtest.result import LedgerResult, Result, Second, StreamResult, Trial
from dicore.loadtest.verdict import Check, Health, Judgement, Verdict, exit_status, judge, nagle_signature


def lognormal(middle, count, seed=1):
    one = Histogram()
    one.add((np.random.default_rng(seed).lognormal(np.log(middle), 0.3, count)).astype(int))
    return one


def result(middle=5000, **changes):
    stream = StreamResult("=<b>store</b>", "store", operations=2000, size=260_000_000, intended=2000, started=1990)
    stream.response = stream.service = lognormal(middle, 2000)
    stream.phases = {"negotiate": lognormal(900, 40), "transfer": lognormal(4000, 2000)}
    for second in range(20):
        stream.seconds[second] = Second(
            100, 100, 99, 1, 13_000_000, 2, 8, (5000.0, 9000.0, 12000.0), (4000.0, 8000.0, 11000.0)
        )
        stream.heat.add(second, lognormal(5000, 50, second).sample(50, np.random.default_rng(1)))
    stream.fail("DIMSE status", "A700 out of resources", "1.5 s: <script>alert(1)</script>")
    fields = {
        "name": "monday </script><script>", "run": "3f1c", "started": "2026-11-24T10:00:00+00:00", "duration": 20.0,
        "target": "PACS@127.0.0.1:104", "command": "dicore loadtest run", "scenario": "name = 'x'", "seed": 1,
        "versions": {"dicore": "0.1"}, "machine": {"processor": "2 x"}, "streams": [stream],
        "judgement": Judgement(Verdict.DEGRADED, ("busy",)), "checks": [Check("store: p99", "<= 1 ms", "9 ms", False)],
        "health": {"shown": {"CPU": "3 %"}, "studies": {}}, "ledger": LedgerResult(10, 10, ["1.2.3"], how="C-FIND"),
        "trials": [Trial("double", 10.0, True, 1.0, 10.0, None, 0.0), Trial("beyond", 11.0, False, 0.9, 10.0, 20.0, 0.1, "late")],  # noqa: E501
        "breakpoint": 10.0,
    }  # fmt: skip
    return Result(**fields | changes)


def test_a_result_is_the_same_again_from_its_file(tmp_path):
    one = result()
    one.save(tmp_path / "a.json")
    again = Result.load(tmp_path / "a.json")
    assert again.to_json() == one.to_json()
    assert page(again) == page(one)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"schema": "x"}', "\x00", '{"schema": "https://dicore.dev/schema/loadtest-result-1.json"}']
)
def test_what_is_no_result_is_refused(text, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"not|damaged"):
        Result.load(tmp_path / "a.json")


def test_the_page_needs_no_network_lets_nothing_in_and_is_small():
    text = page(result(), result(4000))
    assert len(text.encode()) < 400_000
    assert "default-src 'none'" in text
    assert "unsafe-inline" not in text
    assert not re.search(
        r"(src|href)=|url\(|@import|https?://(?!dicore\.dev)", re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    )
    assert "<script>alert" not in text
    assert "<b>store" not in text
    assert text.count("</script>") == 3
    assert "no detectable change" in text or "slower" in text
    data = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
    assert json.loads(data)["streams"][0]["name"] == "=<b>store</b>"


def test_a_percentile_that_is_not_known_says_so():
    assert "n/a, n = 2,000" in page(result())


def test_tables_for_other_programs():
    one = result()
    rows = list(csv.DictReader(io.StringIO(csv_text(one))))
    assert len(rows) == 20
    assert rows[0]["stream"].startswith("'=")
    suite = ElementTree.fromstring(junit(one))
    assert suite.get("failures") == "1"
    assert 'dicore_loadtest_operations_total{stream="=<b>store</b>"} 2000' in prometheus(one)
    assert next(iter(summary(one)))[1] == "2,000"


def test_no_change_is_an_answer_and_a_change_has_its_size():
    same = difference("s", 50, lognormal(5000, 4000, 1), lognormal(5000, 4000, 2))
    assert not same.detectable
    assert str(same) == "no detectable change"
    slower = difference("s", 50, lognormal(5000, 4000), lognormal(5600, 4000))
    assert slower.detectable
    assert slower.low < slower.now - slower.baseline < slower.high
    assert slower.share == pytest.approx(0.12, abs=0.03)
    assert difference("s", 99.9, lognormal(5, 100), lognormal(5, 100)) is None


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.VALID),
        ({"started": 985}, Verdict.DEGRADED),
        ({"started": 800}, Verdict.INVALID),
        ({"cpu": 0.99}, Verdict.INVALID),
        ({"steal": 0.3}, Verdict.INVALID),
        ({"ports_exhausted": 1}, Verdict.INVALID),
        ({"lost_workers": 1}, Verdict.DEGRADED),
        ({"waited": 500}, Verdict.DEGRADED),
    ],
)
def test_the_verdict_is_about_the_generator(change, verdict):
    health = Health(**{"intended": 1000, "started": 1000} | change)
    assert judge(health).verdict is verdict


@pytest.mark.parametrize(
    ("lag", "verdict"), [(500, Verdict.VALID), (30_000, Verdict.DEGRADED), (300_000, Verdict.INVALID)]
)
def test_late_starts_spoil_a_measurement(lag, verdict):
    health = Health(intended=1000, started=1000)
    health.start_lag.add([lag] * 1000)
    assert judge(health).verdict is verdict


def test_exit_statuses():
    valid, invalid = Judgement(Verdict.VALID), Judgement(Verdict.INVALID)
    missed = [Check("x", "", "", False)]
    assert [exit_status(valid, []), exit_status(valid, missed), exit_status(invalid, missed)] == [0, 3, 4]
    assert exit_status(valid, [Check("x", "", "", None)]) == 0


def test_the_stall_of_nagle_is_named_and_an_honest_40_ms_is_not():
    stalled = lognormal(300, 400)
    stalled.add(np.random.default_rng(1).normal(41_000, 500, 600).astype(int))
    assert "TCP_NODELAY" in nagle_signature(stalled)
    slow = Histogram()
    slow.add(np.random.default_rng(1).uniform(20_000, 70_000, 1000).astype(int))
    assert nagle_signature(slow) == ""
    assert nagle_signature(lognormal(300, 1000)) == ""
