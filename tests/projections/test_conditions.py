"""Each kind of condition: when it holds, when not, and that what is gone never holds."""

from __future__ import annotations

import immutables
import pytest

from projections.cluster import Cluster
from projections.conditions import KINDS, holds
from projections.objects import Disk, Instance, Node
from projections.plans import Condition
from projections.unsettled import Duty

WELL = Disk(uuid="d1", size_mib=1, template="drbd")
SYNCING = Disk(uuid="d2", size_mib=1, template="drbd", health={"n1": "syncing"})


def cluster(*, disks: tuple[Disk, ...] = (), **node: object) -> Cluster:
    some_node = Node(uuid="n1", name="node1", group="g", **{"joined": True, **node})  # type: ignore[arg-type]
    instance = Instance(
        uuid="i1", name="web1", primary="n1", os="", hypervisor="", template="drbd", disks=disks
    )
    return Cluster(
        nodes=immutables.Map({"n1": some_node}), instances=immutables.Map({"i1": instance})
    )


@pytest.mark.parametrize(
    ("condition", "where", "expected"),
    [
        (Condition(kind="node-joined", subject="n1"), cluster(), True),
        (Condition(kind="node-joined", subject="n1"), cluster(joined=False), False),
        (Condition(kind="node-heard", subject="n1"), cluster(), True),
        (Condition(kind="node-heard", subject="n1"), cluster(lost=True), False),
        (Condition(kind="disk-synced", subject="i1"), cluster(disks=(WELL,)), True),
        (Condition(kind="disk-synced", subject="i1"), cluster(disks=(WELL, SYNCING)), False),
        (
            Condition(kind="disk-synced", subject="i1", argument="d1"),
            cluster(disks=(WELL, SYNCING)),
            True,
        ),
        (
            Condition(kind="disk-synced", subject="i1", argument="gone"),
            cluster(disks=(WELL,)),
            False,
        ),
        (Condition(kind="instance-state", subject="i1", argument="down"), cluster(), True),
        (Condition(kind="instance-state", subject="i1", argument="up"), cluster(), False),
        (Condition(kind="instance-state", subject="i1", argument="crashed"), cluster(), False),
        (Condition(kind="no-voter", subject="n1"), cluster(), True),
        (Condition(kind="no-voter", subject="n1"), cluster(voter_key="k"), False),
        (Condition(kind="duties-done", subject="n1"), cluster(), True),
        (
            Condition(kind="duties-done", subject="n1"),
            cluster().with_duty("t", Duty(node="n1", job=1, what="remove", task="t")),
            False,
        ),
    ],
)  # fmt: skip
def test_a_condition_holds_by_what_the_log_says(
    condition: Condition, where: Cluster, expected: bool
) -> None:
    """Only the configuration decides; nothing else is asked."""
    assert holds(condition, where) is expected


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"duties-done"}))
def test_what_is_gone_never_comes_true(kind: str) -> None:
    """A subject that does not exist holds no condition, so that the wait runs out."""
    assert not holds(Condition(kind=kind, subject="gone"), Cluster())
