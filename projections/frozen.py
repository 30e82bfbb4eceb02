"""The bytes of a state, for a snapshot, and back (pure).

Only what is not derived is written; names, indexes and what was touched are made anew. The bytes
are a cache of one version of the fold: another version does not read them, it folds the log again.
So nothing here need be compatible with anything. The bytes begin with a hash of the types in them,
so that a struct that changed is noticed even if nobody thought of `VERSION` in `state.py`.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache

import immutables
import msgspec

from projections import collector
from projections.cluster import Cluster, index_again
from projections.errors import CorruptHistory
from projections.events.jobs import Lock
from projections.job_state import Job
from projections.job_table import Jobs, Place
from projections.locks import Hold, LockTable, Request, Turn
from projections.objects import ClusterInfo, Group, Instance, Node
from projections.plans import Reservations
from projections.state import State
from projections.unsettled import Duty, Parked

Marks = tuple[int, ...]


class _Frozen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A state as it is written: maps of objects become lists, since each bears its own key."""

    seq: int
    hash: bytes
    time: int
    ended: bytes
    # configuration, and for each list of objects the marks of their fields
    info: ClusterInfo | None
    info_marks: Marks
    groups: tuple[Group, ...]
    group_marks: tuple[Marks, ...]
    nodes: tuple[Node, ...]
    node_marks: tuple[Marks, ...]
    instances: tuple[Instance, ...]
    instance_marks: tuple[Marks, ...]
    reserved: tuple[tuple[tuple[int, int], Reservations], ...]
    parked: tuple[tuple[tuple[int, int], Parked], ...]
    duties: dict[str, Duty]
    # jobs
    open: tuple[Job, ...]
    recent: tuple[Job, ...]
    tasks: dict[str, Place]
    endings: dict[int, int]
    ended_count: int
    dependents: dict[int, tuple[int, ...]]
    last_id: int
    held: dict[str, Hold]
    owned: dict[int, tuple[Lock, ...]]
    waiting: dict[int, Request]
    queues: dict[str, tuple[Turn, ...]]


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Frozen)


def dump_state(state: State) -> bytes:
    """Return the state as bytes. The same state may give different bytes: compare digests."""
    cluster, jobs = state.cluster, state.jobs
    changed, info = cluster.changed, cluster.info
    groups = tuple(cluster.groups.values())
    nodes = tuple(cluster.nodes.values())
    instances = tuple(cluster.instances.values())
    return _shape() + _encode(
        _Frozen(
            seq=state.seq,
            hash=state.hash,
            time=state.time,
            ended=state.ended,
            info=info,
            info_marks=changed["cluster", info.uuid] if info else (),
            groups=groups,
            group_marks=tuple([changed["group", group.uuid] for group in groups]),
            nodes=nodes,
            node_marks=tuple([changed["node", node.uuid] for node in nodes]),
            instances=instances,
            instance_marks=tuple([changed["instance", instance.uuid] for instance in instances]),
            reserved=tuple(cluster.reserved.items()),
            parked=tuple(cluster.parked.items()),
            duties=dict(cluster.duties),
            open=tuple(jobs.open.values()),
            recent=tuple(jobs.recent.values()),
            tasks=dict(jobs.tasks),
            endings=dict(jobs.endings),
            ended_count=jobs.ended,
            dependents=dict(jobs.dependents),
            last_id=jobs.last_id,
            held=dict(jobs.locks.held),
            owned=dict(jobs.locks.owned),
            waiting=dict(jobs.locks.waiting),
            queues=dict(jobs.locks.queues),
        )
    )


def load_state(encoded: bytes) -> State:
    """Return the state in the bytes that `dump_state` of this version made.

    Raises CorruptHistory if they are not such bytes.
    """
    shape = _shape()
    if encoded[: len(shape)] != shape:
        raise CorruptHistory("a state of other types than this version has")
    with collector.paused():
        try:
            frozen = _decoder.decode(memoryview(encoded)[len(shape) :])
        except (msgspec.MsgspecError, ValueError) as error:
            raise CorruptHistory(f"not a state of this version: {error}") from error
        return State(
            seq=frozen.seq,
            hash=frozen.hash,
            time=frozen.time,
            ended=frozen.ended,
            cluster=_cluster(frozen),
            jobs=_jobs(frozen),
        )


def _cluster(frozen: _Frozen) -> Cluster:
    groups = {group.uuid: group for group in frozen.groups}
    nodes = {node.uuid: node for node in frozen.nodes}
    instances = {instance.uuid: instance for instance in frozen.instances}
    reserved = dict(frozen.reserved)
    changed = {
        **{("group", uuid): marks for uuid, marks in zip(groups, frozen.group_marks, strict=True)},
        **{("node", uuid): marks for uuid, marks in zip(nodes, frozen.node_marks, strict=True)},
        **{
            ("instance", uuid): marks
            for uuid, marks in zip(instances, frozen.instance_marks, strict=True)
        },
    }
    if frozen.info is not None:
        changed["cluster", frozen.info.uuid] = frozen.info_marks
    return Cluster(
        info=frozen.info,
        groups=immutables.Map(groups),
        nodes=immutables.Map(nodes),
        instances=immutables.Map(instances),
        reserved=immutables.Map(reserved),
        parked=immutables.Map(frozen.parked),
        duties=immutables.Map(frozen.duties),
        changed=immutables.Map(changed),
        **index_again(groups, nodes, instances, reserved),
    )


def _jobs(frozen: _Frozen) -> Jobs:
    return Jobs(
        open=immutables.Map({job.id: job for job in frozen.open}),
        recent=immutables.Map({job.id: job for job in frozen.recent}),
        tasks=immutables.Map(frozen.tasks),
        endings=immutables.Map(frozen.endings),
        ended=frozen.ended_count,
        dependents=immutables.Map(frozen.dependents),
        last_id=frozen.last_id,
        locks=LockTable(
            held=immutables.Map(frozen.held),
            owned=immutables.Map(frozen.owned),
            waiting=immutables.Map(frozen.waiting),
            queues=immutables.Map(frozen.queues),
        ),
    )


@cache
def _shape() -> bytes:
    """Return a hash of all the types that a state is made of, the same in every process."""
    told = repr(msgspec.inspect.type_info(_Frozen))
    without_addresses = re.sub(r" at 0x[0-9a-f]+", "", told)
    return hashlib.sha256(without_addresses.encode()).digest()[:8]
