"""What may be submitted, and what is said of the rest. `bodies/` holds what the real clients send."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.batch import submission
from hubfleet.batch.submission import Kind, Submission
from hubfleet.errors import UserError
from hubfleet.settings import BatchSettings

BODIES = Path(__file__).parent / "bodies"
SETTINGS = BatchSettings()
CLIENTS = ["0.4.2", "0.5"]


def body(name: str) -> Any:
    return json.loads((BODIES / f"{name}.json").read_text())


def decode(sent: Any, kind: Kind = "Job", settings: BatchSettings = SETTINGS) -> Submission:
    return submission.decode(json.dumps(sent).encode(), kind, settings)


def problems(sent: Any, kind: Kind = "Job") -> dict[str, str]:
    with pytest.raises(UserError) as caught:
        decode(sent, kind)
    assert caught.value.status == 422
    return {".".join(map(str, p["loc"])): p["msg"] for p in caught.value.errors}


def changed(path: str, value: Any, name: str = "job-0.5") -> Any:
    """A real client's body with one thing in it replaced."""
    whole = copy.deepcopy(body(name))
    *parents, last = path.split(".")
    place = whole
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    place[last] = value
    return whole


@pytest.mark.parametrize("client", CLIENTS)
def test_the_clients_jobs_are_taken(client: str) -> None:
    found = decode(body(f"job-{client}"))
    assert (found.name, found.generate_name, found.code, found.profile) == ("", "pi-", None, "")
    container = found.job["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "POINTS", "value": "100"}, {"name": "EMPTY", "value": ""}]
    assert container["workingDir"] == "/code"
    assert "null" not in json.dumps(found.job)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_clients_cron_jobs_are_taken(client: str) -> None:
    found = decode(body(f"cronjob-{client}"), "CronJob")
    assert found.generate_name == "tick-cron-"
    assert found.job["spec"]["schedule"] == "*/5 * * * *"
    assert found.job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"] == "busybox"


def test_what_is_no_json_is_a_400() -> None:
    for sent in (b"", b"{", b"\xff\xfe", rb'{"job": "\ud800"}', b"[" * 10_000, b"NaN"):
        with pytest.raises(UserError) as caught:
            submission.decode(sent, "Job", SETTINGS)
        assert caught.value.status in (400, 422)


def test_deep_nesting_is_no_surprise() -> None:
    for depth in (300, 900, 2000):
        deep = '{"a":' * depth + "1" + "}" * depth
        sent = json.dumps(changed("job.metadata.managed_fields", [{"fields_v1": "DEEP"}]))
        try:
            submission.decode(sent.replace('"DEEP"', deep).encode(), "Job", SETTINGS)
        except UserError as error:
            assert error.status in (400, 422)  # noqa: PT017


def test_a_large_body_is_a_413() -> None:
    with pytest.raises(UserError) as caught:
        decode(body("job-0.5"), settings=BatchSettings(body_limit=1000))
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("sent", "where"),
    [
        ([], "body"),
        ({}, "body.job"),
        ({"job": None}, "body.job"),
        ({"job": []}, "body.job"),
        ({"job": {}}, "body.job.metadata.generate_name"),
        ({"job": {}, "cod": {}}, "body.cod"),
        (changed("job.kind", "CronJob"), "body.job.kind"),
        (changed("job.api_version", "batch/v2"), "body.job.apiVersion"),
        (changed("job.spec.template.spec.containers", []), "body.job.spec.template.spec.containers"),
        (changed("job.spec.template.spec.containers", None), "body.job.spec.template.spec.containers"),
        (changed("job.spec", None), "body.job.spec.template.spec.containers"),
        (changed("job.metadata.finalizers", ["a/b"]), "body.job.metadata.finalizers"),
        (changed("job.spec.template.metadata.owner_references", [{"uid": "x"}]), ""),
        (changed("code", {}), "body.code.binary_data.code"),
        (changed("code", {"binary_data": {"cod": "eA=="}}), "body.code.binary_data.cod"),
        (changed("code", {"data": {"code": "x"}}), "body.code.data"),
        (changed("code", {"binary_data": {"code": "%"}}), "body.code.binary_data.code"),
        (changed("code", {"binary_data": {"code": 3}}), "body.code.binary_data.code"),
        (changed("code", "x"), "body.code"),
    ],
)
def test_what_is_wrong_is_named(sent: Any, where: str) -> None:
    found = problems(sent)
    assert not where or where in found


