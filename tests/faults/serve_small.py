"""`dicore serve` over a store with small segments, so that a test rolls over many of them and can read every byte that
was written in a trace: python serve_small.py STORE_DIR --port 0 --json [--driver D] [--segment-size N]
[--durability D]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path

import dicore


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--port", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--driver", default="auto")
    parser.add_argument("--segment-size", type=int, default=1 << 20)
    parser.add_argument("--durability", default="durable", choices=("durable", "relaxed"))
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with dicore.Store(a.store, segment_size=a.segment_size, durability=a.durability) as store:
        async with dicore.serve(store, port=a.port, driver=a.driver) as server:
            print(json.dumps({"port": server.port}), flush=True)
            await stop.wait()


if __name__ == "__main__":
    try:
        from uvloop import run  # as the command does
    except ImportError:
        from asyncio import run
    run(main())
