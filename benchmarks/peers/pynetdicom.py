"""pynetdicom at both ends: as a receiver its documented fast way, the encoded data set written to a file without decoding
it; as a sender a thread per association, each file by its path in chunks (`_config.STORE_SEND_CHUNKED_DATASET`).

`python -m benchmarks.peers.pynetdicom PORT FOLDER` is the server; with `send` first, the sender, warm before it is timed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.material import data_set
from benchmarks.peers import Sent, Server, peak_memory


class PynetdicomSCP(Server):
    name = "pynetdicom"
    threads_end = True

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.pynetdicom", str(self.port), str(self.folder)]

    def received(self) -> Iterator[bytes]:
        for path in self.folder.iterdir():
            yield bytes(data_set(path.read_bytes()))


class PynetdicomSend:
    def __init__(self, associations: int) -> None:
        self.associations = associations
        self.name = f"pynetdicom, {associations} association{'s' * (associations > 1)}"

    def __call__(self, files: Sequence[Path], port: int, *, nagle: bool = False) -> Sent:
        command = [sys.executable, "-m", "benchmarks.peers.pynetdicom", "send", str(port), str(self.associations)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the sender did not start")
            process.stdin.write(json.dumps([str(f) for f in files]) + "\n")
            process.stdin.flush()
            result = json.loads(process.stdout.readline())
        if result["sent"] != len(files):
            raise RuntimeError(f"pynetdicom: {result}")
        return Sent(result["seconds"], result["peak"])


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


def send(port: int, associations: int) -> None:
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
    from pynetdicom import AE, _config

    _config.STORE_SEND_CHUNKED_DATASET = True
    ae = AE(ae_title="BENCH")
    ae.maximum_pdu_size = 0
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    print("ready", flush=True)
    paths: list[str] = json.loads(sys.stdin.readline())
    sent = [0] * associations

    def work(number: int) -> None:
        association = ae.associate("127.0.0.1", port, ae_title=Server.ae_title)
        for path in paths[number::associations]:
            answer = association.send_c_store(path)
            sent[number] += "Status" in answer and answer.Status == 0
        association.release()

    start = time.perf_counter()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(associations)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "sent": sum(sent), "peak": peak_memory()}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(int(sys.argv[2]), int(sys.argv[3]))
    else:
        serve(int(sys.argv[1]), Path(sys.argv[2]))
