"""Network namespaces for tests: what is made there never touches the machine that runs them.

A namespace is held by a process of its own and gone with it. Tests of a driver need root; where
they are run by somebody else they say that they were skipped.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_CLONE_NEWNET = 0x40000000
_PLUGGED_S = 10.0
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may make network namespaces and interfaces"
)
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with nothing in it but a loopback that is up."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.pid = self._holder.pid

    def close(self) -> None:
        """Let it go, with all that is in it."""
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def ip(self, command: str) -> str:
        """Run `ip` in it and return what it printed."""
        return self.run(["ip", *command.split()])

    def run(self, argv: list[str]) -> str:
        """Run a command in it and return what it printed."""
        inside = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]
        return subprocess.run(inside, check=True, stdout=subprocess.PIPE, text=True).stdout

    @contextmanager
    def reading(self, argv: list[str]) -> Iterator[Iterator[str]]:
        """Run a command in it that goes on; the block may wait for its lines, one by one."""
        inside = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]
        with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield iter(process.stdout)
            finally:
                process.terminate()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block this thread is in the namespace."""
        with open("/proc/thread-self/ns/net") as outside:
            with open(f"/proc/{self.pid}/ns/net") as inside:
                _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(outside.fileno())

    def connect(self, other: Namespace, *, bridge: str = "br0") -> None:
        """Join a bridge here and one there by a cable; returns when both hear each other.

        The kernel notes that a cable is plugged in up to a second later (linkwatch), and tells
        nobody who asks only then: until it has, frames are lost.
        """
        self.ip(f"link add cable type veth peer name cable netns {other.pid}")
        for end in (self, other):
            end.ip(f"link set cable master {bridge} up")
        for end in (self, other):
            until = time.monotonic() + _PLUGGED_S
            while "state UP" not in end.ip(f"link show {bridge}"):
                assert time.monotonic() < until, end.ip("link show")
                time.sleep(0.02)


class Inside:
    """An object whose methods run in a namespace, and otherwise are what they are."""

    def __init__(self, namespace: Namespace, inner: object) -> None:
        self._namespace, self._inner = namespace, inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value
        method: Callable[..., Any] = value

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._namespace.entered():
                return method(*args, **kwargs)

        return call


def with_bridge(name: str = "br0") -> Namespace:
    """Return a namespace with a bridge."""
    namespace = Namespace()
    namespace.ip(f"link add {name} type bridge")
    namespace.ip(f"link set {name} up")
    return namespace


def _enter(handle: int) -> None:
    if _libc.setns(handle, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
