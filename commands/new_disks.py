"""Disks that do not exist yet: what was asked for, and how it will lie on the nodes (pure).

Volumes get a new name at each use (`<uuid>.disk0_data`), so a call that acts late can never meet a
later volume of the same name. Minors are the lowest that are free on each node, a port the lowest
that is free on both.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from commands import parse
from commands.capacity import disk_need_mib, lowest_free, minors_in_use, ports_in_use
from commands.errors import WRONG_INPUT, WRONG_STATE, Refused
from commands.given import Given
from projections import params
from projections.cluster import Cluster
from projections.objects import Disk, Side, Value
from projections.plans import Reservation

MAX_DISKS = 16
DiskWish = dict[str, Value]  # as in the opcode: size, mode, name, vg, metavg, ...
NOT_YET = {
    "access": "it belongs to disk templates that are not there yet",
    "provider": "it belongs to disk templates that are not there yet",
    "dev_type": "all disks of an instance have the template of the instance",
}
KNOWN = frozenset({"adopt", "size", "mode", "name", "vg", "metavg", "spindles"})
TEMPLATES = frozenset({"blockdev", "diskless", "drbd", "file", "plain", "sharedfile"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """One disk that was asked for; "" where the cluster's default holds."""

    size_mib: int
    mode: str = "rw"
    name: str = ""
    vg: str = ""
    metavg: str = ""
    spindles: int | None = None  # on so many disks of the node that hold nothing else
    adopt: str = ""  # what is taken over, as it was typed; its size is not known beforehand


def template_for(cluster: Cluster, asked: str | None) -> str:
    """Return the disk template. Raises Refused unless it is one that the cluster has enabled."""
    enabled = cluster.settings.enabled_disk_templates
    template = asked or enabled[0]
    if template not in enabled:
        raise Refused(
            WRONG_STATE if template in TEMPLATES else WRONG_INPUT,
            f"disk template {template} is not enabled in this cluster",
            hint=f"one of {', '.join(sorted(enabled))}; "
            "gnt-cluster modify --enabled-disk-templates changes that",
        )
    if template not in TEMPLATES:
        raise Refused(
            WRONG_INPUT,
            f"disk template {template} is not supported yet",
            hint=f"one of {', '.join(sorted(TEMPLATES))}",
        )
    return template


def wanted_disks(wishes: Iterable[DiskWish], template: str) -> tuple[Wanted, ...]:
    """Return what was asked for. Raises Refused if it makes no sense for the template."""
    wanted = tuple(_wanted(index, wish) for index, wish in enumerate(wishes))
    if template == "diskless" and wanted:
        raise Refused(
            WRONG_INPUT,
            "a diskless instance has no disks",
            hint="leave the disks out, or take plain",
        )
    if template != "diskless" and not wanted:
        raise Refused(
            WRONG_INPUT,
            f"an instance on {template} needs a disk",
            hint="give a size: -s 10G, or --disk 0:size=10G; or take -t diskless",
        )
    if len(wanted) > MAX_DISKS:
        raise Refused(
            WRONG_INPUT, f"{len(wanted)} disks are too many", hint=f"at most {MAX_DISKS} disks"
        )
    return wanted


def _wanted(index: int, wish: DiskWish) -> Wanted:
    for key in wish:
        if key in NOT_YET:
            raise Refused(
                WRONG_INPUT,
                f"disk {index}: {key} is not supported yet: {NOT_YET[key]}",
                hint=f"leave {key} out",
            )
        if key not in KNOWN:
            raise Refused(
                WRONG_INPUT, f"disk {index}: unknown setting {key}", hint=", ".join(sorted(KNOWN))
            )
    adopt = str(wish.get("adopt") or "")
    if adopt and wish.get("size"):
        raise Refused(
            WRONG_INPUT,
            f"disk {index}: what is taken over has a size already",
            hint="adopt or size, not both",
        )
    if not adopt and "size" not in wish:
        raise Refused(WRONG_INPUT, f"disk {index} has no size", hint="size=10G")
    return Wanted(
        size_mib=0 if adopt else parse.size_mib(wish["size"], f"disk {index}"),
        adopt=adopt,
        mode=parse.choice(str(wish.get("mode") or "rw"), ("ro", "rw"), "access mode"),
        name=str(wish.get("name") or ""),
        vg=str(wish.get("vg") or ""),
        metavg=str(wish.get("metavg") or ""),
        spindles=_spindles(index, wish.get("spindles")),
    )


