"""What the agent asks of the network: an interface for each NIC of a guest (pure).

For bridges, routed interfaces and Open vSwitch; one driver serves one or more `NicSpec.mode`s.
Interfaces are made before the guest starts and removed after it has ended; both may be repeated.

Errors: Missing (no such link), BadCall (a mode or VLAN that cannot be), CommandFailed.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from nodeagent.calls import NicSpec


class NetworkCapabilities(NamedTuple):
    """What a network driver can do."""

    vlans: bool = False
    hotplug: bool = True


class NetworkDriver(Protocol):
    """Interfaces of guests on this node."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The values of `NicSpec.mode` that it serves."""

    @property
    def capabilities(self) -> NetworkCapabilities:
        """What it can do."""

    def needs(self) -> tuple[str, ...]:
        """What is missing for it to work, one sentence each."""

    def ensure_up(self, instance: str, nic: NicSpec) -> str:
        """The interface of this NIC exists and is connected to its link. Returns its name."""

    def ensure_down(self, instance: str) -> None:
        """The instance (uuid) has no interfaces here."""
