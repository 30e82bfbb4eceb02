"""The source's side of a migration (edge).

    active            QEMU copies the memory while the guest runs, again and again what was written
                      meanwhile, until the rest fits into the permitted downtime
    pre-switchover    the guest is stopped here, and QEMU waits for a word
    device            the rest is on its way, and the target may run the guest at any moment
    completed         it does, and what is here is empty

With post-copy the guest moves after the first round (`postcopy-active` for `device`), and gets what
it still lacks on demand. Up to `pre-switchover` a cancel leaves the guest running here: QEMU starts
it again by itself. After it nobody here knows on which side the guest will be. QEMU would obey a
cancel, and start the guest here while it runs there; so the word to go on is given by the one who
might cancel, and once it is given the end is waited for. (Without `pause-before-switchover` QEMU
7.2 calls all of this `active`.)

An agent that dies leaves a migration without anybody who gives the word. The next one calls it off,
unless the word was given.

A target that takes nothing more for `stalled_s` counts as failed: its machine may have lost its
power without a word, and then neither QEMU nor TCP ends the connection for a long time. In `device`
that fails the order, and leaves the migration as it is: it ends as soon as the target does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import cast

from nodeagent.calls import InstanceSpec
from nodeagent.errors import NodeAgentError, StateMismatch, Stopped
from nodeagent.hypervisor.kvm.capabilities import set_up
from nodeagent.hypervisor.kvm.errors import MonitorFailed
from nodeagent.hypervisor.kvm.guest import RUNNING, Guest
from nodeagent.hypervisor.kvm.migration_settings import (
    DOWNTIME_LIMIT_MS,
    MigrationSettings,
    settings_of,
    stopped_for_it,
)
from nodeagent.hypervisor.kvm.starting import run_on
from nodeagent.task_scope import TaskScope

_LOOK_S = 0.5  # between two reports of progress
_CANCEL_S = 30.0
_TO_SWITCHOVER_S = 5.0  # QEMU looks ten times a second whether the rest fits into the downtime
_COMPLETED, _FAILED, _CANCELLED = "completed", "failed", "cancelled"
_ACTIVE, _WAITS, _DEVICE = "active", "pre-switchover", "device"
_OVER = (_COMPLETED, _FAILED, _CANCELLED)
_CAN_BE_CANCELLED = ("setup", _ACTIVE, _WAITS, "cancelling", "wait-unplug")
_NO_WAY_BACK = ("postcopy-active", "postcopy-paused", "postcopy-recover", _DEVICE, _COMPLETED)
_log = logging.getLogger(__name__)
_MIB = 1 << 20


def send(
    guest: Guest,
    instance: InstanceSpec,
    *,
    target: str,
    address: str,
    live: bool,
    stalled_s: float,
    scope: TaskScope,
) -> None:
    """Send the guest to node `target`, under the generation that `instance` has.

    Returns when it is there, and its QEMU here empty. `stalled_s`: see KvmSettings.

    Raises StateMismatch if the target does not wait for it, NodeAgentError if it fails on its way,
    Stopped if it was called off: in each case it runs here.
    """
    settings = settings_of(instance)
    guest.keep(sent_to=(target, instance.generation))
    guest.sending, guest.migration, guest.migration_round = True, [], 0
    try:
        set_up(guest, settings if live else stopped_for_it(settings))
        host = f"[{address}]" if ":" in address else address
        guest.monitor.execute("migrate", {"uri": f"tcp:{host}:{settings.port}"})
        _attend(guest, settings, _Progress(stalled_s), live=live, scope=scope)
    except NodeAgentError:
        _stay(guest)
        raise
    finally:
        guest.sending = False


class _Progress:
    """Whether a migration gets on: the target has taken something within the last `patience_s`."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._taken, self._since = -1, time.monotonic()

    def stalls(self, answer: Mapping[str, object]) -> bool:
        """Tell what QEMU said; return whether it has said the same for too long."""
        now, taken = time.monotonic(), int(_ram(answer).get("transferred", 0))
        if taken != self._taken:
            self._taken, self._since = taken, now
        return now - self._since > self._patience_s


def _attend(
    guest: Guest,
    settings: MigrationSettings,
    progress: _Progress,
    *,
    live: bool,
    scope: TaskScope,
) -> None:
    """Follow the migration to its end."""
    name = guest.record.instance.name
    moved = released = False  # post-copy was begun; the word was given
    while True:
        hurry = settings.postcopy and not moved
        guest.wait(_news(guest, hurry=hurry, released=released), timeout_s=_LOOK_S, scope=scope)
        if guest.dead:
            raise NodeAgentError(
                f"the QEMU of {name} died while it was being sent",
                hint="look on the target whether it came; its end stands in /var/log",
            )
        answer = guest.ask("query-migrate")
        if _last(guest) == _COMPLETED:
            return
        if _last(guest) in _OVER:
            raise _failure(guest, answer)
        _report(guest, answer, live=live, scope=scope)
        if hurry and guest.migration_round > 1:
            moved = _move_over(guest, scope)
        status, stalls = str(answer.get("status")), progress.stalls(answer)
        if stalls and (released or status == _DEVICE) and not moved:
            raise _unknown(guest)
        if released or status in _NO_WAY_BACK:
            continue
        if scope.stopping and _cancelled(guest):
            raise scope.stopped(left="the guest still runs here")
        if stalls and _cancelled(guest):
            raise NodeAgentError(
                f"{name} did not get through: the target has stopped taking it",
                hint="the guest still runs here; does the target's machine have power?",
            )
        if status == _WAITS:
            guest.monitor.execute("migrate-continue", {"state": _WAITS})
            released = True


