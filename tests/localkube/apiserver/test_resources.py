import msgspec

from localkube.apiserver import schema
from localkube.apiserver.resources import RESOURCES, Resources


def test_every_resource_has_a_type_in_the_schema() -> None:
    assert [r.key for r in RESOURCES if not schema.has_type(r.schema)] == []


def test_resources_are_found_by_key_path_and_kind() -> None:
    resources = Resources()
    job = resources["jobs.batch"]
    assert resources.at("batch", "v1", "jobs") is job
    assert resources.of_kind("batch/v1", "Job") is job
    assert (job.api_version, resources["pods"].api_version) == ("batch/v1", "v1")
    assert resources.at("batch", "v2", "jobs") is None


def test_a_resource_can_join_and_leave_a_running_server() -> None:
    resources = Resources()
    thing = msgspec.structs.replace(resources["pods"], group="a.dev", plural="things", kind="Thing")
    resources.add(thing)
    assert resources["things.a.dev"] is thing
    resources.remove(thing)
    assert resources.at("a.dev", "v1", "things") is None
    assert thing not in list(resources)
