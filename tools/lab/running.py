"""A lab as it runs: up, status, start and kill of its daemons, down (edge).

What can go wrong: a port that is taken by the time it is used (the daemon says so), a directory
that holds something else (nothing is removed that this module did not make), a daemon that does
not start (its last words are shown).
"""

from __future__ import annotations

import shutil
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shell.config import ClientConfig
from shell.config import Master as MasterPlace
from tools.lab import daemons, wires
from tools.lab.control import SOCKET
from tools.lab.layout import MASTER, Lab, LabError, LabLayout, is_master

OS_DEFINITIONS = Path(__file__).with_name("os")
_READY_WITHIN_S = 60.0
_LOOK_S = 0.02


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """What the lab sets of an agent's settings file (nodeagent/identity.py has them all)."""

    name: str
    lab: str
    os_path: tuple[str, ...]
    allocator_path: tuple[str, ...]
    status_s: float = 1.0
    look_s: float = 0.2
    settle_s: float = 0.2
    master_command: tuple[str, ...] = ()
    master_address: str = ""
    master_ports: tuple[int, ...] = ()


def up(
    layout: LabLayout,
    names: Sequence[str],
    *,
    settings: dict[str, float | int | str],
    voters: int = 1,
    apart: bool = False,
) -> Lab:
    """Make a lab and start its agents. They wait for their tickets; there is no cluster yet.

    `settings` are settings of the master daemon. `apart`: each node has a network of its own, which
    can be cut (wires.py). Raises LabError if there is a lab already.
    """
    if layout.settings.exists():
        told = f"there is a lab in {layout.directory} already"
        raise LabError(f"{told}: cairn lab down --dir {layout.directory} removes it")
    if layout.directory.exists() and any(layout.directory.iterdir()):
        raise LabError(f"{layout.directory} is not empty, and no lab: give an empty directory")
    requests, publications, replication, segments = _free_ports(4)
    lab = Lab(
        nodes=tuple(names),
        requests_port=requests,
        publications_port=publications,
        replication_port=replication,
        segments_port=segments,
        voters=voters,
        wires=wires.lay(layout.directory, names) if apart else None,
    )
    layout.save(lab)
    layout.write(layout.client, _client_config(layout, lab, settings))
    for node in lab.nodes:
        layout.write(layout.agent(node) / "agent.json", _agent(layout, lab, node))
    for node in lab.nodes:
        _spawn_agent(layout, node)
    for node in lab.nodes:
        _wait_for_agent(layout, node)
    return lab


def start(layout: LabLayout, daemon: str) -> int:
    """Start a daemon that does not run; return its pid. Raises LabError."""
    _check(layout, daemon)
    if (pid := daemons.running(layout.pid_file(daemon))) is not None:
        raise LabError(f"{daemon} runs already, pid {pid}")
    if not is_master(daemon):
        _spawn_agent(layout, daemon)
        return _wait_for_agent(layout, daemon)
    home = layout.home(daemon)
    if not (home / "master.json").exists():
        raise LabError("there is no cluster yet: gnt-cluster init NAME")
    command = [daemons.script("cairn-master"), "--dir", str(home)]
    command = layout.load().inside(layout.node_of(daemon), command)
    pid = daemons.start(command, output=layout.output_of(daemon))
    return _wait_for(layout, daemon, pid)


def kill(layout: LabLayout, daemon: str, signum: int) -> int:
    """Send a signal to a daemon; if that ends a process, wait until it has. Return its pid."""
    _check(layout, daemon)
    pid = daemons.running(layout.pid_file(daemon))
    if pid is None:
        raise LabError(f"{daemon} does not run: cairn lab start {daemon}")
    if signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        daemons.end(pid, signum)
    else:
        daemons.send(pid, signum)
    return pid


def pids(layout: LabLayout) -> dict[str, int | None]:
    """Return the pid of each daemon, None for one that does not run."""
    return {each: daemons.running(layout.pid_file(each)) for each in names(layout)}


def names(layout: LabLayout) -> tuple[str, ...]:
    """Return the names of all daemons: the master daemons that were made, and the agents."""
    nodes = layout.load().nodes
    voters = (f"{MASTER}@{node}" for node in nodes)
    made = [voter for voter in voters if (layout.home(voter) / "master.json").exists()]
    return (MASTER, *made, *nodes)


def down(layout: LabLayout) -> None:
    """End every daemon and remove the lab's directory. Raises LabError if there is no lab."""
    running = [pid for pid in pids(layout).values() if pid is not None]
    for pid in running:
        daemons.send(pid, signal.SIGTERM)
    for pid in running:
        daemons.end(pid)
    if (laid := layout.load().wires) is not None:
        wires.remove(laid)
    shutil.rmtree(layout.directory)


def _check(layout: LabLayout, daemon: str) -> None:
    known = names(layout)
    if daemon not in known:
        raise LabError(f"no {daemon} in this lab; there are {', '.join(known)}")


def _client_config(
    layout: LabLayout, lab: Lab, settings: dict[str, float | int | str]
) -> ClientConfig:
    return ClientConfig(
        key_file=str(layout.operator_key),
        ticket_dir=str(layout.agents),
        master=MasterPlace(
            directory=str(layout.master),
            node=lab.nodes[0],
            requests_port=lab.requests_port,
            publications_port=lab.publications_port,
            replication_port=lab.replication_port,
            segments_port=lab.segments_port,
            address=lab.address(lab.nodes[0]),
            command=tuple(lab.inside(lab.nodes[0], (daemons.script("cairn-master"),))),
            log_file=str(layout.output_of(MASTER)),
            settings={
                "ballast_mib": 0,
                "lost_after_s": 5.0,
                "status_every_s": 1.0,
                "max_voters": lab.voters,
                **settings,
            },
        ),
    )


def _agent(layout: LabLayout, lab: Lab, node: str) -> Agent:
    return Agent(
        name=node,
        lab=str(layout.machines),
        os_path=(str(OS_DEFINITIONS),),
        allocator_path=(str(layout.allocators),),
        master_command=(daemons.script("cairn-master"),),
        master_address=lab.address(node),
        master_ports=(0, 0, 0, 0),  # any that are free
    )


def _spawn_agent(layout: LabLayout, node: str) -> None:
    command = [daemons.script("cairn-agent"), "--dir", str(layout.agent(node))]
    command = layout.load().inside(node, command)
    daemons.start(command, output=layout.output_of(node))


def _wait_for_agent(layout: LabLayout, node: str) -> int:
    return _wait_for(layout, node, None, also=layout.agent(node) / SOCKET)


def _wait_for(layout: LabLayout, daemon: str, child: int | None, also: Path | None = None) -> int:
    """Wait until a daemon has said that it is ready; return its pid."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        pid = daemons.running(layout.pid_file(daemon))
        if pid is not None and (also is None or also.exists()):
            return pid
        if child is not None and not Path(f"/proc/{child}/exe").exists():
            break
        time.sleep(_LOOK_S)
    output = layout.output_of(daemon)
    words = output.read_text(errors="replace").splitlines()[-5:] if output.exists() else []
    raise LabError("\n".join([f"{daemon} did not start:", *words]))


def _free_ports(count: int) -> list[int]:
    """Return ports on the loopback that are free now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
