"""A parking with small blocks, and a disk that stops on demand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_tests.kv.parking_kit import BLOCK, Lot, SlowDisk

from engine.kv import spill


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of parked states small enough that a few kilobytes fill the disk."""
    monkeypatch.setattr(spill, "BLOCK_BYTES", BLOCK)


@pytest.fixture
def lot(tmp_path: Path, small_blocks: None) -> Iterator[Lot]:
    lot = Lot(tmp_path / "parked")
    yield lot
    lot.parking.close()


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch, lot: Lot) -> Iterator[SlowDisk]:
    disk = SlowDisk()
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    monkeypatch.setattr(spill, "_read_all", disk.read_all)
    yield disk
    disk.go_on()
