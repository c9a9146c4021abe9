"""The laws of routing, on every backend, by the documented semantics of its gateway."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hubfleet.routing.backends import CASES, Case, objects_for, route
from tests.hubfleet.routing.gateways import under

from hubfleet.routing.route import Route
from hubfleet.routing.routespec import Routespec

each_backend = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

SEGMENTS = st.sampled_from(
    ["user", "hub", "a", "ab", "b", "a@b", "josé", "a b", "x%y", "~z", "A", "a-b", "`q`"]
)
PATHS = st.lists(SEGMENTS, max_size=4).map(lambda segments: "/" + "/".join(segments))
TARGETS = st.integers(1, 254).flatmap(
    lambda n: st.sampled_from([f"http://10.0.0.{n}:8888", f"http://hub{n}:8081", f"http://[fd00::{n}]:8888"])
)
VERBS = st.sampled_from(["add", "add", "add", "remove"])
HOSTED = st.sampled_from(["alice.example.org", "bob.example.org"])
CHANGES = st.one_of(
    st.lists(st.tuples(VERBS, PATHS, st.just(""), TARGETS), max_size=25),
    st.lists(  # as with host routing: without a host there is only the default route
        st.one_of(
            st.tuples(VERBS, PATHS, HOSTED, TARGETS), st.tuples(VERBS, st.just("/"), st.just(""), TARGETS)
        ),
        max_size=25,
    ),
)


def expected(routes: dict[Routespec, Route], host: str, path: str) -> Route | None:
    """CHP's own law: the longest prefix among the host's routes, then among those of every host's root."""
    own = [r for spec, r in routes.items() if spec.host == host and under(spec.path, path)]
    if host and not own and Routespec("/") in routes:
        return routes[Routespec("/")]
    return max(own, key=lambda r: r.spec.depth, default=None)


def place(r: Route) -> str:
    host = f"{r.target.host}.{r.target.namespace}" if r.target.namespace else r.target.host
    return f"[{host}]:{r.target.port}" if r.target.is_ipv6 else f"{host}:{r.target.port}"


def replay(changes: list[tuple[str, str, str, str]]) -> dict[Routespec, Route]:
    routes: dict[Routespec, Route] = {}
    for verb, path, host, url in changes:
        if verb == "add":
            routes[Routespec(path, host)] = route(path, url, host)
        else:
            routes.pop(Routespec(path, host), None)
    return routes


@each_backend
@given(changes=CHANGES, below=PATHS, seed=st.integers(0, 9))
def test_the_longest_prefix_wins_in_whatever_order_the_objects_were_made(
    case: Case, changes: list[Any], below: str, seed: int
) -> None:
    routes = replay(changes)
    objects = objects_for(case.backend, routes.values())
    random.Random(seed).shuffle(objects)
    asked = [(spec.host, path) for spec in routes for path in (spec.path, f"{spec.path.rstrip('/')}{below}")]
    for host, path in asked:
        wanted = expected(routes, host, path)
        for spelt in Routespec(path).spellings():
            if case.name.startswith("gateway") and any(c in spelt for c in "[]|"):
                continue
            assert case.serve(objects, host or "nobody.example.org", spelt) == (
                place(wanted) if wanted else None
            ), (host, spelt)


@each_backend
def test_a_name_is_not_a_prefix_of_another_name(case: Case) -> None:
    objects = objects_for(
        case.backend, [route("/", "http://hub:8081"), route("/user/foo", "http://10.0.0.1:8888")]
    )
    assert case.serve(objects, "h", "/user/foo") == "10.0.0.1:8888"
    assert case.serve(objects, "h", "/user/foo/lab") == "10.0.0.1:8888"
    assert case.serve(objects, "h", "/user/foobar") == "hub.jhub:8081"
    assert case.serve(objects, "h", "/user/foobar/lab") == "hub.jhub:8081"


@each_backend
@pytest.mark.parametrize("base", ["", "/jupyter"])
def test_a_named_server_beats_the_default_one_and_the_hub_shadows_nobody(case: Case, base: str) -> None:
    routes = [
        route(base or "/", "http://hub:8081"),
        route(f"{base}/user/a", "http://10.0.0.1:8888"),
        route(f"{base}/user/a/s", "http://10.0.0.2:8888"),
        route(f"{base}/services/x", "http://10.0.0.3:8888"),
    ]
    for seed in range(20):
        objects = objects_for(case.backend, routes)
        random.Random(seed).shuffle(objects)
        assert case.serve(objects, "h", f"{base}/user/a/s/lab") == "10.0.0.2:8888"
        assert case.serve(objects, "h", f"{base}/user/a/st") == "10.0.0.1:8888"
        assert case.serve(objects, "h", f"{base}/services/x/") == "10.0.0.3:8888"
        assert case.serve(objects, "h", f"{base}/hub/home") == "hub.jhub:8081"


