"""Whatever is done for one operation takes from the same time."""

from hubfleet.kube.budget import Budget


def test_it_runs_out() -> None:
    now = 100.0
    budget = Budget(2, clock=lambda: now)
    assert budget.left() == 2 and not budget.expired
    now = 101.5
    assert budget.left() == 0.5
    now = 103
    assert budget.left() == 0 and budget.expired
