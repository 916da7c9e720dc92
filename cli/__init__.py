"""The command line of gearstore, installed as gearstore_cli."""
