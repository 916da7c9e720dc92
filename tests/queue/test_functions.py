"""Windows: a queue larger than memory is spilled and read back in order; nothing is lost, doubled or overtaken."""

from unittest.mock import patch

import pytest

from gearstore.queue.engine import Engine
from gearstore.queue.functions import Function, Window
from gearstore.queue.job import CANCELLED, DONE, HELD, HIGH, LOW, NORMAL, QUEUED, RUNNING, Job, Reason
from gearstore.queue.operators import retry
from gearstore.queue.peer import Peer
from gearstore.queue.record import claimed, claimed_delayed
from tests.queue.doubles import NOW, Server, row


@pytest.fixture
def server() -> Server:
    return Server(window=3)


def window(server: Server, priority: int = NORMAL) -> Window:
    return server.engine.functions[b"f"].windows[priority]


def in_memory(server: Server) -> list[bytes]:
    return sorted(job.workload for job in server.engine.jobs.values())


def fill(server: Server, number: int, priority: int = NORMAL) -> list[Job]:
    return [server.submit(b"f", b"%d" % n, priority=priority, unique=b"u%d" % n) for n in range(number)]


# Spilling and reading back


def test_what_does_not_fit_is_not_kept_in_memory(server: Server) -> None:
    fill(server, 10)
    assert in_memory(server) == [b"0", b"1", b"2"]
    function = server.engine.functions[b"f"]
    assert (function.ready, function.spilled, function.queued, function.total) == (3, 7, [0, 10, 0], 10)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_jobs_come_back_in_order(server: Server, limit: int) -> None:
    fill(server, 10)
    worker = server.connect(b"f")
    served = []
    while (job := server.engine.grab(worker)) is not None:
        served.append(job.workload)
        server.engine.complete(job, b"")
        server.disk.commit()
        server.disk.feed(limit)
    assert served == [b"%d" % n for n in range(10)]
    assert (server.counts(), server.engine.jobs, window(server).size, window(server).bytes) == ({"done": 10}, {}, 0, 0)
    server.submit(b"f", b"fits again")
    assert server.engine.functions[b"f"].spilled == 0


def test_priorities_have_windows_of_their_own(server: Server) -> None:
    for priority in (LOW, NORMAL, HIGH):
        for n in range(5):
            server.submit(b"f", b"%d%d" % (priority, n), priority=priority)
    function = server.engine.functions[b"f"]
    assert (function.ready, function.spilled, function.queued) == (9, 6, [5, 5, 5])
    served = server.work(server.connect(b"f"))
    assert served == sorted(served) and len(served) == 15


def test_foreground_jobs_are_never_spilled(server: Server) -> None:
    client = server.connect()
    fill(server, 5)
    for n in range(5):
        server.submit(b"f", b"fg%d" % n, client=client)
    assert in_memory(server) == [b"0", b"1", b"2", b"fg0", b"fg1", b"fg2", b"fg3", b"fg4"]
    served = server.work(server.connect(b"f"))
    assert [name for name in served if name.startswith(b"fg")] == [b"fg%d" % n for n in range(5)]
    assert [name for name in served if not name.startswith(b"fg")] == [b"%d" % n for n in range(5)]


def test_large_workloads_fill_a_window_before_its_limit() -> None:
    with patch("gearstore.queue.functions.MAX_BYTES", 100):
        server = Server(window=100)
        for n in range(6):
            server.submit(b"f", b"%d" % n * 40)
        assert (len(server.engine.jobs), server.engine.functions[b"f"].spilled) == (3, 3)
        assert [name[:1] for name in server.work(server.connect(b"f"))] == [b"%d" % n for n in range(6)]


def test_a_job_larger_than_a_window_is_taken() -> None:
    with patch("gearstore.queue.functions.MAX_BYTES", 100):
        server = Server(window=100)
        server.submit(b"f", b"x" * 1000)
        server.submit(b"f", b"y" * 1000)
        assert [name[:1] for name in server.work(server.connect(b"f"))] == [b"x", b"y"]


def test_a_sleeper_is_woken_by_jobs_that_are_read_back(server: Server) -> None:
    fill(server, 6)
    worker = server.connect(b"f")
    for _ in range(3):
        assert server.engine.grab(worker) is not None
    assert server.engine.sleep(worker)
    server.disk.feed()
    assert server.woken() == [worker]


