"""The CronJob controller: starts a Job at each scheduled time, and keeps the history short.

A Job's name is made from its scheduled minute, so a controller that dies between creating the Job and
noting it in the status finds the Job there when it tries again, and no time is ever run twice.
"""

import asyncio
import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from localkube.apiserver import schedule
from localkube.apiserver.registry import Registry
from localkube.apiserver.schedule import Schedule
from localkube.apiserver.status import StatusError
from localkube.controllers import jobstatus, times
from localkube.controllers.events import Recorder
from localkube.controllers.feed import Feed
from localkube.controllers.jobplan import Notice
from localkube.controllers.owners import Key, Owned, controller_of, controller_reference, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

CRONJOBS = "cronjobs.batch"
JOBS = "jobs.batch"
MANAGER = "kube-controller-manager"
COMPONENT = "cronjob-controller"
SCHEDULED_TIME = "batch.kubernetes.io/cronjob-scheduled-timestamp"
"""Annotation of a Job: the time that it was scheduled for, in the CronJob's time zone."""

MISSED_MOST = 100
"""More missed times than this since the last run are worth a warning: a wrong clock, or a controller that was
gone for long."""
LATE = 0.1
"""Seconds after the scheduled time at which it is looked at, so that timers which fire early do no harm."""
CLOCK_PERIOD = 15.0
"""Seconds between looks at the clock on the wall: timers stand still while a laptop sleeps."""
CLOCK_STEP = 1.0
"""Seconds by which the clock on the wall may differ from the timers' before all schedules are looked at."""


class Due(msgspec.Struct, frozen=True):
    """Whether a CronJob is to run now, and when to look again."""

    time: datetime | None = None
    """The scheduled time that has passed without a run, if there is one that may still run."""
    again: float | None = None
    """Seconds until the next scheduled time; None if the CronJob has to change first."""
    notices: tuple[Notice, ...] = ()


def observe(cron: Object, jobs: list[Object]) -> tuple[Object, list[Notice]]:
    """The status of a CronJob after a look at the Jobs that it controls, and what to tell about it."""
    status = copy.deepcopy(cron.get("status") or {})
    notices = []
    active = {reference["uid"]: reference for reference in status.get("active") or ()}
    found = {job["metadata"]["uid"]: job for job in jobs}
    for uid, job in found.items():
        name = job["metadata"]["name"]
        ended = jobstatus.finished(job)
        if not ended:
            if uid not in active:
                message = f"Saw a job that the controller did not create or forgot: {name}"
                notices.append(Notice("Warning", "UnexpectedJob", message))
            continue
        if active.pop(uid, None) is not None:
            message = f"Saw completed job: {name}, condition: {ended}"
            notices.append(Notice("Normal", "SawCompletedJob", message))
        completed = job["status"].get("completionTime")
        if ended == "Complete" and completed and completed > status.get("lastSuccessfulTime", ""):
            status["lastSuccessfulTime"] = completed
    for uid in active.keys() - found.keys():
        message = f"Active job went missing: {active.pop(uid)['name']}"
        notices.append(Notice("Normal", "MissingJob", message))
    set_active(status, list(active.values()))
    return status, notices


def due(cron: Object, status: Object, now: datetime) -> Due:
    """Whether a run is due at `now`, the schedule, suspension and starting deadline considered."""
    spec = cron["spec"]
    zone = spec.get("timeZone")
    try:
        location(zone)
    except (ZoneInfoNotFoundError, ValueError) as e:
        return Due(notices=(Notice("Warning", "UnknownTimeZone", f'invalid timeZone: "{zone}": {e}'),))
    if spec.get("suspend"):
        return Due()
    try:
        times_of = schedule.parse(spec["schedule"], zone or "UTC")
    except ValueError as e:
        message = f'unparseable schedule: "{spec["schedule"]}" : {e}'
        return Due(notices=(Notice("Warning", "UnparseableSchedule", message),))
    earliest = times.parse(status.get("lastScheduleTime") or cron["metadata"]["creationTimestamp"])
    again = _until_next(times_of, earliest, now)
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline))
    try:
        time, missed = most_recent(times_of, earliest, now)
    except ValueError as e:
        message = f"invalid schedule: {spec['schedule']} : {e}"
        return Due(notices=(Notice("Warning", "InvalidSchedule", message),))
    if time is None:
        return Due(again=again)
    notices = []
    if missed > MISSED_MOST:
        message = (
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        )
        notices.append(Notice("Warning", "TooManyMissedTimes", message))
    if deadline is not None and time + timedelta(seconds=deadline) < now:
        when = time.strftime("%a, %d %b %Y %H:%M:%S UTC")
        notices.append(Notice("Warning", "MissSchedule", f"Missed scheduled time to start a job: {when}"))
        return Due(again=again, notices=tuple(notices))
    if any(reference["name"] == job_name(cron, time) for reference in status.get("active") or ()):
        return Due(again=again)
    return Due(time, again, tuple(notices))


