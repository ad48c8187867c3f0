"""The Ray Data graph: the one place that knows Ray Data.

::

    items -> fetch, decode (CPU tasks) -> detect (actors) -> decide, redact, publish (CPU tasks)

The three steps stay separate operators: the CPU steps ask for another share of a core than the
actors, so Ray does not fuse them into the actors (a test asserts the plan). Errors of one image are
rows, never exceptions; ``max_errored_blocks`` stays 0 but for the search after a crash.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, ExecutionResources, TaskPoolStrategy
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.experimental.internal_kv import (
    _internal_kv_del,
    _internal_kv_exists,
    _internal_kv_get,
    _internal_kv_put,
)

from pipeline.blocks import pack, pack_apart, unpack
from pipeline.engine import EngineCrashed, OutcomeDict
from pipeline.errors import StreetblurError
from pipeline.gate import judge, undone
from pipeline.ray_cluster import connect, dead_processes, disconnect, mute_console
from pipeline.records import OUTCOME_SCHEMA, WorkItem
from pipeline.stages.build import StageConfig, detect_group, fetch_chain, publish_chain, start
from pipeline.stages.detect import groups
from pipeline.stages.envelope import Envelope, outcome_of
from serving.errors import ServingError

BLOCK_ROWS = 32
BLOCK_BYTES = 8 << 20
BLOCKS_A_WORKER = 4
"""A block ends with so many images or encoded bytes (about eight pictures of 5 megapixels); of few
images it holds fewer, so that each worker gets some blocks. Each block costs Ray a task a step."""
CPU_SHARE = 0.5
MAX_RESTARTS = 4
MAX_RETRIES = 3
LOOK_S = 2.0
"""Seconds without an outcome after which the cluster's processes are looked at."""
END_S = 5.0
"""Seconds that the rows' threads get to end when nobody wants more rows."""
_ROW_SCHEMA = OUTCOME_SCHEMA.append(pa.field("shard", pa.int32()))


class RayEngine:
    """Runs the stages on a Ray cluster: a private one, or the one at ``address``.

    Args:
        config: the stages.
        workers: detector actors at most.
        min_workers: detector actors that stay even when there is little to do.
        address: a running cluster; None starts a private one on this machine.
        stall_timeout_s: seconds without any outcome after which the run is given up.
    """

    def __init__(
        self,
        config: StageConfig,
        *,
        workers: int,
        min_workers: int = 1,
        address: str | None,
        stall_timeout_s: float,
    ) -> None:
        self._config = config
        self._workers = workers
        self._min_workers = min_workers
        self._stall_timeout_s = stall_timeout_s
        self._owned = connect(workers, address)

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        """One outcome row for each item, in any order.

        With ``searching``, one image a block, and a block whose worker keeps dying is given up:
        an image that kills its workers loses only its own row.
        """
        items = list(items)
        blocks = list(_blocks(items, 1 if searching else rows_a_block(len(items), self._workers)))
        if not blocks:
            return
        set_context(tolerate_lost_blocks=searching)
        graph = partial(build_graph, blocks, self._config, self._workers, self._min_workers)
        yield from _drain(graph, self._stall_timeout_s)
        if (error := RayGate(self._config.token).take()) is not None:
            raise error

    def close(self) -> None:
        """Stop the private cluster, if there is one."""
        if self._owned:
            disconnect()


def default_workers() -> int:
    """One detector actor a core."""
    return max(1, os.cpu_count() or 1)


def set_context(*, tolerate_lost_blocks: bool) -> None:
    """Ray Data settings of this process: quiet, bounded, strict."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1 if tolerate_lost_blocks else 0
    context.memory_usage_poll_interval_s = None  # a thread a task, for a figure nobody reads
    context.execution_options.preserve_order = False
    context.execution_options.resource_limits = ExecutionResources.inf()


def build_graph(
    blocks: list[pa.Table], config: StageConfig, workers: int, min_workers: int = 1
) -> Dataset:
    """The dataset of outcome rows for ``blocks`` of envelopes.

    Args:
        blocks: what to do.
        config: the stages.
        workers: detector actors at most.
        min_workers: detector actors at least; never more than ``workers``.
    """
    # finite restarts can be asked for in this way only, until Ray names the parameters
    warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
    share: dict[str, Any] = {"num_cpus": CPU_SHARE, "max_retries": MAX_RETRIES}
    return (
        ray.data.from_arrow(blocks)
        .map_batches(
            FetchDecode(config),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=TaskPoolStrategy(),
            **share,
        )
        .map_batches(
            DetectActor,
            fn_constructor_args=(config,),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ActorPoolStrategy(min_size=min(min_workers, workers), max_size=workers),
            num_cpus=1,
            max_restarts=MAX_RESTARTS,
            max_task_retries=MAX_RETRIES,
        )
        .map_batches(
            RedactPublish(config),
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=TaskPoolStrategy(),
            **share,
        )
    )


def operators(config: StageConfig, workers: int = 1) -> list[str]:
    """Names of the physical operators that Ray would run, in order (a fused one names both)."""
    from ray.data._internal.logical.optimizers import get_execution_plan

    set_context(tolerate_lost_blocks=False)
    plan = get_execution_plan(build_graph([pack([])], config, workers)._logical_plan)
    dag = plan[0].dag if isinstance(plan, tuple) else plan.dag
    return [operator.name for operator in dag.post_order_iter()]


class RayGate:
    """The gate of a run on a cluster: a word in the cluster's own memory, by the run's token."""

    def __init__(self, token: str) -> None:
        self._key = f"streetblur-gate-{token}".encode()

    def closed(self) -> bool:
        """See ``Gate``."""
        return bool(_internal_kv_exists(self._key))

    def close(self, error: ServingError) -> None:
        """See ``Gate``."""
        _internal_kv_put(self._key, pickle.dumps(error), overwrite=False)

    def take(self) -> ServingError | None:
        """Why it is closed; opens it again, for the next engine of this run."""
        content = _internal_kv_get(self._key)
        if content is None:
            return None
        _internal_kv_del(self._key)
        error = pickle.loads(content)  # noqa: S301 - our own
        return error if isinstance(error, ServingError) else None


class FetchDecode:
    """The first CPU step."""

    def __init__(self, config: StageConfig) -> None:
        self._config = config

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Envelopes in, with bytes and pixels out; one table a group."""
        if RayGate(self._config.token).closed():
            yield pack([undone(envelope) for envelope in unpack(table)])
            return
        chain = fetch_chain(self._config)
        for group in groups(chain(envelope) for envelope in unpack(table)):
            yield pack_apart(group)


