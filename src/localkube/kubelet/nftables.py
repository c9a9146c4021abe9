"""A table of nftables as values, and as the text that `nft` reads. Pure.

The rules (`Table`) are apart from the sets that pods come and go in (`Contents`), so that a change of pods is
a few elements added and deleted, however many rules there are.
"""

from collections.abc import Mapping
from typing import NamedTuple

NAME = "networkpolicy"
_FAMILY = "ip"

Contents = Mapping[str, Mapping[str, str]]
"""The elements of each set; those of a verdict map have the verdict as their value, others ""."""


class Match(NamedTuple):
    """`field` is what nft calls it (`ip saddr`); `values` are literals, or one name of a set with its `@`."""

    field: str
    values: tuple[str, ...]
    equal: bool = True


class Rule(NamedTuple):
    """All matches have to hold. The verdict may be `vmap @MAP`, of the last match's field."""

    matches: tuple[Match, ...]
    verdict: str


class Chain(NamedTuple):
    """`hook` makes it a base chain: where it hangs and at which priority."""

    name: str
    rules: tuple[Rule, ...]
    hook: str = ""
    comment: str = ""


class Table(NamedTuple):
    """`sets` are the types of the named sets; one with a verdict in it is a map."""

    sets: Mapping[str, str]
    chains: tuple[Chain, ...]


GONE = f"table {_FAMILY} {NAME}\ndelete table {_FAMILY} {NAME}\n"
"""Takes the table away, whether it is there or not."""


def render(table: Table, contents: Contents) -> str:
    """The text that puts this table in the place of an earlier one, in one step."""
    lines = [GONE + f"table {_FAMILY} {NAME} {{"]
    for name, type_ in table.sets.items():
        word = "map" if "verdict" in type_ else "set"
        elements = _elements(contents.get(name) or {})
        lines.append(f"\t{word} {name} {{ type {type_};{f' elements = {elements}' if elements else ''} }}")
    # a chain has to be there before another jumps to it
    for chain in sorted(table.chains, key=lambda chain: bool(chain.hook)):
        lines.append(f"\tchain {chain.name} {{")
        if chain.hook:
            lines.append(f"\t\ttype filter hook {chain.hook}; policy accept;")
        if chain.comment:
            lines.append(f'\t\tcomment "{chain.comment}"')
        lines += [f"\t\t{_rule(rule)}" for rule in chain.rules]
        lines.append("\t}")
    return "\n".join([*lines, "}", ""])


def difference(before: Contents, after: Contents) -> str:
    """The text that makes `after` of `before`, both of the same table; "" where they are equal."""
    lines = []
    for verb in ("delete", "add"):
        for name in after:
            old, new = before.get(name) or {}, after[name]
            this, other = (old, new) if verb == "delete" else (new, old)
            changed = {element: value for element, value in this.items() if other.get(element) != value}
            if changed:
                lines.append(f"{verb} element {_FAMILY} {NAME} {name} {_elements(changed)}\n")
    return "".join(lines)


def _elements(elements: Mapping[str, str]) -> str:
    shown = [f"{element} : {value}" if value else element for element, value in sorted(elements.items())]
    return f"{{ {', '.join(shown)} }}" if shown else ""


def _rule(rule: Rule) -> str:
    return " ".join([*map(_match, rule.matches), rule.verdict])


def _match(match: Match) -> str:
    if not match.values:
        return match.field
    values = match.values[0] if len(match.values) == 1 else f"{{ {', '.join(match.values)} }}"
    return f"{match.field} {'' if match.equal else '!= '}{values}"
