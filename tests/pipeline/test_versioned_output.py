"""An output that keeps old versions keeps old blurs: the run says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.secret import VARIABLE
from pipeline.storage import AccessDenied, StorageSettings, open_store
from pipeline.storage_local import FolderStore
from pipeline.storage_s3 import S3Store
from tests.integration.jobs import SECRET, pictures, run_stubbed
from tests.servers import SeaweedServer

KEEPS = "keeps versions: blurs of earlier runs stay readable"
UNKNOWN = "cannot tell whether the output bucket keeps versions"


@pytest.mark.parametrize(
    ("answer", "said", "unsaid"),
    [
        (True, [KEEPS], [UNKNOWN]),
        (False, [], [KEEPS, UNKNOWN]),
        (AccessDenied("no GetBucketVersioning"), [UNKNOWN], [KEEPS]),
    ],
)
def test_a_versioned_output_is_warned_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: bool | Exception,
    said: list[str],
    unsaid: list[str],
) -> None:
    def versioned(store: FolderStore) -> bool:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setenv(VARIABLE, SECRET)
    monkeypatch.setattr(FolderStore, "versioned", versioned)
    pictures(tmp_path / "in", 1)
    result, _ = run_stubbed(tmp_path / "in", tmp_path / "out")
    assert result.verification.complete
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    for text in said:
        assert any(text in warning for warning in warnings)
    for text in unsaid:
        assert not any(text in warning for warning in warnings)


def test_a_bucket_that_makes_no_more_versions_still_keeps_the_old_ones(
    s3_server: SeaweedServer, s3_bucket: str
) -> None:
    settings = StorageSettings(endpoint_url=s3_server.endpoint_url, region="us-east-1")
    store = open_store(f"s3://{s3_bucket}", settings=settings)
    assert isinstance(store, S3Store)
    client = store.connection.client
    for status in ("Enabled", "Suspended"):
        client.put_bucket_versioning(Bucket=s3_bucket, VersioningConfiguration={"Status": status})
        store.put("a.jpg", status.encode())
    assert client.get_bucket_versioning(Bucket=s3_bucket)["Status"] == "Suspended"
    kept = client.list_object_versions(Bucket=s3_bucket, Prefix="a.jpg")["Versions"]
    assert len(kept) == 2
    assert store.versioned()
