"""Tell systemd how the server is: sd_notify(3) in a few lines. Without systemd every call does nothing."""

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to the socket that NOTIFY_SOCKET names.

    `watchdog_interval` is how many seconds may pass between two watchdog() calls, or None if systemd
    doesn't watch this process. It is half of the deadline, as sd_watchdog_enabled(3) advises.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.address = socket_address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval = watchdog_interval(environ) if self.address else None

    def ready(self) -> None:
        """Say that the server listens."""
        self.send("READY=1")

    def stopping(self, seconds: float) -> None:
        """Say that the server is on its way out and may need so long for it: more than TimeoutStopSec= if need be."""
        self.send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={seconds * 1_000_000:.0f}")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self.send("STATUS=" + " ".join(text.split()))

    def watchdog(self) -> None:
        """Say that the server is alive."""
        self.send("WATCHDOG=1")

    def send(self, state: str) -> None:
        """Send one state. A manager that is gone or slow must not harm the server: errors are dropped."""
        if not self.address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), self.address)
        except OSError:
            pass


def socket_address(name: str) -> str:
    """Return the address of the socket; a leading @ stands for the NUL of Linux's abstract names."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def watchdog_interval(environ: Mapping[str, str]) -> float | None:
    """Return half of WATCHDOG_USEC in seconds, or None if it is not set or meant for another process."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", "0"))
        pid = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 and pid == os.getpid() else None
