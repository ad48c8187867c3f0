"""The power fails at any operation on a store, before or after it takes effect: run again.

Nothing that was blurred is forgotten, nothing is lost, and nobody is blocked.
"""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline import scratch
from pipeline.due import Choice
from pipeline.errors import ConfigurationError
from pipeline.process_identity import ProcessIdentity
from pipeline.result import Exit
from pipeline.storage_local import FolderStore
from tests.integration.jobs import files, pictures, run_stubbed
from tests.pipeline.test_workspace import BOX, blurred_once, boxes

pytestmark = [
    pytest.mark.usefixtures("secret"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

WRITING = ("put", "create")
OPERATIONS = (*WRITING, "get", "head", "list", "list_dirs", "ensure_root")
BLIND: dict[str, Any] = {"detector": "blind", "allow_empty": True}
NAMED = "d0/0000.jpg"


class PowerFailure(BaseException):
    """Nothing that runs can catch it, or do anything more."""


class Power:
    """Counts the operations on folders, and cuts one off with all that follow from its threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left = -1
        self._takes_effect = False
        self._lock = threading.RLock()
        self._cut_off: set[threading.Thread] = set()
        for name in OPERATIONS:
            monkeypatch.setattr(FolderStore, name, self._guarded(name))

    def fails(self, run: Callable[[], object], at: int, *, takes_effect: bool) -> bool:
        """Whether ``run`` was cut off at its operation ``at``; False if it has fewer."""
        self._left, self._takes_effect = at, takes_effect
        try:
            run()
        except PowerFailure:
            self._cut_off.update(one for one in threading.enumerate() if one.name[:6] == "lease-")
            return True
        finally:
            self._left = -1
        return False

    def _guarded(self, name: str) -> Callable[..., Any]:
        real = getattr(FolderStore, name)

        def call(store: FolderStore, *arguments: Any, **options: Any) -> Any:
            if threading.current_thread() in self._cut_off:
                raise PowerFailure
            with self._lock:
                if threading.current_thread() is threading.main_thread() and self._left >= 0:
                    self._left -= 1
                    if self._left < 0:
                        self._left = 0  # what a finally clause still tries fails, too
                        if self._takes_effect and name in WRITING:
                            real(store, *arguments, **options)
                        raise PowerFailure
                return real(store, *arguments, **options)

        return call


@dataclass(frozen=True)
class Scenario:
    """What was there before, what is cut off, and what must hold after one more run.

    Attributes:
        name: of the scenario.
        before: makes what is there.
        run: is cut off.
        after: runs again, and checks.
        stride: in the short form, every so many operations.
    """

    name: str
    before: Callable[[Path], object]
    run: Callable[[Path], object]
    after: Callable[[Path], object]
    stride: int


def first_run(place: Path) -> None:
    run_stubbed(place / "in", place / "out", shard_size=2)


def completes_like_an_undisturbed_run(place: Path) -> None:
    result, _ = run_stubbed(place / "in", place / "out", shard_size=2)
    assert result.exit_code is Exit.COMPLETE
    run_stubbed(place / "in", place / "undisturbed", shard_size=2)
    assert files(place / "out") == files(place / "undisturbed")
    assert list((place / "out" / "_streetblur" / "tmp").glob("*")) == []


def named_once(place: Path) -> None:
    blurred_once(place / "in", place / "out")


def blind_run(place: Path, job: str = "next", **flags: Any) -> Any:
    return run_stubbed(place / "in", place / "out", job=job, **BLIND, **flags)[0]


def remembers(place: Path) -> None:
    for job in ("next", "third", "test"):
        result = blind_run(place, job)
        assert (result.exit_code, boxes(result)) == (Exit.COMPLETE, [BOX])


def keeps_what_was_published(place: Path) -> None:
    """The run that named the box was the first, and may have been cut off before publishing."""
    published = files(place / "out").get(NAMED) if (place / "out").exists() else None
    assert blind_run(place).exit_code is Exit.COMPLETE
    assert published in (None, files(place / "out")[NAMED])


def lease_objects_are_lost(place: Path) -> None:
    for _ in range(3):
        named_once(place)
    (place / "in" / "d1" / "0001.jpg").unlink()
    named_once(place)
    for lease in (place / "out" / "_streetblur" / "lease").glob("*.json"):
        lease.unlink()


def remembers_and_counts_on(place: Path) -> None:
    remembers(place)
    names = (place / "out" / "_streetblur" / "lease").glob("*.json")
    epochs = sorted(int(name.stem) for name in names)
    assert epochs == list(range(1, len(epochs) + 1))


def with_records_elsewhere(place: Path) -> None:
    blurred_once(place / "in", place / "out", workspace=str(place / "records"))


def other_records_are_refused_or_harmless(place: Path) -> None:
    published = files(place / "out").get(NAMED) if (place / "out").exists() else None
    with suppress(ConfigurationError):
        blind_run(place, workspace=str(place / "others"))
        assert published in (None, files(place / "out")[NAMED])
        return
    result = blind_run(place, workspace=str(place / "records"))
    assert result.exit_code is Exit.COMPLETE
    assert published in (None, files(place / "out")[NAMED])


def let_go(place: Path) -> None:
    blind_run(place, "test", allow_unblur=True, choice=Choice("all"))


def completes(place: Path) -> None:
    assert blind_run(place, "test").exit_code is Exit.COMPLETE


def nothing(place: Path) -> None:
    """There is nothing before the first run."""


SCENARIOS = [
    Scenario("first run", nothing, first_run, completes_like_an_undisturbed_run, 3),
    Scenario("second job", named_once, blind_run, remembers, 5),
    Scenario("named boxes", nothing, named_once, keeps_what_was_published, 3),
    Scenario("lost leases", lease_objects_are_lost, blind_run, remembers_and_counts_on, 11),
    Scenario(
        "records elsewhere",
        nothing,
        with_records_elsewhere,
        other_records_are_refused_or_harmless,
        3,
    ),
    Scenario("let go", named_once, let_go, completes, 5),
]


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Power]:
    """Runs that were cut off are taken for dead, in a place where nobody else's are swept."""
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ProcessIdentity, "gone", lambda self: True)
    return Power(monkeypatch)


def cut_off_everywhere(scenario: Scenario, power: Power, tmp_path: Path, stride: int) -> int:
    """Try each ``stride``-th operation of a scenario; returns how many were tried."""
    place, template = tmp_path / "place", tmp_path / "template"
    pictures(place / "in", 4)
    scenario.before(place)
    shutil.copytree(place, template)
    tried = 0
    for takes_effect in (False, True):
        for at in itertools.count(int(takes_effect), stride):
            shutil.rmtree(place)
            shutil.copytree(template, place)
            if not power.fails(partial(scenario.run, place), at, takes_effect=takes_effect):
                break
            try:
                scenario.after(place)
            except BaseException as error:
                error.add_note(f"cut off at operation {at}, takes effect: {takes_effect}")
                raise
            tried += 1
    return tried


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_power_may_fail_at_some_operations(
    scenario: Scenario, power: Power, tmp_path: Path
) -> None:
    assert cut_off_everywhere(scenario, power, tmp_path, scenario.stride) > 15


@pytest.mark.nightly
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_power_may_fail_at_any_operation(
    scenario: Scenario, power: Power, tmp_path: Path
) -> None:
    assert cut_off_everywhere(scenario, power, tmp_path, 1) > 60
