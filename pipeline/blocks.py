"""Images on their way between processes: envelopes as Arrow tables."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.stages.envelope import Envelope

SCHEMA = pa.schema(
    [("envelope", pa.binary()), ("data", pa.large_binary()), ("pixels", pa.large_binary())]
)
_CARRIED = (
    "candidates",
    "peaks",
    "runtime",
    "decisions",
    "obscured_share",
    "published",
    "ending",
    "notes",
    "shadows",
    "milliseconds",
)


def pack(envelopes: list[Envelope]) -> pa.Table:
    """Envelopes as an Arrow table; bytes and pixels in columns of their own, not pickled."""
    heads = [
        pickle.dumps((e.item, e.info, *(getattr(e, name) for name in _CARRIED))) for e in envelopes
    ]
    return pa.table(
        [
            pa.array(heads, pa.binary()),
            _bytes_column([e.data for e in envelopes]),
            _bytes_column([None if e.pixels is None else e.pixels.reshape(-1) for e in envelopes]),
        ],
        schema=SCHEMA,
    )


def pack_apart(envelopes: list[Envelope]) -> pa.Table:
    """As ``pack``, but a chunk each: nothing of their pictures is copied."""
    return pa.concat_tables([pack([envelope]) for envelope in envelopes])


def _bytes_column(values: list[bytes | NDArray[np.uint8] | None]) -> pa.Array:
    """Large binary column; a single value is not copied (a picture's pixels are megabytes)."""
    if len(values) != 1 or values[0] is None:
        copies = [v.tobytes() if isinstance(v, np.ndarray) else v for v in values]
        return pa.array(copies, pa.large_binary())
    content = pa.py_buffer(values[0])
    ends = pa.py_buffer(np.array([0, content.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, content])


def unpack(table: pa.Table) -> Iterator[Envelope]:
    """The envelopes of a table; pixels are read-only views of it."""
    columns = zip(*(_buffers(table[name]) for name in SCHEMA.names), strict=True)
    for head, data, content in columns:
        item, info, *rest = pickle.loads(head)  # noqa: S301 - our own
        pixels = None
        if content is not None and info is not None:
            width, height = info.upright_size
            pixels = np.frombuffer(content, np.uint8).reshape(height, width, 3)
        whole = None if data is None else data.to_pybytes()
        yield Envelope(item, whole, info, pixels, **dict(zip(_CARRIED, rest, strict=True)))


def _buffers(column: pa.ChunkedArray) -> Iterator[pa.Buffer | None]:
    """The values of a binary column, not copied (a scalar of Arrow would be)."""
    for chunk in column.chunks:
        _, ends, content = chunk.buffers()
        size = np.int64 if pa.types.is_large_binary(chunk.type) else np.int32
        at = np.frombuffer(ends, size)[chunk.offset : chunk.offset + len(chunk) + 1]
        for valid, start, end in zip(chunk.is_valid().to_pylist(), at, at[1:], strict=False):
            yield content.slice(start, end - start) if valid else None
