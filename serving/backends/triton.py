"""The Triton backend: gRPC to one or several servers, pictures through shared memory if local."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from serving.allocator import keep_freed_memory
from serving.backends.channel import open_client
from serving.backends.checks import check_inputs
from serving.backends.endpoints import Endpoint, Endpoints
from serving.backends.links import established
from serving.backends.precision import kinds_of, named, told_by
from serving.backends.protocol import InferenceBackend, Outputs, Request, Tensors
from serving.backends.sharing import Sharing
from serving.backends.triton_settings import TritonSettings, token
from serving.backends.troubles import Trouble, process_ended, status_of, trouble
from serving.backends.window import Transport, Window
from serving.contracts import CONTRACTS, DETECTORS, MULTIPLE, ModelContract
from serving.errors import InferenceError, ModelMissing, ServerUnavailable, ServingError, TooSlow

log = logging.getLogger(__name__)

PROBE_S = 1.0
"""How long a server may take to say that it lives."""

REPLICA_OUTAGE_S = 2.0
"""How long a server that is gone is waited for while there are others that can do its work."""

PROCESS_PROBE_S = 3.0
"""How long a model may take for the least there is to ask, once its process has ended: Triton takes
a second to say that it has not come back."""


class _Asking(InferenceBackend):
    """A backend that sends requests, so that one is a window of one."""

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        timeout_s: float | None = None,
    ) -> Outputs:
        """See ``InferenceBackend.infer``."""
        (answer,) = self.infer_many([Request(model, inputs, version)], timeout_s=timeout_s)
        return answer


class TritonBackend(_Asking, Transport):
    """Asks Triton servers, several requests at a time; made and used by one thread.

    Args:
        settings: which servers, and how they are reached.
        runtime: servers that tell of another one are not relied on; any if empty.

    Raises:
        InvalidInput: settings that cannot be.
    """

    def __init__(self, settings: TritonSettings, runtime: str = "") -> None:
        self.settings = settings
        self._kinds = kinds_of(runtime)
        self._headers = {"authorization": f"Bearer {value}"} if (value := token()) else {}
        self._sharing = Sharing(settings, self._headers)
        self._closed = False
        self.runtime = named(set())
        addresses = settings.addresses()
        keep_freed_memory()
        ends = [Endpoint(address, open_client(address, settings)) for address in addresses]
        self.endpoints = Endpoints(ends, self._is_ready)

    def infer_many(
        self, requests: Iterable[Request], *, timeout_s: float | None = None
    ) -> Generator[Outputs, None, None]:
        """See ``InferenceBackend.infer_many``; ``settings.in_flight`` requests exist at a time."""
        return self._ask(requests, timeout_s, self.endpoints)

    def replicas(self) -> Sequence[InferenceBackend]:
        """The servers that judged since this was last asked; at first all that are there.

        Raises:
            ServerUnavailable: none is.
        """
        asked = [one for one in self.endpoints if one.in_question]
        if not asked:
            self._wait_for_one()
            asked = [one for one in self.endpoints.usable() if not one.doubted]
        for one in asked:
            one.in_question = False
            if not one.computes:
                self._ask_what_computes(one)
        self._name_runtime()
        return [_Replica(self, one) for one in asked]

    def steady(self) -> bool:
        """See ``InferenceBackend.steady``; also whether each is reached as it was, and computes
        as it did and as agreed.

        Raises:
            ServerUnavailable: the last server that is left computes otherwise.
        """
        for one in self.endpoints:
            if one.answers and not one.doubted:  # its canary has passed
                self._hold_to_what_computes(one)
        self._name_runtime()
        links = established()
        moved = [one for one in self.endpoints if one.moved(links)]
        for one in moved:
            log.warning("%s was reached by another connection meanwhile", one.address.url)
        lost = moved or any(one.lost for one in self.endpoints)
        for one in self.endpoints:
            one.lost, one.answers = False, 0
        return not lost

    def exclude(self, replica: InferenceBackend, error: ServingError) -> bool:
        """See ``InferenceBackend.exclude``; a server that is only gone may come back soon."""
        if not isinstance(replica, _Replica):
            return False
        log.warning("%s is not asked for now: %s", replica.endpoint.address.url, error)
        slow = isinstance(error, TooSlow)  # so may the others be: they are not tried without end
        if isinstance(error, ServerUnavailable):
            self.endpoints.rest(replica.endpoint)
            replica.endpoint.in_question = False
            others = [one for one in self.endpoints.usable() if one is not replica.endpoint]
            return any(not one.doubted for one in others) if slow else bool(others)
        return self.endpoints.exclude(replica.endpoint, str(error))

    def ready_versions(self, endpoint: Endpoint, model: str) -> set[int]:
        """Versions of ``model`` that a server has ready.

        Raises:
            ServerUnavailable: it does not tell.
        """
        try:
            index = endpoint.client.get_model_repository_index(
                headers=self._headers, client_timeout=PROBE_S
            )
        except InferenceServerException as error:
            raise ServerUnavailable(
                f"it does not tell what it serves ({error.message()})", where=endpoint.address.url
            ) from error
        return {
            int(one.version)
            for one in index.models
            if one.name == model and one.state == "READY" and one.version.isdigit()
        }

    def _hold_to_what_computes(self, endpoint: Endpoint) -> None:
        """Ask a server anew; what it judged counts if it computes as it did, and as agreed.

        Whoever comes back under an address, or loads a model anew, may compute otherwise.

        Raises:
            ServerUnavailable: it does not, and no other is left.
        """
        before = endpoint.computes
        told = self._ask_what_computes(endpoint)
        endpoint.lost |= bool(before) and before != endpoint.computes
        agreed = ", ".join(sorted(self._kinds))
        if not told and self._kinds:
            endpoint.lost = True
            if len(self.endpoints.usable()) > 1:
                what = f"it does not tell whether it computes with {agreed}"
                log.warning("%s is not asked for now: %s", endpoint.address.url, what)
                self.endpoints.exclude(endpoint, what)
            return
        if self._kinds and (wrong := endpoint.computes - self._kinds):
            what = f"it computes with {', '.join(sorted(wrong))}, not {agreed}"
            log.warning("%s is not asked for now: %s", endpoint.address.url, what)
            endpoint.lost = True  # what it has answered does not count
            if not self.endpoints.exclude(endpoint, what):
                fix = "Run the same command again: a run asks servers when it begins"
                raise ServerUnavailable(what, where=endpoint.address.url, fix=fix)

    def _ask_what_computes(self, endpoint: Endpoint) -> bool:
        """Ask what a server runs detectors with; whether it told, if only that it may not."""
        told = told_by(endpoint.client, [one.name for one in DETECTORS], self._headers)
        endpoint.computes = endpoint.computes if told is None else told
        return told is not None

    def _name_runtime(self) -> None:
        known = [one.computes for one in self.endpoints.usable()]
        self.runtime = named(set().union(*known))

    def close(self) -> None:
        """Let connections and shared memory go."""
        if self._closed:
            return
        self._closed = True
        for endpoint in self.endpoints:
            self._sharing.end(endpoint)
            endpoint.client.close()

    # what a window asks of it

    def send(
        self, endpoint: Endpoint, request: Request, timeout_s: float, callback: Any
    ) -> tuple[Any, Callable[[], None]]:
        """See ``Transport.send``."""
        memory = self._sharing.memory_of(endpoint)
        placed = memory.put(request.inputs) if memory is not None else None
        if memory is None or placed is None:
            tensors, give_back = _tensors(request.inputs), _nothing
        else:
            tensors = _tensors(request.inputs, memory.name, placed[1])
            give_back = partial(memory.give_back, placed[0])
        call = endpoint.client.async_infer(
            request.model,
            tensors,
            callback,
            model_version=_version(request),
            client_timeout=timeout_s,
            headers=self._headers,
        )
        return call, give_back

    def read(self, request: Request, result: grpcclient.InferResult) -> Outputs:
        """See ``Transport.read``."""
        contract = CONTRACTS[request.model]
        return {
            spec.name: _as_stated(result, spec.name, len(spec.shape)) for spec in contract.outputs
        }

    def _ask(
        self,
        requests: Iterable[Request],
        timeout_s: float | None,
        endpoints: Endpoints,
        gone_s: float | None = None,
    ) -> Generator[Outputs, None, None]:
        if self._closed:
            raise InferenceError("the backend is closed", where="triton")
        settings = self.settings
        window = Window(
            self,
            endpoints,
            (_checked(request) for request in requests),
            in_flight=settings.in_flight,
            timeout_s=timeout_s or settings.timeout_s,
            outage_s=settings.outage_s,
            gone_s=gone_s,
        )
        return window.answers()

    def _is_ready(self, endpoint: Endpoint) -> bool:
        """Whether a server lives; it says that it is ready only when each of its models is.

        Whether it serves ours, it tells when it is asked; only a model whose process had ended has
        to answer here.
        """
        before = endpoint.trouble
        try:
            live = endpoint.client.is_server_live(headers=self._headers, client_timeout=PROBE_S)
            endpoint.trouble = None if live else Trouble("it says that it is not live")
            if live and endpoint.ended is not None:
                endpoint.trouble = self._still_ended(endpoint, endpoint.ended)
        except InferenceServerException as error:
            endpoint.trouble = trouble(status_of(error), error.message() or "")
        if endpoint.trouble is not None and before is None:
            log.warning("%s does not answer: %s", endpoint.address.url, endpoint.trouble.text)
        return endpoint.trouble is None

    def _still_ended(self, endpoint: Endpoint, asked: Request) -> Trouble | None:
        """Why a model whose process had ended cannot be asked yet; None if it can."""
        try:
            least = least_inputs(CONTRACTS[asked.model])
            endpoint.client.infer(
                asked.model,
                _tensors(least),
                model_version=_version(asked),
                client_timeout=PROCESS_PROBE_S,
                headers=self._headers,
            )
        except InferenceServerException as error:
            status, text = status_of(error), error.message() or ""
            if process_ended(status, text) or status == "DEADLINE_EXCEEDED":
                return trouble(status, text)
        endpoint.ended = None  # whatever else is wrong, the next request tells
        return None

    def _wait_for_one(self) -> None:
        """Return when at least one server is ready; those that are not rest."""
        clock = self.endpoints.clock
        deadline = clock() + self.settings.outage_s
        while True:
            for endpoint in self.endpoints.usable():
                if self.endpoints.proves_ready(endpoint):
                    endpoint.doubted = False
            if any(not one.doubted for one in self.endpoints.usable()):
                return
            reason = self.endpoints.troubles() or Trouble("every server is excluded")
            if reason.lasting or clock() >= deadline:
                what = f"no server answered within {self.settings.outage_s:.0f} s ({reason.text})"
                raise ServerUnavailable(
                    reason.text if reason.lasting else what,
                    where=", ".join(one.address.url for one in self.endpoints),
                    fix=f"{reason.fix}; then run the same command again to go on",
                )
            time.sleep(min(self.endpoints.wakes_in() + 0.01, 0.5))


class _Replica(_Asking):
    """One server of a backend."""

    def __init__(self, backend: TritonBackend, endpoint: Endpoint) -> None:
        self._backend = backend
        self.endpoint = endpoint
        self.name = endpoint.address.url
        self._only = Endpoints([endpoint], backend._is_ready)

    def infer_many(
        self, requests: Iterable[Request], *, timeout_s: float | None = None
    ) -> Generator[Outputs, None, None]:
        """See ``InferenceBackend.infer_many``."""
        backend = self._backend
        others = len(backend.endpoints.usable()) > 1
        gone_s = REPLICA_OUTAGE_S if others else None
        return backend._ask(requests, timeout_s, self._only, gone_s)


def least_inputs(contract: ModelContract) -> dict[str, NDArray[Any]]:
    """Zeros of the smallest shape that a contract allows."""
    sizes = {"N": 1}
    return {
        spec.name: np.zeros(
            [dim if isinstance(dim, int) else sizes.get(dim, MULTIPLE) for dim in spec.shape],
            spec.dtype,
        )
        for spec in contract.inputs
    }


def _tensors(
    inputs: Tensors, memory: str = "", offsets: Mapping[str, int] | None = None
) -> list[grpcclient.InferInput]:
    """Inputs to send; or to be read from shared ``memory``, where each lies at its offset."""
    tensors = []
    for name, array in inputs.items():
        tensor = grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        if offsets is None:
            tensor.set_data_from_numpy(array)
        else:
            tensor.set_shared_memory(memory, array.nbytes, offsets[name])
        tensors.append(tensor)
    return tensors


def _version(request: Request) -> str:
    return "" if request.version is None else str(request.version)


def _nothing() -> None:
    return


def _checked(request: Request) -> Request:
    contract = CONTRACTS.get(request.model)
    if contract is None:
        raise ModelMissing(
            "there is no such model", where=request.model, fix=f"Known are {', '.join(CONTRACTS)}"
        )
    check_inputs(contract, request.inputs)
    return request


def _as_stated(result: grpcclient.InferResult, name: str, dimensions: int) -> NDArray[Any]:
    """An output as the contract states it.

    A number for each input comes as [N, 1]: a server that batches has no empty shape.
    """
    try:
        value = result.as_numpy(name)
    except (ValueError, TypeError):  # bytes that do not fit the shape they come with
        value = None
    if value is None:  # the caller compares what it gets with the contract
        return np.empty((0,) * dimensions)
    if dimensions == 1 and value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    return np.asarray(value)