def _spindles(index: int, value: Value) -> int | None:
    if value in (None, ""):
        return None
    if not str(value).isdecimal() or int(str(value)) < 1:
        raise Refused(
            WRONG_INPUT, f"disk {index}: {value!r} spindles cannot be", hint="a number from 1 on"
        )
    return int(str(value))


def file_directory(cluster: Cluster, template: str, below: str | None) -> str:
    """Return the directory on the nodes for disks of a template that lie in files, or "".

    `below`: a directory relative to the cluster's. Raises Refused where the cluster has none.
    """
    if template not in ("file", "sharedfile"):
        return ""
    shared = template == "sharedfile"
    info = cluster.settings
    top = info.shared_file_storage_dir if shared else info.file_storage_dir
    if not top:
        option = f"--{'shared-' if shared else ''}file-storage-dir"
        raise Refused(
            WRONG_STATE,
            f"the cluster has no directory for {template} disks",
            hint=f"gnt-cluster modify {option}=/srv/...",
        )
    if below and (below.startswith("/") or ".." in below.split("/")):
        raise Refused(
            WRONG_INPUT,
            f"{below!r} is not a directory below {top}",
            hint="a relative path without ..",
        )
    return f"{top}/{below.strip('/')}" if below else top


class Numbers:
    """Numbers that are free on nodes. Each `take_` gives the next one, and remembers it."""

    def __init__(
        self, cluster: Cluster, nodes: Iterable[str], *, partners: Iterable[str] = ()
    ) -> None:
        """Look at what is in use. `partners` keep what they have of the disks; a new port must be
        free there too, for both sides of a mirror have the same."""
        self._first_port = cluster.settings.drbd_port_first
        every = tuple(nodes)
        self._minors = {node: minors_in_use(cluster, node) for node in every}
        self._ports = ports_in_use(cluster, every)
        self._ports_of_partners = ports_in_use(cluster, partners)
        self._taken: dict[str, list[int]] = {}
        self._ports_taken: list[int] = []

    def take_minor(self, node: str) -> int:
        """Return the lowest DRBD minor that is free on `node`."""
        minor = lowest_free(self._minors[node])
        self._minors[node].add(minor)
        self._taken.setdefault(node, []).append(minor)
        return minor

    def take_port(self) -> int:
        """Return the lowest port that is free on all nodes, partners included."""
        port = lowest_free(self._ports | self._ports_of_partners, self._first_port)
        self._ports.add(port)
        self._ports_taken.append(port)
        return port

    def keep_port(self, port: int | None) -> int | None:
        """Return `port` if it is free on all nodes too, else another one."""
        return port if port is None or port not in self._ports else self.take_port()

    @property
    def minors_taken(self) -> Mapping[str, list[int]]:
        """The minors drawn so far, by node."""
        return self._taken

    @property
    def ports_taken(self) -> tuple[int, ...]:
        """The ports drawn so far."""
        return tuple(self._ports_taken)


def lay_out(
    cluster: Cluster,
    given: Given,
    wanted: Iterable[Wanted],
    *,
    template: str,
    nodes: tuple[str, ...],
    numbers: Numbers,
    directory: str = "",
    first: int = 0,
) -> tuple[Disk, ...]:
    """Return new disks of an instance whose nodes are `nodes`, the primary first.

    Their volumes are named as those of disk `first` and on.
    """
    return tuple(
        _lay_out(cluster, given, index, wish, template, nodes, numbers, directory)
        for index, wish in enumerate(wanted, first)
    )


