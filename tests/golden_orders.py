"""The golden orders: opcodes, calls and results of calls as they stand in records, for ever.

An event holds them as bytes of their own (projections/plans.py), which are read when a job of an
older version goes on, when a task comes again, and when an ended job is shown. So they may gain
fields that have a default, and nothing else. Each file `tests/data/golden-orders/NNN.txt` has two
lines for each: `name bare|whole data`, with only the fields that must be given, and with all of
them. Files are never edited. When an order, or a field of one, is missing from them,

    python -m tests.golden_orders

writes the next file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from commands.registry import MODULES, Registry
from nodeagent.calls import CALLS, results
from tests.projections.filled import bare, filled

DIRECTORY = Path(__file__).parent / "data" / "golden-orders"


def orders() -> dict[str, type[msgspec.Struct]]:
    """Return every opcode and call by its name, and every result of a call by that of its type."""
    registry = Registry()
    opcodes = {name: registry.handler(name).opcode for name in MODULES}
    returned = {
        name: found
        for name, found in vars(results).items()
        if isinstance(found, type)
        and issubclass(found, msgspec.Struct)
        and found.__module__ == results.__name__
    }
    return {**opcodes, **CALLS, **returned}


def files() -> list[Path]:
    """Return the golden files, oldest first."""
    return sorted(DIRECTORY.glob("*.txt"))


def recorded(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the orders of a golden file: name and bytes."""
    for line in path.read_text().splitlines():
        name, _, data = line.split(" ")
        yield name, bytes.fromhex(data)


def main() -> None:
    """Write the next golden file."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"{len(files()) + 1:03}.txt"
    lines = [
        f"{name} {form} {msgspec.msgpack.encode(value).hex()}\n"
        for name, kind in sorted(orders().items())
        for form, value in (("bare", bare(kind)), ("whole", filled(kind)))
    ]
    path.write_text("".join(lines))
    print(path)


if __name__ == "__main__":
    main()
