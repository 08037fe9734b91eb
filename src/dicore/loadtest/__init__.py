"""The load test: what a PACS can take, with figures that one may show.

`run` puts a scenario's load on a target and gives a `Result`; `search` finds the breakpoint; `page` makes the report.
Arrivals are open: they keep their times whatever the target does, and response times count from the moment that an
operation was due.
"""

from __future__ import annotations

from dicore.loadtest.compare import Difference, compare
from dicore.loadtest.histogram import Histogram
from dicore.loadtest.plan import hospital
from dicore.loadtest.report.html import page
from dicore.loadtest.result import Result
from dicore.loadtest.run import State, run, search
from dicore.loadtest.scenario import Scenario, ScenarioError, load, parse
from dicore.loadtest.verdict import Verdict

__all__ = [
    "Difference", "Histogram", "Result", "Scenario", "ScenarioError", "State", "Verdict",
    "compare", "hospital", "load", "page", "parse", "run", "search",
]  # fmt: skip
