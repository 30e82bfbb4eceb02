"""What a real machine answers when a cluster is verified."""

from __future__ import annotations

import time

import pytest

from nodeagent.calls import Probe
from nodeagent.host_facts import look_around
from tests.nodeagent.namespaces import Inside, needs_root, with_bridge

pytestmark = [pytest.mark.acceptance, needs_root]


class Here:
    """Something whose method can be called in a namespace."""

    look_around = staticmethod(look_around)


def test_links_and_addresses_that_are_not_there_are_named() -> None:
    """In the order in which they were asked for; those that are there are not."""
    namespace = with_bridge()
    try:
        namespace.ip("address add 192.0.2.1/24 dev br0")
        namespace.ip("address add 2001:db8::1/64 dev br0 nodad")
        asked = Probe(
            links=("br9", "br0", "br7"), addresses=("192.0.2.1", "192.0.2.2", "2001:db8::1")
        )
        before_ms = time.time() * 1000
        facts = Inside(namespace, Here()).look_around(asked)
        assert facts.missing_links == ("br9", "br7")
        assert facts.missing_addresses == ("192.0.2.2",)
        assert before_ms - 1 <= facts.clock_ms <= time.time() * 1000
    finally:
        namespace.close()
