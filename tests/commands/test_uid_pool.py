"""The pool of users whom guests may run as."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from commands import uid_pool
from commands.cluster_ops.set_params import HANDLER, ClusterSetParams
from commands.errors import Refused
from commands.specs import instance_spec
from tests.commands.building import Town, node_uuid

ENDS = st.tuples(st.integers(1, 60), st.integers(0, 9)).map(lambda each: (each[0], sum(each)))
RANGES = st.lists(ENDS, max_size=5).map(tuple)


def ids(ranges: tuple[uid_pool.Range, ...]) -> set[int]:
    """Every id of some ranges."""
    return {uid for low, high in ranges for uid in range(low, high + 1)}


@pytest.mark.property
@given(RANGES, RANGES, RANGES)
def test_ranges_are_sets_of_ids(
    now: tuple[uid_pool.Range, ...],
    add: tuple[uid_pool.Range, ...],
    remove: tuple[uid_pool.Range, ...],
) -> None:
    """Adding and removing is union and difference; what is kept is sorted and apart, and survives
    being written as text."""
    pool = uid_pool.changed(now, add=add, remove=remove)
    assert ids(pool) == (ids(now) | ids(add)) - ids(remove)
    assert all(low <= high for low, high in pool)
    assert all(high + 1 < low for (_, high), (low, _) in itertools.pairwise(pool))
    assert uid_pool.uid_ranges(uid_pool.text(pool), "x") == pool


def test_the_pool_is_set_and_changed() -> None:
    """As text, or as the pairs of Ganeti's opcode; it goes to nodes with guests that use it."""
    town = Town()
    town.carry_out(HANDLER, ClusterSetParams(uid_pool="2000-2009, 3000"))
    assert town.cluster.settings.uid_pool == ((2000, 2009), (3000, 3000))
    town.carry_out(HANDLER, ClusterSetParams(add_uids=[[2010, 2011]], remove_uids="2000,3000"))
    assert town.cluster.settings.uid_pool == ((2001, 2011),)
    pooled = town.add_instance(1, hypervisor="kvm", hvparams={"security_model": "pool"})
    other = town.add_instance(2, hypervisor="kvm")
    specs = [instance_spec(town.cluster, each, node_uuid(1)) for each in (pooled, other)]
    assert [spec.uid_pool for spec in specs] == [((2001, 2011),), ()]
    town.carry_out(HANDLER, ClusterSetParams(uid_pool=""))
    assert town.cluster.settings.uid_pool == ()


@pytest.mark.parametrize("value", ["0", "1-", "9-3", "a", "0-5", [[1]], [[1, "2"]], [[True, 2]], 7])
def test_what_is_no_pool_is_refused(value: object) -> None:
    """With an example; root is nobody's guest."""
    with pytest.raises(Refused) as refusal:
        Town().decide(HANDLER, ClusterSetParams(uid_pool=value))
    assert "2000-2099" in refusal.value.hint
