"""What a server's peers know at a moment, and whether a database keeps to it."""

from __future__ import annotations

import json
from struct import Struct

from gearstore.protocol.packets import ERROR, JOB_ASSIGN_UNIQ, JOB_CREATED
from gearstore.queue.job import CANCELLED, DONE, FAILED, QUEUED, JobState
from gearstore.queue.record import Record
from tests.powercut.recording import Event
from tests.powercut.workload import Plan, is_to_fail

HEADER = Struct(">4sII")


class Known:
    """What was sent to all peers so far."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.planned = {workload for workloads in plan.clients.values() for workload in workloads}
        self.acknowledged: dict[bytes, bytes] = {}  # handle -> workload
        self.order: dict[int, list[bytes]] = {}  # port -> handles
        self.refused: set[bytes] = set()  # workloads
        self.ended: dict[bytes, set[JobState]] = {}  # by handles of which a worker or an operator knows the end
        self.last_number = 0
        self._buffers: dict[int, bytearray] = {}
        self._answered: dict[int, int] = {}
        self._has: dict[int, tuple[bytes, bytes]] = {}  # what a worker is at

    def take(self, event: Event) -> None:
        """Take note of what was sent to a peer."""
        port, plan = event.id, self.plan
        buffer = self._buffers.setdefault(port, bytearray())
        buffer += event.data
        if port in plan.operators:
            while (end := buffer.find(b"\n")) >= 0:
                self._told(bytes(buffer[:end]))
                del buffer[: end + 1]
            return
        while len(buffer) >= HEADER.size and len(buffer) >= HEADER.size + HEADER.unpack_from(buffer)[2]:
            _, kind, size = HEADER.unpack_from(buffer)
            body = bytes(buffer[HEADER.size : HEADER.size + size])
            del buffer[: HEADER.size + size]
            if port in plan.clients:
                self._submitted(port, kind, body)
            elif port in plan.workers:
                self._worked(port, kind, body)
            elif kind == JOB_CREATED:
                self._number(body)

    def _told(self, line: bytes) -> None:
        if line.startswith(b"{") and (job := json.loads(line)).get("state") == "cancelled":
            self.ended[job["handle"].encode()] = {CANCELLED}

    def _submitted(self, port: int, kind: int, body: bytes) -> None:
        number = self._answered.get(port, 0)
        self._answered[port] = number + 1
        workload = self.plan.clients[port][number]
        if kind == ERROR:
            self.refused.add(workload)
        elif body not in self.acknowledged:  # else it joined that one
            self.acknowledged[body] = workload
            self.order.setdefault(port, []).append(body)
            self._number(body)

    def _worked(self, port: int, kind: int, body: bytes) -> None:
        if port in self._has:
            handle, workload = self._has.pop(port)
            # (Perhaps an operator was faster, and has not heard of it yet.)
            self.ended.setdefault(handle, {FAILED if is_to_fail(workload) else DONE, CANCELLED})
        if kind == JOB_ASSIGN_UNIQ:
            handle, _, _, workload = body.split(b"\0", 3)
            self._has[port] = (handle, workload)

    def _number(self, handle: bytes) -> None:
        self.last_number = max(self.last_number, int(handle.rpartition(b":")[2]))

    def faults_of(self, jobs: dict[bytes, Record], next_id: int) -> list[str]:
        """Return what the database has wrong, each fault in a few words."""
        faults = [f"{handle!r} is lost" for handle in self.acknowledged if handle not in jobs]
        for handle, record in jobs.items():
            if handle in self.acknowledged and record.workload != self.acknowledged[handle]:
                faults.append(f"{handle!r} has another workload")
            if not record.intact:
                faults.append(f"{handle!r} is altered")
            if record.workload not in self.planned:
                faults.append(f"{handle!r} was never submitted")
            if record.workload in self.refused:
                faults.append(f"{handle!r} was refused and is stored")
        for handle, states in self.ended.items():
            if handle in jobs and jobs[handle].state not in states:
                faults.append(f"{handle!r} is {JobState(jobs[handle].state).name}, and was told to have ended")
        if next_id <= self.last_number:
            faults.append(f"number {next_id} would be given out again")
        workloads = [record.workload for record in jobs.values()]
        if len(set(workloads)) < len(workloads):
            faults.append("a job is there twice")
        return faults + self._disorder(jobs)

    def _disorder(self, jobs: dict[bytes, Record]) -> list[str]:
        faults = []
        for handles in self.order.values():
            last: dict[tuple[int, int], int] = {}
            for handle in handles:
                if handle in jobs and jobs[handle].state == QUEUED:
                    record = jobs[handle]
                    queue = (record.function_id, record.priority)
                    if record.position < last.get(queue, 0):
                        faults.append(f"{handle!r} has overtaken another job")
                    last[queue] = record.position
        return faults
