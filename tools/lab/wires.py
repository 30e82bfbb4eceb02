"""A network of its own for each node of a lab, so that it can be cut (edge). Linux, as root.

    node1's namespace --veth--+
    node2's namespace --veth--+-- bridge -- this machine, where commands run
    node3's namespace --veth--+

Every node is a network namespace with one address; daemons are started inside. A cut loses, in
silence, what one node sends to another: its neighbour table says that the other is at a link
address that nobody has. So packets vanish as on a broken wire, nothing is refused, and what was
connected finds out by itself. A cut is one way; TCP then ends in both directions, but who dials,
who waits, and who hears the heartbeats of whom differ. Commands still reach every node, as an
operator's console does.

Names are drawn from the lab's directory, so that several labs stand side by side.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.lab.layout import LabError, Wires

_NOBODY = "02:00:00:00:00:fe"  # a link address that no node has
_MOST = 250  # nodes of one network


def why_not() -> str:
    """Return why nodes cannot have networks of their own here, or "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is missing: install iproute2"
    probe = f"cairn-probe-{os.getpid()}"
    made = _try("netns", "add", probe)
    if made.returncode:
        return f"no network namespaces: {made.stderr.strip()}"
    _try("netns", "delete", probe)
    return ""


def lay(directory: Path, nodes: Sequence[str]) -> Wires:
    """Make the networks of the lab in `directory`. Raises LabError, and leaves nothing then."""
    if problem := why_not():
        raise LabError(problem)
    if len(nodes) > _MOST:
        raise LabError(f"at most {_MOST} nodes can have networks of their own")
    drawn = hashlib.sha256(os.fsencode(directory)).digest()
    network = f"10.{64 + drawn[0] % 128}.{drawn[1]}"
    wires = Wires(tag=f"cl{drawn[:4].hex()}", network=network, nodes=tuple(nodes))
    try:
        _ip("link", "add", wires.bridge, "type", "bridge")
        _ip("addr", "add", f"{network}.254/24", "dev", wires.bridge)
        _ip("link", "set", wires.bridge, "up")
        for node in nodes:
            _attach(wires, node)
    except LabError:
        remove(wires)
        raise
    return wires


def cut(wires: Wires, sender: str, receivers: Iterable[str]) -> None:
    """Lose from now on what `sender` sends to each of `receivers`."""
    for receiver in receivers:
        _ip(
            "-n", wires.namespace(sender), "neigh", "replace", wires.address(receiver),
            "lladdr", _NOBODY, "dev", "eth0", "nud", "permanent",
        )  # fmt: skip


def split(wires: Wires, *sides: Sequence[str]) -> None:
    """Lose what is sent from any of the sides to any other."""
    for side in sides:
        for sender in side:
            cut(wires, sender, [node for other in sides if other is not side for node in other])


def heal(wires: Wires) -> None:
    """End every cut."""
    for node in wires.nodes:
        _ip("-n", wires.namespace(node), "neigh", "flush", "dev", "eth0", "nud", "permanent")


def remove(wires: Wires) -> None:
    """Remove the networks; what is gone already is no error. Their daemons must have ended."""
    for node in wires.nodes:
        # By name: connections that were cut keep a namespace, and so its wire, for minutes.
        _try("link", "delete", f"{wires.namespace(node)}v")
        _try("netns", "delete", wires.namespace(node))
    _try("link", "delete", wires.bridge)


def _attach(wires: Wires, node: str) -> None:
    namespace, port = wires.namespace(node), f"{wires.namespace(node)}v"
    _ip("netns", "add", namespace)
    _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    _ip("link", "set", port, "master", wires.bridge, "up")
    _ip("-n", namespace, "addr", "add", f"{wires.address(node)}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "link", "set", "eth0", "up")


def _ip(*arguments: str) -> None:
    done = _try(*arguments)
    if done.returncode:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _try(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
