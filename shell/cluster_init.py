"""`gnt-cluster init`: make the log of a new cluster here, start its master daemon (edge).

The steps, in this order: the keys and the log (durable before any socket opens), the ticket of the
first node, the voters in this client's settings, the daemon; then the wait until it answers.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from commands import ipolicy, parse
from commands.cluster_ops.master_address import netmask, with_checked_address
from commands.cluster_ops.set_params import allocator_name, with_checked_allocator
from commands.errors import Refused
from commands.master import bootstrap
from commands.master.config import MasterConfig
from commands.parse import modified
from commands.uid_pool import uid_ranges
from eventstore.storage.layout import Layout
from projections import params
from projections.ipolicy import DEFAULTS
from projections.objects import NOTHING_SET, ClusterInfo, Params
from shell import config
from shell.failure import Failure, Status
from shell.master_start import account_of, hand_over, start, wait
from shell.order_table import CLIENT, POLICY
from shell.orders import need, policy_of
from shell.parsing import Words
from shell.session import Session
from shell.ticket_places import TICKET, lay_down

_LISTS = {
    "enabled_hypervisors": "enabled_hypervisors",
    "enabled_disk_templates": "enabled_disk_templates",
}
_PLAIN = {
    "vg_name": "vg_name",
    "prealloc_wipe_disks": "prealloc_wipe_disks",
    "mac_prefix": "mac_prefix",
    "file_storage_dir": "file_storage_dir",
    "shared_file_storage_dir": "shared_file_storage_dir",
    "candidate_pool_size": "candidate_pool_size",
    "master_netdev": "master_netdev",
    "master_ip": "master_ip",
}
_PARAMETERS = ("beparams", "nicparams", "ndparams", "hvparams", "diskparams")
_ALLOCATOR = ("default_iallocator", "default_iallocator_params")
# Ganeti's older way to write bounds: min, std and max of one size, or some of them.
_SPECS = {
    "ispecs_mem_size": "memory-size",
    "ispecs_cpu_count": "cpu-count",
    "ispecs_disk_count": "disk-count",
    "ispecs_disk_size": "disk-size",
    "ispecs_nic_count": "nic-count",
}
_HONOURED = {
    *_LISTS, *_PLAIN, *_PARAMETERS, *_ALLOCATOR, "master_netmask", "secondary_ip", *CLIENT,
    *POLICY, *_SPECS, "uid_pool",
}  # fmt: skip
# Ganeti's options about what Cairn does not have or do: they ask for nothing.
_MOOT = {"modify_etc_hosts", "modify_ssh_setup"}


def run(session: Session, words: Words) -> int:
    """Carry out init."""
    need(words, *(set(words.given) - _HONOURED - _MOOT))
    found = session.config
    master = found.config.master
    if master is None:
        raise Failure(
            f"{found.path} does not say where the master's files are to be",
            hint='add "master": {"directory": "/var/lib/cairn", "node": "node1"}',
            status=Status.NOT_CLUSTER,
        )
    directory = found.resolve(master.directory)
    if Layout(directory / bootstrap.LOG_DIRECTORY).log.exists():
        raise Failure(  # before anything of it is touched
            f"Cluster is already initialised: there is a log in {directory}",
            hint="gnt-cluster destroy gives a cluster up; move its directory away to begin anew",
        )
    if master.user:
        account_of(master.user)  # before anything is made
    founded = _found(session, words, directory, master)
    if found.config.ticket_dir:
        lay_down(found.resolve(found.config.ticket_dir) / master.node / TICKET, founded.ticket)
    else:
        place = (found.resolve(master.agent) if master.agent else directory) / TICKET
        lay_down(place, founded.ticket)
        session.note(f"The ticket of {master.node} is {place}")
    session.config = config.save(found, _with_voters(found.config, (founded.voter,)))
    log = found.resolve(master.log_file) if master.log_file else directory / "master.out"
    if master.user:
        log.touch(mode=0o600)
        hand_over(directory, master.user)
    wait(session, master, directory, start(master, directory, log), log)
    return Status.SUCCESS


def info_of(words: Words) -> ClusterInfo:
    """Return the settings that were asked for. Raises Refused for parameters that there are not."""
    values: dict[str, Any] = {"uuid": "", "name": words.args[0]}
    for dest, field in _LISTS.items():
        if dest in words.given:
            values[field] = tuple(filter(None, words.given[dest].split(",")))
    for dest, field in _PLAIN.items():
        if dest in words.given:
            values[field] = words.given[dest]
    tables = params.tables()
    for name, table in (("beparams", tables.beparams), ("nicparams", tables.nicparams),
                        ("ndparams", tables.ndparams)):  # fmt: skip
        if name in words.given:
            values[name] = modified({}, words.given[name], table, "the cluster")
    for name, by_kind in (("hvparams", tables.hvparams), ("diskparams", tables.diskparams)):
        if name in words.given:
            values[name] = {
                ident: _checked(ident, given, by_kind) for ident, given in words.given[name]
            }
    if "default_iallocator" in words.given:
        values["default_iallocator"] = allocator_name(words.given["default_iallocator"])
    if "default_iallocator_params" in words.given:
        values["default_iallocator_params"] = words.given["default_iallocator_params"]
    values["ipolicy"] = ipolicy.modified(NOTHING_SET, _policy(words), of_group=False)
    ipolicy.require_consistent(values["ipolicy"])
    if "uid_pool" in words.given:
        values["uid_pool"] = uid_ranges(words.given["uid_pool"], "--uid-pool")
    if "master_netmask" in words.given:
        values["master_netmask"] = netmask(words.given["master_netmask"])
    if values.get("master_netdev") and not values.get("master_ip"):
        values["master_ip"] = _resolved(values["name"])
    return with_checked_address(with_checked_allocator(ClusterInfo(**values)))


def _policy(words: Words) -> dict[str, Any]:
    """Return the instance policy that the options spell. Raises Refused."""
    policy = policy_of(words)
    given = {key: dict(words.given[dest]) for dest, key in _SPECS.items() if dest in words.given}
    if not given:
        return policy
    if "minmax" in policy or "std" in policy:
        raise Refused(
            "wrong_input",
            "--specs-... and --ipolicy-...-specs say the same in two ways",
            hint="--ipolicy-bounds-specs and --ipolicy-std-specs alone",
        )
    (bounds,) = DEFAULTS.minmax
    sizes: dict[str, dict[str, Any]] = {
        "min": dict(bounds.min), "std": dict(DEFAULTS.std), "max": dict(bounds.max)
    }  # fmt: skip
    for key, values in given.items():
        for end, value in values.items():
            sizes[parse.choice(end, sizes, "bound of sizes")][key] = value
    return {**policy, "minmax": [{"min": sizes["min"], "max": sizes["max"]}], "std": sizes["std"]}


def _resolved(name: str) -> str:
    """Return the address of the cluster's name. Raises Failure if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as failed:
        raise Failure(
            f"{name} does not resolve: {failed}",
            hint="give the address by which the master is reached: --master-ip ADDRESS",
        ) from None
    return str(found[0][4][0])


