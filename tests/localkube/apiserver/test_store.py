"""The store's laws: what a watch tells adds up to what a list shows, at every revision."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localkube.apiserver.selectors import parse
from localkube.apiserver.status import StatusError
from localkube.apiserver.store import Expired, Store, TooLarge
from localkube.apiserver.watches import BACKLOG, Watch

NAMES = ("a", "b", "c")
NAMESPACES = ("n", "n-1", "n0")

# a step: namespace, name, and the label it is written with (None deletes it)
steps = st.lists(
    st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(NAMES), st.sampled_from(["x", "y", None])),
    max_size=40,
)


def configmap(namespace: str, name: str, label: str | None = None) -> dict[str, Any]:
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"l": label}},
    }


def run(store: Store, history: list[tuple[str, str, str | None]]) -> dict[int, dict[str, Any]]:
    """Do the steps; the answer is the state after each revision, as key -> object."""
    states = {store.revision: view(store)}
    for namespace, name, label in history:
        if label is not None:
            store.put("configmaps", namespace, name, configmap(namespace, name, label))
        elif store.get("configmaps", namespace, name) is not None:
            store.delete("configmaps", namespace, name)
        states[store.revision] = view(store)
    return states


def view(store: Store, namespace: str | None = None, at: int | None = None) -> dict[str, Any]:
    return {v.key: v.object for v in store.list("configmaps", namespace, at=at)}


def told(watch: Watch, state: dict[str, Any]) -> dict[str, Any]:
    """The state after everything that the watch has queued, each event checked against the one before."""
    state = dict(state)
    deliveries = asyncio.run(watch.batch()) if watch.pending else []
    resumed = [d for d in deliveries if d.change is not None]
    assert [d.version.revision for d in resumed] == sorted(d.version.revision for d in resumed)
    for delivery in deliveries:
        key = delivery.version.key
        assert (delivery.type == "ADDED") == (key not in state)
        if delivery.type == "DELETED":
            del state[key]
        else:
            state[key] = delivery.version.object
    return state


@given(steps)
def test_every_past_revision_can_be_listed(history: list[tuple[str, str, str | None]]) -> None:
    store = Store()
    for revision, state in run(store, history).items():
        assert view(store, at=revision) == state
        for namespace in NAMESPACES:
            within = {k: v for k, v in state.items() if k.startswith(f"{namespace}/")}
            assert view(store, namespace, at=revision) == within


@given(steps)
def test_lists_are_in_the_order_of_keys(history: list[tuple[str, str, str | None]]) -> None:
    store = Store()
    for revision in run(store, history):
        keys = [v.key for v in store.list("configmaps", at=revision)]
        assert keys == sorted(keys)


@given(steps, st.sampled_from([None, *NAMESPACES]))
def test_a_watch_from_any_revision_leads_to_the_current_state(
    history: list[tuple[str, str, str | None]], namespace: str | None
) -> None:
    store = Store()
    for revision in run(store, history):
        watch = Watch(store, "configmaps", namespace, since=revision, initial=False)
        assert told(watch, view(store, namespace, at=revision)) == view(store, namespace)


@given(steps, steps)
def test_initial_events_and_what_follows_lead_to_the_current_state(
    before: list[tuple[str, str, str | None]], after: list[tuple[str, str, str | None]]
) -> None:
    store = Store()
    run(store, before)
    watch = Watch(store, "configmaps", None, since=None, initial=True)
    run(store, after)
    assert told(watch, {}) == view(store)


@given(steps, steps, st.sampled_from(["l=x", "l!=x", "l in (x,y)", "!l"]))
def test_a_watch_with_a_selector_sees_objects_enter_and_leave(
    before: list[tuple[str, str, str | None]], after: list[tuple[str, str, str | None]], labels: str
) -> None:
    store = Store()
    selector = parse("configmaps", labels, "")
    run(store, before)
    revision = store.revision
    live = Watch(store, "configmaps", None, since=None, initial=True, selector=selector)
    start = {k: v for k, v in view(store).items() if selector.matches(v)}
    run(store, after)
    wanted = {k: v for k, v in view(store).items() if selector.matches(v)}
    resumed = Watch(store, "configmaps", None, since=revision, initial=False, selector=selector)
    assert told(live, {}) == wanted
    assert told(resumed, start) == wanted


def test_history_is_bounded_and_what_left_it_is_expired() -> None:
    store = Store(history=3)
    for i in range(5):
        store.put("configmaps", "n", f"c{i}", configmap("n", f"c{i}"))
    store.list("configmaps", at=store.revision - 3)
    with pytest.raises(Expired):
        store.list("configmaps", at=store.revision - 4)
    with pytest.raises(Expired):
        store.since("configmaps", store.revision - 4)
    with pytest.raises(TooLarge):
        store.list("configmaps", at=store.revision + 1)


def test_nothing_before_the_first_revision_can_be_asked_for() -> None:
    store = Store(revision=1000)
    store.put("configmaps", "n", "c", configmap("n", "c"))
    assert view(store, at=1000) == {}
    with pytest.raises(Expired):
        store.since("configmaps", 5)


def test_other_resources_do_not_push_a_watch_out_of_the_history() -> None:
    store = Store(history=3)
    revision = store.put("configmaps", "n", "c", configmap("n", "c")).revision
    for i in range(10):
        store.put("secrets", "n", f"s{i}", configmap("n", f"s{i}"))
    store.put("configmaps", "n", "d", configmap("n", "d"))
    assert [c.version.key for c in store.since("configmaps", revision)] == ["n/d"]


def test_compaction_forgets_on_request() -> None:
    store = Store()
    first = store.put("configmaps", "n", "c", configmap("n", "c")).revision
    store.put("configmaps", "n", "d", configmap("n", "d"))
    store.compact(store.revision)
    with pytest.raises(Expired):
        store.since("configmaps", first)
    assert list(store.since("configmaps", store.revision)) == []


def test_an_object_is_encoded_once_for_all_its_readers() -> None:
    store = Store()
    version = store.put("configmaps", "n", "c", configmap("n", "c"))
    assert version.item is version.item
    assert version.encoded.startswith(b'{"kind":"ConfigMap","apiVersion":"v1","metadata":')
    watches = [Watch(store, "configmaps", None, since=None, initial=False) for _ in range(3)]
    store.put("configmaps", "n", "c", configmap("n", "c", "new"))
    frames = [asyncio.run(w.batch())[0].frame for w in watches]
    assert frames[0] is frames[1] is frames[2]


def test_a_reader_that_falls_behind_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localkube.apiserver.watches.BACKLOG", 2)
    assert BACKLOG > 2
    store = Store()
    watch = Watch(store, "configmaps", None, since=None, initial=False)
    for i in range(4):
        store.put("configmaps", "n", f"c{i}", configmap("n", f"c{i}"))
    with pytest.raises(StatusError) as caught:
        asyncio.run(watch.batch())
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


async def test_a_closed_watch_ends() -> None:
    store = Store()
    watch = Watch(store, "configmaps", None, since=None, initial=False)
    waiting = asyncio.ensure_future(watch.batch())
    await asyncio.sleep(0)
    watch.close()
    assert await waiting == []
    store.put("configmaps", "n", "c", configmap("n", "c"))
    assert not watch.pending


@pytest.mark.parametrize("call", [lambda s: s.list("configmaps", at=9), lambda s: s.since("configmaps", 9)])
def test_the_future_cannot_be_read(call: Callable[[Store], Any]) -> None:
    with pytest.raises(TooLarge, match="Too large resource version: 9, current: 1"):
        call(Store())
