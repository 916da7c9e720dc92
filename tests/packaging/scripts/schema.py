"""Set the number of the database's schema and print the one that it had."""

import sqlite3
import sys

database = sqlite3.connect("/var/lib/gearstore/gearstore.db")
print(database.execute("PRAGMA user_version").fetchone()[0])
database.execute(f"PRAGMA user_version = {int(sys.argv[1])}")
