"""The rule about who may import whom, held against every import statement of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("eventstore", "projections", "commands", "nodeagent", "shell", "tools")

# Which rooms a room may import, besides itself.
ALLOWED: dict[str, frozenset[str]] = {
    "eventstore": frozenset(),
    "projections": frozenset({"eventstore"}),
    "commands": frozenset({"eventstore", "projections"}),
    "nodeagent": frozenset({"eventstore"}),
    "shell": frozenset({"eventstore", "projections", "commands"}),
    "tools": frozenset({"eventstore", "projections", "commands", "shell"}),
}
CONTRACT = "nodeagent.calls"  # what others may import of the agent: its names, no module of it
PARTS = frozenset(path.stem for path in (ROOT / "nodeagent/calls").glob("[a-z]*.py"))
# Exceptions stand here with the decision record that explains them: (file, imported module).
EXCEPTIONS: frozenset[tuple[str, str]] = frozenset()


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_contract(module: str) -> bool:
    """Say whether an import from the agent is of its contract: the package, or a name in it."""
    package, _, name = module.rpartition(".")
    return module == CONTRACT or (package == CONTRACT and name not in PARTS)


def wrong_imports(room: str, name: str, text: str) -> list[str]:
    """Return the imports in a file of `room` that the rule does not allow."""
    wrong = []
    for module in imports(ast.parse(text)):
        target = module.split(".")[0]
        if target not in ROOMS or target == room or target in ALLOWED[room]:
            continue
        if target == "nodeagent" and is_contract(module):
            continue
        if (name, module) not in EXCEPTIONS:
            wrong.append(f"{name} imports {module}")
    return wrong


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str) -> None:
    """No file of a room imports what the room may not know."""
    wrong = []
    for path in sorted((ROOT / room).rglob("*.py")):
        wrong += wrong_imports(room, str(path.relative_to(ROOT)), path.read_text())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("eventstore", "from projections.plans import Plan"),
        ("projections", "import commands.engine"),
        ("commands", "from nodeagent.agent import Agent"),
        ("nodeagent", "def f():\n    import projections"),
        ("shell", "from tools.lab import cli"),
    ],
)
def test_the_rule_catches_what_it_forbids(room: str, line: str) -> None:
    """A forbidden import is found, also inside a function."""
    assert wrong_imports(room, "x.py", line)


def test_others_may_import_the_contract_of_the_agent() -> None:
    """nodeagent/calls is the joint, whichever way its names are imported; its parts are not."""
    assert not wrong_imports("commands", "x.py", "from nodeagent.calls import Probe")
    assert not wrong_imports("projections", "x.py", "from nodeagent import calls")
    assert wrong_imports("shell", "x.py", "from nodeagent import agent")
    assert wrong_imports("shell", "x.py", "from nodeagent.calls import specs")
    assert wrong_imports("shell", "x.py", "from nodeagent.calls.specs import DiskSpec")


def test_relative_imports_are_not_used() -> None:
    """Every import names its room, so that the rule sees it."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                assert not (isinstance(node, ast.ImportFrom) and node.level), path
