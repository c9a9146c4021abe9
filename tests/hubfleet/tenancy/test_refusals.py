"""What a real API server said, word for word, and what the user is told."""

import pytest

from hubfleet.kube.errors import ApiError, from_status
from hubfleet.tenancy.refusals import Right, explained, missing_right, of_a_pod


def refused(message: str, code: int = 403, **details: object) -> ApiError:
    reason = {403: "Forbidden", 404: "NotFound"}[code]
    status = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return from_status("west", status)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            'pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
            "This would exceed your quota on cluster west: pods: 1 of 1 used, 1 more asked for",
        ),
        (
            'jobs.batch "b" is forbidden: exceeded quota: hubfleet, requested: count/jobs.batch=1,'
            "requests.cpu=600m, used: count/jobs.batch=3,requests.cpu=1500m, limited: count/jobs.batch=3,"
            "requests.cpu=2",
            "This would exceed your quota on cluster west: count/jobs.batch: 3 of 3 used, 1 more asked for; "
            "requests.cpu: 1500m of 2 used, 600m more asked for",
        ),
        (
            'pods "b" is forbidden: exceeded quota: hubfleet-priority, requested: pods=1, used: pods=0, '
            "limited: pods=0",
            "Pods with a priority class are not allowed on cluster west",
        ),
        (
            'pods "b" is forbidden: exceeded quota: hubfleet-affinity, requested: pods=1, used: pods=0, '
            "limited: pods=0",
            "Affinity to pods of other namespaces is not allowed on cluster west",
        ),
        (
            'pods "b" is forbidden: failed quota: q: must specify requests.cpu for: c',
            "Your quota on cluster west counts what every container asks for, so each must say it: "
            "requests.cpu for: c",
        ),
    ],
)
def test_a_quota_is_told_with_its_numbers(message: str, words: str) -> None:
    error = explained(refused(message), "hubfleet-ada")
    assert error is not None
    assert (error.status, error.detail) == (403, words)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (
            'Error creating: pods "a-x7f" is forbidden: exceeded quota: hubfleet, requested: pods=1, used: '
            "pods=5, limited: pods=5",
            "exceeded quota hubfleet: pods: 5 of 5 used, 1 more asked for",
        ),
        (
            'Error creating: pods "a-x7f" is forbidden: violates PodSecurity "baseline:latest": host',
            'pods "a-x7f" is forbidden: violates PodSecurity "baseline:latest": host',
        ),
    ],
)
def test_why_a_pod_could_not_be_made(message: str, words: str) -> None:
    assert of_a_pod(message) == words


def test_a_namespace_that_goes_is_told_with_when_to_try_again() -> None:
    message = (
        'jobs.batch "x" is forbidden: unable to create new content in namespace hubfleet-ada because it is '
        "being terminated"
    )
    for error in (refused(message), refused("...", causes=[{"reason": "NamespaceTerminating"}])):
        words = explained(error, "hubfleet-ada")
        assert words is not None
        assert (words.status, bool(words.retry_after)) == (409, True)


@pytest.mark.parametrize(
    "error",
    [
        refused('pods "b" is forbidden: maximum cpu usage per Container is 1, but limit is 2'),
        refused('pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces'),
        refused('jobs.batch "x" not found', 404),
    ],
)
def test_everything_else_is_left_in_the_api_servers_words(error: ApiError) -> None:
    assert explained(error, "hubfleet-ada") is None
    assert missing_right(error) is None


@pytest.mark.parametrize(
    ("message", "right"),
    [
        (
            'jobs.batch is forbidden: User "hub:alice" cannot create resource "jobs" in API group "batch" in '
            'the namespace "n"',
            Right("create", "jobs.batch", "n"),
        ),
        (
            'namespaces "x" is forbidden: User "u" cannot patch resource "namespaces" in API group "" at the '
            "cluster scope",
            Right("patch", "namespaces"),
        ),
        (
            'serviceaccounts "hubfleet-user" is forbidden: User "u" cannot impersonate resource '
            '"serviceaccounts" in API group "" in the namespace "hubfleet-ada"',
            Right("impersonate", "serviceaccounts", "hubfleet-ada"),
        ),
        (
            'rolebindings.rbac.authorization.k8s.io "hubfleet-user" is forbidden: user "u" (groups=["g"]) is '
            'attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], ...}',
            Right("bind", "clusterroles.rbac.authorization.k8s.io hubfleet-user, hubfleet-impersonator"),
        ),
    ],
)
def test_the_right_that_is_missing_is_named(message: str, right: Right) -> None:
    assert missing_right(refused(message)) == right