class DetectActor:
    """The actor: holds the models and, for a moment, the pixels."""

    def __init__(self, config: StageConfig) -> None:
        self._config = config
        self._gate = RayGate(config.token)

    def __call__(self, table: pa.Table) -> pa.Table:
        """One group of envelopes with pixels in, with candidates out once the canary passed."""
        group = list(unpack(table))
        return pack_apart(judge(group, partial(detect_group, self._config), self._gate))


class RedactPublish:
    """The last CPU step; the only one that writes the output."""

    def __init__(self, config: StageConfig) -> None:
        self._config = config

    def __call__(self, table: pa.Table) -> pa.Table:
        """Envelopes with candidates in, outcome rows out."""
        chain = publish_chain(self._config)
        rows = []
        for envelope in unpack(table):
            done = outcome_of(chain(envelope), **self._config.provenance)
            rows.append({**done.as_row(), "shard": done.shard})
        return pa.Table.from_pylist(rows, schema=_ROW_SCHEMA)


def rows_a_block(images: int, workers: int) -> int:
    """How many images a block may hold."""
    return min(BLOCK_ROWS, max(1, images // (BLOCKS_A_WORKER * workers)))


def _blocks(items: Iterable[WorkItem], rows: int) -> Iterator[pa.Table]:
    buffer: list[Envelope] = []
    size = 0
    for item in items:
        if buffer and (len(buffer) == rows or size + item.size > BLOCK_BYTES):
            yield pack(buffer)
            buffer, size = [], 0
        buffer.append(start(item))
        size += item.size
    if buffer:
        yield pack(buffer)


_END = object()


def _drain(graph: Callable[[], Dataset], stall_timeout_s: float) -> Iterator[OutcomeDict]:
    """Rows of the dataset as they come; a watched thread builds it and pulls them.

    Either can wait for a dead cluster without end.
    """
    rows: queue.Queue[Any] = queue.Queue(maxsize=64)
    stopped = threading.Event()

    def pull() -> None:
        try:
            for batch in graph().iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=1
            ):
                while not stopped.is_set():
                    try:
                        rows.put(batch, timeout=0.5)
                        break
                    except queue.Full:
                        continue
                if stopped.is_set():
                    return
            rows.put(_END)
        except BaseException as error:  # noqa: BLE001 - handed over to the consuming thread
            rows.put(error)

    logging.getLogger("ray").setLevel(logging.ERROR)
    mute_console("ray.data")
    thread = threading.Thread(target=pull, name="ray-outcomes", daemon=True)
    thread.start()
    try:
        while True:
            item = _next(rows, stall_timeout_s)
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise _translated(item) from item
            yield from item.to_pylist()
    finally:
        stopped.set()
        _leave_ray(thread)


def _leave_ray(thread: threading.Thread) -> None:
    """End what still asks Ray in the background, before somebody stops the cluster.

    Ray ends the whole process, with exit code 1 and without a word, when a thread of it asks a
    raylet that is gone. Of a dead cluster nobody waits for an end.

    Args:
        thread: pulls the rows.
    """
    if dead_processes():
        return
    for executor in threading.enumerate():
        if isinstance(executor, StreamingExecutor):
            end = threading.Thread(target=executor.shutdown, kwargs={"force": True}, daemon=True)
            end.start()
            end.join(END_S)
    thread.join(END_S)


def _next(rows: queue.Queue[Any], stall_timeout_s: float) -> Any:
    """The next item; looks now and then whether the cluster still lives.

    Raises:
        EngineCrashed: the cluster is dead, or nothing came for ``stall_timeout_s``.
    """
    deadline = time.monotonic() + stall_timeout_s
    while True:
        try:
            return rows.get(timeout=max(0.0, min(LOOK_S, deadline - time.monotonic())))
        except queue.Empty:
            if dead := dead_processes():
                raise EngineCrashed(f"{', '.join(dead)} of the Ray cluster ended") from None
            if time.monotonic() >= deadline:
                raise EngineCrashed(f"no outcome for {stall_timeout_s:.0f} s") from None


def _translated(error: BaseException) -> BaseException:
    """Our own errors as they were raised in the worker; all else is a crash of the engine."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None)
        for candidate in (seen, cause):
            if isinstance(candidate, StreetblurError | ServingError):
                return candidate
        seen = seen.__cause__ or (cause if isinstance(cause, BaseException) else None)
    return EngineCrashed(f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:300]}")
