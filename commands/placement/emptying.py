"""Emptying a node: each instance leaves that node, and no other (pure).

The allocator protocol names instances, not the node, so hail's mode `all` makes an instance leave
both of its nodes: two copies of every disk, and no target that any of the instances uses. Whoever
knows the node can do with one copy: what runs there changes over to its other side, and then the
mirrors that are left there are made anew elsewhere. Only an instance that cannot change over (its
other node is full) takes the long way.
"""

from __future__ import annotations

from commands.placement.evacuate import Evacuation, Mode, Moved, evacuate
from commands.placement.options import Options
from commands.placement.state import Placement


def empty(placement: Placement, node: int, instances: list[int], options: Options) -> Evacuation:
    """Take instances off a node, changing `placement`. One may go and fail: then half is done."""
    first = [index for index in instances if placement.primary[index] == node]
    over = evacuate(placement, first, Mode.PRIMARY, options)
    stuck = [index for index, _ in over.failed if placement.instances[index].mirrored]
    mirrored = [
        index
        for index in instances
        if placement.instances[index].mirrored and index not in set(stuck)
    ]
    mirrors = evacuate(placement, mirrored, Mode.SECONDARY, options)
    long_way = evacuate(placement, stuck, Mode.ALL, options)
    found = Evacuation(failed=[one for one in over.failed if one[0] not in set(stuck)])
    found.failed += mirrors.failed + long_way.failed
    by_instance = {one.instance: one for one in over.moved}
    for one in mirrors.moved + long_way.moved:
        before = by_instance.get(one.instance)
        moves = one.moves if before is None else (*before.moves, *one.moves)
        by_instance[one.instance] = Moved(one.instance, moves, one.nodes, one.group)
    found.moved = [by_instance[index] for index in instances if index in by_instance]
    return found
