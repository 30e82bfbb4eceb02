"""A plan for people: what would be done where, under which locks, and what would change (pure)."""

from __future__ import annotations

from commands.api import Change, PlannedStep, PlanReply
from shell.render import table


def text(summary: str, plan: PlanReply) -> str:
    """Return the lines of a dry run, each ended."""
    lines = [f"Plan for {summary}, as of record {plan.as_of}; nothing was done.", ""]
    if plan.locks:
        lines += [f"Locks: {', '.join(plan.locks)}", ""]
    if plan.steps:
        lines += ["Steps:", *_steps(plan.steps), ""]
    if plan.changes:
        lines += ["Changes:", *(f"  {_change(change)}" for change in plan.changes), ""]
    if plan.explanation:
        lines += ["Why:", *(f"  {line}" for line in plan.explanation), ""]
    if not plan.steps and not plan.changes:
        lines += ["There is nothing to do.", ""]
    return "\n".join(lines)


def _steps(steps: tuple[PlannedStep, ...]) -> list[str]:
    numbers = {step.id: str(number) for number, step in enumerate(steps, 1)}
    rows = [
        (
            f"  {numbers[step.id]}",
            step.node or "-",
            step.text + " (point of no return)" * step.final,
            ",".join(numbers[name] for name in step.after) or "-",
            step.undo or "-",
        )
        for step in steps
    ]
    return table.lines(
        rows, titles=("  #", "Node", "What", "After", "Undo"), right=(False,) * len(rows[0])
    )


def _change(change: Change) -> str:
    if not change.field:
        return f"{change.object}: {'added' if change.after else 'removed'}"
    return f"{change.object}: {change.field}: {change.before or '-'} -> {change.after or '-'}"
