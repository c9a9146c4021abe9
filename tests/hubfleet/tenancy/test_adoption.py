"""Whose a namespace of the originals is: what proves it, and what speaks against it."""

from typing import Any

import pytest

from hubfleet.identity.user import User
from hubfleet.tenancy.adoption import Adopter, Outcome, Traces, originals
from hubfleet.tenancy.marks import Metadata, Namespace, claim

ADA = User(name="ada.l")


def found(labels: dict[str, str] | None = None, **fields: Any) -> Namespace:
    return Namespace(Metadata(name="x", labels=labels or {}, **fields))


def marked(name: str, hub: str = "ours") -> Namespace:
    metadata = claim("x", User(name=name), hub)["metadata"]
    return found(metadata["labels"], annotations=metadata["annotations"])


KBATCH = {"app.kubernetes.io/managed-by": "kbatch"}
KEY = "mcks.hub.jupyter.org/key"


@pytest.mark.parametrize(
    ("namespace", "traces", "outcome", "detail"),
    [
        (found(), Traces(), Outcome.UNPROVEN, "nothing in it"),
        (found(KBATCH), Traces(), Outcome.ADOPTED, "kbatch-proxy's labels"),
        (found({"team": "a", "more": "b"}), Traces(), Outcome.ADOPTED, "kbatch-proxy's labels"),
        (found(), Traces(usernames=frozenset({"ada.l"})), Outcome.ADOPTED, "username: ada.l"),
        # kbatch 0.4 gave a.b and a-b one namespace: it is neither's.
        (found(), Traces(usernames=frozenset({"ada.l", "ada-l"})), Outcome.FOREIGN, "shared with ada-l"),
        (found(KBATCH), Traces(usernames=frozenset({"ada-l"})), Outcome.FOREIGN, "objects of ada-l"),
        (found({KEY: "jupyter-ada-2el"}), Traces(), Outcome.ADOPTED, KEY),
        (found(), Traces(keys=frozenset({"jupyter-ada-2el--lab"})), Outcome.ADOPTED, KEY),
        (found({KEY: "jupyter-ada-2elx"}), Traces(), Outcome.FOREIGN, "servers of others"),
        (found(KBATCH), Traces(keys=frozenset({"jupyter-eve"})), Outcome.FOREIGN, "jupyter-eve"),
        (found(KBATCH, deletion_timestamp="2026-11-21T00:00:00Z"), Traces(), Outcome.GOING, ""),
        (marked("ada.l"), Traces(), Outcome.OURS, ""),
        (marked("ada-l"), Traces(), Outcome.FOREIGN, "another user whose name leads to it"),
        (marked("ada.l", "theirs"), Traces(), Outcome.FOREIGN, "another hub, theirs"),
    ],
)
def test_what_proves_whose_it_is(namespace: Namespace, traces: Traces, outcome: Outcome, detail: str) -> None:
    adopter = Adopter("kbatch", hub="ours", kbatch_labels={"team": "a"})
    judged, words = adopter.judge(namespace, ADA, traces)
    assert judged is outcome
    assert detail in words
    # To believe names decides only where nothing else does.
    believing, _ = Adopter("kbatch", hub="ours", kbatch_labels={"team": "a"}, by_name=True).judge(
        namespace, ADA, traces
    )
    assert believing is (Outcome.ADOPTED if outcome is Outcome.UNPROVEN else outcome)


def test_what_the_originals_call_a_users_namespace() -> None:
    assert set(originals("A.b").values()) == {"kbatch-a-b--4ff54a7", "jupyter--41-2eb", "a-b"}
