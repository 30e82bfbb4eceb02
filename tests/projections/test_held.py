"""What open opcodes hold stands in the configuration, exactly as long as they hold it."""

from __future__ import annotations

import pytest

from eventstore.record import Event
from projections.events import jobs as j
from projections.plans import Plan, Reservations
from projections.state import Projector
from projections.unsettled import Parked
from tests.projections.stories import GIVEN, Story

PLAN = Plan(steps=(), reserves=Reservations(names=("instance/x",), ports=(11000,)))
LEFT = ("disk: ensure-volume on node1", "recorded instance.created")


class Held:
    """A cluster with one job, whose first opcode has planned."""

    def __init__(self) -> None:
        story = Story()
        story.found(1)
        self.job = story.submit("OP_TEST(x)", "OP_TEST(y)")
        self.projector = Projector()
        self.projector.apply(story.log.records)
        self.log = story.log
        self.tell(j.OpStarted(op=0, handler=1))
        self.tell(j.OpPlanned(op=0, number=0, plan=PLAN, given=GIVEN))

    def tell(self, event: Event) -> None:
        self.projector.apply(self.log.add((f"job/{self.job}", event), job=self.job))

    @property
    def reserved(self) -> dict[tuple[int, int], Reservations]:
        return dict(self.projector.state.cluster.reserved)

    @property
    def parked(self) -> dict[tuple[int, int], Parked]:
        return dict(self.projector.state.cluster.parked)


def test_what_a_plan_reserves_is_held_until_its_opcode_ends() -> None:
    """`op.planned` takes it, also while the opcode is parked; the end gives it back."""
    held = Held()
    assert held.reserved == {(held.job, 0): PLAN.reserves}
    assert held.projector.state.cluster.names["instance/x"] == ""
    held.tell(j.OpParked(op=0, code="x", message="no way"))
    assert held.reserved == {(held.job, 0): PLAN.reserves}
    held.tell(j.OpFailed(op=0, code="x", message="no way"))
    assert held.reserved == {}
    assert "instance/x" not in held.projector.state.cluster.names


def test_a_parked_opcode_is_known_with_what_it_left() -> None:
    """Its summary, the reason and what is left where; nothing of the job's other opcodes."""
    held = Held()
    assert held.parked == {}
    held.tell(j.OpParked(op=0, code="x", message="no way", left=LEFT))
    told = Parked(summary="OP_TEST(x)", message="no way", left=LEFT)
    assert held.parked == {(held.job, 0): told}


@pytest.mark.parametrize("how", ["retry", "undo"])
def test_one_that_goes_on_is_parked_no_more(how: str) -> None:
    """A person let it try again, or go back."""
    held = Held()
    held.tell(j.OpParked(op=0, code="x", message="no way", left=LEFT))
    held.tell(j.OpResolved(op=0, how=how))
    assert held.parked == {}
    assert held.reserved == {(held.job, 0): PLAN.reserves}


def test_one_that_is_accepted_as_it_is_holds_nothing() -> None:
    """It ends in the same batch."""
    held = Held()
    held.tell(j.OpParked(op=0, code="x", message="no way", left=LEFT))
    held.tell(j.OpResolved(op=0, how="accept"))
    held.tell(j.OpFailed(op=0, code="x", message="no way"))
    assert held.parked == {}
    assert held.reserved == {}
