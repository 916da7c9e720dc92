"""The life of the package on a Debian: install, upgrade, remove, purge."""

import json
import re
from pathlib import Path

from tests.packaging.box import ROOT, Box

INSTALL = "apt-get install -y -q /mnt/gearstore_*.deb"
OLDER = "apt-get install -y -q --allow-downgrades -o Dpkg::Options::=--force-confold /mnt/older.deb"
NEWER = "apt-get install -y -q -o Dpkg::Options::=--force-confold /mnt/gearstore_*.deb"


def handles(box: Box) -> list[str]:
    """Return the handles of all jobs that the server knows."""
    jobs = box.sh("gearstore jobs --limit 1000000 --json").splitlines()
    return sorted(json.loads(job)["handle"] for job in jobs)


def test_a_new_install(empty_box: Box) -> None:
    box = empty_box
    box.sh(INSTALL)
    assert box.sh("dpkg --verify gearstore; dpkg --audit") == ""
    # Up without a further word.
    box.started()
    assert box.sh("systemctl is-enabled gearstore") == "enabled"
    assert box.sh("systemctl --failed --no-legend") == ""
    # It works.
    handle = box.sh("gearstore submit reverse hello")
    box.sh("gearstore work -c 1 reverse -- rev")
    assert "done" in box.sh(f"gearstore show {handle}")
    # What a user of gearmand's package knows.
    assert box.sh("systemctl is-active gearman-job-server.service") == "active"
    assert box.sh("systemctl show -P Id gearman-job-server.service") == "gearstore.service"
    # No uvloop was installed: it is only recommended.
    box.fails("python3 -c 'import uvloop'")


def test_as_whom_and_where_it_runs(box: Box) -> None:
    pid = box.show("MainPID")["MainPID"]
    status = box.sh(f"cat /proc/{pid}/status")
    assert box.sh(f"stat -c %U /proc/{pid}") == "_gearstore"
    assert re.search(r"^CapBnd:\t0+$", status, re.M)
    assert re.search(r"^CapEff:\t0+$", status, re.M)
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    assert box.sh("stat -c '%U %a' /var/lib/gearstore /run/gearstore") == "_gearstore 750\n_gearstore 755"
    assert box.sh("find /var/lib/gearstore -type f -perm /037") == ""
    listens = box.sh("ss -Hltn | awk '{print $4}' | sort")
    assert listens.splitlines() == ["127.0.0.1:4730", "[::1]:4730"]
    assert box.sh("dpkg -L gearstore | xargs -d '\\n' stat -c '%A %n' | grep -E '^-.{1,8}[sStT]|^-.{7}w' || true") == ""
    assert box.sh("systemd-analyze verify --man=no gearstore.service gearstore-worker@x.service gearstore.socket 2>&1 "
                  "| grep gearstore || true") == ""  # fmt: skip


def test_the_sandbox_is_as_tight_as_the_readme_says(box: Box) -> None:
    overall = box.sh("systemd-analyze security --no-pager gearstore.service | tail -n 1")
    (exposure,) = re.findall(r"level for gearstore.service: ([0-9.]+)", overall)
    assert float(exposure) <= 2.0
    assert f"`systemd-analyze security gearstore` says {exposure}," in (ROOT / "README.md").read_text()


def test_the_documents_are_where_the_units_say(box: Box) -> None:
    for unit in ("gearstore.service", "gearstore.socket", "gearstore-worker@x.service"):
        for page, section in re.findall(r"man:([\w.-]+)\((\d)\)", box.show("Documentation", unit)["Documentation"]):
            box.sh(f"gzip -t /usr/share/man/man{section}/{page}.{section}.gz")
    box.sh("bash -n /usr/share/bash-completion/completions/gearstore")
    assert box.sh("gearstore config check --config /etc/gearstore/gearstore.toml") == "ok"


def test_the_configuration_file_shows_everything_and_sets_nothing(box: Box) -> None:
    assert box.sh("gearstore config sample | diff - /etc/gearstore/gearstore.toml") == ""
    assert box.sh("grep -c '^#port = 4730' /etc/gearstore/gearstore.toml") == "1"
    assert "/etc/gearstore" not in box.sh("gearstore config show")


def test_autopkgtest(box: Box) -> None:
    box.sh("mkdir /root/tests")
    for script in (ROOT / "packaging/debian/tests").iterdir():
        if script.name != "control":
            box.sh(f"cat >test <<'END'\n{script.read_text()}\nEND\nchmod +x test; ./test")


def test_an_upgrade_keeps_a_full_queue_and_lets_running_jobs_end(box: Box) -> None:
    box.sh(OLDER)
    box.started()
    box.sh("gearstore submit --count 5000 full workload >/dev/null")
    box.sh("gearstore submit long workload >handle")
    box.sh(
        "systemd-run -q -u worker gearstore work long -- sh -c 'until test -e /run/go; do sleep 0.1; done; echo done'"
    )
    box.until("gearstore status | grep -P '^long\\t1\\t1\\t1'")
    before, pid = handles(box), box.show("MainPID")
    box.sh(f"systemd-run -q -u upgrade {NEWER}")
    box.expect_journal("stopping; 1 jobs run")
    box.sh("touch /run/go")
    box.until("[ $(systemctl show -P SubState upgrade) = dead ] && [ $(systemctl show -P Result upgrade) = success ]")
    box.started()
    assert box.sh("dpkg-query -W -f '${Version}' gearstore") == box.sh("dpkg-deb -f /mnt/gearstore_*.deb Version")
    assert box.show("MainPID") != pid
    assert handles(box) == before and len(before) == 5001
    assert "done" in box.sh('gearstore show "$(cat handle)"')
    # The worker has waited for the new server.
    box.until("gearstore status | grep -P '^long\\t0\\t0\\t1'")


