"""Every metric, declared once; fed from outcomes in the driver, so each counts exactly once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import start_http_server as _serve

from pipeline.errors import ConfigurationError

SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SCORES = tuple(i / 20 for i in range(1, 21))


class JobMetrics:
    """The metrics of one job in a registry of their own; the job's name is a label of all."""

    def __init__(self, job: str) -> None:
        self.registry = CollectorRegistry()
        self._job = job
        registry = self.registry
        self.images = Counter(
            "streetblur_images", "Images with an outcome.", ["job", "status"], registry=registry
        )
        self.endings = Counter(
            "streetblur_unpublished_images",
            "Images that were not published, by reason.",
            ["job", "status", "reason"],
            registry=registry,
        )
        self.detections = Counter(
            "streetblur_detections",
            "Detections in published images, kept or dropped.",
            ["job", "label", "decision"],
            registry=registry,
        )
        self.empty = Counter(
            "streetblur_images_without_detection",
            "Published images in which nothing was kept.",
            ["job"],
            registry=registry,
        )
        self.bytes = Counter(
            "streetblur_image_bytes",
            "Bytes read and written.",
            ["job", "direction"],
            registry=registry,
        )
        self.stage = Histogram(
            "streetblur_stage_seconds",
            "Wall time of one image in one stage.",
            ["job", "stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.score = Histogram(
            "streetblur_kept_score",
            "Raw detector score of kept detections.",
            ["job", "label"],
            buckets=SCORES,
            registry=registry,
        )
        self.shards = Counter(
            "streetblur_shards_committed", "Shards committed.", ["job"], registry=registry
        )
        self.crashes = Counter(
            "streetblur_engine_crashes",
            "Times the engine died or stalled and was started again.",
            ["job"],
            registry=registry,
        )
        self.due = Gauge(
            "streetblur_due_images", "Images still due in this run.", ["job"], registry=registry
        )
        self.complete = Gauge(
            "streetblur_job_complete",
            "1 when published + quarantined = manifest and the output was verified.",
            ["job"],
            registry=registry,
        )
        self.finished = Gauge(
            "streetblur_job_finished_timestamp_seconds",
            "Unix time of the end of the last run.",
            ["job"],
            registry=registry,
        )
        for status in ("published", "quarantined", "failed"):
            self.images.labels(job, status)
        self.complete.labels(job).set(0)

    def observe(self, row: Mapping[str, Any]) -> None:
        """Count one outcome row."""
        job = self._job
        self.images.labels(job, row["status"]).inc()
        self.bytes.labels(job, "read").inc(row["source_size"])
        for name, value in row.items():
            if name.startswith("ms_") and value:
                self.stage.labels(job, name[3:]).observe(value / 1000)
        if row["status"] != "published":
            self.endings.labels(job, row["status"], row["reason"]).inc()
            return
        self.bytes.labels(job, "written").inc(row["output_size"])
        if not row["kept"]:
            self.empty.labels(job).inc()
        for item in row["detections"]:
            decision = "kept" if item["kept"] else "dropped"
            self.detections.labels(job, item["label"], decision).inc()
            if item["kept"]:
                self.score.labels(job, item["label"]).observe(item["score"])

    def finish(self, *, complete: bool) -> None:
        """Record how the run ended."""
        self.complete.labels(self._job).set(1 if complete else 0)
        self.finished.labels(self._job).set(time.time())

    def text(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    def serve(self, port: int) -> None:
        """Serve ``/metrics`` on the loopback address while this process lives.

        Raises:
            ConfigurationError: the port is taken or not ours to take.
        """
        try:
            _serve(port, addr="127.0.0.1", registry=self.registry)
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be served there ({error.strerror})",
                where=f"127.0.0.1:{port}",
                fix="Choose another --metrics-port, or stop what listens there",
            ) from error
