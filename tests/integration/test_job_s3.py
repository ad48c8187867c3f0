"""The job against a real S3 server: odd keys, private workspace, one run at a time, no secrets."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigurationError, LeaseError
from pipeline.lease import acquire
from pipeline.result import Exit
from pipeline.storage import StorageSettings, open_store
from tests.conftest import ANONYMOUS_BUCKET, LISTED_BUCKET, create_bucket
from tests.integration.jobs import SECRET, altered, files, pictures, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")

PRIVATE = "private-records"
ODD = ("a b/ü+%41&x.jpg", "quote'\"#?.jpg", "deep/er/ß.JPEG")


@pytest.fixture
def settings(s3_server):
    return StorageSettings(endpoint_url=s3_server.endpoint_url)


@pytest.fixture
def source(s3_bucket, settings, tmp_path):
    pictures(tmp_path / "local", 4)
    store = open_store(f"s3://{s3_bucket}/raw", settings=settings)
    local = files(tmp_path / "local")
    for key, data in local.items():
        store.put(key, data)
    for key in ODD:
        store.put(key, next(iter(local.values())))
    store.put("readme.txt", b"not a picture")
    return store


def run(source, output, settings, **flags):
    return run_stubbed(source.uri, output, storage=settings, **flags)


def test_bucket_to_bucket_with_odd_keys_and_resume(source, s3_bucket, settings, tmp_path):
    output = f"s3://{s3_bucket}/blurred"
    result, _ = run(source, output, settings)
    assert result.exit_code is Exit.COMPLETE
    store = open_store(output, settings=settings)
    published = {item.key for item in store.list(exclude=("_streetblur/",))}
    assert published == {*files(tmp_path / "local"), *ODD}
    source.put("d0/0000.jpg", source.get("d1/0001.jpg"))
    _, recorder = run(source, output, settings)
    assert [row["key"] for row in recorder.rows] == ["d0/0000.jpg"]


def test_a_source_replaced_by_another_of_the_same_size_is_due(source, s3_bucket, settings):
    output = f"s3://{s3_bucket}/blurred"
    run(source, output, settings)
    source.put("d1/0001.jpg", altered(source.get("d1/0001.jpg")))
    result, recorder = run(source, output, settings)
    assert [row["key"] for row in recorder.rows] == ["d1/0001.jpg"]
    assert result.revision.changed == 1


def test_a_folder_and_a_bucket_give_the_same_bytes(source, s3_bucket, settings, tmp_path):
    run(source, f"s3://{s3_bucket}/blurred", settings)
    run(source, str(tmp_path / "out"), settings)
    store = open_store(f"s3://{s3_bucket}/blurred", settings=settings)
    for key, data in files(tmp_path / "out").items():
        assert store.get(key) == data


@pytest.mark.parametrize("bucket", [ANONYMOUS_BUCKET, LISTED_BUCKET])
def test_a_workspace_that_answers_strangers_is_refused(source, s3_server, settings, bucket):
    ensure_buckets(s3_server)
    with pytest.raises(ConfigurationError, match="anonymous"):
        run(source, f"s3://{bucket}/blurred", settings)
    store = open_store(f"s3://{bucket}/blurred", settings=settings)
    assert [item.key for item in store.list(exclude=("_streetblur/",))] == []


def test_a_workspace_of_its_own_keeps_records_out_of_a_public_output(source, s3_server, settings):
    ensure_buckets(s3_server)
    result, _ = run(
        source,
        f"s3://{ANONYMOUS_BUCKET}/elsewhere",
        settings,
        workspace=f"s3://{PRIVATE}/jobs",
    )
    assert result.exit_code is Exit.COMPLETE
    public = open_store(f"s3://{ANONYMOUS_BUCKET}/elsewhere", settings=settings)
    kept = [item.key for item in public.list() if item.key.startswith("_streetblur/")]
    assert all(key.startswith("_streetblur/lease/") for key in kept)


def ensure_buckets(server) -> None:
    """Create the shared buckets unless an earlier test has."""
    for name in (PRIVATE, ANONYMOUS_BUCKET, LISTED_BUCKET):
        create_bucket(server, name)


def test_a_second_run_is_kept_out_while_the_first_holds_the_lease(source, s3_bucket, settings):
    output = open_store(f"s3://{s3_bucket}/blurred", settings=settings)
    with (
        acquire(output, "first", ttl_s=30.0),
        pytest.raises(LeaseError, match="first"),
    ):
        run(source, output.uri, settings, job="second", lease_ttl_s=5.0)


def test_records_hold_no_credentials(source, s3_server, s3_bucket, settings):
    run(source, f"s3://{s3_bucket}/blurred", settings)
    store = open_store(f"s3://{s3_bucket}/blurred/_streetblur", settings=settings)
    for item in store.list():
        data = store.get(item.key)
        for secret in (s3_server.secret_key, s3_server.access_key, SECRET):
            assert secret.encode() not in data
