"""Secrets of mirrors, made from keys that the two agents have anyway."""

from __future__ import annotations

from eventstore.access.keys import new_curve_keys
from nodeagent.storage.mirror_secret import mirror_secret


def test_both_sides_find_the_same_secret() -> None:
    """Another disk has another one, and a third agent does not find it."""
    one, two, three = (new_curve_keys() for _ in range(3))
    secret = mirror_secret(one.secret, two.public, "d1")
    assert secret == mirror_secret(two.secret, one.public, "d1")
    assert len(secret) == 40
    others = {
        mirror_secret(one.secret, two.public, "d2"),
        mirror_secret(three.secret, two.public, "d1"),
        mirror_secret(one.secret, three.public, "d1"),
    }
    assert secret not in others
    assert len(others) == 3
