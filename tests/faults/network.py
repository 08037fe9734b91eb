"""Two network namespaces and a wire between them, so that packets can be lost, delayed and refused (T17), and so that
a peer is not the loopback, which has no limit of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator

from conftest import absent

SERVER, CLIENT = "10.77.0.1", "10.77.0.2"
CLONE_NEWNET = 0x40000000


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=check)


class Pair:
    """`a` is the server's namespace, `b` the client's."""

    def __init__(self) -> None:
        self.a, self.b = (f"dicore-{os.getpid()}-{threading.get_ident() % 1000}-{side}" for side in "ab")

    def open(self) -> None:
        va, vb = f"dca{os.getpid() % 100000}", f"dcb{os.getpid() % 100000}"
        run("ip", "netns", "add", self.a)
        run("ip", "netns", "add", self.b)
        run("ip", "link", "add", va, "netns", self.a, "type", "veth", "peer", "name", vb, "netns", self.b)
        for name, device, address in ((self.a, va, SERVER), (self.b, vb, CLIENT)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", device)
            run("ip", "-n", name, "link", "set", device, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
        self.device = vb

    def close(self) -> None:
        for name in (self.a, self.b):
            run("ip", "netns", "del", name, check=False)

    def inside(self, name: str) -> list[str]:
        """What stands before a command that runs in a namespace."""
        return ["ip", "netns", "exec", name]

    @contextlib.contextmanager
    def sockets_of(self, name: str) -> Iterator[None]:
        """Sockets that this thread makes are of that namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/self/ns/net") as home, open(f"/run/netns/{name}") as there:
            if libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if libc.setns(home.fileno(), CLONE_NEWNET):
                    os._exit(1)  # nothing of this process would be where it should

    def filter(self, *rules: str) -> None:
        """Replace the rules for what the client sends and gets."""
        text = "flush ruleset\n" + "".join(
            f"add table inet t\nadd chain inet t {hook} {{ type filter hook {hook} priority 0; }}\n"
            for hook in ("input", "output")
        )
        text += "".join(f"add rule inet t {rule}\n" for rule in rules)
        subprocess.run([*self.inside(self.b), "nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)

    def lose(self, percent: int) -> None:
        self.filter(*(f"{hook} numgen random mod 100 < {percent} drop" for hook in ("input", "output")))

    def slow_down(self, rate: str) -> None:
        run(
            *self.inside(self.b),
            *f"tc qdisc replace dev {self.device} root tbf rate {rate} burst 32kbit latency 400ms".split(),
        )


def open_pair() -> Pair:
    """A pair, or no test: CI needs it, elsewhere it is skipped with the kernel's reason."""
    for tool in ("ip", "nft", "tc"):
        if shutil.which(tool) is None:
            absent(f"{tool} is not installed: apt-get install iproute2 nftables")
    pair = Pair()
    try:
        pair.open()
        pair.filter()
    except subprocess.CalledProcessError as error:
        pair.close()
        import pytest

        pytest.skip(f"no network namespaces here: {(error.stderr or '').strip()}")
    return pair


def dicore_in(pair: Pair, name: str) -> list[str]:
    return [*pair.inside(name), sys.executable, "-m", "dicore"]
