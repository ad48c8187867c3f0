"""The stand-in for Triton's ONNX Runtime backend refuses what the real one would refuse.

It is loaded as the server loads it, but without a server: what a request takes is not there.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf import json_format

import serving.server.process
from serving.contracts import CONTRACTS
from tests.serving.model_configs import parse

Config = dict[str, Any]
FILE = Path(serving.server.process.__file__).parent / "standin" / "model.py"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module; of the server's own module it needs nothing until a request comes."""
    name = "triton_python_backend_utils"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    spec = importlib.util.spec_from_file_location("standin", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def load(standin: ModuleType, repository: Path) -> Callable[[str, Callable[[Config], None]], Any]:
    """Loads version 1 of a model with its configuration for CPUs, after a change to that."""

    def load_changed(model: str, change: Callable[[Config], None]) -> Any:
        text = (repository / model / "configs" / "cpu.pbtxt").read_text()
        config = json_format.MessageToDict(parse(text), preserving_proto_field_name=True)
        change(config)
        place = {"model_repository": str(repository / model), "model_version": "1"}
        made = standin.TritonPythonModel()
        made.initialize({"model_config": json.dumps(config), **place})
        return made

    return load_changed


@pytest.mark.parametrize("model", CONTRACTS)
def test_every_configuration_fits_its_graph(load: Any, model: str) -> None:
    loaded = load(model, lambda config: None)
    assert {one.name for one in loaded._session.get_outputs()} >= set(loaded._outputs)
    assert sorted(loaded._outputs) == sorted(spec.name for spec in CONTRACTS[model].outputs)


def other_type(kind: str) -> Callable[[Config], None]:
    return lambda config: config[kind][0].update(data_type="TYPE_FP16")


def one_more_input(config: Config) -> None:
    config["input"].append({**config["input"][0], "name": "more"})


def one_input_less(config: Config) -> None:
    del config["input"][-1]


@pytest.mark.parametrize(
    ("model", "change", "told"),
    [
        ("face_detector", other_type("input"), "image is TYPE_FP16, but tensor(uint8)"),
        ("face_detector", other_type("output"), "boxes is TYPE_FP16, but tensor(float)"),
        ("face_detector", one_more_input, "2 inputs, but 1 in the graph"),
        ("postprocessor", one_input_less, "1 inputs, but 2 in the graph"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    standin: ModuleType, load: Any, model: str, change: Callable[[Config], None], told: str
) -> None:
    with pytest.raises(standin.Misconfigured) as caught:
        load(model, change)
    assert told in str(caught.value)
