"""The objects of a submission, against golden files (UPDATE_GOLDEN=1 writes them anew: read the diff)."""

import base64
import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubfleet.batch import code, manifests, submission
from hubfleet.batch.manifests import Plan, Requester, generated_name, merge, plan
from hubfleet.batch.profiles import Profiles
from hubfleet.batch.submission import pod_template
from hubfleet.settings import BatchSettings

HERE = Path(__file__).parent
ADA = Requester("ada@b.org", "ada-40b-2Eorg", "kbatch-ada-b-org--1234567", "hub-1", "s3cret")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)


def zipped() -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        z.writestr(zipfile.ZipInfo("main.py", (2026, 1, 1, 0, 0, 0)), b"print('hello')\n")
    return base64.b64encode(buffer.getvalue()).decode()


def planned(body: dict[str, Any], settings: BatchSettings, name: str = "") -> Plan:
    kind: submission.Kind = "CronJob" if body["job"]["kind"] == "CronJob" else "Job"
    checked = submission.decode(json.dumps(body).encode(), kind, settings)
    profiles = Profiles(settings.profiles, required=settings.profiles_required)
    profiles.enforce(checked.job, kind, checked.profile)
    return plan(
        checked,
        ADA,
        settings,
        manifests.parse_template(settings.job_template),
        name=name or checked.name or checked.generate_name + "bcdfg",
        submission_id="0123456789abcdef",
        expires=1_800_000_000,
    )


def body(name: str, **code_keys: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "bodies" / f"{name}.json").read_text())
    return found | code_keys


def with_code(name: str) -> dict[str, Any]:
    return body(name, code={"kind": "ConfigMap", "binary_data": {"code": zipped()}, "data": None})


TEMPLATE = {
    "kind": "Job",
    "apiVersion": "batch/v1",
    "metadata": {"name": "never", "labels": {"team": "science"}},
    "spec": {
        "backoffLimit": 2,
        "template": {
            "metadata": {"annotations": {"note": "from the operator"}},
            "spec": {
                "tolerations": [{"key": "batch", "operator": "Exists"}],
                "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
                "init_containers": [
                    {"name": "warm", "image": "busybox", "env": [{"name": "POINTS", "value": "7"}]}
                ],
            },
        },
    },
}
EVERYTHING = BatchSettings(
    job_template=TEMPLATE,
    extra_env={"REGION": "west", "POINTS": "the operator's"},
    queue_name="gpus",
    profiles={
        "gpu": {
            "image": "gpu:1",
            "resources": {"limits": {"cpu": 2, "memory": "4Gi"}, "requests": {"cpu": "1"}},
            "tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
            "node_affinity_required": [
                {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}]}
            ],
        }
    },
)


def in_profile(name: str) -> dict[str, Any]:
    found = body(name)
    found["job"]["metadata"]["labels"] = {"hubfleet.dev/profile": "gpu"}
    return found


CASES: dict[str, tuple[dict[str, Any], BatchSettings]] = {
    "job-0.4.2": (body("job-0.4.2"), BatchSettings()),
    "job-0.5": (body("job-0.5"), BatchSettings()),
    "job-code": (with_code("job-0.5"), BatchSettings()),
    "job-everything": (with_code("job-0.5"), EVERYTHING),
    "job-unpack-image": (with_code("job-0.5"), BatchSettings(unpack_image="busybox:1.37")),
    "job-profile": (in_profile("job-profile-0.5"), EVERYTHING),
    "cronjob": (body("cronjob-0.4.2"), BatchSettings()),
    "cronjob-everything": (with_code("cronjob-0.5"), EVERYTHING),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    found = planned(*CASES[name])
    text = json.dumps(
        {"owner": found.owner, "secret": found.secret, "config_maps": found.config_maps}, indent=2
    )
    for file, content in code.UNPACKERS.items():
        text = text.replace(json.dumps(content), json.dumps(f"(the file {file})"))
    path = HERE / "golden" / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text + "\n")
    assert json.loads(text) == json.loads(path.read_text())


@pytest.mark.parametrize("name", CASES)
def test_no_value_of_the_environment_is_in_plain_sight(name: str) -> None:
    found = planned(*CASES[name])
    keys = set()
    for spec in re.findall(r'"value": "[^"]*"', json.dumps(found.owner)):
        assert spec == '"value": "yes"', "a toleration's, the only `value` that is no variable's"
    job = found.owner["spec"].get("jobTemplate", found.owner)
    pod = job["spec"]["template"]["spec"]
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        for variable in container.get("env", []):
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["name"] == found.secret["metadata"]["name"]
            keys.add(reference["key"])
    assert keys == found.secret["data"].keys()


def test_one_name_in_two_containers_keeps_two_values() -> None:
    found = planned(body("job-0.5"), EVERYTHING)
    values = {k: base64.b64decode(v).decode() for k, v in found.secret["data"].items()}
    assert values["job.POINTS"] == "the operator's"
    assert values["warm.POINTS"] == "7"


def test_names_of_variables_that_are_no_keys_and_twins_are_kept_apart() -> None:
    sent = body("job-0.5")
    pairs = [("a b", "1"), ("ü", "2"), ("TWIN", "3"), ("TWIN", "4"), ("TWIN", "5"), ("x" * 300, "6")]
    env = [{"name": name, "value": value} for name, value in pairs]
    sent["job"]["spec"]["template"]["spec"]["containers"][0]["env"] = env
    found = planned(sent, BatchSettings())
    variables = found.owner["spec"]["template"]["spec"]["containers"][0]["env"]
    data = found.secret["data"]
    values = [base64.b64decode(data[v["valueFrom"]["secretKeyRef"]["key"]]).decode() for v in variables]
    assert values[:6] == ["1", "2", "3", "4", "5", "6"]
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in data)


