"""The Python clients on PyPI that still run: gear, aiogear and python3-gearman."""

from tests.acceptance import languages
from tests.acceptance.library import TEXTS, Calls, LibraryTests

ASCII = (b"abc", b"a\0b\0", b"", b"x" * 70_000)


class TestGear(LibraryTests):
    load = staticmethod(languages.python)
    name = "gear"
    client_id = "gear-worker"
    progress_at_client = b"partcarefulend"  # it keeps warnings with the data

    def test_client_sees_the_exception(self, calls: Calls) -> None:
        calls.reference_worker("exception")
        done = calls.run(calls.library, ["fg"], b"w", {})
        assert (done.returncode, done.stderr) == (1, b"exception why\n")


class TestAiogear(LibraryTests):
    load = staticmethod(languages.python)
    name = "aiogear"
    client_workloads = tuple(text for text in TEXTS if b"\0" not in text)  # it splits a result at every NUL
    worker_workloads = TEXTS  # it reads workloads as UTF-8
    progress_at_client = b"end"  # it drops WORK_DATA unless one waits for it
    test_worker_progress = None  # type: ignore[assignment]
    # Its workers can only raise.
    test_worker_fail = None  # type: ignore[assignment]


class TestPython3Gearman(LibraryTests):
    load = staticmethod(languages.python)
    name = "python3-gearman"
    client_id = "python3-gearman-worker"
    client_workloads = ASCII  # it counts characters where the header wants bytes
    worker_workloads = ASCII
    progress_at_client = b"end"  # it keeps WORK_DATA apart from the result
    # It reports an exception as WORK_FAIL.
    test_worker_exception = None  # type: ignore[assignment]
