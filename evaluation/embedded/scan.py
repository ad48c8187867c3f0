"""The scan of one file, whatever its format."""

from __future__ import annotations

from collections.abc import Callable

from evaluation.embedded.finding import Finding, TooMuch, UnreadableImage
from evaluation.embedded.jpeg import search_jpeg
from evaluation.embedded.png import SIGNATURE, search_png
from evaluation.embedded.search import Search
from evaluation.embedded.tiff import search_tiff
from evaluation.embedded.webp import search_webp


def embedded_pictures(data: bytes) -> list[Finding]:
    """What is hidden in a JPEG, PNG, WebP or TIFF file besides the picture that it shows.

    Raises:
        UnreadableImage: the file is none of these, or damaged, or unwraps to too much.
    """
    scan = _scanner(data)
    search = Search(len(data))
    try:
        scan(search, data)
    except TooMuch:
        search.damage.append("the file holds, or unwraps to, more than may be looked through")
    if search.damage:
        raise UnreadableImage("; ".join(search.damage), search.findings)
    return search.findings


def _scanner(data: bytes) -> Callable[[Search, bytes], None]:
    if data[:3] == b"\xff\xd8\xff":
        return search_jpeg
    if data[: len(SIGNATURE)] == SIGNATURE:
        return search_png
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return search_webp
    if data[:4] in (b"II*\0", b"MM\0*"):
        return search_tiff
    raise UnreadableImage("it is no JPEG, PNG, WebP or classic TIFF file")
