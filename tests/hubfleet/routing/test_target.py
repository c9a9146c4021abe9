"""What the URL of a target is to a cluster."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.routing.target import Target, parse


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://hub:8081", Target("http", "hub", 8081, "service", "jhub")),
        ("http://hub:8081/", Target("http", "hub", 8081, "service", "jhub")),
        ("http://proxy.other.svc:80", Target("http", "proxy", 80, "service", "other")),
        ("http://proxy.other.svc.cluster.local", Target("http", "proxy", 80, "service", "other")),
        ("https://proxy.other.svc", Target("https", "proxy", 443, "service", "other")),
        ("http://10.1.2.3:8888", Target("http", "10.1.2.3", 8888, "address")),
        ("http://[fd00::1]:8888", Target("http", "fd00::1", 8888, "address")),
        ("HTTPS://Example.ORG", Target("https", "example.org", 443, "name")),
        ("https://gateway.west.example.org:8443", Target("https", "gateway.west.example.org", 8443, "name")),
    ],
)
def test_a_url_is_a_service_an_address_or_a_name(url: str, expected: Target) -> None:
    assert parse(url, namespace="jhub") == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hub:8081",
        "hub",
        "//hub:8081",
        "ftp://hub",
        "http+unix://%2Ftmp%2Fsocket",
        "http://",
        "http://:8081",
        "http://hub:0",
        "http://hub:65536",
        "http://hub:http",
        "http://hub:8081/path",
        "http://hub?x",
        "http://hub#x",
        "http://user:password@hub",
        "http://h ub",
        "http://hub\n",
        "http://hub_1",
        "http://-hub",
        "http://1.2.3",
        "http://1.2.3.256",
        "http://[::1",
        "http://[fe80::1%25eth0]",
        "http://127.0.0.1:8081",
        "http://[::1]:8081",
        "http://[::ffff:127.0.0.1]:80",
        "http://169.254.169.254",
        "http://0.0.0.0:80",
        "http://localhost:8081",
        "javascript:alert(1)",
    ],
)
def test_what_a_gateway_cannot_reach_is_no_target(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(url, namespace="jhub")


@given(url=st.one_of(st.text(max_size=40), st.text(max_size=30).map(lambda text: f"http://{text}")))
def test_whatever_text_comes_it_is_read_or_refused(url: str) -> None:
    with suppress(ValueError):
        target = parse(url, namespace="jhub")
        assert 0 < target.port < 65536 and target.host
