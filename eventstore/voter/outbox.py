"""What a voter sends, with less to say: news alone waits a moment for something to go along.

After each commit a leader tells its followers how far all is committed now, by an append without
entries; the next append with entries would say the same. On its own that message and its answer are
half of all there is to send for a lone append. So it waits up to NEWS_MS, and is dropped if another
append goes to the same voter meanwhile. The core allows it: messages may be late, or never come.

Whatever else an append without entries may be goes at once: a question whether this voter still
leads (R11; its `read_ctx` is another), or where logs agree (`attempt`), a new epoch. A heartbeat
that says nothing new may wait as well: NEWS_MS are nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable

from eventstore.raft.messages import Append, Message

NEWS_MS = 5

Send = Callable[[str, Message], None]


class Outbox:
    """Sends by `send`; `wake` asks for a call of `flush` at a time of CLOCK_BOOTTIME, in ms."""

    def __init__(self, send: Send, wake: Callable[[int], None]) -> None:
        self._send, self._wake = send, wake
        self._last: dict[str, Append] = {}  # to each voter
        self._waiting: dict[str, tuple[int, Append]] = {}  # when to go, and what
        self._to_wake = False

    def put(self, to: str, message: Message, now_ms: int) -> None:
        """Send a message, now or within NEWS_MS."""
        waiting = self._waiting.pop(to, None)
        if not isinstance(message, Append):
            if waiting:
                self._send(to, waiting[1])  # what comes after may build on it
            self._send(to, message)
            return
        last, self._last[to] = self._last.get(to), message
        if last is None or not _only_news(message, last):
            self._send(to, message)
            return
        self._waiting[to] = (waiting[0] if waiting else now_ms + NEWS_MS, message)
        if not self._to_wake:
            self._to_wake = True
            self._wake(now_ms + NEWS_MS)

    def flush(self, now_ms: int) -> None:
        """Send what has waited long enough."""
        self._to_wake = False
        for to, (due_ms, message) in list(self._waiting.items()):
            if due_ms <= now_ms:
                del self._waiting[to]
                self._send(to, message)
        if self._waiting:
            self._to_wake = True
            self._wake(min(due_ms for due_ms, _ in self._waiting.values()))


def _only_news(message: Append, last: Append) -> bool:
    """Say whether an append says nothing but how far all is committed."""
    asks = (message.gen, message.term, message.read_ctx, message.attempt)
    asked = (last.gen, last.term, last.read_ctx, last.attempt)
    return not message.entries and asks == asked
