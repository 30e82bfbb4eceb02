"""Command lines: every option of every program, parsed as GNU getopt_long (and so Ganeti) does.

Options and arguments mix freely; long options may be cut short to a unique prefix; `-p`, `-C` and
their like take a value only if it is attached. A line that cannot be parsed ends the program with
status 2 and its usage; a value that cannot be used, with status 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from tools.htools.choices import BadValue, Choices
from tools.htools.option_table import ARGUMENTS, BEYOND, GENERIC, Option, options_of

#: The release whose command lines and output these programs keep; scripts look for it.
VERSION: Final = "(ganeti) version v3.1.1"


def usage(program: str, *, beyond: bool = True) -> str:
    """What `--help` prints, with or without the options beyond Ganeti's.

    A line that cannot be read is answered without them, byte for byte as Ganeti does.
    """
    options = [one for one in options_of(program) if beyond or one.name not in BEYOND]
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
        raise Stop(
            status=2, error=f"Command line error: {problems}\n{usage(program, beyond=False)}"
        )
    choices = Choices(arguments=parser.arguments)
    asked = {option.name for option, _ in parser.found}
    try:
        for option, value in parser.found:
            if option not in GENERIC:
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
