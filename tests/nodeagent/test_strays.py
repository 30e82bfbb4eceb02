"""Simulated volumes and devices of a person are taken over as real ones are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodeagent.simulated.strays import SimulatedBlockDevices, SimulatedGroup
from nodeagent.task_scope import TaskScope
from tests.nodeagent.contract_adoption import AdoptionContract
from tests.nodeagent.specs import volume


class Planter:
    """Plants volumes; implements `Person`."""

    def __init__(self, pool: SimulatedGroup, name: str) -> None:
        self._pool, self._name = pool, name

    def make(self, *, size_mib: int) -> str:
        """See Person."""
        self._pool.plant(self._name, size_mib=size_mib)
        return self._name

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """See Person."""
        found = self._pool.found(name)
        assert found is not None
        self._pool.plant(name, size_mib=found.size_mib, in_use="in use by hand")
        yield
        self._pool.plant(name, size_mib=found.size_mib)

    def device(self, name: str) -> str:
        """See Person."""
        return self._pool.activate(volume(name, kind=self._pool.kinds[0])).path


class TestSimulatedGroup(AdoptionContract):
    """A logical volume."""

    @pytest.fixture
    def kind(self) -> str:
        return "lvm"

    @pytest.fixture
    def new_name(self) -> str | None:
        return "xenvg/d1.data"

    @pytest.fixture
    def driver(self, tmp_path: Path) -> SimulatedGroup:
        return SimulatedGroup(
            tmp_path / "pool", tmp_path / "pool.json", kinds=("lvm",), total_mib=1024
        )

    @pytest.fixture
    def person(self, driver: SimulatedGroup) -> Planter:
        return Planter(driver, "xenvg/theirs")


class TestSimulatedBlockDevices(AdoptionContract):
    """A connected disk."""

    @pytest.fixture
    def kind(self) -> str:
        return "blockdev"

    @pytest.fixture
    def driver(self, tmp_path: Path) -> SimulatedBlockDevices:
        return SimulatedBlockDevices(tmp_path / "pool", tmp_path / "pool.json")

    @pytest.fixture
    def person(self, driver: SimulatedBlockDevices) -> Planter:
        return Planter(driver, "/dev/disk/by-id/theirs")

    def test_it_stays_when_its_instance_goes(
        self, driver: SimulatedBlockDevices, person: Planter
    ) -> None:
        """Removed, it is nobody's, and its data are still on it."""
        name = person.make(size_mib=64)
        wanted = volume(name, 64, "blockdev")
        Path(person.device(name)).write_bytes(b"precious")
        driver.adopt(name, wanted, owner="d1", scope=TaskScope())
        driver.remove(wanted, owner="d1", scope=TaskScope())
        assert driver.owner(wanted) == ""
        assert Path(driver.activate(wanted).path).read_bytes() == b"precious"
