"""Label selectors, matched on our side: a copy that holds a part of the objects must know which part."""

import re
from collections.abc import Callable, Mapping

Matcher = Callable[[Mapping[str, str]], bool]

_REQUIREMENT = re.compile(
    r"""\s*(?:
        !\s*(?P<absent>[\w./-]+)
      | (?P<key>[\w./-]+)\s*(?:
            (?P<op>==|=|!=)\s*(?P<value>[\w.-]*)
          | \s(?P<set>in|notin)\s*\((?P<values>[\w.,\s-]*)\)
        )?
    )\s*(?:,(?=\s*\S)|$)""",
    re.VERBOSE,
)


def matcher(selector: str) -> Matcher:
    """Whether labels match a selector in the API's string form; "" matches all. Raises ValueError."""
    tests: list[Matcher] = []
    at = 0
    while at < len(selector.rstrip()):
        found = _REQUIREMENT.match(selector, at)
        if found is None:
            raise ValueError(f"not a label selector: {selector!r}")
        tests.append(_test(found))
        at = found.end()
    return lambda labels: all(test(labels) for test in tests)


def _test(found: re.Match[str]) -> Matcher:
    if absent := found["absent"]:
        return lambda labels: absent not in labels
    key, op, group = found["key"], found["op"], found["set"]
    if op is None and group is None:
        return lambda labels: key in labels
    values = {found["value"]} if op else {value.strip() for value in found["values"].split(",")}
    if op == "!=" or group == "notin":
        return lambda labels: labels.get(key) not in values
    return lambda labels: labels.get(key) in values
