from hypothesis import given
from hypothesis import strategies as st

from localkube.controllers import indexes


@given(st.sets(st.integers(0, 50)))
def test_text_is_read_back(found: set[int]) -> None:
    assert indexes.parse(indexes.text(found), 51) == found


def test_text() -> None:
    assert indexes.text([7, 1, 0, 3, 4, 5]) == "0,1,3-5,7"


def test_parse_leaves_out_what_is_beyond_completions_or_unreadable() -> None:
    assert indexes.parse("0,2-9,x,3-y", 4) == {0, 2, 3}
