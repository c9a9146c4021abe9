"""Large answers go out as they are taken."""

import asyncio
from typing import Any

import pytest

from hubfleet.batch.chunks import PIECE, Json


class Visit:
    answers = 0

    def answered(self, size: int) -> None:
        self.answers += size


def scope() -> Any:
    return {"state": {"hubfleet.visit": Visit()}}


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7])
async def test_the_pieces_are_the_whole(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    of = scope()
    await Json(body, {"Warning": "110"})(of, None, send)  # type: ignore[arg-type]
    assert of["state"]["hubfleet.visit"].answers == size
    start, *pieces = sent
    assert start["status"] == 200
    assert (b"content-length", str(size).encode()) in start["headers"]
    assert (b"Warning", b"110") in start["headers"]
    assert b"".join(piece["body"] for piece in pieces) == body
    assert all(len(piece["body"]) <= PIECE for piece in pieces)
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]


async def test_nothing_more_is_given_to_a_server_whose_client_takes_nothing() -> None:
    given = 0

    async def send(message: Any) -> None:
        nonlocal given
        given += len(message.get("body", b""))
        if given:
            await asyncio.Event().wait()

    answering = asyncio.create_task(Json(bytes(10 * PIECE), {})(scope(), None, send))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert given == PIECE
    answering.cancel()
    await asyncio.wait([answering])
