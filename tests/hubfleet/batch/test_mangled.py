"""Two thousand mangled submissions to the running server: no 5xx, and no object left behind."""

import asyncio
import base64
import copy
import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kubernetes.client import models
from tests.hubfleet.batch.conftest import BODIES, Person, Server, leftovers, until
from tests.hubfleet.batch.test_code import archive

from hubfleet.kube.client import Client
from hubfleet.kube.resources import NAMESPACES

AT_ONCE = 20
"""Submissions in one example: what they have in common is that they meet in the server."""

Sent = tuple[str, bytes]


def _body(name: str) -> Any:
    found = json.loads((BODIES / f"{name}.json").read_text())
    # Suspended: what is taken must not start to run here.
    spec = found["job"]["spec"]
    spec.get("job_template", found["job"])["spec"]["suspend"] = True
    return found


CODE = archive(("main.py", b"print('hello')\n"), ("data/a.txt", b"x" * 50))
JOB, CRON_JOB = _body("job-0.5"), _body("cronjob-0.4.2")
JOB_WITH_CODE = JOB | {"code": {"binary_data": {"code": base64.b64encode(CODE).decode()}, "data": None}}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["", "a" * 64, "../x", "x\x00y", "Ünï", "1Gi", "-1", "%", "$(A)", " ", "a/b/c"])
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a body."""
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


@st.composite
def misshapen(draw: st.DrawFn) -> Sent:
    """A real body in which something is replaced, removed or added, up to three times."""
    what, original = draw(
        st.sampled_from(
            [("jobs/", JOB), ("jobs/", JOB_WITH_CODE), ("cronjobs/", CRON_JOB), ("jobs/", CRON_JOB)]
        )
    )
    whole = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(whole))
        if not found:
            break
        *parents, last = draw(st.sampled_from(found))
        place: Any = whole
        for key in parents:
            place = place[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if action == "replace":
            place[last] = draw(junk)
        elif action == "remove":
            del place[last]
        elif isinstance(place, dict):
            place[draw(st.text(max_size=10))] = draw(junk)
        else:
            place.append(draw(junk))
    return what, json.dumps(whole).encode("utf-8", "surrogatepass")


WORDS = ["", "a", "A-1", "ü", "1", "100m", "Always", "Never", "/code", "code-volume", "job", "a/b", "x" * 300]


def arbitrary(kind: str, random: Random, depth: int) -> Any:
    """JSON of a type of the official client's tables, whatever that may mean to Kubernetes."""
    if match := re.fullmatch(r"List\[(\w+)\]", kind):
        return [arbitrary(match[1], random, depth) for _ in range(random.randint(0, 2))]
    if kind.startswith("Dict["):
        return {random.choice(WORDS): random.choice(WORDS) for _ in range(random.randint(0, 2))}
    if kind in ("str", "datetime", "bytes", "object"):
        return random.choice(WORDS)
    if kind == "int":
        return random.choice([-1, 0, 1, 2, 3, 5, 10, 100, 65536, 2**63 - 1])
    if kind == "bool":
        return random.random() < 0.5
    types = getattr(models, kind).openapi_types
    keys = random.sample(sorted(types), min(len(types), random.randint(0, 3))) if depth > 0 else []
    return {key: arbitrary(types[key], random, depth - 1) for key in keys}


def well_typed(seed: int) -> Sent:
    """Every field has a value of its type, and no more sense than that: for the API server to refuse."""
    random = Random(seed)
    what, original, model = random.choice(
        [("jobs/", JOB_WITH_CODE, "V1Job"), ("cronjobs/", CRON_JOB, "V1CronJob")]
    )
    whole = copy.deepcopy(original)
    job = whole["job"]
    inner = job["spec"].get("job_template", job)["spec"]
    pod = inner["template"]["spec"]
    places = [
        (job["spec"], f"{model}Spec"),
        (inner, "V1JobSpec"),
        (pod, "V1PodSpec"),
        (pod["containers"][0], "V1Container"),
    ]
    for place, kind in random.choices(places, k=2):
        types = getattr(models, kind).openapi_types
        for key in random.sample(sorted(types.keys() - {"metadata", "spec", "template", "containers"}), 2):
            place[key] = arbitrary(types[key], random, 5)
    # What is taken must not start to run here.
    inner["suspend"] = True
    return what, json.dumps(whole).encode()


