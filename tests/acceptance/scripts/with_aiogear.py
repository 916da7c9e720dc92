"""A client and a worker on PyPI's aiogear; see `languages.py` for the arguments."""

import asyncio
import sys

import aiogear
from aiogear import PacketType
from aiogear.response import WorkComplete


async def client(port: int, function: str, mode: str, unique: str | None) -> int:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(aiogear.Client, "127.0.0.1", port)
    workload = sys.stdin.buffer.read()
    call = {
        "fg": connection.submit_job,
        "high": connection.submit_job_high,
        "low": connection.submit_job_low,
        "status": connection.submit_job_bg,
        "bg": connection.submit_job_bg,
        "bg-high": connection.submit_job_high_bg,
        "bg-low": connection.submit_job_low_bg,
    }[mode]
    # Asked for by wait_job(), a result that comes together with JOB_CREATED would be lost.
    end = connection.wait_for(PacketType.WORK_COMPLETE, PacketType.WORK_FAIL, PacketType.WORK_EXCEPTION)
    created = await asyncio.wait_for(call(function, workload, uuid=unique), 10)
    if mode == "status":
        status = await asyncio.wait_for(connection.get_status(created.handle), 10)
        print(int(status.known), int(status.running))
    if mode.startswith("bg"):
        print(created.handle)
    if mode.startswith("bg") or mode == "status":
        await connection.disconnect()
        return 0
    ended = await asyncio.wait_for(end, 20)
    await connection.disconnect()
    if isinstance(ended, WorkComplete):
        sys.stdout.buffer.write(ended.result.encode())
        return 0
    return 1


async def worker(port: int, function: str, behaviour: str) -> None:
    def job(info: aiogear.worker.JobInfo) -> bytes:
        workload = info.workload
        print(info.handle, workload.encode().hex(), flush=True)
        if behaviour == "exception":
            raise RuntimeError("why")
        return (workload * 2).encode()

    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: aiogear.Worker((job, function)), "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    role, port, *rest = sys.argv[1:]
    if role == "worker":
        asyncio.run(worker(int(port), rest[0], rest[1]))
    sys.exit(asyncio.run(client(int(port), rest[0], rest[1], rest[2] if len(rest) > 2 else None)))
