"""What the verbs print with."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

import pytest

from dicore.cli import output


@pytest.mark.parametrize(
    ("text", "shown"),
    {
        "plain": ("DOE^JANE", "DOE^JANE"),
        "other scripts": ("山田^太郎 Müller Ἀθήνα", "山田^太郎 Müller Ἀθήνα"),
        "escape sequence": ("a\x1b[2Jb", r"a\x1b[2Jb"),
        "line break": ("a\r\nb", r"a\x0d\x0ab"),
        "C1 control": ("a\x9b2Jb", r"a\x9b2Jb"),
        "bidi override": ("a\u202eb", r"a\u202eb"),
        "line separator": ("a\u2028b", r"a\u2028b"),
        "lone surrogate": ("a\udc80b", r"a\udc80b"),
        "tag character": ("a\U000e0041b", r"a\U000e0041b"),
        "markup": ("[bold red]x[/]", "[bold red]x[/]"),
    }.values(),
)
def test_nothing_a_terminal_would_obey_is_left(text: str, shown: str) -> None:
    assert output.escape(text) == shown
    assert output.escape(text).isprintable()


def test_json_is_one_line_of_ascii_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "山田\x1b[2J\n\x9b\u202e"}
    output.show_json(value)
    text = capsys.readouterr().out
    assert text.isascii()
    assert text.count("\n") == 1
    assert json.loads(text) == value


def test_a_table_in_a_pipe_is_tab_separated_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(["name", "count"], [["a\tb", 3], ["[red]x[/red]", 4]], right=(1,))
    assert capsys.readouterr().out == "name\tcount\na\\x09b\t3\n[red]x[/red]\t4\n"


def test_progress_without_a_terminal_is_a_line_every_five_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with output.progress("sending", "instances") as update:
        for second in range(12):
            now = float(second)
            update(second, 100)
    assert capsys.readouterr().err == "sending: 5 of 100 instances\nsending: 10 of 100 instances\n"


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    for unit, shown in (("instances", "7/7"), ("bytes", "7/7 bytes")):
        with output.progress("[red]sending[/red]", unit) as update:
            update(7, 7)
        assert "[red]sending[/red]" in terminal.getvalue()  # no markup from data
        assert shown in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())


def test_a_log_record_is_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.log_to_stderr("INFO")
    logger = logging.getLogger("dicore")
    try:
        logging.getLogger("dicore.net").info("from %s", "A\nB\x1b[2J")
        logging.getLogger("dicore.net").debug("not told")
    finally:
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(r"INFO dicore.net: from A\x0aB\x1b[2J")


@pytest.mark.parametrize(("size", "shown"), [(0, "0 B"), (999, "999 B"), (131_072, "131 kB"), (1.05e9, "1.05 GB")])
def test_bytes_are_told_in_the_unit_a_person_would_use(size: float, shown: str) -> None:
    assert output.human_bytes(size) == shown
