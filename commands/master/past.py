"""States of earlier moments, worked out beside the daemon's one thread (edge).

Folding from the nearest snapshot takes tenths of a second where there are thousands of instances.
So long nobody else would be answered, no heartbeat sent, no record committed. Therefore a thread of
its own does it, with its own view of the log; it shares the interpreter, so others are answered a
few milliseconds later meanwhile. A state never changes: handing it over costs a reference.

One moment at a time is worked out; what was asked by somebody who has gone is passed over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from commands.api import Moment
from commands.errors import ENVIRONMENT_ERROR
from commands.master.answers import MAY_LAG, bugs_as_remote, not_leader, refusals_as_remote
from commands.master.history import History
from eventstore.errors import EventStoreError
from eventstore.reactor import Reactor
from eventstore.replica import Replica
from eventstore.serving.server import ReplyTo
from eventstore.storage.log_view import LogView
from eventstore.storage.snapshots import SnapshotStore
from eventstore.wire.faults import RemoteError
from projections.errors import ProjectionError
from projections.moments import require_seq, require_time, seq_at
from projections.past import state_at
from projections.state import State

_KEPT = 3  # states that were asked for by their seq
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Past:
    """Answers from earlier states. `present` gives the one of now."""

    def __init__(
        self,
        reactor: Reactor,
        log: Path,
        replica: Replica,
        snapshots: SnapshotStore,
        present: Callable[[], State],
    ) -> None:
        self._reactor = reactor
        self._log = log
        self._replica = replica
        self._snapshots = snapshots
        self._present = present
        self._kept: dict[int, State] = {}
        self._view: LogView | None = None  # the worker's
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="past")

    def at(
        self,
        moment: Moment | None,
        reply: ReplyTo,
        make: Callable[[State], T],
        answer: Callable[[T], None],
    ) -> None:
        """Make something of the state at a moment, and answer with it on the reactor's thread.

        None, or a moment since the last record, is now: then it is all done at once. Of the past
        `make` is called on the worker's thread. What goes wrong is the reply. Raises NoSuchMoment
        for what is still to come, NotLeader if a voter that leads may already have it.
        """
        present = self._at_hand(moment)
        if present is not None:
            answer(make(present))
            return
        assert moment is not None
        wanted = moment
        found = self._worker.submit(lambda: None if reply.closed else make(self._work_out(wanted)))
        found.add_done_callback(
            lambda done: self._reactor.call_soon_threadsafe(lambda: _hand_over(done, reply, answer))
        )

    def close(self) -> None:
        """Finish what is being worked out."""
        self._worker.submit(self._close_view)
        self._worker.shutdown(cancel_futures=False)

    def _at_hand(self, moment: Moment | None) -> State | None:
        present = self._present()
        if moment is None or (moment.seq is None and moment.time_ms is None):
            return present
        head, head_ms = present.seq, present.unix_ms
        if moment.seq is not None:
            leadership = self._replica.leadership
            if moment.seq > head and not leadership.level:
                raise not_leader(leadership, MAY_LAG)
            require_seq(moment.seq, head=head, head_ms=head_ms)
            return present if moment.seq == head else self._kept.get(moment.seq)
        assert moment.time_ms is not None
        now_ms = time.time_ns() // 1_000_000
        require_time(moment.time_ms, now_ms=now_ms, head=head, head_ms=head_ms)
        return present if moment.time_ms >= head_ms else None

    def _work_out(self, moment: Moment) -> State:
        """On the worker's thread."""
        if self._view is None:
            self._view = LogView(self._log)
        history = History(self._view, self._replica)
        if moment.seq is None:
            assert moment.time_ms is not None
            return state_at(history, self._snapshots, seq_at(history, moment.time_ms))
        found = self._kept.get(moment.seq)
        if found is None:
            found = state_at(history, self._snapshots, moment.seq)
            newest = islice(self._kept.items(), max(0, len(self._kept) - _KEPT + 1), None)
            self._kept = {**dict(newest), moment.seq: found}
        return found

    def _close_view(self) -> None:
        if self._view is not None:
            self._view.close()


def _hand_over(done: Future[T | None], reply: ReplyTo, answer: Callable[[T], None]) -> None:
    if reply.closed:
        return
    try:
        with refusals_as_remote(), bugs_as_remote("of the past"):
            made = done.result()
            assert made is not None, "only of a closed reply nothing is made"
            answer(made)
    except EventStoreError as failed:
        reply.fail(failed)
    except ProjectionError as failed:
        _log.error("an earlier state cannot be folded: %s", failed)
        hint = "gnt-log verify says whether the log is sound"
        reply.fail(RemoteError(ENVIRONMENT_ERROR, str(failed), hint=hint))
