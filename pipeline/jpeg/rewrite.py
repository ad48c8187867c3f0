"""JPEG files put together anew: the coded picture as it is, with metadata that may stay.

Sources: ITU-T T.871 (JFIF); Adobe TN 5116 (APP14); Exif 2.32, section 4.7; ICC.1:2022, annex B.4;
ISO 19566-5, annex D (boxes in APP11); C2PA 2.2, annex A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.jpeg.metadata import CleanMetadata, RawMetadata
from pipeline.jpeg.segments import APP0, APP1, APP2, APP11, APP14, JpegStructure, Segment

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ICC = b"ICC_PROFILE\0"
_ICC_CHUNK = 65_519
_JFIF_BYTES, _ADOBE_BYTES = 14, 12


def read_metadata(data: bytes, structure: JpegStructure) -> RawMetadata:
    """The header's first EXIF block, first XMP packet and colour profile (if it is complete).

    A C2PA manifest counts wherever it is.
    """
    exif = xmp = None
    profile: dict[int, bytes] = {}
    parts: set[int] = set()
    for segment in structure.header:
        if segment.marker == APP1:
            content = segment.payload(data)
            if content.startswith(_EXIF) and exif is None:
                exif = content[len(_EXIF) :]
            elif content.startswith(_XMP) and xmp is None:
                xmp = content[len(_XMP) :]
        elif segment.marker == APP2:
            content = segment.payload(data)
            if content.startswith(_ICC) and len(content) > 14:
                profile.setdefault(content[12], content[14:])
                parts.add(content[13])
    complete = len(parts) == 1 and sorted(profile) == list(range(1, parts.pop() + 1))
    icc = b"".join(profile[i] for i in sorted(profile)) if complete else b"" if profile else None
    c2pa = any(_is_c2pa(data, segment) for segment in structure.segments)
    return RawMetadata(exif, xmp, icc, c2pa)


def adobe_transform(data: bytes, structure: JpegStructure) -> int | None:
    """The colour transform of the Adobe segment (0 none, 1 YCbCr, 2 YCCK); None without one.

    Of several, libjpeg takes the last one before the first scan (jdmarker.c).
    """
    adobe = _last(data, structure, _is_adobe)
    return None if adobe is None else adobe[11]


def has_jfif(data: bytes, structure: JpegStructure) -> bool:
    """Whether there is a JFIF segment: then three components are YCbCr."""
    return _last(data, structure, _is_jfif) is not None


def colour_coding(data: bytes, structure: JpegStructure) -> tuple[bool, int | None]:
    """What decides which colours the same coefficients show: JFIF or not, Adobe's transform."""
    return has_jfif(data, structure), adobe_transform(data, structure)


def assemble(
    coded: Sequence[bytes | memoryview],
    data: bytes,
    structure: JpegStructure,
    jfif: bytes | None,
    metadata: CleanMetadata,
) -> bytes:
    """A file of the coded picture ``coded``, bit for bit, with ``metadata`` and nothing else.

    Args:
        coded: as :func:`coded_picture` gives it.
        data, structure: the file whose Adobe segment says what its colours mean.
        jfif: payload of the JFIF segment to write (see :func:`jfif_without_thumbnail`).
    """
    parts: list[bytes | memoryview] = [b"\xff\xd8"]
    if jfif is not None:
        parts.append(_written(APP0, jfif))
    exif = metadata.exif_block
    if exif is not None:
        parts.append(_written(APP1, _EXIF + exif))
    if metadata.xmp is not None:
        parts.append(_written(APP1, _XMP + metadata.xmp))
    if metadata.icc is not None:
        parts += _icc_segments(metadata.icc)
    adobe = _last(data, structure, _is_adobe)
    if adobe is not None:
        parts.append(_written(APP14, adobe[:_ADOBE_BYTES]))
    return b"".join([*parts, *coded, b"\xff\xd9"])


def jfif_without_thumbnail(data: bytes, structure: JpegStructure) -> bytes | None:
    """The JFIF segment's payload with version and density, its thumbnail emptied."""
    jfif = _last(data, structure, _is_jfif)
    return None if jfif is None else jfif[: _JFIF_BYTES - 2] + b"\0\0"


def coded_picture(data: bytes, structure: JpegStructure) -> list[bytes]:
    """Everything that is not metadata: equal lists decode to equal coefficients."""
    return [s.whole(data) for s in structure.segments if not s.is_metadata]


def _last(
    data: bytes, structure: JpegStructure, kind: Callable[[bytes, Segment], bool]
) -> bytes | None:
    """The payload of the header's last segment of a ``kind``, which is what libjpeg goes by."""
    found = [segment for segment in structure.header if kind(data, segment)]
    return found[-1].payload(data) if found else None


def _is_jfif(data: bytes, segment: Segment) -> bool:
    if segment.marker != APP0 or segment.stop - segment.start < _JFIF_BYTES:
        return False
    return data[segment.start : segment.start + 5] == b"JFIF\0"


def _is_adobe(data: bytes, segment: Segment) -> bool:
    if segment.marker != APP14 or segment.stop - segment.start < _ADOBE_BYTES:
        return False
    return data[segment.start : segment.start + 5] == b"Adobe"


def _is_c2pa(data: bytes, segment: Segment) -> bool:
    """Whether a part of a JUMBF box (common identifier ``JP``) names C2PA as its type or label."""
    if segment.marker != APP11:
        return False
    content = segment.payload(data)
    return content.startswith(b"JP") and content[12:16] == b"jumb" and b"c2pa" in content


def _written(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _icc_segments(profile: bytes) -> list[bytes]:
    chunks = [profile[i : i + _ICC_CHUNK] for i in range(0, len(profile), _ICC_CHUNK)]
    return [
        _written(APP2, _ICC + bytes([number, len(chunks)]) + chunk)
        for number, chunk in enumerate(chunks, start=1)
    ]
