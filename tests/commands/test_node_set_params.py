"""OP_NODE_SET_PARAMS and OP_NODE_REMOVE: roles of nodes, and the last candidate."""

from __future__ import annotations

from typing import Any

import pytest

from commands.cluster_ops import set_params as cluster_set_params
from commands.cluster_ops.set_params import ClusterSetParams
from commands.errors import Refused
from commands.node_ops import remove as node_remove
from commands.node_ops.set_params import HANDLER, NodeSetParams
from eventstore.events import KeyRevoked
from projections.plans import Condition, Plan, Record, Wait
from projections.registry import REGISTRY
from tests.commands.building import KEY, Town, ids, node_uuid


def order(node: int = 2, **fields: Any) -> NodeSetParams:
    """Return an order for a node."""
    return NodeSetParams(node_name=f"node{node}", **fields)


def leave(node: int) -> node_remove.NodeRemove:
    """Return an order to remove a node."""
    return node_remove.NodeRemove(node_name=f"node{node}")


@pytest.mark.parametrize("role", ["offline", "drained"])
def test_a_role_clears_the_others(role: str) -> None:
    """A node that goes offline or is drained is no candidate any more, as in Ganeti."""
    town = Town()
    done, _ = town.carry_out(HANDLER, order(**{role: True}))
    assert done.result == [("master_candidate", "False"), (role, "True")]
    node = town.node(2)
    assert getattr(node, role)
    assert not node.master_candidate
    town.carry_out(HANDLER, order(master_candidate=True))
    assert not getattr(town.node(2), role)


@pytest.mark.parametrize("role", ["offline", "drained"])
def test_a_node_that_returns_is_a_candidate_again(role: str) -> None:
    """While the pool has room, and unless the order says otherwise."""
    town = Town(3, candidate_pool_size=3)
    town.carry_out(HANDLER, order(**{role: True}))
    kept_out = {role: False, "master_candidate": False}
    town.carry_out(HANDLER, order(**kept_out))
    assert not town.node(2).master_candidate
    town.carry_out(HANDLER, order(**{role: True}))
    town.carry_out(HANDLER, order(**{role: False}))
    assert town.node(2).master_candidate
    small = Town(3, candidate_pool_size=2)
    small.set_node(2, master_candidate=False, **{role: True})
    small.carry_out(HANDLER, order(**{role: False}))
    assert not small.node(2).master_candidate


def test_the_last_candidate_is_never_given_up() -> None:
    """Nor is the pool made smaller than it could be, unless by force or with another promoted."""
    town = Town(3, candidate_pool_size=2)
    town.set_node(3, master_candidate=False)
    with pytest.raises(Refused, match="only 1 master candidates would be left, 2 are wanted"):
        town.decide(HANDLER, order(master_candidate=False))
    assert isinstance(town.decide(HANDLER, order(master_candidate=False, force=True)), Plan)
    done, _ = town.carry_out(HANDLER, order(offline=True, auto_promote=True))
    assert isinstance(done.result, list)
    assert ("promoted", "node3") in done.result
    assert town.node(3).master_candidate


