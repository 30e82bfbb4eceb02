"""What `--help` says of each option, in the words of the original."""

from __future__ import annotations

from typing import Final

DEFAULT_SOCKET: Final = "/var/run/ganeti/socket/ganeti-query"

HELP: Final = {
    "text-data": ("the cluster data FILE"),
    "no-disk-moves": (
        "disallow disk moves from the list of allowed instance changes, thus allowing "
        "only the 'cheap' failover/migrate operations"
    ),
    "mond": ("pass either 'yes' or 'no' to query all monDs"),
    "mond-data": ("Import data provided by MonDs from the given FILE"),
    "mond-xen": ("also consider xen-specific collectors in MonD queries"),
    "exit-on-missing-mond-data": (
        "abort if the data available from the monitoring daemons is incomplete"
    ),
    "disk-template": ("select the desired disk template"),
    "spindle-use": ("select how many virtual spindle instances use [default read from cluster]"),
    "select-instances": ("only select given instances for any moves"),
    "no-instance-moves": (
        "disallow instance (primary node) moves from the list of allowed, instance "
        "changes, thus allowing only slower, but sometimes safer, drbd secondary changes"
    ),
    "dynu-file": ("Import dynamic utilisation data from the given FILE"),
    "ignore-dynu": ("Ignore any dynamic utilisation information"),
    "ignore-soft-errors": ("Ignore any soft restrictions in balancing"),
    "independent-groups": ("Consider groups independently"),
    "accept-existing-errors": ("Accept existing N+1 violations; just don't add new ones"),
    "evac-mode": (
        "enable evacuation mode, where the algorithm only moves instances away from "
        "offline and drained nodes"
    ),
    "restricted-migration": (
        "disallow replace-primary moves (aka frf-moves); in evacuation mode, this will "
        "ensure that the only migrations are off the drained nodes"
    ),
    "exclude-instances": ("exclude given instances from any moves"),
    "exclusion-tags": ("Enable instance exclusion based on given tag prefix"),
    "exec": (
        "execute the suggested moves via Luxi (only available when using it for data gathering)"
    ),
    "reason": ("The reason to pass to the submitted jobs"),
    "first-job-group": ("only execute the first group of jobs"),
    "force": ("force the execution of this program, even if warnings would otherwise prevent it"),
    "full-evacuation": ("fully evacuate the nodes to be rebooted"),
    "group": ("the target node group (name or UUID)"),
    "ialloc-src": ("Specify an iallocator spec as the cluster data source"),
    "ignore-non-redundant": ("Pretend that there are no non-redundant instances in the cluster"),
    "luxi": (f"collect data via Luxi, optionally using the given SOCKET path [{DEFAULT_SOCKET}]"),
    "machine-readable": (
        "enable machine readable output (pass either 'yes' or 'no' to explicitly control "
        "the flag, or without an argument defaults to yes)"
    ),
    "max-cpu": (
        "maximum virtual-to-physical cpu ratio for nodes (from 0 upwards) [default read "
        "from cluster]"
    ),
    "max-length": (
        "cap the solution at this many balancing or allocation rounds (useful for very "
        "unbalanced clusters or empty clusters)"
    ),
    "min-disk": ("minimum free disk space for nodes (between 0 and 1) [0]"),
    "min-gain": ("minimum gain to aim for in a balancing step before giving up"),
    "min-gain-limit": ("minimum cluster score for which we start checking the min-gain"),
    "minimal-resources": (
        "minimal resources to be present on each in multiples of the standard allocation "
        "for not onlining standby nodes"
    ),
    "min-score": ("mininum excess to the N+1 limit to aim for"),
    "no-headers": ("do not show a header line"),
    "no-simulation": ("do not perform rebalancing simulation"),
    "simulate": ("simulate an empty cluster, given as 'alloc_policy,num_nodes,disk,ram,cpu'"),
    "node-tags": ("Restrict to nodes with the given tags"),
    "offline-maintenance": (
        "Schedule offline maintenance, i.e., pretend that all instance are offline."
    ),
    "offline": ("set node as offline"),
    "restrict-allocation-to": ("Restrict allocations to the given set of nodes"),
    "one-step-only": ("Only do the first step"),
    "output-dir": ("directory in which to write output files"),
    "print-commands": (
        "print the ganeti command list for reaching the solution, if an argument is "
        "passed then write the commands to a file named as such"
    ),
    "print-instances": ("print the final instance map"),
    "print-moves": ("print the moves of the instances"),
    "print-nodes": ("print the final node list"),
    "quiet": ("decrease the verbosity level"),
    "master": ("collect data via RAPI at the given ADDRESS"),
    "save": ("Save cluster state at the end of the processing to FILE"),
    "skip-non-redundant": ("Skip nodes that host a non-redundant instance"),
    "static-kvm-node-memory": (
        "use static node memory [in MB] on KVM instead of value reported by hypervisor. "
        "Use 0 to take value reported from hypervisor."
    ),
    "standard-alloc": ("enable standard specs allocation, given as 'disk,ram,cpu'"),
    "target-resources": (
        "target resources to be left on each node after squeezing in multiples of the "
        "standard allocation"
    ),
    "tiered-alloc": ("enable tiered specs allocation, given as 'disk,ram,cpu'"),
    "verbose": ("increase the verbosity level"),
    "priority": ("set the priority of submitted jobs"),
    "no-capacity-checks": ("disable capacity checks (like global N+1 redundancy)"),
    "algorithm": ("how to search: auto, greedy (the moves of Ganeti's hbal) or search"),
    "compat": ("make the moves of Ganeti's hbal, however long it takes"),
    "effort": ("CPU seconds to go on improving what a search found"),
    "schedule": ("print when each move can start, and how long all of them take"),
    "explain": ("say why, per node: as text on stderr, or as JSON to a file"),
    "plot": ("draw the load of the nodes before and after: in the terminal, or as SVG to a file"),
    "advice": ("say which resource ends first, and what to add"),
    "version": ("show the version of the program"),
    "help": ("show help"),
    "help-completion": ("show completion info"),
}
