"""The job engine: what is to be recorded next, as a pure function of what is committed.

Modules, from the inside out:

    scratch.py      drafts of one batch, folded as they are made
    deciding.py     asking a handler
    forward.py      the walk of a plan: what is ready is sent
    backward.py     the way back: withdraw, undo, duties, park
    timers.py       deadlines on CLOCK_BOOTTIME
    scheduler.py    which job may start: dependencies, priority, cap, locks
    submission.py   jobs as they come in
    orders.py       cancel, priority, archive, resolve
    results.py      what agents tell
    engine.py       the whole: committed records in, proposals out
    preview.py      a dry run
"""
