"""What is to be obscured, how strongly, and what may stay: one policy a jurisdiction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator
from pydantic_core import ErrorDetails

from pipeline.errors import ConfigurationError
from pipeline.yaml_files import parse_yaml
from serving.contracts import GRAPH_FLOOR
from serving.geometry import Label

DEFAULT_POLICY = "default"
Share = Annotated[float, Field(ge=0, le=1)]
Threshold = Annotated[float, Field(ge=GRAPH_FLOOR, le=1)]
HeightPx = Annotated[int, Field(ge=0, le=100_000)]
ModelName = Literal["face_detector", "plate_detector", "postprocessor"]
MetadataItem = Literal["gps", "time", "heading", "gpano", "camera", "icc"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dilation(_Frozen):
    """How far a box grows on each side, as a share of its height (top, bottom) or width (sides).

    Detectors and annotators disagree about an object's extent one side at a time: CenterFace
    starts a face above its hair line and ends it above the chin (docs/benchmarks/thresholds.md).
    """

    top: Share = 0.0
    sides: Share = 0.0
    bottom: Share = 0.0


class Style(_Frozen):
    """How one class of boxes is obscured.

    Attributes:
        mode: ``blur`` (Gaussian and keyed noise), ``pixelate`` or ``solid``.
        dilation: how far the box grows before it is masked: one number for every side, or
            ``{top, sides, bottom}``, as a share of its size.
        margin_px: how many pixels it grows on every side besides: detectors are off by pixels on
            small objects, by a share on large ones.
        strength: least side of the cells that are averaged before anything else, as a share of
            the geometric mean of the box's sides. The next power of two of pixels is taken.
        feather: width of the soft edge outside the mask, as a share of the shorter box side.
        noise: standard deviation of the noise added to the blur, in grey levels of 255: twice as
            much on the cells, once between them, a quarter on single pixels.
    """

    mode: Literal["blur", "pixelate", "solid"] = "blur"
    dilation: Dilation = Dilation(top=0.1, sides=0.1, bottom=0.1)
    margin_px: Annotated[int, Field(ge=0, le=1000)] = 0
    strength: Annotated[float, Field(ge=0.1, le=4)] = 2.0
    feather: Annotated[float, Field(ge=0, le=1)] = 0.15
    noise: Annotated[float, Field(ge=0, le=64)] = 8.0

    @field_validator("dilation", mode="before")
    @classmethod
    def _one_number_for_every_side(cls, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"top": value, "sides": value, "bottom": value}
        return value


class ClassPolicy(_Frozen):
    """Thresholds and style for one class.

    Attributes:
        threshold: lowest raw detector score that is kept: one number, or one for boxes from each
            height on, ``{0: 0.1, 48: 0.15}`` (pixels of the picture). True objects score lower
            the smaller they are, whereas a false large box costs most pixels
            (docs/benchmarks/thresholds.md). Below 0.05 no score leaves the models.
        min_probability: lowest post-processor probability that is kept.
        min_height_px: boxes lower than this many pixels are recorded as ``below_minimum``.
        blur_below_minimum: whether such boxes are blurred all the same.
        style: how kept boxes are obscured.
    """

    threshold: dict[HeightPx, Threshold]
    min_probability: Share = 0.0
    min_height_px: Annotated[int, Field(ge=0, le=10_000)] = 0
    blur_below_minimum: bool = True
    style: Style = Style()

    @field_validator("threshold", mode="before")
    @classmethod
    def _one_number_for_every_height(cls, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {0: value}
        return value

    @field_validator("threshold")
    @classmethod
    def _every_height_has_one(cls, value: dict[int, float]) -> dict[int, float]:
        if 0 not in value:
            raise ValueError("say from height 0 on, for instance {0: 0.1, 48: 0.15}")
        return dict(sorted(value.items()))

    def threshold_at(self, height_px: float) -> float:
        """The threshold for a box of this height."""
        return self.threshold[max(start for start in self.threshold if start <= height_px)]

    @property
    def lowest_threshold(self) -> float:
        """The lowest score that can be kept at any size."""
        return min(self.threshold.values())


class MetadataPolicy(_Frozen):
    """Which metadata survives; everything that is not named is removed.

    Embedded pictures (thumbnails, previews), maker notes and data behind the end of the image
    are always removed, whatever stands here.
    """

    keep: tuple[MetadataItem, ...] = ("gps", "time", "heading", "gpano", "camera", "icc")


class JpegPolicy(_Frozen):
    """How a JPEG is coded again.

    Attributes:
        quality: ``source`` changes only the blocks under a mask, or, where that cannot be done,
            keeps the source's tables and subsampling; a number codes the whole picture again.
    """

    quality: Literal["source"] | Annotated[int, Field(ge=50, le=100)] = "source"


class CheckPolicy(_Frozen):
    """How outputs are checked before they are published; part of no result's identity.

    Attributes:
        max_detail_gain: share of its strength that detail of any scale below a cell may keep in
            a box; an output that keeps more, and more than chance, is quarantined.
        decode_share: share of spliced outputs, chosen by their keys, that another decoder decodes
            as a whole. The rest are checked by their coefficients; other outputs always decoded.
    """

    max_detail_gain: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    decode_share: Share = 0.01


class ModelVersions(_Frozen):
    """The model versions that judge (post-processor 0 judges nothing: every probability is 1)."""

    face_detector: Annotated[int, Field(ge=1)] = 1
    plate_detector: Annotated[int, Field(ge=1)] = 1
    postprocessor: Annotated[int, Field(ge=0)] = 1


class PrivacyPolicy(_Frozen):
    """The rules of one jurisdiction.

    Attributes:
        name: short name, as in ``--policy eu``.
        description: one sentence for people.
        face: rules for faces.
        plate: rules for licence plates.
        pixel_fpr_budget: largest share of pixels outside true objects that may change; the
            scorer in ``evaluation`` fails a labelled set that exceeds it.
        metadata: what metadata survives.
        jpeg: how JPEGs are coded.
        check: how outputs are checked.
        models: model versions.
        evidence: what the thresholds were chosen by, as `streetblur tune` writes it; rules nothing
            and is part of no result's identity.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    description: str = ""
    face: ClassPolicy
    plate: ClassPolicy
    pixel_fpr_budget: Share = 0.02
    metadata: MetadataPolicy = MetadataPolicy()
    jpeg: JpegPolicy = JpegPolicy()
    check: CheckPolicy = CheckPolicy()
    models: ModelVersions = ModelVersions()
    evidence: dict[str, JsonValue] = {}

    def with_models(self, versions: Mapping[ModelName, int]) -> PrivacyPolicy:
        """This policy with other versions of the models named in ``versions``.

        Raises:
            ConfigurationError: there can be no such version.
        """
        if not versions:
            return self
        try:
            models = ModelVersions.model_validate({**self.models.model_dump(), **versions})
        except ValidationError as error:
            raise ConfigurationError(
                describe_validation(error.errors()), where="models", fix="Versions count from 1"
            ) from error
        return self.model_copy(update={"models": models})

    def for_label(self, label: Label) -> ClassPolicy:
        """The rules for ``label``."""
        return self.face if label == "face" else self.plate

    def to_yaml(self) -> str:
        """The whole policy as a file of your own would hold it."""
        untold = set() if self.evidence else {"evidence"}
        return str(yaml.safe_dump(_plain(self.model_dump(exclude=untold)), sort_keys=False))

    def digest(self) -> str:
        """SHA-256 (16 hex digits) over everything that can change an output.

        The name and the description do not: renaming a policy makes nothing due again.
        """
        told = {"name", "description", "pixel_fpr_budget", "check", "evidence"}
        content = self.model_dump(mode="json", exclude=told)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _plain(value: object) -> object:
    """``value`` with lists for tuples, as YAML has it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def packaged_policies() -> tuple[str, ...]:
    """Names of the policies that ship with the package, sorted."""
    folder = resources.files("pipeline") / "policies"
    return tuple(
        sorted(
            item.name.removesuffix(".yaml")
            for item in folder.iterdir()
            if item.name.endswith(".yaml")
        )
    )


def load_policy(name_or_path: str) -> PrivacyPolicy:
    """Read a packaged policy by name, or a file of your own by path.

    Raises:
        ConfigurationError: unknown name, unreadable file, or a wrong value (field and file named).
    """
    path = Path(name_or_path)
    if name_or_path in packaged_policies():
        where = f"policy {name_or_path}"
        text = (resources.files("pipeline") / "policies" / f"{name_or_path}.yaml").read_text(
            "utf-8"
        )
    elif path.suffix in {".yaml", ".yml"} or path.is_file():
        where = str(path)
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the policy file cannot be read ({error})", where=where, fix="Check the path"
            ) from error
    else:
        raise ConfigurationError(
            "there is no such policy",
            where=name_or_path,
            fix=f"Choose one of {', '.join(packaged_policies())}, or give the path of a YAML file",
        )
    return parse_policy(text, where)


def parse_policy(text: str, where: str) -> PrivacyPolicy:
    """Parse a policy's YAML ``text``; ``where`` names its origin in errors.

    Raises:
        ConfigurationError: not YAML, or a wrong value.
    """
    content = parse_yaml(text, where)
    if not isinstance(content, dict):
        raise ConfigurationError("a policy must be a mapping of fields", where=where)
    try:
        return PrivacyPolicy.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(
            describe_validation(error.errors()),
            where=where,
            fix="Correct the field; `streetblur policy show default` prints a valid example",
        ) from error


def describe_validation(errors: Iterable[ErrorDetails]) -> str:
    """One line that names each wrong field and why it is wrong."""
    lines: list[str] = []
    for item in errors:
        field = ".".join(str(part) for part in item["loc"]) or "(top level)"
        given = "" if item["type"] == "missing" else f" (given: {item['input']!r})"
        lines.append(f"field {field}: {item['msg']}{given}")
    return "; ".join(lines)
