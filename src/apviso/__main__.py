"""`python -m apviso`: the command line, where the `apviso` script is not on the path."""

from __future__ import annotations

from apviso.cli import main

main()
