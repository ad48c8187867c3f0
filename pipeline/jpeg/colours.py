"""Which colours a JPEG's components stand for, by libjpeg's rules.

Source: ITU-T T.871 (JFIF); Adobe TN 5116 (APP14); libjpeg, jdapimin.c.
"""

from __future__ import annotations

from pipeline.jpeg.rewrite import adobe_transform, has_jfif
from pipeline.jpeg.segments import JpegStructure


def stores_rgb(data: bytes, structure: JpegStructure) -> bool:
    """Whether three components are RGB (JFIF decides first, then Adobe, then names)."""
    if has_jfif(data, structure):
        return False
    transform = adobe_transform(data, structure)
    if transform is not None:
        return transform == 0
    return bytes(c.identifier for c in structure.components) == b"RGB"


def shared_components(data: bytes, structure: JpegStructure) -> tuple[bool, ...]:
    """Which components carry brightness: noise that is the same in all of them has no colour."""
    count = len(structure.components)
    if count == 3 and not stores_rgb(data, structure):
        return (True, False, False)
    if count == 4 and adobe_transform(data, structure) == 2:
        return (True, False, False, True)
    return (True,) * count
