"""What an operator may say of users' pods, and what is refused with its place."""

import pytest

from hubfleet.errors import SettingsError
from hubfleet.policysettings import GroupLimits, PolicySettings
from hubfleet.settings import Settings
from hubfleet.strict import convert, decode_yaml

EXAMPLE = """
tenancy:
  policy:
    level: restricted
    run_as_user: null
    allow:
      priority_classes: [batch-low]
      tolerations: [{key: spot, operator: Exists, effect: NoSchedule}]
      node_labels: [topology.kubernetes.io/zone]
      labels: [example.org/]
      volumes: [image]
      fields: [hostAliases]
    limits: {parallelism: 50, deadline_seconds: 86400, empty_dir: 20Gi, history: null}
    groups:
      gpu-team:
        allow: {runtime_classes: [nvidia]}
        limits: {parallelism: 200}
      legacy: {level: baseline}
"""


def policy(text: str) -> PolicySettings:
    return convert(decode_yaml("settings", text), Settings).tenancy.policy


def test_an_example() -> None:
    found = policy(EXAMPLE)
    assert found.level == "restricted"
    assert found.limits.history is None
    assert found.groups["gpu-team"].limits == GroupLimits(parallelism=200)
    assert found.groups["legacy"].level == "baseline"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("level: privileged", "privileged"),
        ("levels: baseline", "tenancy.policy.levels: unknown key; did you mean level?"),
        ("allow: {volumes: [hostPath]}", "hostPath"),
        ("allow: {fields: [hostNetwork]}", "hostNetwork"),
        ("allow: {labels: [hubfleet.dev/]}", "'hubfleet.dev/' is hubfleet's own"),
        ("allow: {annotations: [kbatch.jupyter.org/username]}", "hubfleet's own"),
        ("allow: {labels: ['']}", "neither a name nor a prefix"),
        ("allow: {labels: ['*']}", "neither a name nor a prefix"),
        ("allow: {tolerations: [{keys: a}]}", "unknown key 'keys'"),
        ("allow: {capabilities: [SYS_ADMIN]}", "tenancy.policy.allow.capabilities: unknown key"),
        ("limits: {parallelism: -1}", "parallelism"),
        ("limits: {empty_dir: lots}", "not a quantity"),
        ("limits: {deadline_seconds: 0}", "cannot run"),
        ("run_as_user: 0", "run_as_user"),
        ("groups: {a: {alow: {}}}", "tenancy.policy.groups.a.alow: unknown key; did you mean allow?"),
        ("groups: {a: {limits: {empty_dir: lots}}}", "not a quantity"),
        ("enforce: restricted", "restricted refuses the pods that the level baseline allows"),
        ("{level: restricted, enforce: restricted, groups: {a: {level: baseline}}}", "refuses the pods"),
    ],
)
def test_what_is_refused(text: str, problem: str) -> None:
    whole = f"tenancy: {{policy: {text if text.startswith('{') else '{' + text + '}'}}}"
    with pytest.raises(SettingsError, match=problem.replace("?", r"\?").replace("*", r"\*")):
        policy(whole)
