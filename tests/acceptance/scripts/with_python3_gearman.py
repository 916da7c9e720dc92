"""A client and a worker on PyPI's python3-gearman; see `languages.py` for the arguments."""

import sys

import python3_gearman as gearman

PRIORITIES = {"high": gearman.PRIORITY_HIGH, "low": gearman.PRIORITY_LOW}


def client(port: int, function: str, mode: str, unique: str | None) -> int:
    connection = gearman.GearmanClient([f"127.0.0.1:{port}"])
    background = mode.startswith("bg") or mode == "status"
    request = connection.submit_job(
        function,
        sys.stdin.buffer.read().decode(),
        unique=unique,
        priority=PRIORITIES.get(mode.split("-")[-1]),
        background=background,
        wait_until_complete=not background,
        poll_timeout=20,
    )
    if mode == "status":
        status = connection.get_job_status(request, poll_timeout=10).status
        print(int(status["known"]), int(status["running"]))
        return 0
    if background:
        print(request.job.handle)
        return 0
    sys.stdout.buffer.write((request.result or "").encode())
    return 0 if request.state == gearman.JOB_COMPLETE else 1


def worker(port: int, function: str, behaviour: str) -> None:
    def job(connection: gearman.GearmanWorker, job: gearman.job.GearmanJob) -> str:
        print(job.handle, job.data.encode().hex(), flush=True)
        if behaviour == "fail":
            raise RuntimeError("this library reports it as WORK_FAIL")
        if behaviour == "progress":
            connection.send_job_status(job, 1, 4)
            connection.send_job_data(job, "part")
            connection.send_job_warning(job, "careful")
            return "end"
        return str(job.data * 2)

    connection = gearman.GearmanWorker([f"127.0.0.1:{port}"])
    connection.set_client_id("python3-gearman-worker")
    connection.register_task(function, job)
    connection.work(poll_timeout=1)


if __name__ == "__main__":
    role, port, *rest = sys.argv[1:]
    if role == "worker":
        worker(int(port), rest[0], rest[1])
    sys.exit(client(int(port), rest[0], rest[1], rest[2] if len(rest) > 2 else None))
