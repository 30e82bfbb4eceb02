"""Two nodes in network namespaces of their own, joined by a cable; guests have NICs there."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import msgspec

from nodeagent.calls import InstanceSpec, NicSpec
from tests.nodeagent.kvm.launching import Value
from tests.nodeagent.kvm.real_node import RealNode

NIC = NicSpec(uuid="n1", index=0, mac="aa:00:00:00:00:01", link="br0")
SECOND = NicSpec(uuid="n2", index=1, mac="aa:00:00:00:00:02", link="br0")


class NetworkNode(RealNode):
    """A node in a namespace. Its guests' taps are tap0 (in use) and tap1."""

    def __init__(self, home: Path, disk: Path, number: int) -> None:
        self.namespace = f"kvm{os.getpid()}-{number}"
        super().__init__(home, disk, number)
        self.address = f"10.77.0.{number}"
        self._inside = ("ip", "netns", "exec", self.namespace)

    def guest(
        self,
        *,
        generation: int = 1,
        memory_mib: int = 128,
        hvparams: Mapping[str, Value] = MappingProxyType({}),
    ) -> InstanceSpec:
        """The instance, with a NIC."""
        spec = super().guest(generation=generation, memory_mib=memory_mib, hvparams=hvparams)
        return msgspec.structs.replace(spec, nics=(NIC,))

    def interfaces(self) -> tuple[str, ...]:
        """The tap of its NIC."""
        return ("tap0",)

    def make_taps(self, *, queues: bool = False) -> None:
        """Make the taps anew."""
        for tap in ("tap0", "tap1"):
            if f"{tap}:" in _ip("-n", self.namespace, "link"):
                _ip("-n", self.namespace, "link", "del", tap)
            several = ("multi_queue",) if queues else ()
            _ip("-n", self.namespace, "tuntap", "add", tap, "mode", "tap", "vnet_hdr", *several)
            _ip("-n", self.namespace, "link", "set", tap, "up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be in the namespace with this thread, as the node's agent would."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(back)
            os.close(back)
            os.close(there)

    def carrier(self, tap: str) -> bool:
        """Whether a guest has the tap open."""
        shown = _ip("-n", self.namespace, "link", "show", tap)
        return "LOWER_UP" in shown


@contextmanager
def cabled(home: Path, disk: Path) -> Iterator[tuple[NetworkNode, NetworkNode]]:
    """Yield two nodes that reach each other. Needs root and iproute2."""
    one, two = NetworkNode(home, disk, 1), NetworkNode(home, disk, 2)
    try:
        for node in (one, two):
            _ip("netns", "add", node.namespace)
            _ip("-n", node.namespace, "link", "set", "lo", "up")
            node.make_taps()
        _ip("-n", one.namespace, "link", "add", "cable", "type", "veth",
            "peer", "cable", "netns", two.namespace)  # fmt: skip
        for node in (one, two):
            _ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", "cable")
            _ip("-n", node.namespace, "link", "set", "cable", "up")
        yield one, two
    finally:
        for node in (one, two):
            node.close()
            subprocess.run(["ip", "netns", "del", node.namespace], check=False)


def _enter(namespace: int) -> None:
    """setns(2), which Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*words: str) -> str:
    ran = subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    return ran.stdout
