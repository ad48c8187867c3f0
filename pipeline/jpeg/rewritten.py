"""What an output's coded data holds where it was written anew, read without trust in the writer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.jpeg import bitstream, entropy
from pipeline.jpeg.bitstream import Longs, Words
from pipeline.jpeg.entropy import Shorts
from pipeline.jpeg.sequential import SequentialScan, Span, Tables, raise_fault, read_mcus
from pipeline.jpeg.stretches import segment_bounds, unstuffed
from pipeline.jpeg.unspliceable import Unspliceable


@dataclass(frozen=True, slots=True, eq=False)
class Rewritten:
    """Units of a source and of its output where the output was written anew.

    Attributes:
        mcus: their numbers.
        before, after: their coefficients [n, blocks of an MCU, 64] in zigzag order.
    """

    mcus: Longs
    before: Shorts
    after: Shorts


def rewritten_units(source: SequentialScan, raw: bytes, spans: Sequence[Span]) -> Rewritten:
    """What the coded data ``raw`` holds in ``spans``; everything else is seen to be the source's.

    Nothing of how ``raw`` was made is taken on trust: outside the spans bits are compared, within
    them units are decoded, and each span must end where its last unit does, with the source's DC
    values, so that a decoder is in step again behind it.

    Raises:
        Unspliceable: ``differs``: something outside the spans is not the source's;
            ``scan``: a span cannot be decoded.
    """
    interval = source.interval
    bounds = segment_bounds(raw, interval, source.frame.mcus)
    units: list[Rewritten] = []
    by_segment: dict[int, list[Span]] = {}
    for span in spans:
        by_segment.setdefault(span.segment, []).append(span)
    at = other = 0
    for number, own in sorted(by_segment.items()):
        start, stop = bounds[number]
        old_start, old_stop = source.bounds[number]
        if raw[at:start] != source.raw[other:old_start]:
            raise Unspliceable("differs", "coded data between restart markers has changed")
        units += _segment_units(source, number, raw[start:stop], own)
        at, other = stop, old_stop
    if raw[at:] != source.raw[other:]:
        raise Unspliceable("differs", "coded data between restart markers has changed")
    empty = np.zeros((0, len(source.tables.blocks), 64), np.int16)
    return Rewritten(
        np.concatenate([np.zeros(0, np.int64), *(one.mcus for one in units)]),
        np.concatenate([empty, *(one.before for one in units)]),
        np.concatenate([empty, *(one.after for one in units)]),
    )


def _segment_units(
    source: SequentialScan, number: int, raw: bytes, spans: Sequence[Span]
) -> Iterator[Rewritten]:
    words = np.zeros(len(raw) // 4 + 1 + bitstream.PADDING_WORDS, np.uint32)
    bits = unstuffed(np.frombuffer(raw, np.uint8), (0, len(raw)), words)
    row = int(np.searchsorted(source.numbers, number))
    if row == len(source.numbers) or source.numbers[row] != number:
        raise Unspliceable("differs", "a segment was written anew that no box reaches")
    begin, _, _, _ = source.segments[row].tolist()
    tables = source.tables
    at, other = 0, begin
    places, dc = np.zeros_like(source.places), np.zeros_like(source.dc)
    levels = np.zeros_like(source.levels)
    for span in spans:
        old_start, old_stop = (begin + bit for bit in span.source)
        start, stop = span.output
        if not at <= start <= stop <= bits or source.places[span.first] != old_start:
            raise Unspliceable("differs", "a rewritten stretch is not where it should be")
        _same(source.words, other, old_start, words, at, start)
        follow = np.array([[start, stop, span.first, span.last - span.first]])
        ends = np.zeros(1, np.int64)
        fault = entropy.find_units(
            words,
            follow,
            source.dc[[span.first]].astype(np.int64),
            tables.blocks,
            tables.read,
            tables.short,
            tables.skip,
            places,
            dc,
            ends,
            levels,
            np.zeros((0, 0, 0), np.int16),
        )
        raise_fault(fault)
        mcus = np.arange(span.first, span.last)
        after = read_mcus(words, mcus, places, dc, tables)
        before = source.read(mcus)
        ended = source.places[span.last] if span.last < _behind(source, row) else source.ends[row]
        if ends[0] != stop or ended != old_stop:
            raise Unspliceable("differs", "a rewritten stretch does not end where it should")
        yield Rewritten(mcus, before, after)
        if span.last < _behind(source, row):
            last = _last_dc(after[-1], tables), _last_dc(before[-1], tables)
            if last[0] != last[1]:
                raise Unspliceable("differs", "DC values behind a rewritten stretch have changed")
        at, other = stop, old_stop
    tail = int(source.ends[row]) - other
    _same(source.words, other, other + tail, words, at, at + tail)
    if not 0 <= bits - at - tail < 8:
        raise Unspliceable("differs", "the coded data has another end")


def _behind(source: SequentialScan, row: int) -> int:
    return int(source.segments[row, 2] + source.segments[row, 3])


def _last_dc(unit: Shorts, tables: Tables) -> dict[int, int]:
    """By component, the DC value of its last block in one MCU."""
    return {int(row[0]): int(block[0]) for row, block in zip(tables.blocks, unit, strict=True)}


def _same(words: Words, at: int, stop: int, others: Words, to: int, end: int) -> None:
    if stop - at != end - to or not bitstream.same_bits(words, at, stop, others, to):
        raise Unspliceable("differs", "coded data outside the rewritten stretches has changed")
