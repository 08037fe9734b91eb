"""pynetdicom as a receiver: its documented fast way, the encoded data set written to a file without decoding it.

`python -m benchmarks.peers.pynetdicom PORT FOLDER` is the server.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.material import data_set
from benchmarks.peers import Server


class PynetdicomSCP(Server):
    name = "pynetdicom"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.pynetdicom", str(self.port), str(self.folder)]

    def received(self) -> Iterator[bytes]:
        for path in self.folder.iterdir():
            yield bytes(data_set(path.read_bytes()))


def serve(port: int, folder: Path) -> None:
    from pydicom.uid import ExplicitVRLittleEndian
    from pynetdicom import AE, AllStoragePresentationContexts, evt

    def store(event: Any) -> int:
        (folder / str(event.request.AffectedSOPInstanceUID)).write_bytes(event.encoded_dataset())
        return 0

    ae = AE(ae_title=Server.ae_title)
    ae.maximum_pdu_size = 0
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ExplicitVRLittleEndian)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