def _lay_out(
    cluster: Cluster,
    given: Given,
    index: int,
    wish: Wanted,
    template: str,
    nodes: tuple[str, ...],
    numbers: Numbers,
    directory: str,
) -> Disk:
    name = given.uuid(f"volume/{index}")
    group = cluster.nodes[nodes[0]].group
    if wish.spindles is not None:
        _require_exclusive(cluster, index, template, nodes)
    if template == "drbd":
        data, meta = drbd_volumes(cluster, name, index, vg=wish.vg, metavg=wish.metavg, group=group)
        sides = tuple(
            Side(
                node=node,
                volume=data,
                meta_volume=meta,
                minor=numbers.take_minor(node),
                node_id=number,
            )
            for number, node in enumerate(nodes)
        )
    elif template == "plain":
        vg = wish.vg or cluster.settings.vg_name
        sides = (Side(node=nodes[0], volume=f"{vg}/{name}.disk{index}"),)
    elif template == "blockdev":
        sides = (Side(node=nodes[0], volume=posixpath.normpath(wish.adopt)),)
    else:
        sides = (Side(node=nodes[0], volume=f"{directory}/{name}.{template}.disk{index}"),)
    return Disk(
        uuid=given.uuid(f"disk/{index}"),
        size_mib=wish.size_mib,
        template=template,
        sides=sides,
        mode=wish.mode,
        name=wish.name,
        port=numbers.take_port() if template == "drbd" else None,
        vg=wish.vg,
        spindles=wish.spindles,
        params={"metavg": wish.metavg} if wish.metavg and template == "drbd" else {},
    )


def _require_exclusive(cluster: Cluster, index: int, template: str, nodes: tuple[str, ...]) -> None:
    """Raise Refused unless disks of this template have disks of the nodes for themselves."""
    shared = [
        cluster.nodes[node].name
        for node in nodes
        if not params.of_node(cluster, cluster.nodes[node])["exclusive_storage"]
    ]
    if shared or template != "plain":
        raise Refused(
            WRONG_INPUT,
            f"disk {index}: spindles are counted only for plain disks on nodes with exclusive "
            f"storage{f', not on {shared[0]}' if shared else ''}",
            hint="leave spindles out; or gnt-group modify --node-parameters exclusive_storage=yes",
        )


def drbd_volumes(
    cluster: Cluster, name: str, index: int, *, vg: str, metavg: str, group: str
) -> tuple[str, str]:
    """Return the names of the data and the metadata volume of one side of a mirror.

    Metadata go to the volume group that the disk, the group or the cluster names for them; where
    none of them does, to the cluster's own.
    """
    main = cluster.settings.vg_name
    set_on = {
        **cluster.settings.diskparams.get("drbd", {}),
        **cluster.groups[group].diskparams.get("drbd", {}),
    }
    meta_group = metavg or str(set_on.get("metavg") or main)
    return f"{vg or main}/{name}.disk{index}_data", f"{meta_group}/{name}.disk{index}_meta"


def reservations(
    disks: Iterable[Disk],
    *,
    nodes: Iterable[str],
    primary: str,
    memory_mib: int,
    vcpus: int,
    numbers: Numbers,
) -> tuple[Reservation, ...]:
    """Return what new disks on `nodes`, memory and CPUs on `primary`, take from each node."""
    laid = tuple(disks)
    return tuple(
        Reservation(
            node=node,
            memory_mib=memory_mib if node == primary else 0,
            disk_mib=sum(disk_need_mib(disk.template, (disk.size_mib,)) for disk in laid),
            minors=tuple(numbers.minors_taken.get(node, ())),
            vcpus=vcpus if node == primary else 0,
        )
        for node in nodes
    )
