"""A simulated network: interfaces and the master's address are entries of a file (edge).

All nodes of a lab share one wire: whoever takes an address finds the others that have it.
"""

from __future__ import annotations

from ipaddress import ip_address

from nodeagent.calls import HostFacts, InstanceSpec, NicSpec, Probe
from nodeagent.errors import BadCall, Missing
from nodeagent.host import clock_ms
from nodeagent.network.contract import NetworkCapabilities
from nodeagent.network.rules import BRIDGED, OPENVSWITCH, ROUTED, check_nic
from nodeagent.simulated.lab import Lab
from nodeagent.simulated.state_file import Counted, StateFile
from nodeagent.task_scope import TaskScope

FILE = "network.json"


class NetworkState(Counted, kw_only=True):
    """Interfaces by name, per instance, and what they are connected to; addresses and where."""

    interfaces: dict[str, dict[str, str]] = {}
    addresses: dict[str, str] = {}  # the device that each is on


class SimulatedNetwork:
    """The network of one node; implements `NetworkDriver` and `AddressDriver`.

    The other machines of its lab share its wire.
    """

    modes = (BRIDGED, ROUTED, OPENVSWITCH)
    capabilities = NetworkCapabilities(vlans=True)

    def __init__(self, lab: Lab, *, links: tuple[str, ...]) -> None:
        self._lab, self._links = lab, links
        self._file = StateFile(lab.home / FILE, NetworkState)

    def needs(self) -> tuple[str, ...]:
        """Nothing is missing: it is simulated."""
        return ()

    def ensure_up(
        self, instance: InstanceSpec, nic: NicSpec, *, scope: TaskScope, incoming: bool = False
    ) -> str:
        """See NetworkDriver."""
        check_nic(nic)
        if nic.mode != ROUTED:
            self._known(nic.link)
        name = _name(nic.uuid)
        connected = " ".join(("incoming",) if incoming else (nic.link, nic.vlan, nic.ip)).strip()
        with self._file.change() as state:
            mine = state.interfaces.setdefault(instance.uuid, {})
            if mine.get(name) != connected:
                state.effect(
                    "up-interface" if name not in mine else "reconnect-interface", nic.uuid
                )
                mine[name] = connected
        return name

    def ensure_down(self, instance: str, *, nic: str | None = None, scope: TaskScope) -> None:
        """See NetworkDriver."""
        with self._file.change() as state:
            mine = state.interfaces.get(instance, {})
            for name in [_name(nic)] if nic else list(mine):
                if mine.pop(name, None) is not None:
                    state.effect("down-interface", name)
            if not mine:
                state.interfaces.pop(instance, None)

    def ensure_address(self, address: str, *, prefix: int, device: str) -> tuple[str, ...]:
        """See AddressDriver."""
        self._known(device)
        _checked(address, prefix)
        with self._file.change() as state:
            if state.addresses.get(address) != device:
                state.addresses[address] = device
                state.effect("add-address", address)
            state.effect("announce", address)
        return tuple(
            other.name
            for other in self._lab.others()
            if address in StateFile(other / FILE, NetworkState).read().addresses
        )

    def ensure_no_address(self, address: str, *, device: str) -> None:
        """See AddressDriver."""
        with self._file.change() as state:
            if state.addresses.get(address) == device:
                del state.addresses[address]
                state.effect("remove-address", address)

    def holds(self, address: str) -> bool:
        """See AddressDriver."""
        return address in self._file.read().addresses

    def facts(self, probe: Probe) -> HostFacts:
        """What is seen of the machine: it has every address that it should."""
        missing = [link for link in probe.links if self._links and link not in self._links]
        return HostFacts(clock_ms=clock_ms(), missing_links=tuple(missing))

    def lose_power(self) -> None:
        """All of it is kept in memory."""
        with self._file.change() as state:
            state.interfaces.clear()
            state.addresses.clear()

    def _known(self, device: str) -> None:
        if self._links and device not in self._links:
            raise Missing(
                f"there is no link {device!r} on this node",
                hint=f"make it, or use one of {', '.join(self._links)}",
            )

    def bridges(self) -> tuple[str, ...] | None:
        """See NetworkDriver."""
        return self._links or None

    def instances(self) -> tuple[str, ...]:
        """See NetworkDriver."""
        return tuple(sorted(self._file.read().interfaces))

    def interfaces(self, instance: str) -> tuple[str, ...]:
        """The names of an instance's interfaces."""
        return tuple(sorted(self._file.read().interfaces.get(instance, {})))

    def effects(self) -> dict[str, int]:
        """How often each effect happened."""
        return dict(self._file.read().effects)


def _name(nic: str) -> str:
    return f"sim{nic[:8]}"


def _checked(address: str, prefix: int) -> None:
    try:
        bits = ip_address(address).max_prefixlen
    except ValueError as wrong:
        raise BadCall(str(wrong), hint="give an IPv4 or IPv6 address") from None
    if not 0 < prefix <= bits:
        raise BadCall(f"a network of {prefix} bits for {address}", hint=f"1 to {bits}")
