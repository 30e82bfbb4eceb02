"""From a disk's parameters to the options of DRBD's commands (pure).

`disk-custom` and `net-custom` come last, so that they win.
Sources: drbdsetup-8.4(8), drbdsetup-9.0(8).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from nodeagent.calls import Value
from nodeagent.errors import BadCall

Params = Mapping[str, Value]

_BARRIERS = (("b", "--disk-barrier=no"), ("f", "--disk-flushes=no"), ("d", "--disk-drain=no"))
_DYNAMIC = ("c-plan-ahead", "c-fill-target", "c-delay-target", "c-max-rate", "c-min-rate")
# Both settle what is no split brain: one side has changed nothing. All else is for a person.
_AFTER_SPLIT = ("--after-sb-0pri=discard-zero-changes", "--after-sb-1pri=consensus")


def disk_options(params: Params) -> list[str]:
    """Return what `attach` and `disk-options` of 8.4 both take. DRBD 9 wants its parts apart."""
    return [*flush_options(params), *resync(params), *custom_disk(params)]


def flush_options(params: Params) -> list[str]:
    """Return what is flushed, and how."""
    off = str(params.get("disk-barriers") or "n")
    options = [option for letter, option in _BARRIERS if letter in off]
    return [*options, "--md-flushes=no"] if params.get("meta-barriers") else options


def resync(params: Params) -> list[str]:
    """Return how a resync runs: at a fixed rate, or at one that follows the network."""
    if params.get("dynamic-resync"):
        return [f"--{name}={params[name]}" for name in _DYNAMIC if params.get(name) is not None]
    rate = params.get("resync-rate")
    return ["--c-plan-ahead=0", *([f"--resync-rate={rate}"] if rate is not None else [])]


def custom_disk(params: Params) -> list[str]:
    """Return what a person adds for the disk."""
    return _custom(params, "disk-custom")


def net_options(params: Params, *, secret: str, two_primaries: bool) -> list[str]:
    """Return what `connect` takes. `secret`: both sides must show that they know it."""
    options = [f"--protocol={params.get('protocol') or 'C'}", *_AFTER_SPLIT]
    if secret:
        options += ["--cram-hmac-alg=sha256", f"--shared-secret={secret}"]
    if two_primaries:
        options.append("--allow-two-primaries=yes")
    return options + _custom(params, "net-custom")


def _custom(params: Params, name: str) -> list[str]:
    try:
        return shlex.split(str(params.get(name) or ""))
    except ValueError as wrong:
        raise BadCall(f"{name} {params[name]!r}: {wrong}", hint="close every quote") from None
