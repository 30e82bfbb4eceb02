"""Help, and the page of all commands, from the grammar and the opcodes' own descriptions (pure).

The text of an option comes from the field of the opcode that it sets; only what is the client's
own business is described here. So that help comes at once, the opcodes' descriptions are read from
a file that is made from them (`python -m shell.manual_writer`), and a test compares the two.
"""

from __future__ import annotations

import click

from shell import grammar
from shell.grammar import Option, Tool
from shell.order_table import ORDERS
from shell.parsing import as_click

# By dest: options that no opcode describes.
TEXTS = {
    "archived": "Archived jobs too",
    "at": "As of a record's number or a time, such as 812, 10:42, -15m",
    "auto": "Replace what is broken, wherever it is",
    "cloudevents": "Each line is a CloudEvent",
    "debug": "Say more about what goes wrong",
    "dir": "Read this log's directory, without a daemon",
    "disks": "Disks: on which, and how",
    "dry_run": "Show the plan, its locks and what would change; do nothing",
    "dst_node": "The node to go to",
    "first": "From this record on",
    "follow": "Go on with those that follow as they commit",
    "force": "Do not ask",
    "force_filter": "Take the word as a filter, whatever it looks like",
    "force_multi": "Do not ask when there are several",
    "format": "Form of the answer",
    "from": "Read tags from a file, - for standard input",
    "how": "What is to become of it",
    "ignore_offline": "Go on although the primary node is marked offline",
    "ignore_offline_nodes": "Accepted for scripts of old: the log says who votes",
    "kill": "Refused: a job is never killed",
    "last": "Up to this record",
    "lines": "How many records",
    "multi_mode": "What the words name: instances, nodes or tags; or all instances",
    "no_headers": "No line of titles",
    "no_nics": "No network interface",
    "node": "Nodes: primary, or primary:secondary",
    "offline_inst": "Mark it offline: it cannot be started",
    "on_primary": "Replace the disks on the primary node",
    "on_secondary": "Replace the disks on the secondary node",
    "online_inst": "Take the mark offline away",
    "output": "Fields, separated by commas; a leading + adds to the usual ones",
    "output_file": "Write to this file",
    "print_jobid": "Print the number of the job first",
    "priority": "When there is a queue",
    "reason": "Why; it stands in the log with the job",
    "roman_integers": "Accepted for scripts of old",
    "sd_size": "Size of the only disk: MiB, or with m, g, t",
    "since": "Since the checkpoint over so many first records",
    "separator": "Put this between fields, and pad nothing",
    "show_all": "All of them",
    "static": "Only what is configured",
    "status_filter": "Only those in this state",
    "stream": "Only this stream",
    "submit_only": "Print the number of the job and do not wait for it",
    "tags_source": "Read tags from a file, - for standard input",
    "ticket_file": "Write the ticket of the node's agent to this file, - for standard output",
    "units": "Unit of sizes: h for the nearest",
    "verbose": "Say in words why a value is not there",
    "yes_do_it": "Really",
}


# Commands that are no opcode, and take the options of one that is.
_LIKE = {("gnt-cluster", "init"): "modify", ("gnt-instance", "batch-create"): "add"}


def help_of(tool: Tool, name: str) -> str:
    """Return what `TOOL COMMAND --help` prints."""
    command = tool.commands[name]
    options = tool.options_of(command)
    described = _descriptions(tool.tool, name)
    texts = [_text(option, described) for option in options]
    parser = as_click(tool.tool, name, command, options, texts)
    with click.Context(parser, info_name=f"{tool.tool} {name}", max_content_width=100) as context:
        return parser.get_help(context)


def page() -> str:
    """Return docs/commands.md."""
    parts = [
        "# Commands",
        "Made by `python -m shell.manual_writer` from the grammar and the opcodes; do not edit.",
        "Every command takes `--help`. `cairn instance list` is `gnt-instance list`.",
        _EXIT_STATUSES,
        _CONFIGURATION,
    ]
    for name in grammar.TOOLS:
        tool = grammar.load(name)
        parts.append(f"## {name}")
        for command in sorted(tool.commands):
            parts.append(f"### {name} {command}\n\n```\n{help_of(tool, command).rstrip()}\n```")
        if tool.later:
            parts.append(f"Of Ganeti's, not yet there: {', '.join(tool.later)}.")
    return "\n\n".join(parts) + "\n"


_EXIT_STATUSES = """## Exit statuses

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | refused, or failed; the words say which, and what would help |
| 2 | the words typed are no command |
| 5 | no cluster is known here |
| 11 | this is not the master |
| 12 | a node could not be set up |
| 13 | a question would have to be asked, and there is no terminal |
| 14 | an unknown field was asked for |
| 130 | interrupted; a submitted job goes on |"""

_CONFIGURATION = """## Settings of the client

A JSON file: the one that `CAIRN_CONFIG` names, else `~/.config/cairn/client.json`, else
`/etc/cairn/client.json`. Paths are relative to the file.

```json
{
  "key_file": "operator.key",
  "voters": [{"name": "node1", "requests": "tcp://192.0.2.1:1811",
              "publications": "tcp://192.0.2.1:1812", "curve_key": "<Z85>"}],
  "ssh": {"command": ["ssh", "-i", "/root/.ssh/cairn"], "user": "root"},
  "master": {"directory": "/var/lib/cairn/master", "node": "node1", "address": "192.0.2.1"}
}
```

`gnt-cluster init` fills `voters` in; it needs `master`, the other commands do not.

`gnt-node add` prepares the node over SSH: it writes the ticket into `directory` there
(`/var/lib/cairn/agent`) and runs `start` (`systemctl enable --now cairn-agent.service`); both may
be set in `ssh`. It does not where `--ticket-file PATH` (`-`: the terminal) or `ticket_dir` says
where the ticket goes, as `<ticket_dir>/<node>/ticket.json`, for you to carry it to the node."""


def _descriptions(tool: str, command: str) -> dict[str, str]:
    """Return by dest what the fields of the command's opcode say about themselves."""
    order = ORDERS.get((tool, _LIKE.get((tool, command), command)))
    if order is None:
        return {}
    dests = {field: dest for dest, field in order.fields.items()}
    own = grammar.descriptions().get(order.opcode, {})
    return {dests.get(field, field): text for field, text in own.items()}


def _text(option: Option, described: dict[str, str]) -> str:
    if option.action == "ignore":
        return "It is so by default"
    text = described.get(option.dest) or TEXTS.get(option.dest, "")
    if option.action == "store_false" and text:
        return f"Not: {text[0].lower()}{text[1:]}"
    if option.action == "store_const" and option.const is not None:
        which = option.const if isinstance(option.const, str) else ", ".join(option.const)
        return f"{text}: {which}" if text else which
    return text
