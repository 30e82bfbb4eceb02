"""OP_CLUSTER_VERIFY: is everything as the log says it should be? (pure)

Every node in reach is asked how it is and for sums of what it holds, all at once; where the sums
differ from those of what it should hold it is asked for names, but only of those buckets. Then the
checks of `checks.py` compare. The result is a list of findings: (severity, code, object, message).
It changes nothing and locks nothing, so it may run beside everything.

What can go wrong: a node that does not answer is a finding, not a failure; so is one that holds so
much else that its answer has no room for all of it. What changes between the questions and the
comparison may be found wrong for once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from commands import parse
from commands.cluster_ops import hosts
from commands.cluster_ops.checks import ALL, NPLUSONE
from commands.cluster_ops.finding import WARNING, Checks, Finding
from commands.cluster_ops.holdings import unlike
from commands.given import Given
from commands.handler import Done, Handler, Outcomes
from commands.looking import PREFIX, probes
from commands.nodes import why_unreachable
from commands.opcode import Opcode
from commands.unsupported import refuse_unsupported
from eventstore.set_sums import BUCKETS
from nodeagent.calls import NodeCheck, Probe
from projections.cluster import Cluster
from projections.objects import Node
from projections.plans import Plan

NOT_YET = {
    "debug_simulate_errors": "tests make their own errors",
    "verify_clutter": "there is no clutter to find yet",
}
OPTIONAL = ("hvparam_assessment", NPLUSONE)  # Ganeti's checks that may be skipped


WITHOUT_EFFECT = {
    "error_codes": "it is how the client shows the findings",
    "verbose": "all that was found is in the result",
}


class ClusterVerify(Opcode, frozen=True, kw_only=True):
    """Compare the cluster with what the log says of it."""

    NAME: ClassVar[str] = "OP_CLUSTER_VERIFY"

    skip_checks: Annotated[
        tuple[str, ...], Meta(description="Checks to leave out", extra={"choices": OPTIONAL})
    ] = ()
    ignore_errors: Annotated[tuple[str, ...], Meta(description="Codes that are only warnings")] = ()
    group_name: Annotated[
        str | None, Meta(description="Only this node group", extra={"names": "group"})
    ] = None
    error_codes: Annotated[bool, Meta(description="Show codes; they always are in the result")] = (
        False
    )
    verbose: bool = False
    debug_simulate_errors: bool = False
    verify_clutter: bool = False


def decide(op: ClusterVerify, cluster: Cluster, given: Given, so_far: Outcomes) -> Plan | Done:
    """Ask the nodes; then compare."""
    refuse_unsupported(op, NOT_YET)
    for name in op.skip_checks:
        parse.choice(name, OPTIONAL, "check that can be skipped")
    about = _about(op, cluster)
    nodes = sorted(cluster.nodes.values(), key=lambda node: node.name)
    asked = [node for node in nodes if not why_unreachable(node)]
    if not so_far and asked:
        return probes((node, hosts.question(cluster, node)) for node in asked)
    checks = _checks(so_far)
    if len(so_far) == 1 and (closer := list(_where_sums_differ(cluster, asked, checks))):
        return probes(closer)
    found = [
        finding
        for name, check in ALL.items()
        if name not in op.skip_checks
        for finding in check(cluster, checks)
    ]
    found += hosts.clocks(cluster, checks, given.now_ms)
    findings = [_as_wished(op, each) for each in found if about is None or each.object in about]
    return Done([tuple(finding) for finding in findings])


def _about(op: ClusterVerify, cluster: Cluster) -> set[str] | None:
    """Return the names of the group's nodes and instances; None where all are asked for."""
    if op.group_name is None:
        return None
    group = cluster.group(op.group_name)
    inside = {node.uuid for node in cluster.nodes.values() if node.group == group.uuid}
    instances = (each for each in cluster.instances.values() if each.primary in inside)
    return {cluster.nodes[uuid].name for uuid in inside} | {each.name for each in instances}


def _where_sums_differ(
    cluster: Cluster, nodes: Iterable[Node], checks: Checks
) -> Iterator[tuple[Node, Probe]]:
    for node in nodes:
        check = checks.get(node.uuid)
        if check is not None and (buckets := unlike(cluster, node, check)):
            yield node, msgspec.structs.replace(hosts.question(cluster, node), buckets=buckets)


def _checks(so_far: Outcomes) -> Checks:
    """Return the last answer of each node."""
    found = {}
    for outcome in so_far:
        for step, result in outcome.results.items():
            if step.startswith(PREFIX):
                check = msgspec.msgpack.decode(result, type=NodeCheck)
                if check.holds is not None and len(check.holds.sums) != BUCKETS:
                    check = msgspec.structs.replace(check, holds=None)  # another version's sums
                found[check.status.node] = check
    return found


def _as_wished(op: ClusterVerify, finding: Finding) -> Finding:
    return finding._replace(severity=WARNING) if finding.code in op.ignore_errors else finding


HANDLER = Handler(opcode=ClusterVerify, decide=decide)
