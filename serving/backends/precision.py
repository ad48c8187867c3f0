"""What a server computes a model with, and how precisely: it decides which boxes are found."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from serving.backends.troubles import status_of

log = logging.getLogger(__name__)

SERVER = "triton"
UNKNOWN = "unknown"
TELL_S = 5.0
"""How long a server may take to tell how it is configured."""

TELL_PAUSES_S = (0.0, 0.1, 0.4)
MAY_NOT_TELL = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"})
_PLAIN = "onnxruntime f32"


def told_by(
    client: InferenceServerClient, models: Sequence[str], headers: Mapping[str, str]
) -> frozenset[str] | None:
    """What a server computes ``models`` with, see ``computes_with``.

    ``UNKNOWN`` if it may not tell; None if it does not, asked again and again.
    """
    why = ""
    for pause in TELL_PAUSES_S:
        time.sleep(pause)
        try:
            found = [
                client.get_model_config(model, headers=headers, client_timeout=TELL_S)
                for model in models
            ]
        except InferenceServerException as error:
            why = error.message() or ""
            # a protocol that the server restricts is UNAVAILABLE to whoever lacks its header
            if status_of(error) in MAY_NOT_TELL or "restricted" in why:
                return frozenset({UNKNOWN})
        else:
            return frozenset(computes_with(one.config) for one in found)
    log.info("a server does not tell how it computes: %s", why)
    return None


def computes_with(config: Any) -> str:
    """``onnxruntime f32`` on a plain CPU, else words and a hash: ``onnxruntime fp16 gpu 1a2b3c4d``.

    The hash is of all that may change the arithmetic: backend, accelerators, parameters, devices.

    Args:
        config: a ``ModelConfig`` as a server tells it, with its defaults filled in.
    """
    backend = (config.backend or config.platform).removesuffix("_onnx")
    chosen = config.optimization.execution_accelerators
    accelerators = [*chosen.gpu_execution_accelerator, *chosen.cpu_execution_accelerator]
    kinds = sorted({type(group).Kind.Name(group.kind) for group in config.instance_group})
    devices = [kind.removeprefix("KIND_").lower() for kind in kinds]
    if backend == "onnxruntime" and not accelerators and devices == ["cpu"]:
        return _PLAIN
    told = [one.parameters.get("precision_mode", "").lower() for one in accelerators]
    parameters = sorted((key, value.string_value) for key, value in config.parameters.items())
    options = sorted((one.name, sorted(one.parameters.items())) for one in accelerators)
    exact = repr((backend, options, parameters, devices)).encode()
    digest = hashlib.sha256(exact).hexdigest()[:8]
    return " ".join([backend, *filter(None, told), *devices, digest])


def named(kinds: set[str]) -> str:
    """The runtime of servers that compute like ``kinds``, for the records."""
    return " ".join([SERVER, " and ".join(sorted(kinds or {UNKNOWN}))])


def kinds_of(runtime: str) -> frozenset[str]:
    """How all servers compute, of what ``named`` gave; nothing if one did not tell, or of another
    runtime."""
    server, _, kinds = runtime.partition(" ")
    found = frozenset(kinds.split(" and ") if server == SERVER and kinds else ())
    return frozenset() if UNKNOWN in found else found


def same_boxes(one: str, other: str) -> bool:
    """Whether two runtimes are known to find the very same boxes.

    Servers that compute plainly on a CPU do what this process does in float32.
    """
    a, b = (text.removeprefix(f"{SERVER} ") for text in (one, other))
    return a == b and UNKNOWN not in a and a != SERVER