def _checked(ident: str, given: Any, tables: dict[str, params.Table]) -> Params:
    table = tables.get(ident)
    if table is None or not isinstance(given, dict):
        raise Refused(
            "wrong_input",
            f"{ident!r} has no parameters",
            hint=f"one of {', '.join(sorted(tables))}",
        )
    return modified({}, given, table, "the cluster")


def _found(
    session: Session, words: Words, directory: Path, master: config.Master
) -> bootstrap.Founded:
    settings = MasterConfig(
        voter=master.node,
        requests=f"tcp://{master.address}:{master.requests_port}",
        publications=f"tcp://{master.address}:{master.publications_port}",
        replication=f"tcp://{master.address}:{master.replication_port}",
        segments=f"tcp://{master.address}:{master.segments_port}",
        **master.settings,  # type: ignore[arg-type]  # checked when the file was read by the daemon
    )
    return bootstrap.init_cluster(
        directory,
        config=settings,
        info=info_of(words),
        operator=session.operator,
        operator_key=session.config.resolve(session.config.config.key_file),
        node_ip=master.address,
        secondary_ip=words.get("secondary_ip", ""),
    )


def _with_voters(old: config.ClientConfig, voters: tuple[Any, ...]) -> config.ClientConfig:
    import msgspec

    return msgspec.structs.replace(old, voters=voters)
