"""Fetch: one GET of exactly what was listed, header checks, and the decoded upright pixels."""

from __future__ import annotations

import dataclasses

from pipeline.decode import decode_to_judge
from pipeline.errors import ImageRefused
from pipeline.images import ImageLimits, inspect_image
from pipeline.stages.envelope import Envelope
from pipeline.storage import ObjectStore, RefusedKey, TooLarge, validate_key


class Fetch:
    """Reads the source (``If-Match`` on the listed identity); refuses what is too large."""

    def __init__(self, store: ObjectStore, limits: ImageLimits) -> None:
        self._store = store
        self._limits = limits

    def __call__(self, envelope: Envelope) -> Envelope:
        """Adds ``data``.

        Raises:
            ImageRefused: bad key, or more bytes than allowed.
            StorageError: the object is gone, has changed, or cannot be read.
        """
        item = envelope.item
        try:
            validate_key(item.key)
        except RefusedKey as error:
            raise ImageRefused("refused_key", error.what, where=repr(item.key)) from error
        if item.size == 0:
            raise ImageRefused("empty", "the object has no bytes", where=item.key)
        try:
            data = self._store.get(item.key, if_match=item.etag, max_bytes=self._limits.max_bytes)
        except TooLarge as error:
            raise ImageRefused("too_large_bytes", error.what, where=item.key) from error
        return dataclasses.replace(envelope, data=data)


class Decode:
    """Checks the header, then decodes to upright RGB for the detectors."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits

    def __call__(self, envelope: Envelope) -> Envelope:
        """Adds ``info`` and ``pixels``.

        Raises:
            ImageRefused: the bytes are no picture that can be anonymised safely.
        """
        if envelope.data is None:
            raise ImageRefused("empty", "nothing was fetched", where=envelope.item.key)
        info = inspect_image(envelope.data, self._limits)
        pixels = decode_to_judge(envelope.data, info)
        return dataclasses.replace(envelope, info=info, pixels=pixels)
