"""What a dry run says of the configuration: each field that changes, however deep it lies."""

from __future__ import annotations

import msgspec

from commands.engine.preview import changes
from projections.events.configuration import DiskGrown, TagsAdded
from tests.commands.building import Town


def told(town: Town, before: Town) -> list[tuple[str, str, str, str]]:
    return [
        (each.object, each.field, each.before, each.after)
        for each in changes(before.cluster, town.cluster)
    ]


def towns() -> tuple[Town, Town]:
    """Return a town, and the same to change."""
    before, after = Town(), Town()
    for town in (before, after):
        town.add_instance(1, sizes_mib=(1024, 2048))
    return before, after


def test_a_change_within_a_disk_is_told_by_its_place() -> None:
    """Not the disks as a whole, before and after."""
    before, after = towns()
    uuid = next(iter(after.cluster.instances))
    after.fold(f"instance/{uuid}", DiskGrown(instance=uuid, disk=1, size_mib=4096))
    assert told(after, before) == [
        ("instance web1.example.net", "disks/1/size_mib", "2048", "4096")
    ]


def test_what_has_no_place_of_its_own_is_told_whole() -> None:
    """Tags are one value; what every change changes is left out."""
    before, after = towns()
    uuid = next(iter(after.cluster.instances))
    after.fold("x", TagsAdded(table="instance", subject=uuid, tags=("a",)))
    assert told(after, before) == [("instance web1.example.net", "tags", "[]", '["a"]')]


def test_an_object_that_comes_or_goes_is_told_as_such() -> None:
    """With nothing on the other side."""
    before, _ = towns()
    (found,) = told(before, Town())
    assert found[:3] == ("instance web1.example.net", "", "")
    assert msgspec.json.decode(found[3])["name"] == "web1.example.net"
