"""The filter language as people write it, to nested lists (pure). Source: man ganeti(7).

    pnode == "node1" and (tags =~ m/^web/ or not oper_state)
    "prod" in tags          name =* "web*"          be/memory >= 1024

Operators: == != < <= > >=, =~ !~ (regular expression), =* !* (shell pattern), in, not in; `and`,
`or`, `not`, brackets; a field alone asks whether it is true. A regular expression stands between
slashes or other equal signs, `m` before it, and may end in i (any case) or s.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from shell.failure import BadUsage
from shell.values import number

Filter = list[object]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<regex>m(?P<sign>[/#@!|,])(?:\\.|(?!(?P=sign)).)*(?P=sign)[is]*
                 |/(?:\\.|[^/])*/[is]*)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<number>[0-9]+(?:\.[0-9]+)?(?![\w./-]))
      | (?P<operator>==|!=|<=|>=|=~|!~|=\*|!\*|<|>|=|\(|\))
      | (?P<word>[A-Za-z_][\w./-]*)
    )""",
    re.VERBOSE,
)
_COMPARE = ("==", "=", "!=", "<", "<=", ">", ">=")
_GLOB = re.compile(r"[*?]")
_FILTER = re.compile(r"[\s()\"'|&=<>!~]")


class _Token(NamedTuple):
    kind: str
    text: str


def is_pattern(name: str) -> bool:
    """Say whether a word stands for several names: `web*`."""
    return _GLOB.search(name) is not None


def looks_like_filter(word: str) -> bool:
    """Say whether a single word is more likely a filter than a name."""
    return _FILTER.search(word) is not None


def name_filter(field: str, name: str) -> Filter:
    """Return the filter for a name or a pattern. A pattern fits a whole name or its first part."""
    if is_pattern(name):
        return ["=~", field, glob_expression(name)]
    return ["==", field, name]


def glob_expression(pattern: str) -> str:
    """Return a shell pattern as a regular expression for names; the domain may be left out."""
    body = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern)
    return f"^{body}(\\..*)?$"


def parse(text: str) -> Filter:
    """Return the filter. Raises BadUsage with the place that was not understood."""
    parser = _Parser(text)
    found = parser.either()
    parser.end()
    return found


class _Parser:
    """Recursive descent: or, and, not, one test."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def either(self) -> Filter:
        parts = [self.both()]
        while self.take("word", "or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else ["|", *parts]

    def both(self) -> Filter:
        parts = [self.single()]
        while self.take("word", "and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else ["&", *parts]

    def single(self) -> Filter:
        self.depth += 1
        if self.depth > 50:
            raise self.wrong("nested too deeply")
        try:
            if self.take("word", "not"):
                return ["!", self.single()]
            if self.take("operator", "("):
                found = self.either()
                if not self.take("operator", ")"):
                    raise self.wrong("a bracket is not closed")
                return found
            return self.test()
        finally:
            self.depth -= 1

    def test(self) -> Filter:
        token = self.next()
        if token.kind in ("string", "number"):
            return self.containment(token)
        if token.kind != "word":
            raise self.wrong("a field is expected")
        for operator in _COMPARE:
            if self.take("operator", operator):
                return ["==" if operator == "=" else operator, token.text, self.value()]
        for operator, negated in (("=~", False), ("!~", True)):
            if self.take("operator", operator):
                return _negate(["=~", token.text, self.expression()], negated)
        for operator, negated in (("=*", False), ("!*", True)):
            if self.take("operator", operator):
                pattern = glob_expression(str(self.value()))
                return _negate(["=~", token.text, pattern], negated)
        return ["?", token.text]

    def containment(self, token: _Token) -> Filter:
        negated = self.take("word", "not")
        if not self.take("word", "in"):
            raise self.wrong("after a value, `in` or `not in` is expected")
        field = self.next()
        if field.kind != "word":
            raise self.wrong("a field is expected after `in`")
        return _negate(["=[]", field.text, _value(token)], negated)

    def value(self) -> object:
        token = self.next()
        if token.kind not in ("string", "number"):
            raise self.wrong("a value is expected: a number, or text in quotes")
        return _value(token)

    def expression(self) -> str:
        token = self.next()
        if token.kind == "string":
            return str(_value(token))
        if token.kind != "regex":
            raise self.wrong("a regular expression is expected: m/.../")
        body = token.text.removeprefix("m")
        sign = body[0]
        pattern, _, flags = body[1:].rpartition(sign)
        unique = "".join(sorted(set(flags)))
        return f"(?{unique}:{pattern})" if unique else pattern

    def take(self, kind: str, text: str) -> bool:
        match = _TOKEN.match(self.text, self.at)
        if match is None or match.group(kind) != text:
            return False
        self.at = match.end()
        return True

    def next(self) -> _Token:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            raise self.wrong("something is missing" if self.is_over() else "not understood")
        self.at = match.end()
        kind = match.lastgroup if match.lastgroup != "sign" else "regex"
        return _Token(str(kind), match.group(str(kind)))

    def is_over(self) -> bool:
        return not self.text[self.at :].strip()

    def end(self) -> None:
        if not self.is_over():
            raise self.wrong("not understood")

    def wrong(self, what: str) -> BadUsage:
        shown = f"{self.text[: self.at]}⟨here⟩{self.text[self.at :]}"
        return BadUsage(
            f"filter: {what}: {shown}", hint='such as: status == "running" and not tags'
        )


def _value(token: _Token) -> object:
    if token.kind == "number":
        return float(token.text) if "." in token.text else number(token.text, "filter")
    return re.sub(r"\\(.)", r"\1", token.text[1:-1])


def _negate(found: Filter, negated: bool) -> Filter:
    return ["!", found] if negated else found
