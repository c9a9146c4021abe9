"""Selectors: the grammar of apimachinery, its laws, and its words for what is wrong."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver.selectors import parse, parse_fields, parse_labels
from localkube.apiserver.status import StatusError

keys = st.sampled_from(["app", "tier", "example.com/part"])
values = st.sampled_from(["", "a", "b", "10", "2"])
labels = st.dictionaries(keys, values)


def labelled(found: dict[str, str]) -> dict[str, object]:
    return {"metadata": {"name": "o", "labels": found}}


def matches(selector: str, found: dict[str, str]) -> bool:
    return parse_labels(selector).matches(labelled(found))


@given(keys, values, labels)
def test_equality_and_its_negation_divide_all_objects(key: str, value: str, found: dict[str, str]) -> None:
    assert matches(f"{key}={value}", found) is (found.get(key) == value)
    assert matches(f"{key}={value}", found) is not matches(f"{key}!={value}", found)
    assert matches(f"{key}={value}", found) is matches(f"{key}=={value}", found)


@given(keys, st.sets(values, min_size=1), labels)
def test_in_and_notin_divide_all_objects(key: str, wanted: set[str], found: dict[str, str]) -> None:
    inside = matches(f"{key} in ({','.join(sorted(wanted))}{',' if wanted == {''} else ''})", found)
    assert inside is (found.get(key) in wanted)
    assert inside is not matches(
        f"{key} notin ({','.join(sorted(wanted))}{',' if wanted == {''} else ''})", found
    )


@given(keys, labels)
def test_exists_and_its_negation_divide_all_objects(key: str, found: dict[str, str]) -> None:
    assert matches(key, found) is (key in found)
    assert matches(f"!{key}", found) is (key not in found)


@given(keys, st.integers(-20, 20), labels)
def test_comparisons_need_integers(key: str, bound: int, found: dict[str, str]) -> None:
    value = found.get(key, "")
    assert matches(f"{key}>{bound}" if bound >= 0 else f"{key} > 0", found) is (
        value.isdigit() and int(value) > max(bound, 0)
    )


@given(st.lists(st.tuples(keys, values), max_size=4), labels)
def test_a_comma_means_and(terms: list[tuple[str, str]], found: dict[str, str]) -> None:
    selector = ",".join(f"{k}={v}" for k, v in terms)
    assert matches(selector, found) is all(found.get(k) == v for k, v in terms)


@given(st.text(max_size=30))
def test_any_text_is_a_selector_or_a_bad_request(text: str) -> None:
    for read in (parse_labels, lambda t: parse_fields("pods", t)):
        with contextlib.suppress(StatusError):
            read(text)


def test_spaces_do_not_matter() -> None:
    assert matches(" app  in ( a , b ) , ! tier ", {"app": "b"})


def test_words_like_in_are_also_values() -> None:
    assert matches("app=in", {"app": "in"})
    assert matches("in in (notin)", {"in": "notin"})


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("app=not ok", "found 'ok', expected: ',' or 'end of string'"),
        (",app", "found ',', expected: !, identifier, or 'end of string'"),
        ("app,", "found '', expected: identifier after ','"),
        ("app in (a", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("app in a", "unable to parse requirement: found 'a' expected: '('"),
        ("app tier", "unable to parse requirement: found 'tier', expected: in, notin, =, ==, !=, gt, lt"),
        ("!,app", "unable to parse requirement: found ',', expected: identifier"),
        (
            "app in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, "
            "values set can't be empty",
        ),
        (
            "tier>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
            "the value must be an integer",
        ),
    ],
)
def test_what_is_wrong_with_a_label_selector(selector: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_labels(selector)
    assert caught.value.message == message
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")


@pytest.mark.parametrize("selector", ["a/b/c=1", "-x", "app=-", f"app={'x' * 64}", f"{'x' * 64}=1"])
def test_keys_and_values_have_to_be_those_of_labels(selector: str) -> None:
    with pytest.raises(StatusError, match="Invalid value"):
        parse_labels(selector)


POD = {
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"nodeName": "", "hostNetwork": True},
    "status": {"phase": "Pending"},
}


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        ("status.phase=Pending", True),
        ("status.phase==Pending,metadata.name=p", True),
        ("status.phase!=Pending", False),
        ("spec.nodeName=", True),
        ("spec.nodeName!=", False),
        ("spec.hostNetwork=true", True),
        ("status.podIP=", True),
        ("metadata.namespace=other", False),
        ("", True),
    ],
)
def test_fields_of_a_pod(selector: str, wanted: bool) -> None:
    assert parse("pods", "", selector).matches(POD) is wanted


@pytest.mark.parametrize(
    ("key", "selector", "message"),
    [
        (
            "configmaps",
            "data.k=v",
            '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("pods", "spec.priority=1", "field label not supported: spec.priority"),
        ("pods", "nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
    ],
)
def test_what_is_wrong_with_a_field_selector(key: str, selector: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_fields(key, selector)
    assert caught.value.message == message


def test_values_of_fields_may_hold_escaped_separators() -> None:
    event = {"metadata": {"name": "e"}, "reason": "a,b=c"}
    assert parse("events", "", r"reason=a\,b\=c").matches(event)
