"""Command lines: every option of every program, parsed as GNU getopt_long (and so Ganeti) does.

Options and arguments mix freely; long options may be cut short to a unique prefix; `-p`, `-C` and
their like take a value only if it is attached. A line that cannot be parsed ends the program with
status 2 and its usage; a value that cannot be used, with status 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from commands.placement.model import LARGEST, TEMPLATES

#: The release whose command lines and output these programs keep; scripts look for it.
VERSION: Final = "(ganeti) version v3.1.1"
DEFAULT_SOCKET: Final = "/var/run/ganeti/socket/ganeti-query"
PRIORITIES: Final = ("low", "normal", "high")


@dataclass(slots=True)
class Choices:
    """What a command line says, with Ganeti's defaults."""

    data_file: str | None = None
    master: str = ""
    luxi: str | None = None
    allocator_file: str | None = None
    simulations: list[str] = field(default_factory=list)
    dynamic_file: str | None = None
    ignore_dynamic: bool = False
    mond: bool = False
    mond_file: str | None = None
    mond_xen: bool = False
    mond_exit_missing: bool = False
    static_kvm_memory: int = 4096
    group: str | None = None
    offline: list[str] = field(default_factory=list)
    show_nodes: list[str] | None = None
    show_instances: bool = False
    commands: str | None = None
    save: str | None = None
    verbose: int = 1
    execute: bool = False
    first_job_group: bool = False
    priority: str | None = None
    reason: str | None = None
    max_length: int = -1
    min_score: float = 1e-9
    min_gain: float = 0.01
    min_gain_limit: float = 0.1
    max_cpu: float | None = None
    min_disk: float = 0.0
    disk_moves: bool = True
    instance_moves: bool = True
    evacuation: bool = False
    restricted_migration: bool = False
    selected: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    exclusion_tags: list[str] = field(default_factory=list)
    ignore_soft_errors: bool = False
    capacity_checks: bool = True
    restrict_to: list[str] | None = None
    disk_template: str | None = None
    spindle_use: int | None = None
    standard_spec: tuple[int, int, int, int] | None = None  # disk, memory, cpus, spindles
    tiered_spec: tuple[int, int, int, int] | None = None
    independent_groups: bool = False
    accept_existing: bool = False
    machine_readable: bool = False
    simulate_balance: bool = True
    node_tags: list[str] | None = None
    offline_maintenance: bool = False
    print_moves: bool = False
    full_evacuation: bool = False
    skip_non_redundant: bool = False
    ignore_non_redundant: bool = False
    one_step_only: bool = False
    force: bool = False
    no_headers: bool = False
    minimal_resources: float = 2.0
    target_resources: float = 2.0
    output_dir: str = "."
    algorithm: str = "auto"
    effort_s: float = 0.0
    schedule: bool = False
    explain: str | None = None
    plot: str | None = None
    advice: bool = False
    arguments: list[str] = field(default_factory=list)


class BadValue(Exception):
    """A value of an option that cannot be used."""


