from __future__ import annotations

import resource

import pytest

from dicore.net import Limits, Timeouts


def test_associations_leave_files_for_everything_else() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert Limits().associations == max(16, min(12_000, soft - 512))
    assert Limits(associations=3).associations == 3


def test_defaults_are_those_of_the_design() -> None:
    limits, times = Limits(), Timeouts()
    assert (limits.pdu, limits.negotiation, limits.command) == (1 << 20, 1 << 16, 1 << 16)
    assert (limits.dataset, limits.stream_from) == (16 << 30, 8 << 20)
    assert (limits.in_flight, limits.in_flight_per_peer, limits.associations_per_peer) == (256 << 20, 64 << 20, 256)
    assert (times.artim, times.network, times.dimse, times.idle) == (30, 60, 60, 300)


@pytest.mark.parametrize("wrong", [{"dataset": -1}, {"in_flight": 0}, {"pdu": 100}, {"pdu": 1 << 40}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)


@pytest.mark.parametrize("wrong", [{"artim": 0}, {"idle": -1.0}])
def test_timeouts_are_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Timeouts(**wrong)
