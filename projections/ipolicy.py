"""Instance policies: which sizes of instances there may be, in the cluster and in a group (pure).

What is set on a group stands before what is set on the cluster, and that before the defaults, key
by key: pairs of bounds are inherited as a whole. The standard size is the cluster's alone.
The keys are Ganeti's; sizes are MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from projections.objects import InstancePolicy, Sizes, SpecBounds

#: What a size is made of, in Ganeti's order.
SPEC_KEYS: Final = (
    "memory-size", "cpu-count", "disk-count", "disk-size", "nic-count", "spindle-use",
)  # fmt: skip
_LEAST: Final[Sizes] = dict(zip(SPEC_KEYS, (128, 1, 1, 1024, 1, 1), strict=True))
_MOST: Final[Sizes] = dict(zip(SPEC_KEYS, (32768, 8, 16, 1048576, 8, 12), strict=True))
DISK_TEMPLATES: Final = (
    "diskless", "file", "sharedfile", "plain", "blockdev", "drbd", "rbd", "ext", "gluster",
)  # fmt: skip
DEFAULTS: Final = InstancePolicy(
    minmax=(SpecBounds(min=_LEAST, max=_MOST),),
    std=_LEAST,
    disk_templates=DISK_TEMPLATES,
    vcpu_ratio=4.0,
    spindle_ratio=32.0,
)


def in_force(cluster: InstancePolicy, group: InstancePolicy | None = None) -> InstancePolicy:
    """Return the policy of the cluster, or of a group of it, with everything filled in."""
    layers = (group or InstancePolicy(), cluster, DEFAULTS)
    return InstancePolicy(
        minmax=next(layer.minmax for layer in layers if layer.minmax),
        std={**_LEAST, **cluster.std},
        disk_templates=next(layer.disk_templates for layer in layers if layer.disk_templates),
        vcpu_ratio=next(layer.vcpu_ratio for layer in layers if layer.vcpu_ratio is not None),
        spindle_ratio=next(
            layer.spindle_ratio for layer in layers if layer.spindle_ratio is not None
        ),
    )


def of_ganeti(found: Mapping[str, Any]) -> InstancePolicy:
    """Return what `as_ganeti` has written."""
    return InstancePolicy(
        minmax=tuple(SpecBounds(min=pair["min"], max=pair["max"]) for pair in found["minmax"]),
        std=found["std"],
        disk_templates=tuple(found["disk-templates"]),
        vcpu_ratio=found["vcpu-ratio"],
        spindle_ratio=found["spindle-ratio"],
    )


def as_ganeti(policy: InstancePolicy) -> dict[str, object]:
    """Return what is set, with Ganeti's keys."""
    found: dict[str, object] = {
        "minmax": [{"min": dict(pair.min), "max": dict(pair.max)} for pair in policy.minmax],
        "std": dict(policy.std),
        "disk-templates": list(policy.disk_templates),
        "vcpu-ratio": policy.vcpu_ratio,
        "spindle-ratio": policy.spindle_ratio,
    }
    return {key: value for key, value in found.items() if value not in ([], {}, None)}
