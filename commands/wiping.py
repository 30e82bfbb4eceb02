"""New disks are emptied before anybody gets them, where the cluster wants it (pure).

`gnt-cluster modify --prealloc-wipe-disks=yes`. What a volume was used for before is then gone from
it before an OS is installed on it, or a guest sees what it has grown by. It is done on the primary,
through the mirror where there is one, so that both sides are empty. What was taken over is never
wiped. An instance's disks that are not active are made so for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from commands.disks import ACTIVATION_S, call, of_disk
from commands.specs import disk_spec
from nodeagent.calls import EnsureActive, EnsureInactive, WipeDisk
from projections.cluster import Cluster
from projections.objects import Instance
from projections.plans import Call, names

SLOWEST_MIB_S = 4.0
GRACE_S = 300.0


def wipe(
    cluster: Cluster,
    instance: Instance,
    indices: Iterable[int],
    after: Iterable[str],
    *,
    from_mib: int = 0,
    wake: bool,
) -> tuple[Call, ...]:
    """Return calls that wipe these disks from `from_mib` on; none if the cluster wants none.

    `wake`: they are not active, and are left active and in the lead.
    """
    if not cluster.settings.prealloc_wipe_disks:
        return ()
    node = instance.primary
    name = cluster.nodes[node].name
    steps: list[Call] = []
    for index in indices:
        spec = disk_spec(cluster, instance, index, node)
        before: list[Call] = []
        if wake:
            before.append(
                call(
                    f"wake/{name}/{index}",
                    node,
                    EnsureActive(disk=spec, primary=True),
                    resource=of_disk(instance.disks[index]),
                    after=after,
                    undo=EnsureInactive(disk=spec),
                    timeout_s=ACTIVATION_S,
                )
            )
        wiped = call(
            f"wipe/{name}/{index}",
            node,
            WipeDisk(disk=spec, from_mib=from_mib),
            resource=of_disk(instance.disks[index]),
            after=(*after, *names(before)),
            timeout_s=GRACE_S + (spec.size_mib - from_mib) / SLOWEST_MIB_S,
        )
        steps += (*before, wiped)
    return tuple(steps)
