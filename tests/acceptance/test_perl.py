"""Perl's Gearman::Client and Gearman::Worker, with the habits that gearmand does not bear well."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Running, Server, eventually, printed

CLIENT = """
use strict; use warnings; use Gearman::Client; use Storable qw(thaw); $| = 1;
my $client = Gearman::Client->new(job_servers => ['127.0.0.1:{port}'], {options});
"""
WORKER = """
use strict; use warnings; use Gearman::Worker; $| = 1;
sub until_exists {{ select(undef, undef, undef, 0.001) until -e $_[0] }}
my $worker = Gearman::Worker->new(job_servers => ['127.0.0.1:{port}'], {options});
"""

Client = Callable[..., list[str]]
Worker = Callable[..., Running]


@pytest.fixture
def client(perl: str, shared_server: Server) -> Client:
    """Run Perl code that has a $client, and return the lines it printed."""

    def run_client(code: str, options: str = "") -> list[str]:
        start = CLIENT.format(port=shared_server.port, options=options)
        return printed([perl, "-e", start + code]).decode().splitlines()

    return run_client


@pytest.fixture
def worker(perl: str, shared_server: Server, spawn: Spawn) -> Worker:
    """Start Perl code that has a $worker."""

    def start_worker(code: str, options: str = "") -> Running:
        return spawn(perl, "-e", WORKER.format(port=shared_server.port, options=options) + code)

    return start_worker


def handle_of(printed_handle: str) -> str:
    """Return the handle without the server's address that Perl puts in front of it."""
    return printed_handle.split("//")[1]


# Clients


def test_background_jobs_with_empty_uniques_are_jobs_of_their_own(
    client: Client, worker: Worker, function: str, shared_server: Server
) -> None:
    handles = client(f"print $client->dispatch_background('{function}', $_), qq(\\n) for ('one', 'two', 'two', '');")
    assert len(set(handles)) == 4
    assert shared_server.status()[function] == (4, 0, 0)
    running = worker(f"""
        $worker->register_function('{function}', sub {{ print $_[0]->handle, ' <', $_[0]->arg, ">\\n"; 'done' }});
        $worker->work;
    """)
    running.expect_line(f"{handle_of(handles[3])} <>")
    workloads = ["<one>", "<two>", "<two>", "<>"]
    assert running.lines == [
        f"{handle_of(handle)} {workload}" for handle, workload in zip(handles, workloads, strict=True)
    ]


def test_foreground(client: Client, worker: Worker, function: str) -> None:
    worker(f"""
        $worker->register_function('{function}', sub {{ scalar reverse $_[0]->arg }});
        $worker->work;
    """)
    assert (
        client(f"""
        for my $workload ('abc', "a\\0b", "\\xc3\\xa9t\\xc3\\xa9", 'x' x 500_000 . 'y') {{
            my $result = $client->do_task('{function}', $workload);
            print $$result eq reverse($workload) ? "same\\n" : "different\\n";
        }}
    """)
        == ["same"] * 4
    )


def test_task_sets(client: Client, worker: Worker, function: str) -> None:
    for _ in range(2):
        worker(f"""
            $worker->register_function('{function}', sub {{ 2 * $_[0]->arg }});
            $worker->work;
        """)
    assert client(f"""
        my ($sum, $count) = (0, 0);
        my $tasks = $client->new_task_set;
        for my $n (1 .. 300) {{
            $tasks->add_task('{function}', $n, {{
                uniq => "unique $n",
                priority => (qw(high normal low))[$n % 3],
                on_complete => sub {{ $count++; $sum += ${{$_[0]}} }},
            }});
        }}
        $tasks->wait(timeout => 20);
        print "$count $sum\\n";
    """) == [f"300 {300 * 301}"]


