"""The engine over no store: `python -m benchmarks.peers.discard PORT`, until SIGTERM."""

from __future__ import annotations

import signal
import socket
import sys

from dicore import uid
from dicore._native import engine
from dicore.net import Limits


def main() -> None:
    limits = Limits()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", int(sys.argv[1])))
        listener.listen(4096)
        running = engine.Engine(
            [listener.fileno()],
            native=None,
            on_lane=None,
            threads=1,
            window=16,
            pdu=limits.pdu,
            negotiation=limits.negotiation,
            command=limits.command,
            artim=30_000,
            network=60_000,
            dimse=60_000,
            idle=300_000,
            interval=1000,
            associations=limits.associations,
            associations_per_peer=limits.associations_per_peer,
            dataset=limits.dataset,
            stream_from=limits.stream_from,
            in_flight=limits.in_flight,
            in_flight_per_peer=limits.in_flight_per_peer,
            turn=512 << 10,
            report_ends=False,
            called_ae=None,
            calling_ae=None,
            sop_classes=None,
            transfer_syntaxes=None,
            foreign=None,
            networks=None,
            implementation_uid=uid.IMPLEMENTATION_CLASS.encode(),
            implementation_version=uid.IMPLEMENTATION_VERSION.encode(),
        )
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        running.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
