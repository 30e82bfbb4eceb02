"""`-L`: the data of the running cluster, from what the master knows and was told (edge).

The settings are those of the `gnt-*` commands (CAIRN_CONFIG, or the file that `-L FILE` names). One
query for each table; each is consistent in itself, and between two of them a job may end, as with
Ganeti's queries.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from commands.api import Query, QueryReply
from commands.placement.from_cluster import engine_policy
from commands.placement.model import NO_NODE, Cluster, Disk, Group, Instance, Node, Policy
from eventstore.errors import EventStoreError
from projections import ipolicy
from shell import config
from shell.failure import Failure
from shell.reading import records
from shell.session import Session
from shell.translate import as_failure
from tools.htools.choices import Choices
from tools.htools.errors import DataError, HtoolsError
from tools.htools.option_help import DEFAULT_SOCKET

Row = dict[str, Any]  # Any: cells of many types

GROUPS = ("name", "uuid", "alloc_policy", "ipolicy", "tags")
NODES = (
    "name", "group.uuid", "offline", "drained", "lost", "vm_capable", "master", "tags",
    "mtotal", "mnode", "mfree", "dtotal", "dfree", "ctotal", "sptotal", "spfree",
    "ndp/spindle_count", "ndp/exclusive_storage",
)  # fmt: skip
INSTANCES = (
    "name", "disk_usage", "be/maxmem", "be/vcpus", "be/auto_balance", "be/spindle_use", "status",
    "pnode", "snodes", "tags", "disk_template", "disk.sizes", "disk.spindles", "forthcoming",
)  # fmt: skip
CLUSTER = ("tags", "enabled_hypervisors", "ipolicy")


@dataclass(frozen=True, slots=True)
class Running:
    """The running cluster. `settings`: the client's settings file, empty for the usual one."""

    settings: str = ""

    def load(self) -> Cluster:
        """Query groups, nodes, instances and the cluster. Raises DataError."""
        with closing(open_session(self.settings)) as session:
            try:
                return parse(
                    *(
                        _rows(session, what, fields)
                        for what, fields in (
                            ("group", GROUPS),
                            ("node", NODES),
                            ("instance", INSTANCES),
                            ("cluster", CLUSTER),
                        )
                    )
                )
            except (EventStoreError, Failure) as problem:
                raise DataError(told(problem)) from problem


def settings_of(choices: Choices) -> str:
    """Return the settings file that `-L` names, or nothing for the usual one."""
    return "" if choices.luxi in (None, DEFAULT_SOCKET) else str(choices.luxi)


def open_session(settings: str = "") -> Session:
    """Return a session with the cluster. Close it."""
    if not settings:
        return Session()
    path = Path(settings)

    def read() -> config.Found:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=config.ClientConfig)
        except OSError as failed:
            raise HtoolsError(f"{path}: {failed.strerror}") from None
        except msgspec.MsgspecError as malformed:
            raise HtoolsError(f"{path}: not the settings of a client: {malformed}") from None
        return config.Found(path, found)

    return Session(find_config=read)


def told(problem: Exception) -> str:
    """Return an error of the cluster in one line, with its hint."""
    failure = as_failure(problem)
    assert failure is not None, problem
    words = " ".join(failure.message.split())
    return f"{words} ({failure.hint})" if failure.hint else words


def _rows(session: Session, what: str, fields: tuple[str, ...]) -> list[Row]:
    return records(session.ask("query", Query(what=what, fields=fields), QueryReply))


def parse(groups: list[Row], nodes: list[Row], instances: list[Row], about: list[Row]) -> Cluster:
    """Build the cluster from the rows, each table by name."""
    by_name = sorted(groups, key=lambda row: str(row["name"]))
    group_numbers = {row["uuid"]: number for number, row in enumerate(by_name)}
    node_rows = sorted(nodes, key=lambda row: str(row["name"]))
    numbers = {row["name"]: number for number, row in enumerate(node_rows)}
    (cluster,) = about
    hypervisor = cluster["enabled_hypervisors"][0]
    return Cluster(
        groups=tuple(_group(row) for row in by_name),
        nodes=tuple(_node(row, group_numbers[row["group.uuid"]], hypervisor) for row in node_rows),
        instances=tuple(
            _instance(row, numbers) for row in sorted(instances, key=lambda row: str(row["name"]))
        ),
        tags=tuple(cluster["tags"]),
        policy=_policy(cluster),
    )


def _group(row: Row) -> Group:
    return Group(
        name=row["name"],
        uuid=row["uuid"],
        alloc_policy=row["alloc_policy"],
        tags=tuple(row["tags"]),
        policy=_policy(row),
    )


def _policy(row: Row) -> Policy:
    return engine_policy(ipolicy.of_ganeti(row["ipolicy"]))


def _node(row: Row, group: int, hypervisor: str) -> Node:
    exclusive = bool(row["ndp/exclusive_storage"])
    spindles = (row["sptotal"] or 0) if exclusive else row["ndp/spindle_count"]
    live = row["vm_capable"] and not row["offline"] and not row["lost"]
    live = live and row["mtotal"] is not None
    tags = tuple(row["tags"])
    if not live:
        return Node(
            row["name"], group, 0.0, 0, 0, 0.0, 0, 0.0, 0, 1.0, True, spindles=spindles,
            master=row["master"], exclusive_storage=exclusive, tags=tags, hypervisor=hypervisor,
        )  # fmt: skip
    return Node(
        name=row["name"],
        group=group,
        total_memory=float(row["mtotal"]),
        node_memory=row["mnode"],
        free_memory=row["mfree"],
        total_disk=float(row["dtotal"]),
        free_disk=row["dfree"],
        cpus=float(row["ctotal"]),
        offline=row["drained"],
        master=row["master"],
        spindles=spindles,
        free_spindles=(row["spfree"] or 0) if exclusive else 0,
        exclusive_storage=exclusive,
        tags=tags,
        hypervisor=hypervisor,
    )


def _instance(row: Row, numbers: dict[str, int]) -> Instance:
    others = row["snodes"]
    return Instance(
        name=row["name"],
        memory=row["be/maxmem"],
        disk=row["disk_usage"],
        vcpus=row["be/vcpus"],
        status=row["status"],
        template=row["disk_template"],
        primary=numbers[row["pnode"]],
        secondary=numbers[others[0]] if others else NO_NODE,
        disks=tuple(
            Disk(size, spindles)
            for size, spindles in zip(row["disk.sizes"], row["disk.spindles"], strict=True)
        ),
        auto_balance=row["be/auto_balance"],
        spindle_use=row["be/spindle_use"],
        tags=tuple(row["tags"]),
        forthcoming=row["forthcoming"],
    )
