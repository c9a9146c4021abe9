"""What survives: every acknowledged write, in order, whatever the end of the log looks like."""

import asyncio
import http.client
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localkube.apiserver.store import Expired, Store
from localkube.apiserver.wal import Corrupt, Wal


def configmap(name: str, value: str = "v") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n"}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"k": value}}


class Running:
    """A store with its log, as an async context."""

    def __init__(self, directory: Path, **settings: int):
        # a new process begins to count elsewhere: what is on disk decides
        self.store = Store(revision=7)
        self.wal = Wal(directory, self.store, **settings)

    async def __aenter__(self) -> Store:
        self.wal.open()
        self.task = asyncio.create_task(self.wal.run())
        return self.store

    async def __aexit__(self, *_: object) -> None:
        await self.wal.close(self.task)


def names(store: Store) -> list[str]:
    return [v.object["metadata"]["name"] for v in store.list("configmaps")]


async def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        for name in ("a", "b", "c"):
            store.put("configmaps", "n", name, configmap(name))
        store.delete("configmaps", "n", "b")
        store.put("configmaps", "n", "a", configmap("a", "ü\n"))
        before = [v.object for v in store.list("configmaps")]
        revision = store.revision
    async with Running(tmp_path) as store:
        assert [v.object for v in store.list("configmaps")] == before
        assert store.revision == revision
        store.put("configmaps", "n", "d", configmap("d"))
    async with Running(tmp_path) as store:
        assert names(store) == ["a", "c", "d"]
        assert store.revision == revision + 1


async def test_watches_resume_across_a_restart(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        first = store.put("configmaps", "n", "a", configmap("a")).revision
        store.put("configmaps", "n", "a", configmap("a", "2"))
        store.delete("configmaps", "n", "a")
    async with Running(tmp_path) as store:
        assert [c.type for c in store.since("configmaps", first)] == ["MODIFIED", "DELETED"]
        with pytest.raises(Expired):
            store.since("configmaps", 1)


async def test_durable_waits_for_the_disk(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        store.put("configmaps", "n", "a", configmap("a"))
        await store.durable()
        copy = tmp_path / "copy"
        copy.mkdir()
        (log,) = tmp_path.glob("wal-*")
        (copy / log.name).write_bytes(log.read_bytes())
        async with Running(copy) as other:
            assert names(other) == ["a"]


@pytest.mark.parametrize("cut", [1, 5, 30])
async def test_a_torn_end_is_dropped_and_overwritten(tmp_path: Path, cut: int) -> None:
    async with Running(tmp_path) as store:
        store.put("configmaps", "n", "a", configmap("a"))
        store.put("configmaps", "n", "b", configmap("b"))
    (log,) = tmp_path.glob("wal-*")
    log.write_bytes(log.read_bytes()[:-cut])
    async with Running(tmp_path) as store:
        assert names(store) == ["a"]
        store.put("configmaps", "n", "c", configmap("c"))
    async with Running(tmp_path) as store:
        assert names(store) == ["a", "c"]


async def test_a_flipped_bit_ends_the_log(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        store.put("configmaps", "n", "a", configmap("a"))
        store.put("configmaps", "n", "b", configmap("bbbb"))
    (log,) = tmp_path.glob("wal-*")
    log.write_bytes(log.read_bytes().replace(b"bbbb", b"bbcb"))
    async with Running(tmp_path) as store:
        assert names(store) == ["a"]


async def test_snapshots_replace_the_log(tmp_path: Path) -> None:
    async with Running(tmp_path, compact_bytes=2000) as store:
        for i in range(100):
            store.put("configmaps", "n", f"c{i % 10}", configmap(f"c{i % 10}", str(i)))
            await store.durable()
        before = [v.object for v in store.list("configmaps")]
    assert len(list(tmp_path.glob("snapshot-*"))) == 1
    assert sum(p.stat().st_size for p in tmp_path.glob("wal-*")) < 20_000
    async with Running(tmp_path) as store:
        assert [v.object for v in store.list("configmaps")] == before
        with pytest.raises(Expired):
            store.list("configmaps", at=10)


async def test_a_snapshot_that_was_not_finished_is_ignored(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        store.put("configmaps", "n", "a", configmap("a"))
    (tmp_path / "snapshot-99.tmp").write_bytes(b"half")
    async with Running(tmp_path) as store:
        assert names(store) == ["a"]
    assert not list(tmp_path.glob("*.tmp"))


async def test_a_missing_log_is_not_passed_over(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        store.put("configmaps", "n", "a", configmap("a"))
        store.put("configmaps", "n", "b", configmap("b"))
    (log,) = tmp_path.glob("wal-*")
    log.write_bytes(log.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(Corrupt, match="goes from revision"):
        Wal(tmp_path, Store()).open()


async def test_a_directory_has_one_user(tmp_path: Path) -> None:
    async with Running(tmp_path):
        with pytest.raises(BlockingIOError):
            Wal(tmp_path, Store()).open()


async def test_secrets_on_disk_are_the_owners_alone(tmp_path: Path) -> None:
    async with Running(tmp_path) as store:
        store.put("secrets", "n", "s", {**configmap("s"), "kind": "Secret"})
    (log,) = tmp_path.glob("wal-*")
    assert log.stat().st_mode & 0o077 == 0


async def test_a_failing_disk_acknowledges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async with Running(tmp_path) as store:
        monkeypatch.setattr("localkube.apiserver.wal.os.fdatasync", fail)
        store.put("configmaps", "n", "a", configmap("a"))
        with pytest.raises(OSError, match="No space left"):
            await store.durable()


def test_acknowledged_writes_survive_kill_9(localkube_starter: Callable[..., Any], tmp_path: Path) -> None:
    """Four clients write as fast as they can; the process is killed under them, three times over."""
    data = tmp_path / "data"
    acknowledged: list[str] = []
    token = ""
    for turn in range(3):
        server = localkube_starter("--no-kubelet", f"--data-dir={data}")
        token = token or server.token
        assert server.token == token
        enough = threading.Event()

        def write(worker: int, turn: int = turn, server: Any = server, enough: Any = enough) -> None:
            for i in range(10_000):
                name = f"c-{turn}-{worker}-{i}"
                try:
                    made = server.call(
                        "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": name}}
                    )
                except (OSError, http.client.HTTPException):
                    return
                assert made.code == 201, made.content
                acknowledged.append(name)
                if i > 20:
                    enough.set()

        writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for writer in writers:
            writer.start()
        assert enough.wait(30)
        server.stop(signal.SIGKILL)
        for writer in writers:
            writer.join()
    server = localkube_starter("--no-kubelet", f"--data-dir={data}")
    listed = server.call("GET", "/api/v1/namespaces/default/configmaps").body
    found = {item["metadata"]["name"] for item in listed["items"]}
    assert len(acknowledged) > 60
    assert not set(acknowledged) - found
    assert server.stop() == 0