def test_what_an_administrator_has_changed_stays(box: Box) -> None:
    box.sh(OLDER)
    box.sh("echo 'job_retries = 3' >>/etc/gearstore/gearstore.toml")
    box.sh("systemctl disable --now gearstore")
    box.sh(NEWER)
    assert box.sh("tail -n 1 /etc/gearstore/gearstore.toml") == "job_retries = 3"
    assert box.fails("systemctl is-enabled gearstore") == "disabled"
    assert box.fails("systemctl is-active gearstore") == "inactive"


def test_remove_keeps_the_queue_and_reinstalling_goes_on_with_it(box: Box) -> None:
    box.sh("gearstore submit --count 3 f workload")
    before = handles(box)
    box.sh("systemctl stop gearstore && systemctl enable --now gearstore.socket && systemctl start gearstore")
    box.sh("apt-get remove -y -q gearstore")
    assert box.sh("ss -Hltn") == ""
    assert box.sh("find /proc -maxdepth 1 -name '[0-9]*' -user _gearstore") == ""
    assert box.sh("find /usr/lib/python3 -path '*gearstore*'") == ""
    assert box.sh("ls /var/lib/gearstore/gearstore.db") and box.sh("ls /etc/gearstore/gearstore.toml")
    box.sh(INSTALL)
    box.started()
    assert handles(box) == before


def test_purge_leaves_nothing_once_every_job_has_ended(box: Box) -> None:
    box.sh("gearstore submit f workload; gearstore work -c 1 f -- cat")
    box.sh("gearstore submit f workload; gearstore work -c 1 f -- false")
    box.sh("systemctl stop gearstore && systemctl enable --now gearstore.socket && systemctl start gearstore")
    printf = "printf 'FUNCTIONS=f\\nCOMMAND=/bin/cat\\n' >/etc/gearstore/workers/x.env"
    box.sh(f"{printf}; systemctl enable --now gearstore-worker@x; rm /etc/gearstore/workers/x.env")
    box.sh("mkdir /etc/systemd/system/gearstore.service.d; touch /etc/systemd/system/gearstore.service.d/override.conf")
    said = box.sh("apt-get purge -y -q gearstore 2>&1")
    assert "have not ended" not in said
    assert box.sh("find / -xdev -name '*gearstore*' -not -path '/var/cache/*' -not -path '/var/log/*' "
                  "-not -path '/var/lib/apt/*' -not -path '/run/*' -not -path '/root/*'") == ""  # fmt: skip
    assert box.sh("find /etc/systemd /run/systemd/system /var/lib/systemd -name '*gear*'") == ""
    assert box.sh("systemctl --failed --no-legend") == ""
    box.fails("dpkg -s gearstore")


def test_purge_leaves_a_queue_with_unfinished_jobs_and_says_where(box: Box) -> None:
    box.sh("gearstore submit --count 2 f workload; gearstore submit --in 1h later workload")
    before = handles(box)
    said = box.sh("apt-get purge -y -q gearstore 2>&1")
    assert "3 jobs in /var/lib/gearstore/gearstore.db have not ended, so /var/lib/gearstore stays" in said
    assert "rm -r /var/lib/gearstore" in said
    box.sh(INSTALL)
    box.started()
    assert handles(box) == before


def test_purge_after_a_crash_knows_what_was_in_the_log_only(box: Box) -> None:
    box.sh("gearstore submit f workload")
    box.sh("systemctl kill -s KILL gearstore; systemctl stop gearstore")
    assert "1 jobs in /var/lib/gearstore" in box.sh("apt-get purge -y -q gearstore 2>&1")


def test_purge_where_nothing_is_left_to_remove(box: Box) -> None:
    box.sh("systemctl stop gearstore; rm -rf /var/lib/gearstore /etc/gearstore")
    box.sh("apt-get purge -y -q gearstore")


def test_an_install_where_no_service_may_be_started(empty_box: Box) -> None:
    box = empty_box
    box.sh("printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod +x /usr/sbin/policy-rc.d")
    box.sh(INSTALL)
    assert box.fails("systemctl is-active gearstore") == "inactive"
    box.sh("apt-get purge -y -q gearstore")


def test_it_takes_the_place_of_gearman_job_server(empty_box: Box, package: Path) -> None:
    box = empty_box
    box.sh("apt-get install -y -q gearman-job-server; systemctl is-active gearman-job-server")
    said = box.sh(f"{INSTALL} 2>&1")
    assert "The following packages will be REMOVED:\n  gearman-job-server" in said
    assert "/etc/default/gearman-job-server are gearmand's and are not read" in said
    box.started()
    # Users' units that name gearmand's service mean ours now, also after gearmand's own remains are purged.
    assert box.sh("systemctl show -P Id gearman-job-server") == "gearstore.service"
    box.sh("apt-get purge -y -q gearman-job-server")
    box.sh("systemctl restart gearman-job-server")
    box.started()
    assert box.sh("systemctl --failed --no-legend") == ""
