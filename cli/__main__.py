"""`python -m gearstore_cli` is the same as `gearstore`."""

from .main import main

main()
