"""Answers are values: what bytes mean, decided without a connection."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.kube import errors
from hubfleet.kube.response import Lines, Page, decode, decode_event, interpret, retry_after


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.BadRequest),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Gone),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.ApiError),
        (503, "ServiceUnavailable", errors.ServiceUnavailable),
    ],
)
def test_each_refusal_has_its_class(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    body = msgspec.json.encode({"kind": "Status", "code": code, "reason": reason, "message": "words"})
    with pytest.raises(errors.ApiError, match=r"^words$") as caught:
        interpret("c", code, {}, body)
    assert type(caught.value) is kind and (caught.value.code, caught.value.reason) == (code, reason)


@given(st.binary(max_size=400), st.integers(300, 599))
def test_any_refusal_is_an_error_with_words(body: bytes, code: int) -> None:
    with pytest.raises(errors.ApiError) as caught:
        interpret("c", code, {}, body)
    assert caught.value.code == code and str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_status_is_an_error_with_words(junk: Any) -> None:
    status = {"kind": "Status", "code": junk, "reason": junk, "message": junk, "details": junk}
    made = errors.from_status("c", status)
    assert str(made) and isinstance(made.causes, list)


def test_the_servers_wish_to_wait() -> None:
    body = {"kind": "Status", "code": 429, "message": "busy", "details": {"retryAfterSeconds": 3}}
    assert errors.from_status("c", body).retry_after == 3
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}) is None
    assert retry_after({}) is None


def test_a_page_keeps_its_objects_encoded() -> None:
    body = b'{"kind":"PodList","metadata":{"resourceVersion":"5","continue":"t"},"items":[{"a":1},{"b":2}]}'
    page = decode("c", body, Page[msgspec.Raw])
    assert [bytes(item) for item in page.items] == [b'{"a":1}', b'{"b":2}']
    assert (page.metadata.resource_version, page.metadata.continue_) == ("5", "t")


def test_an_error_event_is_raised() -> None:
    line = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}'
    with pytest.raises(errors.Gone, match="too old"):
        decode_event("c", line)


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b and b)), st.data())
def test_lines_do_not_depend_on_how_they_were_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    splitter, got = Lines(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert got == lines