def test_jobs_read_back_wake_as_many_workers() -> None:
    server = Server(window=3, worker_wakeup=1)
    fill(server, 6)
    worker = server.connect(b"f")
    for _ in range(3):
        assert server.engine.grab(worker) is not None
    sleepers = [server.sleeper(b"f") for _ in range(4)]
    server.disk.feed()
    assert server.woken() == sleepers[:3]


def test_jobs_that_come_back_stand_behind_those_on_disk(server: Server) -> None:
    worker, other = server.connect(b"f"), server.connect(b"f")
    jobs = fill(server, 5)
    assert server.engine.grab(worker) is jobs[0]
    server.engine.disconnect(worker)
    server.disk.commit()
    assert server.work(other) == [b"1", b"2", b"3", b"4", b"0"]


def test_a_refused_job_gives_its_place_back(server: Server) -> None:
    fill(server, 2)
    for _ in range(3):
        for _ in range(5):
            server.ask(b"f")
        server.disk.refuse()
    assert (window(server).size, window(server).on_disk, server.counts()) == (2, 0, {"queued": 2})
    assert server.work(server.connect(b"f")) == [b"0", b"1"]


def test_jobs_submitted_during_a_claim_come_after_it(server: Server) -> None:
    fill(server, 6)
    worker = server.connect(b"f")
    for _ in range(3):
        job = server.engine.grab(worker)
        assert job is not None
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    server.submit(b"f", b"late")
    claimed(server.engine, function, NORMAL, page)
    server.disk.feed()
    assert server.work(server.connect(b"f")) == [b"3", b"4", b"5", b"late"]


# Cancelled, retried, joined while it is on disk


def stored_job(server: Server, id: int) -> Job:
    """Return the job of that number, brought into memory as an operator's verb does."""
    return server.engine.jobs.get(server.engine.handle(id)) or server.disk.load(server.disk.rows[id])


@pytest.mark.parametrize("total", [4, 5, 6])
@pytest.mark.parametrize("read_after_commit", [True, False])
@pytest.mark.parametrize("settled_before_claim", [True, False])
def test_cancel_of_spilled_jobs_during_a_claim(
    server: Server, total: int, read_after_commit: bool, settled_before_claim: bool
) -> None:
    """The claim has read them before they were cancelled: they must not run."""
    jobs = fill(server, total)
    worker = server.connect(b"f")
    for job in jobs[:3]:
        assert server.engine.grab(worker) is job
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    for job in jobs[3:]:
        server.engine.cancel(stored_job(server, job.id))
    if settled_before_claim:
        server.disk.commit()
        if read_after_commit:
            page = server.disk.read(function, NORMAL)
    claimed(server.engine, function, NORMAL, page)
    server.disk.commit()
    server.disk.feed()
    assert server.engine.grab(worker) is None
    assert server.counts() == {"running": 3, "cancelled": total - 3}
    assert (window(server).on_disk, function.spilled, window(server).size) == (0, 0, 0)
    assert {server.disk.rows[job.id].state for job in jobs[3:]} == {CANCELLED}


@pytest.mark.parametrize("read_after_retry", [True, False])
def test_cancel_and_retry_of_a_spilled_job_during_a_claim(server: Server, read_after_retry: bool) -> None:
    jobs = fill(server, 6)
    worker = server.connect(b"f")
    for job in jobs[:3]:
        assert server.engine.grab(worker) is job
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    server.engine.cancel(stored_job(server, jobs[3].id))
    server.disk.commit()
    retry(server.engine, function, server.disk.rows[jobs[3].id])
    server.disk.commit()
    if read_after_retry:  # (it waited for a long listing)
        changed = window(server).changed
        page = server.disk.read(function, NORMAL)
        window(server).changed = changed
    claimed(server.engine, function, NORMAL, page)
    server.engine.feed(function, NORMAL)
    server.disk.feed()
    assert server.work(server.connect(b"f")) == [b"4", b"5", b"3"]
    assert server.counts() == {"running": 3, "done": 3}


