"""Coefficients beyond what 8-bit samples have, coded data that goes on, and stretches that lie."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.decode import decode_to_judge
from pipeline.jpeg.frame import scans_of
from pipeline.jpeg.segments import SOS, Segment, parse_jpeg
from tests.pipeline.jpegs import by_pillow
from tests.pipeline.pictures import box, textured
from tests.pipeline.test_splice import inspect, redacted

SIZE = (64, 64)


def the_scan(data: bytes) -> Segment:
    (scan,) = (one for one in parse_jpeg(data).segments if one.marker == SOS)
    return scan


def coded(bits: str) -> bytes:
    """``bits`` filled up with ones, stuffed."""
    bits += "1" * (-len(bits) % 8)
    raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return raw.replace(b"\xff", b"\xff\0")


def flat_blocks(differences: Sequence[int]) -> bytes:
    """A grey JPEG of 64 blocks, each even; ``differences`` are those of their DC values."""
    data = by_pillow("L")(textured(*SIZE))
    (scan,) = scans_of(data, parse_jpeg(data))
    (dc,), (ac,) = scan.dc, scan.ac
    assert dc is not None
    assert ac is not None
    end = f"{ac.write[0] >> 5:0{ac.write[0] & 31}b}"
    bits = ""
    for difference in differences:
        size = abs(difference).bit_length()
        entry = int(dc.write[size])
        bits += f"{entry >> 5:0{entry & 31}b}"
        if size:
            value = difference if difference > 0 else difference + (1 << size) - 1
            bits += f"{value:0{size}b}"
        bits += end
    place = the_scan(data)
    return data[: place.stop] + coded(bits) + data[place.scan_stop :]


def test_dc_values_that_no_table_may_code_the_differences_of() -> None:
    """Up in steps of 11 bits each; from a redacted block to them it would be a step of 14."""
    data = flat_blocks([2047] * 6 + [0] * 58)
    decode_to_judge(data, inspect(data))  # nothing else refuses it
    made = redacted(data, [box(10, 10, 40, 40)])
    assert (made.route, made.notes[0]) == ("reencoded", "not_spliced_codes")
