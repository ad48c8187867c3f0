"""The record that a shard is done, and where it stands."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.tally import Tally


class CommitRef(NamedTuple):
    """Where a commit stands; later revisions and epochs are newer."""

    revision: int
    attempt: int

    @property
    def name(self) -> str:
        """File stem, ``<revision>-<attempt>``."""
        return f"{self.revision:04d}-{self.attempt:08d}"


class Commit(BaseModel):
    """``commits/<shard>/<revision>-<attempt>.json``: a shard whose rows all have an outcome."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    shard: int
    revision: int
    attempt: int
    rules: str
    outcomes: str
    outcomes_sha256: str
    tally: Tally
    finished_at: str