def test_everything_that_is_wrong_is_said_at_once() -> None:
    sent = changed("job.metadata.generate_name", "UPPER-")
    sent["job"]["spec"]["backoff_limit"] = "0"
    sent["extra"] = 1
    assert set(problems(sent)) == {
        "body.extra",
        "body.job.metadata.generate_name",
        "body.job.spec.backoff_limit",
    }


@pytest.mark.parametrize(
    "name", ["Pi-", "-pi", "pi_", "pi ", "ü-", "a" * 64, ".a", "a..b", "a.-", "a-.b", "a/b", "", "\n"]
)
def test_invalid_names_are_refused(name: str) -> None:
    assert "body.job.metadata.generate_name" in problems(changed("job.metadata.generate_name", name))
    if name:
        assert "body.job.metadata.name" in problems(changed("job.metadata.name", name))


def test_cron_jobs_have_shorter_names() -> None:
    assert "52 characters" in str(problems(changed("job.metadata.name", "a" * 53, "cronjob-0.5"), "CronJob"))
    assert decode(changed("job.metadata.name", "a" * 52, "cronjob-0.5"), "CronJob").name == "a" * 52
    assert decode(changed("job.metadata.name", "a" * 63)).name == "a" * 63


def test_what_servers_write_is_dropped() -> None:
    sent = changed("job.metadata.uid", "abc")
    sent["job"]["metadata"]["namespace"] = "kube-system"
    sent["job"]["metadata"]["resource_version"] = "1"
    sent["job"]["status"] = "nonsense"
    found = decode(sent)
    assert found.job["metadata"].keys() == {"generateName", "namespace", "labels", "annotations"}
    assert "status" not in found.job


def test_a_profile_is_named_by_label_or_by_variable() -> None:
    labelled = changed("job.metadata.labels", {"hubfleet.dev/profile": "small"})
    assert decode(labelled).profile == "small"
    path = "job.spec.template.spec.containers.0.env"
    variable = changed(path, [{"name": "KBATCH_PROFILE", "value": "small"}])
    assert decode(variable).profile == "small"
    variable["job"]["metadata"]["labels"] = {"hubfleet.dev/profile": "large"}
    assert "names two profiles: large, small" in problems(variable)["body.job"]


@pytest.mark.parametrize(
    "sent",
    [
        changed("job.spec.template.spec.containers", [1] * 10_000),
        {"job": 1} | {f"{i}" + "x" * 200: 1 for i in range(5_000)},
        changed("code", {"binary_data": {str(i): "" for i in range(5_000)}}),
    ],
)
def test_however_much_is_wrong_the_answer_is_one_to_read(sent: Any) -> None:
    with pytest.raises(UserError) as caught:
        decode(sent, settings=BatchSettings(job_limit=2**21))
    assert caught.value.status == 422
    assert 10 < len(json.dumps([caught.value.detail, caught.value.errors])) < 64 * 1024


def test_a_body_that_takes_long_to_decode_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission.msgspec.json, "decode", lambda _: pytest.fail("it was decoded"))
    for sent in (b"[],", b"{},", b"1,", b'"",', b"["):
        with pytest.raises(UserError) as caught:
            submission.decode(b'{"job": [' + sent * (SETTINGS.body_limit // 4) + b"1]}", "Job", SETTINGS)
        assert caught.value.status == 413


def test_only_the_code_may_be_large() -> None:
    sent = changed("job.spec.template.spec.containers.0.args", ["x" * SETTINGS.job_limit])
    with pytest.raises(UserError) as caught:
        decode(sent)
    assert caught.value.status == 413
    assert "without its code is larger than 131072 bytes" in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=50,
    )
)
def test_values_are_never_fewer_than_there_are(value: Any) -> None:
    def count(each: Any) -> int:
        inner = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        return 1 + sum(map(count, inner))

    assert submission.values(json.dumps(value).encode()) >= count(value)
