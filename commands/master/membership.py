"""Who should follow the log and who should vote, and the next step there (pure).

Master candidates hold the log; up to `most` of them vote, and an odd number of them if there are
three or more, since a fourth voter makes every commit wait longer and saves nothing. Two vote both:
then everything acknowledged is on both, and losing one stops writes until an operator decides.
With `most` 1 nobody but the founder holds the log. Witnesses (nodes that vote and never lead) come
last: two candidates and a witness vote all three, of three candidates and a witness it learns.

One step at a time, each a committed record before the next is looked for (R10):

    not wanted any more, or another storage than it was placed with    ->  no member
    wanted, and nobody knows where it is                               ->  its agent makes a voter
    wanted and placed                                                  ->  learner
    learner that should vote and is level                              ->  voter
    witness that is no longer needed as a voter                        ->  learner
    placed, not wanted, no member                                      ->  its agent removes it

The leader is never given up here: whoever wants that lets it hand over first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from eventstore.events import VoterPlaced
from eventstore.raft.membership import Config
from projections.cluster import Cluster
from projections.objects import Node


@dataclass(frozen=True, slots=True)
class Seen:
    """What the leader knows."""

    me: str
    config: Config  # committed
    places: Mapping[str, VoterPlaced]
    cluster: Cluster
    most: int  # voters
    level: Callable[[Config], bool]  # would the core take this configuration now?


@dataclass(frozen=True, slots=True)
class Change:
    """Propose this configuration."""

    config: Config


@dataclass(frozen=True, slots=True)
class Make:
    """Let the agent of this node make a voter."""

    node: Node


@dataclass(frozen=True, slots=True)
class Unmake:
    """Let this voter's place be forgotten, its key revoked, and its files removed."""

    place: VoterPlaced
    node: Node | None  # None: it left the cluster, nobody can be asked


Step = Change | Make | Unmake


def steps(seen: Seen) -> list[Step]:
    """Return what may be done now: at most one change, and what agents can do meanwhile."""
    wanted = _wanted(seen)
    found: list[Step] = []
    if change := _change(seen, wanted):
        found.append(Change(change))
    for node in wanted:
        if node.name not in seen.places and node.name != seen.me and not node.lost:
            found.append(Make(node))
    names = {node.name for node in wanted} | {seen.me}
    members = seen.config.voters.keys() | seen.config.learners.keys()
    by_name = {node.name: node for node in seen.cluster.nodes.values()}
    for name, place in seen.places.items():
        if name not in names and name not in members:
            found.append(Unmake(place, by_name.get(name)))
    return found


def voters_wanted(candidates: int, most: int) -> int:
    """Return how many of so many candidates should vote."""
    count = min(candidates, most)
    return count if count <= 2 else count - (count + 1) % 2


def _wanted(seen: Seen) -> list[Node]:
    """Return the nodes that should hold the log, those that should vote first."""
    nodes = [
        node
        for node in seen.cluster.nodes.values()
        if node.name == seen.me
        or ((node.master_candidate or node.witness) and node.joined and not node.offline)
    ]
    voters = seen.config.voters
    nodes.sort(key=lambda n: (n.name != seen.me, n.witness, n.name not in voters, n.lost, n.name))
    return nodes[:1] if seen.most <= 1 else nodes


def _change(seen: Seen, wanted: list[Node]) -> Config | None:
    """Return the next configuration, None if it is as it should be, or must wait."""
    config, names = seen.config, {node.name for node in wanted}
    for name in (*config.learners, *config.voters):
        if name == seen.me:
            continue
        place = seen.places.get(name)
        placed = bytes.fromhex(place.inc) if place else None
        if name not in names or placed != config.storage_of(name):
            return _without(config, name)
    voting = {node.name for node in wanted[: voters_wanted(len(wanted), seen.most)]}
    for node in wanted:
        place = seen.places.get(node.name)
        if place is None or node.name in config.voters or node.lost:
            continue
        inc = bytes.fromhex(place.inc)
        if node.name not in config.learners:
            return replace(config, learners={**config.learners, node.name: inc})
        promoted = replace(
            _without(config, node.name),
            voters={**config.voters, node.name: inc},
            witnesses=config.witnesses | {node.name} if node.witness else config.witnesses,
        )
        if node.name in voting and seen.level(promoted):
            return promoted
    for name in sorted(config.witnesses - voting - {seen.me}):
        learners = {**config.learners, name: config.voters[name]}
        return replace(_without(config, name), learners=learners)
    return None


def _without(config: Config, name: str) -> Config:
    return replace(
        config,
        voters={other: inc for other, inc in config.voters.items() if other != name},
        learners={other: inc for other, inc in config.learners.items() if other != name},
        witnesses=config.witnesses - {name},
    )