def test_the_only_candidate_stays_even_by_force() -> None:
    """There is nobody to take its place."""
    town = Town(2)
    town.set_node(1, master_candidate=False, master_capable=False)
    with pytest.raises(Refused, match="is the only master candidate"):
        town.decide(HANDLER, order(2, drained=True, force=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offline": True, "drained": True}, "cannot be offline and drained at once"),
        ({"drained": False}, "nothing would change"),
        ({"powered": False}, "powered is not supported yet"),
        ({"ndparams": {"exclusive_storage": True}}, "the same for the whole cluster"),
        ({"vm_capable": False}, "holds 1 instances"),
        ({"secondary_ip": "192.0.2.99"}, "mirrors on node2 use its address"),
        ({"master_capable": False, "master_candidate": True}, "is not master_capable"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(fields: dict[str, Any], message: str) -> None:
    """Roles exclude each other; what holds instances stays as they need it."""
    town = Town()
    town.add_instance(1, nodes=(2,))
    with pytest.raises(Refused) as refusal:
        town.decide(HANDLER, order(**fields))
    assert message in refusal.value.message
    assert refusal.value.hint


def test_the_master_stays_a_candidate() -> None:
    """Another node must become the master first."""
    for fields in ({"offline": True}, {"drained": True}, {"master_candidate": False}):
        with pytest.raises(Refused, match="node1 is the master node"):
            Town().decide(HANDLER, order(1, **fields))


def test_saying_that_a_node_is_off_waits_for_nothing_that_runs_on_it() -> None:
    """An opcode that hangs on a dead node holds the node; the mark is what sets it free."""
    town = Town()
    held = {lock.name for lock in HANDLER.locks(order(offline=True), town.cluster)}
    assert f"node/{node_uuid(2)}" not in held
    held = {lock.name for lock in HANDLER.locks(order(vm_capable=False), town.cluster)}
    assert f"node/{node_uuid(2)}" in held


def test_parameters_of_a_node_are_set_and_reset() -> None:
    """A reset value is inherited again."""
    town = Town()
    town.carry_out(HANDLER, order(ndparams={"spindle_count": "4"}))
    assert town.node(2).ndparams == {"spindle_count": 4}
    town.carry_out(HANDLER, order(ndparams={"spindle_count": "default"}))
    assert town.node(2).ndparams == {}


def test_a_node_leaves_and_its_key_is_worth_nothing() -> None:
    """It is told to leave, if it can be, and its key goes in the same record."""
    town = Town()
    town.set_node(2, master_candidate=False)
    plan = town.decide(node_remove.HANDLER, leave(2))
    assert ids(plan) == ["leave", "removed"]
    assert isinstance(plan, Plan)
    record = plan.steps[1]
    assert isinstance(record, Record)
    first = record.facts[0]
    revoked = REGISTRY.decode_data(first.kind, first.schema, first.data)
    assert isinstance(revoked, KeyRevoked)
    assert revoked.curve_key == KEY
    town.carry_out(node_remove.HANDLER, leave(2), fail=["leave"])
    assert node_uuid(2) not in town.cluster.nodes


def test_a_candidate_gives_its_vote_back_before_it_leaves() -> None:
    """It is waited for, and another node takes its place where the pool lacks one."""
    town = Town(3, candidate_pool_size=2)
    town.set_node(3, master_candidate=False)
    plan = town.decide(node_remove.HANDLER, leave(2))
    assert ids(plan) == ["demoted", "unvoted", "leave", "removed"]
    assert isinstance(plan, Plan)
    demoted, unvoted = plan.steps[:2]
    assert isinstance(demoted, Record)
    assert demoted.undo, "the voters may not agree"
    assert isinstance(unvoted, Wait)
    assert unvoted.until == Condition(kind="no-voter", subject=node_uuid(2))
    town.carry_out(node_remove.HANDLER, leave(2))
    assert town.node(3).master_candidate


def test_a_dead_node_is_removed_without_asking_it() -> None:
    """Only what the others do is left to do."""
    town = Town()
    town.lose(2)
    assert ids(town.decide(node_remove.HANDLER, leave(2))) == ["demoted", "unvoted", "removed"]


def test_a_node_that_is_needed_stays() -> None:
    """The master, and what holds instances as primary or secondary."""
    town = Town()
    town.add_instance(1, nodes=(2, 3), template="drbd")
    for node, message in ((1, "is the master"), (2, "still holds web1"), (3, "still holds web1")):
        with pytest.raises(Refused, match=message):
            town.decide(node_remove.HANDLER, leave(node))


def test_a_larger_pool_takes_nodes_in() -> None:
    """As many as it lacks, by their names; drained ones stay out, and without a size nothing
    happens."""
    town = Town(5, candidate_pool_size=1)
    for number in (2, 3, 4, 5):
        town.set_node(number, master_candidate=False, drained=number == 2)
    town.carry_out(cluster_set_params.HANDLER, ClusterSetParams(mac_prefix="aa:00:01"))
    assert not town.node(3).master_candidate
    order = ClusterSetParams(candidate_pool_size=3)
    plan = town.decide(cluster_set_params.HANDLER, order)
    assert isinstance(plan, Plan)
    assert plan.explanation == ("promoted=node3", "promoted=node4")
    town.carry_out(cluster_set_params.HANDLER, order)
    taken = [town.node(number).master_candidate for number in range(1, 6)]
    assert taken == [True, False, True, True, False]
    with pytest.raises(Refused, match="nothing would change"):
        town.decide(cluster_set_params.HANDLER, order)
