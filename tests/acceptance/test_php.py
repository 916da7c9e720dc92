"""php-gearman as client and as worker: each call that talks to the server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Spawn
from tests.acceptance.servers import HOST, Running, Server, eventually, printed

CLIENT = "$client = new GearmanClient(); $client->addServer('127.0.0.1', {port});\n"
WORKER = """
set_error_handler(function ($level, $text) {{ return true; }});  // a server that ends is not the script's error
function until($file) {{ while (!file_exists($file)) usleep(1000); }}
$worker = new GearmanWorker(); $worker->addServer('127.0.0.1', {port});
"""

Client = Callable[[str], list[str]]
Worker = Callable[[str], Running]


@pytest.fixture
def client(php: str, shared_server: Server) -> Client:
    """Run PHP code that has a connected $client, and return the lines it printed."""
    return lambda code: lines(printed([php, "-r", CLIENT.format(port=shared_server.port) + code]))


@pytest.fixture
def worker(php: str, shared_server: Server, spawn: Spawn) -> Worker:
    """Start PHP code that has a connected $worker."""
    return lambda code: spawn(php, "-r", WORKER.format(port=shared_server.port) + code)


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


# Clients


def test_background_jobs_in_order_of_priority(client: Client, worker: Worker, function: str) -> None:
    handles = client(f"""
        foreach (['Low', '', 'High'] as $priority)
            foreach ([1, 2] as $n)
                echo $client->{{"do{{$priority}}Background"}}('{function}', "$priority$n"), "\\n";
    """)
    assert len(set(handles)) == 6
    assert all(handle.startswith("H:") for handle in handles)

    running = worker(f"""
        $worker->addFunction('{function}', function ($job) {{ echo $job->handle(), ' ', $job->workload(), "\\n"; }});
        while ($worker->work());
    """)
    low, normal, high = handles[0:2], handles[2:4], handles[4:6]
    wanted = [f"{high[0]} High1", f"{high[1]} High2", f"{normal[0]} 1", f"{normal[1]} 2", f"{low[0]} Low1"]
    running.expect_line(f"{low[1]} Low2")
    assert running.lines == [*wanted, f"{low[1]} Low2"]


@pytest.mark.parametrize("call", ["doNormal", "doHigh", "doLow"])
def test_foreground(client: Client, worker: Worker, function: str, call: str) -> None:
    worker(f"""
        $worker->addFunction('{function}', fn ($job) => strrev($job->workload()));
        while ($worker->work());
    """)
    assert (
        client(f"""
        foreach (['abc', "a\\0b", 'été', str_repeat('x', 500000) . 'y'] as $workload) {{
            $result = $client->{call}('{function}', $workload);
            echo $client->returnCode(), ' ', var_export($result === strrev($workload), true), "\\n";
        }}
    """)
        == ["0 true"] * 4
    )


def test_many_tasks(client: Client, worker: Worker, function: str) -> None:
    for _ in range(2):
        worker(f"""
            $worker->addFunction('{function}', fn ($job) => 2 * $job->workload());
            while ($worker->work());
        """)
    assert client(f"""
        $sum = $created = 0;
        $client->setCreatedCallback(function ($task) use (&$created) {{ $created++; }});
        $client->setCompleteCallback(function ($task) use (&$sum) {{ $sum += $task->data(); }});
        $add = ['addTask', 'addTaskHigh', 'addTaskLow'];
        for ($n = 1; $n <= 600; $n++)
            $client->{{$add[$n % 3]}}('{function}', $n, null, "unique $n");
        var_dump($client->runTasks());
        echo "$created $sum";
    """) == ["bool(true)", f"600 {600 * 601}"]


def test_background_tasks(client: Client, worker: Worker, function: str, shared_server: Server) -> None:
    assert client(f"""
        $handles = [];
        $client->setCreatedCallback(function ($task) use (&$handles) {{ $handles[$task->jobHandle()] = 1; }});
        foreach (['addTaskBackground', 'addTaskHighBackground', 'addTaskLowBackground'] as $add)
            for ($n = 0; $n < 50; $n++)
                $client->$add('{function}', $n);
        var_dump($client->runTasks());
        echo count($handles);
    """) == ["bool(true)", "150"]
    assert shared_server.status()[function] == (150, 0, 0)
    worker(f"$worker->addFunction('{function}', fn ($job) => null); while ($worker->work());")
    shared_server.expect_status(function, 0, 0, 1)


def test_status_of_a_job(client: Client, worker: Worker, function: str, tmp_path: Path) -> None:
    (handle,) = client(f"echo $client->doBackground('{function}', 'w', 'key of {function}');")
    status = f"echo json_encode($client->jobStatus('{handle}'));"
    by_unique = f"echo json_encode($client->jobStatusByUniqueKey('key of {function}'));"
    assert client(status) == client(by_unique) == ["[true,false,0,0]"]

    running = worker(f"""
        $worker->addFunction('{function}', function ($job) {{
            $job->sendStatus(3, 10);
            echo "running\\n";
            until('{tmp_path}/go');
        }});
        while ($worker->work());
    """)
    running.expect_line("running")
    eventually(lambda: client(status) == ["[true,true,3,10]"], what="the status in jobStatus")
    assert client(by_unique) == ["[true,true,3,10]"]
    assert client(f"""
        $client->setStatusCallback(function ($t) {{
            echo json_encode([$t->isKnown(), $t->isRunning(), $t->taskNumerator(), $t->taskDenominator()]);
        }});
        $client->addTaskStatus('{handle}');
        $client->runTasks();
    """) == ["[true,true,3,10]"]

    (tmp_path / "go").touch()
    eventually(lambda: client(status) == ["[false,false,0,0]"], what="the end of the job")
    assert client(by_unique) == ["[false,false,0,0]"]


def test_the_same_unique_is_the_same_job(client: Client, function: str, shared_server: Server) -> None:
    handles = client(f"""
        foreach (['one', 'two', 'one'] as $unique) echo $client->doBackground('{function}', 'w', $unique), "\\n";
    """)
    assert handles[0] == handles[2] != handles[1]
    assert shared_server.status()[function] == (2, 0, 0)


def test_timeout_of_a_client(client: Client, function: str) -> None:
    assert client(f"""
        $client->setTimeout(100);
        $result = @$client->doNormal('{function}', 'nobody does this');
        echo var_export($result, true), ' ', $client->returnCode() === GEARMAN_TIMEOUT ? 'timeout' : '', "\\n";
        $client->setTimeout(-1);
        echo substr($client->doBackground('{function}', 'goes on'), 0, 2), ' ', $client->returnCode();
    """) == ["'' timeout", "H: 0"]


def test_ping(client: Client) -> None:
    assert client("foreach (['x', str_repeat('long', 1000)] as $text) var_dump($client->ping($text));") == [
        "bool(true)",
        "bool(true)",
    ]


def test_a_full_queue_is_an_error_and_the_connection_goes_on(
    client: Client, function: str, shared_server: Server
) -> None:
    client(f"$client->doBackground('{function}', 'first');")
    assert shared_server.text(f"maxqueue {function} 1") == "OK\r\n"
    assert client(f"""
        echo json_encode(@$client->doBackground('{function}', 'second')), ' ', $client->returnCode(), "\\n";
        echo substr($client->doBackground('{function}_other', 'third'), 0, 2), ' ', $client->returnCode();
    """) == ['"" 42', "H: 0"]
    assert shared_server.status()[function] == (1, 0, 0)


# Reports of a worker


def test_status_data_and_warning_reach_the_client(client: Client, worker: Worker, function: str) -> None:
    worker(f"""
        $worker->addFunction('{function}', function ($job) {{
            $job->sendStatus(1, 4);
            $job->sendData('part;');
            $job->sendWarning('careful;');
            return 'end';
        }});
        while ($worker->work());
    """)
    assert client(f"""
        $client->setStatusCallback(function ($t) {{
            echo 'status ', $t->taskNumerator(), '/', $t->taskDenominator(), "\\n";
        }});
        $client->setDataCallback(function ($t) {{ echo 'data ', $t->data(), "\\n"; }});
        $client->setWarningCallback(function ($t) {{ echo 'warning ', $t->data(), "\\n"; }});
        $client->setCompleteCallback(function ($t) {{ echo 'complete ', $t->data(), "\\n"; }});
        $client->addTask('{function}', 'w');
        var_dump($client->runTasks());
    """) == ["status 1/4", "data part;", "warning careful;", "complete end", "bool(true)"]


@pytest.mark.parametrize(
    ("report", "wanted", "code"),
    [("$job->sendFail();", "fail.", 24), ("$job->sendException('why');", "exception why.", 23)],
    ids=["fail", "exception"],
)
def test_a_job_that_does_not_succeed(
    client: Client, worker: Worker, function: str, report: str, wanted: str, code: int
) -> None:
    running = worker(f"""
        $worker->addFunction('{function}', function ($job) {{ echo "ran\\n"; {report} }});
        while (true) @$worker->work();
    """)
    assert client(f"""
        $client->setFailCallback(function ($t) {{ echo 'fail', $t->data(), '.'; }});
        $client->setExceptionCallback(function ($t) {{ echo 'exception ', $t->data(), '.'; }});
        $client->addTask('{function}', 'w');
        @$client->runTasks();
    """) == [wanted]
    assert client(f"""
        echo json_encode(@$client->doNormal('{function}', 'w')), ' ', $client->returnCode();
    """) == [f'"" {code}']
    assert running.lines == ["ran", "ran"], "a failed job is not tried again"


def test_the_job_of_a_killed_worker_goes_to_another_one(
    client: Client, worker: Worker, function: str, tmp_path: Path
) -> None:
    code = f"""
        $worker->addFunction('{function}', function ($job) {{ echo $job->handle(), "\\n"; until('{tmp_path}/go'); }});
        while ($worker->work());
    """
    first = worker(code)
    (handle,) = client(f"echo $client->doBackground('{function}', 'w');")
    first.expect_line(handle)
    second = worker(code)
    first.kill()
    second.expect_line(handle)


def test_a_function_with_a_timeout(client: Client, worker: Worker, function: str, shared_server: Server) -> None:
    slow = worker(f"""
        $context = null;
        $slow = function ($job) {{ echo $job->handle(), "\\n"; sleep(60); }};
        $worker->addFunction('{function}', $slow, $context, 1000);
        while ($worker->work());
    """)
    (handle,) = client(f"echo $client->doBackground('{function}', 'w');")
    slow.expect_line(handle)
    fast = worker(f"""
        $worker->addFunction('{function}', function ($job) {{ echo $job->handle(), "\\n"; }});
        while ($worker->work());
    """)
    shared_server.expect_workers(function, 2)
    fast.expect_line(handle)
    shared_server.expect_status(function, 0, 0, 2)


# Life of a worker


def test_identity_and_registrations_of_a_worker(worker: Worker, function: str, shared_server: Server) -> None:
    running = worker(f"""
        $worker->setId('worker-of-{function}');
        $worker->addFunction('{function}', fn ($job) => null);
        $worker->register('{function}_2', 60);
        $worker->setTimeout(20);
        $unregistered = false;
        while (true) {{
            @$worker->work();
            if (!$unregistered && file_exists('unregister')) $unregistered = $worker->unregister('{function}_2');
            if (file_exists('unregister_all')) {{ $worker->unregisterAll(); @$worker->work(); sleep(60); }}
        }}
    """)
    row = f" {HOST} worker-of-{function} : {function} {function}_2"
    eventually(lambda: any(line.endswith(row) for line in shared_server.text("workers").split("\n")), what=row)
    folder = running.output_path.parent
    (folder / "unregister").touch()
    shared_server.expect_workers(f"{function}_2", 0)
    shared_server.expect_workers(function, 1)
    (folder / "unregister_all").touch()
    shared_server.expect_workers(function, 0)


def test_a_worker_with_a_timeout_works_on(client: Client, worker: Worker, function: str) -> None:
    running = worker(f"""
        $worker->addFunction('{function}', fn ($job) => 'done');
        $worker->setTimeout(20);
        while (true) if (!@$worker->work() && $worker->returnCode() === GEARMAN_TIMEOUT) echo "timeout\\n";
    """)
    running.expect_line("timeout", times=3)
    assert client(f"echo $client->doNormal('{function}', 'w');") == ["done"]
    running.expect_line("timeout", times=len(running.lines) + 3)


def test_ping_of_a_worker(worker: Worker) -> None:
    running = worker("var_dump($worker->ping('text'));")
    assert (running.wait(), running.lines) == (0, ["bool(true)"])


def test_functions_are_served_in_the_order_they_were_added(
    client: Client, worker: Worker, function: str, shared_server: Server
) -> None:
    client(f"""
        foreach (['b', 'a', 'c'] as $name)
            foreach ([1, 2] as $n)
                $client->doBackground('{function}_' . $name, "$name$n");
    """)
    running = worker(f"""
        foreach (['a', 'b', 'c'] as $name)
            $worker->addFunction('{function}_' . $name, function ($job) {{ echo $job->workload(), "\\n"; }});
        while ($worker->work());
    """)
    running.expect_line("c2")
    assert running.lines == ["a1", "a2", "b1", "b2", "c1", "c2"]
