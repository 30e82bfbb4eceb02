"""What agents ask of the leader: join, promise, results, feedback, observations, status (edge).

Only the leader answers these; another voter says who leads. Everything may come twice, late, or
from a node that has left:

- who it is follows from the key of the connection, never from the body;
- a result is recorded once, whatever the agent repeats: the engine knows what it has heard;
- an observation is recorded only if it is news to the projections;
- a key of a node that is no member is revoked, whoever left it: its agent may have joined while
  the invitation was taken back.

`status` goes to every voter, so that a new leader is not blind, and is never recorded.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from commands.errors import ACCESS_DENIED, UNKNOWN_ENTITY, WRONG_STATE
from commands.master.answers import answer_outcome, guarded, not_leader
from commands.master.reign import Reign
from commands.master.telemetry import Telemetry
from eventstore.access.keyring import Keys
from eventstore.events import STREAM as LOG_STREAM
from eventstore.events import KeyAdmitted, KeyRevoked
from eventstore.reactor import Reactor
from eventstore.record import Batch, Draft
from eventstore.replica import Committed, Outcome, Replica
from eventstore.serving.server import ReplyTo, Request, RequestServer
from eventstore.wire.faults import RemoteError
from nodeagent import calls
from projections.changes import changes_of
from projections.cluster import Cluster
from projections.events.configuration import (
    DiskStateSeen,
    InstanceStateSeen,
    NodeJoined,
    NodeLost,
    NodeReturned,
)
from projections.state import State

NODE_PREFIX = "node:"  # the name of a node's key is this and its uuid
ACTOR = "master"
_OF_NODES = ("node", "ticket")  # roles
_NOTHING_YET: tuple[Keys, object] = ({}, None)


class AgentDesk:
    """Answers agents."""

    def __init__(
        self,
        *,
        replica: Replica,
        reign: Reign,
        telemetry: Telemetry,
        state: Callable[[], State],
        voters: Callable[[], tuple[calls.Voter, ...]],
        keys: Callable[[], Keys],
    ) -> None:
        self._replica = replica
        self._reign = reign
        self._telemetry = telemetry
        self._waiting: Callable[[], bool] = lambda: False  # requests that nobody has read yet
        self._state = state
        self._voters = voters
        self._keys = keys
        self._looked_at: tuple[Keys, object] = _NOTHING_YET

    def register(self, server: RequestServer) -> None:
        """Serve the kinds that agents use."""
        self._waiting = lambda: server.waiting
        server.register("join", ("ticket",), guarded(self._join))
        server.register("promise", ("node",), guarded(self._promise))
        server.register("task-result", ("node",), guarded(self._task_result))
        server.register("feedback", ("node",), guarded(self._feedback))
        server.register("observed", ("node",), guarded(self._observed))
        server.register("status", ("node",), guarded(self._status))

    def tick(self) -> None:
        """Say which nodes are lost, and turn out strangers. Call it about twice a second, on the
        leader."""
        self._telemetry.listen(Reactor.now())
        self._turn_out_strangers()
        for gone in [node for node in self._telemetry.seen if node not in self._cluster.nodes]:
            self._telemetry.forget(gone)
        if self._waiting():
            return
        for node, silent in list(self._telemetry.overdue(self._cluster)):
            lost = NodeLost(node=node, silent_s=round(silent, 1))
            self._telemetry.alive(node)  # do not say it again before it is committed
            self._propose(Draft(stream=f"node/{node}", event=lost, actor=ACTOR))

    @property
    def _cluster(self) -> Cluster:
        return self._state().cluster

    def _propose(self, *drafts: Draft, done: Callable[[Outcome], None] | None = None) -> None:
        self._replica.propose(Batch(drafts=drafts), done or (lambda outcome: None))

    def _leading(self) -> None:
        if not self._reign.leads:
            raise not_leader(self._replica.leadership)

    # --- joining ------------------------------------------------------------------------------

    def _join(self, request: Request, reply: ReplyTo) -> None:
        self._leading()
        wanted = request.decode(calls.Join)
        uuid = request.actor.removeprefix(NODE_PREFIX)
        node = self._cluster.nodes.get(uuid)
        if node is None:
            hint = "ask for a new ticket"
            raise RemoteError(UNKNOWN_ENTITY, "this invitation was taken back", hint=hint)
        if node.name != wanted.name:
            hint = f"start the agent as {node.name}, or invite {wanted.name}"
            raise RemoteError(WRONG_STATE, f"this ticket is for {node.name}", hint=hint)
        if node.joined and node.curve_key != wanted.curve_key:
            hint = "invite it again"
            raise RemoteError(WRONG_STATE, f"{node.name} has joined already", hint=hint)
        self._admit(node.uuid, request, wanted, reply)

    def _admit(self, uuid: str, request: Request, wanted: calls.Join, reply: ReplyTo) -> None:
        """Admit the agent's own key. Asked again with the same one, it records it again."""
        admitted = KeyAdmitted(name=request.actor, role="node", curve_key=wanted.curve_key)
        joined = NodeJoined(node=uuid, curve_key=wanted.curve_key, address=wanted.address)
        used = KeyRevoked(curve_key=request.curve_key, reason="ticket used")
        answer = calls.Joined(node=uuid, cluster_id=self._replica.cluster_id, voters=self._voters())
        self._propose(
            Draft(stream=LOG_STREAM, event=admitted, actor=request.actor),
            Draft(stream=f"node/{uuid}", event=joined, actor=request.actor),
            done=lambda outcome: self._joined(outcome, reply, answer, used),
        )

    def _joined(
        self, outcome: Outcome, reply: ReplyTo, answer: calls.Joined, used: KeyRevoked
    ) -> None:
        """Answer first, then take the ticket's key away: revoking it ends the connection.

        It was heard just now: a member of which nothing was ever heard counts as lost at once.
        """
        self._telemetry.alive(answer.node)
        answer_outcome(reply, outcome, answer)
        if isinstance(outcome, Committed):
            self._propose(Draft(stream=LOG_STREAM, event=used, actor=ACTOR))

    # --- promises and tasks -------------------------------------------------------------------

    def _promise(self, request: Request, reply: ReplyTo) -> None:
        promised = request.decode(calls.Promised)
        node = self._node_of(request)
        engine = self._reign.engine
        epoch = self._replica.leadership.epoch
        if (promised.gen, promised.term) != epoch:
            told = f"epoch {promised.gen}.{promised.term} is not the present one"
            raise RemoteError(WRONG_STATE, told, hint=f"promise {epoch.gen}.{epoch.term}")
        self._telemetry.alive(node)
        version = self._replica.version(f"node/{node}")
        reply.done(calls.PromiseReply(version=version, voters=self._voters()))
        self._reign.carry_out(engine.on_promise(node))

    def _task_result(self, request: Request, reply: ReplyTo) -> None:
        result = request.decode(calls.TaskResult)
        node = self._node_of(request)
        engine = self._reign.engine
        self._reign.carry_out(engine.on_result(node, result, ticket=self._ticket(reply)))

    def _feedback(self, request: Request, reply: ReplyTo) -> None:
        line = request.decode(calls.Feedback)
        node = self._node_of(request)
        engine = self._reign.engine
        self._reign.carry_out(engine.on_feedback(node, line, ticket=self._ticket(reply)))

    def _ticket(self, reply: ReplyTo) -> int:
        return self._reign.ticket(lambda outcome, body: answer_outcome(reply, outcome, body))

    # --- what nodes see -----------------------------------------------------------------------

    def _status(self, request: Request, reply: ReplyTo) -> None:
        status = request.decode(calls.NodeStatus)
        node = self._node_of(request)
        self._telemetry.heard(msgspec.structs.replace(status, node=node))
        told = calls.StatusReply()
        if self._reign.leads:
            group = self._cluster.settings.vg_name
            told = calls.StatusReply(voters=self._voters(), volume_group=group)
        reply.done(told)
        known = self._cluster.nodes.get(node)
        if known is not None and known.lost and self._reign.leads:
            returned = NodeReturned(node=node, boot_id=status.boot_id)
            # Once for each loss: its serial does not rise when a node is lost and returns.
            key = f"returned/{node}/{changes_of(self._cluster, 'node', node)['lost']}"
            draft = Draft(stream=f"node/{node}", event=returned, actor=request.actor, key=key)
            self._propose(draft)

    def _observed(self, request: Request, reply: ReplyTo) -> None:
        self._leading()
        node = self._node_of(request)
        drafts = [
            msgspec.structs.replace(
                draft, actor=request.actor, key=f"observed/{node}/{observation.serial}"
            )
            for observation in request.decode(calls.Observed).observations
            if (draft := self._news(node, observation)) is not None
        ]
        if not drafts:
            reply.done()
            return
        self._propose(*drafts, done=lambda outcome: answer_outcome(reply, outcome))

    def _news(self, node: str, observation: calls.Observation) -> Draft | None:
        """Return what to record of an observation, None if it is no news."""
        instance = self._cluster.instances.get(observation.instance)
        if instance is None:
            return None
        stream = f"instance/{instance.uuid}"
        match observation:
            case calls.DiskObserved(disk=uuid, state=state):
                disk = next((disk for disk in instance.disks if disk.uuid == uuid), None)
                if disk is None or disk.health.get(node, "ok") == state:
                    return None
                seen = DiskStateSeen(instance=instance.uuid, disk=uuid, node=node, state=state)
                return Draft(stream=stream, event=seen, actor="")
            case calls.InstanceObserved(state=state):
                if node != instance.primary or observation.generation != instance.generation:
                    return None
                ended = InstanceStateSeen(instance=instance.uuid, node=node, state=state)
                return Draft(stream=stream, event=ended, actor="")

    def _node_of(self, request: Request) -> str:
        """Return the uuid of the node that asks. Raises RemoteError if it is no member."""
        node = request.actor.removeprefix(NODE_PREFIX)
        if node not in self._cluster.nodes:
            raise RemoteError(ACCESS_DENIED, f"node {node} is no member", hint="invite it again")
        return node

    def _turn_out_strangers(self) -> None:
        """Revoke the keys of nodes that are no members. Looks only when one of the two changed."""
        keys, nodes = self._keys(), self._cluster.nodes
        if keys is self._looked_at[0] and nodes is self._looked_at[1]:
            return
        self._looked_at = (keys, nodes)
        for key, who in keys.items():
            if who.role in _OF_NODES and who.name.removeprefix(NODE_PREFIX) not in nodes:
                revoked = KeyRevoked(curve_key=key, reason="its node is no member")
                once = f"no-member/{who.name}/{key}"
                draft = Draft(stream=LOG_STREAM, event=revoked, actor=ACTOR, key=once)
                self._propose(draft, done=self._turned_out)

    def _turned_out(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Committed):
            self._looked_at = _NOTHING_YET
