"""A picture that runs alone is judged by what it does, not by one death of its process."""

from __future__ import annotations

import multiprocessing

import pytest

from pipeline.isolation import run_isolated
from pipeline.result import Exit
from serving.errors import ServerUnavailable
from tests.integration.jobs import files, pictures, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 1


class Isolated:
    """An engine that runs each picture alone."""

    def __init__(self, config):
        self._config = config

    def run(self, items, *, searching=False):
        yield from run_isolated(items, self._config, 60.0)

    def close(self):
        pass


def test_a_picture_whose_process_dies_once_and_then_works_is_published(
    source, output, tmp_path, monkeypatch
):
    died = tmp_path / "died"
    monkeypatch.setenv("STUB_DIED", str(died))
    result, recorder = run_stubbed(source, output, detector="unlucky", engine_factory=Isolated)
    assert died.exists()
    assert [row["status"] for row in recorder.rows] == ["published"]
    assert list(files(output)) == ["d0/0000.jpg"]
    assert result.exit_code is Exit.COMPLETE


def test_a_shadow_that_kills_its_process_quarantines_nothing(source, output):
    result, recorder = run_stubbed(
        source,
        output,
        detector="deadly_shadow",
        engine_factory=Isolated,
        shadow={"face_detector": {2: 1.0}},
    )
    assert [row["status"] for row in recorder.rows] == ["published"]
    assert result.exit_code is Exit.COMPLETE


def test_models_that_fail_among_suspects_leave_none_without_an_outcome(source, output):
    pictures(source / "more", 4, seed=3)
    with pytest.raises(ServerUnavailable, match="nobody answers"):
        run_stubbed(source, output, detector="unavailable", engine_factory=Isolated)
    published = set(files(output))
    assert len(published) == 1
    result, recorder = run_stubbed(source, output)
    assert result.exit_code is Exit.COMPLETE
    assert len(recorder.rows) == 4, "what was published is known"
    assert published.isdisjoint(row["key"] for row in recorder.rows)


def test_once_models_fail_no_other_process_judges_what_is_left(source, output):
    pictures(source / "more", 4, seed=3)

    class Ending(Isolated):
        """Ends the process that found the models broken, so that another would have to start."""

        def run(self, items, *, searching=False):
            yield from super().run(self._ending(items))

        def _ending(self, items):
            for number, item in enumerate(items):
                if number == 2:
                    (process,) = multiprocessing.active_children()
                    process.kill()
                    process.join()
                yield item

    with pytest.raises(ServerUnavailable, match="nobody answers"):
        run_stubbed(source, output, detector="unavailable", engine_factory=Ending)
    assert len(files(output)) == 1, "a fresh process would have published the third picture"
    assert multiprocessing.active_children() == []