def test_cancel_of_all_that_is_spilled_then_new_jobs_during_a_claim(server: Server) -> None:
    jobs = fill(server, 4)
    worker = server.connect(b"f")
    for job in jobs[:3]:
        assert server.engine.grab(worker) is job
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    server.engine.cancel(stored_job(server, jobs[3].id))
    server.disk.commit()
    for n in range(5):
        server.submit(b"f", b"new%d" % n)
    claimed(server.engine, function, NORMAL, page)
    server.engine.feed(function, NORMAL)
    server.disk.feed()
    assert server.work(server.connect(b"f")) == [b"new%d" % n for n in range(5)]
    assert function.spilled == 0


def test_cancel_in_the_window_lets_jobs_move_up(server: Server) -> None:
    jobs = fill(server, 5)
    for job in jobs[:3]:
        server.engine.cancel(job)
    server.disk.commit()
    server.disk.feed()
    assert server.work(server.connect(b"f")) == [b"3", b"4"]


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("number", range(6))
def test_a_unique_is_joined_wherever_its_job_is(server: Server, background: bool, number: int) -> None:
    jobs = fill(server, 6)
    client = None if background else server.connect()
    job = server.submit(b"f", b"other", unique=b"u%d" % number, client=client)
    assert job.handle == jobs[number].handle
    assert server.counts() == {"queued": 6}
    again = server.submit(b"f", b"other", unique=b"u%d" % number)
    assert again.handle == job.handle
    served = server.work(server.connect(b"f"))
    assert served == [b"%d" % n for n in range(6)]


def test_a_unique_that_is_nowhere_is_a_new_job_after_its_look_up(server: Server) -> None:
    fill(server, 6)
    worker, client = server.connect(b"f"), server.connect()
    server.submit(b"f", b"new", unique=b"new")
    foreground = server.ask(b"f", b"fg", unique=b"fg", client=client)
    assert foreground.batch is not None
    server.disk.commit()
    assert foreground.batch is None
    assert sorted(server.work(worker)) == [b"0", b"1", b"2", b"3", b"4", b"5", b"fg", b"new"]


def test_a_client_that_joined_a_job_on_disk_is_told(server: Server) -> None:
    jobs = fill(server, 6)
    client, worker = server.connect(), server.connect(b"f")
    server.submit(b"f", unique=b"u5", client=client)
    for number in range(6):
        job = server.engine.grab(worker)
        assert job is not None and job.handle == jobs[number].handle
        assert list(job.listeners) == ([client] if number == 5 else [])
        server.engine.complete(job, b"")
        server.disk.commit()
        server.disk.feed()


def test_a_client_that_leaves_during_its_look_up(server: Server) -> None:
    fill(server, 6)
    client, worker = server.connect(), server.connect(b"f")
    for unique in (b"new", b"u5"):
        server.ask(b"f", b"left", unique=unique, client=client)
    server.engine.disconnect(client)
    server.disk.commit()
    assert server.work(worker) == [b"%d" % n for n in range(6)]
    assert (server.counts(), window(server).size) == ({"done": 6}, 0)
    assert server.submit(b"f", b"again", unique=b"new").workload == b"again"


@pytest.mark.parametrize("unique", [b"new", b"u5"])
@pytest.mark.parametrize("commit_between", [True, False])
@pytest.mark.parametrize("leaves", [True, False])
def test_background_joins_foreground_during_its_look_up(
    server: Server, unique: bytes, commit_between: bool, leaves: bool
) -> None:
    jobs = fill(server, 6)
    client, worker = server.connect(), server.connect(b"f")
    first = server.ask(b"f", b"joined", unique=unique, client=client)
    if commit_between:
        server.disk.commit()
    second = server.ask(b"f", b"", unique=unique)
    if leaves:
        server.engine.disconnect(client)
    server.disk.commit()
    assert first.handle == second.handle
    assert (first.handle == jobs[5].handle) == (unique == b"u5")
    expected = {b"%d" % n for n in range(6)} | ({b"joined"} if unique == b"new" else set())
    served = server.work(worker)
    assert (len(served), set(served)) == (len(expected), expected)
    assert (server.counts(), server.engine.jobs, window(server).size) == ({"done": len(expected)}, {}, 0)
    assert {record.state for record in server.disk.rows.values()} == {DONE}


