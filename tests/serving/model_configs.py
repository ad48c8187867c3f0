"""Triton's model configurations against ``serving.contracts``: what differs, in words."""

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from serving.contracts import ModelContract, TensorSpec

Config = model_config_pb2.ModelConfig
Shapes = dict[str, tuple[int, ...]]

TYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "float32": "TYPE_FP32"}

ACCELERATOR_KEYS = {
    "precision_mode",
    "max_workspace_size_bytes",
    "trt_min_subgraph_size",
    "trt_engine_cache_enable",
    "trt_engine_cache_path",
    "trt_timing_cache_enable",
    "trt_timing_cache_path",
    "trt_profile_min_shapes",
    "trt_profile_opt_shapes",
    "trt_profile_max_shapes",
}
"""Of the parameters that Triton's ONNX Runtime backend knows for TensorRT those we use; it refuses
to load a model with any other (``trt_op_types_to_exclude`` among them)."""

CPU_PARAMETERS = {"intra_op_thread_count", "enable_mem_arena", "enable_mem_pattern"}


def parse(text: str) -> Config:
    """The configuration; unknown fields and wrong types raise ``text_format.ParseError``."""
    return text_format.Parse(text, Config())


def files(repository: Path, model: str) -> list[Path]:
    """``config.pbtxt`` and everything in ``configs/``."""
    folder = repository / model
    return [folder / "config.pbtxt", *sorted((folder / "configs").glob("*.pbtxt"))]


def faults(config: Config, contract: ModelContract) -> list[str]:
    """Where name, backend, batch size, inputs or outputs differ from ``contract``."""
    found = []
    if config.name != contract.name:
        found.append(f"name is {config.name}")
    if config.backend != "onnxruntime":
        found.append(f"backend is {config.backend}")
    if config.max_batch_size != contract.max_batch:
        found.append(f"max_batch_size is {config.max_batch_size}, not {contract.max_batch}")
    if config.version_policy.WhichOneof("policy_choice") != "all":
        found.append("not all versions are served")
    for kind, tensors, specs in (
        ("input", config.input, contract.inputs),
        ("output", config.output, contract.outputs),
    ):
        given = {tensor.name: tensor for tensor in tensors}
        if len(given) != len(tensors):
            found.append(f"an {kind} is there twice")
        found += [f"unknown {kind} {name}" for name in given.keys() - {s.name for s in specs}]
        for spec in specs:
            if spec.name not in given:
                found.append(f"{kind} {spec.name} is missing")
                continue
            tensor = given[spec.name]
            if model_config_pb2.DataType.Name(tensor.data_type) != TYPES[spec.dtype]:
                found.append(f"{kind} {spec.name} is no {spec.dtype}")
            if tuple(tensor.dims) != dims(spec):
                found.append(f"{kind} {spec.name} has dims {list(tensor.dims)}")
            scalar = tensor.HasField("reshape") and not tensor.reshape.shape
            if scalar != (len(spec.shape) == 1) or (tensor.HasField("reshape") and not scalar):
                found.append(f"{kind} {spec.name} has another reshape")
    return found


def dims(spec: TensorSpec) -> tuple[int, ...]:
    """A tensor's dims without N, as Triton wants them: it has no empty list, hence 1."""
    return tuple(d if isinstance(d, int) else -1 for d in spec.shape[1:]) or (1,)


def tensorrt(config: Config) -> dict[str, str]:
    """Parameters of the TensorRT accelerator."""
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    return dict(accelerator.parameters)


def profile(text: str) -> Shapes:
    """``a:1x2,b:3`` as ``{"a": (1, 2), "b": (3,)}``; a name that comes twice is refused."""
    pairs = [entry.split(":") for entry in text.split(",")]
    assert len({name for name, _ in pairs}) == len(pairs), "ONNX Runtime runs profile 0 alone"
    return {name: tuple(int(d) for d in shape.split("x")) for name, shape in pairs}


def warm_ups(config: Config, tensor: str) -> set[tuple[int, ...]]:
    """Shapes with batch that the server runs before it is ready."""
    shapes = set()
    for sample in config.model_warmup:
        (name,) = sample.inputs
        value = sample.inputs[name]
        assert (name, value.random_data) == (tensor, True)
        assert value.data_type == model_config_pb2.TYPE_UINT8
        shapes.add((sample.batch_size, *value.dims))
    return shapes
