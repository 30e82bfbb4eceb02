"""Instance policies and groups in JSON, which requests to allocators and the remote API share."""

from __future__ import annotations

from commands.placement.model import ALLOC_POLICIES, TEMPLATES, Bounds, Policy, Spec
from tools.htools.errors import DataError
from tools.htools.json_reader import Record, amount, checked, get, real_amount, texts


def read_policy(record: Record, what: str) -> Policy:
    """An instance policy. Raises DataError."""
    bounds = []
    for item in get(record, "minmax", list, what):
        pair = checked(item, "minmax", dict, what)
        low, high = (_spec(get(pair, end, dict, what), what) for end in ("min", "max"))
        bounds.append(Bounds(low, high))
    templates = texts(record, "disk-templates", what)
    for template in templates:
        if template not in TEMPLATES:
            raise DataError(f"{what}: Invalid disk template '{template}'")
    return Policy(
        standard=_spec(get(record, "std", dict, what), what),
        bounds=tuple(bounds),
        templates=templates,
        vcpu_ratio=real_amount(record, "vcpu-ratio", what),
        spindle_ratio=real_amount(record, "spindle-ratio", what),
    )


def _spec(record: Record, what: str) -> Spec:
    keys = ("memory-size", "cpu-count", "disk-size", "disk-count", "nic-count", "spindle-use")
    return Spec(*(amount(record, key, what) for key in keys))


def read_alloc_policy(record: Record, what: str) -> str:
    """An allocation policy. Raises DataError."""
    policy = get(record, "alloc_policy", str, what)
    if policy not in ALLOC_POLICIES:
        raise DataError(f"{what}: key 'alloc_policy': Invalid alloc policy '{policy}'")
    return policy


def read_template(record: Record, what: str) -> str:
    """A disk template. Raises DataError."""
    template = get(record, "disk_template", str, what)
    if template not in TEMPLATES:
        raise DataError(f"{what}: key 'disk_template': Invalid disk template '{template}'")
    return template
