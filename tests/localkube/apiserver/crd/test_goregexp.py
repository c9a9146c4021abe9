import re

import pytest

from localkube.apiserver.crd import goregexp


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^a$", "a", "a\n"),
        (r"^a\z", "a", "a\n"),
        (r"^\$[$]$", "$$", "$"),
        (r"^\d\w$", "1a", "\u0661a"),
        ("^[[:alpha:]_]+$", "a_", "1"),
        ("^[]a]+$", "]a", "b"),
        ("^[^]a]$", "b", "]"),
        ("^[a[]+$", "a[", "b"),
        ("^(?<n>a)(?P<m>b)$", "ab", "a"),
        ("(?i)^ab$", "AB", "ac"),
    ],
)
def test_it_means_what_go_means(pattern: str, good: str, bad: str) -> None:
    compiled = goregexp.compile(pattern)
    assert compiled is not None
    assert compiled.search(good)
    assert not compiled.search(bad)


@pytest.mark.parametrize("pattern", ["[", "(", "*", "a{2,1}"])
def test_what_is_none(pattern: str) -> None:
    with pytest.raises(re.error):
        goregexp.compile(pattern)


def test_unicode_classes_are_beyond_it() -> None:
    assert goregexp.compile(r"^\p{L}+$") is None
    assert goregexp.compile(r"^\\p$") is not None
