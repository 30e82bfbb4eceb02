"""What the lab does to its nodes: broken disks, failing and slow calls (edge)."""

from __future__ import annotations

from pathlib import Path

import msgspec

from commands.api import Query, QueryReply
from nodeagent.calls import CALLS
from shell.config import ClientConfig, Found
from shell.session import Session
from tools.lab import control
from tools.lab.layout import LabError, LabLayout

ANY = "*"


def break_disk(layout: LabLayout, disk: str, node: str, *, repair: bool = False) -> tuple[str, ...]:
    """Make what `node` holds of `INSTANCE[/INDEX]` unreadable; return the volumes it hit."""
    name, _, index = disk.partition("/")
    if index and not index.isdecimal():
        raise LabError(f"{disk}: give INSTANCE, or INSTANCE/INDEX with the disk's number")
    uuids = _disks_of(layout, name)
    number = int(index or 0)
    if number >= len(uuids):
        raise LabError(f"{name} has {len(uuids)} disks, the first is 0")
    do = "repair-disk" if repair else "break-disk"
    return control.order(_agent(layout, node), do, disk=uuids[number]).hit


def fail_call(layout: LabLayout, node: str, call: str, *, times: int, late: bool) -> None:
    """Let the next `times` calls of that name fail on a node, before or after they act."""
    if call != ANY and call not in CALLS:
        raise LabError(f"no call {call!r}; there are {', '.join(sorted(CALLS))}, or '*' for any")
    do = "fail-after" if late else "fail"
    control.order(_agent(layout, node), do, call=call, times=times)


def slow(layout: LabLayout, node: str, seconds: float) -> None:
    """Let every call on a node take that much longer."""
    control.order(_agent(layout, node), "slow", seconds=seconds)


def _agent(layout: LabLayout, node: str) -> Path:
    nodes = layout.load().nodes
    if node not in nodes:
        raise LabError(f"no {node} in this lab; there are {', '.join(nodes)}")
    return layout.agent(node)


def _disks_of(layout: LabLayout, instance: str) -> list[str]:
    config = msgspec.json.decode(layout.client.read_bytes(), type=ClientConfig)
    session = Session(find_config=lambda: Found(layout.client, config))
    try:
        query = Query(what="instance", fields=("disk.uuids",), names=(instance,))
        reply = session.ask("query", query, QueryReply)
    finally:
        session.close()
    uuids = reply.rows[0][0][1]
    assert isinstance(uuids, list)
    return uuids