def test_status_of_a_job(client: Client, worker: Worker, function: str, tmp_path: Path) -> None:
    (handle,) = client(f"print $client->dispatch_background('{function}', 'w');")

    def status() -> list[str]:
        return client(f"my $s = $client->get_status('{handle}'); print join ' ', $s->known, $s->running, @$s[2, 3];")

    assert status() == ["1 0 0 0"]
    running = worker(f"""
        $worker->register_function('{function}', sub {{
            $_[0]->set_status(3, 10);
            print "running\\n";
            until_exists('{tmp_path}/go');
            'done';
        }});
        $worker->work;
    """)
    running.expect_line("running")
    eventually(lambda: status() == ["1 1 3 10"], what="the status")
    (tmp_path / "go").touch()
    eventually(lambda: status() == ["0 0 0 0"], what="the end of the job")


def test_status_data_and_warning_reach_the_client(client: Client, worker: Worker, function: str) -> None:
    worker(f"""
        $worker->register_function('{function}', sub {{
            my $job = shift;
            $job->set_status(1, 4);
            $worker->send_work_data($job, 'part');
            $worker->send_work_warning($job, 'careful');
            'end';
        }});
        $worker->work;
    """)
    assert client(f"""
        $client->do_task('{function}', 'w', {{
            on_status => sub {{ print "status $_[0]/$_[1]\\n" }},
            on_data => sub {{ print "data ${{$_[0]}}\\n" }},
            on_warning => sub {{ print "warning ${{$_[0]}}\\n" }},
            on_complete => sub {{ print "complete ${{$_[0]}}\\n" }},
        }});
    """) == ["status 1/4", "data part", "warning careful", "complete end"]


def test_the_status_of_the_server(client: Client, function: str) -> None:
    assert client(f"""
        $client->dispatch_background('{function}', 'w');
        my ($row) = map {{ $_->{{'{function}'}} }} values %{{$client->get_job_server_status}};
        print "$row->{{queued}} $row->{{running}} $row->{{capable}}";
    """) == ["1 0 0"]


def test_prefix(client: Client, worker: Worker, function: str) -> None:
    code = f"$worker->register_function('{function}', sub {{ 'PREFIX ' . $_[0]->arg }}); $worker->work;"
    for prefix in ("one", "two"):
        worker(code.replace("PREFIX", prefix), f"prefix => '{prefix}'")
    for prefix in ("two", "one"):
        code = f"print ${{$client->do_task('{function}', 'w')}};"
        assert client(code, f"prefix => '{prefix}'") == [f"{prefix} w"]


def test_a_failed_job_is_tried_again_by_the_client(client: Client, worker: Worker, function: str) -> None:
    running = worker(f"""
        my $runs = 0;
        $worker->register_function('{function}', sub {{ print "ran\\n"; ++$runs < 3 ? undef : 'third' }});
        $worker->work;
    """)
    assert client(f"""
        my $result = $client->do_task('{function}', 'w', {{
            retry_count => 5,
            on_retry => sub {{ print "retry $_[0]\\n" }},
        }});
        print $$result;
    """) == ["retry 1", "retry 2", "third"]
    assert running.lines == ["ran"] * 3


def test_timeout_of_a_client(client: Client, function: str) -> None:
    assert client(f"""
        my $result = $client->do_task('{function}', 'nobody does this', {{
            timeout => 0.2,
            on_fail => sub {{ print $_[0] =~ /timeout/ ? "timeout\\n" : "fail\\n" }},
        }});
        print defined $result ? 'result' : 'nothing', "\\n";
        print $client->dispatch_background('{function}', 'goes on') ? 'goes on' : 'refused';
    """) == ["timeout", "nothing", "goes on"]


# Workers


