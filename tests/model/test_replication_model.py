"""spin agrees that the rules suffice, and that none of them can be left out (docs/model).

Here scenarios are searched in a smaller form; `make model` searches them whole.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.model.checking import MODEL, Scenario, missing_tools, scenarios, search

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(bool(missing_tools()), reason="spin or gcc is not installed"),
    pytest.mark.timeout(600),
]

SMALL = [scenario for scenario in scenarios() if scenario.size in ("", "+")]
RULES = [(each, rule) for each in scenarios() if each.size != "!" for rule in each.rules]


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_the_rules_suffice(scenario: Scenario, tmp_path: Path) -> None:
    """Every state within the bounds is looked at, and none breaks an assertion."""
    found = search(scenario.small, tmp_path)
    assert found.violated == ""
    assert found.complete
    assert found.states > 10_000, "something happens"


@pytest.mark.parametrize(("scenario", "rule"), RULES, ids=[rule for _, rule in RULES])
def test_no_rule_can_be_left_out(scenario: Scenario, rule: str, tmp_path: Path) -> None:
    """Without this rule there is a history that breaks an assertion."""
    assert search(scenario.bounds, tmp_path, without=rule).violated


def test_every_rule_that_the_model_can_lack_has_its_scenario() -> None:
    """No switch of the model is forgotten here."""
    switches = set(re.findall(r"^#ifn?def NO_(\w+)", MODEL.read_text(), re.MULTILINE))
    assert switches == {rule for _, rule in RULES}
