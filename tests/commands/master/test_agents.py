"""What the leader records of what agents tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from commands.master.agents import AgentDesk
from commands.master.telemetry import Telemetry
from eventstore.access.keyring import Identity
from eventstore.events import KeyAdmitted, KeyRevoked
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft
from eventstore.replica import Committed, Outcome, Replica
from eventstore.serving.server import Handler, ReplyTo, Request, RequestServer
from eventstore.wire.faults import RemoteError
from nodeagent.calls import Join, StatusReply
from projections.events import configuration as facts
from projections.objects import Node
from tests.commands.building import KEY, Town, node_uuid


@dataclass
class Desk:
    """The desk of a leader over a town; what it proposes is committed at once."""

    town: Town = field(default_factory=Town)
    handlers: dict[str, Handler] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    drafts: list[Draft] = field(default_factory=list)
    cluster_id: str = "cluster"
    backlog: bool = False
    admitted: dict[str, Identity] = field(default_factory=dict)
    replies: list[object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.telemetry = Telemetry(lost_after_s=5.0, now_s=Reactor.now())
        self.desk = AgentDesk(
            replica=cast(Replica, self),
            reign=cast(Any, SimpleNamespace(leads=True)),
            telemetry=self.telemetry,
            state=lambda: cast(Any, SimpleNamespace(cluster=self.town.cluster)),
            voters=lambda: (),
            keys=lambda: dict(self.admitted),
        )
        self.desk.register(cast(RequestServer, self))

    @property
    def waiting(self) -> bool:
        """Be the server: whether requests wait to be read."""
        return self.backlog

    def register(self, kind: str, roles: tuple[str, ...], handler: Handler) -> None:
        """Be the server."""
        self.handlers[kind] = handler

    def propose(self, batch: Batch, done: Callable[[Outcome], None]) -> None:
        """Be the replica: a key that was used is not appended again."""
        repeated = any(draft.key in self.keys for draft in batch.drafts if draft.key)
        self.keys.update(draft.key for draft in batch.drafts if draft.key)
        if not repeated:
            self.drafts += batch.drafts
            for draft in batch.drafts:
                self._fold(draft)
        done(Committed((), repeated=repeated))

    def _fold(self, draft: Draft) -> None:
        match draft.event:
            case KeyAdmitted(name=name, role=role, curve_key=key):
                self.admitted[key] = Identity(name, role)
            case KeyRevoked(curve_key=key):
                self.admitted.pop(key, None)
            case fact:
                self.town.fold(draft.stream, fact)

    def ask(self, kind: str, body: object, actor: str) -> None:
        raw = msgspec.Raw(msgspec.msgpack.encode(body))
        request = Request(kind, actor, "node", KEY, None, 9e9, raw)
        reply = SimpleNamespace(done=lambda body=None: self.replies.append(body), closed=False)
        self.handlers[kind](request, cast(ReplyTo, reply))

    def kinds(self) -> list[str]:
        return [draft.event.KIND for draft in self.drafts]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def listened(desk: Desk, *, seconds: int) -> None:
    """Let the leader have listened for so long, without a word from anybody."""
    start = Reactor.now() - seconds
    for second in range(seconds):
        desk.telemetry.listen(start + second)


def test_a_node_that_is_lost_twice_returns_twice(desk: Desk) -> None:
    """Each return is recorded, once, however often the node reports meanwhile."""
    node = node_uuid(2)
    for times in (1, 2):
        desk.town.fold(f"node/{node}", facts.NodeLost(node=node, silent_s=9.0))
        desk.ask("status", desk.town.status(node), f"node:{node}")
        desk.ask("status", desk.town.status(node), f"node:{node}")
        assert desk.kinds() == ["node.returned"] * times
        assert not desk.town.cluster.nodes[node].lost


def test_a_node_joins_with_the_address_by_which_it_reaches_the_voters(desk: Desk) -> None:
    """It is recorded with its key, and becomes its primary address."""
    group = desk.town.group.uuid
    node = Node(uuid=node_uuid(9), name="node9", group=group, primary_ip="")
    desk.town.fold(f"node/{node.uuid}", facts.NodeInvited(node=node, ticket_key=KEY))
    join = Join(name="node9", curve_key=KEY, address="192.0.2.9")
    desk.ask("join", join, f"node:{node.uuid}")
    assert desk.kinds() == ["log.key-admitted", "node.joined", "log.key-revoked"]
    assert desk.town.cluster.node("node9").primary_ip == "192.0.2.9"


def test_a_node_that_has_just_joined_is_not_lost(desk: Desk) -> None:
    """However long the leader has led: it has a whole interval until its first status."""
    listened(desk, seconds=60)
    node = Node(uuid=node_uuid(9), name="node9", group=desk.town.group.uuid, primary_ip="")
    desk.town.fold(f"node/{node.uuid}", facts.NodeInvited(node=node, ticket_key=KEY))
    desk.ask("join", Join(name="node9", curve_key=KEY), f"node:{node.uuid}")
    desk.desk.tick()
    lost = {draft.stream for draft in desk.drafts if draft.event.KIND == "node.lost"}
    assert lost == {f"node/{node_uuid(number)}" for number in (1, 2, 3)}


def test_the_key_of_a_node_that_is_no_member_is_revoked(desk: Desk) -> None:
    """Its agent had joined while the invitation was taken back: refused, and turned out, once."""
    stranger, other = f"node:{node_uuid(9)}", "o" * 40
    desk.admitted = {
        KEY: Identity(stranger, "node"),
        other: Identity(f"node:{node_uuid(2)}", "node"),
        "p" * 40: Identity("operator:alice", "operator"),
    }
    status = msgspec.structs.replace(desk.town.status(node_uuid(2)), node=node_uuid(9))
    with pytest.raises(RemoteError, match="no member"):
        desk.ask("status", status, stranger)
    for _ in range(2):
        desk.desk.tick()
    (draft,) = desk.drafts
    assert draft.event == KeyRevoked(curve_key=KEY, reason="its node is no member")


def test_a_key_is_revoked_when_its_node_goes(desk: Desk) -> None:
    """Also where the record that took the node away did not name its key."""
    node = node_uuid(3)
    desk.admitted = {KEY: Identity(f"node:{node}", "node")}
    desk.desk.tick()
    assert not desk.drafts
    desk.town.fold(f"node/{node}", facts.NodeRemoved(node=node))
    desk.desk.tick()
    assert desk.kinds() == ["log.key-revoked"]


def test_what_a_node_said_that_left_is_forgotten(desk: Desk) -> None:
    """Memory does not grow with nodes that come and go."""
    node = node_uuid(3)
    desk.ask("status", desk.town.status(node), f"node:{node}")
    assert list(desk.telemetry.seen) == [node]
    desk.town.fold(f"node/{node}", facts.NodeRemoved(node=node))
    desk.desk.tick()
    assert not desk.telemetry.seen


def test_a_node_that_reports_is_told_the_volume_group(desk: Desk) -> None:
    """The cluster's, as it is then."""
    node = node_uuid(3)
    for group in ("xenvg", "ssd"):
        settings = msgspec.structs.replace(desk.town.cluster.settings, vg_name=group)
        desk.town.fold("cluster", facts.ClusterModified(info=settings))
        desk.ask("status", desk.town.status(node), f"node:{node}")
        assert desk.replies[-1] == StatusReply(volume_group=group)


def test_nobody_is_lost_while_messages_wait_to_be_read(desk: Desk) -> None:
    """What a node said may be among them; once all are read, who is silent is lost, once."""
    listened(desk, seconds=10)
    desk.backlog = True
    desk.desk.tick()
    assert desk.kinds() == []
    desk.backlog = False
    desk.ask("status", desk.town.status(node_uuid(2)), f"node:{node_uuid(2)}")
    desk.desk.tick()
    assert desk.kinds() == ["node.lost"] * 2
    assert not desk.town.cluster.nodes[node_uuid(2)].lost