Apply = Callable[[Choices, str | None], None]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its letters, name, the name of its value, help, completion and effect."""

    letter: str
    name: str
    value: str  # empty: takes none; in brackets: may be attached
    help: str
    completion: str
    apply: Apply

    @property
    def optional(self) -> bool:
        return self.value.startswith("[")

    @property
    def value_name(self) -> str:
        return self.value.strip("[]")

    def short_form(self) -> str:
        if not self.letter:
            return ""
        name = self.value_name
        if not self.value:
            return f"-{self.letter}"
        return f"-{self.letter}[{name}]" if self.optional else f"-{self.letter} {name}"

    def long_form(self) -> str:
        name = self.value_name
        if not self.value:
            return f"--{self.name}"
        return f"--{self.name}[={name}]" if self.optional else f"--{self.name}={name}"


# --- what options do --------------------------------------------------------------------------


def _flag(attribute: str, value: bool = True) -> Apply:
    def apply(choices: Choices, _: str | None) -> None:
        setattr(choices, attribute, value)

    return apply


def _text(attribute: str, default: str | None = None) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        setattr(choices, attribute, default if value is None else value)

    return apply


def _words(attribute: str) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        setattr(choices, attribute, value.split(",") if value else [])

    return apply


def _more(attribute: str, *, first: bool = False) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        found = getattr(choices, attribute)
        found.insert(0 if first else len(found), value)

    return apply


def _count(step: int) -> Apply:
    def apply(choices: Choices, _: str | None) -> None:
        choices.verbose += step

    return apply


def _yes_no(attribute: str) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        if value not in (None, "yes", "no"):
            raise BadValue(f"Invalid choice '{value}', pass one of 'yes' or 'no'")
        setattr(choices, attribute, value != "no")

    return apply


def _integer(attribute: str, what: str, *, least: int | None = None, low: str = "") -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        number = integer(value or "", what)
        if least is not None and number < least:
            raise BadValue(low)
        setattr(choices, attribute, number)

    return apply


def _real(attribute: str, what: str, *, above: float | None = None, low: str = "") -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        number = real(value or "", what)
        if above is not None and number <= above:
            raise BadValue(low)
        setattr(choices, attribute, number)

    return apply


def _one_of(attribute: str, values: Sequence[str], what: str) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        if value not in values:
            raise BadValue(f"Invalid {what} '{value}'")
        setattr(choices, attribute, value)

    return apply


def _fields(choices: Choices, value: str | None) -> None:
    """`-p`: nothing for the default list, `+` in front to add to it."""
    if value is None:
        choices.show_nodes = []
        return
    extra, rest = (["+"], value[1:]) if value.startswith("+") else ([], value)
    choices.show_nodes = extra + (rest.split(",") if rest else [])


def _spec(attribute: str, what: str) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        parts = (value or "").split(",")
        if len(parts) not in (3, 4):
            raise BadValue(f"Invalid {what} specification: '{value}', expected disk,ram,cpu")
        disk = parse_unit(parts[0], f"{what} specs disk")
        memory = parse_unit(parts[1], f"{what} specs memory")
        cpus = integer(parts[2], f"{what} specs cpus")
        # Spindles matter with exclusive storage only; 1 keeps those who forget them out of trouble.
        spindles = integer(parts[3], f"{what} specs spindles") if len(parts) == 4 else 1
        if min(disk, memory, cpus, spindles) < 0:
            raise BadValue(f"Invalid {what} specification: '{value}', negative value")
        setattr(choices, attribute, (disk, memory, cpus, spindles))

    return apply


def integer(text: str, what: str) -> int:
    """A whole number, or BadValue in the words of the original."""
    return int(_parsed(text, what, r" *-?\d+"))


def real(text: str, what: str) -> float:
    """A number, or BadValue in the words of the original."""
    return float(_parsed(text, what, r" *-?\d+(\.\d+)?([eE][-+]?\d+)?"))


def _parsed(text: str, what: str, pattern: str) -> str:
    found = re.match(pattern, text, re.ASCII)
    if found is None:
        raise BadValue(f"{what}: cannot parse string '{text}'")
    if text[found.end() :].strip(" "):
        rest = text[found.end() :]
        raise BadValue(f"{what}: leftover characters when parsing '{text}': '{rest}'")
    if abs(float(found.group())) > LARGEST:
        raise BadValue(f"{what}: value '{text}' is out of range")
    return found.group()


#: Factors to MiB as fractions: lower case and *iB are binary, upper case and *B decimal.
_UNITS: Final[dict[str, tuple[int, int]]] = {
    "m": (1, 1),
    "g": (1024, 1),
    "t": (1024**2, 1),
    "M": (1000**2, 1024**2),
    "G": (1000**3, 1024**2),
    "T": (1000**4, 1024**2),
}


def parse_unit(text: str, what: str) -> int:
    """A size in MiB: a whole number and perhaps a unit; raises BadValue."""
    found = re.match(r" *(-?\d+) *(.*)", text, re.DOTALL | re.ASCII)
    if found is None:
        raise BadValue(f"{what}: Can't parse string '{text}'")
    unit = found.group(2)
    upper = unit.upper()
    if unit == "":
        factor = _UNITS["m"]
    elif unit in _UNITS:
        factor = _UNITS[unit]
    elif upper in ("MIB", "GIB", "TIB"):
        factor = _UNITS[upper[0].lower()]
    elif upper in ("MB", "GB", "TB"):
        factor = _UNITS[upper[0]]
    else:
        raise BadValue(f"{what}: Unknown unit '{unit}'")
    number, divisor = int(found.group(1)) * factor[0], factor[1]
    size = number // divisor if number >= 0 else -(-number // divisor)
    if abs(size) > LARGEST:
        raise BadValue(f"{what}: value '{text}' is out of range")
    return size


# --- the options --------------------------------------------------------------------------------

_ALL: Final = {
    option.name: option
    for option in (
        Option("t", "text-data", "FILE", "the cluster data FILE", "file", _text("data_file")),
        Option(
            "",
            "no-disk-moves",
            "",
            "disallow disk moves from the list of allowed instance changes, thus allowing only"
            " the 'cheap' failover/migrate operations",
            "none",
            _flag("disk_moves", False),
        ),
        Option(
            "",
            "mond",
            "[CHOICE]",
            "pass either 'yes' or 'no' to query all monDs",
            "choices=yes,no",
            _yes_no("mond"),
        ),
        Option(
            "",
            "mond-data",
            "FILE",
            "Import data provided by MonDs from the given FILE",
            "file",
            _text("mond_file"),
        ),
        Option(
            "",
            "mond-xen",
            "",
            "also consider xen-specific collectors in MonD queries",
            "none",
            _flag("mond_xen"),
        ),
        Option(
            "",
            "exit-on-missing-mond-data",
            "",
            "abort if the data available from the monitoring daemons is incomplete",
            "none",
            _flag("mond_exit_missing"),
        ),
        Option(
            "",
            "disk-template",
            "TEMPLATE",
            "select the desired disk template",
            "choices=" + ",".join(TEMPLATES),
            _one_of("disk_template", tuple(TEMPLATES), "disk template"),
        ),
        Option(
            "",
            "spindle-use",
            "SPINDLES",
            "select how many virtual spindle instances use [default read from cluster]",
            "float",
            _integer(
                "spindle_use",
                "parsing spindle-use",
                least=0,
                low="Invalid value of the spindle-use (expected >= 0)",
            ),
        ),
        Option(
            "",
            "select-instances",
            "INSTS",
            "only select given instances for any moves",
            "manyinstances",
            _words("selected"),
        ),
        Option(
            "",
            "no-instance-moves",
            "",
            "disallow instance (primary node) moves from the list of allowed, instance changes,"
            " thus allowing only slower, but sometimes safer, drbd secondary changes",
            "none",
            _flag("instance_moves", False),
        ),
        Option(
            "U",
            "dynu-file",
            "FILE",
            "Import dynamic utilisation data from the given FILE",
            "file",
            _text("dynamic_file"),
        ),
        Option(
            "",
            "ignore-dynu",
            "",
            "Ignore any dynamic utilisation information",
            "none",
            _flag("ignore_dynamic"),
        ),
        Option(
            "",
            "ignore-soft-errors",
            "",
            "Ignore any soft restrictions in balancing",
            "none",
            _flag("ignore_soft_errors"),
        ),
        Option(
            "",
            "independent-groups",
            "",
            "Consider groups independently",
            "none",
            _flag("independent_groups"),
        ),
        Option(
            "",
            "accept-existing-errors",
            "",
            "Accept existing N+1 violations; just don't add new ones",
            "none",
            _flag("accept_existing"),
        ),
        Option(
            "E",
            "evac-mode",
            "",
            "enable evacuation mode, where the algorithm only moves instances away from offline"
            " and drained nodes",
            "none",
            _flag("evacuation"),
        ),
        Option(
            "",
            "restricted-migration",
            "",
            "disallow replace-primary moves (aka frf-moves); in evacuation mode, this will ensure"
            " that the only migrations are off the drained nodes",
            "none",
            _flag("restricted_migration"),
        ),
        Option(
            "",
            "exclude-instances",
            "INSTS",
            "exclude given instances from any moves",
            "manyinstances",
            _words("excluded"),
        ),
        Option(
            "",
            "exclusion-tags",
            "TAG,...",
            "Enable instance exclusion based on given tag prefix",
            "string",
            _words("exclusion_tags"),
        ),
        Option(
            "X",
            "exec",
            "",
            "execute the suggested moves via Luxi (only available when using it for data"
            " gathering)",
            "none",
            _flag("execute"),
        ),
        Option(
            "",
            "reason",
            "REASON",
            "The reason to pass to the submitted jobs",
            "none",
            _text("reason"),
        ),
        Option(
            "",
            "first-job-group",
            "",
            "only execute the first group of jobs",
            "none",
            _flag("first_job_group"),
        ),
        Option(
            "f",
            "force",
            "",
            "force the execution of this program, even if warnings would otherwise prevent it",
            "none",
            _flag("force"),
        ),
        Option(
            "",
            "full-evacuation",
            "",
            "fully evacuate the nodes to be rebooted",
            "none",
            _flag("full_evacuation"),
        ),
        Option(
            "G", "group", "ID", "the target node group (name or UUID)", "onegroup", _text("group")
        ),
        Option(
            "I",
            "ialloc-src",
            "FILE",
            "Specify an iallocator spec as the cluster data source",
            "file",
            _text("allocator_file"),
        ),
        Option(
            "",
            "ignore-non-redundant",
            "",
            "Pretend that there are no non-redundant instances in the cluster",
            "none",
            _flag("ignore_non_redundant"),
        ),
        Option(
            "L",
            "luxi",
            "[SOCKET]",
            "collect data via Luxi, optionally using the given SOCKET path ["
            + DEFAULT_SOCKET
            + "]",
            "file",
            _text("luxi", DEFAULT_SOCKET),
        ),
        Option(
            "",
            "machine-readable",
            "[CHOICE]",
            "enable machine readable output (pass either 'yes' or 'no' to explicitly control the"
            " flag, or without an argument defaults to yes)",
            "choices=yes,no",
            _yes_no("machine_readable"),
        ),
        Option(
            "",
            "max-cpu",
            "RATIO",
            "maximum virtual-to-physical cpu ratio for nodes (from 0 upwards)"
            " [default read from cluster]",
            "float",
            _real(
                "max_cpu",
                "parsing max-cpu",
                above=0.0,
                low="Invalid value of the max-cpu ratio, expected >0",
            ),
        ),
        Option(
            "l",
            "max-length",
            "N",
            "cap the solution at this many balancing or allocation rounds (useful for very"
            " unbalanced clusters or empty clusters)",
            "integer",
            _integer("max_length", "max solution length"),
        ),
        Option(
            "",
            "min-disk",
            "RATIO",
            "minimum free disk space for nodes (between 0 and 1) [0]",
            "float",
            _real("min_disk", "min free disk space"),
        ),
        Option(
            "g",
            "min-gain",
            "DELTA",
            "minimum gain to aim for in a balancing step before giving up",
            "float",
            _real("min_gain", "min gain"),
        ),
        Option(
            "",
            "min-gain-limit",
            "SCORE",
            "minimum cluster score for which we start checking the min-gain",
            "float",
            _real("min_gain_limit", "min gain limit"),
        ),
        Option(
            "",
            "minimal-resources",
            "FACTOR",
            "minimal resources to be present on each in multiples of the standard allocation for"
            " not onlining standby nodes",
            "float",
            _real("minimal_resources", "minimal resources"),
        ),
        Option(
            "e",
            "min-score",
            "EPSILON",
            "mininum excess to the N+1 limit to aim for",
            "float",
            _real("min_score", "min score"),
        ),
        Option("", "no-headers", "", "do not show a header line", "none", _flag("no_headers")),
        Option(
            "",
            "no-simulation",
            "",
            "do not perform rebalancing simulation",
            "none",
            _flag("simulate_balance", False),
        ),
        Option(
            "",
            "simulate",
            "SPEC",
            "simulate an empty cluster, given as 'alloc_policy,num_nodes,disk,ram,cpu'",
            "string",
            _more("simulations", first=True),
        ),
        Option(
            "",
            "node-tags",
            "TAG,...",
            "Restrict to nodes with the given tags",
            "string",
            _words("node_tags"),
        ),
        Option(
            "",
            "offline-maintenance",
            "",
            "Schedule offline maintenance, i.e., pretend that all instance are offline.",
            "none",
            _flag("offline_maintenance"),
        ),
        Option("O", "offline", "NODE", "set node as offline", "onenode", _more("offline")),
        Option(
            "",
            "restrict-allocation-to",
            "NODE,...",
            "Restrict allocations to the given set of nodes",
            "manynodes",
            _words("restrict_to"),
        ),
        Option("", "one-step-only", "", "Only do the first step", "none", _flag("one_step_only")),
        Option(
            "d",
            "output-dir",
            "PATH",
            "directory in which to write output files",
            "dir",
            _text("output_dir"),
        ),
        Option(
            "C",
            "print-commands",
            "[FILE]",
            "print the ganeti command list for reaching the solution, if an argument is passed"
            " then write the commands to a file named as such",
            "none",
            _text("commands", "-"),
        ),
        Option(
            "",
            "print-instances",
            "",
            "print the final instance map",
            "none",
            _flag("show_instances"),
        ),
        Option(
            "",
            "print-moves",
            "",
            "print the moves of the instances",
            "none",
            _flag("print_moves"),
        ),
        Option("p", "print-nodes", "[FIELDS]", "print the final node list", "none", _fields),
        Option("q", "quiet", "", "decrease the verbosity level", "none", _count(-1)),
        Option(
            "m",
            "master",
            "ADDRESS",
            "collect data via RAPI at the given ADDRESS",
            "host",
            _text("master"),
        ),
        Option(
            "S",
            "save",
            "FILE",
            "Save cluster state at the end of the processing to FILE",
            "none",
            _text("save"),
        ),
        Option(
            "",
            "skip-non-redundant",
            "",
            "Skip nodes that host a non-redundant instance",
            "none",
            _flag("skip_non_redundant"),
        ),
        Option(
            "",
            "static-kvm-node-memory",
            "N",
            "use static node memory [in MB] on KVM instead of value reported by hypervisor. Use 0"
            " to take value reported from hypervisor.",
            "integer",
            _integer("static_kvm_memory", "static node memory"),
        ),
        Option(
            "",
            "standard-alloc",
            "STDSPEC",
            "enable standard specs allocation, given as 'disk,ram,cpu'",
            "string",
            _spec("standard_spec", "standard"),
        ),
        Option(
            "",
            "target-resources",
            "FACTOR",
            "target resources to be left on each node after squeezing in multiples of the"
            " standard allocation",
            "float",
            _real("target_resources", "target resources"),
        ),
        Option(
            "",
            "tiered-alloc",
            "TSPEC",
            "enable tiered specs allocation, given as 'disk,ram,cpu'",
            "string",
            _spec("tiered_spec", "tiered"),
        ),
        Option("v", "verbose", "", "increase the verbosity level", "none", _count(1)),
        Option(
            "",
            "priority",
            "PRIO",
            "set the priority of submitted jobs",
            "choices=" + ",".join(PRIORITIES),
            _one_of("priority", PRIORITIES, "priority"),
        ),
        Option(
            "",
            "no-capacity-checks",
            "",
            "disable capacity checks (like global N+1 redundancy)",
            "none",
            _flag("capacity_checks", False),
        ),
        # Beyond Ganeti's.
        Option(
            "",
            "algorithm",
            "NAME",
            "how to search: auto, greedy (the moves of Ganeti's hbal) or search",
            "choices=auto,greedy,search",
            _one_of("algorithm", ("auto", "greedy", "search"), "algorithm"),
        ),
        Option(
            "",
            "compat",
            "",
            "make the moves of Ganeti's hbal, however long it takes",
            "none",
            lambda choices, _: setattr(choices, "algorithm", "greedy"),
        ),
        Option(
            "",
            "effort",
            "SECONDS",
            "how long to go on improving what a search found",
            "float",
            _real("effort_s", "effort"),
        ),
        Option(
            "",
            "schedule",
            "",
            "print when each move can start, and how long all of them take",
            "none",
            _flag("schedule"),
        ),
        Option(
            "",
            "explain",
            "[FILE]",
            "say why, per node: as text on stderr, or as JSON to a file",
            "none",
            _text("explain", "-"),
        ),
        Option(
            "",
            "plot",
            "[FILE]",
            "draw the load of the nodes before and after: in the terminal, or as SVG to a file",
            "none",
            _text("plot", "-"),
        ),
        Option(
            "",
            "advice",
            "",
            "say which resource ends first, and what to add",
            "none",
            _flag("advice"),
        ),
    )
}

#: The options of each program, in the order of its usage.
PROGRAMS: Final = {
    "hbal": (
        "print-nodes print-instances print-commands text-data evac-mode restricted-migration"
        " master luxi ialloc-src exec first-job-group reason group max-length verbose quiet"
        " offline static-kvm-node-memory min-score max-cpu min-disk min-gain min-gain-limit"
        " no-disk-moves select-instances no-instance-moves ignore-soft-errors dynu-file"
        " ignore-dynu mond mond-data exit-on-missing-mond-data mond-xen exclusion-tags"
        " exclude-instances save priority algorithm compat effort schedule plot"
    ),
    "hail": (
        "print-nodes save text-data simulate verbose ignore-dynu ignore-soft-errors"
        " no-capacity-checks restrict-allocation-to mond mond-xen static-kvm-node-memory explain"
    ),
    "hspace": (
        "print-nodes text-data disk-template spindle-use simulate master luxi ialloc-src verbose"
        " quiet independent-groups accept-existing-errors offline no-capacity-checks"
        " machine-readable max-cpu max-length min-disk standard-alloc tiered-alloc save"
        " static-kvm-node-memory advice plot"
    ),
    "hcheck": (
        "text-data no-disk-moves dynu-file ignore-dynu evac-mode exclude-instances"
        " exclusion-tags ialloc-src no-instance-moves luxi machine-readable max-cpu max-length"
        " min-disk min-gain min-gain-limit min-score ignore-soft-errors no-simulation offline"
        " quiet master select-instances no-capacity-checks verbose"
    ),
    "hinfo": (
        "print-nodes print-instances text-data master luxi ialloc-src verbose quiet offline"
        " ignore-dynu mond mond-data static-kvm-node-memory"
    ),
    "hroller": (
        "luxi master text-data ialloc-src offline offline-maintenance verbose quiet no-headers"
        " node-tags save group print-moves full-evacuation skip-non-redundant"
        " ignore-non-redundant force one-step-only static-kvm-node-memory"
    ),
    "hsqueeze": (
        "luxi text-data exec minimal-resources target-resources save print-commands verbose"
        " no-headers static-kvm-node-memory"
    ),
    "hscan": "print-nodes output-dir luxi verbose no-headers static-kvm-node-memory",
}

#: What each program takes besides options, for shell completion.
ARGUMENTS: Final = {"hail": "file 1 1", "hscan": "host 0 none"}

_GENERIC: Final = (
    Option("V", "version", "", "show the version of the program", "none", _flag("force")),
    Option("h", "help", "", "show help", "none", _flag("force")),
    Option("", "help-completion", "", "show completion info", "none", _flag("force")),
)


def options_of(program: str) -> tuple[Option, ...]:
    """All options of a program, in order."""
    return tuple(_ALL[name] for name in PROGRAMS[program].split()) + _GENERIC


def usage(program: str) -> str:
    """What `--help` prints."""
    options = options_of(program)
    shorts = [option.short_form() for option in options]
    longs = [option.long_form() for option in options]
    width, breadth = max(map(len, shorts)), max(map(len, longs))
    lines = [f"{program} {VERSION}", f"Usage: {program} [OPTION...]"]
    lines += [
        f"  {short:<{width}}  {long:<{breadth}}  {option.help}"
        for short, long, option in zip(shorts, longs, options, strict=True)
    ]
    return "\n".join(lines) + "\n"


def completion(program: str) -> str:
    """What `--help-completion` prints, for the shell's completion."""
    lines = []
    for option in options_of(program):
        names = [f"-{option.letter}"] if option.letter else []
        lines.append(f"{','.join([*names, f'--{option.name}'])} {option.completion}")
    if program in ARGUMENTS:
        lines.append(ARGUMENTS[program])
    return "".join(f"{line}\n" for line in lines)


