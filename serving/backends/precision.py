"""What a server computes a model with, and how precisely: it decides which boxes are found."""

from __future__ import annotations

from typing import Any

SERVER = "triton"


def computes_with(config: Any) -> str:
    """``onnxruntime f32``, ``onnxruntime tensorrt fp16 gpu`` and so on.

    Args:
        config: a ``ModelConfig`` as a server tells it, with its defaults filled in.
    """
    chosen = config.optimization.execution_accelerators
    accelerators = [*chosen.gpu_execution_accelerator, *chosen.cpu_execution_accelerator]
    words = [config.backend or config.platform]
    for one in accelerators:
        words += [one.name, one.parameters.get("precision_mode", "f32").lower()]
    if not accelerators:
        words.append("f32")
    kinds = {type(group).Kind.Name(group.kind) for group in config.instance_group}
    return " ".join(
        [*words, *sorted(kind.removeprefix("KIND_").lower() for kind in kinds - {"KIND_CPU"})]
    )


def named(kinds: set[str]) -> str:
    """The runtime of servers that compute like ``kinds``, for the records."""
    return " ".join([SERVER, " and ".join(sorted(kinds))]).strip()


def same_boxes(one: str, other: str) -> bool:
    """Whether two runtimes find the very same boxes: servers do what this process does.

    Only where both are known to be float32 on a CPU, or are the same.
    """
    return one.removeprefix(f"{SERVER} ") == other.removeprefix(f"{SERVER} ")