def most_recent(times_of: Schedule, earliest: datetime, now: datetime) -> tuple[datetime | None, int]:
    """The last scheduled time in (earliest, now], and about how many there were.

    Like the original it does not walk through them all: a clock that is wrong by years must not stop
    the controller. Raises ValueError when there are no two such times within `schedule.YEARS`.
    """
    first = times_of.next(earliest)
    second = times_of.next(first) if first is not None else None
    if first is None or second is None:
        raise ValueError("time difference between two schedules is less than 1 second")
    if now < first:
        return None, 0
    if now < second:
        return first, 1
    apart = second - first
    missed = (now - first) // apart + 1
    recent: datetime | None = None
    # one interval earlier than the estimate, as schedules such as `30 6-16/4 * * 1-5` are not regular
    time = times_of.next(first + (missed - 2) * apart)
    while time is not None and time <= now:
        recent, time = time, times_of.next(time)
    return recent, missed


def _until_next(times_of: Schedule, earliest: datetime, now: datetime) -> float | None:
    try:
        recent, missed = most_recent(times_of, earliest, now)
    except ValueError:
        recent, missed = now, 1
    if recent is None:
        recent = now if missed else earliest
    upcoming = times_of.next(recent)
    return (upcoming - now).total_seconds() + LATE if upcoming is not None else None


def location(zone: str | None) -> ZoneInfo:
    """The time zone of a CronJob; UTC where it has none. Raises ZoneInfoNotFoundError and ValueError."""
    return ZoneInfo(zone or "UTC")


def job_name(cron: Object, time: datetime) -> str:
    return f"{cron['metadata']['name']}-{int(time.timestamp()) // 60}"


def job_for(cron: Object, time: datetime) -> Object:
    """The Job that runs `cron` for the scheduled `time`."""
    template = cron["spec"]["jobTemplate"]
    meta = template.get("metadata") or {}
    wall = time.astimezone(location(cron["spec"].get("timeZone"))).replace(microsecond=0)
    offset = wall.isoformat() if wall.utcoffset() else times.text(wall)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(cron, time),
            "namespace": cron["metadata"]["namespace"],
            "labels": dict(meta.get("labels") or {}),
            "annotations": {**(meta.get("annotations") or {}), SCHEDULED_TIME: offset},
            "ownerReferences": [controller_reference(cron)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }


def outdated(cron: Object, jobs: list[Object]) -> list[Object]:
    """The finished Jobs beyond the history limits, oldest first."""
    found: list[Object] = []
    for ended, name in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        limit = cron["spec"].get(name)
        if limit is None:
            continue
        done = sorted((job for job in jobs if jobstatus.finished(job) == ended), key=_by_start)
        found += done[: max(0, len(done) - limit)]
    return found


def _by_start(job: Object) -> tuple[bool, str, str]:
    start = job["status"].get("startTime", "")
    return not start, start, job["metadata"]["name"]


def set_active(status: Object, references: list[Object]) -> None:
    """The list is left out when empty, as Go's `omitempty` does."""
    if references:
        status["active"] = references
    else:
        status.pop("active", None)


