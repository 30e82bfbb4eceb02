"""The job engine: what is to be recorded next, worked out from what is committed.

Modules, from the inside out:

    scratch.py      drafts of one batch, folded as they are made
    context.py      what a walk needs besides the state; draws.py, timers.py, reach.py: its parts
    deciding.py     asking a handler
    endings.py      how an opcode ends
    forward.py      the walk of a plan: what is ready is sent, what was sent is watched
    backward.py     the way back: withdraw, undo, duties, park
    walking.py      all that follows for one job
    scheduler.py    which job may start: dependencies, priority, cap, locks
    submission.py   jobs as they come in; orders.py: cancel, priority, archive, resolve
    results.py      what agents tell; intake.py: all that the world tells, as facts
    flight.py       what is under way
    engine.py       the whole: committed records in, proposals (effects.py) out
    preview.py      a dry run
    history.py      what is asked of the index of ended jobs

docs/jobs.md has the states and the rules.
"""
