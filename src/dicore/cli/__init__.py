"""The `dicore` command. `main` is the entry point; each verb is a module of this package, imported when called."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run `dicore` on `sys.argv` and leave with its exit status: 0 ok, 1 failed, 2 usage, 130 interrupted."""
    from dicore.cli.app import run

    sys.exit(run(sys.argv[1:]))
