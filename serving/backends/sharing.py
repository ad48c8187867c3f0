"""Agrees with servers on this machine on memory in which they read tensors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from tritonclient.utils import InferenceServerException

from serving.backends.endpoints import Endpoint
from serving.backends.shared_memory import SharedInputs, is_leftover
from serving.backends.triton_settings import TritonSettings

log = logging.getLogger(__name__)

AGREE_S = 1.0
"""How long a server may take for each step; one that takes longer is sent its tensors."""


class Sharing:
    """The shared memory of one client with each of its servers.

    Args:
        settings: whether memory is to be shared, and how much.
        headers: sent with each question.
    """

    def __init__(self, settings: TritonSettings, headers: Mapping[str, str]) -> None:
        self._settings = settings
        self._headers = dict(headers)

    def memory_of(self, endpoint: Endpoint) -> SharedInputs | None:
        """Memory that the server reads; None if tensors have to be sent."""
        if endpoint.shares is None:
            endpoint.memory = None
            if self._settings.shared_memory and endpoint.address.loopback:
                endpoint.memory = self._agree(endpoint)
            endpoint.shares = endpoint.memory is not None
        return endpoint.memory

    def end(self, endpoint: Endpoint) -> None:
        """Let the memory go, on both sides."""
        if endpoint.memory is not None:
            endpoint.stop_sharing()
        with suppress(InferenceServerException):  # it is gone, and the regions with it
            self._unregister_former(endpoint)

    def _agree(self, endpoint: Endpoint) -> SharedInputs | None:
        """Memory that the server has opened: it may run elsewhere, or as another user.

        It also forgets the memory of processes that were killed.
        """
        url = endpoint.address.url
        try:
            memory = SharedInputs(self._settings.in_flight, self._settings.slot_bytes)
        except OSError as error:
            log.info("%s gets pictures by gRPC: no shared memory (%s)", url, error)
            return None
        try:
            self._unregister_former(endpoint)
            known = endpoint.client.get_system_shared_memory_status(
                headers=self._headers, client_timeout=AGREE_S
            )
            for name in filter(is_leftover, known.regions):
                self._unregister(endpoint, name)
            endpoint.client.register_system_shared_memory(
                memory.name,
                memory.name,
                memory.nbytes,
                headers=self._headers,
                client_timeout=AGREE_S,
            )
        except InferenceServerException as error:
            log.info("%s gets pictures by gRPC (%s)", url, error.message())
            memory.close()
            endpoint.former.append(memory.name)  # it may have been registered all the same
            return None
        memory.hide()
        return memory

    def _unregister_former(self, endpoint: Endpoint) -> None:
        """Have a server that outlived our use of its memory let that go: it holds it open."""
        while endpoint.former:
            self._unregister(endpoint, endpoint.former[-1])
            endpoint.former.pop()

    def _unregister(self, endpoint: Endpoint, name: str) -> None:
        endpoint.client.unregister_system_shared_memory(
            name, headers=self._headers, client_timeout=AGREE_S
        )
