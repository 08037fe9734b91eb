"""pydcm's native store-to-folder listener (`AE.start_server(store_dir=...)`). It needs Python >= 3.12, so it lives in an
environment of its own, `build/pydcm`, made the first time.

`build/pydcm/bin/python benchmarks/peers/pydcm.py PORT FOLDER AE_TITLE` is the server.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ != "__main__":
    from benchmarks.material import ROOT, data_set
    from benchmarks.peers import Server

    VERSION = "0.5.0"
    HOME = ROOT.parent / "pydcm"

    def interpreter() -> Path | None:
        """The Python of that environment; None where there is no Python for it."""
        python = HOME / "bin" / "python"
        if python.exists():
            return python
        pyenv = sorted(Path.home().glob(".pyenv/versions/3.1[2-9].*/bin/python"))
        named = [found for name in ("python3.12", "python3.13", "python3.14") if (found := shutil.which(name))]
        for candidate in [*map(str, pyenv), *named]:
            try:
                subprocess.run([candidate, "-m", "venv", HOME], check=True, capture_output=True)
                subprocess.run([python, "-m", "pip", "install", "-q", f"pydcm=={VERSION}"], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                shutil.rmtree(HOME, ignore_errors=True)
                continue
            return python
        return None

    class PydcmSCP(Server):
        name = f"pydcm {VERSION}, store_dir"

        def command(self) -> Sequence[str]:
            return [str(interpreter()), "-P", __file__, str(self.port), str(self.folder), self.ae_title]

        def received(self) -> Iterator[bytes]:
            for path in self.folder.rglob("*"):
                if path.is_file():
                    yield bytes(data_set(path.read_bytes()))


def serve(port: int, folder: str, ae_title: str) -> None:
    from pydcm.dimse import AE, AllStoragePresentationContexts, ExplicitVRLittleEndian

    ae = AE(ae_title=ae_title)
    ae.add_supported_context("1.2.840.10008.1.1")
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, [ExplicitVRLittleEndian])
    ae.start_server(("127.0.0.1", port), block=True, store_dir=folder)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], sys.argv[3])
