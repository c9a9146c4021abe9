"""Probes against their thresholds, and the image rule."""

from typing import Any

import pytest

from localkube.kubelet import image
from localkube.kubelet.prober import Judge


@pytest.mark.parametrize(
    ("probe", "outcomes", "told"),
    [
        ({}, "+", "+"),
        ({}, "--", "  "),
        ({}, "---", "  -"),
        ({"failureThreshold": 1}, "-+-", "-+-"),
        ({"failureThreshold": 1}, "----", "-   "),
        ({"successThreshold": 2, "failureThreshold": 1}, "-+-++", "-   +"),
        ({}, "+--+--+", "+      "),
    ],
)
def test_judge(probe: dict[str, Any], outcomes: str, told: str) -> None:
    judge = Judge(probe)
    heard = "".join(("+" if o == "+" else "-") if judge.add(o == "+") else " " for o in outcomes)
    assert heard == told.ljust(len(outcomes))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("docker.io/library/absent:1", True),
        ("absent", True),
        ("registry:5000/x/absent@sha256:ab", True),
        ("absentee", False),
        ("absent/busybox", False),
        ("", False),
    ],
)
def test_missing_images(name: str, missing: bool) -> None:
    assert image.is_missing(name, ("absent",)) is missing


def test_pull_policies() -> None:
    never = image.refuse({"image": "absent:1", "imagePullPolicy": "Never"}, ("absent",), 3)
    assert never is not None
    assert never.message == 'Container image "absent:1" is not present with pull policy of Never'
    first = image.refuse({"image": "absent:1"}, ("absent",), 0)
    again = image.refuse({"image": "absent:1"}, ("absent",), 1)
    assert (first and first.reason, again and again.reason) == ("ErrImagePull", "ImagePullBackOff")
    assert image.refuse({"image": "x", "imagePullPolicy": "Never"}, ("absent",), 0) is None
