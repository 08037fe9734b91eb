"""The command line as a whole: the list of verbs, how one is loaded, and how a failure is told.

The root's help page needs only the table `VERBS`; a verb's module is imported when that verb is called, and what the
verb works with (asyncio, numpy, pydicom) only when its function runs.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from dicore.cli.output import SETTINGS, escape, log_to_stderr, say
from dicore.errors import DicoreError

VERBS = {  # in the order of the help page; each is a module of this package with a function or a Typer of that name
    "dump": "Print what is in DICOM files, as dcmdump does.",
    "deidentify": "Take the identities out of files and folders (PS3.15 annex E).",
    "edit": "Change elements of DICOM files, or their transfer syntax.",
    "echo": "Ask a DICOM node whether it is there (C-ECHO).",
    "send": "Send files and folders to a DICOM node (C-STORE).",
    "find": "Ask a DICOM node what it has (C-FIND).",
    "get": "Fetch instances from a DICOM node over the same association (C-GET).",
    "move": "Have a DICOM node send instances to another one (C-MOVE).",
    "serve": "Receive instances into a store, durably.",
    "store": "Look into a store: list, export, verify, rebuild, count.",
    "scan": "Read a few elements of many files into one table.",
    "synth": "Write synthetic CT and MR studies that look real.",
    "render": "Show images: write them as PNG, contact sheet or animation.",
    "transcode": "Write DICOM files with their frames in another transfer syntax.",
    "make": "Make DICOM instances of pictures, PDFs and arrays.",
    "codecs": "List what decodes and encodes each transfer syntax.",
    "demo": "Send, store, query, decode and check synthetic studies, in seconds.",
}

_EXIT_CODES = "Exit status: 0 ok, 1 failed, 2 usage, 130 interrupted. Data goes to stdout, talk to stderr."


class _Verbs(TyperGroup):
    """A group whose verbs are placeholders until one is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in VERBS:
            log_to_stderr("WARNING")
            self.commands[args[0]] = _load(args[0])
        return super().resolve_command(ctx, args)


def _load(verb: str) -> Any:
    target = getattr(importlib.import_module(f"dicore.cli.{verb}"), verb)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(**SETTINGS)
        app.command(verb, help=_reflowed(inspect.getdoc(target) or ""))(target)
        target = app
    command = typer.main.get_command(target)
    command.name = verb
    return command


def _reflowed(text: str) -> str:
    r"""Typer keeps the line breaks of a docstring's paragraphs; ours are the source's, except after a `\b`."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(p if p.startswith("\b") else " ".join(p.split("\n")) for p in paragraphs)


def _version(wanted: bool) -> None:
    if wanted:
        from dicore import __version__

        typer.echo(f"dicore {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On failure print the traceback; stands anywhere.")] = False,
) -> None:
    """DICOM at the speed of the system call: read, send, receive, store.

    Example: dicore dump ct.dcm; dicore serve archive --port 11112; dicore send scans/ --to DICORE@127.0.0.1:11112
    """


def _build() -> typer.Typer:
    app = typer.Typer(**SETTINGS | {"add_completion": True}, cls=_Verbs, no_args_is_help=True, epilog=_EXIT_CODES)
    app.callback()(_root)
    for verb, summary in VERBS.items():
        placeholder: Callable[[], None] = lambda: None  # noqa: E731  (replaced by `_load` when the verb is called)
        app.command(verb, help=summary)(placeholder)
    return app


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit status. Nothing but `--debug` lets an exception's traceback out."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # text that the terminal's encoding lacks
    end = argv.index("--") if "--" in argv else len(argv)
    debug = "--debug" in argv[:end]
    args = [arg for arg in argv[:end] if arg != "--debug"] + list(argv[end:])
    try:
        status = _run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `dicore store ls | head`: the reader has enough, nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        else:
            say(f"dicore: {escape(_one_line(error))}")
        return 1


def _run(args: list[str]) -> int:
    try:
        _build()(args=args, prog_name="dicore")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _one_line(error: Exception) -> str:
    if isinstance(error, DicoreError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, ImportError):
        return f"{error}; is dicore installed whole (pip install dicore)?"
    return f"{type(error).__name__}: {error}; this is a fault of dicore, --debug prints where"
