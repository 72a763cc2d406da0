"""``python -m uns``: the same as ``uns``."""

from uns.cli.main import main

main()
