"""Hold a read transaction on the database, as a careless backup does; say so by /run/reads."""

import sqlite3
import time

database = sqlite3.connect("/var/lib/gearstore/gearstore.db", isolation_level=None)
database.execute("BEGIN")
database.execute("SELECT count(*) FROM jobs").fetchone()
open("/run/reads", "w").close()
time.sleep(600)
