"""Properties of XMP packets that hold pictures or announce them.

Sources: Adobe XMP Specification, part 2 (xmp:Thumbnails); Google's GImage, GDepth, Camera and
Container namespaces (developer.android.com: Motion photo format 1.0, Ultra HDR image format).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_DECLARED = re.compile(rb"xmlns:([A-Za-z_][\w.-]{0,63})\s{0,9}=\s{0,9}[\"']([^\"'<>]{1,128})[\"']")
# What stands before the colon: the beginning of an element, or a space and an attribute's prefix.
_PREFIX = re.compile(rb"(?:^|[<\s\"'])([A-Za-z_][\w.-]{0,63})$")
_LONGEST_PREFIX = 66


def _pattern(name: bytes, value: bytes) -> re.Pattern[bytes]:
    """The property ``name`` as an attribute or element whose value begins as ``value`` says."""
    attribute = rb"\s{0,9}=\s{0,9}[\"']" + value
    element = rb"(?:\s[^<>]{0,500}+)?+(?<!/)>(?:" + value + rb"|\s*<(?!/))"
    return re.compile(b":" + name + b"(?:" + attribute + b"|" + element + b")")


_ANY, _TRUE = rb"[^\"'<]", rb"\s{0,9}[1-9tT]"
_OTHER = rb"(?!\s{0,9}Primary\s{0,9}[\"'<])[^\"'<]"
_CAMERA = b"http://ns.google.com/photos/1.0/camera/"
_DEPTH = b"http://ns.google.com/photos/1.0/depthmap/"
# (namespace, usual prefixes, property, pattern)
_PROPERTIES = tuple(
    (namespace, prefixes, name, _pattern(name, value))
    for namespace, prefixes, name, value in (
        (b"http://ns.adobe.com/xap/1.0/", {b"xmp", b"xap"}, b"Thumbnails", _ANY),
        (b"http://ns.adobe.com/xap/1.0/g/img/", {b"xmpGImg", b"xapGImg"}, b"image", _ANY),
        (b"http://ns.google.com/photos/1.0/image/", {b"GImage"}, b"Data", _ANY),
        (_DEPTH, {b"GDepth"}, b"Data", _ANY),
        (_DEPTH, {b"GDepth"}, b"Confidence", _ANY),
        (_CAMERA, {b"GCamera", b"Camera"}, b"MicroVideo", _TRUE),
        (_CAMERA, {b"GCamera", b"Camera"}, b"MotionPhoto", _TRUE),
        (b"http://ns.google.com/photos/1.0/container/item/", {b"Item"}, b"Semantic", _OTHER),
    )
)


def picture_properties(text: bytes) -> Iterator[tuple[str, int]]:
    """Name and position of each property of a packet in ``text`` that stands for a picture."""
    declared = {match.groups() for match in _DECLARED.finditer(text)}
    for namespace, usual, name, pattern in _PROPERTIES:
        prefixes = usual | {prefix for prefix, space in declared if space == namespace}
        for match in pattern.finditer(text):
            colon = match.start()
            before = _PREFIX.search(text[max(0, colon - _LONGEST_PREFIX) : colon])
            if before is not None and before.group(1) in prefixes:
                yield (before.group(1) + b":" + name).decode("ascii"), colon
