"""A table of nftables as values, and as the text that `nft` reads. Pure.

The rules (`Table`) are apart from the sets that pods come and go in (`Contents`), so that a change of pods is
a few elements added and deleted, however many rules there are.
"""

from collections.abc import Iterable, Mapping
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
    return GONE + _block(table.sets, table.chains, contents)


def change(before: tuple[Table, Contents], after: tuple[Table, Contents]) -> str:
    """The text that makes one table of another, in one step; "" where nothing changes.

    A set or chain of the same name has to be the same in both, apart from a set's elements.
    """
    (old, had), (new, has) = before, after
    kept = [name for name in new.sets if name in old.sets]
    known = {chain.name for chain in old.chains}
    chains = [chain for chain in new.chains if chain.name not in known]
    sets = {name: type_ for name, type_ in new.sets.items() if name not in old.sets}
    names = {chain.name for chain in new.chains}
    gone = [chain.name for chain in old.chains if chain.name not in names]
    lines = [_changed("delete", name, had.get(name) or {}, has.get(name) or {}) for name in kept]
    if sets or chains:
        lines.append(_block(sets, chains, has))
    lines += [_changed("add", name, has.get(name) or {}, had.get(name) or {}) for name in kept]
    # chains that refer to each other are emptied before any of them goes, and sets go last
    lines += [f"flush chain {_FAMILY} {NAME} {name}\n" for name in gone]
    lines += [f"delete chain {_FAMILY} {NAME} {name}\n" for name in gone]
    lines += [f"delete set {_FAMILY} {NAME} {name}\n" for name in old.sets if name not in new.sets]
    return "".join(lines)


def _changed(verb: str, name: str, elements: Mapping[str, str], others: Mapping[str, str]) -> str:
    """Add or delete the elements that are not the same among the others."""
    changed = {element: value for element, value in elements.items() if others.get(element) != value}
    return f"{verb} element {_FAMILY} {NAME} {name} {_elements(changed)}\n" if changed else ""


def _block(sets: Mapping[str, str], chains: Iterable[Chain], contents: Contents) -> str:
    lines = [f"table {_FAMILY} {NAME} {{"]
    for name, type_ in sets.items():
        word = "map" if "verdict" in type_ else "set"
        elements = _elements(contents.get(name) or {})
        lines.append(f"\t{word} {name} {{ type {type_};{f' elements = {elements}' if elements else ''} }}")
    for chain in chains:
        lines.append(f"\tchain {chain.name} {{")
        if chain.hook:
            lines.append(f"\t\ttype filter hook {chain.hook}; policy accept;")
        if chain.comment:
            lines.append(f'\t\tcomment "{chain.comment}"')
        lines += [f"\t\t{_rule(rule)}" for rule in chain.rules]
        lines.append("\t}")
    return "\n".join([*lines, "}", ""])


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
