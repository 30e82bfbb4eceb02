"""A simulated network: interfaces are entries of a file (edge)."""

from __future__ import annotations

from pathlib import Path

from nodeagent.calls import NicSpec
from nodeagent.errors import Missing
from nodeagent.network.contract import NetworkCapabilities
from nodeagent.simulated.state_file import Counted, StateFile


class NetworkState(Counted, kw_only=True):
    """Interfaces by name, per instance: what they are connected to."""

    interfaces: dict[str, dict[str, str]] = {}


class SimulatedNetwork:
    """The interfaces of guests of one node; implements `NetworkDriver`."""

    modes = ("bridged", "routed", "openvswitch")
    capabilities = NetworkCapabilities(vlans=True)

    def __init__(self, state: Path, *, links: tuple[str, ...]) -> None:
        self._links = links
        self._file = StateFile(state, NetworkState)

    def needs(self) -> tuple[str, ...]:
        """Nothing is missing: it is simulated."""
        return ()

    def ensure_up(self, instance: str, nic: NicSpec) -> str:
        """See NetworkDriver."""
        if self._links and nic.mode != "routed" and nic.link not in self._links:
            raise Missing(
                f"there is no link {nic.link!r} on this node",
                hint=f"make it, or use one of {', '.join(self._links)}",
            )
        name = f"sim{nic.uuid[:8]}"
        with self._file.change() as state:
            mine = state.interfaces.setdefault(instance, {})
            if mine.get(name) != nic.link:
                mine[name] = nic.link
                state.effect("up-interface", nic.uuid)
        return name

    def ensure_down(self, instance: str) -> None:
        """See NetworkDriver."""
        with self._file.change() as state:
            for name in state.interfaces.pop(instance, {}):
                state.effect("down-interface", name)

    def interfaces(self, instance: str) -> tuple[str, ...]:
        """The names of an instance's interfaces."""
        return tuple(sorted(self._file.read().interfaces.get(instance, {})))

    def effects(self) -> dict[str, int]:
        """How often each effect happened."""
        return dict(self._file.read().effects)
