# ruff: noqa: E501 - lines of HTML
"""The report as one HTML file: no network, light and dark, fit to be printed and mailed.

Everything is inline: uPlot (MIT, see `uPlot.LICENSE`), the page's style and script. The Content-Security-Policy allows
these three by hash and nothing else. Whatever came from a peer or a file is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

from dicore.loadtest.compare import compare
from dicore.loadtest.histogram import Histogram
from dicore.loadtest.plan import exams_a_year
from dicore.loadtest.result import PHASES, Heat, Result, Second, StreamResult

__all__ = ["page"]

COLUMNS = 480  # of a time axis: longer runs are summed into so many
NINES = [
    0.0,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    0.85,
    1.0,
    1.15,
    1.3,
    1.5,
    1.7,
    1.85,
    2.0,
    2.15,
    2.3,
    2.5,
    2.7,
    2.85,
    3.0,
    3.3,
    3.7,
    4.0,
    4.3,
    4.7,
    5.0,
]
PERCENTS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)


def page(result: Result, baseline: Result | None = None) -> str:
    """The page. `baseline` adds a dashed curve and a table of differences."""
    style, script, plot = _asset("page.css"), _asset("page.js"), _asset("uPlot.iife.min.js")
    plot_style = _asset("uPlot.min.css")
    data = json.dumps(_data(result, baseline), separators=(",", ":")).replace("<", "\\u003c")
    policy = (
        f"default-src 'none'; style-src {_hash(plot_style + style)}; script-src {_hash(plot)} {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="generator" content="dicore">',
            f"<title>{_e(result.name)}: {_e(result.judgement.verdict)}</title>",
            f"<style>{plot_style}{style}</style></head><body><main>",
            *_body(result, baseline),
            f'</main><script type="application/json" id="data">{data}</script>',
            f"<script>{plot}</script><script>{script}</script></body></html>\n",
        ]
    )


def _asset(name: str) -> str:
    return (resources.files("dicore.loadtest.report") / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _e(text: object) -> str:
    return escape(str(text), quote=True)


# ---- what the script draws -------------------------------------------------------------------------------------------


def _data(result: Result, baseline: Result | None) -> dict[str, Any]:
    seconds = max([1, *(max(one.seconds, default=0) + 1 for one in result.streams)])
    wide = max(1, math.ceil(seconds / COLUMNS))
    streams = [_series(one, seconds, wide, baseline) for one in result.streams]
    most = max((len(one.response) for one in result.streams), default=0)
    reached = [nines for nines in NINES if nines == 0 or most * 10**-nines >= 1 - 1e-9]
    for one in streams:
        for name in ("curve", "service_curve", "base_curve"):
            if one[name] is not None:
                one[name] = one[name][: len(reached)]
    return {"streams": streams, "nines": reached}


def _series(one: StreamResult, seconds: int, wide: int, baseline: Result | None) -> dict[str, Any]:
    bins = range(0, seconds, wide)
    groups = [[one.seconds.get(s, Second()) for s in range(start, min(start + wide, seconds))] for start in bins]

    def rates(name: str, scale: float = 1.0) -> list[float]:
        return [round(sum(getattr(s, name) for s in group) * scale / len(group), 3) for group in groups]

    def latest(name: str) -> list[int]:
        return [getattr(group[-1], name) for group in groups]

    def latency(name: str, which: int) -> list[float | None]:
        found = [[getattr(s, name)[which] for s in group if getattr(s, name) is not None] for group in groups]
        return [round(max(values)) if values else None for values in found]

    before = None
    if baseline is not None:
        before = next((other.response for other in baseline.streams if other.name == one.name), None)
    return {
        "name": one.name,
        "open": one.open,
        "t": list(bins),
        "intended": rates("intended"),
        "done": rates("done"),
        "errors": rates("errors"),
        "mb": rates("size", 1e-6),
        "associations": latest("associations"),
        "waiting": latest("waiting"),
        "rp50": latency("response", 0),
        "rp99": latency("response", 1),
        "rmax": latency("response", 2),
        "sp50": latency("service", 0),
        "sp99": latency("service", 1),
        "curve": _curve(one.response),
        "service_curve": _curve(one.service) if one.open else None,
        "base_curve": None if before is None else _curve(before),
        "heat": _heat(one.heat, seconds, wide),
    }


def _curve(histogram: Histogram) -> list[float | None]:
    return [histogram.percentile(100 * (1 - 10**-nines)) for nines in NINES]


def _heat(heat: Heat, seconds: int, wide: int) -> dict[str, Any]:
    filled = [slot for row in heat.rows.values() for slot in row.nonzero()[0].tolist()]
    if not filled:
        return {"rows": [], "edges": [], "seconds": seconds}
    low, high = min(filled), max(filled) + 1
    wider = max(0, 12 - (high - low))
    low, high = max(0, low - wider // 2), min(Heat.SLOTS, high + wider - wider // 2)
    rows = []
    for start in range(0, seconds, wide):
        parts = [heat.rows[s][low:high] for s in range(start, start + wide) if s in heat.rows]
        rows.append(sum(parts[1:], parts[0]).tolist() if parts else [0] * (high - low))
    return {"rows": rows, "edges": [round(Heat.edge(slot), 1) for slot in range(low, high + 1)], "seconds": seconds}


# ---- the page --------------------------------------------------------------------------------------------------------


def _body(result: Result, baseline: Result | None) -> Iterable[str]:
    yield f"<h1>{_e(result.name)}</h1>"
    yield f'<p class="soft">{_e(result.target)} &middot; {_e(result.started)} &middot; {result.duration:,.0f} s &middot; run {_e(result.run)}</p>'
    yield _band(result)
    yield _cards(result)
    yield from _checks(result)
    yield "<h2>Intended against achieved rate</h2><p class='soft'>Operations a second. Dashed: what the scenario wanted.</p>".replace(
        "'", '"'
    )
    yield '<div class="chart" id="rate"></div>'
    yield '<h2>Latency over time</h2><p class="soft">Response time counts from the moment an operation was due, service time from the moment it began. Where the two part, work was waiting.</p>'
    for number, one in enumerate(result.streams):
        yield f'<h3>{_e(one.name)}</h3><div class="chart" id="latency-{number}"></div>'
    yield '<h2>Percentiles</h2><p class="soft">Each further nine is one operation in ten of those before it.'
    yield " Long dashes: the baseline.</p>" if baseline else "</p>"
    yield '<div class="chart" id="nines"></div>'
    yield _percentiles(result)
    if baseline is not None:
        yield _differences(result, baseline)
    yield '<h2>Heat map</h2><p class="soft">Response times by the second in which the operation was due; the stronger the colour, the more.</p>'
    for number, one in enumerate(result.streams):
        yield f'<h3>{_e(one.name)}</h3><div class="chart" id="heat-{number}"></div>'
    yield "<h2>Throughput</h2>"
    if any(one.size for one in result.streams):
        yield '<div class="chart" id="throughput"></div>'
    yield _throughput(result)
    yield "<h2>Errors</h2>"
    if any(one.errors for one in result.streams):
        yield '<div class="chart" id="errors"></div>'
    yield _failures(result)
    yield from _phases(result)
    yield '<h2>Associations</h2><p class="soft">Open at the end of each second, and arrivals that waited for one (dashed).</p><div class="chart" id="associations"></div>'
    if result.trials:
        yield from _breakpoint(result)
    yield from _ledger(result)
    yield from _health(result)
    yield from _setup(result)
    yield _GLOSSARY
    yield f"<footer>Made by dicore {_e(result.versions.get('dicore', ''))} from the run's JSON file; <code>dicore loadtest report</code> makes it again. Plots: uPlot, MIT licence, (c) Leon Sorokin.</footer>"


def _band(result: Result) -> str:
    verdict = str(result.judgement.verdict)
    meaning = {
        "VALID": "the load was made as planned and the generator had room",
        "DEGRADED": "read the remarks before you quote a figure",
        "INVALID": "the generator was the limit: nothing may be concluded about the target",
    }[verdict]
    failed = [check for check in result.checks if check.held is False]
    asked = (
        ""
        if not result.checks
        else "objective held"
        if not failed
        else f"{len(failed)} of {len(result.checks)} objectives missed"
    )
    reasons = "".join(f"<li>{_e(reason)}</li>" for reason in (*result.judgement.reasons, *result.remarks))
    css = "missed" if failed else "held"
    return (
        f'<div class="band {verdict.lower()}"><strong class="{verdict.lower()}">{verdict}</strong><span>{meaning}</span>'
        + (f'<strong class="{css}">{_e(asked)}</strong>' if asked else "")
        + (f"<ul>{reasons}</ul>" if reasons else "")
        + "</div>"
    )


def _cards(result: Result) -> str:
    cards = []
    if result.ledger is not None:
        ledger = result.ledger
        bad = len(ledger.missing)
        css = "missed" if bad or ledger.altered or ledger.duplicated else "held"
        shown = f"{bad:,}" if ledger.looked_for else "not looked"
        cards.append((f'<b class="{css}">{shown}</b>', f"acknowledged but not found, of {ledger.acknowledged:,}"))
    operations, errors = sum(s.operations for s in result.streams), sum(s.errors for s in result.streams)
    cards.append((f"<b>{operations:,}</b>", f"operations, {operations / max(result.duration, 1e-9):,.0f} a second"))
    css = "missed" if errors else "held"
    cards.append(
        (f'<b class="{css}">{errors:,}</b>', f"errors, {errors / operations if operations else 0:.3%} of them")
    )
    size = sum(s.size for s in result.streams)
    if size:
        cards.append((f"<b>{size / 1e6 / result.duration:,.0f} MB/s</b>", f"{size / 1e9:,.2f} GB in data sets"))
    worst = max(result.streams, key=lambda s: s.response.percentile(99) or 0)
    cards.append(
        (f"<b>{_ms(worst.response.percentile(99), len(worst.response))}</b>", f"99 % response, {_e(worst.name)}")
    )
    if result.breakpoint is not None:
        cards.append((f"<b>{result.breakpoint:,.4g}/s</b>", "breakpoint: the highest rate that was held"))
    return (
        '<div class="cards">'
        + "".join(f'<div class="card">{big}<span>{small}</span></div>' for big, small in cards)
        + "</div>"
    )


def _ms(value: float | None, count: int) -> str:
    if value is None:
        return f"n/a, n = {count:,}"
    return (
        f"{value / 1e6:,.2f} s"
        if value >= 1e6
        else f"{value / 1000:,.1f} ms"
        if value >= 1000
        else f"{value:,.0f} &micro;s"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,)) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        parts = (f"<{tag}{' class=text' if i in text else ''}>{cell}</{tag}>" for i, cell in enumerate(cells))
        return "<tr>" + "".join(parts).replace("class=text", 'class="text"') + "</tr>"

    return (
        '<div class="scroll"><table>' + row(head, "th") + "".join(row(cells, "td") for cells in rows) + "</table></div>"
    )


def _checks(result: Result) -> Iterable[str]:
    if result.checks:
        rows = [
            (
                _e(c.what),
                _e(c.wanted),
                _e(c.got),
                '<span class="held">held</span>'
                if c.held
                else "not known"
                if c.held is None
                else '<span class="missed">missed</span>',
            )
            for c in result.checks
        ]
        yield "<h2>Objective</h2>" + _table(("", "wanted", "measured", ""), rows)


def _percentiles(result: Result) -> str:
    rows = []
    for one in result.streams:
        for clock, histogram in (("response", one.response), ("service", one.service)):
            if clock == "service" and not one.open:
                continue
            n = len(histogram)
            cells = [_ms(histogram.percentile(p), n) for p in PERCENTS]
            largest = _ms(float(histogram.largest), n) if n else f"n/a, n = {n}"
            mean = _ms(histogram.mean, n) if n else f"n/a, n = {n}"
            rows.append((f"{_e(one.name)}, {clock}", f"{n:,}", mean, *cells, largest))
    return _table(("stream", "n", "mean", *(f"{p:g} %" for p in PERCENTS), "max"), rows)


def _differences(result: Result, baseline: Result) -> str:
    rows = [
        (f"{_e(d.stream)}, {d.percent:g} %", _ms(d.baseline, 0), _ms(d.now, 0), _e(d))
        for d in compare(baseline, result)
    ]
    if not rows:
        return '<h3>Against the baseline</h3><p class="soft">No stream of the same name has enough samples.</p>'
    return f"<h3>Against the baseline ({_e(baseline.started)}, run {_e(baseline.run)})</h3>" + _table(
        ("response time", "baseline", "now", "difference (95 % interval)"), rows
    )


def _throughput(result: Result) -> str:
    rows = []
    for one in result.streams:
        rate = (one.operations - one.errors) / result.duration
        studies = result.health.get("studies", {}).get(one.name, 0) / result.duration * 3600
        cells = [f"{rate:,.1f}", f"{one.size / 1e6 / result.duration:,.1f}" if one.size else "-"]
        cells += [f"{studies:,.0f}", f"{exams_a_year(studies):,.0f}"] if studies else ["-", "-"]
        rows.append((_e(one.name), _e(one.operation), *cells))
    note = '<p class="soft small">Exams a year: were this rate the busiest hour of a usual day (see the glossary).</p>'
    return _table(("stream", "operation", "good a second", "MB/s", "studies/h", "exams/year"), rows, (0, 1)) + note


def _failures(result: Result) -> str:
    rows = [
        (_e(one.name), _e(f.kind), _e(f.detail), f"{f.count:,}", "<br>".join(map(_e, f.samples)))
        for one in result.streams
        for f in sorted(one.failures, key=lambda f: -f.count)
    ]
    if not rows:
        return '<p class="held">None.</p>'
    return _table(("stream", "kind", "detail", "count", "samples"), rows, (0, 1, 2, 4))


def _phases(result: Result) -> Iterable[str]:
    streams = [one for one in result.streams if one.phases]
    if not streams:
        return
    yield '<h2>Where the time goes</h2><p class="soft">Mean of each phase over the operations that had it (connect, negotiate and release only where an association was made or ended).</p>'
    longest = max(sum(h.mean for h in one.phases.values() if h) for one in streams) or 1.0
    lines, y = [], 0
    for one in streams:
        x = 170.0
        lines.append(f'<text x="0" y="{y + 17}">{_e(one.name[:24])}</text>')
        for phase, histogram in one.phases.items():
            if histogram:
                wide = max(histogram.mean / longest * 820, 1)
                tone = PHASES.index(phase) if phase in PHASES else 7
                lines.append(
                    f'<rect class="f{tone}" x="{x:.1f}" y="{y + 4}" width="{wide:.1f}" height="18"><title>{_e(phase)}: {_ms(histogram.mean, 0)}</title></rect>'
                )
                x += wide
        y += 30
    x = 170
    for number, phase in enumerate(PHASES):
        if any(one.phases.get(phase) for one in streams):
            lines.append(
                f'<rect class="f{number}" x="{x}" y="{y + 8}" width="12" height="12"/><text class="soft" x="{x + 17}" y="{y + 18}">{phase}</text>'
            )
            x += 30 + 8 * len(phase)
    yield (
        f'<svg viewBox="0 0 1000 {y + 28}" role="img" aria-label="mean time of each phase">' + "".join(lines) + "</svg>"
    )
    head = ("stream, phase", "n", "mean", "50 %", "99 %", "max")
    yield _table(head, [
        (f"{_e(one.name)}, {_e(phase)}", f"{len(h):,}", _ms(h.mean, 0), _ms(h.percentile(50), len(h)), _ms(h.percentile(99), len(h)), _ms(float(h.largest), 0))
        for one in streams for phase, h in one.phases.items() if h
    ])  # fmt: skip


def _breakpoint(result: Result) -> Iterable[str]:
    yield "<h2>Breakpoint</h2>"
    if result.breakpoint:
        yield f"<p>The target held <strong>{result.breakpoint:,.4g} a second</strong> within the objective. The last step, 10 % above, shows what failure looks like.</p>"
    else:
        yield "<p>No rate was held.</p>"
    top = max(trial.rate for trial in result.trials) or 1
    wide = 960 / len(result.trials)
    bars = []
    for number, trial in enumerate(result.trials):
        tall = trial.rate / top * 150
        tone = "fgood" if trial.passed else "fwarn" if trial.passed is None else "fbad"
        x = 30 + number * wide
        bars.append(
            f'<rect class="{tone}" x="{x:.1f}" y="{170 - tall:.1f}" width="{max(wide - 8, 3):.1f}" height="{tall:.1f}"/>'
        )
        if len(result.trials) <= 24:
            middle = x + (wide - 8) / 2
            bars.append(f'<text x="{middle:.1f}" y="{164 - tall:.1f}" text-anchor="middle">{trial.rate:,.4g}</text>')
            bars.append(f'<text class="soft" x="{middle:.1f}" y="188" text-anchor="middle">{_e(trial.phase)}</text>')
    yield f'<svg viewBox="0 -14 1000 214" role="img" aria-label="steps of the search"><line class="axis" x1="20" x2="995" y1="170" y2="170"/>{"".join(bars)}</svg>'
    yield _table(("step", "intended/s", "achieved", "50 %", "99 %", "errors", "", "remark"), [
        (_e(t.phase), f"{t.rate:,.4g}", f"{t.achieved:.1%}", _ms(t.p50, 0), _ms(t.p99, 0), f"{t.errors:.2%}",
         '<span class="held">held</span>' if t.passed else "not known" if t.passed is None else '<span class="missed">failed</span>', _e(t.note))
        for t in result.trials
    ], (0, 7))  # fmt: skip


def _ledger(result: Result) -> Iterable[str]:
    ledger = result.ledger
    if ledger is None:
        return
    yield "<h2>Read your writes</h2>"
    yield f"<p>{ledger.acknowledged:,} instances acknowledged, {ledger.looked_for:,} looked for{' by ' + _e(ledger.how) if ledger.how else ''}. {_e(ledger.remark)}</p>"
    rows = [
        ("acknowledged but not found", ledger.missing),
        ("altered", ledger.altered),
        ("held twice", ledger.duplicated),
        ("sent, never answered", ledger.unknown),
    ]
    yield _table(("", "instances"), [(name, f"{len(found):,}") for name, found in rows])
    for name, found in rows:
        if found:
            shown = "\n".join(map(_e, found[:1000])) + (
                "" if len(found) <= 1000 else f"\n... and {len(found) - 1000:,} more, in the JSON file"
            )
            yield f"<details><summary>{name}: UIDs</summary><pre>{shown}</pre></details>"


def _health(result: Result) -> Iterable[str]:
    health = result.health
    yield '<h2>The generator</h2><p class="soft">How this machine was while it made the load: the reason for the verdict.</p>'
    yield _table(("", "measured"), [(_e(name), _e(value)) for name, value in health.get("shown", {}).items()], (0,))
    if result.ceiling:
        yield _table(
            ("this machine against an SCP that does nothing", "a second"),
            [(_e(k), f"{v:,.0f}") for k, v in result.ceiling.items()],
        )


def _setup(result: Result) -> Iterable[str]:
    rows = [("target", result.target), ("command", result.command), ("seed", str(result.seed)), ("run", result.run)]
    rows += [(f"version of {name}", value) for name, value in result.versions.items()]
    rows += list(result.machine.items())
    rows += [
        (f"worker {number}", ", ".join(f"{k} {v}" for k, v in one.items())) for number, one in enumerate(result.workers)
    ]
    yield "<h2>Setup</h2>" + _table(("", ""), [(_e(name), _e(value)) for name, value in rows], (0, 1))
    yield f"<details><summary>scenario</summary><pre>{_e(result.scenario)}</pre></details>"


_GLOSSARY = """<h2>Glossary</h2><dl>
<dt>response time</dt><dd>From the moment an operation was due, whether or not it could begin then. What a user feels.</dd>
<dt>service time</dt><dd>From the moment it began. What a benchmark that waits for answers shows; it hides stalls.</dd>
<dt>99 %</dt><dd>99 of 100 operations were at most that long. &quot;n/a&quot;: fewer samples than it takes to have one beyond it.</dd>
<dt>breakpoint</dt><dd>The highest rate held within the objective for the whole of three trials.</dd>
<dt>exams/year</dt><dd>Studies an hour, taken as the busiest hour of a day of 24, over 300 working days.</dd>
</dl>"""