class Stop(Exception):
    """The command line asks for no work: print `out` or `error`, and end with `status`."""

    def __init__(self, *, status: int, out: str = "", error: str = "") -> None:
        super().__init__(out or error)
        self.status, self.out, self.error = status, out, error


def parse(program: str, argv: Sequence[str]) -> Choices:
    """Read a command line; raises Stop for help, version, or a line that cannot be read."""
    parser = _Parser(options_of(program))
    parser.run(list(argv))
    if parser.errors:
        problems = "".join(parser.errors)
        raise Stop(status=2, error=f"Command line error: {problems}\n{usage(program)}")
    choices = Choices(arguments=parser.arguments)
    asked = {option.name for option, _ in parser.found}
    try:
        for option, value in parser.found:
            if option not in _GENERIC:
                option.apply(choices, value)
    except BadValue as problem:
        _bad_value(problem)
    if "help" in asked:
        raise Stop(status=0, out=usage(program))
    if "version" in asked:
        raise Stop(status=0, out=f"{program} {VERSION}\ncompiled for Cairn\n")
    if "help-completion" in asked:
        raise Stop(status=0, out=completion(program))
    return choices


def _bad_value(problem: BadValue) -> NoReturn:
    text = f"Error while parsing command line arguments:\n{problem}\n"
    raise Stop(status=1, error=text) from problem


