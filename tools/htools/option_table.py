"""Every option of every program: its names, its completion and what it sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from commands.placement.model import TEMPLATES
from tools.htools.choices import BadValue, Choices, integer, parse_unit, real
from tools.htools.option_help import DEFAULT_SOCKET, HELP

PRIORITIES: Final = ("low", "normal", "high")


Apply = Callable[[Choices, str | None], None]


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its letter, name, the name of its value, completion and effect."""

    letter: str
    name: str
    value: str  # empty: takes none; in brackets: may be attached
    completion: str
    apply: Apply

    @property
    def optional(self) -> bool:
        return self.value.startswith("[")

    @property
    def help(self) -> str:
        """What `--help` says of it."""
        return HELP[self.name]

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


def _positive(attribute: str, what: str) -> Apply:
    return _real(attribute, what, above=0.0, low=f"Invalid value of the {what}, expected >0")


def _path(attribute: str) -> Apply:
    """A file to write; nothing stands for the terminal."""

    def apply(choices: Choices, value: str | None) -> None:
        if value == "":
            raise BadValue(f"Invalid value of --{attribute}, expected the name of a file")
        setattr(choices, attribute, "-" if value is None else value)

    return apply


def _one_of(attribute: str, values: Sequence[str], problem: str) -> Apply:
    def apply(choices: Choices, value: str | None) -> None:
        if value not in values:
            raise BadValue(problem.format(value))
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


# --- the options --------------------------------------------------------------------------------

