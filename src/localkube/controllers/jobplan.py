"""What a Job needs next: the job controller's decisions, as one pure function.

The law that everything here serves: each pod is counted once, whoever dies in between. A pod carries a
finalizer until its end is written down in three steps, each of which can be repeated after a crash:

1. its uid goes into `status.uncountedTerminatedPods` (`Plan.status`),
2. its finalizer is removed (`Plan.release`),
3. `status.succeeded` or `status.failed` goes up and the uid goes away, in one write (`Plan.final`).

A uid in the list whose pod has no finalizer (or is gone) has passed step 2 but not step 3. The Job is
declared Complete or Failed only when nothing is uncounted and no pod is terminating any more.

Behaviour and texts are those of kube-controller-manager 1.36 (pkg/controller/job).
"""

import copy
from datetime import datetime, timedelta
from typing import Any

import msgspec

from localkube.controllers import indexes, jobpods, jobpolicy, jobstatus, perindex, times
from localkube.controllers.jobpolicy import BACKOFF_FIRST, BACKOFF_MOST, Backoff

Object = dict[str, Any]

CREATE_MOST = 100
"""Pods created in one plan; the rest follows in the next, so that others get their turn (Kubernetes: 500)."""

Outcome = tuple[str, str, str]
"""Type, reason and message of the condition that decides how a Job ends."""

COMPLETIONS_REACHED: Outcome = (
    "SuccessCriteriaMet",
    "CompletionsReached",
    "Reached expected number of succeeded pods",
)


class Notice(msgspec.Struct, frozen=True):
    """An Event to record on the Job."""

    type: str
    reason: str
    message: str


class Plan(msgspec.Struct):
    """What to do, in the order of the fields."""

    drop: list[Object] = []
    """Pods to delete without counting them: the finalizer goes first."""
    delete: list[Object] = []
    """Pods to delete that count as failed."""
    create: list[Object] = []
    status: Object = {}
    """The Job's status before finalizers are removed."""
    release: list[Object] = []
    """Pods whose finalizer is to be removed once `status` is written."""
    final: Object = {}
    """The Job's status after that."""
    notices: list[Notice] = []
    again: float | None = None
    """Seconds after which to plan again even if nothing changes."""
    backoff: Backoff = Backoff()


def plan(
    job: Object,
    pods: list[Object],
    now: datetime,
    backoff: Backoff | None = None,
    *,
    first: float = BACKOFF_FIRST,
    most: float = BACKOFF_MOST,
) -> Plan:
    """What `job` needs, given all pods that it controls.

    `backoff` is what the plan before answered, None if there is none to continue (a restart). `first` and
    `most` are the bounds of the wait between failures, in seconds.
    """
    status: Object = copy.deepcopy(job.get("status") or {})
    if jobstatus.finished(job):
        return Plan(status=status, final=status, release=[p for p in pods if jobpods.is_tracked(p)])
    return _Planner(job, pods, now, status, backoff, first, most).plan()


