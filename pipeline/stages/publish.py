"""Publish: check the new bytes, then one PUT under the same key."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable

from pipeline.errors import ImageRefused, OutputRejected
from pipeline.images import CONTENT_TYPES
from pipeline.output_check import check_output, is_sampled
from pipeline.policy import PrivacyPolicy
from pipeline.stages.envelope import Envelope, Published
from pipeline.stages.redact import Redact
from pipeline.storage import ObjectStore

ADVICE = (
    "Nothing of it was published; keep the picture out of use and report it, or save it anew in an "
    "image editor and run again"
)
"""What can be done about a picture whose output was rejected."""


class Publish:
    """Redacts and writes one image; the last step, and the only one that writes the output.

    Args:
        store: the output.
        redact: makes the bytes.
        policy: what the output is checked against.
        fence: raises LeaseError when another run owns the output; called before each PUT.
    """

    def __init__(
        self, store: ObjectStore, redact: Redact, policy: PrivacyPolicy, fence: Callable[[], None]
    ) -> None:
        self._store = store
        self._redact = redact
        self._policy = policy
        self._fence = fence

    def __call__(self, envelope: Envelope) -> Envelope:
        """Adds ``published``.

        Raises:
            ImageRefused: the picture cannot be coded, or the output fails its own check.
            StorageError: the output cannot be written.
            LeaseError: another run owns the output.
        """
        source, info = envelope.data, envelope.info
        start = time.perf_counter()
        envelope, made = self._redact(envelope)
        envelope = _split_off("redact", 1000 * (time.perf_counter() - start), envelope)
        if source is None or info is None:
            raise ImageRefused("not_decided", "no decision was made", where=envelope.item.key)
        try:
            check_output(
                source,
                info,
                made.image.data,
                made.boxes,
                self._policy,
                pixels=made.image.pixels,
                spliced=made.image.spliced,
                whole=is_sampled(envelope.item.key, self._policy.check.decode_share),
            )
        except OutputRejected as error:
            raise ImageRefused(
                "output_rejected",
                f"the redacted picture failed its check ({error.reason}): {error.what}",
                where=envelope.item.key,
                fix=error.fix or ADVICE,
            ) from error
        self._fence()
        stored = self._store.put(
            envelope.item.key, made.image.data, content_type=CONTENT_TYPES[info.format]
        )
        return dataclasses.replace(
            envelope,
            data=None,
            published=Published(
                size=len(made.image.data),
                sha256=hashlib.sha256(made.image.data).hexdigest(),
                etag=stored.etag,
                route=made.image.route,
            ),
        )


def _split_off(name: str, spent: float, envelope: Envelope) -> Envelope:
    """Count ``spent`` milliseconds under ``name`` and take them off ``publish``'s own."""
    counted = {**envelope.milliseconds, name: spent}
    counted["publish"] = counted.get("publish", 0.0) - spent
    return dataclasses.replace(envelope, milliseconds=counted)
