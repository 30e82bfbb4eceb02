"""How a voter does, as numbers for monitoring (pure).

One voter tells of itself; who watches asks each of them. The names are Prometheus's kind: units in
the name, counters end in `_total`. Alerts that are worth having: no voter with
`cairn_voter_role{role="leader"}` 1; `cairn_log_committed` of one behind the others;
`cairn_log_fsync_seconds` above half the least election timeout; any `cairn_voter_alarms`; two
leaders for longer than an election timeout say that the network is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from commands import api
from commands.api import Family, Sample, VoterStatus
from eventstore.storage.metrics import FSYNC_BOUNDS_MS, StorageMetrics
from projections.state import State

ROLES = (
    "leader", "follower", "witness", "learner", "candidate", "joining", "recovering", "superseded",
)  # fmt: skip


def families(
    status: VoterStatus, storage: StorageMetrics, state: State, *, heard: int
) -> tuple[Family, ...]:
    """Return all of a voter's numbers. `heard`: of how many nodes it has a status."""
    return (*_role(status), *_log(status), *_storage(storage), *_cluster(state, heard))


def _role(status: VoterStatus) -> Iterator[Family]:
    roles = ROLES if status.role in ROLES else (*ROLES, status.role)
    yield Family(
        name="cairn_voter_role",
        help="1 for the role that it has",
        samples=tuple(Sample(labels={"role": r}, value=float(r == status.role)) for r in roles),
    )
    yield _gauge("cairn_voter_generation", "Rises with a forced takeover", status.gen)
    yield _gauge("cairn_voter_term", "Rises with each election", status.term)
    yield _gauge("cairn_voter_alarms", "Alarms of this process that are kept", len(status.alarms))
    yield _gauge("cairn_voters", "Voters of the configuration it knows", len(status.voters))


def _log(status: VoterStatus) -> Iterator[Family]:
    yield _gauge("cairn_log_last", "The last record it has appended", status.last_seq)
    yield _gauge("cairn_log_durable", "The last record it has synced", status.durable)
    yield _gauge("cairn_log_committed", "The last record it knows as committed", status.committed)
    if status.peers:
        yield Family(
            name="cairn_peer_match",
            help="The last record that a peer surely holds; from the leader",
            samples=_by_peer(status.peers, lambda peer: peer.match),
        )
        yield Family(
            name="cairn_peer_heard_seconds",
            help="Since the last answer of a peer; from the leader",
            samples=_by_peer(status.peers, lambda peer: peer.heard_ms / 1000),
        )


def _storage(storage: StorageMetrics) -> Iterator[Family]:
    yield _counter("cairn_log_commits", "Durable transactions of the log", storage.log_commits)
    yield _counter("cairn_mark_syncs", "Syncs of the ack mark", storage.mark_syncs)
    yield _counter("cairn_log_records", "Records written", storage.records)
    yield _counter("cairn_log_bytes", "Bytes of them", storage.encoded_bytes)
    yield _counter("cairn_log_checkpoints", "Checkpoints of the WAL", storage.checkpoints)
    yield _gauge("cairn_log_disk_full", "1 while the last append found no room", storage.disk_full)
    counts, total = storage.fsyncs, 0
    samples = []
    for bound_ms, count in zip((*FSYNC_BOUNDS_MS, float("inf")), counts, strict=True):
        total += count
        le = "+Inf" if bound_ms == float("inf") else f"{bound_ms / 1000:g}"
        samples.append(Sample(suffix="_bucket", labels={"le": le}, value=total))
    yield Family(
        name="cairn_log_fsync_seconds",
        kind="histogram",
        help="Of a commit of the log, its sync included",
        samples=(
            *samples,
            Sample(suffix="_sum", value=storage.fsync_ms / 1000),
            Sample(suffix="_count", value=total),
        ),
    )
    yield _gauge(
        "cairn_log_fsync_worst_seconds", "The worst of this process", storage.worst_fsync_ms / 1000
    )


def _cluster(state: State, heard: int) -> Iterator[Family]:
    nodes = state.cluster.nodes
    lost = sum(node.lost for node in nodes.values())
    yield _gauge("cairn_nodes", "Nodes of the cluster", len(nodes))
    yield _gauge("cairn_nodes_lost", "Nodes that count as lost", lost)
    yield _gauge("cairn_nodes_heard", "Nodes whose status this voter has", heard)
    yield _gauge("cairn_jobs_open", "Jobs that have not ended", len(state.jobs.open))
    yield _counter("cairn_jobs_ended", "Jobs that have ended since the beginning", state.jobs.ended)


def _by_peer(
    peers: tuple[api.PeerStatus, ...], of: Callable[[api.PeerStatus], float]
) -> tuple[Sample, ...]:
    return tuple(Sample(labels={"peer": peer.name}, value=of(peer)) for peer in peers)


def _gauge(name: str, told: str, value: float) -> Family:
    return Family(name=name, help=told, samples=(Sample(value=float(value)),))


def _counter(name: str, told: str, value: float) -> Family:
    return Family(
        name=f"{name}_total", kind="counter", help=told, samples=(Sample(value=float(value)),)
    )
