"""What may be submitted, and that a submission makes its jobs once."""

from __future__ import annotations

import msgspec
import pytest

from commands.debug_ops.delay import TestDelay
from commands.errors import Refused
from eventstore.packed import Packed
from tests.commands.engine.world import World, submit_spec


def test_a_submission_with_a_key_makes_its_jobs_once(world: World) -> None:
    """The same key again: the answer names the first jobs, and the numbers stay dense."""
    spec = submit_spec(TestDelay(duration=0))
    world.submit_all(spec, key="k1")
    world.settle()
    world.submit_all(spec, key="k1")
    world.settle()
    bodies = [answer.body for answer in world.answers.values()]
    assert bodies[0] == bodies[1]
    assert world.state.jobs.last_id == 1
    assert world.submit(TestDelay(duration=0)) == 2


def test_wrong_submissions_are_refused_with_a_hint(world: World) -> None:
    """Unknown opcodes and fields, priorities and dependencies that make no sense."""
    wrong = [
        submit_spec(),
        submit_spec(TestDelay(duration=0), priority=20),
        submit_spec(TestDelay(duration=0), depends=(((5, ()),),)),
        submit_spec(TestDelay(duration=0), depends=(((-1, ()),),)),
        submit_spec(TestDelay(duration=0), depends=(((1, ("done",)),),)),
    ]
    for name, body in [("OP_TEST_DELAI", {}), ("OP_TEST_DELAY", {"duration": -1})]:
        data = msgspec.Raw(msgspec.msgpack.encode(body))
        wrong.append(msgspec.structs.replace(submit_spec(), ops=(Packed(name, 1, data),)))
    for spec in wrong:
        with pytest.raises(Refused) as refused:
            world.submit_all(spec)
        assert refused.value.hint
    assert not world.proposals
