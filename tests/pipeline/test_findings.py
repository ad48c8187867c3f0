"""What helps with an incomplete job depends on what is wrong with it."""

from __future__ import annotations

import pytest

from pipeline.findings import Verification

AGAIN = "run the job again"
AWAY = "take what no job has published (unaccounted) out of the output yourself"


@pytest.mark.parametrize(
    ("wrong", "helps"),
    [
        (("due",), AGAIN),
        (("missing",), AGAIN),
        (("altered",), AGAIN),
        (("unaccounted",), AWAY),
        (("due", "unaccounted"), f"{AGAIN}, and {AWAY}"),
    ],
)
def test_the_remedy_fits_the_findings(wrong: tuple[str, ...], helps: str) -> None:
    found = Verification()
    for name in wrong:
        getattr(found, name).add("a.jpg")
    assert found.remedy() == helps
