"""Backend parameters as asked for: memory, CPUs, and what balancing reads (pure)."""

from __future__ import annotations

from collections.abc import Mapping

from commands import parse
from commands.errors import WRONG_INPUT, Refused
from commands.specs import whole
from projections import params
from projections.cluster import Cluster
from projections.objects import Params, Value


def backend_params(cluster: Cluster, own: Params, changes: Mapping[str, Value]) -> Params:
    """Return what is set on an instance after `changes`; `memory` sets minmem and maxmem.

    Raises Refused for what no parameter accepts, and if minmem would exceed maxmem.
    """
    result = parse.modified(own, changes, params.tables().beparams, "the instance")
    filled = params.backend(cluster.settings, result)
    if whole(filled, "minmem") > whole(filled, "maxmem"):
        raise Refused(
            WRONG_INPUT,
            f"minmem {filled['minmem']} MiB is more than maxmem {filled['maxmem']} MiB",
            hint="memory=... sets both",
        )
    return result
