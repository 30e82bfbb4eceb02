"""The columns that a list shows when none are asked for: Ganeti's (pure; light to import)."""

from __future__ import annotations

DEFAULT_FIELDS: dict[str, tuple[str, ...]] = {
    "instance": ("name", "hypervisor", "os", "pnode", "status", "oper_ram"),
    "node": ("name", "dtotal", "dfree", "mtotal", "mnode", "mfree", "pinst_cnt", "sinst_cnt"),
    "group": ("name", "node_cnt", "pinst_cnt", "alloc_policy", "ndparams"),
    "job": ("id", "status", "summary"),
    "lock": ("name", "mode", "owner", "pending"),
    "cluster": ("name", "master_node", "software_version"),
}

# The field by which rows are named, asked for and sorted.
NAME_FIELD: dict[str, str] = {
    "instance": "name",
    "node": "name",
    "group": "name",
    "job": "id",
    "lock": "name",
    "cluster": "name",
}
