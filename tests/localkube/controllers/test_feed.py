from localkube.controllers.feed import Feed


def test_what_exists_is_told_and_then_every_change_at_once(world) -> None:
    world.config_map("a")
    seen: list[tuple[str, str]] = []

    def observe(_: str, before, now) -> None:
        kind = "new" if before is None else "gone" if now is None else "changed"
        name = (now or before)["metadata"]["name"]
        if name != "kube-root-ca.crt":
            seen.append((kind, name))

    feed = Feed(world.registry)
    feed.on("configmaps", observe)
    feed.start()
    assert seen == [("new", "a")]
    world.config_map("b")
    world.registry.patch("configmaps", "ns", "a", {"data": {"x": "y"}})
    world.registry.delete("configmaps", "ns", "b")
    assert seen[1:] == [("new", "b"), ("changed", "a"), ("gone", "b")]
    feed.stop()
    world.config_map("c")
    assert len(seen) == 4


def test_a_handler_that_fails_harms_nobody(world) -> None:
    seen: list[str] = []

    def fail(_: str, __, ___) -> None:
        raise RuntimeError("no")

    feed = Feed(world.registry)
    feed.on("configmaps", fail)
    feed.on("configmaps", lambda _, before, now: seen.append(now["metadata"]["name"]))
    feed.start()
    world.config_map("a")
    assert seen[-1] == "a"
    assert world.get("configmaps", "a") is not None
