"""A damaged lease object: the error says what an operator must do, and doing it helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import LedgerError
from pipeline.lease import acquire
from pipeline.lease_record import LEASE_FOLDER, lease_key
from pipeline.storage import ObjectStore, StorageSettings, open_store


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    opened = open_store(str(tmp_path / "output"), settings=StorageSettings())
    opened.ensure_root()
    return opened


def hold_and_damage(store: ObjectStore, epochs: int) -> None:
    for _ in range(epochs):
        acquire(store, "job").release()
    store.put(lease_key(epochs), b'{"holder": "some')


def test_the_error_says_what_to_do(store: ObjectStore) -> None:
    hold_and_damage(store, 2)
    with pytest.raises(LedgerError) as caught:
        acquire(store, "job")
    text = str(caught.value)
    assert lease_key(2) in text
    assert "no run over this output is under way" in text
    assert f"copy the newest sound object of {LEASE_FOLDER} over this one" in text
    assert "run again" in text
    assert "{}" not in text


def test_copying_the_object_before_over_it_helps(store: ObjectStore) -> None:
    hold_and_damage(store, 2)
    store.put(lease_key(2), store.get(lease_key(1)))
    with acquire(store, "job") as lease:
        assert lease.epoch == 3


def test_removing_the_only_object_helps(store: ObjectStore, tmp_path: Path) -> None:
    hold_and_damage(store, 1)
    (tmp_path / "output" / lease_key(1)).unlink()
    with acquire(store, "job") as lease:
        assert lease.epoch == 1