@pytest.mark.parametrize("end", ["complete", "cancel"])
@pytest.mark.parametrize("background", [True, False])
def test_a_look_up_that_finds_a_job_which_has_just_ended(server: Server, end: str, background: bool) -> None:
    """Whatever the answer is, the acknowledged job runs, or has run after the submit."""
    jobs = fill(server, 5)
    worker = server.connect(b"f")
    for _ in range(3):
        assert server.engine.grab(worker) is not None
    client = None if background else server.connect()
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    job = server.ask(b"f", b"again", unique=b"u3", client=client)
    claimed(server.engine, function, NORMAL, page)
    existing = server.engine.grab(worker)
    assert existing is not None and existing.handle == jobs[3].handle
    if end == "complete":
        server.engine.complete(existing, b"")
    else:
        server.engine.cancel(existing)
    server.disk.commit()
    server.disk.commit()
    served = server.work(worker)
    if job.handle == existing.handle:
        assert background and served == [b"4"]
    else:
        assert served == [b"4", b"again"]
    assert [job.workload for job in server.engine.jobs.values() if job.state is not RUNNING] == []
    assert server.submit(b"f", b"new", unique=b"u3").workload == b"new"
    assert server.work(worker) == [b"new"]


def test_a_foreground_job_that_becomes_background_during_its_look_up_is_read_back(server: Server) -> None:
    """Its place is that of the moment: what was spilled meanwhile stands in front, and windows are read in order."""
    worker, client = server.connect(b"f"), server.connect()
    fill(server, 3)  # the window is full, nothing is on disk
    server.submit(b"g", run_at=NOW + 1)
    server.engine.delayed_on_disk += 1  # so that uniques are looked up
    job = server.ask(b"f", b"late", unique=b"x", client=client)
    server.engine.delayed_on_disk -= 1
    server.ask(b"f", b"spilled")
    assert server.ask(b"f", unique=b"x") is job
    server.disk.commit()
    server.disk.feed()
    assert server.work(worker) == [b"0", b"1", b"2", b"spilled", b"late"]
    function = server.engine.functions[b"f"]
    assert (function.spilled, function.windows[NORMAL].on_disk) == (0, 0)


@pytest.mark.parametrize("first_in_background", [True, False])
def test_a_look_up_that_finds_an_ended_job_for_both_kinds(server: Server, first_in_background: bool) -> None:
    """The foreground client must get an answer, and the unique must be free or lead to a job that runs."""
    fill(server, 5)
    worker, client = server.connect(b"f"), server.connect()
    for _ in range(3):
        assert server.engine.grab(worker) is not None
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    first = server.ask(b"f", b"again", unique=b"u3", client=None if first_in_background else client)
    assert server.ask(b"f", unique=b"u3", client=client if first_in_background else None) is first
    claimed(server.engine, function, NORMAL, page)
    existing = server.engine.grab(worker)
    assert existing is not None and existing.workload == b"3"
    server.engine.complete(existing, b"")
    server.disk.commit()
    server.disk.commit()
    server.disk.feed()
    listeners: list[Peer] = []
    while (job := server.engine.grab(worker)) is not None:
        listeners += job.listeners
        server.engine.complete(job, b"")
        server.engine.told(job)
        server.disk.commit()
        server.disk.feed()
    assert listeners == [client]
    assert server.submit(b"f", b"new", unique=b"u3").workload == b"new"
    assert server.work(worker) == [b"new"]
    assert function.states[RUNNING] == 3 and function.states[QUEUED] == 0


def test_a_job_read_back_during_a_look_up_of_its_unique_can_be_joined_afterwards(server: Server) -> None:
    jobs = fill(server, 5)
    worker = server.connect(b"f")
    for _ in range(3):
        assert server.engine.grab(worker) is not None
    function = server.engine.functions[b"f"]
    page = server.disk.read(function, NORMAL)
    first = server.ask(b"f", unique=b"u3")
    claimed(server.engine, function, NORMAL, page)
    server.disk.commit()
    assert first.handle == jobs[3].handle
    assert server.submit(b"f", unique=b"u3").handle == jobs[3].handle
    assert server.work(worker) == [b"3", b"4"]


def test_uniques_on_disk_are_free_again_after_their_job(server: Server) -> None:
    fill(server, 6)
    server.work(server.connect(b"f"))
    job = server.submit(b"f", b"new", unique=b"u5")
    assert server.work(server.connect(b"f")) == [b"new"]
    assert server.disk.rows[job.id].state == DONE