class CronJobController:
    """Runs CronJobs; the time is the registry's."""

    def __init__(self, registry: Registry, feed: Feed) -> None:
        self._registry = registry
        self._events = Recorder(registry, COMPONENT)
        self._queue: WorkQueue[Key] = WorkQueue("cronjob")
        self._jobs = Owned("CronJob", lambda namespace, owner: self._queue.add((namespace, owner["name"])))
        feed.on(JOBS, self._jobs.observe)
        feed.on(CRONJOBS, self._observe)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    async def run_clock(self) -> None:
        """Look at all schedules when the time of day has jumped."""
        while True:
            expected = self._registry.clock() + timedelta(seconds=CLOCK_PERIOD)
            await asyncio.sleep(CLOCK_PERIOD)
            if abs((self._registry.clock() - expected).total_seconds()) > CLOCK_STEP:
                for cron in self._registry.list(CRONJOBS):
                    self._queue.add(key_of(cron))

    def _observe(self, _: str, before: Object | None, now: Object | None) -> None:
        if now is not None and (before is None or before["spec"] != now["spec"]):
            self._queue.add(key_of(now))

    def sync(self, key: Key) -> float | None:
        """Look at one CronJob; answers the seconds until its next scheduled time."""
        version = self._registry.store.get(CRONJOBS, *key)
        if version is None:
            return None
        cron = version.object
        jobs = self._jobs.of(cron["metadata"]["uid"])
        status, notices = observe(cron, jobs)
        self._tell(cron, notices)
        run = Due()
        if "deletionTimestamp" not in cron["metadata"]:
            run = due(cron, status, self._registry.clock())
            self._tell(cron, run.notices)
            if run.time is not None and self._may_start(cron, status):
                self._start(cron, status, run.time)
        for job in outdated(cron, jobs):
            self._delete(cron, status, job["metadata"])
        if status != (cron.get("status") or {}):
            changed = {**cron, "status": status}
            self._registry.update(CRONJOBS, key[0], changed, subresource="status", manager=MANAGER)
        return run.again

    def _may_start(self, cron: Object, status: Object) -> bool:
        """Apply the concurrency policy."""
        active = status.get("active") or []
        match cron["spec"].get("concurrencyPolicy"):
            case "Forbid" if active:
                message = (
                    "Not starting job because prior execution is running and concurrency policy is Forbid"
                )
                self._events.normal(cron, "JobAlreadyActive", message)
                return False
            case "Replace":
                for reference in list(active):
                    self._delete(cron, status, reference)
        return True

    def _start(self, cron: Object, status: Object, time: datetime) -> None:
        namespace = cron["metadata"]["namespace"]
        wanted = job_for(cron, time)
        try:
            job = self._registry.create(JOBS, namespace, wanted, manager=MANAGER)
        except StatusError as e:
            if e.reason != "AlreadyExists":
                self._events.warning(cron, "FailedCreate", f"Error creating job: {e}")
                raise
            # made by a controller that died before it noted it, or by someone else
            job = self._registry.get(JOBS, namespace, wanted["metadata"]["name"])
            owner = controller_of(job)
            if owner is None or owner["uid"] != cron["metadata"]["uid"]:
                return
        else:
            self._events.normal(cron, "SuccessfulCreate", f"Created job {job['metadata']['name']}")
        status["lastScheduleTime"] = times.text(time.astimezone(UTC))
        if not jobstatus.finished(job):
            set_active(status, [*(status.get("active") or ()), _reference(job)])

    def _delete(self, cron: Object, status: Object, job: Object) -> None:
        """Delete a Job with its pods; `job` is anything with its name and uid."""
        namespace = cron["metadata"]["namespace"]
        try:
            self._registry.delete(JOBS, namespace, job["name"], uid=job["uid"], propagation="Background")
        except StatusError as e:
            if e.code != 404:
                self._events.warning(cron, "FailedDelete", f"Deleted job: {e}")
                raise
        left = [reference for reference in status.get("active") or () if reference["uid"] != job["uid"]]
        set_active(status, left)
        self._events.normal(cron, "SuccessfulDelete", f"Deleted job {job['name']}")

    def _tell(self, cron: Object, notices: list[Notice] | tuple[Notice, ...]) -> None:
        for notice in notices:
            self._events.record(cron, notice.type, notice.reason, notice.message)


def _reference(job: Object) -> Object:
    meta = job["metadata"]
    return {
        "kind": "Job",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": "batch/v1",
        "resourceVersion": meta["resourceVersion"],
    }
