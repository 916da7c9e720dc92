"""Listen on gearstore's port, as a forgotten server does."""

import socket
import time

with socket.socket() as taken:
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 4730))
    taken.listen()
    time.sleep(600)
