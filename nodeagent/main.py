"""`cairn-agent`: one node's daemon (edge).

Owns the process: files, log, signals, and the way from unjoined to member and back. The only part
of Cairn that runs as root. It ends cleanly on SIGTERM and SIGINT; what its calls had begun is taken
up again at the next start. It ends by itself only if its journal cannot be written: acting without
one would do things twice.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor, Timer
from nodeagent.agent import Agent
from nodeagent.allocators import Allocators
from nodeagent.drivers import real_drivers
from nodeagent.errors import NodeAgentError
from nodeagent.executor import Drivers
from nodeagent.identity import AgentConfig, AgentDirectory, BadFile, Identity
from nodeagent.joining import Joining
from nodeagent.journal import Journal, JournalFailed
from nodeagent.os_interface import OsInterface
from nodeagent.runner import run_command
from nodeagent.simulated.control import Answer, ControlSocket, Order, carry_out
from nodeagent.simulated.lab import Lab
from nodeagent.simulated.node import SimulatedMachine, simulated_machine
from nodeagent.voter_host import VoterHost
from nodeagent.voter_process import OwnProcess, Unit

SIMULATED, REAL = "simulated", "real"
_REFUSED_AGAIN_S = 10.0
_BUSY_AGAIN_S = 0.2
_TICKET_S = 2.0  # between two looks for one, while a member
_log = logging.getLogger("nodeagent")


class Daemon:
    """The life of an agent's process."""

    def __init__(self, reactor: Reactor, directory: AgentDirectory, config: AgentConfig) -> None:
        self._reactor, self._directory, self._config = reactor, directory, config
        self._keys = directory.keys()
        directory.claim()
        self._lab: Lab | None = None
        if config.drivers == SIMULATED:
            home = Path(config.lab) if config.lab else directory.path / "lab"
            self._lab = Lab(home, config.name)
            self._lab.claim()
        self._journal = Journal(directory.path / "journal.db", sync_delay_s=config.sync_delay_s)
        self._agent: Agent | None = None
        self._voter = VoterHost(
            _master_directory(directory, config),
            Unit(config.master_unit)
            if config.master_unit
            else OwnProcess(config.master_command, config.master_user),
            user=config.master_user,
            address=config.master_address,
            ports=config.master_ports,
        )
        self._machine: SimulatedMachine | None = None
        self._real: tuple[str, Drivers] | None = None  # of which node
        self._retry: Timer | None = None  # runs while no voter admits the key
        if self._lab is not None:
            ControlSocket(reactor, directory.path, self._on_order)
        reactor.call_every(_TICKET_S, self._look_for_ticket)

    def start(self) -> None:
        """Go on as a member, or wait for a ticket."""
        identity = self._directory.identity()
        if identity is None:
            self._join()
        else:
            self._work(identity)

    def close(self) -> None:
        """End cleanly."""
        if self._agent is not None:
            self._agent.close()
        self._journal.close()
        if self._lab is not None:
            self._lab.release()

    def _join(self) -> None:
        Joining(self._reactor, self._directory, self._keys, self._config.name, self._work)

    def _work(self, identity: Identity) -> None:
        self._agent = Agent(
            self._reactor,
            identity,
            self._keys,
            self._journal,
            self._drivers(identity.node),
            self._config,
            self._voter,
            on_identity=self._directory.save_identity,
            on_left=self._left,
            on_refused=self._refused,
        )
        self._agent.start()

    def _drivers(self, node: str) -> Drivers:
        """What acts here as this node. Real drivers stay while the node does: guests are heard."""
        directory = self._directory.path
        os_interface = OsInterface(
            [Path(path) for path in self._config.os_path],
            log_directory=directory / "os-logs",
            lock_directory=directory / "os-locks",
        )
        allocators = Allocators([Path(path) for path in self._config.allocator_path], run_command)
        if self._lab is not None:
            self._lab.name_node(node)
            size = self._config.simulated
            self._machine = simulated_machine(self._lab, node, size, os_interface, allocators)
            return self._machine.drivers
        if self._real is None or self._real[0] != node:
            drivers = real_drivers(node, self._keys, self._config, os_interface, allocators)
            self._real = node, drivers
        return self._real[1]

    def _left(self) -> None:
        """The node has left its cluster: keep the key, forget the rest, wait for a ticket."""
        _log.info("left the cluster")
        assert self._agent is not None
        self._agent.close()
        self._agent = None
        self._voter.remove()
        self._journal.forget_all()
        self._directory.drop_identity()
        self._join()

    def _refused(self, error: EventStoreError) -> None:
        """No voter admits the key. A voter may lag, or the node was removed: try, and look for a
        new ticket meanwhile."""
        _log.error("no voter lets me in: %s (%s)", error, error.hint)
        agent, self._agent = self._agent, None
        assert agent is not None
        agent.close()
        self._retry = self._reactor.call_later(_REFUSED_AGAIN_S, lambda: self._again(agent))

    def _again(self, before: Agent) -> None:
        """Go on as a member, once no call of the time before is at work: it would be made twice at
        the same time."""
        if before.busy:
            self._retry = self._reactor.call_later(_BUSY_AGAIN_S, lambda: self._again(before))
            return
        self._retry = None
        if self._directory.ticket() is not None:
            self._journal.forget_all()
            self._directory.drop_identity()
        self.start()

    def _look_for_ticket(self) -> None:
        """A ticket for a member: of its own membership it says where the voters are now, for a node
        that can reach none of those it knows. A new one of its cluster may mean that the node was
        removed and has not noticed yet: it is left there, and the membership checked. One of
        another cluster is refused: leave first."""
        if self._agent is None and self._retry is None:
            return  # not a member: `Joining` looks for it
        try:
            ticket = self._directory.ticket()
        except BadFile as bad:
            _log.error("%s", bad)
            self._directory.drop_ticket("bad")
            return
        identity = self._directory.identity()
        if ticket is None or identity is None:
            return
        if self._agent is None:
            self._retry_now()
            return
        if ticket.cluster_id != identity.cluster_id:
            _log.error("a ticket for another cluster: leave this cluster first")
            self._directory.drop_ticket("refused")
            return
        if ticket.node != identity.node:
            self._agent.check()
            return
        _log.info("the ticket names the voters: %s", ", ".join(v.name for v in ticket.voters))
        self._directory.save_identity(msgspec.structs.replace(identity, voters=ticket.voters))
        self._directory.drop_ticket()
        agent, self._agent = self._agent, None
        agent.close()
        self._again(agent)

    def _retry_now(self) -> None:
        if self._retry is not None and self._retry.callback is not None:
            retry = self._retry.callback
            self._retry.cancel()
            retry()

    def _on_order(self, order: Order) -> Answer:
        if self._machine is None:
            raise NodeAgentError("the node has not joined a cluster yet", hint="gnt-node add it")
        hit = carry_out(self._machine, order)
        promised = (0, 0)
        if self._agent is not None:
            promised = self._agent.core.promised
            self._agent.look_soon()
        return Answer(
            ok=True,
            hit=hit,
            effects=self._machine.effects(),
            syncs=self._journal.metrics.syncs,
            promised=(promised[0], promised[1]),
        )


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until a signal ends it; returns the exit status."""
    options = arguments().parse_args(argv)
    directory = AgentDirectory(options.dir.absolute())
    try:
        config = _config(directory, options)
    except NodeAgentError as wrong:
        print(f"cairn-agent: {wrong}", file=sys.stderr)
        return 1
    if not config.name:
        print("cairn-agent: no name: give --name, or lay a ticket down first", file=sys.stderr)
        return 2
    _start_log(directory.path / "agent.log")
    pid_file = directory.path / "agent.pid"
    reactor = Reactor()
    try:
        daemon = Daemon(reactor, directory, config)
    except BlockingIOError:
        print(f"cairn-agent: {config.name} runs already", file=sys.stderr)
        return 1
    except (NodeAgentError, EventStoreError) as failed:
        print(f"cairn-agent: {failed} ({failed.hint})", file=sys.stderr)
        return 1
    pid_file.write_text(f"{os.getpid()}\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        reactor.on_signal(number, reactor.stop)
    _log.info("%s starts, with %s drivers", config.name, config.drivers)
    try:
        daemon.start()
        reactor.run()
    except JournalFailed as failed:
        _log.critical("%s (%s)", failed, failed.hint)
        return 1
    finally:
        daemon.close()
        reactor.close()
        pid_file.unlink(missing_ok=True)
    _log.info("ended")
    return 0


def arguments() -> argparse.ArgumentParser:
    """Return what reads the options of `cairn-agent`."""
    parser = argparse.ArgumentParser(prog="cairn-agent", description="The agent of one node.")
    parser.add_argument("--dir", type=Path, required=True, help="its directory: keys, journal, log")
    parser.add_argument("--name", help="the node's name")
    parser.add_argument("--drivers", choices=(SIMULATED, REAL), help="what acts on this node")
    parser.add_argument("--lab", type=Path, help="where simulated nodes meet")
    parser.add_argument(
        "--os-path", action="append", help="a directory of OS definitions; may be repeated"
    )
    parser.add_argument("--master-user", help="who runs a master daemon of this node")
    parser.add_argument("--master-unit", help="the unit of systemd that is such a daemon")
    return parser


def _config(directory: AgentDirectory, options: argparse.Namespace) -> AgentConfig:
    config = directory.config()
    given = {
        "name": options.name,
        "drivers": options.drivers,
        "lab": str(options.lab.absolute()) if options.lab else None,
        "os_path": tuple(options.os_path) if options.os_path else None,
        "master_user": options.master_user,
        "master_unit": options.master_unit,
    }
    config = msgspec.structs.replace(config, **{k: v for k, v in given.items() if v is not None})
    return config if config.name else msgspec.structs.replace(config, name=directory.name())


def _master_directory(directory: AgentDirectory, config: AgentConfig) -> Path:
    """Where a master daemon's files are; another user's cannot be inside a directory of root's."""
    if config.master_directory:
        return Path(config.master_directory)
    return (directory.path.parent if config.master_user else directory.path) / "master"


def _start_log(path: Path) -> None:
    logging.basicConfig(
        filename=path,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )


if __name__ == "__main__":
    sys.exit(main())
