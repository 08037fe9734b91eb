"""`python -m dicore.cli`."""

from dicore.cli import main

main()
