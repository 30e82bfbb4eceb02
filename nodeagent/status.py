"""What is seen of the node now: the answer to status and probe (edge)."""

from __future__ import annotations

import logging
import os
import time
from importlib import metadata

from nodeagent.calls import NodeStatus, OsSeen
from nodeagent.errors import NodeAgentError
from nodeagent.executor import Drivers

_log = logging.getLogger(__name__)
_EVERY_S = 2.0  # between two looks at what changes by a person's hand alone


class StatusReader:
    """Reads the state of a node from its drivers."""

    def __init__(self, node: str, drivers: Drivers) -> None:
        self._node = node
        self._drivers = drivers
        self._versions = {"kernel": os.uname().release, "cairn": metadata.version("cairn")}
        for hypervisor in drivers.hypervisors:
            self._versions |= hypervisor.versions()
        self._os: tuple[OsSeen, ...] = ()
        self._bridges: tuple[str, ...] | None = None
        self._allocators: tuple[str, ...] = ()
        self._looked_s = -_EVERY_S

    def read(self) -> NodeStatus:
        """Return what is seen now. Cheap enough for once a second."""
        self._look()
        drivers = self._drivers
        machine = drivers.hypervisors[0]
        memory, cpus = machine.memory(), machine.cpus()
        lvm, file = drivers.disks.space("lvm"), drivers.disks.space("file")
        return NodeStatus(
            node=self._node,
            boot_id=drivers.boot_id,
            memory_total_mib=memory.total_mib,
            memory_free_mib=memory.free_mib,
            memory_own_mib=memory.own_mib,
            disk_total_mib=lvm.total_mib,
            disk_free_mib=lvm.free_mib,
            cpus=cpus.cpus,
            cpu_sockets=cpus.sockets,
            cpu_nodes=cpus.numa_nodes,
            instances=tuple(seen for hv in drivers.hypervisors for seen in hv.seen()),
            disks=drivers.disks.seen(),
            simulated=drivers.simulated,
            versions={**self._versions, **drivers.versions()},
            file_total_mib=file.total_mib,
            file_free_mib=file.free_mib,
            os=self._os,
            bridges=self._bridges,
            allocators=self._allocators,
        )

    def _look(self) -> None:
        """Look for OS definitions and allocators, which are files, and bridges, now and then."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _EVERY_S:
            return
        self._looked_s = now_s
        self._os = tuple(
            OsSeen(each.name, each.variants, each.problem)
            for each in self._drivers.os.definitions()
        )
        self._bridges = self._bridges_now()
        self._allocators = self._drivers.allocators.names()

    def _bridges_now(self) -> tuple[str, ...] | None:
        try:
            told = [net.bridges() for net in self._drivers.networks]
        except NodeAgentError as failed:
            _log.warning("bridges cannot be listed: %s", failed)
            return None
        lists = [each for each in told if each is not None]
        return tuple(sorted({name for names in lists for name in names})) if lists else None
