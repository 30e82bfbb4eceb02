"""An operator at a voter that is down: `eventstore/voter/takeover.py`, on a simulated disk."""

from __future__ import annotations

from eventstore.clock import HybridClock
from eventstore.events import STREAM, TakeoverForced
from eventstore.raft.recovery import assess
from eventstore.raft.state import HardState, Identity
from eventstore.record import Batch, Draft, Epoch
from eventstore.storage.ack_mark import Mark
from eventstore.voter.appended import Appended, Placed
from tests.simulation.invariants import Checker
from tests.simulation.kernel import Kernel
from tests.simulation.node import START_MS, Node


def take_over(node: Node, checker: Checker, kernel: Kernel) -> bool:
    """Make this voter the only one of a new generation; say whether it was done.

    Refused, as the tool refuses: if it holds nothing, has lost something that it had said, or is
    the only voter already.
    """
    disk = node.disk
    last = disk.entry_at(disk.last)
    if last is None or disk.tampered:
        return False
    held = disk.entry_at(disk.mark.seq)
    position = None
    if held is not None:
        stored = held.records[disk.mark.seq - held.first]
        position = last.end._replace(seq=disk.mark.seq, epoch=held.epoch, hash=stored.hash)
    _, lost = assess(disk.mark, disk.hard, position, last.end)
    voters = disk.configs()[-1].voters
    dead = {name: inc.hex() for name, inc in voters.items() if inc != node.inc}
    if lost or not dead:
        return False
    gen, term = disk.hard.epoch
    epoch = Epoch(gen + 1, term + 1)
    appended = Appended(
        seq=last.last,
        last_hash=last.hash,
        versions={},
        clock=HybridClock(last.records[-1].record.time),
        origin=node.name,
        draw_bytes=kernel.rng.randbytes,
    )
    event = TakeoverForced(
        reason="test",
        voter=node.name,
        inc=node.inc.hex(),
        dead=dead,
        last_seq=last.last,
        last_hash=last.hash.hex(),
    )
    draft = Draft(stream=STREAM, event=event, actor="operator:test")
    placed = appended.place(Batch(drafts=(draft,)), epoch, START_MS + kernel.now_ms)
    assert isinstance(placed, Placed)
    entry = placed.entry
    mark = Mark(entry.last, entry.hash, *epoch, node.name, node.inc, node.inc)
    disk.take_over(entry, HardState(epoch, Identity(node.name, node.inc)), mark)
    checker.on_take_over(node, entry)
    kernel.say(node.name, "takes over at %s as %s", entry.last, epoch)
    return True