class _Planner:
    """The intermediate results of one call of `plan`."""

    def __init__(
        self,
        job: Object,
        pods: list[Object],
        now: datetime,
        status: Object,
        backoff: Backoff | None,
        first: float,
        most: float,
    ) -> None:
        self.job, self.spec, self.pods, self.now = job, job["spec"], pods, now
        self.status = status
        self.first, self.most = first, most
        self.result = Plan()
        self.suspended = bool(self.spec.get("suspend"))
        self.being_deleted = jobpods.deleting(job)
        self.completions: int | None = self.spec.get("completions")
        self.indexed = jobpods.is_indexed(job)

        uncounted = status.get("uncountedTerminatedPods") or {}
        self.uncounted_succeeded: list[str] = list(uncounted.get("succeeded") or ())
        self.uncounted_failed: list[str] = list(uncounted.get("failed") or ())
        tracked = {pod["metadata"]["uid"] for pod in pods if jobpods.is_tracked(pod)}
        self._count_released(tracked)

        known = {*self.uncounted_succeeded, *self.uncounted_failed}
        fresh = [
            p for p in pods if jobpods.is_tracked(p) and p["metadata"]["uid"] not in known and self.valid(p)
        ]
        self.new_succeeded = [p for p in fresh if jobpods.phase(p) == "Succeeded"]
        self.new_failed = [p for p in fresh if jobpods.is_failed(p, job)]

        self.indexes = indexes.parse(status.get("completedIndexes", ""), self.completions or 0) | {
            index for pod in self.new_succeeded if (index := jobpods.completion_index(pod)) is not None
        }
        # of an Indexed Job with a limit for each index: those that have failed, and from where others go on
        self.failed_indexes: set[int] = set()
        self.last_failures: dict[int, Object] = {}
        policy = self.spec.get("podFailurePolicy")
        self.failed = (
            status.get("failed", 0)
            + len(self.uncounted_failed)
            + sum(jobpolicy.judge(policy, pod).counts for pod in self.new_failed)
        )
        if self.indexed:
            self.succeeded = len(self.indexes)
        else:
            self.succeeded = (
                status.get("succeeded", 0) + len(self.uncounted_succeeded) + len(self.new_succeeded)
            )
        active = [pod for pod in pods if jobpods.is_active(pod)]
        self.active = [pod for pod in active if jobpods.is_tracked(pod)]
        # Whoever took the finalizer away died before the deletion: such a pod could end uncounted.
        self.strays = [pod for pod in active if not jobpods.is_tracked(pod)]
        self.terminating = sum(map(jobpods.is_terminating, pods))
        if self.indexed and perindex.applies(job):
            before = indexes.parse(status.get("failedIndexes", ""), self.completions or 0)
            self.failed_indexes = before | perindex.failed(job, self.new_failed)
            running = {index for pod in active if (index := jobpods.completion_index(pod)) is not None}
            over = self.indexes | self.failed_indexes | running
            self.last_failures = perindex.last_failures(self.new_failed, over)
        if backoff is None:
            # a new controller process: what earlier ones counted can be read off the pods that are left
            backoff = Backoff().after(
                [p for p in pods if not jobpods.is_tracked(p) and jobpods.phase(p) == "Succeeded"],
                [
                    p
                    for p in pods
                    if not jobpods.is_tracked(p) and jobpods.phase(p) == "Failed" and not jobpods.deleting(p)
                ],
            )
        self.backoff = backoff.after(self.new_succeeded, self.new_failed)

    def valid(self, pod: Object) -> bool:
        """Whether the pod can count: an Indexed Job knows only its own indexes."""
        if not self.indexed:
            return True
        index = jobpods.completion_index(pod)
        return index is not None and index < (self.completions or 0)

    def plan(self) -> Plan:
        result, status = self.result, self.status
        if not self.suspended and (
            "startTime" not in status or jobstatus.condition(self.status, "Suspended") is not None
        ):
            # a Job that is resumed starts its clock anew, before its deadline is looked at
            status["startTime"] = times.text(self.now)
        outcome = self._outcome()
        removed: list[Object] = []
        active = len(self.active)
        if outcome is not None:
            result.delete = removed = [*self.strays, *self.active]
            active = 0
        else:
            if not self.being_deleted:
                surplus, result.create = self._manage()
                result.drop = removed = [*self.strays, *surplus]
                active += len(result.create) - len(surplus)
            if self._complete(active):
                outcome = (
                    "SuccessCriteriaMet",
                    "CompletionsReached",
                    "Reached expected number of succeeded pods",
                )
            elif not self.being_deleted:
                self._suspension()
        gone = {pod["metadata"]["uid"] for pod in removed}
        jobstatus.set_count(status, "active", active)
        status["ready"] = sum(jobpods.is_ready(p) for p in self.active if p["metadata"]["uid"] not in gone)
        status["terminating"] = self.terminating + len(removed)

        self._track({pod["metadata"]["uid"] for pod in result.drop}, outcome)
        if outcome is not None and jobstatus.condition(self.status, outcome[0]) is None:
            jobstatus.add_condition(self.status, self.now, *outcome)
        status["uncountedTerminatedPods"] = jobstatus.uncounted(
            self.uncounted_succeeded, self.uncounted_failed
        )
        result.status = copy.deepcopy(status)

        self._count_released(set())
        status["uncountedTerminatedPods"] = {}
        if outcome is not None and status["terminating"] == 0:
            self._finish(outcome)
        result.final = status
        result.backoff = self.backoff
        return result

    def _outcome(self) -> Outcome | None:
        """The condition (type, reason, message) that ends the Job, when there is no need to look further."""
        for kind in ("SuccessCriteriaMet", "FailureTarget"):
            condition = jobstatus.condition(self.status, kind)
            if condition is not None:
                return kind, condition["reason"], condition["message"]
        policy = self.spec.get("podFailurePolicy")
        if policy:
            for pod in self.pods:
                if jobpods.is_failed(pod, self.job) and (why := jobpolicy.judge(policy, pod).fails_job):
                    return "FailureTarget", "PodFailurePolicy", why
        limit = self.spec.get("backoffLimit", 6)
        if self.failed > limit or self._restarted_too_often(limit):
            return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        seconds = self.spec.get("activeDeadlineSeconds")
        if seconds is not None and not self.suspended and "startTime" in self.status:
            left = times.parse(self.status["startTime"]) + timedelta(seconds=seconds) - self.now
            if left <= timedelta(0):
                return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
            self._again(left.total_seconds())
        failed = len(self.failed_indexes)
        if failed > self.spec.get("maxFailedIndexes", failed):
            message = "Job has exceeded the specified maximal number of failed indexes"
            return "FailureTarget", "MaxFailedIndexesExceeded", message
        if failed and failed + len(self.indexes) >= (self.completions or 0):
            return "FailureTarget", "FailedIndexes", "Job has failed indexes"
        if self.indexed:
            why = jobpolicy.success(self.spec.get("successPolicy"), self.completions or 0, self.indexes)
            if why:
                return "SuccessCriteriaMet", "SuccessPolicy", why
        return None

    def _restarted_too_often(self, limit: int) -> bool:
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(map(jobpods.restarts, self.pods))
        return restarts > 0 if limit == 0 else restarts >= limit

    def _manage(self) -> tuple[list[Object], list[Object]]:
        """The pods to drop and those to create, so that as many run as should."""
        parallelism = self.spec.get("parallelism", 1)
        active = len(self.active)
        if self.suspended:
            return self.active, []
        if self.completions is None:
            # a work queue: after the first success nothing is added, and what runs may end by itself
            wanted = active if self.succeeded else parallelism
        else:
            wanted = max(0, min(self.completions - self.succeeded, parallelism))
        surplus = self._surplus(max(0, active - wanted))
        if surplus:
            return surplus, []
        missing = wanted - active - (self.terminating if jobpods.only_replaces_failed(self.job) else 0)
        if missing <= 0:
            return [], []
        per_index = perindex.applies(self.job)
        wait = 0.0 if per_index else self.backoff.remaining(self.now, self.first, self.most)
        if wait > 0:
            self._again(wait)
            return [], []
        if missing > CREATE_MOST:
            missing = CREATE_MOST
            self._again(0.0)
        found = self._next_indexes(missing)
        if per_index:
            return [], self._of_each_index([index for index in found if index is not None])
        return [], [jobpods.build(self.job, index) for index in found]

    def _of_each_index(self, wanted: list[int]) -> list[Object]:
        """New pods for those of the indexes whose own back-off is over."""
        created = []
        for index in wanted:
            last = self.last_failures.get(index)
            wait = perindex.remaining(last, self.now, self.first, self.most) if last is not None else 0.0
            if wait > 0:
                self._again(wait)
            else:
                created.append(jobpods.build(self.job, index, perindex.annotations(self.job, last)))
        return created

    def _surplus(self, at_least: int) -> list[Object]:
        ranked = sorted(self.active, key=jobpods.removal_rank)
        if not self.indexed:
            return ranked[:at_least]
        surplus: list[Object] = []
        kept: dict[int, Object] = {}
        for pod in reversed(ranked):
            index = jobpods.completion_index(pod)
            if index is None or not self.valid(pod) or index in kept:
                surplus.append(pod)
            else:
                kept[index] = pod
        rest = sorted(kept.values(), key=jobpods.removal_rank)
        return surplus + rest[: max(0, at_least - len(surplus))]

    def _next_indexes(self, count: int) -> list[int | None]:
        if not self.indexed:
            return [None] * count
        taken = self.indexes | self.failed_indexes
        for pod in self.pods:
            held = jobpods.is_terminating(pod) and jobpods.only_replaces_failed(self.job)
            if jobpods.is_active(pod) or held:
                index = jobpods.completion_index(pod)
                if index is not None:
                    taken.add(index)
        found: list[int | None] = []
        for index in range(self.completions or 0):
            if len(found) == count:
                break
            if index not in taken:
                found.append(index)
        return found

    def _complete(self, active: int) -> bool:
        if active:
            return False
        if self.completions is None:
            return self.succeeded > 0
        return self.succeeded >= self.completions

    def _suspension(self) -> None:
        """Keep the Suspended condition."""
        condition = next((c for c in self.status.get("conditions") or () if c["type"] == "Suspended"), None)
        wanted = "True" if self.suspended else "False"
        if condition is None and not self.suspended:
            return
        if condition is not None and condition["status"] == wanted:
            return
        if condition is not None:
            self.status["conditions"].remove(condition)
        if self.suspended:
            jobstatus.add_condition(self.status, self.now, "Suspended", "JobSuspended", "Job suspended")
            self._notice("Normal", "Suspended", "Job suspended")
        else:
            jobstatus.add_condition(self.status, self.now, "Suspended", "JobResumed", "Job resumed", "False")
            self._notice("Normal", "Resumed", "Job resumed")

    def _track(self, dropped: set[str], outcome: Outcome | None) -> None:
        """Note the pods that have ended as uncounted, and release all that need not be kept."""
        policy = self.spec.get("podFailurePolicy")
        known_failed, known_succeeded = set(self.uncounted_failed), set(self.uncounted_succeeded)
        for pod in self.pods:
            uid = pod["metadata"]["uid"]
            if not jobpods.is_tracked(pod) or uid in dropped:
                continue
            failed = jobpods.is_failed(pod, self.job)
            succeeded = jobpods.phase(pod) == "Succeeded"
            if not (self.being_deleted or outcome is not None or succeeded or failed):
                continue
            last = (
                self.last_failures.get(index)
                if (index := jobpods.completion_index(pod)) is not None
                else None
            )
            if last is pod and outcome is None and not self.being_deleted:
                continue  # its replacement takes the count of failures from it
            self.result.release.append(pod)
            if succeeded and uid not in known_failed:
                # of an Indexed Job's pod the index is enough to know that it was counted
                if not self.indexed and uid not in known_succeeded:
                    self.uncounted_succeeded.append(uid)
                continue
            # when a Job has failed, pods that have not ended yet have failed with it
            lost = failed or (outcome is not None and outcome[0] == "FailureTarget")
            if lost and uid not in known_failed and self.valid(pod) and jobpolicy.judge(policy, pod).counts:
                self.uncounted_failed.append(uid)
        if self.indexed:
            jobstatus.set_text(self.status, "completedIndexes", indexes.text(self.indexes))
            jobstatus.set_count(self.status, "succeeded", len(self.indexes))
            if perindex.applies(self.job):
                self.status["failedIndexes"] = indexes.text(self.failed_indexes)

    def _count_released(self, tracked: set[str]) -> None:
        """Step 3 for the uids whose pods no longer have the finalizer."""
        for name, uids in (("succeeded", self.uncounted_succeeded), ("failed", self.uncounted_failed)):
            left = [uid for uid in uids if uid in tracked]
            if len(left) < len(uids):
                self.status[name] = self.status.get(name, 0) + len(uids) - len(left)
                uids[:] = left

    def _finish(self, outcome: Outcome) -> None:
        kind, reason, message = outcome
        if kind == "FailureTarget":
            jobstatus.add_condition(self.status, self.now, "Failed", reason, message)
            self._notice("Warning", reason, message)
            return
        jobstatus.add_condition(self.status, self.now, "Complete", reason, message)
        self.status["completionTime"] = times.text(self.now)
        if self.completions is not None and self.status.get("succeeded", 0) > self.completions:
            self._notice(
                "Warning",
                "TooManySucceededPods",
                "Too many succeeded pods running after completion count reached",
            )
        self._notice("Normal", "Completed", "Job completed")

    def _notice(self, type_: str, reason: str, message: str) -> None:
        self.result.notices.append(Notice(type_, reason, message))

    def _again(self, seconds: float) -> None:
        again = self.result.again
        self.result.again = seconds if again is None else min(again, seconds)
