"""What a version of DRBD must be able to do for the driver (drbd.py), one method for each effect.

Drbd84 and Drbd9 are the two. Names of resources, numbers of minors and addresses are what DRBD
knows; disks are the business of the driver.
"""

from __future__ import annotations

from typing import Protocol

from nodeagent.errors import CommandFailed
from nodeagent.storage.drbd_options import Params
from nodeagent.storage.drbd_state import MinorState, Resource
from nodeagent.task_scope import TaskScope


class DrbdTool(Protocol):
    """Acts on the DRBD of one node. `resource` is a name, `peer_node` DRBD's number of the peer."""

    @property
    def layout(self) -> str:
        """Of its metadata: v08 or v09."""

    def needs(self) -> tuple[str, ...]:
        """What is missing for it to work."""

    def states(self) -> dict[int, MinorState]:
        """The state of each minor now; none if the module is not loaded."""

    def glance(self) -> dict[int, MinorState]:
        """The same, perhaps some seconds old: for whoever looks all the time."""

    def resources(self, scope: TaskScope) -> dict[str, Resource]:
        """The configuration of each resource."""

    def size_mib(self, minor: int) -> int:
        """The size of a minor, 0 if it has none. No command."""

    def kernel_words(self, resource: str, minor: int, scope: TaskScope) -> str:
        """What the kernel said last of a mirror, for a person."""

    def create_metadata(self, minor: int, meta: str, scope: TaskScope) -> None:
        """New metadata of a side without data. What was on the device is lost."""

    def create_filled_metadata(
        self, minor: int, meta: str, *, generation: int, size_mib: int, peer_node: int,
        scope: TaskScope,
    ) -> None:  # fmt: skip
        """New metadata of a side whose data are in order. What was on the device is lost."""

    def apply_log(self, minor: int, meta: str, scope: TaskScope) -> None:
        """The activity log of earlier use is in the bitmap; without that, `attach` is refused."""

    def new_resource(self, resource: str, node_id: int | None, scope: TaskScope) -> None:
        """There is a resource of this name, in which this node has this number."""

    def new_minor(self, resource: str, minor: int, scope: TaskScope) -> None:
        """The resource has this minor, as its volume 0."""

    def attach(
        self, minor: int, data: str, meta: str, *, size_mib: int, params: Params, scope: TaskScope
    ) -> None:
        """The minor stands on these devices. An error of theirs detaches it: the peer goes on."""

    def set_disk_options(
        self, resource: str, minor: int, peer_node: int | None, params: Params, scope: TaskScope
    ) -> None:
        """The disk has the options of these parameters, and of all others the defaults."""

    def detach(self, minor: int, scope: TaskScope) -> None:
        """The minor has no disk. A primary without a peer loses its data by this: ask first."""

    def resize(self, minor: int, size_mib: int, *, alone: bool, scope: TaskScope) -> None:
        """The mirror has this size on both sides; one must be primary."""

    def down(self, resource: str, scope: TaskScope) -> None:
        """The resource is gone with its minor. If it is in use this fails half-way: ask first."""

    def connect(
        self, resource: str, present: Resource, wanted: Resource, *, params: Params, secret: str,
        scope: TaskScope,
    ) -> None:  # fmt: skip
        """The resource, which has no connection now, looks for the peer that is `wanted`."""

    def disconnect(self, resource: str, present: Resource, scope: TaskScope) -> None:
        """The resource has no peer."""

    def allow_two_primaries(
        self, resource: str, present: Resource, *, allow: bool, scope: TaskScope
    ) -> None:
        """Its peer may be primary too, or not."""

    def promote(self, resource: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        """It is primary; returns why not."""

    def demote(self, resource: str, minor: int, scope: TaskScope) -> CommandFailed | None:
        """It is secondary; returns why not."""
