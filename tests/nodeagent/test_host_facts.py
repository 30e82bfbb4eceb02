"""What a real machine answers when a cluster is verified."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nodeagent.calls import Probe
from nodeagent.host_facts import look_around
from nodeagent.network.scripts import SiteScripts
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


def test_what_the_agent_would_not_use_is_named(tmp_path: Path) -> None:
    """Directories outside of its own, programs and scripts that nobody may run; disks by size."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for each in (good, bad):
        each.write_text("#!/bin/sh\n")
    good.chmod(0o755)
    for action, mode in (("up", 0o644), ("down", 0o755)):
        script = tmp_path / "bridged" / action
        script.parent.mkdir(exist_ok=True)
        script.write_text("#!/bin/sh\n")
        script.chmod(mode)
    asked = Probe(
        directories={"file": "/srv/files/a", "sharedfile": "/srv/filesystem"},
        programs=(str(good), str(bad), str(tmp_path), "/none"),
    )
    facts = look_around(
        asked,
        directories={"file": ("/srv/files",), "sharedfile": ("/srv/files",)},
        scripts=SiteScripts((tmp_path,), override=bad),
        disk_sizes_mib=lambda: (100, 150, 200),
    )
    assert facts.forbidden == ("/srv/filesystem",)
    assert facts.missing_programs == (str(bad), str(tmp_path), "/none")
    assert facts.bad_scripts == (str(tmp_path / "bridged" / "up"), str(bad))
    assert facts.disks_mib == (100, 200)