_ALL: Final = {
    option.name: option
    for option in (
        Option("t", "text-data", "FILE", "file", _text("data_file")),
        Option("", "no-disk-moves", "", "none", _flag("disk_moves", False)),
        Option("", "mond", "[CHOICE]", "choices=yes,no", _yes_no("mond")),
        Option("", "mond-data", "FILE", "file", _text("mond_file")),
        Option("", "mond-xen", "", "none", _flag("mond_xen")),
        Option("", "exit-on-missing-mond-data", "", "none", _flag("mond_exit_missing")),
        Option(
            "",
            "disk-template",
            "TEMPLATE",
            "choices=" + ",".join(TEMPLATES),
            _one_of(
                "disk_template",
                tuple(TEMPLATES),
                'Invalid string value for type DiskTemplate: "{}"',
            ),
        ),
        Option(
            "",
            "spindle-use",
            "SPINDLES",
            "float",
            _integer(
                "spindle_use",
                "parsing spindle-use",
                least=0,
                low="Invalid value of the spindle-use (expected >= 0)",
            ),
        ),
        Option("", "select-instances", "INSTS", "manyinstances", _words("selected")),
        Option("", "no-instance-moves", "", "none", _flag("instance_moves", False)),
        Option("U", "dynu-file", "FILE", "file", _text("dynamic_file")),
        Option("", "ignore-dynu", "", "none", _flag("ignore_dynamic")),
        Option("", "ignore-soft-errors", "", "none", _flag("ignore_soft_errors")),
        Option("", "independent-groups", "", "none", _flag("independent_groups")),
        Option("", "accept-existing-errors", "", "none", _flag("accept_existing")),
        Option("E", "evac-mode", "", "none", _flag("evacuation")),
        Option("", "restricted-migration", "", "none", _flag("restricted_migration")),
        Option("", "exclude-instances", "INSTS", "manyinstances", _words("excluded")),
        Option("", "exclusion-tags", "TAG,...", "string", _words("exclusion_tags")),
        Option("X", "exec", "", "none", _flag("execute")),
        Option("", "reason", "REASON", "none", _text("reason")),
        Option("", "first-job-group", "", "none", _flag("first_job_group")),
        Option("f", "force", "", "none", _flag("force")),
        Option("", "full-evacuation", "", "none", _flag("full_evacuation")),
        Option("G", "group", "ID", "onegroup", _text("group")),
        Option("I", "ialloc-src", "FILE", "file", _text("allocator_file")),
        Option("", "ignore-non-redundant", "", "none", _flag("ignore_non_redundant")),
        Option("L", "luxi", "[SOCKET]", "file", _text("luxi", DEFAULT_SOCKET)),
        Option("", "machine-readable", "[CHOICE]", "choices=yes,no", _yes_no("machine_readable")),
        Option(
            "",
            "max-cpu",
            "RATIO",
            "float",
            _real(
                "max_cpu",
                "parsing max-cpu",
                above=0.0,
                low="Invalid value of the max-cpu ratio, expected >0",
            ),
        ),
        Option("l", "max-length", "N", "integer", _integer("max_length", "max solution length")),
        Option("", "min-disk", "RATIO", "float", _real("min_disk", "min free disk space")),
        Option("g", "min-gain", "DELTA", "float", _real("min_gain", "min gain")),
        Option("", "min-gain-limit", "SCORE", "float", _real("min_gain_limit", "min gain limit")),
        Option(
            "",
            "minimal-resources",
            "FACTOR",
            "float",
            _real("minimal_resources", "minimal resources"),
        ),
        Option("e", "min-score", "EPSILON", "float", _real("min_score", "min score")),
        Option("", "no-headers", "", "none", _flag("no_headers")),
        Option("", "no-simulation", "", "none", _flag("simulate_balance", False)),
        Option("", "simulate", "SPEC", "string", _more("simulations", first=True)),
        Option("", "node-tags", "TAG,...", "string", _words("node_tags")),
        Option("", "offline-maintenance", "", "none", _flag("offline_maintenance")),
        Option("O", "offline", "NODE", "onenode", _more("offline")),
        Option("", "restrict-allocation-to", "NODE,...", "manynodes", _words("restrict_to")),
        Option("", "one-step-only", "", "none", _flag("one_step_only")),
        Option("d", "output-dir", "PATH", "dir", _text("output_dir")),
        Option("C", "print-commands", "[FILE]", "none", _text("commands", "-")),
        Option("", "print-instances", "", "none", _flag("show_instances")),
        Option("", "print-moves", "", "none", _flag("print_moves")),
        Option("p", "print-nodes", "[FIELDS]", "none", _fields),
        Option("q", "quiet", "", "none", _count(-1)),
        Option("m", "master", "ADDRESS", "host", _text("master")),
        Option("S", "save", "FILE", "none", _text("save")),
        Option("", "skip-non-redundant", "", "none", _flag("skip_non_redundant")),
        Option(
            "",
            "static-kvm-node-memory",
            "N",
            "integer",
            _integer("static_kvm_memory", "static node memory"),
        ),
        Option("", "standard-alloc", "STDSPEC", "string", _spec("standard_spec", "standard")),
        Option(
            "", "target-resources", "FACTOR", "float", _real("target_resources", "target resources")
        ),
        Option("", "tiered-alloc", "TSPEC", "string", _spec("tiered_spec", "tiered")),
        Option("v", "verbose", "", "none", _count(1)),
        Option(
            "",
            "priority",
            "PRIO",
            "choices=" + ",".join(PRIORITIES),
            _one_of("priority", PRIORITIES, "Unknown priority '{}'"),
        ),
        Option("", "no-capacity-checks", "", "none", _flag("capacity_checks", False)),
        # Beyond Ganeti's.
        Option(
            "",
            "algorithm",
            "NAME",
            "choices=auto,greedy,search",
            _one_of("algorithm", ("auto", "greedy", "search"), "Unknown algorithm '{}'"),
        ),
        Option(
            "", "compat", "", "none", lambda choices, _: setattr(choices, "algorithm", "greedy")
        ),
        Option("", "effort", "SECONDS", "float", _positive("effort_s", "effort")),
        Option("", "schedule", "", "none", _flag("schedule")),
        Option("", "explain", "[FILE]", "none", _path("explain")),
        Option("", "plot", "[FILE]", "none", _path("plot")),
        Option("", "advice", "", "none", _flag("advice")),
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

#: Options of all programs, which ask for no work.
GENERIC: Final = (
    Option("V", "version", "", "none", _flag("force")),
    Option("h", "help", "", "none", _flag("force")),
    Option("", "help-completion", "", "none", _flag("force")),
)


#: Options that Ganeti's programs do not have.
BEYOND: Final = frozenset(
    {"algorithm", "compat", "effort", "schedule", "explain", "plot", "advice"}
)


def options_of(program: str) -> tuple[Option, ...]:
    """All options of a program, in order."""
    return tuple(_ALL[name] for name in PROGRAMS[program].split()) + GENERIC
