"""pydcm 0.5.0 as a receiver: its native `store_dir`. It needs Python 3.12, so it lives in a virtual environment of its
own, made under build/ the first time it is wanted.

`PYTHON_OF_PYDCM benchmarks/peers/pydcm.py PORT FOLDER` is the server."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

VERSION = "0.5.0"
FOLDER = Path(__file__).resolve().parents[2] / "build" / "pydcm"


def serve(port: int, folder: str) -> None:
    from pydcm.dimse import AE, AllStoragePresentationContexts  # type: ignore[import-not-found]

    ae = AE(ae_title="DICORE")
    ae.add_supported_context("1.2.840.10008.1.1")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
    ae.start_server(("127.0.0.1", port), block=True, store_dir=folder)


def _pythons() -> Iterator[list[str]]:
    for name in ("python3.14", "python3.13", "python3.12"):
        if path := shutil.which(name):
            yield [path]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in sorted(versions.glob("3.1[2-9]*")):
        yield [str(folder / "bin" / "python")]


@functools.cache
def python() -> tuple[str, str]:
    """(the interpreter that has it, "") or ("", why it is not to be had)."""
    program = FOLDER / "bin" / "python"
    check = [str(program), "-c", "import pydcm.dimse"]
    if program.exists() and subprocess.run(check, capture_output=True).returncode == 0:
        return str(program), ""
    why = "no Python 3.12 or newer"
    for one in _pythons():
        shutil.rmtree(FOLDER, ignore_errors=True)
        steps = [
            [*one, "-m", "venv", str(FOLDER)],
            [str(program), "-m", "pip", "install", "-q", f"pydcm=={VERSION}"],
            check,
        ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["?"])[-1]
                break
        else:
            return str(program), ""
    return "", why


def command(port: int, folder: Path) -> Sequence[str]:
    return [python()[0], __file__, str(port), str(folder)]


if __name__ == "__main__":
    sys.path.pop(0)  # this folder has a module of the same name
    serve(int(sys.argv[1]), sys.argv[2])
