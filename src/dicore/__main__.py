"""`python -m dicore`: the `dicore` command."""

from dicore.cli import main

main()