# Altered on disk


def test_an_altered_job_is_held(server: Server) -> None:
    jobs = fill(server, 6)
    server.disk.rows[jobs[4].id] = server.disk.rows[jobs[4].id]._replace(intact=False, workload=b"altered")
    assert server.work(server.connect(b"f")) == [b"0", b"1", b"2", b"3", b"5"]
    server.disk.commit()
    kept = server.disk.rows[jobs[4].id]
    assert (kept.state, kept.reason) == (HELD, Reason.DAMAGED)
    assert server.counts() == {"done": 5, "held": 1}
    assert server.submit(b"f", unique=b"u4").handle != jobs[4].handle


def test_an_altered_delayed_job_is_held() -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", 2):
        server = Server()
        jobs = delayed(server, 5)
        server.disk.rows[jobs[4].id] = server.disk.rows[jobs[4].id]._replace(intact=False, workload=b"altered")
        assert run_delayed(server) == [b"0", b"1", b"2", b"3"]
        server.disk.commit()
        kept = server.disk.rows[jobs[4].id]
        assert (kept.state, kept.reason) == (HELD, Reason.DAMAGED)
        assert (server.counts(), server.engine.delayed_on_disk) == ({"done": 4, "held": 1}, 0)


# Delayed jobs that do not fit in memory


def delayed(server: Server, number: int) -> list[Job]:
    """Submit jobs for each of the next seconds, the last first."""
    jobs = [
        server.submit(b"f", b"%d" % n, unique=b"u%d" % n, run_at=NOW + 1000 * (n + 1)) for n in reversed(range(number))
    ]
    return jobs[::-1]


def run_delayed(server: Server, limit: int = 1024) -> list[bytes]:
    """Let the time pass until nothing is delayed; return the workloads as they were served."""
    worker, served = server.connect(b"f"), []
    for _ in range(20):
        server.disk.feed_delayed(limit)
        server.advance(500)
        server.disk.commit()
        served += server.work(worker)
    return served


@pytest.mark.parametrize("memory", [1, 2, 4, 100])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_delayed_jobs_are_read_back_in_time(memory: int, limit: int) -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", memory):
        server = Server()
        delayed(server, 9)
        assert server.counts() == {"delayed": 9}
        assert len(server.engine.jobs) <= memory
        served = run_delayed(server, limit)
        assert sorted(served) == [b"%d" % n for n in range(9)]
        if memory >= 4:
            assert served == sorted(served)
        assert (server.counts(), server.engine.jobs, server.engine.delayed_on_disk) == ({"done": 9}, {}, 0)


def test_equal_times_on_both_sides_of_the_boundary() -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", 4):
        server = Server()
        for n in range(9):
            server.submit(b"f", b"%d" % n, run_at=NOW + 1000)
        assert sorted(run_delayed(server, 2)) == [b"%d" % n for n in range(9)]
        assert (server.counts(), server.engine.delayed_on_disk) == ({"done": 9}, 0)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("background", [True, False])
def test_a_delayed_job_on_disk_is_joined(number: int, background: bool) -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", 2):
        server = Server()
        jobs = delayed(server, 6)
        client = None if background else server.connect()
        assert server.submit(b"f", unique=b"u%d" % number, client=client).handle == jobs[number].handle
        assert sorted(run_delayed(server)) == [b"%d" % n for n in range(6)]


def test_a_client_that_joins_a_delayed_job_before_its_commit_is_told() -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", 2):
        server = Server()
        delayed(server, 6)
        client, worker = server.connect(), server.connect(b"f")
        job = server.ask(b"f", b"joined", unique=b"j", run_at=NOW + 9000)
        server.ask(b"f", unique=b"j", client=client)
        server.disk.commit()
        listeners: list[Peer] = []
        for _ in range(20):
            server.disk.feed_delayed()
            server.advance(1000)
            server.disk.commit()
            while (found := server.engine.grab(worker)) is not None:
                listeners += found.listeners if found.handle == job.handle else []
                server.engine.complete(found, b"")
                server.engine.told(found)
        assert listeners == [client]


