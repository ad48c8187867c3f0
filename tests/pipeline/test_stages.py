"""The stages one by one: what each must refuse, and how errors of one image and of a run differ."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.blocks import pack, unpack
from pipeline.encode import RedactedImage
from pipeline.errors import ConfigurationError, ImageRefused, LeaseError, StorageError
from pipeline.images import ImageInfo, ImageLimits, inspect_image
from pipeline.records import WorkItem
from pipeline.secret import FILE_VARIABLE, VARIABLE, NoiseSecret, fresh_secret, read_secret
from pipeline.stages.build import StageConfig, publish_chain, worker_secret
from pipeline.stages.decide import Decide
from pipeline.stages.detect import ATTEMPTS, GROUP_ROWS, Detect, DetectGroup, groups
from pipeline.stages.envelope import Envelope, guarded, outcome_of
from pipeline.stages.fetch import Decode, Fetch
from pipeline.stages.publish import ADVICE, Publish
from pipeline.stages.redact import Redact, Redaction
from pipeline.storage import ObjectStore, PreconditionFailed, StorageSettings, open_store
from serving.detectors import DetectionResult
from serving.errors import (
    EndsServer,
    InferenceError,
    InsaneOutput,
    ModelCorrupt,
    RejectedInput,
    ServerUnavailable,
)
from serving.geometry import Box, Candidate
from tests.integration.jobs import SECRET
from tests.pipeline.pictures import KINDS, box, policy
from tests.stubs import CentreDetector

POLICY = policy()
LIMITS = ImageLimits()
DATA = KINDS["jpeg-420"](96, 64)


@pytest.fixture
def source(tmp_path: Path) -> ObjectStore:
    store = open_store(str(tmp_path / "in"), settings=StorageSettings())
    store.ensure_root()
    return store


@pytest.fixture
def output(tmp_path: Path) -> ObjectStore:
    store = open_store(str(tmp_path / "out"), settings=StorageSettings())
    store.ensure_root()
    return store


def listed(store: ObjectStore, key: str = "a.jpg", data: bytes = DATA) -> Envelope:
    """An envelope for an object that was just listed."""
    etag = store.put(key, data).etag
    return Envelope(WorkItem(key, etag, len(data), 0, 0, "identity"))


def decided(envelope: Envelope) -> Envelope:
    """``envelope`` after fetch, decode, detect and decide, one face kept."""
    envelope = dataclasses.replace(envelope, data=DATA)
    return Decide(POLICY)(Detect(CentreDetector())(Decode(LIMITS)(envelope)))


def nothing() -> None:
    """A fence that lets everyone through."""


def lost() -> None:
    raise LeaseError("another run owns the output")


def publishing(
    output: ObjectStore, fence: Callable[[], None] = nothing, redact: object | None = None
) -> Publish:
    made = redact or Redact(POLICY, NoiseSecret(bytes(range(32))), "file:///in")
    return Publish(output, made, POLICY, fence)  # type: ignore[arg-type]


def keys(store: ObjectStore) -> list[str]:
    return [item.key for item in store.list()]


# fetch


def test_a_source_that_changed_after_it_was_listed_is_not_processed(source: ObjectStore) -> None:
    envelope = listed(source)
    assert Fetch(source, LIMITS)(envelope).data == DATA
    source.put("a.jpg", KINDS["jpeg-420"](80, 64))
    with pytest.raises(PreconditionFailed):
        Fetch(source, LIMITS)(envelope)
    ended = guarded("fetch", Fetch(source, LIMITS), envelope)
    assert ended.ending is not None
    assert (ended.ending.status, ended.ending.reason) == ("failed", "source_changed")
    assert ended.data is None


def test_the_size_limit_is_that_of_the_bytes_read(source: ObjectStore) -> None:
    with pytest.raises(ImageRefused) as caught:
        Fetch(source, ImageLimits(max_bytes=100))(listed(source))
    assert caught.value.reason == "too_large_bytes"


# detect


class Scripted(CentreDetector):
    """Gives the answers it was given; an error is raised."""

    def __init__(self, *answers: DetectionResult | Exception, canary: Exception | None = None):
        self.answers = list(answers)
        self.canary = canary
        self.checks = 0

    def check(self) -> bool:
        self.checks += 1
        if self.canary is not None and self.checks > 1:
            raise self.canary
        return True

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize("flag", ["face_rows_full", "plate_rows_full"])
def test_a_full_answer_of_a_model_quarantines_the_image(source: ObjectStore, flag: str) -> None:
    full = DetectionResult((), {"face": 0.9, "plate": 0.9}, {}, ("many_faces", flag))
    envelope = Decode(LIMITS)(dataclasses.replace(listed(source), data=DATA))
    with pytest.raises(ImageRefused, match=flag):
        Detect(Scripted(full))(envelope)
    ended = guarded("detect", Detect(Scripted(full)), envelope)
    outcome = outcome_of(ended, policy_digest="", models="")
    assert (outcome.status, outcome.reason) == ("quarantined", "detector_overflow")
    assert "Cut the picture into parts" in outcome.message
    assert "overrides" not in outcome.message  # they are looked at after this refusal
    assert ended.candidates is None


def test_many_objects_alone_are_a_remark(source: ObjectStore) -> None:
    many = DetectionResult((), {"face": 0.9, "plate": 0.9}, {}, ("many_faces",))
    envelope = Decode(LIMITS)(dataclasses.replace(listed(source), data=DATA))
    assert Detect(Scripted(many))(envelope).notes == ("many_faces",)


GOOD = DetectionResult((), {"face": 0.9, "plate": 0.9}, {}, ())


def two(source: ObjectStore) -> list[Envelope]:
    envelope = Decode(LIMITS)(dataclasses.replace(listed(source), data=DATA))
    return [envelope, dataclasses.replace(envelope, notes=("second",))]


def test_an_outcome_tells_what_the_models_ran_on(source: ObjectStore) -> None:
    on_servers = dataclasses.replace(GOOD, runtime="triton")
    (envelope, _) = DetectGroup(Scripted(on_servers, on_servers))(two(source))
    (again, *_) = unpack(pack([envelope]))
    done = outcome_of(again.ended("failed", "x", "y"), policy_digest="", models="")
    assert done.as_row()["runtime"] == "triton"


def test_an_insane_answer_is_the_images_fault_while_the_canary_passes(
    source: ObjectStore,
) -> None:
    detector = Scripted(InsaneOutput("a peak of 0"), GOOD)
    bad, good = DetectGroup(detector)(two(source))
    assert detector.checks == 2
    assert bad.ending is not None
    assert (bad.ending.status, bad.ending.reason) == ("failed", "insane_answer")
    assert good.ending is None
    assert good.candidates == ()


def test_an_image_that_no_server_can_judge_is_quarantined_alone(source: ObjectStore) -> None:
    bad, good = DetectGroup(Scripted(RejectedInput("asked alone and again"), GOOD))(two(source))
    assert bad.ending is not None
    assert (bad.ending.status, bad.ending.reason) == ("quarantined", "detector_error")
    assert good.ending is None


@pytest.mark.parametrize("first", [GOOD, InsaneOutput("a peak of 0")])
def test_nothing_of_a_group_is_let_go_when_the_canary_fails_after_it(
    source: ObjectStore, first: DetectionResult | Exception
) -> None:
    detect = DetectGroup(Scripted(first, GOOD, canary=InsaneOutput("no canary")))
    with pytest.raises(InsaneOutput, match="no canary"):
        detect(two(source))


class Doubtful(Scripted):
    """Its canary finds a bad server as often as told."""

    def __init__(self, *answers: DetectionResult | Exception, sound: list[bool]):
        super().__init__(*answers)
        self.sound = sound

    def check(self) -> bool:
        return self.sound.pop(0)


def test_a_group_in_doubt_is_judged_again(source: ObjectStore) -> None:
    face = Candidate("face", Box(1, 1, 9, 9), 0.9, 1.0, "stub")
    found = dataclasses.replace(GOOD, candidates=(face,))
    detector = Doubtful(GOOD, GOOD, found, found, sound=[True, False, True, True])
    assert [e.candidates for e in DetectGroup(detector)(two(source))] == [(face,), (face,)]


def test_a_picture_that_ends_every_server_is_quarantined_alone(source: ObjectStore) -> None:
    rejected = EndsServer("servers end when asked")
    detector = Doubtful(rejected, GOOD, GOOD, rejected, sound=[True, False, True, False])
    bad, good = DetectGroup(detector)(two(source))
    assert bad.ending is not None
    assert (bad.ending.status, bad.ending.reason) == ("quarantined", "ends_server")
    assert good.candidates == ()


@pytest.mark.parametrize(
    "word",
    [
        dataclasses.replace(GOOD, flags=("face_rows_full",)),
        RejectedInput("unexpected shape"),
        InsaneOutput("NaN"),
    ],
    ids=["full", "rejected", "insane"],
)
def test_no_picture_ends_on_the_word_of_a_bad_server(
    source: ObjectStore, word: DetectionResult | Exception
) -> None:
    detector = Doubtful(word, GOOD, GOOD, word, GOOD, sound=[True, False, True, False, True])
    assert [one.ending for one in DetectGroup(detector)(two(source))] == [None, None]
    honest = Doubtful(word, GOOD, sound=[True, True])
    assert [one.ending is None for one in DetectGroup(honest)(two(source))] == [False, True]


def test_a_picture_after_which_servers_fail_whatever_they_say_fails_alone(
    source: ObjectStore,
) -> None:
    word = RejectedInput("allocation failed")
    in_doubt = [False] * (1 + ATTEMPTS)
    answers = [GOOD, word, GOOD, *[word] * ATTEMPTS]
    detector = Doubtful(*answers, sound=[True, in_doubt[0], True, *in_doubt[1:], True])
    good, bad = DetectGroup(detector)(two(source))
    assert good.ending is None
    assert bad.ending is not None
    assert (bad.ending.status, bad.ending.reason) == ("failed", "in_doubt")
    assert "allocation failed" in bad.ending.message
    broken = Doubtful(*answers, sound=[True, False, True, *in_doubt[1:], False])
    with pytest.raises(ServerUnavailable, match="in a row"):
        DetectGroup(broken)(two(source))


def test_doubt_without_end_stops_the_run(source: ObjectStore) -> None:
    with pytest.raises(ServerUnavailable, match="in a row"):
        DetectGroup(Doubtful(sound=[False] * ATTEMPTS))
    detector = Doubtful(*[GOOD] * (2 + ATTEMPTS), sound=[True, *[False] * (1 + ATTEMPTS)])
    with pytest.raises(ServerUnavailable, match="nothing doubtful"):
        DetectGroup(detector)(two(source))


def test_groups_are_bounded_in_rows_and_bytes(source: ObjectStore) -> None:
    small = two(source)[0]
    assert [len(g) for g in groups([small] * (GROUP_ROWS + 3))] == [GROUP_ROWS, 3]
    big = dataclasses.replace(small, pixels=np.zeros((2048, 2448, 3), np.uint8))
    assert [len(g) for g in groups([big] * 9 + [listed(source)])] == [5, 5]


def test_without_pixels_there_is_no_detection_pass(source: ObjectStore) -> None:
    with pytest.raises(InferenceError):
        Detect(CentreDetector())(listed(source))
    with pytest.raises(ImageRefused, match="no detection pass"):
        Decide(POLICY)(listed(source))


# publish


def test_a_good_image_is_published_once(source: ObjectStore, output: ObjectStore) -> None:
    calls: list[list[str]] = []
    publish = publishing(output, lambda: calls.append(keys(output)))
    done = publish(decided(listed(source)))
    assert calls == [[]]  # the fence was asked before anything was written
    assert keys(output) == ["a.jpg"]
    assert done.published is not None
    assert done.data is None


def test_who_lost_the_lease_writes_nothing(source: ObjectStore, output: ObjectStore) -> None:
    with pytest.raises(LeaseError):
        guarded("publish", publishing(output, lost), decided(listed(source)))
    assert keys(output) == []


class Careless:
    """A redaction that says it obscured a face, and did not."""

    def __call__(self, envelope: Envelope) -> tuple[Envelope, Redaction]:
        image = RedactedImage(DATA, "reencoded", ())
        return envelope, Redaction(image, [box(24, 16, 72, 48)])


def test_an_output_that_fails_its_check_is_not_written(
    source: ObjectStore, output: ObjectStore
) -> None:
    publish = publishing(output, redact=Careless())
    with pytest.raises(ImageRefused, match="keeps its detail"):
        publish(decided(listed(source)))
    ended = guarded("publish", publish, decided(listed(source)))
    assert ended.ending is not None
    assert (ended.ending.status, ended.ending.reason) == ("quarantined", "output_rejected")
    assert "(not_obscured)" in ended.ending.message
    assert ended.ending.message.endswith(ADVICE + ".")
    assert keys(output) == []


def test_nothing_is_published_without_a_decision(source: ObjectStore, output: ObjectStore) -> None:
    info = inspect_image(DATA, LIMITS)
    undecided = dataclasses.replace(listed(source), data=DATA, info=info)
    with pytest.raises(ImageRefused, match="no decision"):
        publishing(output)(undecided)
    assert keys(output) == []


# the guard


def raising(error: BaseException) -> Callable[[Envelope], Envelope]:
    def stage(envelope: Envelope) -> Envelope:
        raise error

    return stage


@pytest.mark.parametrize(
    "error",
    [
        LeaseError("lost"),
        ConfigurationError("wrong"),
        ModelCorrupt("broken"),
        InsaneOutput("canary"),
        KeyboardInterrupt(),
    ],
)
def test_what_concerns_the_run_stops_it(source: ObjectStore, error: BaseException) -> None:
    with pytest.raises(type(error)):
        guarded("stage", raising(error), listed(source))


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ImageRefused("truncated", "too short"), "quarantined", "truncated"),
        (PreconditionFailed("changed"), "failed", "source_changed"),
        (StorageError("no answer"), "failed", "storage"),
        (InferenceError("shape"), "failed", "inference"),
        (MemoryError(), "failed", "out_of_memory"),
        (ZeroDivisionError(), "failed", "internal_error"),
    ],
)
def test_what_concerns_one_image_is_its_ending(
    source: ObjectStore, error: Exception, status: str, reason: str
) -> None:
    ended = guarded("stage", raising(error), dataclasses.replace(listed(source), data=DATA))
    assert ended.ending is not None
    assert (ended.ending.status, ended.ending.reason) == (status, reason)
    assert (ended.data, ended.pixels) == (None, None)
    assert guarded("next", raising(AssertionError()), ended) is ended


def test_an_unexpected_error_is_recorded_with_its_place_but_not_its_message(
    source: ObjectStore,
) -> None:
    ended = guarded("detect", raising(ValueError("pixels of a face")), listed(source))
    assert ended.ending is not None
    assert ended.ending.message.startswith("ValueError in stage detect, test_stages.py:")
    assert "face" not in ended.ending.message


# what workers are built of


def test_a_worker_with_another_secret_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match="noise secret"):
        worker_secret("0" * 16)
    monkeypatch.setenv(VARIABLE, SECRET)
    mine = read_secret()
    assert mine is not None
    assert worker_secret(mine.id).id == mine.id
    with pytest.raises(ConfigurationError, match="noise secret"):
        worker_secret(fresh_secret().id)


def test_workers_ask_for_the_lease_of_their_run(
    source: ObjectStore, output: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)
    chain = publish_chain(stage_config(source, output))
    with pytest.raises(LeaseError):  # nobody holds epoch 7
        chain(dataclasses.replace(decided(listed(source)), decisions=None))
    assert keys(output) == []


def stage_config(source: ObjectStore, output: ObjectStore) -> StageConfig:
    secret = read_secret()
    return StageConfig(
        token="t",
        input_uri=source.uri,
        output_uri=output.uri,
        storage=StorageSettings(),
        policy=POLICY,
        limits=LIMITS,
        epoch=7,
        secret_id="" if secret is None else secret.id,
    )


@pytest.mark.parametrize(
    ("least", "most", "expected"), [(1, 4, (1, 4)), (3, 4, (3, 4)), (8, 4, (4, 4))]
)
def test_the_pool_of_detectors_has_the_size_asked_for(
    source: ObjectStore,
    output: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    least: int,
    most: int,
    expected: tuple[int, int],
) -> None:
    from pipeline.graph import build_graph  # only this test needs Ray, and no cluster

    seen: list[tuple[int, int]] = []

    class Recording:
        def map_batches(self, stage: object, *, compute: object, **_: object) -> Recording:
            if hasattr(compute, "min_size"):
                seen.append((compute.min_size, compute.max_size))
            return self

    monkeypatch.setattr("pipeline.graph.ray.data.from_arrow", lambda blocks: Recording())
    build_graph([pack([])], stage_config(source, output), most, least)
    assert seen == [expected]


def test_redaction_and_publication_are_timed_apart(
    source: ObjectStore, output: ObjectStore
) -> None:
    made = Redact(POLICY, NoiseSecret(bytes(range(32))), "file:///in")

    def slow(envelope: Envelope) -> tuple[Envelope, Redaction]:
        time.sleep(0.2)
        return made(envelope)

    done = guarded("publish", publishing(output, redact=slow), decided(listed(source)))
    assert done.milliseconds["redact"] >= 200
    assert 0 < done.milliseconds["publish"] < 200


def test_the_noise_of_one_bucket_is_not_that_of_another(source: ObjectStore) -> None:
    secret = NoiseSecret(bytes(range(32)))
    envelope = decided(listed(source))
    made = [Redact(POLICY, secret, place)(envelope)[1].image.data for place in ("a", "b", "a")]
    assert made[0] == made[2] != made[1]


def test_an_envelope_travels_whole_and_its_pixels_are_not_copied() -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    info = ImageInfo("jpeg", 7, 5, "RGB")
    item = WorkItem("a.jpg", "etag", 3, 0, 0, "identity")
    sent = Envelope(item, b"abc", info, pixels, notes=("n",), milliseconds={"fetch": 1.0})
    (table,) = [pack([sent])]
    (got,) = unpack(table)
    assert got.pixels is not None
    assert np.array_equal(got.pixels, pixels)
    assert np.shares_memory(got.pixels, pixels)
    assert dataclasses.replace(got, pixels=None) == dataclasses.replace(sent, pixels=None)
    both = unpack(pack([sent, dataclasses.replace(sent, data=None, pixels=None)]))
    assert [None if one.pixels is None else one.pixels.tolist() for one in both] == [
        pixels.tolist(),
        None,
    ]
