"""Go's regular expressions (RE2), as Python's: what patterns of schemas are written in."""

import re
from functools import lru_cache

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_NAMED = re.compile(r"\[:(\w+):\]")


@lru_cache(maxsize=1024)
def compile(text: str) -> "re.Pattern[str] | None":
    """The expression; None for one that asks for Unicode classes (`\\p{L}`), which Python does not know.

    Raises re.error for what is no expression.
    """
    if re.search(r"(?<!\\)(\\\\)*\\[pP]", text):
        return None
    return re.compile(_translated(text), re.ASCII)


def _translated(text: str) -> str:
    """Where the two mean different things: `$` and `\\z` (only the very end), POSIX classes, group names."""
    out: list[str] = []
    in_class = False
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            pair = text[at : at + 2]
            out.append(r"\Z" if pair == r"\z" and not in_class else pair)
            at += 2
            continue
        named = _NAMED.match(text, at) if in_class else None
        if named is not None and named[1] in _POSIX:
            out.append(_POSIX[named[1]])
            at = named.end()
            continue
        if in_class:
            # a bracket that opens nothing, which Python warns of
            out.append("\\[" if char == "[" else char)
            in_class = char != "]"
        elif char == "[":
            first = re.match(r"\[\^?\]?", text[at:])
            assert first is not None, "it begins with a bracket"
            out.append(first[0].replace("]", "\\]"))
            at += len(first[0])
            in_class = True
            continue
        elif text.startswith("(?<", at) and text[at + 3 : at + 4] not in ("=", "!"):
            out.append("(?P<")
            at += 3
            continue
        else:
            out.append(r"\Z" if char == "$" else char)
        at += 1
    return "".join(out)
