"""A leader with real sockets and no opinions: it requests tasks and records what agents say."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from eventstore.access.keys import load_curve_keys, new_curve_keys
from eventstore.events import STREAM, KeyAdmitted, KeyRevoked
from eventstore.reactor import Reactor
from eventstore.record import Epoch, Event
from eventstore.replica import Leadership
from eventstore.serving.server import ReplyTo, Request
from eventstore.wire.zap import ZapHandler
from nodeagent import calls
from projections.events.jobs import (
    TaskDone,
    TaskFailed,
    TaskRequested,
    TaskRuns,
    TaskWithdrawn,
    TaskWithdrawRequested,
)
from tests.eventstore.wire_voter import WireVoter, close_reactor, new_reactor
from tests.nodeagent.lab_control import LabControl

PATIENCE_S = 8.0


class FakeLeader:
    """One voter that leads, and the agents (real processes) that it has invited."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reactor: Reactor = new_reactor()
        self.voter = WireVoter(self.reactor, ZapHandler(self.reactor))
        self.replica = self.voter.replica
        self.promises: list[calls.Promised] = []
        self.results: list[calls.TaskResult] = []  # every one that came, repeated or not
        self.ends: dict[str, calls.TaskResult] = {}
        self.runs: list[str] = []
        self.feedback: list[calls.Feedback] = []
        self.observed: dict[tuple[str, int], calls.Observation] = {}
        self.statuses: dict[str, calls.NodeStatus] = {}
        self.told: calls.StatusReply | None = None  # what it answers to them
        self.deaf = False  # results are not taken
        self.agents: dict[str, AgentProcess] = {}
        self._numbers = itertools.count(1)
        server = self.voter.server
        server.register("join", ("ticket",), self._join)
        for kind, handler in (
            ("promise", self._promise),
            ("task-result", self._task_result),
            ("observed", self._observed),
            ("feedback", self._feedback),
            ("status", self._status),
        ):
            server.register(kind, ("node",), handler)

    # --- agents -------------------------------------------------------------------------------

    def add_agent(self, name: str, **config: Any) -> AgentProcess:
        """Start the agent of a new node and hand it a ticket."""
        agent = AgentProcess(self.directory, name, f"uuid-{name}", config)
        self.agents[name] = agent
        agent.start()
        self.invite(agent)
        return agent

    def invite(self, agent: AgentProcess) -> None:
        """Lay down a ticket."""
        keys = new_curve_keys()
        admitted = KeyAdmitted(name=f"node:{agent.uuid}", role="ticket", curve_key=keys.public)
        self.replica.append_event(STREAM, admitted)
        ticket = calls.Ticket(
            cluster_id=self.replica.cluster_id,
            node=agent.uuid,
            name=agent.name,
            secret_key=keys.secret,
            public_key=keys.public,
            voters=(self.address(),),
        )
        agent.directory.mkdir(parents=True, exist_ok=True)
        draft = agent.directory / "ticket.new"
        draft.write_bytes(msgspec.json.encode(ticket))
        draft.rename(agent.directory / "ticket.json")

    def revoke(self, agent: AgentProcess) -> None:
        """Take the key of an agent away."""
        key = load_curve_keys(agent.directory / "agent.key").public
        self.replica.append_event(STREAM, KeyRevoked(curve_key=key))

    def until(self, done: Callable[[], bool], what: str = "") -> None:
        """Turn until `done()`, or fail."""
        assert self.reactor.run_until(done, timeout_s=PATIENCE_S), what or "waited in vain"

    def until_promised(self, agent: AgentProcess) -> None:
        """Wait for the agent's promise in the present epoch."""
        epoch = self.replica.leadership.epoch
        self.until(
            lambda: any(p.node == agent.uuid and (p.gen, p.term) == epoch for p in self.promises),
            f"{agent.name} promises {epoch}",
        )

    def until_dead(self, agent: AgentProcess) -> int:
        """Serve until the agent's process has ended; returns its exit status."""
        process = agent.process
        assert process is not None
        self.until(lambda: process.poll() is not None, f"{agent.name} ends")
        return process.returncode

    def new_reign(self) -> None:
        """Lead in the next term."""
        gen, term = self.replica.leadership.epoch
        self.replica.lead(Leadership(Epoch(gen, term + 1), "v1", here=True, ready=True))

    def close(self) -> None:
        """End everything."""
        for agent in self.agents.values():
            agent.kill()
        close_reactor(self.reactor)

    # --- tasks --------------------------------------------------------------------------------

    def request(
        self,
        agent: AgentProcess,
        call: calls.Call,
        *,
        resource: str = "",
        timeout_s: float = 60.0,
        task: str = "",
    ) -> str:
        """Request a task; returns its id."""
        task = task or f"task-{next(self._numbers)}"
        requested = TaskRequested(
            task=task, op=0, plan=0, step="s", call=calls.pack_call(call),
            resource=resource, timeout_s=timeout_s,
        )  # fmt: skip
        self._append(agent.uuid, requested)
        return task

    def withdraw(self, agent: AgentProcess, task: str) -> None:
        """Give a task up."""
        self._append(agent.uuid, TaskWithdrawRequested(task=task, reason="cancel"))

    def end_of(self, task: str) -> calls.TaskResult:
        """Wait for the end of a task."""
        self.until(lambda: task in self.ends, f"end of {task}; so far {self.ends}")
        return self.ends[task]

    def do(self, agent: AgentProcess, call: calls.Call, **how: Any) -> calls.TaskResult:
        """Request a task and wait for its end."""
        return self.end_of(self.request(agent, call, **how))

    # --- handlers -----------------------------------------------------------------------------

    def address(self) -> calls.Voter:
        """Where agents reach it."""
        voter = self.voter.voter
        return calls.Voter(
            name=voter.name,
            requests=voter.requests_endpoint,
            publications=voter.publish_endpoint,
            curve_key=voter.curve_key,
        )

    def _append(self, node: str, event: Event) -> None:
        self.replica.append_event(f"node/{node}", event)

    def _join(self, request: Request, reply: ReplyTo) -> None:
        wanted = request.decode(calls.Join)
        node = request.actor.removeprefix("node:")
        admitted = KeyAdmitted(name=request.actor, role="node", curve_key=wanted.curve_key)
        self.replica.append_event(STREAM, admitted)
        reply.done(
            calls.Joined(node=node, cluster_id=self.replica.cluster_id, voters=(self.address(),))
        )
        used = KeyRevoked(curve_key=request.curve_key)
        self.reactor.call_later(0.05, lambda: self.replica.append_event(STREAM, used) and None)

    def _promise(self, request: Request, reply: ReplyTo) -> None:
        promised = request.decode(calls.Promised)
        self.promises.append(promised)
        version = self.replica.version(f"node/{promised.node}")
        reply.done(calls.PromiseReply(version=version, voters=(self.address(),)))

    def _task_result(self, request: Request, reply: ReplyTo) -> None:
        if self.deaf:
            return
        result = request.decode(calls.TaskResult)
        node = request.actor.removeprefix("node:")
        self.results.append(result)
        reply.done()
        if result.running:
            self.runs.append(result.task)
            self._append(node, TaskRuns(task=result.task))
        elif result.task not in self.ends:
            self.ends[result.task] = result
            self._append(node, _end(result))

    def _observed(self, request: Request, reply: ReplyTo) -> None:
        for observation in request.decode(calls.Observed).observations:
            node = request.actor.removeprefix("node:")
            self.observed[node, observation.serial] = observation
        reply.done()

    def _feedback(self, request: Request, reply: ReplyTo) -> None:
        self.feedback.append(request.decode(calls.Feedback))
        reply.done()

    def _status(self, request: Request, reply: ReplyTo) -> None:
        status = request.decode(calls.NodeStatus)
        self.statuses[status.node] = status
        reply.done(self.told)


