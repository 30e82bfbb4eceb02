"""Which module carries out which command (pure). A module is imported only when it is needed.

A function takes (Session, Words) and returns an exit status.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from shell.parsing import Words
from shell.session import Session

Run = Callable[[Session, Words], int]

_TAGS = {
    "add-tags": "shell.tags:add",
    "remove-tags": "shell.tags:remove",
    "list-tags": "shell.tags:show",
}
_LISTS = {"list": "shell.listing:show", "list-fields": "shell.listing:show_fields"}
_ORDER = "shell.orders:run"

COMMANDS: dict[str, dict[str, str]] = {
    "gnt-cluster": {
        "init": "shell.cluster_init:run",
        "destroy": "shell.cluster:destroy",
        "info": "shell.info:cluster",
        "verify": "shell.cluster:verify",
        "modify": _ORDER,
        "activate-master-ip": _ORDER,
        "add-witness": _ORDER,
        "remove-witness": _ORDER,
        "deactivate-master-ip": "shell.cluster:deactivate_master_ip",
        "getmaster": "shell.cluster:getmaster",
        "master-failover": "shell.master:failover",
        "master-ping": "shell.master:ping",
        "version": "shell.cluster:version",
        "search-tags": "shell.tags:search",
        **_TAGS,
    },
    "gnt-node": {
        "add": "shell.node_add:run",
        "remove": _ORDER,
        "modify": _ORDER,
        "evacuate": "shell.evacuation:node",
        "info": "shell.info:nodes",
        **_LISTS,
        **_TAGS,
    },
    "gnt-group": {
        "add": _ORDER,
        "remove": _ORDER,
        "rename": _ORDER,
        "modify": _ORDER,
        "evacuate": "shell.evacuation:group",
        "info": "shell.info:groups",
        **_LISTS,
        **_TAGS,
    },
    "gnt-instance": {
        "add": "shell.instance_add:run",
        "batch-create": "shell.instance_add:run_batch",
        "remove": "shell.instance:remove",
        "startup": "shell.instance:many",
        "shutdown": "shell.instance:many",
        "reboot": "shell.instance:many",
        "failover": "shell.instance:failover",
        "migrate": "shell.instance:migrate",
        "replace-disks": "shell.instance:replace_disks",
        "recreate-disks": "shell.instance:recreate_disks",
        "change-group": "shell.evacuation:change_group",
        "activate-disks": "shell.instance:activate_disks",
        "deactivate-disks": _ORDER,
        "console": "shell.console:run",
        "grow-disk": "shell.instance:grow_disk",
        "rename": _ORDER,
        "modify": "shell.instance_modify:run",
        "info": "shell.info:instances",
        **_LISTS,
        **_TAGS,
    },
    "gnt-job": {
        "info": "shell.job_info:run",
        "watch": "shell.jobs:watch",
        "wait": "shell.jobs:wait",
        "cancel": "shell.jobs:cancel",
        "archive": "shell.jobs:archive",
        "autoarchive": "shell.jobs:autoarchive",
        "change-priority": "shell.jobs:change_priority",
        "resolve": "shell.jobs:resolve",
        **_LISTS,
    },
    "gnt-log": {
        "tail": "shell.log_show:tail",
        "show": "shell.log_show:show",
        "export": "shell.log_export:run",
        "verify": "shell.log_check:verify",
        "replay": "shell.log_check:replay",
        "status": "shell.log_status:run",
        "metrics": "shell.log_metrics:run",
        "prove": "shell.log_prove:run",
        "accept-loss": "shell.log_check:accept_loss",
        "at": "shell.log_at:run",
        "why": "shell.log_why:run",
    },
}


def find(tool: str, command: str) -> Run:
    """Return the function of a command."""
    module, _, name = COMMANDS[tool][command].partition(":")
    found: Run = getattr(import_module(module), name)
    return found
