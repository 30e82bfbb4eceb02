"""Instance policies in opcodes: reading changes of them, and holding instances to them (pure).

An instance complies if its disk template is allowed and it lies within one of the pairs of bounds;
if it lies within none, what is told is about the pair that it misses by the fewest values. The
default bounds want an interface, as Ganeti's do, but are not held against instances without one:
only bounds that an operator has set are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from commands import parse
from commands.errors import WRONG_INPUT, Refused
from commands.specs import whole
from projections import ipolicy, params
from projections.cluster import Cluster
from projections.ipolicy import SPEC_KEYS
from projections.objects import Group, Instance, InstancePolicy, Params, Sizes, SpecBounds

Changes = Mapping[str, Any]  # Any: as clients write it; every value is checked here
_KEYS = ("minmax", "std", "disk-templates", "vcpu-ratio", "spindle-ratio")
_SIZES = ("memory-size", "disk-size")


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy looks at of an instance. MiB."""

    template: str
    memory_mib: tuple[int, ...]  # least and most
    cpus: int
    disks_mib: tuple[int, ...]
    nics: int
    spindles: int


def modified(own: InstancePolicy, changes: Changes, *, of_group: bool) -> InstancePolicy:
    """Return what is set after `changes`; `default` takes a key back. Raises Refused."""
    new = own
    for key, value in changes.items():
        parse.choice(key, _KEYS, "key of instance policies")
        if of_group and key == "std":
            raise _wrong("std is the same for the whole cluster", "gnt-cluster modify")
        field = key.replace("-", "_")
        unset = value is None or value == parse.DEFAULT or value == [parse.DEFAULT]
        found = getattr(InstancePolicy(), field) if unset else _read(own, key, value)
        new = msgspec.structs.replace(new, **{field: found})
    return new


def require_consistent(cluster: InstancePolicy) -> None:
    """Refuse a cluster's policy whose standard size lies outside of all its bounds."""
    full = ipolicy.in_force(cluster)
    wrong = [
        f"{key} {full.std[key]}, bounds {pair.min[key]} to {pair.max[key]}"
        for pair in full.minmax
        for key in SPEC_KEYS
        if not pair.min[key] <= full.std[key] <= pair.max[key]
    ]
    pairs_missed = sum(
        any(not pair.min[key] <= full.std[key] <= pair.max[key] for key in SPEC_KEYS)
        for pair in full.minmax
    )
    if pairs_missed == len(full.minmax):
        raise _wrong(
            f"the standard size of instances lies outside of the bounds: {'; '.join(wrong)}",
            "--ipolicy-std-specs and --ipolicy-bounds-specs can be given together",
        )


def violations(policy: InstancePolicy, extent: Extent) -> tuple[str, ...]:
    """Say how an instance violates a policy with everything filled in; nothing if it complies."""
    found = []
    if extent.template not in policy.disk_templates:
        allowed = ", ".join(policy.disk_templates)
        found.append(f"disk template {extent.template} is not allowed (allowed are: {allowed})")
    misses = [tuple(_outside(pair, extent)) for pair in policy.minmax]
    return (*found, *min(misses, key=len))


def require(cluster: Cluster, group: Group, name: str, extent: Extent, *, ignore: bool) -> None:
    """Raise Refused if an instance would violate the policy of a group."""
    found = () if ignore else violations(in_force(cluster, group), extent)
    if found:
        raise _wrong(
            f"{name} would violate the instance policy of group {group.name}: {'; '.join(found)}",
            "--ignore-ipolicy takes no notice of it; gnt-group info shows the bounds",
        )


def require_of_one(
    cluster: Cluster, groups: Iterable[Group], name: str, extent: Extent, *, ignore: bool
) -> None:
    """Raise Refused if an instance would violate the policy of every one of these groups."""
    known = sorted(groups, key=lambda group: group.name)
    if known and all(violations(in_force(cluster, group), extent) for group in known):
        require(cluster, known[0], name, extent, ignore=ignore)


def in_force(cluster: Cluster, group: Group) -> InstancePolicy:
    """Return the policy of a group."""
    return ipolicy.in_force(cluster.settings.ipolicy, group.ipolicy)


