"""Which changes seen on the node become facts, and when (pure).

Telemetry goes out every few seconds and is forgotten; an **observation** is a change that matters
and stands in the log for ever. Hence it is said once, and a bad state only after it has lasted:

    a disk turns ok, syncing, faulty     at once
    a disk turns degraded                after `settle_s`: a peer that restarts is no news
    a disk turns inactive                never: somebody has ordered it
    a guest crashed, or shut itself down at once
    such a guest runs again              at once

A mirror's first state is news, as somebody may wait for its sync; a plain disk is taken to be ok.
What was reported last, and the serial, are in the journal.

What is said of a mirror is said again `REPEATS_S` later, and once after a restart. A quick sync may
end before the log has it that it began (`instance.disk-replaced`), or that there is such an
instance: what came too early for the configuration must come once more. It is said again too when a
call has dealt with the mirror: a sync may be over between two looks, so that nothing seems to have
changed. The leader records only what is news to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nodeagent.calls import DiskObserved, DiskSeen, InstanceObserved, InstanceSeen, Observation
from nodeagent.journal import Known, Noticed

DISK, INSTANCE, DISK_OF = "disk", "instance", "disk-of"
_BY_ITSELF = ("crashed", "user-down")
REPEATS_S = (1.0, 5.0, 25.0)


class Observer:
    """Turns what is seen into observations. `known` is what the journal remembered."""

    def __init__(self, known: Iterable[Known], serial: int, *, settle_s: float) -> None:
        self.serial = serial
        self._settle_s = settle_s
        self._reported: dict[tuple[str, str], str] = {
            (entry.kind, entry.uuid): entry.value for entry in known if entry.value is not None
        }
        self._since: dict[str, float] = {}  # disk -> since when it is degraded, unreported
        # disk -> the times at which to say its state again; None: once, as soon as it is seen
        self._again: dict[str, tuple[float, ...] | None] = {
            uuid: None for kind, uuid in self._reported if kind == DISK
        }
        self._dealt_with: set[str] = set()  # disks that a call was about since the last look

    def belongs(self, disk: str, instance: str) -> list[Known]:
        """A call dealt with a disk, and said to which instance it belongs.

        Returns what the journal has to keep.
        """
        self._dealt_with.add(disk)
        if self._reported.get((DISK_OF, disk)) == instance:
            return []
        return [self._note(DISK_OF, disk, instance)]

    def look(
        self, now: float, disks: Iterable[DiskSeen], instances: Iterable[InstanceSeen]
    ) -> list[Known | Noticed]:
        """Return what is news, to be journaled. `now` is any steady clock, in seconds."""
        entries: list[Known | Noticed] = []
        by_disk = {disk.uuid: disk for disk in disks}
        by_instance = {instance.uuid: instance for instance in instances}
        for disk in by_disk.values():
            entries += self._disk(now, disk)
        for instance in by_instance.values():
            entries += self._instance(instance)
        return entries + self._forget(by_disk, by_instance)

    def _disk(self, now: float, disk: DiskSeen) -> list[Known | Noticed]:
        instance = self._reported.get((DISK_OF, disk.uuid))
        before = self._reported.get((DISK, disk.uuid), "" if disk.role else "ok")
        if disk.state != "degraded" or before == "degraded":
            self._since.pop(disk.uuid, None)
        if instance is None or disk.state == "inactive":
            return []
        dealt_with = disk.uuid in self._dealt_with
        self._dealt_with.discard(disk.uuid)
        if dealt_with and disk.role:
            self._again[disk.uuid] = tuple(now + delay_s for delay_s in REPEATS_S)
        if disk.state == before:
            return self._repeat(now, disk, instance)
        if disk.state == "degraded":
            since = self._since.setdefault(disk.uuid, now)
            if now - since < self._settle_s:
                return []
        if disk.role:
            self._again[disk.uuid] = tuple(now + delay_s for delay_s in REPEATS_S)
        return [self._note(DISK, disk.uuid, disk.state), self._say(disk, instance)]

    def _repeat(self, now: float, disk: DiskSeen, instance: str) -> list[Known | Noticed]:
        times = self._again.get(disk.uuid, ())
        if times == () or (times is not None and now < times[0]):
            return []
        self._again[disk.uuid] = () if times is None else times[1:]
        return [self._say(disk, instance)]

    def _say(self, disk: DiskSeen, instance: str) -> Noticed:
        self.serial += 1
        return Noticed(
            DiskObserved(disk=disk.uuid, instance=instance, state=disk.state, serial=self.serial)
        )

    def _instance(self, seen: InstanceSeen) -> list[Known | Noticed]:
        before = self._reported.get((INSTANCE, seen.uuid), "running")
        state = seen.state if seen.state in _BY_ITSELF else "running"
        if state == before:
            return []
        self.serial += 1
        news: Observation = InstanceObserved(
            instance=seen.uuid, state=state, generation=seen.generation, serial=self.serial
        )
        return [self._note(INSTANCE, seen.uuid, state), Noticed(news)]

    def _forget(
        self, disks: Mapping[str, DiskSeen], instances: Mapping[str, InstanceSeen]
    ) -> list[Known | Noticed]:
        """What is no longer on the node starts afresh if it comes back."""
        there = {DISK: disks, DISK_OF: disks, INSTANCE: instances}
        gone = [(kind, uuid) for kind, uuid in self._reported if uuid not in there[kind]]
        for kind, uuid in gone:
            del self._reported[kind, uuid]
            self._again.pop(uuid, None)
        return [Known(kind, uuid, None) for kind, uuid in gone]

    def _note(self, kind: str, uuid: str, value: str) -> Known:
        self._reported[(kind, uuid)] = value
        return Known(kind, uuid, value)