@pytest.mark.gearstore_only  # gearmand answers ERROR to the WORK_FAIL after WORK_EXCEPTION, and the worker dies of it
@pytest.mark.parametrize("exceptions", [0, 1])
def test_die_in_a_job_leaves_the_worker_alive(
    client: Client, worker: Worker, function: str, exceptions: int, shared_server: Server
) -> None:
    running = worker(f"""
        $worker->register_function('{function}', sub {{ print "ran\\n"; die "on purpose\\n" }});
        $worker->register_function('{function}_2', sub {{ 'fine' }});
        $worker->work;
    """)
    assert client(
        f"""
        $client->do_task('{function}', 'w', {{
            on_fail => sub {{ print "fail\\n" }},
            on_exception => sub {{ print "exception ", ${{thaw($_[0])}} }},
        }});
        print ${{$client->do_task('{function}_2', 'w')}};
        """,
        f"exceptions => {exceptions}",
    ) == ["exception on purpose" if exceptions else "fail", "fine"]
    client(f"$client->dispatch_background('{function}', 'w');")
    running.expect_line("ran", times=2)
    assert client(f"print ${{$client->do_task('{function}_2', 'w')}};") == ["fine"]
    assert running.alive
    assert running.lines == ["ran", "ran"]
    shared_server.expect_workers(function, 1)


@pytest.mark.gearstore_only  # gearmand drops the connection and hands the job out again, some hundred times a second
@pytest.mark.parametrize("result", ["''", "0"])
def test_a_job_that_returns_nothing_runs_once(client: Client, worker: Worker, function: str, result: str) -> None:
    running = worker(f"""
        $worker->register_function('{function}', sub {{ print "ran\\n"; {result} }});
        $worker->register_function('{function}_2', sub {{ 'fine' }});
        $worker->work;
    """)
    assert client(f"print '<', ${{$client->do_task('{function}', 'w')}}, '>';") == ["<>"]
    client(f"$client->dispatch_background('{function}', 'w');")
    running.expect_line("ran", times=2)
    assert client(f"print ${{$client->do_task('{function}_2', 'w')}};") == ["fine"]
    assert running.lines == ["ran", "ran"]


@pytest.mark.gearstore_only  # gearmand drops the connection: the packet lacks the denominator
def test_send_work_status_without_a_denominator(client: Client, worker: Worker, function: str) -> None:
    running = worker(f"""
        $worker->register_function('{function}', sub {{
            $worker->send_work_status($_[0], 3, 10);
            print "ran\\n";
            'end';
        }});
        $worker->work;
    """)
    assert client(f"print ${{$client->do_task('{function}', 'w')}};") == ["end"]
    assert running.lines == ["ran"]


def test_unregistered_functions(client: Client, worker: Worker, function: str, shared_server: Server) -> None:
    worker(f"""
        for my $n (1 .. 3) {{ $worker->register_function("{function}_$n", sub {{ 'done' }}) }}
        my $jobs = 0;
        $worker->work(on_complete => sub {{
            ++$jobs == 1 ? $worker->unregister_function('{function}_2') : $worker->reset_abilities;
        }});
    """)

    def workers() -> list[int]:
        return [shared_server.status().get(f"{function}_{n}", (0, 0, 0))[2] for n in (1, 2, 3)]

    def registered(wanted: list[int]) -> bool:
        return workers() == wanted

    for wanted in ([1, 1, 1], [1, 0, 1], [0, 0, 0]):
        eventually(partial(registered, wanted), what=workers)
        if any(wanted):
            assert client(f"print ${{$client->do_task('{function}_1', 'w')}};") == ["done"]


def test_client_id(worker: Worker, function: str, shared_server: Server) -> None:
    worker(f"$worker->register_function('{function}', sub {{ 1 }}); $worker->work;", f"client_id => 'id-{function}'")
    row = f" {HOST} id-{function} : {function}"
    eventually(lambda: any(line.endswith(row) for line in shared_server.text("workers").split("\n")), what=row)


def test_the_job_of_a_killed_worker_goes_to_another_one(
    client: Client, worker: Worker, function: str, tmp_path: Path
) -> None:
    code = f"""
        $worker->register_function('{function}', sub {{ print $_[0]->handle, "\\n"; until_exists('{tmp_path}/go') }});
        $worker->work;
    """
    first = worker(code)
    (handle,) = client(f"print $client->dispatch_background('{function}', 'w');")
    first.expect_line(handle_of(handle))
    second = worker(code)
    first.kill()
    second.expect_line(handle_of(handle))
