"""Consensus over the event log: Raft as a machine without I/O (pure).

No socket, clock, thread, disk or randomness of its own. `core.py` is the way in; its header says
how a runner must treat what comes out. The parts, each with its theory in its header:

    core.py         the machine: tick, step, propose, ready, advance
    effects.py      what comes out of it
    messages.py     what voters say to one another, and the limits of what is believed
    entry.py        a batch as the unit of the log
    entry_log.py    the log as this voter sees it: what is durable, committed, handed to the disk
    state.py        identity, durable state, timing
    voter.py        what all roles share: the above together, and the outbox that keeps R1
    election.py     who may be voted for; campaigns
    following.py    a follower's side of replication
    leading.py      a leader's side; progress.py (each peer), reads.py, transfer.py
    membership.py   who votes, and how that changes
    recovery.py     a storage that lost what it had said
    generations.py  forced takeovers
    segments.py     catching up in bulk

The quorum's arithmetic is in `eventstore/raft/commitment.py`, which one voter uses as well.
"""
