"""The only door to a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from serving.errors import ServingError

Tensors = Mapping[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        model: name in the model repository.
        inputs: tensors by name, as in ``serving.contracts``.
        version: the newest present version by default.
    """

    model: str
    inputs: Tensors
    version: int | None = None


@runtime_checkable
class InferenceBackend(Protocol):
    """Runs models by name; implementations must give the same answers for the same tensors.

    A backend may be several *replicas*: places that run models independently of each other, like
    servers. Where a replica's answers cannot be relied on it is excluded, and the others go on.

    Attributes:
        runtime: what computes, for the records: ``openvino bf16``, ``triton onnxruntime f32``.
        name: tells a replica from the others of its backend, the same at each call of
            ``replicas``; one without a name is taken for another each time, unless it is the
            backend itself.
    """

    runtime: str = ""
    name: str = ""

    @abstractmethod
    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Outputs:
        """Run ``model`` on ``inputs`` (names, dtypes and shapes as in ``serving.contracts``).

        Args:
            model: name in the model repository.
            inputs: tensors by name.
            version: the newest present version by default.
            timeout_s: give up after this many seconds; None waits as long as the backend does.

        Raises:
            InvalidInput: the tensors break the contract.
            ModelMissing, ModelCorrupt: the model cannot be opened.
            InferenceError: the model did not answer this request.
            ServerUnavailable: nobody answers any request.
        """
        ...

    def infer_many(
        self, requests: Iterable[Request], *, timeout_s: float | None = None
    ) -> Generator[Outputs, None, None]:
        """Answers in the order of ``requests``, which are taken as they can be worked on.

        Close it if you do not take all: what is under way is let go then.

        Args:
            requests: any number, made as they are asked for: only a few exist at a time.
            timeout_s: for each request, as in ``infer``.

        Raises:
            ServingError: as ``infer``; what has not been answered yet is let go.
        """
        for request in requests:
            yield self.infer(
                request.model, request.inputs, version=request.version, timeout_s=timeout_s
            )

    def replicas(self) -> Sequence[InferenceBackend]:
        """Who has judged since this was last asked, each as a backend of its own; at first all.

        A backend that is one place is its own only replica.
        """
        return (self,)

    def steady(self) -> bool:
        """Whether no replica was lost after it had answered, since this was last asked.

        One that comes back may be another: its canary tells nothing of what it answered before.
        """
        return True

    def exclude(self, replica: InferenceBackend, error: ServingError) -> bool:
        """Ask ``replica`` no longer for the time being, because of ``error``.

        Returns:
            Whether others are left.
        """
        return False

    def close(self) -> None:
        """Let models and connections go; the backend cannot be used afterwards."""
        return
