"""The view converges to the state of the server and never goes back, in whatever order it hears of things."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hubfleet.kube.view import View

NAMES = st.sampled_from(["a", "b", "c"])


def raw(
    name: str, uid: str, version: int, *, namespace: str = "ns", labels: dict[str, str] | None = None
) -> bytes:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "resourceVersion": str(version),
        "labels": labels,
    }
    return json.dumps({"metadata": metadata, "spec": {"n": version}}).encode()


def view(**options: Any) -> View[int]:
    return View(lambda data: int(json.loads(data)["spec"]["n"]), **options)


class Interleaving(RuleBasedStateMachine):
    """A server with a history, a watch that lags behind it, and our own writes, whose answers come late."""

    def __init__(self) -> None:
        super().__init__()
        self.view = view()
        self.version = 10
        self.objects: dict[str, tuple[str, int]] = {}
        self.history: list[tuple[int, str, str, bytes]] = []
        self.cursor = 0
        self.answers: list[bytes] = []
        self.gone: list[tuple[str, str]] = []
        self.snapshot: tuple[int, dict[str, tuple[str, int]]] | None = None
        self.listed = False
        self.shown: dict[str, tuple[str, int]] = {}
        self.newest: dict[str, int] = {}
        self.vanished: set[str] = set()

    def write(self, kind: str, name: str, uid: str) -> bytes:
        self.version += 1
        data = raw(name, uid, self.version)
        self.history.append((self.version, kind, uid, data))
        if kind == "DELETED":
            del self.objects[name]
        else:
            self.objects[name] = (uid, self.version)
        return data

    @initialize()
    def first_list(self) -> None:
        self.begin_list()

    @rule(name=NAMES, ours=st.booleans())
    def create_or_update(self, name: str, ours: bool) -> None:
        if name in self.objects:
            data = self.write("MODIFIED", name, self.objects[name][0])
        else:
            data = self.write("ADDED", name, f"{name}{self.version}")
        if ours:
            self.answers.append(data)

    @rule(name=NAMES, ours=st.booleans())
    def delete(self, name: str, ours: bool) -> None:
        if name in self.objects:
            uid = self.objects[name][0]
            self.write("DELETED", name, uid)
            if ours:
                self.gone.append((name, uid))

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def learn(self, data: st.DataObject) -> None:
        self.view.learn(self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1))))

    @precondition(lambda self: self.gone)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        name, uid = self.gone.pop(data.draw(st.integers(0, len(self.gone) - 1)))
        self.view.forget("ns", name, uid)
        assert uid not in {item.uid for item in self.view.items("ns")}
        self.vanished.add(uid)

    @precondition(lambda self: self.listed and self.cursor < len(self.history))
    @rule(count=st.integers(1, 4))
    def watch_delivers(self, count: int) -> None:
        for _, kind, _, data in self.history[self.cursor : self.cursor + count]:
            self.view.event(kind, data)
            self.cursor += 1

    @precondition(lambda self: self.listed and self.cursor == len(self.history))
    @rule()
    def watch_bookmarks(self) -> None:
        self.view.bookmark(b'{"kind":"Pod","metadata":{"resourceVersion":"%d"}}' % self.version)

    @precondition(lambda self: self.listed)
    @rule()
    def watch_breaks_and_resumes(self) -> None:
        self.resume()

    def resume(self) -> None:
        later = [i for i, (version, *_) in enumerate(self.history) if version > self.view.position]
        self.cursor = later[0] if later else len(self.history)

    @precondition(lambda self: self.snapshot is None)
    @rule()
    def begin_list(self) -> None:
        self.listed = False
        self.snapshot = (self.version, dict(self.objects))

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def end_list(self) -> None:
        assert self.snapshot is not None
        version, objects = self.snapshot
        self.view.replace(version, [self.view.read(raw(n, u, v)) for n, (u, v) in objects.items()])
        self.snapshot, self.listed = None, True
        self.resume()

    @invariant()
    def knows_its_size(self) -> None:
        assert self.view.size("ns") == sum(len(item.raw) for item in self.view.items("ns"))

    @invariant()
    def never_goes_back(self) -> None:
        shown = {item.name: (item.uid, item.resource_version) for item in self.view.items("ns")}
        self.vanished |= {uid for uid, _ in self.shown.values()} - {uid for uid, _ in shown.values()}
        for name, (uid, version) in shown.items():
            assert uid not in self.vanished, "an object came back from the dead"
            assert version >= self.newest.get(name, 0), "an older version after a newer one"
            self.newest[name] = version
        self.shown = shown

    def teardown(self) -> None:
        if not self.listed:
            if self.snapshot is None:
                self.begin_list()
            self.end_list()
        for _, kind, _, data in self.history[self.cursor :]:
            self.view.event(kind, data)
            self.never_goes_back()
        for data in self.answers:
            self.view.learn(data)
        for name, uid in self.gone:
            self.view.forget("ns", name, uid)
        held = {item.name: (item.uid, item.resource_version) for item in self.view.items("ns")}
        assert held == self.objects


Interleaving.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_interleaving = Interleaving.TestCase


def test_a_list_replaces_and_keeps_what_did_not_change() -> None:
    v = view()
    v.replace(5, [v.read(raw("a", "1", 3)), v.read(raw("b", "2", 4))])
    a, version = v.get("ns", "a"), v.version("ns")
    changes = v.replace(9, [v.read(raw("a", "1", 3)), v.read(raw("c", "3", 8))])
    assert [(c.old and c.old.name, c.new and c.new.name) for c in changes] == [("b", None), (None, "c")]
    assert v.get("ns", "a") is a  # its decoded value with it
    assert v.version("ns") != version


def test_a_list_that_changes_nothing_keeps_the_version() -> None:
    v = view()
    v.replace(5, [v.read(raw("a", "1", 3))])
    version = v.version("ns")
    assert v.replace(6, [v.read(raw("a", "1", 3))]) == []
    assert v.version("ns") == version


def test_a_cluster_restored_from_a_backup_is_believed() -> None:
    v = view()
    v.replace(100, [v.read(raw("a", "1", 90)), v.read(raw("b", "2", 95))])
    v.learn(raw("c", "3", 101))
    v.replace(50, [v.read(raw("a", "1", 40))])
    assert [(i.name, i.resource_version) for i in v.items()] == [("a", 40)]
    v.event("MODIFIED", raw("a", "1", 51))
    item = v.get("ns", "a")
    assert item is not None and item.resource_version == 51


def test_the_version_of_a_namespace_changes_with_it_alone() -> None:
    v = view()
    v.event("ADDED", raw("a", "1", 1, namespace="one"))
    one, two = v.version("one"), v.version("two")
    v.event("ADDED", raw("a", "2", 2, namespace="two"))
    assert v.version("one") == one and v.version("two") != two
    before = v.version("one")
    v.event("DELETED", raw("a", "1", 3, namespace="one"))
    assert v.version("one") != before


def test_items_are_ordered_as_the_api_server_lists() -> None:
    v = view()
    for i, (namespace, name) in enumerate([("b", "x"), ("a", "z"), ("a", "a-b"), ("a", "a")]):
        v.event("ADDED", raw(name, str(i), i + 1, namespace=namespace))
    assert [i.name for i in v.items("a")] == ["a", "a-b", "z"]
    assert [(i.namespace, i.name) for i in v.items()] == [("a", "a"), ("a", "a-b"), ("a", "z"), ("b", "x")]
    assert v.items("nobody") == ()


def test_a_snapshot_does_not_change_under_its_reader() -> None:
    v = view()
    v.event("ADDED", raw("a", "1", 1))
    items = v.items("ns")
    v.event("DELETED", raw("a", "1", 2))
    assert len(items) == 1 and len(v.items("ns")) == 0


def test_values_and_labels_are_decoded_once_and_late() -> None:
    calls = []
    v: View[int] = View(lambda data: calls.append(data) or 7)  # type: ignore[func-returns-value]
    v.event("ADDED", raw("a", "1", 1, labels={"k": "v"}))
    item = v.get("ns", "a")
    assert item is not None and calls == []
    assert (item.value, item.value, item.labels, len(calls)) == (7, 7, {"k": "v"}, 1)


def test_labels_may_be_missing() -> None:
    v = view()
    v.event("ADDED", raw("a", "1", 1))
    item = v.get("ns", "a")
    assert item is not None and item.labels == {}


def test_what_lies_outside_the_selection_is_not_learned() -> None:
    v = view(namespace="ns", labels="app=x")
    v.learn(raw("a", "1", 1, labels={"app": "y"}))
    v.learn(raw("b", "2", 2, labels={"app": "x"}, namespace="other"))
    v.learn(raw("c", "3", 3, labels={"app": "x"}))
    assert [i.name for i in v.items()] == ["c"]


def test_a_forgotten_object_may_be_made_again_under_its_name() -> None:
    v = view()
    v.event("ADDED", raw("a", "old", 1))
    v.forget("ns", "a")
    v.event("MODIFIED", raw("a", "old", 2))
    assert v.get("ns", "a") is None
    v.learn(raw("a", "new", 4))
    v.event("DELETED", raw("a", "old", 3))
    item = v.get("ns", "a")
    assert item is not None and item.uid == "new"


def test_an_item_costs_little_more_than_its_bytes() -> None:
    body = raw("a", "1", 1) + b" " * 2000
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    v = view()
    v.replace(1, [v.read(body.replace(b'"a"', b'"a%d"' % i)) for i in range(1000)])
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / 1000 < len(body) + 700


@pytest.mark.parametrize("garbage", [b"", b"{}", b"[]", b'{"metadata":{"name":"a"}}', b"\xff"])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        view().event("ADDED", garbage)
