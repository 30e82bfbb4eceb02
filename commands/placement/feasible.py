"""Which moves the limits allow, for many instances and all targets at once.

The same rules as in `admission`, turned into a few comparisons of a column of demands with a row
of limits: a node's limits for a primary (`most_memory` and so on) do not depend on the instance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from commands.placement.fleet import Fleet
from commands.placement.frame import UNLIMITED, Bools, Ints
from commands.placement.moves import Kind
from commands.placement.options import Options
from commands.placement.state import Placement


@dataclass(slots=True)
class Allowed:
    """What a block of DRBD instances may do."""

    allowed: dict[Kind, Bools]
    lost: Ints  # what each old secondary keeps for peers without the instance


@dataclass(slots=True)
class _Limits:
    """The most that each node admits, by node; `strict` includes soft and promised limits."""

    memory: Ints  # held memory must be below
    promised_memory: Ints
    disk: Ints  # at most
    spindle_use: Ints  # at most
    spindles: Ints  # at most, exclusive storage
    vcpus: Ints  # at most


class Admission:
    """Limits of all nodes in the present state of a placement."""

    def __init__(self, placement: Placement, fleet: Fleet, online: Ints, options: Options) -> None:
        self._state, self._fleet, self._online = placement, fleet, online
        self._options = options
        frame, state = placement.frame, placement
        self._fails = state.fails_n1()
        high = np.floor(np.minimum(frame.high_spindles, UNLIMITED)).astype(np.int64)
        used = np.maximum(state.inst_spindles, state.inst_spindles_f).astype(np.int64)
        exclusive = frame.exclusive
        keep = np.where(self._fails, 0, state.reserve)
        disk_f = state.free_disk_f
        self._strict = _Limits(
            memory=state.unallocated - np.maximum(0, keep),
            promised_memory=state.free_memory_f,
            disk=np.minimum(
                np.minimum(state.free_disk, disk_f) - 1,
                np.minimum(state.free_disk, disk_f) - frame.low_disk,
            ),
            spindle_use=np.where(exclusive, UNLIMITED, high - used),
            spindles=np.where(
                exclusive, np.minimum(state.free_spindles, state.free_spindles_f), UNLIMITED
            ),
            vcpus=frame.max_vcpus - np.maximum(state.used_cpus, state.used_cpus_f),
        )
        unlimited = np.full(frame.size, UNLIMITED, dtype=np.int64)
        self._hard = _Limits(
            memory=state.unallocated,
            promised_memory=unlimited,
            disk=state.free_disk - 1,
            spindle_use=unlimited,
            spindles=np.where(exclusive, state.free_spindles, UNLIMITED),
            vcpus=unlimited,
        )
        self._promised = _Limits(
            memory=unlimited,
            promised_memory=state.free_memory_f,
            disk=np.minimum(disk_f - 1, disk_f - frame.low_disk),
            spindle_use=np.where(
                exclusive, UNLIMITED, high - state.inst_spindles_f.astype(np.int64)
            ),
            spindles=np.where(exclusive, state.free_spindles_f, UNLIMITED),
            vcpus=frame.max_vcpus - state.used_cpus_f,
        )
        down = frame.offline
        #: Whether any move could make a node fail N+1 or mend one: else that term is constant.
        self.may_fail = bool(self._fails[online].any() or options.ignore_soft_errors or down.any())

    # --- as primary and as secondary ------------------------------------------------------

    def _fits(self, rows: Ints, nodes: Ints, limits: _Limits, *, primary: bool) -> Bools:
        """Whether demands fit limits; `nodes` is one row (all targets) or a column per row."""
        fleet = self._fleet
        flat = nodes.ndim == 2

        def column(values: Ints) -> Ints:
            return values[rows][:, None]

        held = fleet.held if primary else fleet.reserved
        memory = fleet.memory if primary else fleet.reserved
        ok: Bools = column(held) < limits.memory[nodes]
        ok &= column(memory) < limits.promised_memory[nodes]
        local = fleet.local[rows][:, None]
        stored = column(fleet.disk) <= limits.disk[nodes]
        stored &= column(fleet.spindle_use) <= limits.spindle_use[nodes]
        stored &= column(fleet.spindles) <= limits.spindles[nodes]
        known = fleet.spindles_known[rows][:, None]
        if not known.all() and self._state.frame.exclusive.any():
            stored &= known | ~self._state.frame.exclusive[nodes]
        ok &= stored | ~local
        if primary:
            ok &= column(fleet.vcpus) <= limits.vcpus[nodes]
        assert not flat or ok.shape == nodes.shape
        return ok

    def _primary(self, rows: Ints, nodes: Ints, force: Bools) -> Bools:
        """`admission.admit_primary` for many; force is by row."""
        real = self._fleet.real[rows][:, None]
        ok = self._fits(rows, nodes, self._strict, primary=True)
        ok &= ~self._clashes(rows, nodes)
        if not real.all():
            ok = np.where(real, ok, self._fits(rows, nodes, self._promised, primary=True))
        if force.any():
            hard = self._fits(rows, nodes, self._hard, primary=True) | ~real
            ok = np.where(force[:, None], hard, ok)
        return ok

    def _clashes(self, rows: Ints, nodes: Ints) -> Bools:
        frame = self._state.frame
        if not frame.tag_names:
            return np.zeros((1, 1), dtype=np.bool_)
        tags = self._fleet.tags[rows].astype(np.float64)
        present = (self._state.tag_counts > 0).astype(np.float64)
        if nodes.ndim == 2:
            clashing: Bools = (tags * present[nodes[:, 0]]).sum(axis=1)[:, None] > 0
        else:
            clashing = (tags @ present[nodes].T) > 0
        # Forthcoming instances are not held to tags.
        return clashing & self._fleet.real[rows][:, None]

    def _secondary_base(self, rows: Ints, nodes: Ints, force: Bools) -> Bools:
        """`admission.admit_secondary` for many, but for what depends on the primary."""
        limits, state = self._strict, self._state
        soft = _Limits(
            memory=state.unallocated,
            promised_memory=limits.promised_memory,
            disk=limits.disk,
            spindle_use=limits.spindle_use,
            spindles=limits.spindles,
            vcpus=limits.vcpus,
        )
        real = self._fleet.real[rows][:, None]
        ok = self._fits(rows, nodes, soft, primary=False)
        if not real.all():
            memory = self._demanded_reserve(rows)[:, None] < state.free_memory_f[nodes]
            promised = self._fits(rows, nodes, self._promised, primary=False) & memory
            ok = np.where(real, ok, promised)
        if force.any():
            unlimited = np.full(state.frame.size, UNLIMITED, dtype=np.int64)
            hard = _Limits(
                unlimited,
                unlimited,
                self._hard.disk,
                unlimited,
                self._hard.spindles,
                unlimited,
            )
            forced = self._fits(rows, nodes, hard, primary=False) | ~real
            ok = np.where(force[:, None], forced, ok)
        return ok

    def _demanded_reserve(self, rows: Ints) -> Ints:
        """Reserved memory that forthcoming instances would ask for."""
        state = self._state
        return np.array([state.demand(int(row)).reserved for row in rows], dtype=np.int64)

    def _n1(self, rows: Ints, kept: Ints, free: Ints, failing: Bools, force: Bools) -> Bools:
        """Whether a new secondary leaves its node with N+1, or at least no worse off."""
        ok: Bools = failing | (kept < free) | force[:, None] | ~self._fleet.real[rows][:, None]
        return ok

    def peers_of(self, primaries: Ints) -> Ints:
        """Memory that each online node keeps for each of `primaries`: one row for each."""
        found: Ints = self._by_primary()[primaries]
        return found

    def _by_primary(self) -> Ints:
        if not hasattr(self, "_transposed"):
            self._transposed = np.ascontiguousarray(self._state.peers[self._online].T)
        return self._transposed

    def _may_migrate(self, source: Ints, target: Ints) -> Bools:
        """Migration tags for a column of sources and a row (or column) of targets."""
        allowed = self._state.frame.can_receive
        if allowed is None:
            return np.ones((1, 1), dtype=np.bool_)
        found: Bools = allowed[source[:, None], target]
        return found

    # --- moves ----------------------------------------------------------------------------

    def external(self, rows: Ints, p: Ints) -> Bools:
        """Which online nodes can take instances on external storage from `p`."""
        down = self._state.frame.offline[p]
        force = down | self._options.ignore_soft_errors
        ok = self._primary(rows, self._online, force) & self._may_migrate(p, self._online)
        ok &= self._online[None, :] != p[:, None]
        ok &= self._online[None, :] != self.secondary_of(rows)[:, None]
        return ok

    def secondary_of(self, rows: Ints) -> Ints:
        """Present secondaries."""
        return np.array([self._state.secondary[int(row)] for row in rows], dtype=np.int64)

    def lost(self, rows: Ints, p: Ints, s: Ints) -> Ints:
        """What secondaries keep for peers without these instances."""
        peers = self._state.peers[s]
        peers[np.arange(len(rows)), p] -= self._fleet.reserved[rows]
        found: Ints = peers.max(axis=1)
        return found

    def internal(self, rows: Ints, p: Ints, s: Ints) -> Allowed:
        """All moves of DRBD instances."""
        options, state = self._options, self._state
        down = state.frame.offline
        force = np.full(len(rows), options.ignore_soft_errors)
        lost = self.lost(rows, p, s)
        allowed: dict[Kind, Bools] = {}
        alive_s = ~down[s]
        usable = alive_s & options.instance_moves
        passing = self._after_removal(rows, p, s, lost, force | down[p])
        if options.instance_moves:
            back = self._p_as_secondary(rows, p, s[:, None], force | down[p], ignore_disk=down[p])
            allowed[Kind.FAILOVER] = (
                usable[:, None] & passing & back & self._may_migrate(p, s[:, None])
            )
        if not options.disk_moves:
            return Allowed(allowed, lost)
        online = self._online
        others = (online[None, :] != p[:, None]) & (online[None, :] != s[:, None])
        self._replace_secondary(allowed, rows, p, s, others)
        if not options.instance_moves:
            return Allowed(allowed, lost)
        may_fully = ~down[p] if options.restricted_migration else np.zeros(len(rows), dtype=bool)
        others = others & ~may_fully[:, None]
        primary = self._primary(rows, online, force)
        from_p = self._may_migrate(p, online)
        kept_p = self._p_as_secondary(rows, p, online[None, :], force | down[s], ignore_disk=None)
        allowed[Kind.REPLACE_AND_FAILOVER] = others & primary & from_p & kept_p
        others = others & usable[:, None]
        through = others & passing & self._may_migrate(p, s[:, None])
        if not options.restricted_migration:
            forced = self._primary(rows, online, force | down[p]) if down[p].any() else primary
            kept_s = self._s_stays(rows, s, lost, force | down[p])
            allowed[Kind.REPLACE_PRIMARY] = through & forced & kept_s & self._may_migrate(s, online)
        forced_p = force | down[p]
        base = self._secondary_base(rows, online, forced_p)
        kept = self.peers_of(s) + self._fleet.reserved[rows][:, None]
        base &= self._n1(rows, kept, state.unallocated[online], self._fails[online], forced_p)
        allowed[Kind.FAILOVER_AND_REPLACE] = through & base
        return Allowed(allowed, lost)

    def _replace_secondary(
        self, allowed: dict[Kind, Bools], rows: Ints, p: Ints, s: Ints, others: Bools
    ) -> None:
        state, online = self._state, self._online
        force = state.frame.offline[s] | self._options.ignore_soft_errors
        base = self._secondary_base(rows, online, force)
        kept = self.peers_of(p) + self._fleet.reserved[rows][:, None]
        base &= self._n1(rows, kept, state.unallocated[online], self._fails[online], force)
        # The primary is taken off and put back; its hard limits hold again at that moment.
        returning = self._returns(rows, p)
        allowed[Kind.REPLACE_SECONDARY] = others & base & returning[:, None]

    def _returns(self, rows: Ints, p: Ints) -> Bools:
        """Whether a primary could be put back where it is, by hard limits alone."""
        state, fleet = self._state, self._fleet
        ok: Bools = state.unallocated[p] > 0
        ok &= (state.free_disk[p] > 0) | ~fleet.local[rows]
        exclusive = state.frame.exclusive[p] & fleet.local[rows]
        ok &= ~exclusive | (fleet.spindles_known[rows] & (state.free_spindles[p] >= 0))
        return ok | ~fleet.real[rows]

    def _after_removal(self, rows: Ints, p: Ints, s: Ints, lost: Ints, force: Bools) -> Bools:
        """Whether the secondary can become the primary, once it is no longer the secondary."""
        state, fleet, frame = self._state, self._fleet, self._state.frame
        real = fleet.real[rows]
        free = state.unallocated[s] - fleet.held[rows]
        disk, disk_f = state.free_disk[s], state.free_disk_f[s]
        exclusive = frame.exclusive[s]
        known = fleet.spindles_known[rows]
        hard = (free > 0) & (disk > 0)
        hard &= ~exclusive | (known & (state.free_spindles[s] >= 0))
        promised = state.free_memory_f[s] - fleet.memory[rows] > 0
        promised &= (disk_f > 0) & (disk_f >= frame.low_disk[s])
        promised &= ~exclusive | (known & (state.free_spindles_f[s] >= 0))
        promised &= exclusive | (state.inst_spindles_f[s] <= frame.high_spindles[s])
        promised &= state.used_cpus_f[s] + fleet.vcpus[rows] <= frame.max_vcpus[s]
        soft = (disk >= frame.low_disk[s]) & (
            exclusive | (state.inst_spindles[s] <= frame.high_spindles[s])
        )
        soft &= (free > lost) | (state.unallocated[s] <= lost)
        soft &= state.used_cpus[s] + fleet.real_vcpus[rows] <= frame.max_vcpus[s]
        soft &= ~self._clashes(rows, s[:, None])[:, 0]
        strict = np.where(real, hard & soft & promised, promised)
        return np.where(force, hard | ~real, strict)[:, None]

    def _p_as_secondary(
        self, rows: Ints, p: Ints, primary: Ints, force: Bools, *, ignore_disk: Bools | None
    ) -> Bools:
        """Whether the old primary can stay on as the secondary of `primary`."""
        state, fleet, frame = self._state, self._fleet, self._state.frame
        real = fleet.real[rows]
        memory = self._demanded_reserve(rows) if not real.all() else fleet.reserved[rows]
        free = state.unallocated[p] + fleet.held[rows]
        disk, disk_f = state.free_disk[p], state.free_disk_f[p]
        exclusive, known = frame.exclusive[p], fleet.spindles_known[rows]
        hard = disk > 0
        if ignore_disk is not None:
            hard |= ignore_disk
        hard &= ~exclusive | (known & (state.free_spindles[p] >= 0))
        promised = (disk_f > 0) & (disk_f >= frame.low_disk[p])
        promised &= ~exclusive | (known & (state.free_spindles_f[p] >= 0))
        promised &= exclusive | (state.inst_spindles_f[p] <= frame.high_spindles[p])
        promised &= memory < state.free_memory_f[p] + fleet.memory[rows]
        soft = (disk >= frame.low_disk[p]) & (memory < free)
        soft &= exclusive | (state.inst_spindles[p] <= frame.high_spindles[p])
        strict = np.where(real, hard & soft & promised, promised)
        ok = np.where(force, hard | ~real, strict)[:, None]
        kept = state.peers[p[:, None], primary] + memory[:, None]
        failing = (free <= state.reserve[p])[:, None]
        return ok & self._n1(rows, kept, free[:, None], failing, force)

    def _s_stays(self, rows: Ints, s: Ints, lost: Ints, force: Bools) -> Bools:
        """Whether the secondary can stay the secondary, for a new primary."""
        state, fleet, frame = self._state, self._fleet, self._state.frame
        real = fleet.real[rows]
        memory = self._demanded_reserve(rows) if not real.all() else fleet.reserved[rows]
        disk, disk_f = state.free_disk[s], state.free_disk_f[s]
        exclusive, known = frame.exclusive[s], fleet.spindles_known[rows]
        hard = (disk > 0) & (~exclusive | (known & (state.free_spindles[s] >= 0)))
        promised = (disk_f > 0) & (disk_f >= frame.low_disk[s])
        promised &= ~exclusive | (known & (state.free_spindles_f[s] >= 0))
        promised &= exclusive | (state.inst_spindles_f[s] <= frame.high_spindles[s])
        promised &= memory < state.free_memory_f[s]
        soft = (disk >= frame.low_disk[s]) & (memory < state.unallocated[s])
        soft &= exclusive | (state.inst_spindles[s] <= frame.high_spindles[s])
        strict = np.where(real, hard & soft & promised, promised)
        ok = np.where(force, hard | ~real, strict)[:, None]
        kept = state.peers[s][:, self._online] + memory[:, None]
        free = state.unallocated[s]
        return ok & self._n1(rows, kept, free[:, None], (free <= lost)[:, None], force)

    # --- N+1 after a move -----------------------------------------------------------------

    def n1_states(self, rows: Ints, kind: Kind) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
        """Node, unallocated memory, reserve and number of instances there after a move.

        One tuple for each node that the move touches; arrays broadcast to rows x targets.
        """
        state, fleet, online = self._state, self._fleet, self._online[None, :]
        p = np.array([state.primary[int(row)] for row in rows], dtype=np.int64)[:, None]
        held, memory = fleet.held[rows][:, None], fleet.reserved[rows][:, None]
        real = fleet.real[rows].astype(np.int64)[:, None]
        size = state.primary_count + state.secondary_count
        free, keep, peers = state.unallocated, state.reserve, state.peers
        if kind is Kind.FAILOVER_TO_ANY:
            yield p, free[p] + held, keep[p], size[p] - real
            yield online, free[online] - held, keep[online], size[online] + real
            return
        s = self.secondary_of(rows)[:, None]
        lost = self.lost(rows, p[:, 0], s[:, 0])[:, None]

        def keeping(node: Ints, primary: Ints, without: Ints) -> Ints:
            kept = np.maximum(without, peers[node, primary] + memory)
            return np.where(real > 0, kept, without)

        match kind:
            case Kind.FAILOVER:
                yield p, free[p] + held, keeping(p, s, keep[p]), size[p]
                yield s, free[s] - held, lost, size[s]
            case Kind.REPLACE_SECONDARY:
                yield s, free[s], lost, size[s] - real
                yield online, free[online], keeping(online, p, keep[online]), size[online] + real
            case Kind.REPLACE_AND_FAILOVER:
                yield p, free[p] + held, keeping(p, online, keep[p]), size[p]
                yield s, free[s], lost, size[s] - real
                yield online, free[online] - held, keep[online], size[online] + real
            case Kind.REPLACE_PRIMARY:
                yield p, free[p] + held, keep[p], size[p] - real
                yield s, free[s], keeping(s, online, lost), size[s]
                yield online, free[online] - held, keep[online], size[online] + real
            case _:
                yield p, free[p] + held, keep[p], size[p] - real
                yield s, free[s] - held, lost, size[s]
                yield online, free[online], keeping(online, s, keep[online]), size[online] + real