class _Parser:
    """The rules of getopt_long with permutation."""

    def __init__(self, options: Sequence[Option]) -> None:
        self._options = options
        self.found: list[tuple[Option, str | None]] = []
        self.arguments: list[str] = []
        self.errors: list[str] = []
        self._unknown: list[str] = []

    def run(self, words: list[str]) -> None:
        while words:
            word = words.pop(0)
            if word == "--":
                self.arguments += words
                break
            if word.startswith("--"):
                self._long(word[2:], words)
            elif word.startswith("-") and word != "-":
                self._short(word[1:], words)
            else:
                self.arguments.append(word)
        self.errors += [f"unrecognized option `{word}'\n" for word in self._unknown]

    def _long(self, text: str, words: list[str]) -> None:
        name, attached, value = text.partition("=")
        exact = [option for option in self._options if option.name == name]
        matches = exact or [o for o in self._options if o.name.startswith(name)]
        if not matches:
            self._unknown.append(f"--{text}")
        elif len(matches) > 1:
            rows = "".join(f"  {option.long_form()}  {option.help}\n" for option in matches)
            self.errors.append(f"option `--{name}' is ambiguous; could be one of:\n{rows}")
        else:
            self._take(matches[0], f"--{name}", value if attached else None, words)

    def _short(self, text: str, words: list[str]) -> None:
        letter, rest = text[0], text[1:]
        option = next((o for o in self._options if o.letter == letter), None)
        if option is None:
            self._unknown.append(f"-{letter}")
            if rest:
                self._short(rest, words)
        elif not option.value:
            self.found.append((option, None))
            if rest:
                self._short(rest, words)
        else:
            self._take(option, f"-{letter}", rest or None, words)

    def _take(self, option: Option, given: str, value: str | None, words: list[str]) -> None:
        if not option.value and value is not None:
            self.errors.append(f"option `{given}' doesn't allow an argument\n")
            return
        if option.value and not option.optional and value is None:
            if not words:
                self.errors.append(f"option `{given}' requires an argument {option.value_name}\n")
                return
            value = words.pop(0)
        self.found.append((option, value))
