"""What a picture says about itself, cleaned to the policy's keep-list, for every format."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from pipeline.containers.ifd import MalformedTags
from pipeline.jpeg import exif as exif_tags
from pipeline.jpeg import xmp as xmp_properties
from pipeline.jpeg.icc import kept_profile
from pipeline.policy import MetadataItem


@dataclass(frozen=True, slots=True)
class RawMetadata:
    """Metadata blocks as a container holds them, without the container's own prefixes.

    Attributes:
        exif: a TIFF-structured block.
        xmp: an XMP packet.
        icc: a colour profile, put together.
        c2pa: whether there is a C2PA manifest; it speaks of the source's bytes and never stays.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    c2pa: bool = False

    @property
    def orientation(self) -> int:
        """1..8; 1 where there is no readable EXIF."""
        try:
            return exif_tags.read_exif(self.exif).orientation if self.exif else 1
        except MalformedTags:
            return 1


@dataclass(frozen=True, slots=True)
class CleanMetadata:
    """Metadata rebuilt from what may stay.

    Attributes:
        exif: the tags that stay (TIFF writes them into its own directory).
        xmp: a fresh packet, or None.
        icc: the profile, or None.
        notes: what was malformed (the parts of it that could not be read are dropped), and
            ``c2pa_dropped``.
    """

    exif: exif_tags.Exif
    xmp: bytes | None
    icc: bytes | None
    notes: tuple[str, ...]

    @property
    def exif_block(self) -> bytes | None:
        """A TIFF-structured block without prefix, or None."""
        return exif_tags.write_exif(self.exif)


def clean(raw: RawMetadata, keep: Collection[MetadataItem]) -> CleanMetadata:
    """Rebuild ``raw`` from the items in ``keep``; the orientation always stays."""
    notes = ["c2pa_dropped"] if raw.c2pa else []
    exif = exif_tags.EMPTY
    if raw.exif is not None:
        try:
            found = exif_tags.read_exif(raw.exif)
            exif = exif_tags.kept_exif(found, keep)
            notes += ["exif_malformed"] if found.damaged else []
        except MalformedTags:
            notes.append("exif_malformed")
    properties: dict[str, str] = {}
    if raw.xmp is not None:
        try:
            properties = xmp_properties.kept_properties(
                xmp_properties.read_properties(raw.xmp), keep
            )
        except xmp_properties.MalformedXmp:
            notes.append("xmp_malformed")
    icc = None
    if raw.icc is not None and "icc" in keep:
        icc = kept_profile(raw.icc)
        notes += ["icc_malformed"] if icc is None else []
    return CleanMetadata(exif, xmp_properties.write_packet(properties), icc, tuple(notes))
