"""An output that keeps old versions keeps old blurs: the run says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.secret import VARIABLE
from pipeline.storage import AccessDenied
from pipeline.storage_local import FolderStore
from tests.integration.jobs import SECRET, pictures, run_stubbed

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
