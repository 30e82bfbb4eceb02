"""Parameters: their tables, defaults, and the values in force by inheritance (pure).

An object holds only what was set on it. What is in force is found from the outside in, the nearest
setting wins:

    beparams    default < cluster < instance
    hvparams    default < cluster < cluster's for the OS < instance     (per hypervisor)
    nicparams   default < cluster < interface
    ndparams    default < cluster < group < node
    diskparams  default < cluster < group < disk                        (per disk template)

The tables (names, types, defaults, limits) are in `params.json`; they are Ganeti's 3.1. The file is
part of the program: reading it, once, is no more I/O than an import.
"""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

from projections.cluster import Cluster
from projections.objects import ClusterInfo, Disk, Instance, Nic, Node, Params, Value


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter. `type`: string, maybe-string, bool, int, float, size (MiB)."""

    type: str
    default: Value
    required: bool = False  # may not be empty
    choices: tuple[Value, ...] = ()
    cluster_global: bool = False  # is set on the cluster only
    ge: int | None = None
    le: int | None = None
    pattern: str = ""  # a regular expression for the whole value
    path: str = ""  # "absolute", "or URL": the value is an absolute path on the node


Table = dict[str, Parameter]


class Tables(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All parameters there are, by name; of hypervisors and disk templates by those first."""

    beparams: Table
    nicparams: Table
    ndparams: Table
    hvparams: dict[str, Table]
    diskparams: dict[str, Table]


@functools.cache
def tables() -> Tables:
    """Return the tables."""
    text = resources.files("projections").joinpath("params.json").read_bytes()
    return msgspec.json.decode(text, type=Tables)


def defaults(table: Table) -> Params:
    """Return the default of every parameter of a table."""
    return {name: parameter.default for name, parameter in table.items()}


def backend(info: ClusterInfo, beparams: Params) -> Params:
    """Return the backend parameters in force of an instance on which `beparams` are set."""
    return {**defaults(tables().beparams), **info.beparams, **beparams}


def hypervisor(info: ClusterInfo, name: str, os: str, hvparams: Params) -> Params:
    """Return the parameters in force of hypervisor `name`. An unknown one has none of its own.

    `os` may have a variant (`debootstrap+testing`): what is set for the OS holds for all of its
    variants, what is set for the variant is nearer.
    """
    table = tables().hvparams.get(name, {})
    family = os.partition("+")[0]
    return {
        **defaults(table),
        **info.hvparams.get(name, {}),
        **info.os_hvp.get(family, {}).get(name, {}),
        **info.os_hvp.get(os, {}).get(name, {}),
        **hvparams,
    }


def of_os(info: ClusterInfo, os: str, osparams: dict[str, str]) -> dict[str, str]:
    """Return the parameters in force of an OS definition: its own, its variant's, the given."""
    family = os.partition("+")[0]
    return {**info.osparams.get(family, {}), **info.osparams.get(os, {}), **osparams}


def interface(info: ClusterInfo, nicparams: Params) -> Params:
    """Return the parameters in force of an interface on which `nicparams` are set."""
    return {**defaults(tables().nicparams), **info.nicparams, **nicparams}


def storage(cluster: Cluster, group: str, template: str, diskparams: Params) -> Params:
    """Return the parameters in force of a disk of this template, in the group of that uuid."""
    own = cluster.groups[group].diskparams if group in cluster.groups else {}
    return {
        **defaults(tables().diskparams.get(template, {})),
        **cluster.settings.diskparams.get(template, {}),
        **own.get(template, {}),
        **diskparams,
    }


def of_instance(cluster: Cluster, instance: Instance) -> Params:
    """Return the backend parameters in force of an instance."""
    return backend(cluster.settings, instance.beparams)


def of_hypervisor(cluster: Cluster, instance: Instance) -> Params:
    """Return the hypervisor parameters in force of an instance."""
    return hypervisor(cluster.settings, instance.hypervisor, instance.os, instance.hvparams)


def of_nic(cluster: Cluster, nic: Nic) -> Params:
    """Return the parameters in force of an interface."""
    return interface(cluster.settings, nic.params)


def of_node(cluster: Cluster, node: Node) -> Params:
    """Return the node parameters in force of a node."""
    group = cluster.groups.get(node.group)
    return {
        **defaults(tables().ndparams),
        **cluster.settings.ndparams,
        **({} if group is None else group.ndparams),
        **node.ndparams,
    }


def of_disk(cluster: Cluster, instance: Instance, disk: Disk) -> Params:
    """Return the disk parameters in force of a disk, which its primary node's group decides."""
    primary = cluster.nodes.get(instance.primary)
    group = "" if primary is None else primary.group
    return storage(cluster, group, disk.template, disk.params)
