"""A namespace with what tests of access do in it."""

import pytest
from tests.localkube.apiserver.access import Cluster
from tests.localkube.conftest import Localkube


@pytest.fixture
def cluster(localkube_process: Localkube, namespace: str) -> Cluster:
    return Cluster(localkube_process, namespace)