class AgentProcess:
    """A real `cairn-agent` with simulated drivers."""

    def __init__(self, lab: Path, name: str, uuid: str, config: dict[str, Any]) -> None:
        self.name, self.uuid = name, uuid
        self.directory = lab / name
        self.lab = lab / "lab"
        self.control = LabControl(self.directory)
        self._config = {"look_s": 0.1, "settle_s": 0.2, "status_s": 0.5, **config}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it need not have come up yet."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "agent.json").write_bytes(msgspec.json.encode(self._config))
        os_path = Path(__file__).parents[2] / "tools" / "lab" / "os"
        argv = [sys.executable, "-m", "nodeagent.main", "--dir", str(self.directory)]
        argv += ["--name", self.name, "--lab", str(self.lab), "--os-path", str(os_path)]
        self.process = subprocess.Popen(argv, cwd=Path(__file__).parents[2])

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def restart(self) -> None:
        """SIGKILL, and a new process."""
        self.kill()
        self.start()

    def effects(self) -> dict[str, int]:
        """Each effect of the simulated drivers, and how often it happened."""
        effects: dict[str, int] = {}
        for path in (self.lab / self.name).glob("*.json"):
            if path.name != "faults.json":
                effects |= msgspec.json.decode(path.read_bytes()).get("effects", {})
        return effects


def _end(result: calls.TaskResult) -> Event:
    if result.failed is not None:
        return TaskFailed(task=result.task, code=result.failed.code, message=result.failed.message)
    if result.withdrawn:
        return TaskWithdrawn(task=result.task)
    return TaskDone(task=result.task, result=result.done)
