"""scripts/together: commands that run at the same time and are read one after the other."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.servers import eventually

TOGETHER = Path(__file__).parent.parent / "scripts/together"
UNTIL_CTRL_C = "tail -f /dev/null & trap 'kill $!; echo {0} ended; exit {1}' INT; touch {0}; wait"

pytestmark = pytest.mark.skipif(not TOGETHER.exists(), reason="not run from a checkout")


def start(folder: Path, *commands: str) -> subprocess.Popen[str]:
    """Start commands in a folder."""
    return subprocess.Popen(
        [TOGETHER, *commands], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def test_they_run_at_the_same_time_and_are_shown_in_their_order(tmp_path: Path) -> None:
    first = "echo a; until [ -e second ]; do :; done; echo b"
    second = "echo c; touch second; until [ -e third ]; do :; done; echo d >&2"
    third = "echo e; touch third"
    run = start(tmp_path, first, second, third)
    assert run.communicate(timeout=60) == ("a\nb\nc\nd\ne\n", None)
    assert run.returncode == 0


@pytest.mark.parametrize(
    ("codes", "code"), [((0, 0), 0), ((2, 0), 2), ((0, 3), 3), ((0, 3, 4), 3), ((5, 3, 0), 5), ((1,), 1)]
)
def test_the_first_that_failed_says_how_it_ends(tmp_path: Path, codes: tuple[int, ...], code: int) -> None:
    run = start(tmp_path, *(f"exit {each}" for each in codes))
    assert run.communicate(timeout=60) == ("", None)
    assert run.returncode == code


def test_ctrl_c_lets_all_of_them_end_in_order(tmp_path: Path) -> None:
    run = start(tmp_path, UNTIL_CTRL_C.format("a", 4), UNTIL_CTRL_C.format("b", 5))
    eventually(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=60) == ("a ended\nb ended\n", None)
    assert run.returncode == 4
