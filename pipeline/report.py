"""The job's report: summary JSON, Markdown and a self-contained HTML page."""

from __future__ import annotations

import base64
import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from pipeline.errors import ImageRefused, StreetblurError
from pipeline.images import ImageLimits, inspect_image
from pipeline.ledger import Ledger
from pipeline.override_check import NAMED
from pipeline.result import RunResult
from pipeline.thumbnails import thumbnail
from pipeline.verify import Verification

BINS = 20
TOP = 10
THUMBNAILS = 8


@dataclass(slots=True)
class Facts:
    """What the outcomes of a job say together; gathered in one pass, in flat memory."""

    scores: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    slowest: list[tuple[float, str]] = field(default_factory=list)
    largest: list[tuple[int, str]] = field(default_factory=list)
    busiest: list[tuple[int, str]] = field(default_factory=list)
    routes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    bad: list[dict[str, str]] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in one outcome row."""
        key = row["key"]
        spent = sum(value or 0.0 for name, value in row.items() if name.startswith("ms_"))
        _keep_top(self.slowest, (round(spent, 1), key))
        _keep_top(self.largest, (row["source_size"], key))
        self.notes.update(row["notes"] or ())
        if row["status"] != "published":
            if len(self.bad) < 50:
                self.bad.append({n: row[n] for n in ("key", "status", "reason", "message")})
            return
        self.routes[row["route"]] += 1
        _keep_top(self.busiest, (row["kept"], key))
        if row["kept"] and len(self.samples) < THUMBNAILS * 8:
            self.samples[key] = row["output_etag"]
        for item in row["detections"] or ():
            decision = "kept" if item["kept"] else "dropped"
            by_decision = self.scores.setdefault(item["label"], {})
            bins = by_decision.setdefault(decision, [0] * BINS)
            bins[min(int(item["score"] * BINS), BINS - 1)] += 1


def _keep_top(heap: list[Any], item: tuple[Any, str]) -> None:
    if len(heap) < TOP:
        heapq.heappush(heap, item)
    else:
        heapq.heappushpop(heap, item)


def gather(ledger: Ledger) -> Facts:
    """Read every outcome in force once."""
    facts = Facts()
    for row in _all_outcomes(ledger):
        facts.add(row)
    for top in (facts.slowest, facts.largest, facts.busiest):
        top.sort(reverse=True)
    return facts


def _all_outcomes(ledger: Ledger) -> Iterator[dict[str, Any]]:
    for _, entry in ledger.shards():
        yield from ledger.outcomes(entry.shard)


def summary(result: RunResult, facts: Facts, verification: Verification) -> dict[str, Any]:
    """The job's summary, ready for JSON."""
    revision = result.revision
    tally = verification.tally
    return {
        "job": result.workspace.job,
        "output": result.workspace.output.uri,
        "exit_code": int(result.exit_code),
        "complete": verification.complete,
        "images": verification.rows,
        **tally.model_dump(),
        "findings": {
            name: {"count": finding.count, "sample": finding.sample}
            for name, finding in verification.findings().items()
        },
        "not_selected": revision.not_selected,
        "overrides": {
            "pictures": len(revision.overrides),
            "unlisted": _sample(result.overrides.unlisted),
            "outside_picture": _sample(result.overrides.outside),
        },
        "revision": revision.number,
        "policy": {"name": revision.policy.name, "digest": revision.policy_digest},
        "models": revision.models,
        "models_note": revision.note,
        "redaction_version": revision.redaction_version,
        "this_run": {
            "images": result.processed,
            "seconds": round(result.seconds, 1),
            "images_per_s": round(result.processed / result.seconds, 2) if result.seconds else 0.0,
        },
        "routes": dict(facts.routes),
        "notes": dict(facts.notes.most_common(20)),
        "score_histogram": facts.scores,
        "slowest_ms": [{"key": key, "ms": value} for value, key in facts.slowest],
        "largest_bytes": [{"key": key, "bytes": value} for value, key in facts.largest],
        "most_detections": [{"key": key, "kept": value} for value, key in facts.busiest],
        "not_published": facts.bad,
    }


def _sample(keys: Sequence[str]) -> dict[str, Any]:
    return {"count": len(keys), "sample": list(keys[:NAMED])}


def write_report(result: RunResult) -> dict[str, Any]:
    """Write ``summary.json``, ``report.md`` and ``report.html`` into the workspace.

    Thumbnails show published outputs only, never a source and never a quarantined image.
    """
    ledger = result.workspace.ledger
    facts = gather(ledger)
    content = summary(result, facts, result.verification)
    environment = Environment(
        loader=PackageLoader("pipeline", "templates"),
        autoescape=select_autoescape(["html.j2", "html"], default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = _markdown
    pictures = _thumbnails(result, facts)
    store = ledger.store
    store.put("summary.json", json.dumps(content, indent=2, ensure_ascii=False).encode())
    page = environment.get_template("report.html.j2").render(
        s=content, pictures=pictures, bins=BINS
    )
    store.put("report.html", page.encode(), content_type="text/html; charset=utf-8")
    text = environment.get_template("report.md.j2").render(s=content)
    store.put("report.md", text.encode(), content_type="text/markdown; charset=utf-8")
    return content


def _markdown(value: object) -> str:
    """``value`` as text that Markdown and HTML leave alone."""
    text = str(value)
    return "".join(f"&#{ord(c)};" if c in "<>&|`*_[]\\!#\n\r" else c for c in text)


def _thumbnails(result: RunResult, facts: Facts) -> list[dict[str, str]]:
    pictures: list[dict[str, str]] = []
    for key, etag in facts.samples.items():
        if len(pictures) == THUMBNAILS:
            break
        try:
            data = result.workspace.output.get(key, if_match=etag)
            small = thumbnail(data, inspect_image(data, ImageLimits()))
        except (StreetblurError, ImageRefused):
            continue  # verification has named a missing or altered output already
        uri = "data:image/jpeg;base64," + base64.b64encode(small).decode()
        pictures.append({"key": key, "uri": uri})
    return pictures