ARRIVALS = {
    "josé": ("jos%C3%A9", "jos%c3%a9"),
    "a@b.org": ("a@b.org", "a%40b.org"),
    "a b": ("a%20b",),
    "x%y": ("x%25y",),
    "李": ("%E6%9D%8E", "%e6%9d%8e"),
    "a+b": ("a%2Bb", "a%2bb", "a+b"),
    "a!(b)": ("a%21%28b%29", "a!(b)"),
    "~a": ("~a",),
    "a'b": ("a%27b", "a'b"),
    "a@é": ("a@%C3%A9", "a%40%C3%A9", "a@%c3%a9"),
}
"""How the Hub, browsers and scripts write a name."""


@each_backend
@pytest.mark.parametrize("name", ARRIVALS)
def test_names_arrive_however_they_are_spelt(case: Case, name: str) -> None:
    objects = objects_for(
        case.backend, [route("/", "http://hub:8081"), route(f"/user/{name}", "http://10.0.0.1:80")]
    )
    for spelt in ARRIVALS[name]:
        assert case.serve(objects, "h", f"/user/{spelt}") == "10.0.0.1:80", spelt
        assert case.serve(objects, "h", f"/user/{spelt}/lab") == "10.0.0.1:80", spelt


@each_backend
def test_a_host_that_somebody_names_still_finds_the_hub(case: Case) -> None:
    routes = [
        route("/", "http://hub:8081"),
        route("/s", "http://10.0.0.1:80", "alice.example.org"),
        route("/", "http://10.0.0.2:80", "bob.example.org"),
    ]
    objects = objects_for(case.backend, routes)
    assert case.serve(objects, "alice.example.org", "/s/lab") == "10.0.0.1:80"
    assert case.serve(objects, "alice.example.org", "/hub/home") == "hub.jhub:8081"
    assert case.serve(objects, "bob.example.org", "/hub/home") == "10.0.0.2:80"
    assert case.serve(objects, "carol.example.org", "/s/lab") == "hub.jhub:8081"


@each_backend
def test_two_replicas_write_the_same_objects(case: Case) -> None:
    routes = [route(f"/user/{n}", f"http://10.0.0.{n}:80", user=str(n)) for n in range(1, 40)]
    one = objects_for(case.backend, routes)
    other = objects_for(case.backend, list(reversed(routes)))
    key = lambda obj: (obj["kind"], obj["metadata"]["name"])  # noqa: E731
    assert sorted(one, key=key) == sorted(other, key=key)


@each_backend
@given(paths=st.lists(PATHS, min_size=2, max_size=2, unique=True))
def test_names_are_labels_and_tell_routes_apart(case: Case, paths: list[str]) -> None:
    names = [
        {(o["kind"], o["metadata"]["name"]) for o in case.backend.parts(r)}
        for r in (route(path, "http://10.0.0.1:80") for path in paths)
    ]
    assert not names[0] & names[1]
    for path in paths:
        assert len(case.backend.bucket(Routespec(path)).name) <= 61


@each_backend
def test_nothing_of_one_route_stays_when_it_is_gone(case: Case) -> None:
    stays, goes = route("/user/a", "http://10.0.0.1:80"), route("/user/a/s", "http://10.0.0.2:80")
    assert case.serve(objects_for(case.backend, [stays, goes]), "h", "/user/a/s") == "10.0.0.2:80"
    objects = objects_for(case.backend, [stays])
    assert case.serve(objects, "h", "/user/a/s") == "10.0.0.1:80"
    assert "10.0.0.2" not in str(objects)


def test_no_object_outgrows_what_an_api_server_takes() -> None:
    (case,) = [c for c in CASES if c.name == "istio"]
    routes = [
        route(f"/user/a/{n}", f"http://10.{n // 60000}.{n // 250 % 240}.{n % 250 + 1}:8888", user="a")
        for n in range(5000)
    ]
    sizes = [len(str(o)) for o in objects_for(case.backend, routes) if o["kind"] == "VirtualService"]
    assert max(sizes) < 100_000
    crowded = [r for r in routes if case.backend.bucket(r.spec) == case.backend.bucket(routes[0].spec)]
    with pytest.raises(ValueError, match="no room"):
        case.backend.carrier("c", [route(r.spec.path, r.url, x="y" * 20_000) for r in crowded])
