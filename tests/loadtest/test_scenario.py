"""Scenarios: every mistake is named with its path; a scenario written out is read back the same."""

import pytest

from dicore.loadtest import ScenarioError, hospital, parse
from dicore.loadtest.scenario import byte_count, seconds

WHOLE = """
name = "all \\"kinds\\""
duration = "2m"
warmup = "10s"
[objective]
p99 = "250ms"
lost = 0
[[stream]]
name = "echo"
operation = "echo"
arrivals = {rate = 5, spike = 50, at = "1m", width = "5s"}
[[stream]]
name = "store"
operation = "store"
arrivals = {model = "constant", from = 1, to = 20}
association = "series"
material = {modality = "MR", slices = 12}
[[stream]]
name = "reading"
operation = "find"
users = 3
think = "2s"
keys = {PatientName = "DOE*"}
"""


@pytest.mark.parametrize("text", [WHOLE, hospital(250_000), hospital(5_000, archive="ARCHIVE", minutes=1)])
def test_a_scenario_written_out_is_read_back_the_same(text):
    plan = parse(text)
    assert parse(plan.to_toml()) == plan


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("rate = 5", "rate = -5"), "stream[0].arrivals.rate"),
        (('operation = "find"', 'operation = "fnd"'), "stream[2].operation"),
        (("users = 3", "users = 3\ncolour = 1"), "stream[2].colour"),
        (("users = 3", ""), "stream[2]: a stream is open"),
        (("from = 1, to = 20", "from = 1"), "stream[1].arrivals: a ramp has both"),
        (('name = "store"', 'name = "echo"'), "two streams have the same name"),
        (('p99 = "250ms"', 'p99 = "soon"'), "objective.p99"),
        (('warmup = "10s"', 'warmup = "3m"'), "longer than warmup"),
        (("rate = 5", "rate = 1000000"), "safety.rate"),
        (("[objective]", "[objective"), "is not TOML"),
        (('at = "1m"', 'at = "5m"'), "the spike lies outside"),
    ],
)
def test_a_mistake_is_named_with_its_path(change, path):
    with pytest.raises(ScenarioError) as caught:
        parse(WHOLE.replace(*change, 1), where="morning.toml")
    assert path in str(caught.value)
    assert "morning.toml" in str(caught.value)


def test_scaled_changes_rates_and_nothing_else():
    plan = parse(WHOLE)
    twice = plan.scaled(2)
    assert twice.streams[0].arrivals.rate == 10
    assert twice.streams[1].arrivals.to == 40
    assert twice.streams[2] == plan.streams[2]


@pytest.mark.parametrize(
    ("text", "value"), [("250ms", 0.25), ("5m", 300), ("1.5 h", 5400), ("7", 7), (3, 3), ("2d", 172_800)]
)
def test_durations(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("20GB", 20_000_000_000), ("1KiB", 1024), ("12", 12), ("1.5 MB", 1_500_000)]
)
def test_sizes(text, value):
    assert byte_count(text) == value


def test_a_hospital_scales_with_its_exams_and_tells_its_table():
    small, large = parse(hospital(10_000)), parse(hospital(100_000))
    for one, other in zip(small.streams, large.streams, strict=True):
        assert other.arrivals.rate == pytest.approx(10 * one.arrivals.rate, rel=1e-2)
    assert "computed tomography" in hospital(10_000)
    with pytest.raises(ValueError, match="1,000 exams"):
        hospital(10)
