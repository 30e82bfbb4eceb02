"""Random valid histories, for the laws (hypothesis strategies)."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from projections.events import configuration as c
from projections.events import jobs as j
from projections.objects import ADMIN_DOWN, ADMIN_UP, Instance
from projections.plans import Plan, Reservations
from projections.state import Projector
from tests.projections.stories import GIVEN, Story, packed, uid

Draw = st.DrawFn
NAMES = tuple(f"i{number}.example.net" for number in range(6))


@st.composite
def stories(draw: Draw, *, steps: int = 12) -> Story:
    """Return the story of a cluster to which a random, valid sequence of things has happened."""
    story = Story()
    story.found(draw(st.integers(2, 4)))
    for _ in range(draw(st.integers(0, steps))):
        draw(st.sampled_from(HAPPENINGS))(draw, story)
    return story


def _created(draw: Draw, story: Story) -> None:
    free = [name for name in NAMES if uid(name) not in story.instances]
    if free:
        primary, secondary = draw(st.permutations(story.nodes))[:2]
        story.create(draw(st.sampled_from(free)), primary=primary, secondary=secondary)


def _removed(draw: Draw, story: Story) -> None:
    instance = _some(draw, story)
    if instance is not None:
        story.change(instance.uuid, c.InstanceRemoved(instance=instance.uuid))
        del story.instances[instance.uuid]


def _state_set(draw: Draw, story: Story) -> None:
    instance = _some(draw, story)
    if instance is not None:
        state = draw(st.sampled_from((ADMIN_UP, ADMIN_DOWN)))
        story.change(instance.uuid, c.InstanceStateSet(instance=instance.uuid, admin_state=state))


def _failed_over(draw: Draw, story: Story) -> None:
    instance = _some(draw, story)
    if instance is not None:
        now = _present(story, instance)
        assert now.secondary is not None
        moved = c.InstancePrimaryChanged(
            instance=now.uuid,
            primary=now.secondary,
            generation=now.generation + 1,
            how="failover",
        )
        story.change(now.uuid, moved)


def _seen(draw: Draw, story: Story) -> None:
    instance = _some(draw, story)
    if instance is not None:
        seen = c.DiskStateSeen(
            instance=instance.uuid,
            disk=instance.disks[0].uuid,
            node=draw(st.sampled_from(story.nodes)),
            state=draw(st.sampled_from(("ok", "syncing", "degraded", "faulty", "inactive"))),
        )
        story.log.add((f"instance/{instance.uuid}", seen))


def _tagged(draw: Draw, story: Story) -> None:
    node = draw(st.sampled_from(story.nodes))
    kind = draw(st.sampled_from((c.TagsAdded, c.TagsRemoved)))
    tags = tuple(draw(st.lists(st.sampled_from("abcd"), max_size=3)))
    story.log.add((f"node/{node}", kind(table="node", subject=node, tags=tags)))


def _lost(draw: Draw, story: Story) -> None:
    node = draw(st.sampled_from(story.nodes))
    lost = draw(st.booleans())
    event = c.NodeLost(node=node, silent_s=61.0) if lost else c.NodeReturned(node=node)
    story.log.add((f"node/{node}", event))


def _duty(draw: Draw, story: Story) -> None:
    node, duty = draw(st.sampled_from(story.nodes)), draw(st.sampled_from("xyz"))
    call = packed("probe")
    event = draw(
        st.sampled_from(
            (
                c.DutyRecorded(node=node, duty=duty, job=1, what="undo", call=call),
                c.DutyFailed(node=node, duty=duty, message="no"),
                c.DutyRequested(
                    node=node,
                    duty=duty,
                    task=f"{duty}2",
                    attempt=2,
                    call=call,
                    resource="job/1",
                    timeout_s=5.0,
                ),
                c.DutyDone(node=node, duty=duty),
            )
        )
    )
    story.log.add((f"node/{node}", event))


def _left_open(draw: Draw, story: Story) -> None:
    """A job stops in mid-air: queued, waiting, planned with reserved names, parked, resolved."""
    job = story.submit("ONE", "TWO")
    stream, far = f"job/{job}", draw(st.integers(0, 5))
    locks = (j.Lock(f"name/job-{job}"),)
    if far >= 1:
        story.log.add((stream, j.OpBlocked(op=0, locks=locks, behind=())), job=job)
    if far >= 2:
        story.log.add((stream, j.OpStarted(op=0, handler=1, locks=locks)), job=job)
    if far >= 3:
        plan = Plan(steps=(), reserves=Reservations(names=(f"instance/job-{job}",)))
        story.log.add((stream, j.OpPlanned(op=0, number=0, plan=plan, given=GIVEN)), job=job)
    if far >= 4:
        left = ("disk: ensure-volume on node1",)
        story.log.add((stream, j.OpParked(op=0, code="x", message="no way", left=left)), job=job)
    if far >= 5:
        story.log.add((stream, j.OpResolved(op=0, how="retry")), job=job)


def _some(draw: Draw, story: Story) -> Instance | None:
    there = list(story.instances.values())
    return draw(st.sampled_from(there)) if there else None


def _present(story: Story, instance: Instance) -> Instance:
    projector = Projector()
    projector.apply(story.log.records)
    return projector.state.cluster.instances[instance.uuid]


HAPPENINGS: tuple[Callable[[Draw, Story], None], ...] = (
    _created,
    _created,
    _removed,
    _state_set,
    _failed_over,
    _seen,
    _tagged,
    _lost,
    _duty,
    _left_open,
)
