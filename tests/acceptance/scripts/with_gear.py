"""A client and a worker on PyPI's gear; see `languages.py` for the arguments."""

import sys
import threading

import gear

PRIORITIES = {"high": gear.PRECEDENCE_HIGH, "low": gear.PRECEDENCE_LOW}


class Client(gear.Client):
    """A client that can wait: for the end of a job and for a status."""

    def __init__(self) -> None:
        super().__init__("gear-client")
        self.ended = threading.Event()
        self.status = threading.Event()

    def handleWorkComplete(self, packet: gear.Packet) -> None:
        super().handleWorkComplete(packet)
        self.ended.set()

    def handleWorkFail(self, packet: gear.Packet) -> None:
        super().handleWorkFail(packet)
        self.ended.set()

    def handleWorkException(self, packet: gear.Packet) -> None:
        super().handleWorkException(packet)
        self.ended.set()

    def handleStatusRes(self, packet: gear.Packet) -> None:
        super().handleStatusRes(packet)
        self.status.set()


def client(port: int, function: str, mode: str, unique: str | None) -> int:
    connection = Client()
    connection.addServer("127.0.0.1", port)
    connection.waitForServer(timeout=10)
    if not connection.setOption("exceptions"):
        return 3
    job = gear.Job(function.encode(), sys.stdin.buffer.read(), unique.encode() if unique else None)
    background = mode.startswith("bg") or mode == "status"
    connection.submitJob(job, background=background, precedence=PRIORITIES.get(mode.split("-")[-1], 0), timeout=10)
    if background:
        if mode == "status":
            request = gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle)
            connection.sendPacket(request, job.connection)
            connection.status.wait(10)
            print(int(job.known), int(job.running))
        else:
            print(job.handle.decode())
        return 0
    if not connection.ended.wait(20):
        return 3
    sys.stdout.buffer.write(b"".join(job.data))
    if job.exception:
        print("exception", job.exception.decode(), file=sys.stderr)
    return 1 if job.failure else 0


def worker(port: int, function: str, behaviour: str) -> None:
    connection = gear.Worker("gear-worker")
    connection.addServer("127.0.0.1", port)
    connection.registerFunction(function)
    while True:
        job = connection.getJob()
        print(job.handle.decode(), job.arguments.hex(), flush=True)
        if behaviour == "twice":
            job.sendWorkComplete(job.arguments * 2)
        elif behaviour == "progress":
            job.sendWorkStatus(1, 4)
            job.sendWorkData(b"part")
            job.sendWorkWarning(b"careful")
            job.sendWorkComplete(b"end")
        elif behaviour == "fail":
            job.sendWorkFail()
        elif behaviour == "exception":
            job.sendWorkException(b"why")


if __name__ == "__main__":
    role, port, *rest = sys.argv[1:]
    if role == "worker":
        worker(int(port), rest[0], rest[1])
    sys.exit(client(int(port), rest[0], rest[1], rest[2] if len(rest) > 2 else None))
