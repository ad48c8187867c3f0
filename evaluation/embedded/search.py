"""One search through one file: what was found, and how much may still be unwrapped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from evaluation.embedded import directories, icc, layers, text_codings, xmp
from evaluation.embedded.finding import Finding, TooMuch
from evaluation.embedded.signatures import begins_as_jpeg_xl, pictures_in

# zlib in hexadecimal in zlib in base64 is 4; nobody wraps a picture more often by accident.
_MAX_DEPTH = 5
# Enough for every text of a file at the four offsets of base64, and for all but bombs.
_LEAST_ALLOWANCE = 64 << 20
_ALLOWANCE_A_BYTE = 16
_MOST_A_PLACE = 16
_MOST_BLOCKS = 100_000
_MOST_FINDINGS = 1000
_EXIF = b"Exif\0\0"


class Search:
    """Collects what is found in one file.

    Attributes:
        damage: why the file could not be looked through to its end; empty where it could.
    """

    def __init__(self, size: int) -> None:
        self.damage: list[str] = []
        self._found: dict[Finding, None] = {}
        self._allowance = _LEAST_ALLOWANCE + _ALLOWANCE_A_BYTE * size
        self._blocks = 0

    @property
    def findings(self) -> list[Finding]:
        """What was found, in order."""
        return list(self._found)

    def report(self, kind: str, place: str) -> None:
        """Note a hidden picture; the same one in the same place counts once.

        Raises:
            TooMuch: there is no end of them.
        """
        self._found[Finding(kind, place)] = None
        if len(self._found) == _MOST_FINDINGS:
            raise TooMuch

    def coded(self, block: bytes, place: str) -> None:
        """Look for pictures as they are in ``block``, where all else is coded pixels.

        Raises:
            TooMuch: the file has more than may be looked through.
        """
        self._count(block)
        self._signatures(block, lambda at: f"{place}, byte {at}", own=False)

    def block(
        self,
        block: bytes,
        place: str,
        *,
        own: bool = False,
        locate: Callable[[int], str] | None = None,
    ) -> None:
        """Look for pictures in ``block``: as they are, as text, deflated, or all of that.

        Args:
            own: whether a TIFF header at its beginning is its own (EXIF) and no finding.
            locate: names the place of a position; by default ``place`` and the position.

        Raises:
            TooMuch: the file has, or unwraps to, more than may be looked through.
        """
        self._block(block, locate or (lambda at: f"{place}, byte {at}"), own, 0)

    def exif(self, block: bytes, place: str) -> None:
        """Look through a TIFF-structured EXIF block, without its prefix.

        Raises:
            TooMuch: the file has, or unwraps to, more than may be looked through.
        """
        read = directories.read_directories(block, directories.FEW_VALUES)
        spans: list[tuple[int, int, str]] = []
        if read is not None:
            for name in directories.thumbnails(read):
                self.report("EXIF thumbnail", f"{place}, {name}")
            spans = list(_spans(read))
        self.block(block, place, own=True, locate=lambda at: _named(place, at, spans))

    def _block(self, block: bytes, locate: Callable[[int], str], own: bool, depth: int) -> None:
        self._count(block)
        self._signatures(block, locate, own=own)
        if begins_as_jpeg_xl(block):
            self.report("JPEG XL", locate(0))
        self._exif_blocks(block, locate)
        for at, gap in icc.unaccounted(block):
            self.report("data that no tag accounts for", f"{locate(at)}, {len(gap)} bytes")
        texts = list(layers.texts_in(block))
        for start, text in texts:
            for name, at in xmp.picture_properties(text):
                self.report(f"XMP {name}", locate(start + at))
        if depth == _MAX_DEPTH:
            return
        for start, text in texts:
            self._unwrap(layers.decoded(text), locate, start, depth)
            self._unwrap(text_codings.decoded(text), locate, start, depth)
        self._unwrap(layers.inflated(block, self._allowance + 1), locate, 0, depth)

    def _count(self, block: bytes) -> None:
        self._blocks += 1
        self._allowance -= len(block)
        if self._blocks > _MOST_BLOCKS or self._allowance < 0:
            raise TooMuch

    def _unwrap(
        self, found: Iterable[layers.Layer], locate: Callable[[int], str], start: int, depth: int
    ) -> None:
        for layer in found:
            where = partial(_within, locate, start + layer.start, layer.name)
            self._block(layer.data, where, False, depth + 1)

    def _signatures(self, block: bytes, locate: Callable[[int], str], *, own: bool) -> None:
        count = 0
        for kind, at in pictures_in(block):
            if own and at == 0 and kind == "TIFF":
                continue
            self.report(kind, locate(at))
            count += 1
            if count == _MOST_A_PLACE:
                break

    def _exif_blocks(self, block: bytes, locate: Callable[[int], str]) -> None:
        """Thumbnails of EXIF blocks within ``block``: uncompressed ones look like nothing."""
        at = block.find(_EXIF)
        for _ in range(_MOST_A_PLACE):
            if at < 0:
                return
            inner = block[at + len(_EXIF) : at + (1 << 20)]
            read = directories.read_directories(inner, directories.FEW_VALUES)
            for name in directories.thumbnails(read) if read is not None else ():
                self.report("EXIF thumbnail", f"{locate(at)}, {name}")
            at = block.find(_EXIF, at + 1)


def _within(locate: Callable[[int], str], start: int, layer: str, at: int) -> str:
    return f"{locate(start)} in {layer}, byte {at}"


def _spans(read: directories.Directories) -> Iterable[tuple[int, int, str]]:
    """Where the picture data and the tags' values of an EXIF block lie."""
    for directory in read.found:
        for start, stop in read.pieces(directory):
            yield start, stop, f"data of {directory.name}"
        for tag in directory.tags.values():
            yield tag.start, tag.stop, f"tag {tag.number:#06x} of {directory.name}"


def _named(place: str, at: int, spans: list[tuple[int, int, str]]) -> str:
    for start, stop, name in spans:
        if start <= at < stop:
            return f"{place}, {name}, byte {at - start}"
    return f"{place}, byte {at}"
