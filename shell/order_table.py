"""Which opcode a command is, and which option is which of its fields (pure, light to import).

An option whose name is the field's needs no entry. Nothing is filled in here: what was not typed
is the opcode's default.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Options that are the client's own business, whatever the command is.
CLIENT = frozenset(
    {"at", "debug", "dry_run", "format", "print_jobid", "priority", "reason", "submit_only"}
)

# Options of one setting, the instance policy: dest -> key.
POLICY = {
    "ipolicy_bounds_specs": "minmax",
    "ipolicy_std_specs": "std",
    "ipolicy_disk_templates": "disk-templates",
    "ipolicy_vcpu_ratio": "vcpu-ratio",
    "ipolicy_spindle_ratio": "spindle-ratio",
}


@dataclass(frozen=True, slots=True)
class Order:
    """An opcode and where its fields come from: positional words, renamed options."""

    opcode: str
    args: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)  # dest -> field
    client: frozenset[str] = frozenset()  # dests that this command answers to by itself
    pairs: frozenset[str] = frozenset()  # dests that are lists of (name, values): a map
    lists: frozenset[str] = frozenset()  # dests that are words with commas between them


_HV_STATE = frozenset({"hv_state", "disk_state", "diskparams"})

ORDERS: dict[tuple[str, str], Order] = {
    ("gnt-cluster", "activate-master-ip"): Order("OP_CLUSTER_ACTIVATE_MASTER_IP"),
    ("gnt-cluster", "add-witness"): Order("OP_CLUSTER_ADD_WITNESS", ("node_name",)),
    ("gnt-cluster", "remove-witness"): Order("OP_CLUSTER_REMOVE_WITNESS", ("node_name",)),
    ("gnt-cluster", "deactivate-master-ip"): Order(
        "OP_CLUSTER_DEACTIVATE_MASTER_IP", client=frozenset({"confirm"})
    ),
    ("gnt-cluster", "destroy"): Order("OP_CLUSTER_DESTROY", client=frozenset({"yes_do_it"})),
    ("gnt-cluster", "modify"): Order(
        "OP_CLUSTER_SET_PARAMS", pairs=_HV_STATE | {"hvparams"},
        lists=frozenset({"enabled_hypervisors", "enabled_disk_templates"}),
    ),
    ("gnt-cluster", "verify"): Order(
        "OP_CLUSTER_VERIFY",
        fields={"nodegroup": "group_name", "simulate_errors": "debug_simulate_errors"},
        client=frozenset({"skip_nplusone_mem", "skip_hvparam_assessment"}),
    ),
    ("gnt-node", "add"): Order(
        "OP_NODE_ADD", ("node_name",), {"nodegroup": "group"},
        client=frozenset({"ticket_file", "verbose", "ssh_key_check", "node_setup"}),
        pairs=_HV_STATE,
    ),
    ("gnt-node", "remove"): Order("OP_NODE_REMOVE", ("node_name",)),
    ("gnt-node", "modify"): Order(
        "OP_NODE_SET_PARAMS", ("node_name",), {"node_powered": "powered"}, pairs=_HV_STATE
    ),
    ("gnt-node", "evacuate"): Order(
        "OP_NODE_EVACUATE", ("node_name",), client=frozenset({"force"})
    ),
    ("gnt-group", "evacuate"): Order("OP_GROUP_EVACUATE", ("group_name",)),
    ("gnt-group", "add"): Order("OP_GROUP_ADD", ("group_name",), pairs=_HV_STATE),
    ("gnt-group", "remove"): Order("OP_GROUP_REMOVE", ("group_name",)),
    ("gnt-group", "rename"): Order("OP_GROUP_RENAME", ("group_name", "new_name")),
    ("gnt-group", "modify"): Order("OP_GROUP_SET_PARAMS", ("group_name",), pairs=_HV_STATE),
    ("gnt-instance", "remove"): Order(
        "OP_INSTANCE_REMOVE", ("instance_name",), client=frozenset({"force"})
    ),
    ("gnt-instance", "startup"): Order(
        "OP_INSTANCE_STARTUP", fields={"ignore_offline": "ignore_offline_nodes"}
    ),
    ("gnt-instance", "shutdown"): Order(
        "OP_INSTANCE_SHUTDOWN", fields={"ignore_offline": "ignore_offline_nodes"}
    ),
    ("gnt-instance", "reboot"): Order("OP_INSTANCE_REBOOT"),
    ("gnt-instance", "failover"): Order(
        "OP_INSTANCE_FAILOVER", ("instance_name",), {"dst_node": "target_node"},
        client=frozenset({"force"}),
    ),
    ("gnt-instance", "migrate"): Order(
        "OP_INSTANCE_MIGRATE", ("instance_name",),
        {"dst_node": "target_node", "allow_runtime_chgs": "allow_runtime_changes",
         "migration_mode": "mode"},
        client=frozenset({"force"}),
    ),
    ("gnt-instance", "replace-disks"): Order("OP_INSTANCE_REPLACE_DISKS", ("instance_name",)),
    ("gnt-instance", "recreate-disks"): Order(
        "OP_INSTANCE_RECREATE_DISKS", ("instance_name",), client=frozenset({"node"})
    ),
    ("gnt-instance", "change-group"): Order("OP_INSTANCE_CHANGE_GROUP", ("instance_name",)),
    ("gnt-instance", "activate-disks"): Order("OP_INSTANCE_ACTIVATE_DISKS", ("instance_name",)),
    ("gnt-instance", "console"): Order("OP_INSTANCE_CONSOLE", ("instance_name",)),
    ("gnt-instance", "deactivate-disks"): Order(
        "OP_INSTANCE_DEACTIVATE_DISKS", ("instance_name",)
    ),
    ("gnt-instance", "grow-disk"): Order(
        "OP_INSTANCE_GROW_DISK", ("instance_name", "disk", "amount")
    ),
    ("gnt-instance", "rename"): Order("OP_INSTANCE_RENAME", ("instance_name", "new_name")),
    ("gnt-instance", "add"): Order(
        "OP_INSTANCE_CREATE", ("instance_name",),
        {"os": "os_type", "nodegroup": "group_name"},
        client=frozenset({"node", "sd_size", "no_nics"}),
    ),
    ("gnt-instance", "modify"): Order(
        "OP_INSTANCE_SET_PARAMS", ("instance_name",),
        {"os": "os_name", "node": "remote_node", "new_primary_node": "pnode"},
        client=frozenset({"offline_inst", "online_inst"}),
    ),
}  # fmt: skip
