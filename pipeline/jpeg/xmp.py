"""XMP, rebuilt from the few plain properties that may stay.

Packets can hold whole pictures (GImage, GDepth, xmp:Thumbnails), people's names and edit
histories; so only known scalar properties with plausible values go into a fresh packet.
Sources: ISO 16684-1 (XMP); Google Photo Sphere XMP metadata; Exif 2.32 in XMP.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol
from xml.sax.saxutils import quoteattr

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from pipeline.policy import MetadataItem

MAX_PACKET_BYTES = 256 * 1024
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_PREFIXES = {
    "http://ns.google.com/photos/1.0/panorama/": "GPano",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/xap/1.0/": "xmp",
}
# numbers, coordinates (48,8.5N), true/false, dates, short names; never base64 of any length
_PLAIN = re.compile(r"[A-Za-z0-9+\-.,:/_ ]{1,64}")

_PIXELS = (
    "CroppedAreaImageWidthPixels CroppedAreaImageHeightPixels FullPanoWidthPixels "
    "FullPanoHeightPixels CroppedAreaLeftPixels CroppedAreaTopPixels LargestValidInteriorRectLeft "
    "LargestValidInteriorRectTop LargestValidInteriorRectWidth LargestValidInteriorRectHeight"
)
_VIEW = (
    "UsePanoramaViewer ProjectionType PosePitchDegrees PoseRollDegrees InitialViewHeadingDegrees "
    "InitialViewPitchDegrees InitialViewRollDegrees InitialHorizontalFOVDegrees "
    "InitialVerticalFOVDegrees InitialCameraDolly SourcePhotosCount ExposureLockUsed"
)
# property -> policy items of which any one keeps it
PROPERTIES: Mapping[str, tuple[MetadataItem, ...]] = {
    **{f"GPano:{name}": ("gpano",) for name in (_PIXELS + " " + _VIEW).split()},
    "GPano:PoseHeadingDegrees": ("heading",),
    "GPano:FirstPhotoDate": ("time",),
    "GPano:LastPhotoDate": ("time",),
    "exif:GPSLatitude": ("gps",),
    "exif:GPSLongitude": ("gps",),
    "exif:GPSAltitude": ("gps",),
    "exif:GPSAltitudeRef": ("gps",),
    "exif:GPSImgDirection": ("heading",),
    "exif:GPSImgDirectionRef": ("heading",),
    "exif:GPSTimeStamp": ("time",),
    "exif:DateTimeOriginal": ("time",),
    "xmp:CreateDate": ("time",),
}


class MalformedXmp(ValueError):
    """The packet is no XMP that can be read safely; callers drop it."""


class _Element(Protocol):
    tag: Any
    text: str | None
    attrib: dict[str, str]

    def __iter__(self) -> Iterator[_Element]: ...

    def __len__(self) -> int: ...

    def iter(self, tag: str) -> Iterator[_Element]: ...


def read_properties(packet: bytes) -> dict[str, str]:
    """Known plain properties of ``packet`` by ``prefix:name``; the first of each counts.

    Raises:
        MalformedXmp: too large, not XML, or XML with entities.
    """
    if len(packet) > MAX_PACKET_BYTES:
        raise MalformedXmp("the packet is too large")
    try:
        root: _Element = ElementTree.fromstring(packet.strip(b"\0 \r\n\t"), forbid_dtd=True)
    except (ElementTree.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise MalformedXmp(str(error)) from error
    found: dict[str, str] = {}
    for description in root.iter(f"{_RDF}Description"):
        pairs = list(description.attrib.items())
        pairs += [(str(child.tag), child.text or "") for child in description if not len(child)]
        for name, value in pairs:
            known = _known_name(name)
            if known is not None and _PLAIN.fullmatch(value.strip()):
                found.setdefault(known, value.strip())
    return found


def _known_name(name: str) -> str | None:
    namespace, _, local = name.removeprefix("{").partition("}")
    prefix = _PREFIXES.get(namespace)
    full = f"{prefix}:{local}"
    return full if full in PROPERTIES else None


def kept_properties(found: Mapping[str, str], keep: Collection[MetadataItem]) -> dict[str, str]:
    """Only the properties that ``keep`` allows."""
    return {k: v for k, v in found.items() if any(item in keep for item in PROPERTIES[k])}


def write_packet(properties: Mapping[str, str]) -> bytes | None:
    """A fresh packet; None when there is nothing to say."""
    if not properties:
        return None
    used = {name.split(":")[0] for name in properties}
    spaces = "".join(
        f' xmlns:{prefix}="{uri}"' for uri, prefix in sorted(_PREFIXES.items()) if prefix in used
    )
    values = "".join(f" {name}={quoteattr(value)}" for name, value in sorted(properties.items()))
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="'
        f'{_RDF[1:-1]}"><rdf:Description rdf:about=""{spaces}{values}/></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    ).encode()
