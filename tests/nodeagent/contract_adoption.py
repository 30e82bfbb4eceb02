"""What every driver promises that takes over what a person made. Tests subclass this."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import pytest

from nodeagent.errors import NoSuchThing, StateMismatch
from nodeagent.storage.contract import Adopting, VolumeDriver
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_volumes import Content, LocalContent
from tests.nodeagent.specs import volume

SCOPE = TaskScope()


class Person(Protocol):
    """Somebody at the node's keyboard."""

    def make(self, *, size_mib: int) -> str:
        """Make a volume of their own; returns its name."""

    def hold(self, name: str) -> AbstractContextManager[None]:
        """Use it meanwhile: a mount, an open file."""

    def device(self, name: str) -> str:
        """Return where the volume can be read and written."""


class AdoptionContract:
    """Fixtures: `driver`; `kind` of its volumes; `person`; `new_name`, which a volume gets when it
    is taken over, None if it keeps its own. `content` where the driver acts on another machine."""

    @pytest.fixture
    def content(self) -> Content:
        """What is on the devices."""
        return LocalContent()

    @pytest.fixture
    def new_name(self) -> str | None:
        """A volume keeps its name."""
        return None

    @pytest.fixture
    def adopting(self, driver: VolumeDriver) -> Adopting:
        """The part of the driver that this is about."""
        assert driver.adopting is not None
        return driver.adopting

    def test_what_is_taken_over_keeps_its_data(
        self, driver: VolumeDriver, adopting: Adopting, kind: str, person: Person,
        new_name: str | None, content: Content,
    ) -> None:  # fmt: skip
        """Asked twice, it is there under its new name, with what was on it."""
        source = person.make(size_mib=64)
        content.write(person.device(source), b"precious")
        found = adopting.found(source)
        assert found is not None
        assert (found.owner, found.in_use) == ("", "")
        assert found.size_mib == 64
        wanted = volume(new_name or source, 64, kind)
        for _ in range(2):
            adopting.adopt(source, wanted, owner="d1", scope=SCOPE)
        assert content.read(driver.activate(wanted).path, 8) == b"precious"
        if new_name is not None:
            assert adopting.found(source) is None
            assert driver.owner(wanted) == "d1"

    def test_it_is_given_back_as_it_was(
        self, adopting: Adopting, kind: str, person: Person, new_name: str | None,
        content: Content,
    ) -> None:  # fmt: skip
        """Twice, and also if it was never taken over: it is nobody's, named as before, whole."""
        source = person.make(size_mib=64)
        content.write(person.device(source), b"precious")
        wanted = volume(new_name or source, 64, kind)
        adopting.release(wanted, source, owner="d1", scope=SCOPE)
        adopting.adopt(source, wanted, owner="d1", scope=SCOPE)
        for _ in range(2):
            adopting.release(wanted, source, owner="d1", scope=SCOPE)
        found = adopting.found(source)
        assert found is not None
        assert found.owner == ""
        assert content.read(person.device(source), 8) == b"precious"

    def test_what_is_in_use_is_refused(
        self, adopting: Adopting, kind: str, person: Person, new_name: str | None
    ) -> None:
        """It says so beforehand and when it is asked for; afterwards it can be had."""
        source = person.make(size_mib=64)
        wanted = volume(new_name or source, 64, kind)
        with person.hold(source):
            found = adopting.found(source)
            assert found is not None
            assert found.in_use
            with pytest.raises(StateMismatch, match="use"):
                adopting.adopt(source, wanted, owner="d1", scope=SCOPE)
        adopting.adopt(source, wanted, owner="d1", scope=SCOPE)

    def test_what_is_too_small_or_not_there_is_refused(
        self, adopting: Adopting, kind: str, person: Person, new_name: str | None
    ) -> None:
        """A disk never gets less than its size; nothing is made in place of what is missing."""
        source = person.make(size_mib=64)
        with pytest.raises(StateMismatch, match="64 MiB"):
            adopting.adopt(source, volume(new_name or source, 65, kind), owner="d1", scope=SCOPE)
        missing = f"{source}x"
        assert adopting.found(missing) is None
        with pytest.raises(NoSuchThing):
            adopting.adopt(missing, volume(new_name or missing, 64, kind), owner="d1", scope=SCOPE)

    def test_anothers_is_refused(
        self, driver: VolumeDriver, adopting: Adopting, kind: str, person: Person,
        new_name: str | None,
    ) -> None:  # fmt: skip
        """Where an owner can be told, a second one is refused and the first one keeps it."""
        if new_name is None:
            assert driver.owner(volume(person.make(size_mib=64), 64, kind)) == ""
            return
        first, second = person.make(size_mib=64), volume(f"{new_name}2", 64, kind)
        adopting.adopt(first, volume(new_name, 64, kind), owner="d1", scope=SCOPE)
        with pytest.raises(StateMismatch, match="d1"):
            adopting.adopt(new_name, second, owner="d2", scope=SCOPE)
        adopting.release(volume(new_name, 64, kind), first, owner="d2", scope=SCOPE)
        assert driver.owner(volume(new_name, 64, kind)) == "d1"
