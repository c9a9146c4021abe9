"""Label selectors mean here what they mean to the API server."""

import pytest

from hubfleet.kube.selectors import matcher

LABELS = {"app": "x", "example.org/tier": "back", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=x", True),
        ("app==x", True),
        ("app = x , example.org/tier=back", True),
        ("app=y", False),
        ("app!=y", True),
        ("app!=x", False),
        ("other!=x", True),
        ("app", True),
        ("other", False),
        ("!other", True),
        ("! app", False),
        ("app in (x, y)", True),
        ("app in (y,z)", False),
        ("app notin (y)", True),
        ("app notin (x)", False),
        ("other notin (x)", True),
        ("other in (x)", False),
        ("empty=", True),
        ("app=", False),
        ("app in (x),!other,empty", True),
        ("app=x,app!=x", False),
    ],
)
def test_what_matches(selector: str, expected: bool) -> None:
    assert matcher(selector)(LABELS) is expected


@pytest.mark.parametrize(
    "selector", ["=x", "app=x,", ",", "app=(x)", "app in x", "app in (x", "a b", "app>1"]
)
def test_what_is_no_selector(selector: str) -> None:
    with pytest.raises(ValueError, match="not a label selector"):
        matcher(selector)
