"""Client and worker for any Gearman server: asyncio here, for scripts that block in `gearstore.client.blocking`.

Only what this module names is public. It is loaded when it is first used: asyncio takes a while, and the command line
can do without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gearstore.client.client import Client
    from gearstore.client.core import Handle, JobStatus, Priority
    from gearstore.client.errors import (
        ClientError,
        GiveBack,
        JobException,
        JobFailed,
        NotGearstore,
        Refused,
        Uncertain,
        Unreachable,
    )
    from gearstore.client.job import Job, JobData, JobProgress, JobWarning
    from gearstore.client.worker import Worker
    from gearstore.client.worker_job import ThreadJob, WorkerJob

__all__ = [
    "Client",
    "ClientError",
    "GiveBack",
    "Handle",
    "Job",
    "JobData",
    "JobException",
    "JobFailed",
    "JobProgress",
    "JobStatus",
    "JobWarning",
    "NotGearstore",
    "Priority",
    "Refused",
    "ThreadJob",
    "Uncertain",
    "Unreachable",
    "Worker",
    "WorkerJob",
]

_HOMES = {
    "client": ("Client",),
    "core": ("Handle", "JobStatus", "Priority"),
    "errors": (
        "ClientError",
        "GiveBack",
        "JobException",
        "JobFailed",
        "NotGearstore",
        "Refused",
        "Uncertain",
        "Unreachable",
    ),
    "job": ("Job", "JobData", "JobProgress", "JobWarning"),
    "worker": ("Worker",),
    "worker_job": ("ThreadJob", "WorkerJob"),
}


def __getattr__(name: str) -> object:
    """Load a public name."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"gearstore.client.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