@st.composite
def broken(draw: st.DrawFn) -> Sent:
    """The bytes of a real body, some of them others, or cut off."""
    data = bytearray(json.dumps(draw(st.sampled_from([JOB, JOB_WITH_CODE]))).encode())
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(data)))
        data[position : position + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return "jobs/", bytes(data[: draw(st.none() | st.integers(0, len(data)))])


@st.composite
def damaged_code(draw: st.DrawFn) -> Sent:
    """A real body whose zip file, or the base64 of it, is damaged."""
    data = bytearray(CODE)
    position = draw(st.integers(0, len(data)))
    data[position : position + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    text = base64.b64encode(data).decode()
    cut = draw(st.integers(0, len(text)))
    text = text[:cut] + draw(st.sampled_from(["", "%", "=", "\n", "ü", text[cut:]]))
    return "jobs/", json.dumps(JOB | {"code": {"binary_data": {"code": text}}}).encode()


nonsense = st.tuples(
    st.sampled_from(["jobs/", "cronjobs/"]), junk.map(lambda j: json.dumps(j).encode()) | st.binary()
)


class Sender:
    """Sends submissions at once, and takes back what was taken."""

    def __init__(self, server: Server, person: Person):
        self._server = server
        self._headers = {"Authorization": f"token {person.token}"}
        self.sent = 0
        self.taken = 0

    async def send_all(self, all_of_them: list[Sent]) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as session:
            await asyncio.gather(*(self._send(session, each) for each in all_of_them))

    async def _send(self, session: aiohttp.ClientSession, sent: Sent) -> None:
        what, data = sent
        self.sent += 1
        async with session.post(self._server.url + what, data=data) as response:
            answer = json.loads(await response.read())
            assert response.status < 500, f"{response.status} {answer} for {what} {data!r}"
        if response.status != 200:
            assert answer["detail"], data
            return
        self.taken += 1
        async with session.delete(f"{self._server.url}{what}{answer['metadata']['name']}") as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("strategy", "examples"),
    [
        (misshapen(), 50),
        (st.integers(0, 2**32).map(well_typed), 25),
        (broken(), 10),
        (damaged_code(), 10),
        (nonsense, 5),
    ],
    ids=["misshapen", "well_typed", "broken", "damaged_code", "nonsense"],
)
async def test_mangled(
    server: Server, person: Person, client: Client, strategy: st.SearchStrategy[Sent], examples: int
) -> None:
    sender = Sender(server, person)
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=examples,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(strategy, min_size=AT_ONCE, max_size=AT_ONCE))
    def send(submissions: list[Sent]) -> None:
        asyncio.run_coroutine_threadsafe(sender.send_all(submissions), loop).result()

    await asyncio.to_thread(send)
    assert sender.sent >= examples * AT_ONCE

    async def nothing_left() -> bool:
        return not await leftovers(client, person.namespace)

    await until(nothing_left)


@pytest.mark.parametrize(
    "name",
    ["ada@b.org", "-dash", "Ünïcödé", "用户", "пользователь", "a b", "x" * 200, "a.b", "kube-system", "🐱"],
)
async def test_usernames_in_any_script(server: Server, jupyterhub: Any, client: Client, name: str) -> None:
    name = name.lower()  # as JupyterHub does
    person = Person(name, jupyterhub.user(name))
    sender = Sender(server, person)
    await sender.send_all([("jobs/", json.dumps(JOB_WITH_CODE).encode())])
    assert sender.taken == 1

    async def nothing_left() -> bool:
        return not await leftovers(client, person.namespace)

    await until(nothing_left)
    await client.delete(NAMESPACES, None, person.namespace)
