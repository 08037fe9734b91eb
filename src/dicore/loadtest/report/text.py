"""A result as CSV, JUnit XML, Prometheus text, and the lines of the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from dicore.loadtest.result import Result
from dicore.loadtest.verdict import Verdict

__all__ = ["csv_text", "junit", "prometheus", "summary"]

PERCENTS = (50.0, 90.0, 95.0, 99.0, 99.9)


def csv_text(result: Result) -> str:
    """One line a stream and second: counts, bytes, and both clocks' percentiles in microseconds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    counts = ("intended", "started", "done", "errors", "size", "waiting", "associations")
    clocks = [f"{clock}_{name}_us" for clock in ("response", "service") for name in ("p50", "p99", "max")]
    writer.writerow(["stream", "second", *counts, *clocks])
    for one in result.streams:
        name = f"'{one.name}" if one.name[:1] in "=+-@" else one.name  # no spreadsheet takes it for a formula
        for number, second in sorted(one.seconds.items()):
            times = [*(second.response or ("", "", "")), *(second.service or ("", "", ""))]
            writer.writerow([name, number, *(getattr(second, field) for field in counts), *times])
    return out.getvalue()


def junit(result: Result) -> str:
    """JUnit XML: the verdict and each threshold is a test case, so that a CI server shows them."""
    cases = []
    invalid = result.judgement.verdict is Verdict.INVALID
    reasons = "; ".join(result.judgement.reasons)
    cases.append(("the measurement is valid", reasons if invalid else None, False))
    for check in result.checks:
        text = None if check.held is not False else f"wanted {check.wanted}, measured {check.got}"
        cases.append((check.what, text, check.held is None))
    failures = sum(text is not None for _, text, _ in cases)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>']
    lines.append(
        f"<testsuite name={quoteattr(result.name)} tests={quoteattr(str(len(cases)))} "
        f"failures={quoteattr(str(failures))} "
        f"time={quoteattr(f'{result.duration:.1f}')} timestamp={quoteattr(result.started)}>"
    )
    for name, text, skipped in cases:
        lines.append(f"  <testcase classname={quoteattr('loadtest ' + result.target)} name={quoteattr(name)}>")
        if text is not None:
            lines.append(f"    <failure message={quoteattr(text)}>{escape(text)}</failure>")
        elif skipped:
            lines.append('    <skipped message="too few samples"/>')
        lines.append("  </testcase>")
    return "\n".join([*lines, "</testsuite>", ""])


def prometheus(result: Result) -> str:
    """The totals in Prometheus' text form, for a push gateway or a textfile collector."""
    lines = []

    def metric(name: str, kind: str, text: str) -> None:
        lines.extend([f"# HELP dicore_loadtest_{name} {text}", f"# TYPE dicore_loadtest_{name} {kind}"])

    def label(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    metric("operations_total", "counter", "Operations that ended, by stream.")
    lines += [f'dicore_loadtest_operations_total{{stream="{label(s.name)}"}} {s.operations}' for s in result.streams]
    metric("errors_total", "counter", "Operations that failed, by stream.")
    lines += [f'dicore_loadtest_errors_total{{stream="{label(s.name)}"}} {s.errors}' for s in result.streams]
    metric("bytes_total", "counter", "Bytes of data sets that were moved, by stream.")
    lines += [f'dicore_loadtest_bytes_total{{stream="{label(s.name)}"}} {s.size}' for s in result.streams]
    metric("response_seconds", "summary", "Response time from the intended start.")
    for one in result.streams:
        for percent in PERCENTS:
            value = one.response.percentile(percent)
            if value is not None:
                name = f'stream="{label(one.name)}",quantile="{percent / 100:g}"'
                lines.append(f"dicore_loadtest_response_seconds{{{name}}} {value / 1e6:.6f}")
        labels = f'{{stream="{label(one.name)}"}}'
        lines.append(f"dicore_loadtest_response_seconds_sum{labels} {one.response.total / 1e6:.6f}")
        lines.append(f"dicore_loadtest_response_seconds_count{labels} {len(one.response)}")
    return "\n".join(lines) + "\n"


def summary(result: Result) -> Iterator[tuple[str, ...]]:
    """Rows for the terminal: stream, operations, errors, a second, MB/s, p50, p95, p99, max of the response time."""
    for one in result.streams:
        count = len(one.response)

        def shown(percent: float, histogram=one.response, n=count) -> str:  # type: ignore[no-untyped-def]
            value = histogram.percentile(percent)
            return f"n/a, n = {n:,}" if value is None else f"{value / 1000:,.2f}"

        yield (
            one.name,
            f"{one.operations:,}",
            f"{one.errors:,}",
            f"{one.operations / result.duration:,.1f}",
            f"{one.size / 1e6 / result.duration:,.1f}" if one.size else "",
            *(shown(percent) for percent in (50.0, 95.0, 99.0, 100.0)),
        )
