"""Faults of real processes under a load of clients, and what must hold afterwards.

A storm has clients that order and read all the time (tests/history/load.py), and a person who makes
and removes instances on every node, one after the other. Each fault is brought
about, then it is waited until orders that were given *after* it are acknowledged, then it is ended,
and again such orders are waited for. So a fault lasts as long as the cluster needs to get over it,
and no longer. When the storm is over, every voter is up and level, and

- all logs are equal, record by record, and chain;
- the clients' notes are possible (tests/history/checker.py): all that was acknowledged stands there
  once, in order, on every voter; what is unknown stands there once or never;
- every job has ended, each opcode of it once;
- every command of the person was carried out; each task that was asked for has one end, and what it
  did on its node was done once.

In a lab whose nodes have networks of their own, a cut parts agents from voters, too: those of a
node that is cut off hear nothing of a task, or finish it and cannot say so, until it is healed.
"""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from eventstore.storage.log_view import LogView
from tests.acceptance.live_lab import LiveLab
from tests.acceptance.voters import WITHIN_S, Voters, task_counts, until
from tests.history.__main__ import read_log
from tests.history.checker import Broken, VoterLog, check
from tests.history.load import PREFIX
from tests.history.notes import Note, read_notes
from tests.history.submissions import digest_of_record, placed, unended
from tools.lab import daemons, wires
from tools.lab.founding import environment

CLIENTS = 8


