"""Redacting a JPEG without coding the rest of it again.

Only blocks under a mask are decoded, redacted in the file's own colour space and coded with its
own tables; all other blocks keep their coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.jpeg.areas import apart, mcu_area
from pipeline.jpeg.coded_areas import CodedAreas, Samples, picture_averages
from pipeline.jpeg.colours import shared_components
from pipeline.jpeg.coverage import block_uses, cell_mcus, coded_area
from pipeline.jpeg.dct import Ints
from pipeline.jpeg.frame import Frame, frame_of, scans_of
from pipeline.jpeg.segments import SOS, JpegStructure
from pipeline.jpeg.sequential import Part, SequentialScan, Span
from pipeline.jpeg.unspliceable import Unspliceable
from pipeline.jpeg.whole import WholePicture
from pipeline.noise import NoiseKey
from pipeline.redaction import Plane, RedactionBox, changed_areas, redact_planes


@dataclass(frozen=True, slots=True, eq=False)
class Spliced:
    """A JPEG with some blocks changed.

    Attributes:
        coded: the file's segments but metadata, see :func:`pipeline.jpeg.rewrite.coded_picture`.
        source: the source's coded data, for the check of the output.
        spans: what was written anew; None where all scans were, with the same coefficients.
    """

    coded: Sequence[Part]
    source: SequentialScan | WholePicture
    spans: tuple[Span, ...] | None

    @property
    def route(self) -> Literal["spliced", "rewritten"]:
        """``spliced``: all other bits are the source's; ``rewritten``: all other coefficients."""
        return "rewritten" if self.spans is None else "spliced"


def scan_jpeg(data: bytes, structure: JpegStructure) -> SequentialScan:
    """The coded data of a JPEG of one sequential scan, with what a quarter-size picture takes.

    For pictures that are judged at a quarter of their size: one pass gives both that picture
    (:func:`pipeline.jpeg.quarter.quarter_picture`) and the places at which to splice.

    Raises:
        Unspliceable: it is coded in another way.
        ImageRefused: ``corrupt``, a quantisation table is missing.
    """
    if structure.arithmetic or structure.progressive or structure.scans != 1:
        raise Unspliceable("scans", "the picture is not coded in one sequential scan")
    (scan,) = scans_of(data, structure)
    return SequentialScan(data, frame_of(data, structure), scan, low=True)


def splice_jpeg(
    data: bytes,
    structure: JpegStructure,
    boxes: Sequence[RedactionBox],
    noise: NoiseKey,
    *,
    scanned: SequentialScan | None = None,
) -> Spliced:
    """Redact ``boxes`` (stored pixels) in the JPEG ``data``.

    Args:
        scanned: of :func:`scan_jpeg` for ``data``, if at hand.

    Raises:
        Unspliceable: the file has to be redacted in another way; the reason says why.
        ImageRefused: ``corrupt``, a quantisation table is missing.
    """
    if structure.arithmetic:
        raise Unspliceable("arithmetic", "the picture is coded arithmetically")
    frame, scans = frame_of(data, structure), scans_of(data, structure)
    size = (frame.width, frame.height)
    coded = {box: coded_area(frame, box) for box in boxes}
    inside = {box: mcu_area(frame, area) for box, area in coded.items() if area is not None}
    areas = apart(inside.values())
    shared = shared_components(data, structure)
    field = noise.field()
    changed = changed_areas(boxes, *size)

    here = [[box for box, own in inside.items() if area.meets(own)] for area in areas]
    uses = [block_uses(frame, area, own) for area, own in zip(areas, here, strict=True)]

    def paint(number: int, samples: list[Samples]) -> None:
        planes = [_plane(frame, one, averages[one.component], shared) for one in samples]
        redact_planes(planes, here[number], field, size, changed)

    if not structure.progressive and len(scans) == 1:
        # without restart markers all of it is followed
        needed = cell_mcus(frame, boxes) if scans[0].restart_interval else None
        source = scanned or SequentialScan(data, frame, scans[0], needed)
        averages = picture_averages(frame, source)
        inner = CodedAreas(frame, areas, uses, source)
        inner.change(paint)
        try:
            raw, spans = source.written(inner.mcus, inner.coefficients, inner.changed)
        except Unspliceable as error:
            # tables made for this picture may lack a code that the blurred blocks need
            if error.reason != "codes":
                raise
        else:
            parts: list[Part] = []
            for segment in structure.segments:
                if segment.marker == SOS:
                    parts += [data[segment.start - 4 : segment.stop], *raw]
                elif not segment.is_metadata:
                    parts.append(segment.whole(data))
            return Spliced(parts, source, tuple(spans))
    whole = WholePicture(data, structure, frame, scans)
    averages = picture_averages(frame, whole)
    inner = CodedAreas(frame, areas, uses, whole)
    inner.change(paint)
    return Spliced(whole.written(inner.mcus, inner.coefficients, inner.changed), whole, None)


def _plane(frame: Frame, samples: Samples, averages: Ints, shared: Sequence[bool]) -> Plane:
    grid = frame.components[samples.component]
    return Plane(
        samples.before,
        samples.after,
        samples.left,
        samples.top,
        grid.width,
        grid.height,
        grid.step_x,
        grid.step_y,
        channel=samples.component if len(shared) > 1 else None,
        shared=shared[samples.component],
        averages=averages,
    )
