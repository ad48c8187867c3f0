"""JPEGs whose headers are sound each by itself and contradict one another, for the fuzzer."""

from __future__ import annotations

import random
from collections.abc import Callable

from pipeline.errors import ImageRefused
from pipeline.jpeg.segments import DHT, DQT, DRI, SOS, parse_jpeg
from tests.pipeline.pictures import segment

# A marker, its payload, and for scans the coded data.
Part = tuple[int, bytes, bytes]
_FRAMES = (0xC0, 0xC1, 0xC2)
_APP0, _APP14 = 0xE0, 0xEE
_SAMPLINGS = [0x11, 0x12, 0x21, 0x22, 0x14, 0x41, 0x24, 0x42, 0x13, 0x44, 0x00]
_SIDES = [1, 8, 17, 56, 60, 72, 100, 300]
_EXTRA = b"\2\x11\0\3\x11\0\4\x11\0"


def mismatched(data: bytes, chance: random.Random) -> bytes:
    """``data`` with one to three of its headers changed, each to something that can be read."""
    try:
        structure = parse_jpeg(data)
    except ImageRefused:
        return data
    parts: list[Part] = [
        (one.marker, one.payload(data), data[one.stop : one.scan_stop])
        for one in structure.segments
        if not one.is_metadata or chance.random() < 0.5
    ]
    for _ in range(chance.choice([1, 1, 2, 3])):
        chance.choice(_CHANGES)(parts, chance)
    body = b"".join(segment(marker, payload) + coded for marker, payload, coded in parts)
    return b"\xff\xd8" + body + b"\xff\xd9"


def _change(
    parts: list[Part],
    markers: tuple[int, ...],
    chance: random.Random,
    to: Callable[[bytearray], None],
) -> None:
    """Change the payload of one segment of ``markers``, if there is any."""
    places = [i for i, part in enumerate(parts) if part[0] in markers and part[1]]
    if places:
        place = chance.choice(places)
        marker, payload, coded = parts[place]
        changed = bytearray(payload)
        to(changed)
        parts[place] = (marker, bytes(changed), coded)


def _frame_count(parts: list[Part], chance: random.Random) -> None:
    """More or fewer components in the frame than its scans name."""

    def to(payload: bytearray) -> None:
        count = chance.choice([1, 2, 3, 4])
        payload[5:] = bytes([count]) + (payload[6:] + _EXTRA)[: 3 * count]

    _change(parts, _FRAMES, chance, to)


def _scan_count(parts: list[Part], chance: random.Random) -> None:
    """A scan of some of its components, in any order, or of one twice."""

    def to(payload: bytearray) -> None:
        named = [bytes(payload[i : i + 2]) for i in range(1, len(payload) - 3, 2)]
        if named:
            chosen = [chance.choice(named) for _ in range(chance.randrange(1, 5))]
            if chance.random() < 0.7:
                chosen = chance.sample(named, chance.randrange(1, len(named) + 1))
            payload[:-3] = bytes([len(chosen)]) + b"".join(chosen)

    _change(parts, (SOS,), chance, to)


def _frame_fields(parts: list[Part], chance: random.Random) -> None:
    """Other sampling factors, numbers or tables of a component, or another size."""

    def to(payload: bytearray) -> None:
        if chance.random() < 0.3:
            sides = [chance.choice(_SIDES).to_bytes(2, "big") for _ in range(2)]
            payload[1:5] = b"".join(sides)
        elif len(payload) > 8:
            at = 6 + 3 * chance.randrange((len(payload) - 6) // 3)
            field = chance.randrange(3)
            payload[at + field] = chance.choice([[1, 2, 3, 4], _SAMPLINGS, [0, 1, 2, 3]][field])

    _change(parts, _FRAMES, chance, to)


def _scan_fields(parts: list[Part], chance: random.Random) -> None:
    """Another band, other bits, or other tables."""

    def to(payload: bytearray) -> None:
        if chance.random() < 0.5:
            bits = chance.choice([0, 1, 0x10, 0x21, 0x0D])
            payload[-3:] = bytes([chance.choice([0, 1, 5, 63]), chance.choice([0, 5, 63]), bits])
        elif len(payload) > 5:
            payload[2 + 2 * chance.randrange(payload[0])] = chance.choice([0, 1, 0x10, 0x11, 0x22])

    _change(parts, (SOS,), chance, to)


def _interval(parts: list[Part], chance: random.Random) -> None:
    """A restart interval that the coded data does not keep, or a needless one."""
    interval = chance.choice([0, 1, 2, 7, 63, 64, 65535]).to_bytes(2, "big")
    parts.insert(chance.randrange(len(parts) + 1), (DRI, interval, b""))


def _another_process(parts: list[Part], chance: random.Random) -> None:
    """Baseline called progressive, or the other way round."""
    for place, (marker, payload, coded) in enumerate(parts):
        if marker in _FRAMES:
            parts[place] = (chance.choice(_FRAMES), payload, coded)


def _twice(parts: list[Part], chance: random.Random) -> None:
    place = chance.randrange(len(parts))
    parts.insert(chance.randrange(place, len(parts) + 1), parts[place])


def _elsewhere(parts: list[Part], chance: random.Random) -> None:
    parts.insert(chance.randrange(len(parts)), parts.pop(chance.randrange(len(parts))))


def _missing(parts: list[Part], chance: random.Random) -> None:
    if len(parts) > 1:
        del parts[chance.randrange(len(parts))]


def _other_tables(parts: list[Part], chance: random.Random) -> None:
    """A table under another one's number."""

    def to(payload: bytearray) -> None:
        payload[0] = chance.choice([0, 1, 2, 0x10, 0x11, 0x12])

    _change(parts, (DQT, DHT), chance, to)


def _colours(parts: list[Part], chance: random.Random) -> None:
    """What colours mean, said anywhere and more than once."""
    if chance.random() < 0.5:
        parts[:] = [part for part in parts if part[0] != _APP0]
    jfif = (_APP0, b"JFIF\0\1\1\0\0\1\0\1\0\0", b"")
    adobe = [(_APP14, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, i]), b"") for i in (0, 1, 2)]
    for _ in range(chance.randrange(1, 4)):
        parts.insert(chance.randrange(len(parts) + 1), chance.choice([jfif, *adobe[:2], *adobe]))


_CHANGES = (
    _frame_count,
    _scan_count,
    _frame_fields,
    _scan_fields,
    _interval,
    _another_process,
    _twice,
    _elsewhere,
    _missing,
    _other_tables,
    _colours,
)
