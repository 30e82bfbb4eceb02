"""What the agent asks of the network: interfaces of guests, and the master's address (pure).

`NetworkDriver` is for bridges, routed interfaces and Open vSwitch; one driver serves one or more
`NicSpec.mode`s. Interfaces are made before the guest starts and removed after it has ended.

`AddressDriver` is for the one address by which the cluster's master is reached. It belongs to the
running system alone: a restart of the machine loses it, and nothing may bring it up at boot. A node
that was cut off may hold it still when another one gets it; so whoever gets it says so to its
neighbours, and tells who else answered for it just before.

While a guest is on its way here (`incoming`) it runs elsewhere, so its interface is there for the
hypervisor, but nothing is routed to it yet: both nodes would answer for its address. Once it has
arrived, `ensure_up` is asked again without `incoming`.

Everything may be repeated. Errors: Missing (no such link), BadCall (a mode, address or VLAN that
cannot be), StateMismatch (a link that cannot do what is wanted of it), CommandFailed (a site's
script), Stopped.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from nodeagent.calls import InstanceSpec, NicSpec
from nodeagent.task_scope import TaskScope


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

    def ensure_up(
        self, instance: InstanceSpec, nic: NicSpec, *, scope: TaskScope, incoming: bool = False
    ) -> str:
        """The interface of this NIC exists and is connected as the NIC says. Returns its name.

        One that is connected otherwise is connected anew, without the guest noticing.
        """

    def ensure_down(self, instance: str, *, nic: str | None = None, scope: TaskScope) -> None:
        """The instance (uuid) has no interfaces here; with `nic` (uuid), not that one."""

    def bridges(self) -> tuple[str, ...] | None:
        """The links that bridged NICs can be connected to here; None: any, or it serves none."""

    def instances(self) -> tuple[str, ...]:
        """The instances (uuids) that have interfaces here."""


class AddressDriver(Protocol):
    """The master's address on this node."""

    def needs(self) -> tuple[str, ...]:
        """What is missing for it to work, one sentence each."""

    def ensure_address(self, address: str, *, prefix: int, device: str) -> tuple[str, ...]:
        """`address` (IPv4 or IPv6) with `prefix` bits of network is on `device`, and every
        neighbour was told (gratuitous ARP, RFC 5227 section 3; unsolicited neighbour
        advertisement, RFC 4861 section 7.2.6), also if it was there before.

        Returns the link addresses of other machines that answered for it just before, () as a rule:
        it is taken all the same. Waits at most two seconds for such answers.
        """

    def ensure_no_address(self, address: str, *, device: str) -> None:
        """`address` is not on `device`, whatever its prefix; a device that is gone is no error."""

    def holds(self, address: str) -> bool:
        """Whether it is on any device here."""
