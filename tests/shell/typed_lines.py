"""Command lines that somebody might type, drawn from the grammar with one seed.

Most are nearly right: the command exists, names are those of the cluster, values have the form that
the option wants. Now and then a word is wrong, empty, far too long, of control characters, or bytes
that are no UTF-8, as a shell hands them over. What would leave the cluster under test, wait for
ever or end the cluster is never drawn.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from shell import grammar
from shell.grammar import Argument, Command, Option, Tool

# Commands that make or end a cluster, speak to machines beside it, or wait for a person.
LEFT_OUT = frozenset(
    {
        ("gnt-cluster", "init"),
        ("gnt-cluster", "destroy"),
        ("gnt-cluster", "master-failover"),
        ("gnt-cluster", "add-witness"),
        ("gnt-node", "add"),
        ("gnt-node", "remove"),
        ("gnt-instance", "console"),
        ("gnt-log", "accept-loss"),
    }
)
# Options that follow the log for ever, write or read files, or are of another cluster.
LEFT_OUT_OPTIONS = frozenset({"follow", "output_file", "dir", "tags_source", "yes_do_it"})
SURE = frozenset({"force", "force_multi"})  # what is asked before it is done has nobody to ask

INSTANCES = tuple(f"web{number}.example.net" for number in range(1, 6))
NODES = ("node1", "node2", "node3")
GROUPS = ("default", "west")
TAGS = ("prod", "rack:3", "a+b", "no space")
STRANGE = (
    "", " ", "-", "--", "=", ",", ":", "/", "\\", "\x00", "\x1b[31m", "a\nb", "é", "\udcff", "𝔘",
    "x" * 5000, "9" * 30, "9" * 5000, "-1", "1e9", "nan", "None", "*", "(", "'", '"', "%s", "{}",
    "../..",
)  # fmt: skip
SIZES = ("1G", "512", "128m", "1.5g", "0", "-3", "1X", "1T", "99999999T", "1,5G")
NUMBERS = ("0", "1", "2", "7", "100", "-1", "1.5", "9" * 30)
MOMENTS = ("1", "20", "99999", "-1m", "0", "10:42", "2030-01-01", "-99999w", "now")
KEYS = (
    "memory", "maxmem", "minmem", "vcpus", "size", "mode", "name", "mac", "ip", "link", "vlan",
    "migration_mode", "acpi", "spindle_count", "resync-rate", "auto_balance", "sizes", "vg",
)  # fmt: skip
FIELDS = (
    "name", "status", "pnode", "snodes", "disk.sizes", "be/memory", "tags", "id", "ops", "oplog",
    "opresult", "mfree", "ndparams", "ctime", "beparams", "nic.macs", "hv/acpi", "nope",
    "disk.size/7", "opsteps", "oplocks", "role", "node_list", "received_ts",
)  # fmt: skip
FILTERS = (
    'name == "node1"', "be/memory > 100", 'status != "running" and not tags', "(", '"x" in tags',
    "id < 5 or id > 100", "name =~ m/^w/", "name =* ", "nope == 1", "ctime > 5",
)  # fmt: skip
ANY = (
    *TAGS, *FILTERS, *FIELDS[:4], *SIZES[:3], *INSTANCES, *NODES,
    "0", "1", "20", "cluster", "job/5", "instance", "node", "memory", "admin_state",
)  # fmt: skip
BY_COMPLETION: dict[str, Sequence[str]] = {
    "OPT_COMPL_ONE_NODE": NODES,
    "OPT_COMPL_INST_ADD_NODES": (*NODES, "node1:node2", "node3:node1", "node1:node1"),
    "OPT_COMPL_ONE_NODEGROUP": GROUPS,
    "OPT_COMPL_ONE_OS": ("debian", "redhat", "debian+minimal"),
    "OPT_COMPL_ONE_IALLOCATOR": ("hail", ".", "nope"),
}
BY_DEST: dict[str, Sequence[str]] = {
    "separator": (":", "|", "", "\t"),
    "disks": ("0", "1", "0,1", "x"),
    "default_iallocator": ("hail",),  # another one would let every later creation fail
    "enabled_disk_templates": ("drbd,plain,diskless,file", "drbd,plain,diskless"),
    "enabled_hypervisors": ("fake", "fake,kvm"),
    "file_storage_dir": ("/srv/files", "files"),
}
INDICES = ("0", "0", "1", "x")
BY_COMMAND: dict[str, Sequence[Sequence[Sequence[str]]]] = {  # what its arguments may be, in order
    "grow-disk": [(INSTANCES, INDICES, SIZES[:5])],
    "why": [
        (("instance",), INSTANCES, ("memory", "admin_state", "tags", "disks", "nope")),
        (("node",), NODES, ("drained", "spindle_count", "name")),
        (("cluster",), ("beparams", "name", "nope")),
    ],
    "show": [(("1", "20", "cluster", "job/3", "log"),)],
}


@dataclass(frozen=True, slots=True)
class Line:
    """A program and what was typed after its name."""

    tool: str
    typed: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.tool, *(f"{word[:80]!a}" for word in self.typed)))


class Typist:
    """Draws lines. The same seed types the same lines, for the same grammar."""

    def __init__(self, seed: int, *, strange: float = 0.04) -> None:
        self._random = random.Random(seed)
        self._strange = strange
        self._tools = [grammar.load(name) for name in grammar.TOOLS]
        self._drawn = 0

    def line(self) -> Line:
        """Return the next line."""
        self._drawn += 1
        if self._chance(0.1):
            return self._creation()
        tool = self._random.choice(self._tools)
        names = [name for name in sorted(tool.commands) if (tool.tool, name) not in LEFT_OUT]
        return Line(tool.tool, tuple(self._words(tool, self._random.choice(names))))

    def _creation(self) -> Line:
        """An instance, mostly a possible one: the other commands need something to work on."""
        template = self._random.choice(("plain", "drbd", "diskless", "plain", "drbd", "file"))
        words = ["add", "-t", template, "-o", self._random.choice(("debian", "redhat"))]
        if template != "diskless":
            words += ["-s", self._random.choice(("1G", "2G", "1.5g"))]
        if self._chance(0.4):
            pair = self._random.sample(NODES, 2)
            words += ["-n", ":".join(pair) if template == "drbd" else pair[0]]
        tool = grammar.load("gnt-instance")
        if self._chance(0.2):
            words += self._options(tool, tool.commands["add"])
        return Line("gnt-instance", (*words, self._random.choice(INSTANCES)))

    def _words(self, tool: Tool, name: str) -> list[str]:
        command = tool.commands[name]
        if name == "at":
            return self._at_a_moment()
        words = [self._random.choice((name, *command.aliases))]
        if self._chance(0.01):
            return [self._random.choice(STRANGE), *words]
        arguments = self._arguments_of(name, command)
        options = self._options(tool, command)
        return (
            [*words, *options, *arguments] if self._chance(0.7) else [*words, *arguments, *options]
        )

    def _at_a_moment(self) -> list[str]:
        """`gnt-log at`, before a command that reads more often than not."""
        tool = self._random.choice(("gnt-instance", "gnt-node", "gnt-group", "gnt-job"))
        inner = ("list",) if self._chance(0.5) else self.line().typed
        return ["at", self._one_of(MOMENTS), tool, *inner]

    def _options(self, tool: Tool, command: Command) -> list[str]:
        known = [each for each in tool.options_of(command) if each.dest not in LEFT_OUT_OPTIONS]
        few = min(len(known), self._random.choice((0, 0, 0, 1, 1, 2, 3, 5)))
        words = [word for each in self._random.sample(known, few) for word in self._option(each)]
        sure = [each.longest for each in known if each.dest in SURE]
        return [*words, *sure] if self._chance(0.8) else words

    def _option(self, option: Option) -> list[str]:
        name = self._random.choice(option.names)
        if option.is_flag:
            return [name]
        value = self._one_of(self._values(option))
        joined = name.startswith("--") and self._chance(0.3)
        return [f"{name}={value}"] if joined else [name, value]

    def _values(self, option: Option) -> Sequence[str]:
        if option.choices:
            return (*option.choices, *option.choices, "nope")
        if option.dest == "output":
            return (",".join(self._random.sample(FIELDS, 3)), "+tags", "+")
        ident = self._one_of(("0", "1", "add", "-1", "drbd", "fake"))
        by_type: dict[str, Sequence[str]] = {
            "keyval": (self._pairs(),),
            "keyprivateval": (self._pairs(),),
            "identkeyval": (f"{ident}:{self._pairs()}", "add", "0:remove", "no_0"),
            "multilistidentkeyval": (f"min:{self._pairs()}/max:{self._pairs()}",),
            "bool": ("yes", "no", "yes", "perhaps"),
            "int": NUMBERS,
            "float": NUMBERS,
            "maybefloat": (*NUMBERS, "default"),
            "unit": SIZES,
            "moment": MOMENTS,
        }
        return (
            BY_COMPLETION.get(option.completes)
            or BY_DEST.get(option.dest)
            or by_type.get(option.type, ("word", "200", "10.0.0.1", "aa:00:01"))
        )

    def _pairs(self) -> str:
        keys = self._random.sample(KEYS, self._random.choice((1, 1, 2, 3)))
        values = (*SIZES, *NUMBERS[:5], "yes", "no", "default", "none", "auto", "live", "br0")
        return ",".join(
            self._one_of((f"{key}={self._one_of(values)}",) * 8 + (key, f"no_{key}", f"-{key}"))
            for key in keys
        )

    def _arguments_of(self, name: str, command: Command) -> list[str]:
        if name in BY_COMMAND:
            return [self._one_of(words) for words in self._random.choice(BY_COMMAND[name])]
        return [word for argument in command.args for word in self._arguments(argument)]

    def _arguments(self, argument: Argument) -> list[str]:
        most = min(argument.max if argument.max is not None else argument.min + 2, argument.min + 2)
        count = self._random.randint(argument.min, most)
        if self._chance(0.02):
            count = self._random.randint(0, 3)
        return [self._one_of(self._candidates(argument)) for _ in range(count)]

    def _candidates(self, argument: Argument) -> Sequence[str]:
        if argument.choices:
            return argument.choices
        by_kind: dict[str, Sequence[str]] = {
            "ArgInstance": INSTANCES,
            "ArgNode": NODES,
            "ArgHost": NODES,
            "ArgGroup": GROUPS,
            "ArgJobId": (*self._recent_jobs(), "9999999", "x"),
            "ArgFile": ("/nonexistent", "/dev/null"),
        }
        return by_kind.get(argument.kind, ANY)

    def _recent_jobs(self) -> list[str]:
        """Ids of about the last jobs that so many lines have brought."""
        last = 1 + self._drawn // 3
        return [str(self._random.randint(max(1, last - 20), last)) for _ in range(8)]

    def _one_of(self, words: Sequence[str]) -> str:
        return self._random.choice(STRANGE if self._chance(self._strange) else words)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share
