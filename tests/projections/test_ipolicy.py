"""Instance policies: what is inherited, and Ganeti's form of them."""

from __future__ import annotations

import json

from projections.ipolicy import DEFAULTS, SPEC_KEYS, as_ganeti, in_force, of_ganeti
from projections.objects import InstancePolicy, SpecBounds

NARROW = SpecBounds(min=dict.fromkeys(SPEC_KEYS, 2), max=dict.fromkeys(SPEC_KEYS, 3))


def test_the_nearest_setting_wins_key_by_key() -> None:
    """A group's before the cluster's, that before the default; bounds as a whole."""
    cluster = InstancePolicy(minmax=(NARROW,), vcpu_ratio=2.0, std={"cpu-count": 3})
    group = InstancePolicy(disk_templates=("plain",), vcpu_ratio=1.0)
    found = in_force(cluster, group)
    assert found.minmax == (NARROW,)
    assert found.disk_templates == ("plain",)
    assert (found.vcpu_ratio, found.spindle_ratio) == (1.0, 32.0)
    assert found.std == {**DEFAULTS.std, "cpu-count": 3}
    assert in_force(cluster).disk_templates == DEFAULTS.disk_templates


def test_a_policy_is_written_with_ganetis_keys_and_read_again() -> None:
    """Only what is set is written; a complete one is read as it was."""
    assert as_ganeti(InstancePolicy(vcpu_ratio=2.0)) == {"vcpu-ratio": 2.0}
    written = json.loads(json.dumps(as_ganeti(DEFAULTS)))
    assert sorted(written) == ["disk-templates", "minmax", "spindle-ratio", "std", "vcpu-ratio"]
    assert of_ganeti(written) == DEFAULTS


def test_the_defaults_are_those_of_the_placement_engine() -> None:
    """A file without policies and a cluster without settings are held to the same."""
    from commands.placement.from_cluster import engine_policy
    from commands.placement.model import DEFAULT_POLICY

    assert engine_policy(DEFAULTS) == DEFAULT_POLICY
