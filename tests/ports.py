"""TCP ports for tests that run at the same time."""

import socket

HOST = "127.0.0.1"

# A port that is bound here, but not listened on, refuses connections. The kernel gives it to nobody who asks for any
# port or connects; who asks for this very one, with SO_REUSEADDR as servers do, gets it.
_reserved: list[socket.socket] = []


def free_port() -> int:
    """Return a TCP port that nobody listens on. It stays the caller's, also between two servers."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    _reserved.append(reserved)
    port: int = reserved.getsockname()[1]
    return port
