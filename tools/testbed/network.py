"""The network of a test bed: a namespace with a bridge, and an interface for each node (edge).

Nodes reach each other and the namespace, and nothing else: no route leads out. The QEMUs run in the
namespace, so what they listen on at its loopback is reached by root on this machine alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import subprocess
import threading
from pathlib import Path

from tools.testbed.layout import NODES, SUBNET, BedError, Layout

_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def namespace(layout: Layout) -> str:
    """Return the name of the test bed's network namespace."""
    return "cairn-" + hashlib.sha256(str(layout.directory).encode()).hexdigest()[:8]


def tap(node: str) -> str:
    """Return the name of a node's interface in the namespace."""
    return f"tap-{node}"


def inside(layout: Layout, argv: list[str]) -> list[str]:
    """Return the command line that runs `argv` in the namespace."""
    return ["ip", "netns", "exec", namespace(layout), *argv]


def make(layout: Layout) -> None:
    """The namespace, its bridge and interfaces are there. May be repeated."""
    name = namespace(layout)
    if Path("/run/netns", name).exists():
        return
    _run(["ip", "netns", "add", name])
    _ip(name, "link", "set", "lo", "up")
    _ip(name, "link", "add", "br0", "type", "bridge")
    _ip(name, "address", "add", f"{SUBNET}.1/24", "dev", "br0")
    _ip(name, "link", "set", "br0", "up")
    for node in (*NODES, "template"):
        _ip(name, "tuntap", "add", "dev", tap(node), "mode", "tap")
        _ip(name, "link", "set", tap(node), "up")
    for node in NODES:
        _ip(name, "link", "set", tap(node), "master", "br0")


def remove(layout: Layout) -> None:
    """The namespace is gone with all that is in it. Nothing happens if there is none."""
    name = namespace(layout)
    if Path("/run/netns", name).exists():
        _run(["ip", "netns", "delete", name])


def cut(layout: Layout, node: str, *, cut: bool = True) -> None:
    """Take the node off the network, or put it back."""
    _ip(namespace(layout), "link", "set", tap(node), "down" if cut else "up")


def connect(layout: Layout, port: int, *, timeout_s: float) -> socket.socket:
    """Return a connection to a port of the namespace's loopback. Raises OSError, and BedError if
    the test bed is down.

    A socket belongs to the namespace of the thread that makes it, so one is spent on that.
    """
    if not Path("/run/netns", namespace(layout)).exists():
        raise BedError("the test bed is down: python -m tools.testbed up")
    made: list[socket.socket | OSError] = []

    def make_socket() -> None:
        try:
            handle = os.open(f"/run/netns/{namespace(layout)}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(handle, _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(handle)
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        except OSError as failed:
            made.append(failed)

    thread = threading.Thread(target=make_socket)
    thread.start()
    thread.join()
    (connection,) = made
    if isinstance(connection, OSError):
        raise connection
    connection.settimeout(timeout_s)
    try:
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


def _ip(name: str, *arguments: str) -> None:
    _run(["ip", "-n", name, *arguments])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedError(f"{' '.join(argv)}: {done.stderr.strip()}")