def test_a_users_label_cannot_pass_for_ours() -> None:
    sent = body("job-0.5")
    forged = {"hubfleet.dev/user": "eve", "hubfleet.dev/expires": "1", "kbatch.jupyter.org/username": "eve"}
    sent["job"]["metadata"]["labels"] = forged | {"mine": "yes"}
    sent["job"]["spec"]["template"]["metadata"]["labels"] = forged
    found = planned(sent, BatchSettings())
    for labels in (
        found.owner["metadata"]["labels"],
        found.owner["spec"]["template"]["metadata"]["labels"],
    ):
        assert labels["hubfleet.dev/user"] == labels["kbatch.jupyter.org/username"] == ADA.label
        assert "hubfleet.dev/expires" not in labels
    assert found.owner["metadata"]["labels"]["mine"] == "yes"


def test_a_plan_changes_nothing_of_what_it_is_made_from() -> None:
    sent, settings = CASES["job-everything"]
    checked = submission.decode(json.dumps(sent).encode(), "Job", settings)
    before = json.dumps(checked.job)
    template = manifests.parse_template(settings.job_template)
    again = json.dumps(template)
    for name in ("a", "b"):
        plan(checked, ADA, settings, template, name=name, submission_id="x", expires=1)
    assert json.dumps(checked.job) == before
    assert json.dumps(template) == again


def test_a_job_with_a_name_of_its_own_has_parts_of_another() -> None:
    sent = body("job-0.5")
    sent["job"]["metadata"] |= {"name": "mine", "generate_name": None}
    found = planned(sent, BatchSettings())
    assert found.owner["metadata"]["name"] == "mine"
    assert found.secret["metadata"]["name"] == "mine-01234"


def test_code_larger_than_a_config_map_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "PART_BYTES", 50)
    found = planned(*CASES["job-code"])
    assert len(found.config_maps) > 2
    joined = b"".join(base64.b64decode(c["binaryData"]["code"]) for c in found.config_maps)
    assert joined == base64.b64decode(zipped())
    volumes = found.owner["spec"]["template"]["spec"]["volumes"]
    sources = next(v for v in volumes if v["name"] == "code-source-volume")["projected"]["sources"]
    assert [s["configMap"]["name"] for s in sources] == [c["metadata"]["name"] for c in found.config_maps]
    paths = [item["path"] for s in sources for item in s["configMap"]["items"] if item["key"] == "code"]
    assert paths == sorted(paths)
    assert len(set(paths)) == len(paths)


def test_the_unpacking_runs_as_the_job_does_unless_that_is_root() -> None:
    for user, expected in ((1234, 1234), (0, 1000), (None, 1000)):
        sent = with_code("job-0.5")
        sent["job"]["spec"]["template"]["spec"]["security_context"] = {"run_as_user": user}
        found = planned(sent, BatchSettings())
        unpack = found.owner["spec"]["template"]["spec"]["initContainers"][0]
        assert unpack["securityContext"]["runAsUser"] == expected


def test_a_template_that_is_none_is_refused_with_its_path() -> None:
    with pytest.raises(ValueError, match=r"job_template\.spec\.templat: unknown field"):
        manifests.parse_template({"spec": {"templat": {}}})


@given(st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4), JSON, JSON)
def test_merging_has_laws(user: dict[str, Any], first: Any, second: Any) -> None:
    assert merge(user, {}) == user
    assert merge({}, user) == user
    assert merge({"a": first}, {"a": second})["a"] == merge(first, second)
    if not isinstance(second, list | dict):
        assert merge(first, second) == second
    if isinstance(first, list) and isinstance(second, list):
        assert merge(first, second) == first + second
    assert merge({"mine": 1}, user)["mine"] == 1


@given(st.integers(0, 2**64 - 1), st.integers(1, 80), st.sampled_from([52, 63]))
def test_generated_names_fit(entropy: int, length: int, limit: int) -> None:
    base = "a" * length
    found = generated_name(base, entropy, limit)
    assert len(found) <= limit
    assert re.fullmatch(r"a+[bcdfghjklmnpqrstvwxz2456789]{5}", found)


@pytest.mark.parametrize("name", ["gpu", "GPU large", "1.5", "-", "größe", "x" * 64, "a_", "☃", "a b" * 50])
def test_a_profile_of_any_name_is_a_label(name: str) -> None:
    settings = BatchSettings(profiles={name: {"resources": {"limits": {"cpu": "1"}}}})
    sent = body("job-0.5")
    sent["job"]["metadata"]["labels"] = {"hubfleet.dev/profile": name}
    sent["job"]["metadata"]["annotations"] = {"hubfleet.dev/profile": "another"}
    found = planned(sent, settings)
    for metadata in (found.owner["metadata"], pod_template(found.owner)["metadata"]):
        label = metadata["labels"]["hubfleet.dev/profile"]
        assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", label)
        assert metadata["annotations"]["hubfleet.dev/profile"] == name
    assert len(found.secret["metadata"]["labels"]["hubfleet.dev/profile"]) <= 63


def test_profiles_do_not_share_a_label() -> None:
    names = ["GPU large", "GPU-large", "GPU  large", "GPU large "]
    assert len({manifests.profile_label(name) for name in names}) == len(names)
