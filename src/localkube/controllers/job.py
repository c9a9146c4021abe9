"""The job controller's loop: carries out what `jobplan` decides.

The order within one look at a Job matters to whoever dies in between: see `jobplan`.
"""

from typing import Any

from localkube.apiserver.registry import Registry
from localkube.apiserver.status import StatusError
from localkube.controllers import jobplan, jobpods, jobstatus
from localkube.controllers.events import Recorder
from localkube.controllers.feed import Feed
from localkube.controllers.jobplan import Plan
from localkube.controllers.jobpolicy import BACKOFF_FIRST, BACKOFF_MOST, Backoff
from localkube.controllers.owners import Key, Owned, controller_of, key_of
from localkube.controllers.workqueue import WorkQueue

Object = dict[str, Any]

JOBS = "jobs.batch"
MANAGER = "kube-controller-manager"
COMPONENT = "job-controller"
MANAGED_BY = "kubernetes.io/job-controller"
"""The `spec.managedBy` that means this controller; Jobs with another are left alone."""
API_BACKOFF = 1.0
"""Seconds until a Job is tried again whose pods were refused (DefaultJobApiBackOff)."""


class JobController:
    """Runs Jobs. `backoff_first` and `backoff_most` bound the wait between failed pods, in seconds."""

    def __init__(
        self,
        registry: Registry,
        feed: Feed,
        *,
        backoff_first: float = BACKOFF_FIRST,
        backoff_most: float = BACKOFF_MOST,
    ) -> None:
        self._registry = registry
        self._events = Recorder(registry, COMPONENT)
        self._backoff_first = backoff_first
        self._backoff_most = backoff_most
        self._queue: WorkQueue[Key] = WorkQueue(
            "job", retry_first=API_BACKOFF, requests=lambda: registry.requests
        )
        self._orphans: WorkQueue[Key] = WorkQueue("job orphans")
        self._pods = Owned("Job", lambda namespace, owner: self._queue.add((namespace, owner["name"])))
        self._backoffs: dict[str, Backoff] = {}
        # a pod's end is looked at through its Job; one that is left without a Job must not keep the finalizer
        feed.on("pods", self._pods.observe)
        feed.on("pods", self._observe_pod)
        feed.on(JOBS, self._observe_job)

    async def run(self) -> None:
        await self._queue.run(self.sync)

    async def run_orphans(self) -> None:
        await self._orphans.run(self.release_orphan)

    def _observe_job(self, _: str, before: Object | None, now: Object | None) -> None:
        if now is not None:
            self._queue.add(key_of(now))
        elif before is not None:
            uid = before["metadata"]["uid"]
            self._backoffs.pop(uid, None)
            for pod in self._pods.of(uid):
                self._orphans.add(key_of(pod))

    def _observe_pod(self, _: str, before: Object | None, now: Object | None) -> None:
        if now is None or not jobpods.is_tracked(now):
            return
        owner = controller_of(now)
        if owner is None or not self._is_alive(key_of(now)[0], owner):
            self._orphans.add(key_of(now))

    def _is_alive(self, namespace: str, owner: Object) -> bool:
        job = self._job((namespace, owner["name"]))
        return owner["kind"] == "Job" and job is not None and job["metadata"]["uid"] == owner["uid"]

    def _job(self, key: Key) -> Object | None:
        version = self._registry.store.get(JOBS, *key)
        return version.object if version is not None else None

    def sync(self, key: Key) -> float | None:
        """Bring one Job closer to what it should be; answers the seconds until the next look at it."""
        job = self._job(key)
        if job is None or job["spec"].get("managedBy", MANAGED_BY) != MANAGED_BY:
            return None
        uid = job["metadata"]["uid"]
        plan = jobplan.plan(
            job,
            self._pods.of(uid),
            self._registry.clock(),
            self._backoffs.get(uid),
            first=self._backoff_first,
            most=self._backoff_most,
        )
        failure = self._change_pods(job, plan)
        job = self._write(job, plan.status)
        for pod in plan.release:
            self._release(pod)
        job = self._write(job, plan.final)
        self._backoffs[uid] = plan.backoff
        for notice in plan.notices:
            self._events.record(job, notice.type, notice.reason, notice.message)
        if jobstatus.finished(job):
            self._backoffs.pop(uid, None)
        if failure is not None:
            raise failure
        return plan.again

    def release_orphan(self, key: Key) -> None:
        """Take the finalizer off a pod whose Job is gone: nobody else would."""
        version = self._registry.store.get("pods", *key)
        if version is None:
            return
        owner = controller_of(version.object)
        if owner is None or not self._is_alive(key[0], owner):
            self._release(version.object)

    def _change_pods(self, job: Object, plan: Plan) -> StatusError | None:
        """Delete and create pods; answers the refusal when the API server refuses one (a quota, say)."""
        for pod in plan.drop:
            self._release(pod)
            self._delete(job, pod)
        for pod in plan.delete:
            self._delete(job, pod)
        for created, pod in enumerate(plan.create):
            try:
                made = self._registry.create("pods", pod["metadata"]["namespace"], pod, manager=MANAGER)
            except StatusError as e:
                missing = len(plan.create) - created
                for status in (plan.status, plan.final):
                    jobstatus.set_count(status, "active", status.get("active", 0) - missing)
                if _is_terminating(e):
                    return None
                self._events.warning(job, "FailedCreate", f"Error creating: {e}")
                return e
            self._events.normal(job, "SuccessfulCreate", f"Created pod: {made['metadata']['name']}")
        return None

    def _delete(self, job: Object, pod: Object) -> None:
        namespace, name = key_of(pod)
        try:
            self._registry.delete(
                "pods", namespace, name, uid=pod["metadata"]["uid"], propagation="Background"
            )
        except StatusError as e:
            if e.code != 404:
                raise
            return
        self._events.normal(job, "SuccessfulDelete", f"Deleted pod: {name}")

    def _release(self, pod: Object) -> None:
        """Remove the tracking finalizer from a pod, if it is there and has it."""
        namespace, name = key_of(pod)
        version = self._registry.store.get("pods", namespace, name)
        if version is None or version.object["metadata"]["uid"] != pod["metadata"]["uid"]:
            return
        finalizers = version.object["metadata"].get("finalizers") or []
        kept = [f for f in finalizers if f != jobpods.TRACKING_FINALIZER]
        if kept != finalizers:
            patch = {"metadata": {"finalizers": kept or None}}
            self._registry.patch("pods", namespace, name, patch, manager=MANAGER)

    def _write(self, job: Object, status: Object) -> Object:
        if status == (job.get("status") or {}):
            return job
        changed = {**job, "status": status}
        namespace = job["metadata"]["namespace"]
        return self._registry.update(JOBS, namespace, changed, subresource="status", manager=MANAGER)


def _is_terminating(error: StatusError) -> bool:
    """Whether creation fails because the namespace is on its way out, which is nobody's fault."""
    causes = (error.status.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
