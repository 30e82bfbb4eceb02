"""OP_TEST_DELAY: do nothing, for a while (pure).

With a duration of 0 the opcode ends in the batch in which it starts: the least that a job costs.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.opcode import Opcode
from projections.cluster import Cluster
from projections.plans import Plan, Wait

LONGEST_S = 30 * 24 * 3600.0


class TestDelay(Opcode, frozen=True, kw_only=True):
    """Wait for `duration` seconds, on the master alone; 0 is no wait at all."""

    __test__: ClassVar[bool] = False  # no test of pytest's
    NAME: ClassVar[str] = "OP_TEST_DELAY"
    SUMMARY: ClassVar[str] = "duration"

    duration: Annotated[
        float,
        Meta(ge=0, le=LONGEST_S, description="How long to wait", extra={"unit": "s"}),
    ]


def decide(op: TestDelay, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Plan one wait, or be done."""
    if so_far or op.duration == 0:
        return Done()
    return Plan(steps=(Wait(id="delay", timeout_s=op.duration),))


HANDLER = Handler(opcode=TestDelay, decide=decide)
