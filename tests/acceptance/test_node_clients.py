"""The Node clients on npm: gearman, node-gearman, gearmanode and abraxas."""

import pytest

from tests.acceptance import languages
from tests.acceptance.library import TEXTS, Calls, LibraryTests


class TestGearman(LibraryTests):
    load = staticmethod(languages.node)
    name = "gearman"
    client_id = "node-gearman-worker"


class TestNodeGearman(LibraryTests):
    load = staticmethod(languages.node)
    name = "node-gearman"
    background_suffix = b"\0"  # it ends the workload of a background job with a NUL of its own
    progress_of_worker = ("data part", "complete end")  # its workers know data and the end only
    test_client_status = None  # type: ignore[assignment]
    test_worker_exception = None  # type: ignore[assignment]


class TestGearmanode(LibraryTests):
    load = staticmethod(languages.node)
    name = "gearmanode"
    client_id = "gearmanode-worker"
    worker_workloads = TEXTS  # it turns results into text


class TestAbraxas(LibraryTests):
    load = staticmethod(languages.node)
    name = "abraxas"
    client_id = "abraxas-worker"
    progress_of_worker = ("status 25/100", "warning careful", "complete end")  # data only to a server of its own
    # Its getStatus() never calls back on today's Node.
    test_client_status = None  # type: ignore[assignment]
    # It fails by exceptions only.
    test_worker_fail = None  # type: ignore[assignment]

    @pytest.mark.gearstore_only  # its worker sends WORK_FAIL after WORK_EXCEPTION, and dies of gearmand's ERROR
    def test_worker_exception(self, calls: Calls) -> None:
        super().test_worker_exception(calls)
