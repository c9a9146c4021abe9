"""What a real Kubernetes answered, asked of localkube, where the transcripts stand beside the checkout."""

import importlib.machinery
import importlib.util
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.localkube.conftest import Localkube

TRANSCRIPTS = Path(__file__).parents[4] / "shared" / "transcripts"

NOT_YET = ("persistent volume",)
"""Scenarios of kinds that localkube does not serve yet, by how their names begin."""

OTHER_NODES = {"pod delete while pending"}
"""Recorded where the only node was not ready, which the scheduler's message tells."""


def replay() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("replay", str(TRANSCRIPTS / "replay"))
    spec = importlib.util.spec_from_loader("replay", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.skipif(not TRANSCRIPTS.is_dir(), reason="there are no transcripts beside this checkout")
def test_the_recorded_answers_are_ours(localkube_process: Localkube) -> None:
    tool = replay()
    server = tool.Server(localkube_process.url, localkube_process.token)
    scenarios = json.loads((TRANSCRIPTS / "control-plane.json").read_text())
    wanted = [s for s in scenarios if not s["name"].startswith(NOT_YET) and s["name"] not in OTHER_NODES]
    assert len(wanted) > 100

    def differences(scenario: dict[str, Any]) -> list[str]:
        # the name of the image stands for itself: a busybox here would be taken for the placeholder
        _, faults = tool.run(server, scenario, scenario["recorded"], image="(none)")
        return [
            f"{scenario['name']}, step {i}: {difference}"
            for i, _, real, here in faults
            for difference in tool.difference(real, here)
        ]

    # the scenarios mostly wait, each in a namespace of its own
    with ThreadPoolExecutor(16) as threads:
        found = [line for lines in threads.map(differences, wanted) for line in lines]
    assert found == []
