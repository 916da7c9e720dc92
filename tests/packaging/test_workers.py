"""Workers as services: gearstore-worker@.service, and the example for a PHP script."""

from tests.packaging.box import ROOT, Box


def write_worker(box: Box, name: str, functions: str, command: str, *further: str) -> None:
    """Write the file that gearstore-worker@NAME reads."""
    lines = "\n".join([f"FUNCTIONS={functions}", f"COMMAND={command}", *further])
    box.sh(f"cat >/etc/gearstore/workers/{name}.env <<'END'\n{lines}\nEND")


def test_it_starts_runs_jobs_and_logs_to_the_journal(box: Box) -> None:
    write_worker(box, "w", "upper lower", """/bin/sh -c 'echo "in hand" >&2; tr a-z A-Z'""", "GEARSTORE_PARALLEL=2")
    box.sh("systemctl enable --now gearstore-worker@w")
    assert box.sh("gearstore submit --wait upper hello; gearstore submit --wait lower hello") == "HELLOHELLO"
    assert box.status() == ["lower\t0\t0\t2", "upper\t0\t0\t2"]
    box.expect_journal("in hand", "gearstore-worker@w")
    user = box.sh("ps -o user= -p $(systemctl show -P MainPID gearstore-worker@w)")
    assert user not in ("root", "_gearstore")
    # At the next boot as well.
    box.cut_power()
    box.started()
    assert box.sh("gearstore submit --wait upper again") == "AGAIN"


def test_it_survives_the_servers_restart(box: Box) -> None:
    write_worker(box, "w", "f", "/bin/cat")
    box.sh("systemctl start gearstore-worker@w")
    pid = box.show("MainPID", "gearstore-worker@w")
    box.sh("systemctl restart gearstore")
    box.started()
    handle = box.sh("gearstore submit f workload")
    box.until(f"gearstore show {handle} | grep -w done")
    assert box.show("MainPID", "gearstore-worker@w") == pid


def test_a_job_that_fails_leaves_its_words_in_the_journal(box: Box) -> None:
    write_worker(box, "w", "f", "/bin/ls /nowhere")
    box.sh("systemctl start gearstore-worker@w")
    handle = box.sh("gearstore submit f workload")
    box.until("gearstore jobs --state failed | grep fail")
    assert "cannot access '/nowhere'" in box.sh(f"gearstore show {handle}")
    box.expect_journal("cannot access '/nowhere'", "gearstore-worker@w")
    box.expect_journal(f"{handle} f failed", "gearstore-worker@w")


def test_it_does_not_die_for_good_however_often_it_fails(box: Box) -> None:
    """Users' units with StartLimitBurst=3 do."""
    write_worker(box, "w", "f", "/bin/cat")
    box.sh("mkdir -p /run/systemd/system/gearstore-worker@.service.d")
    box.sh("printf '[Service]\\nRestartSec=0.1\\n' >/run/systemd/system/gearstore-worker@.service.d/quick.conf")
    box.sh("systemctl daemon-reload; systemctl start gearstore-worker@w")
    for number in range(1, 9):
        box.until("[ $(systemctl show -P SubState gearstore-worker@w) = running ]")
        box.sh("systemctl kill -s KILL gearstore-worker@w")
        box.until(f"[ $(systemctl show -P NRestarts gearstore-worker@w) = {number} ]")
    assert box.sh("gearstore submit --wait f workload") == "workload"


def test_a_stop_lets_the_job_at_hand_end(box: Box) -> None:
    write_worker(box, "w", "f", "/bin/sh -c 'until test -e /run/go; do sleep 0.1; done; echo result'")
    box.sh("systemctl start gearstore-worker@w")
    handle = box.sh("gearstore submit f workload")
    box.until("gearstore status | grep -P 'f\\t1\\t1\\t1'")
    box.sh("systemctl stop --no-block gearstore-worker@w")
    box.expect_journal("finishing the jobs at hand", "gearstore-worker@w")
    box.sh("touch /run/go")
    box.until("[ $(systemctl show -P ActiveState gearstore-worker@w) = inactive ]")
    assert "done" in box.sh(f"gearstore show {handle}")


def test_a_worker_that_nobody_described_is_refused(box: Box) -> None:
    box.fails("systemctl start gearstore-worker@nobody")
    box.expect_journal("asserts failed", "gearstore-worker@nobody")
    assert box.show("NRestarts", "gearstore-worker@nobody") == {"NRestarts": "0"}


def test_as_another_user_it_can_do_what_that_user_can(box: Box) -> None:
    write_worker(box, "w", "f", "/bin/sh -c 'id -un; touch /var/tmp/shared; grep NoNewPrivs /proc/self/status'")
    folder = "/etc/systemd/system/gearstore-worker@w.service.d"
    box.sh(f"mkdir -p {folder}; printf '[Service]\\nDynamicUser=no\\nUser=www-data\\n' >{folder}/user.conf")
    box.sh("systemctl daemon-reload; systemctl start gearstore-worker@w")
    assert box.sh("gearstore submit --wait f workload") == "www-data\nNoNewPrivs:\t0"
    assert box.sh("stat -c %U /var/tmp/shared") == "www-data"


def test_the_example_of_a_php_worker(box: Box) -> None:
    box.sh("apt-get install -y -q php-cli php-gearman")
    worker = (ROOT / "tests/acceptance/scripts/guide_worker.php").read_text()
    client = (ROOT / "tests/acceptance/scripts/guide_client.php").read_text()
    box.sh(f"mkdir -p /srv/app; cat >/srv/app/gearman-worker.php <<'END'\n{worker}\nEND")
    box.sh(f"cat >client.php <<'END'\n{client}\nEND")
    box.sh("cp /usr/share/doc/gearstore/examples/monworker.service /etc/systemd/system")
    box.sh("systemctl daemon-reload; systemctl enable --now monworker")
    box.sh("php client.php")
    box.until("gearstore jobs --state done | grep fonctionJob")
    box.sh("systemctl restart gearstore")
    box.started()
    box.sh("php client.php")
    box.until("[ $(gearstore jobs --state done --json | grep -c fonctionJob) = 2 ]")
    # libgearman's worker ends or goes on when its server restarts; either way it is there.
    assert box.sh("systemctl is-active monworker") == "active"