def extent_of(cluster: Cluster, instance: Instance) -> Extent:
    """Return what counts of an instance as it is configured."""
    return extent(
        params.of_instance(cluster, instance),
        template=instance.template,
        disks_mib=tuple(disk.size_mib for disk in instance.disks),
        nics=len(instance.nics),
    )


def extent(backend: Params, *, template: str, disks_mib: tuple[int, ...], nics: int) -> Extent:
    """Return what counts of an instance; `backend` holds every backend parameter."""
    memory = (whole(backend, "minmem"), whole(backend, "maxmem"))
    return Extent(
        template=template,
        memory_mib=tuple(dict.fromkeys(memory)),
        cpus=whole(backend, "vcpus"),
        disks_mib=disks_mib,
        nics=nics,
        spindles=whole(backend, "spindle_use"),
    )


def _outside(pair: SpecBounds, extent: Extent) -> Iterator[str]:
    values = [("memory-size", "", each) for each in extent.memory_mib]
    values.append(("cpu-count", "", extent.cpus))
    if pair != ipolicy.DEFAULTS.minmax[0]:
        values.append(("nic-count", "", extent.nics))
    if extent.template != "diskless":
        values.append(("disk-count", "", len(extent.disks_mib)))
    values += [("disk-size", f"/{n}", size) for n, size in enumerate(extent.disks_mib)]
    values.append(("spindle-use", "", extent.spindles))
    for key, which, value in values:
        low, high = pair.min[key], pair.max[key]
        if not low <= value <= high:
            yield f"{key}{which} value {value} is not in range [{low}, {high}]"


# --- reading ----------------------------------------------------------------------------------


def _read(own: InstancePolicy, key: str, value: Any) -> object:
    match key:
        case "minmax":
            if not isinstance(value, list | tuple) or not value:
                raise _wrong("minmax is not a list of pairs", "min:SPECS/max:SPECS")
            return tuple(_pair(each) for each in value)
        case "std":
            return {**own.std, **_sizes(value, "std")}
        case "disk-templates":
            if not isinstance(value, list | tuple) or not value:
                raise _wrong("at least one disk template must be allowed", "drbd,plain")
            known = ipolicy.DISK_TEMPLATES
            names = dict.fromkeys(str(each) for each in value)
            return tuple(parse.choice(each, known, "disk template") for each in names)
    return _ratio(value, key)


def _pair(value: Any) -> SpecBounds:
    if not isinstance(value, Mapping) or set(value) != {"min", "max"}:
        raise _wrong("a pair of bounds has not just min and max", "min:SPECS/max:SPECS//min:...")
    pair = SpecBounds(min=_complete(value["min"], "min"), max=_complete(value["max"], "max"))
    for key in SPEC_KEYS:
        if pair.min[key] > pair.max[key]:
            raise _wrong(f"{key}: min {pair.min[key]} is above max {pair.max[key]}", "swap them")
    return pair


def _complete(value: Any, what: str) -> Sizes:
    sizes = _sizes(value, what)
    missing = [key for key in SPEC_KEYS if key not in sizes]
    if missing:
        raise _wrong(f"{what} lacks {', '.join(missing)}", f"every one of {', '.join(SPEC_KEYS)}")
    return sizes


def _sizes(value: Any, what: str) -> Sizes:
    if not isinstance(value, Mapping):
        raise _wrong(f"{what} is not a set of sizes", "memory-size=128,cpu-count=1,...")
    return {
        parse.choice(str(key), SPEC_KEYS, "key of sizes"): _size(each, f"{what}: {key}", str(key))
        for key, each in value.items()
    }


def _size(value: Any, what: str, key: str) -> int:
    if key in _SIZES and isinstance(value, str) and not value.isdecimal():
        return parse.size_mib(value, what)
    number = -1 if isinstance(value, bool) else parse.whole(str(value).strip(), what)
    if number < 0:
        raise _wrong(f"{what}: {value!r} is not a whole number from 0", "memory-size=128")
    return number


def _ratio(value: Any, key: str) -> float:
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = 0.0
    if not 0.0 < ratio < parse.LARGEST:
        raise _wrong(f"{key}: {value!r} is not a number above 0", "such as 4.0")
    return ratio


def _wrong(message: str, hint: str) -> Refused:
    return Refused(WRONG_INPUT, message, hint=hint)