def _move_over(guest: Guest, scope: TaskScope) -> bool:
    try:
        guest.monitor.execute("migrate-start-postcopy")
    except MonitorFailed as refused:
        _log.info("%s: %s", guest.record.instance.name, refused)  # it is through already
    scope.feedback(f"{guest.record.instance.name} runs on the target; the rest of it follows")
    return True


def _cancelled(guest: Guest) -> bool:
    """Cancel it; return whether that came first, and not its end. Raises NodeAgentError."""
    _cancel(guest)
    if not guest.wait(lambda: guest.dead or _last(guest) in _OVER, timeout_s=_CANCEL_S):
        raise NodeAgentError(f"the migration of {guest.record.instance.name} cannot be called off")
    return _last(guest) != _COMPLETED


def _cancel(guest: Guest) -> None:
    """Have QEMU cancel, at a moment at which it can.

    A cancel that meets QEMU (7.2) just as it stops the guest for the switchover is accepted, and
    then QEMU waits for ever, the guest stopped, for a word that it no longer takes. So it is
    brought to the switchover first, where it waits before it has sent the rest. What does not come
    there soon is far from it, or stuck in sending, and can be cancelled where it is.
    """
    if guest.ask("query-migrate").get("status") in ("setup", _ACTIVE):
        guest.monitor.execute("migrate-set-parameters", {"downtime-limit": DOWNTIME_LIMIT_MS})
        guest.wait(
            lambda: guest.dead or _last(guest) in (*_OVER, _WAITS), timeout_s=_TO_SWITCHOVER_S
        )
    guest.monitor.execute("migrate_cancel")


def call_off(guest: Guest) -> None:
    """End what an agent that died here had begun: the guest stays, if it is not through yet.

    Raises StateMismatch if QEMU does not learn in time whether it is.
    """
    if let_go(guest) == _DEVICE and not guest.wait(
        lambda: guest.dead or _last(guest) in _OVER, timeout_s=_CANCEL_S
    ):
        raise _unknown(guest)
    if not guest.has_gone:
        _stay(guest)


def let_go(guest: Guest) -> str:
    """Cancel a migration that nobody attends to, if that is safe; return the state it was in."""
    status = str(guest.ask("query-migrate").get("status"))
    if status in _CAN_BE_CANCELLED:
        _cancel(guest)
        if guest.wait(lambda: guest.dead or _last(guest) in _OVER, timeout_s=_CANCEL_S):
            _stay(guest)
    return status


def _stay(guest: Guest) -> None:
    """The guest is to go on here after all; unless it may still get through."""
    if guest.dead or _last(guest) == _DEVICE:
        return
    try:
        guest.look()
        if guest.has_gone:
            return
        if guest.status != RUNNING and _last(guest) in (_FAILED, _CANCELLED):
            run_on(guest)
        guest.keep(sent_to=None)
    except Stopped:
        raise
    except NodeAgentError as lost:
        _log.error("%s after its migration failed: %s", guest.record.instance.name, lost)


def _unknown(guest: Guest) -> StateMismatch:
    """Return the error of a migration of which only the target knows whether it came through."""
    return StateMismatch(
        f"the last of {guest.record.instance.name} is on its way, and the target does not answer",
        hint="look whether it runs there; as soon as its QEMU there has ended, it goes on here",
    )


def _failure(guest: Guest, answer: Mapping[str, object]) -> NodeAgentError:
    name = guest.record.instance.name
    why = str(answer.get("error-desc") or "QEMU does not say why")
    if _ACTIVE not in guest.migration:  # there was nobody to connect to
        return StateMismatch(
            f"the target does not expect {name}: {why}",
            hint="the guest still runs here; prepare the target again",
        )
    return NodeAgentError(
        f"{name} did not get through: {why}",
        hint="the guest still runs here; the log of the target's agent may say more",
    )


def _report(guest: Guest, answer: Mapping[str, object], *, live: bool, scope: TaskScope) -> None:
    ram = _ram(answer)
    total = int(ram.get("total", 0))
    if not total:
        return
    left, rate = int(ram["remaining"]), float(ram.get("mbps", 0.0)) * 1e6 / 8
    percent = 100.0 * (total - left) / total
    scope.feedback(
        f"{'live ' if live else ''}migration of {guest.record.instance.name}: {percent:.0f} %, "
        f"{left // _MIB} MiB left, round {guest.migration_round}",
        percent=percent,
        eta_s=left / rate if rate else None,
    )


def _news(guest: Guest, *, hurry: bool, released: bool) -> Callable[[], bool]:
    """Return what is worth waking up for; in a `hurry` the end of the first round is."""
    ends = _OVER if released else (*_OVER, _WAITS)
    return lambda: guest.dead or _last(guest) in ends or (hurry and guest.migration_round > 1)


def _last(guest: Guest) -> str:
    return guest.migration[-1] if guest.migration else ""


def _ram(answer: Mapping[str, object]) -> Mapping[str, float]:
    return cast(Mapping[str, float], answer.get("ram", {}))
