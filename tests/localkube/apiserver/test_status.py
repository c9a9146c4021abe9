from localkube.apiserver import status
from localkube.apiserver.status import FieldError


def test_a_refusal_carries_the_whole_status() -> None:
    refusal = status.not_found("jobs.batch", "j")
    assert refusal.status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'jobs.batch "j" not found',
        "reason": "NotFound",
        "details": {"name": "j", "group": "batch", "kind": "jobs"},
        "code": 404,
    }
    assert (refusal.code, refusal.reason, str(refusal)) == (404, "NotFound", 'jobs.batch "j" not found')


def test_one_cause_stands_alone_and_several_in_brackets() -> None:
    one, two = FieldError("FieldValueRequired", "a", "Required value"), FieldError("R", "b", "Forbidden: no")
    assert status.invalid("Job", "batch", "j", [one]).message == 'Job.batch "j" is invalid: a: Required value'
    several = status.invalid("Pod", "", "p", [one, two])
    assert several.message == 'Pod "p" is invalid: [a: Required value, b: Forbidden: no]'
    assert [cause["field"] for cause in several.status["details"]["causes"]] == ["a", "b"]


def test_equal_messages_are_said_once_but_stay_causes() -> None:
    twice = status.invalid("Pod", "", "p", [FieldError("R", "a", "Required value")] * 2)
    assert twice.message == 'Pod "p" is invalid: a: Required value'
    assert len(twice.status["details"]["causes"]) == 2


def test_an_unclassified_error_has_no_reason_and_no_details() -> None:
    assert set(status.unclassified("x").status) == {
        "kind",
        "apiVersion",
        "metadata",
        "status",
        "message",
        "code",
    }


def test_forbidden_names_the_object_only_where_one_is_known() -> None:
    assert status.forbidden("pods", "p", "no").message == 'pods "p" is forbidden: no'
    assert status.forbidden("pods", "", "no").message == "pods is forbidden: no"
