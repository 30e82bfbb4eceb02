"""Tags that steer placement: exclusion, failure domains, wanted locations, migration limits.

| cluster tag | effect |
| --- | --- |
| `htools:iextags:X` | instance tags `X:*` exclude one another on a primary node |
| `htools:nlocation:X` | node tags `X:*` are domains that fail together |
| `htools:desiredlocation:X` | instance tags that begin with X name wanted locations |
| `htools:migration:X` | node tags `X:*` restrict live migration |
| `htools:allowmigration:A::B` | a node tagged B may receive from one tagged A |
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

EXCLUSION_PREFIX: Final = "htools:iextags:"
LOCATION_PREFIX: Final = "htools:nlocation:"
DESIRED_PREFIX: Final = "htools:desiredlocation:"
MIGRATION_PREFIX: Final = "htools:migration:"
ALLOW_MIGRATION_PREFIX: Final = "htools:allowmigration:"
STANDBY_PREFIX: Final = "htools:standby:"
STANDBY_AUTO: Final = "htools:standby:auto"


def exclusion_prefixes(cluster_tags: Iterable[str]) -> tuple[str, ...]:
    """Prefixes of instance tags that exclude one another, as the cluster's tags state them."""
    return _stated(cluster_tags, EXCLUSION_PREFIX)


def desired_prefixes(cluster_tags: Iterable[str]) -> tuple[str, ...]:
    """Prefixes of instance tags that name wanted locations."""
    return _stated(cluster_tags, DESIRED_PREFIX)


def matching(tags: Sequence[str], prefixes: Sequence[str]) -> tuple[str, ...]:
    """The tags that begin with one of the prefixes, in order."""
    return tuple(tag for tag in tags if tag.startswith(tuple(prefixes)))


def locations(cluster_tags: Iterable[str], node_tags: Sequence[str]) -> frozenset[str]:
    """The failure domains of a node."""
    return _selected(LOCATION_PREFIX, cluster_tags, node_tags)


def migration_needs(cluster_tags: Iterable[str], node_tags: Sequence[str]) -> frozenset[str]:
    """The migration tags of a node, which a target must be able to receive."""
    return _selected(MIGRATION_PREFIX, cluster_tags, node_tags)


def migration_accepts(cluster_tags: Sequence[str], node_tags: Sequence[str]) -> frozenset[str]:
    """The migration tags that a node can receive: its own, and those allowed for its own."""
    own = migration_needs(cluster_tags, node_tags)
    allowed = set(own)
    for tag in cluster_tags:
        if tag.startswith(ALLOW_MIGRATION_PREFIX):
            parts = tag[len(ALLOW_MIGRATION_PREFIX) :].split("::")
            if len(parts) == 2 and parts[1] in own:
                allowed.add(parts[0])
    return frozenset(allowed)


def _stated(cluster_tags: Iterable[str], prefix: str) -> tuple[str, ...]:
    values = (tag[len(prefix) :] for tag in cluster_tags if tag.startswith(prefix))
    return tuple(value for value in values if value)


def _selected(prefix: str, cluster_tags: Iterable[str], node_tags: Sequence[str]) -> frozenset[str]:
    families = tuple(tag[len(prefix) :] + ":" for tag in cluster_tags if tag.startswith(prefix))
    return frozenset(tag for tag in node_tags if families and tag.startswith(families))