class Load:
    """The clients, in a process of their own."""

    def __init__(self, lab: LiveLab, notes: Path) -> None:
        self._notes = notes
        self.acked = 0
        python = Path(daemons.script("cairn")).with_name("python")
        self._process = subprocess.Popen(
            [python, "-m", "tests.history.load", "--config", lab.layout.client,
             "--notes", notes, "--clients", str(CLIENTS)],
            env=environment(lab.layout), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def progress(self) -> None:
        """Wait until an order is acknowledged that was given after this call."""
        wanted = self.acked + CLIENTS + 1  # each client had at most one under way
        until(lambda: self.acked >= wanted or self._process.poll() is not None)
        assert self._process.poll() is None, "the clients have ended"

    def stop(self) -> list[Note]:
        """Let the clients finish; return what they noted."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=60.0) == 0
        self._reader.join()
        pattern = f"{self._notes.name}.*"
        return [note for path in self._notes.parent.glob(pattern) for note in read_notes(path)]

    def end(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for _ in self._process.stdout:
            self.acked += 1


class Builder:
    """A person who makes and removes instances by commands, one after the other, all the time."""

    def __init__(self, lab: LiveLab) -> None:
        self._lab = lab
        self.done = 0
        self._went_wrong: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def stop(self) -> list[str]:
        """Finish what is under way; return each command that failed, with what it said."""
        self.end()
        return self._went_wrong

    def progress(self) -> None:
        """Wait until an instance was made and removed, both after this call."""
        wanted = self.done + 2  # one is under way
        until(lambda: self.done >= wanted, within_s=4 * WITHIN_S)

    def end(self) -> None:
        """Finish what is under way."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        nodes = self._lab.layout.load().nodes
        while not self._stopping.is_set():
            name, node = f"i{self.done}.example.net", nodes[self.done % len(nodes)]
            made = f"gnt-instance add -t plain -o debian -n {node} -s 1G --no-start {name}"
            for line in (made, f"gnt-instance remove -f {name}"):
                ran = self._lab.run(line, within_s=4 * WITHIN_S)
                if ran.status:
                    self._went_wrong.append(str(ran))
            self.done += 1


class Storm:
    """Faults on the voters of a lab, which are all its nodes. `seed` draws whom they hit.

    `builds`: a person makes and removes instances meanwhile, and orders come for parted nodes.
    """

    def __init__(self, lab: LiveLab, notes: Path, *, seed: int, builds: bool = True) -> None:
        self.lab, self.voters, self.random = lab, Voters(lab), random.Random(seed)
        self.load = Load(lab, notes)
        self.builder = Builder(lab) if builds else None
        self._for_parted: list[int] = []  # jobs for nodes that were cut off
        self.load.progress()

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """The faults that are possible in this lab, by name."""
        always: dict[str, Callable[[], None]] = {
            "kill the leader": self.kill_the_leader,
            "kill followers": self.kill_followers,
            "stop the leader": self.stop_the_leader,
        }
        if self.lab.layout.load().wires is None:
            return always
        return {
            **always,
            "cut off the leader": self.cut_off_the_leader,
            "a deaf follower": self.a_deaf_follower,
            "a mute leader": self.a_mute_leader,
            "two halves and a bridge": self.two_halves_and_a_bridge,
        }

    # --- faults of processes --------------------------------------------------------------------

    def kill_the_leader(self) -> None:
        """SIGKILL; another leads; it comes back."""
        self._killed([self.voters.leader()])

    def kill_followers(self) -> None:
        """SIGKILL of as many as may be missing."""
        followers = self.voters.followers()
        self._killed(self.random.sample(followers, self._minority))

    def stop_the_leader(self) -> None:
        """SIGSTOP until another one leads and takes orders; it wakes up and changes nothing."""
        daemon = self.voters.daemon(self.voters.leader())
        self.lab.kill(daemon, signal.SIGSTOP)
        try:
            self.load.progress()
        finally:
            self.lab.kill(daemon, signal.SIGCONT)
        self.load.progress()

    # --- faults of the network --------------------------------------------------------------------

    def cut_off_the_leader(self) -> None:
        """The leader, with as many as may be missing, on one side; all others on the other."""
        leader = self.voters.leader()
        beside = self.random.sample(self.voters.followers(), self._minority - 1)
        self._split([leader, *beside], [n for n in self.voters.nodes if n not in (leader, *beside)])
        self._through(leader)

    def a_deaf_follower(self) -> None:
        """It gets nothing from the leader, and all else; the leader stays the leader."""
        leader = self.voters.leader()
        follower = self.random.choice(self.voters.followers())
        before = self.voters.status(leader)
        wires.cut(self._wires, leader, [follower])
        self._through(follower)
        after = self.voters.status(leader)
        assert before is not None
        assert after is not None
        told = f"{follower}, which heard all but the leader, deposed it"
        assert (after.role, after.term) == ("leader", before.term), told

    def a_mute_leader(self) -> None:
        """It gets everything, and nobody gets anything from it."""
        leader = self.voters.leader()
        wires.cut(self._wires, leader, self.voters.followers())
        self._through(leader)

    def two_halves_and_a_bridge(self) -> None:
        """One node hears both halves, which do not hear each other."""
        nodes = list(self.voters.nodes)
        self.random.shuffle(nodes)
        half = (len(nodes) - 1) // 2
        self._split(nodes[:half], nodes[half : 2 * half])
        self._through(nodes[0])

    # --- afterwards -----------------------------------------------------------------------------

    def settle(self) -> list[Broken]:
        """End the load, let all voters come up and level; return every promise that was broken."""
        failed = [Broken("commands", how) for how in self.builder.stop()] if self.builder else []
        notes = self.load.stop()
        self.voters.restore()
        until(self._idle)
        for job in self._for_parted:
            if (status := self.lab.status_of(job)) != "success":
                failed.append(
                    Broken("commands", f"job {job} for a node that was cut off: {status}")
                )
        self.voters.level()
        self.voters.compare()
        logs = [read_log(self.voters.log(node)) for node in self.voters.nodes]
        promises = broken_promises(notes, logs, self.voters.log(self.voters.nodes[0]))
        tasks = self._done_otherwise_than_once() if self.builder else []
        return [*failed, *promises, *tasks]

    def end(self) -> None:
        """End what still runs, and every cut."""
        self.load.end()
        if self.builder:
            self.builder.end()
        if self.lab.layout.load().wires is not None:
            wires.heal(self._wires)

    @property
    def _minority(self) -> int:
        return (len(self.voters.nodes) - 1) // 2

    @property
    def _wires(self) -> wires.Wires:
        laid = self.lab.layout.load().wires
        assert laid is not None
        return laid

    def _done_otherwise_than_once(self) -> list[Broken]:
        """Tasks that were asked for, or ended, more than once or never; and so for effects."""
        counts = task_counts(self.voters.log(self.voters.nodes[0]))
        assert counts, "no task was asked for"
        asked = [
            Broken("tasks", f"asked for {times} times, with {ends} ends")
            for times, ends in sorted(counts - {(1, 1)})
        ]
        return asked + [
            Broken("effects", f"{effect} on {node}: {times} times")
            for node in self.voters.nodes
            for effect, times in self.lab.effects(node).items()
            if times != 1
        ]

    def _idle(self) -> bool:
        """Whether every job has ended."""
        states = ("queued", "waiting", "running")
        open_jobs = " or ".join(f'status == "{state}"' for state in states)
        return not self.lab.rows(f"gnt-job list -o id --filter '{open_jobs}'")

    def _killed(self, nodes: Sequence[str]) -> None:
        for node in nodes:
            self.lab.kill(self.voters.daemon(node))
        self.load.progress()
        for node in nodes:
            self.lab.start(self.voters.daemon(node))
        self.load.progress()

    def _split(self, *sides: Sequence[str]) -> None:
        wires.split(self._wires, *sides)

    def _through(self, parted: str) -> None:
        """Wait until orders are taken all the same; then heal, and wait again.

        One of them is for the node `parted`, whose agent then hears of it late, or of none of it,
        or cannot say that it was done.
        """
        self.load.progress()
        if self.builder:
            name = f"parted{len(self._for_parted)}.example.net"
            made = f"gnt-instance add -t plain -o debian -n {parted} -s 1G --no-start {name}"
            self._for_parted.append(self.lab.submit(made))
        wires.heal(self._wires)
        self.load.progress()


def broken_promises(notes: Sequence[Note], logs: Sequence[VoterLog], log: Path) -> list[Broken]:
    """Return what these notes and logs show to be broken. `log`: of any voter, for its cluster."""
    with LogView(log) as view:
        cluster_id = view.cluster_id
    found = check(cluster_id, placed(notes, logs), logs, prefix=PREFIX, digest=digest_of_record)
    return [*found, *unended(logs[0])]