@pytest.mark.parametrize("settled_before_claim", [True, False])
def test_cancel_of_a_delayed_job_during_a_claim(settled_before_claim: bool) -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", 2):
        server = Server()
        jobs = delayed(server, 6)
        engine = server.engine
        by_id = {function.id: function for function in engine.functions.values()}
        server.advance(2000)
        server.disk.commit()
        page = server.disk.read_delayed()
        cancelled = [job for job in jobs[2:5]]
        for job in cancelled:
            engine.cancel(stored_job(server, job.id))
        if settled_before_claim:
            server.disk.commit()
        claimed_delayed(engine, by_id, page)
        server.disk.commit()
        assert sorted(run_delayed(server)) == [b"0", b"1", b"5"]
        assert (server.counts(), engine.delayed_on_disk) == ({"done": 3, "cancelled": 3}, 0)


def test_a_delayed_job_whose_commit_is_read_before_it_is_known() -> None:
    """The commit is done, the claim has read it, but the engine hears of the claim first."""
    with patch("gearstore.queue.endings.MAX_DELAYED", 2):
        server = Server()
        delayed(server, 6)
        engine = server.engine
        by_id = {function.id: function for function in engine.functions.values()}
        server.advance(2000)
        server.disk.commit()
        server.work(server.connect(b"f"))
        new = server.ask(b"f", b"new", run_at=NOW + 60_000)
        server.disk.rows[new.id] = row(new)
        page = server.disk.read_delayed()
        assert page[-1].id == new.id
        claimed_delayed(engine, by_id, page)
        server.disk.commit()
        assert sorted(run_delayed(server)) == [b"2", b"3", b"4", b"5"]
        server.advance(60_000)
        assert server.work(server.connect(b"f")) == [b"new"]
        assert engine.delayed_on_disk == 0


def test_a_refused_delayed_job_gives_its_place_back() -> None:
    with patch("gearstore.queue.endings.MAX_DELAYED", 2):
        server = Server()
        delayed(server, 6)
        on_disk = server.engine.delayed_on_disk
        server.ask(b"f", run_at=NOW + 1)
        server.ask(b"f", run_at=NOW + 60_000)
        server.disk.refuse()
        assert server.engine.delayed_on_disk == on_disk
        assert server.counts() == {"delayed": 6}


# The function itself


def test_a_new_function_is_empty() -> None:
    function = Function(7, b"f", 3)
    assert (function.id, function.name, function.total, function.ready, function.spilled) == (7, b"f", 0, 0, 0)
    assert (function.take(), function.limits, function.listed) == (None, [0, 0, 0], True)


def test_a_job_withdrawn_is_skipped(server: Server) -> None:
    jobs = [server.submit(b"f", b"%d" % n) for n in range(3)]
    server.engine.cancel(jobs[1])
    server.engine.cancel(jobs[0])
    function = server.engine.functions[b"f"]
    assert (function.ready, function.queued, window(server).size) == (1, [0, 1, 0], 1)
    assert function.take() is jobs[2]
    assert (function.take(), function.ready, window(server).size) == (None, 0, 0)
    assert isinstance(server.engine, Engine) and jobs[2].state is QUEUED


# The one that waits longest


def waiting(server: Server) -> list[bytes]:
    return [job.workload for job in server.engine.functions[b"f"].heads()]


def test_the_heads_are_the_first_of_each_queue(server: Server) -> None:
    first, _ = fill(server, 2)
    server.submit(b"f", b"low", priority=LOW)
    server.submit(b"f", b"foreground", client=server.connect())
    assert waiting(server) == [b"0", b"foreground", b"low"]
    server.engine.cancel(first)
    assert waiting(server) == [b"1", b"foreground", b"low"]
    assert server.engine.functions[b"f"].unread() == []


def test_a_queue_that_is_only_on_disk_says_so(server: Server) -> None:
    for job in fill(server, 10)[:3]:
        server.engine.cancel(job)
    function = server.engine.functions[b"f"]
    assert (waiting(server), function.unread()) == ([], [NORMAL])
    server.disk.commit()
    server.disk.feed(1)
    assert (waiting(server), function.unread()) == ([b"3"], [])


def test_a_job_that_was_delayed_waits_since_its_time(server: Server) -> None:
    job = server.submit(b"f", run_at=NOW + 5000)
    assert job.waiting_since == NOW + 5000
    assert server.submit(b"f").waiting_since == NOW
