"""News alone waits for something to go along with; all else goes at once and in order."""

from __future__ import annotations

from eventstore.raft.messages import VERSION, Append, Message, TimeoutNow
from eventstore.voter.outbox import NEWS_MS, Outbox

HEADER = (VERSION, "cluster", 1, 2, "v1", b"i" * 16)


def append(commit: int, *, entries: int = 0, ctx: int = 0, attempt: int = 0) -> Append:
    """Return an append that tells of `commit`."""
    packed = tuple((b"x",) for _ in range(entries))
    return Append(*HEADER, 9, 1, 2, b"h" * 32, packed, commit, ctx, attempt)


class Desk:
    """An outbox, what it sent, and when it wants to be woken."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.wakes: list[int] = []
        self.outbox = Outbox(lambda to, message: self.sent.append((to, message)), self.wakes.append)
        self.put(append(1, entries=1))
        self.sent.clear()

    def put(self, message: Message, *, to: str = "v2", now_ms: int = 0) -> None:
        """Hand a message over."""
        self.outbox.put(to, message, now_ms)

    def commits(self) -> list[int]:
        """How far all was said to be committed, in each append that was sent."""
        return [message.commit_seq for _, message in self.sent if isinstance(message, Append)]


def test_news_goes_when_it_has_waited() -> None:
    """Without anything to go along it is sent after NEWS_MS, the latest of it, once."""
    desk = Desk()
    desk.put(append(2), now_ms=100)
    desk.put(append(3), now_ms=102)
    assert (desk.sent, desk.wakes) == ([], [100 + NEWS_MS])
    desk.outbox.flush(100 + NEWS_MS)
    desk.outbox.flush(200)
    assert desk.commits() == [3]


def test_news_is_dropped_when_an_append_says_as_much() -> None:
    """The next append with entries goes at once and takes the place of what waited."""
    desk = Desk()
    desk.put(append(2), now_ms=100)
    desk.put(append(3, entries=1), now_ms=101)
    desk.outbox.flush(100 + NEWS_MS)
    assert desk.commits() == [3]


def test_news_is_not_sent_before_it_has_waited() -> None:
    """A flush that was asked for by news now dropped leaves younger news waiting, not for ever."""
    desk = Desk()
    desk.put(append(2), now_ms=100)
    desk.put(append(3, entries=1), now_ms=103)
    desk.put(append(4), now_ms=104)
    desk.outbox.flush(105)
    assert desk.commits() == [3]
    assert desk.wakes == [105, 104 + NEWS_MS]
    desk.outbox.flush(109)
    assert desk.commits() == [3, 4]


def test_questions_go_at_once() -> None:
    """Whether it still leads, and where logs agree: an append with another number is no news."""
    desk = Desk()
    desk.put(append(1, ctx=1))
    desk.put(append(1, ctx=1, attempt=1))
    assert len(desk.sent) == 2


def test_each_voter_has_its_own() -> None:
    """The first append to a voter is no news, whatever was sent to others."""
    desk = Desk()
    desk.put(append(2), now_ms=100)
    desk.put(append(2), to="v3", now_ms=100)
    assert [to for to, _ in desk.sent] == ["v3"]


def test_what_follows_does_not_overtake_news() -> None:
    """A hand-over comes after the news that all is committed."""
    desk = Desk()
    desk.put(append(2), now_ms=100)
    desk.put(TimeoutNow(*HEADER), now_ms=101)
    assert [type(message) for _, message in desk.sent] == [Append, TimeoutNow]
    desk.outbox.flush(200)
    assert len(desk.sent) == 2
