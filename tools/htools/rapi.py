"""Data from the remote API of a cluster, or from a directory that holds its answers.

Certificates are verified, unlike in the original: against the system's authorities, or against the
file that HTOOLS_RAPI_CAFILE names, for clusters with a certificate of their own.
"""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from typing import Final

import msgspec

from commands.placement.model import NO_NODE, STATUSES, Cluster, Disk, Group, Instance, Node
from tools.htools.errors import DataError
from tools.htools.json_policy import read_alloc_policy, read_policy, read_template
from tools.htools.json_reader import (
    Record,
    amount,
    checked,
    decode,
    decode_object,
    get,
    get_or,
    maybe,
    real_amount,
    texts,
)
from tools.htools.load import read_text

_PORT: Final = 5080
_TIMEOUT_S: Final = 60
_FILES: Final = ("groups", "nodes", "instances", "info")
_PATHS: Final = ("groups?bulk=1", "nodes?bulk=1", "instances?bulk=1", "info")
_NO_GROUP: Final = "00000000-0000-0000-0000-000000000000"


def load_cluster(address: str) -> Cluster:
    """Query a cluster by host, URL, or `file://` and a directory. Raises DataError."""
    if address.startswith("file://"):
        folder = address[len("file://") :]
        bodies: list[str | bytes] = [read_text(f"{folder}/{name}.json") for name in _FILES]
    else:
        base = address if ":" in address else f"https://{address}:{_PORT}"
        bodies = [_fetch(f"{base}/2/{path}") for path in _PATHS]
    return parse_answers(*bodies)


def _fetch(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise DataError(
            f"Curl error for '{url}', error unsupported protocol (give a host alone, or a URL)"
        )
    try:
        context = ssl.create_default_context(cafile=os.environ.get("HTOOLS_RAPI_CAFILE"))
        request = urllib.request.Request(url)  # the scheme was checked
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as problem:
        with problem:
            reason = f"HTTP {problem.code} {problem.reason}"
        raise DataError(f"Curl error for '{url}', error {reason}") from problem
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as problem:
        reason = str(getattr(problem, "reason", problem))
        raise DataError(f"Curl error for '{url}', error {reason}") from problem


def parse_answers(
    groups: str | bytes, nodes: str | bytes, instances: str | bytes, info: str | bytes
) -> Cluster:
    """Build the cluster from the four answers. Raises DataError."""
    found_groups = [_group(record) for record in _records(groups, "Parsing group data")]
    uuids = {group.uuid: index for index, group in enumerate(found_groups)}
    found_nodes = [_node(record, uuids) for record in _records(nodes, "Parsing node data")]
    numbers = {node.name: index for index, node in enumerate(found_nodes)}
    found_instances = tuple(
        _instance(record, numbers) for record in _records(instances, "Parsing instance data")
    )
    about = decode_object(info, "Parsing cluster info")
    what = "Parsing cluster data"
    master = get(about, "master", str, what)
    if master not in numbers:
        raise DataError(f"Master node {master} unknown")
    hypervisor = get(about, "default_hypervisor", str, what)
    marked = tuple(
        msgspec.structs.replace(node, master=node.name == master, hypervisor=hypervisor)
        for node in found_nodes
    )
    policy = read_policy(get(about, "ipolicy", dict, what), what)
    tags = texts(about, "tags", what)
    return Cluster(tuple(found_groups), marked, found_instances, tags, policy)


def _records(text: str | bytes, what: str) -> list[Record]:
    found = decode(text, what)
    if not isinstance(found, list):
        raise DataError(f"{what}: Unable to read List")
    return [checked(item, "item", dict, what) for item in found]


def _group(record: Record) -> Group:
    name = get(record, "name", str, "Parsing new group")
    what = f"Group '{name}'"
    return Group(
        name=name,
        uuid=get(record, "uuid", str, what),
        alloc_policy=read_alloc_policy(record, what),
        tags=texts(record, "tags", what),
        policy=read_policy(get(record, "ipolicy", dict, what), what),
    )


def _node(record: Record, uuids: dict[str, int]) -> Node:
    name = get(record, "name", str, "Parsing new node")
    what = f"Node '{name}', error while parsing data"
    offline, drained = get(record, "offline", bool, what), get(record, "drained", bool, what)
    group = maybe(record, "group.uuid", str, what) or _NO_GROUP
    if group not in uuids:
        raise DataError(f"Unknown group '{group}' for node {name}")
    parameters: Record = get(record, "ndparams", dict, what)
    exclusive = get(parameters, "exclusive_storage", bool, what)
    live = not offline and get_or(record, "vm_capable", bool, True, what)
    tags = texts(record, "tags", what)
    if not exclusive:
        spindles = amount(parameters, "spindle_count", what)
    else:
        spindles = amount(record, "sptotal", what) if live else 0
    if not live:
        return Node(
            name, uuids[group], 0.0, 0, 0, 0.0, 0, 0.0, 0, 1.0, True, spindles=spindles,
            exclusive_storage=exclusive, tags=tags,
        )  # fmt: skip
    return Node(
        name=name,
        group=uuids[group],
        total_memory=real_amount(record, "mtotal", what),
        node_memory=amount(record, "mnode", what),
        free_memory=get(record, "mfree", int, what),
        total_disk=get_or(record, "dtotal", float, 0.0, what),
        free_disk=get_or(record, "dfree", int, 0, what),
        cpus=real_amount(record, "ctotal", what),
        node_cpus=amount(record, "cnos", what),
        offline=drained,
        spindles=spindles,
        free_spindles=get_or(record, "spfree", int, 0, what),
        exclusive_storage=exclusive,
        tags=tags,
    )


def _instance(record: Record, numbers: dict[str, int]) -> Instance:
    name = get(record, "name", str, "Parsing new instance")
    what = f"Instance '{name}', error while parsing data"
    backend: Record = get(record, "beparams", dict, what)
    memory_key = "memory" if "memory" in backend else "maxmem"
    running = record.get("oper_ram")
    has_memory = isinstance(running, int | float) and not isinstance(running, bool)
    sizes = get(record, "disk.sizes", list, what)
    spindles = get_or(record, "disk.spindles", list, [None] * len(sizes), what)
    primary = get(record, "pnode", str, what)
    others = texts(record, "snodes", what)
    for node in (primary, *others[:1]):
        if node not in numbers:
            raise DataError(f"Unknown node '{node}' for instance {name}")
    if others and others[0] == primary:
        raise DataError(f"Instance {name} has same primary and secondary node - {primary}")
    status = get(record, "status", str, what)
    if status not in STATUSES:
        raise DataError(f"{what}: key 'status': Invalid status '{status}'")
    return Instance(
        name=name,
        memory=amount(record, "oper_ram", what)
        if has_memory
        else amount(backend, memory_key, what),
        disk=amount(record, "disk_usage", what),
        vcpus=amount(backend, "vcpus", what),
        status=status,
        template=read_template(record, what),
        primary=numbers[primary],
        secondary=numbers[others[0]] if others else NO_NODE,
        disks=tuple(
            Disk(
                checked(size, "disk.sizes", int, what),
                None if count is None else checked(count, "disk.spindles", int, what),
            )
            for size, count in zip(sizes, spindles, strict=False)
        ),
        auto_balance=get(backend, "auto_balance", bool, what),
        spindle_use=amount(backend, "spindle_use", what),
        tags=texts(record, "tags", what),
        forthcoming=record.get("forthcoming") is True,
    )
