import asyncio
import contextlib
import time

from localkube.controllers.workqueue import WorkQueue


async def run_until(queue: WorkQueue[str], sync, condition) -> None:
    task = asyncio.create_task(queue.run(sync))
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_key_is_queued_once() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    seen: list[str] = []
    for key in "aabab":
        queue.add(key)
    await run_until(queue, seen.append, lambda: len(seen) >= 2)
    assert seen == ["a", "b"]


async def test_a_failure_is_tried_again_and_stops_nobody() -> None:
    queue: WorkQueue[str] = WorkQueue("test", retry_first=0.001)
    seen: list[str] = []

    def sync(key: str) -> None:
        seen.append(key)
        if seen.count("bad") < 3 and key == "bad":
            raise RuntimeError("no")

    queue.add("bad")
    queue.add("good")
    await run_until(queue, sync, lambda: seen.count("bad") == 3)
    assert seen[:2] == ["bad", "good"]


async def test_the_earlier_of_two_timers_counts() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    seen: list[str] = []
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    await run_until(queue, seen.append, lambda: seen)
    assert seen == ["a"]


async def test_what_sync_answers_is_when_it_wants_to_be_called_again() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    seen: list[str] = []

    def sync(key: str) -> float | None:
        seen.append(key)
        return 0.001 if len(seen) < 3 else None

    queue.add("a")
    await run_until(queue, sync, lambda: len(seen) == 3)


async def test_each_key_gives_way_to_others_on_the_loop() -> None:
    queue: WorkQueue[int] = WorkQueue("test")
    for key in range(100):
        queue.add(key)
    done: list[int] = []
    task = asyncio.create_task(queue.run(done.append))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(done) < 10
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_requests_that_keep_coming_have_the_loop_to_themselves_for_longer() -> None:
    """Counted in time, not in turns: a busy controller takes a third of it, whatever a key costs."""
    requests, working, served = 0, 0.0, 0.0
    queue: WorkQueue[int] = WorkQueue("test", requests=lambda: requests)
    for key in range(10):
        queue.add(key)

    def sync(_: int) -> None:
        nonlocal working
        begun = time.perf_counter()
        while time.perf_counter() - begun < 0.005:
            pass
        working += time.perf_counter() - begun

    async def request() -> None:
        nonlocal requests, served
        while len(queue):
            requests += 1
            begun = time.perf_counter()
            while time.perf_counter() - begun < 0.0005:
                pass
            served += time.perf_counter() - begun
            await asyncio.sleep(0)

    worker = asyncio.create_task(queue.run(sync))
    await asyncio.wait_for(request(), 10)
    worker.cancel()
    assert served > 1.2 * working
