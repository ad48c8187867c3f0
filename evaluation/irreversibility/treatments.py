"""What can be done to a box: the product's redaction, what other tools do, and what is too weak."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.irreversibility.jpegs import coded, decoded
from evaluation.irreversibility.known import without_surroundings
from evaluation.irreversibility.scenes import default_style
from pipeline.decode import decode_upright
from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.policy import DEFAULT_POLICY, Style, load_policy
from pipeline.redaction import RedactionBox, redact_pixels
from serving.geometry import Label

Pixels = NDArray[np.uint8]

_LIMITS = ImageLimits()
# A seed that is written in a program is known to everybody who has the program.
_PUBLIC_SEED = 42


class Treatment(ABC):
    """One way to hide what is in a box.

    Attributes:
        name: for tables.
        fresh: whether every run gives another result for the same picture.
        period: share of the box's size after which places look alike to it; 0 if all do.
    """

    name: str
    fresh: bool = False
    period: float = 0.0

    @abstractmethod
    def __call__(self, data: bytes, box: RedactionBox, secret: bytes) -> Pixels:
        """What an attacker sees of ``box``, uint8 [h, w, 3], in the published JPEG.

        Args:
            data: the source, a JPEG.
            secret: 32 bytes that only the operator knows.
        """

    @abstractmethod
    def expected(self, pixels: Pixels, box: RedactionBox) -> Pixels:
        """What an attacker works out that would show of ``box`` in ``pixels``, without noise."""


@dataclass(frozen=True)
class Redacted(Treatment):
    """The product's own, through its own files: spliced into the JPEG, published, decoded.

    Attributes:
        share: least side of a cell, as a share of the box: what ``strength`` says at worst.
        noise: grey levels, see :class:`pipeline.policy.Style`.
        mode: as in a policy.
    """

    share: float
    noise: float
    mode: str = "blur"

    @property
    def name(self) -> str:  # type: ignore[override]
        """Mode and settings; ``solid`` has none."""
        if self.mode == "solid":
            return self.mode
        return f"{self.mode} {self.share:g}, noise {self.noise:g}"

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        """Only with noise."""
        return self.noise > 0 and self.mode != "solid"

    @property
    def period(self) -> float:  # type: ignore[override]
        """A cell; ``solid`` has none."""
        return 0.0 if self.mode == "solid" else self.share

    def style(self, label: Label) -> Style:
        """What the default policy does to ``label``, but with these settings."""
        own = {"mode": self.mode, "strength": self.share, "noise": self.noise}
        return Style(**{**default_style(label).model_dump(), **own})

    def __call__(self, data: bytes, box: RedactionBox, secret: bytes) -> Pixels:
        """See :class:`Treatment`."""
        own = RedactionBox(*box.area, self.style(box.label), box.label)
        info = inspect_image(data, _LIMITS)
        made = redact_image(
            data, info, [own], noise=NoiseKey(secret, "a.jpg"), policy=load_policy(DEFAULT_POLICY)
        )
        return self._left(decode_upright(made.data, info), own, colour_step=2)

    def expected(self, pixels: Pixels, box: RedactionBox) -> Pixels:
        """See :class:`Treatment`."""
        style = self.style(box.label).model_copy(update={"noise": 0})
        own = RedactionBox(*box.area, style, box.label)
        redacted = redact_pixels(pixels, [own], NoiseKey(bytes(32), ""))
        return self._left(redacted, own, colour_step=1)

    def _left(self, pixels: Pixels, box: RedactionBox, colour_step: int) -> Pixels:
        """What is not known without seeing the box."""
        if self.mode != "blur":
            return _cut(pixels, box)
        return without_surroundings(pixels, box, colour_step)


def default_treatment(label: Label) -> Redacted:
    """What the default policy does to ``label``."""
    style = default_style(label)
    return Redacted(style.strength, style.noise, style.mode)


@dataclass(frozen=True)
class Clear(Treatment):
    """Nothing: what attackers can do at best."""

    name = "clear"

    def __call__(self, data: bytes, box: RedactionBox, secret: bytes) -> Pixels:
        """See :class:`Treatment`."""
        return _cut(decoded(data), box)

    def expected(self, pixels: Pixels, box: RedactionBox) -> Pixels:
        """See :class:`Treatment`."""
        return _cut(pixels, box)


@dataclass(frozen=True)
class MeanColour(Treatment):
    """The box filled with its mean colour: what any redaction of its size would give away."""

    name = "mean colour"

    def __call__(self, data: bytes, box: RedactionBox, secret: bytes) -> Pixels:
        """See :class:`Treatment`."""
        return self.expected(decoded(data), box)

    def expected(self, pixels: Pixels, box: RedactionBox) -> Pixels:
        """See :class:`Treatment`."""
        inside = _cut(pixels, box)
        return np.broadcast_to(
            np.rint(inside.mean(axis=(0, 1))).astype(np.uint8), inside.shape
        ).copy()


@dataclass(frozen=True)
class Gaussian(Treatment):
    """A plain Gaussian, as many tools have it, coded again.

    Attributes:
        share: its standard deviation as a share of the box's size.
        noise: standard deviation of noise that is added, in grey levels.
        public: whether the noise's seed is known, so that attackers take it off again.
    """

    share: float
    noise: float = 0.0
    public: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """Sigma and noise."""
        if not self.noise:
            return f"Gaussian {self.share:g}"
        seed = "public" if self.public else "secret"
        return f"Gaussian {self.share:g}, noise {self.noise:g} of a {seed} seed"

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        """Only with noise."""
        return self.noise > 0 and not self.public

    def __call__(self, data: bytes, box: RedactionBox, secret: bytes) -> Pixels:
        """See :class:`Treatment`."""
        blurred, box = self._blurred(decoded(data), box)
        noise = np.zeros(1, np.float32)
        if self.noise:
            seed = [_PUBLIC_SEED] if self.public else list(secret)
            shape = (*blurred.shape[:2], 1)
            noise = np.random.default_rng(seed).normal(0, self.noise, shape).astype(np.float32)
        published = coded(_bytes(blurred + noise))
        if self.public:
            return _cut(_bytes(decoded(published) - noise), box)
        return _cut(decoded(published), box)

    def expected(self, pixels: Pixels, box: RedactionBox) -> Pixels:
        """See :class:`Treatment`."""
        blurred, box = self._blurred(pixels, box)
        return _cut(_bytes(blurred), box)

    def _blurred(
        self, pixels: Pixels, box: RedactionBox
    ) -> tuple[NDArray[np.float32], RedactionBox]:
        """The part of ``pixels`` that counts, blurred, and where the box lies in it."""
        x1, y1, x2, y2 = box.area
        sigma = self.share * float(np.sqrt((x2 - x1) * (y2 - y1)))
        # what lies farther away than three sigma and a block does not count
        reach = int(3 * sigma) + 16
        left, top = max(x1 - reach, 0) // 16 * 16, max(y1 - reach, 0) // 16 * 16
        near = pixels[top : y2 + reach, left : x2 + reach].astype(np.float32)
        moved = box.moved((x1 - left, y1 - top, x2 - left, y2 - top))
        return np.asarray(cv2.GaussianBlur(near, (0, 0), sigma), np.float32), moved


def _bytes(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _cut(picture: Pixels, box: RedactionBox) -> Pixels:
    return picture[box.y1 : box.y2, box.x1 : box.x2]
