"""The recorder for Python harnesses, and records as Arrow tables for pandas, polars, pyarrow and DuckDB.

Record a run:

>>> import tempfile, vllm_metrics
>>> folder = tempfile.mkdtemp()
>>> with vllm_metrics.Session([], output_dir=folder, facts={"model": "tiny"}) as session:
...     session.phase("performance")
...     session.request_issued(1)
...     session.first_token(1)
...     session.request_completed(1, output_tokens=128)

Read it back; every table speaks the Arrow PyCapsule interface, so nothing is copied:

>>> run = vllm_metrics.read(folder)
>>> run.facts["model"], len(run.requests)
('tiny', 1)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from vllm_monitor import _native
from vllm_monitor._native import ArrowTable

__all__ = ["ArrowTable", "FinishedRun", "Run", "Session", "read"]


class FinishedRun:
    """What a session left."""

    def __init__(self, paths: Mapping[str, Any], missing: list[str]) -> None:
        #: Path of each file by table: ``samples``, ``requests``, …
        self.paths = {name: os.fspath(path) for name, path in paths.items()}
        #: What is missing from the record, in words; empty if nothing is.
        self.missing = missing

    def read(self) -> Run:
        """The record."""
        return read(self.paths["samples"])


class Session:
    """A run being recorded. A context manager: leaving it finishes the run.

    ``endpoints`` are URLs of vLLM servers or of anything else with a Prometheus page; ``interval`` is in seconds.
    ``config`` is a session's configuration (docs/recording.md) as a mapping; the other arguments win over it.

    Hooks (``request_issued`` and so on) may be called from any thread. They never block and never raise for what
    happens inside: calls that come faster than they can be taken in are dropped and counted (:attr:`dropped`).

    Raises ``ValueError`` for a wrong configuration, ``RuntimeError`` if the files cannot be opened.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str] = (),
        *,
        interval: float | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        facts: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        urls = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        text = None if config is None else json.dumps(config)
        folder = None if output_dir is None else os.fspath(output_dir)
        self._native = _native.Session(urls, interval, folder, dict(facts or {}), text)
        #: Set once the run is finished.
        self.finished: FinishedRun | None = None
        for name in (
            "model_loaded",
            "phase",
            "test_completed",
            "batch_issued",
            "batch_completed",
            "request_issued",
            "request_sent",
            "first_token",
            "request_completed",
        ):
            # Bound methods of the Rust object: a hook call pays for no Python frame.
            setattr(self, name, getattr(self._native, name))

    @property
    def dropped(self) -> int:
        """Hook calls that were dropped."""
        return self._native.dropped()

    def scrape_now(self, limit: float = 10.0) -> bool:
        """Scrapes every endpoint now; false if ``limit`` seconds passed first."""
        return self._native.scrape_now(limit)

    def finish(self) -> FinishedRun:
        """Ends the run and closes its files. A second call returns the same."""
        if self.finished is None:
            self.finished = FinishedRun(*self._native.finish())
        return self.finished

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


class Run:
    """A record read back. Each table is an :class:`ArrowTable`:

    ``samples`` one row per sample, ``requests``, ``batches``, ``steps`` and ``engine_requests`` (with a source inside the
    engine), ``events``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._native = _native.Run(os.fspath(path))

    samples = property(lambda self: self.table("samples"))
    requests = property(lambda self: self.table("requests"))
    batches = property(lambda self: self.table("batches"))
    steps = property(lambda self: self.table("steps"))
    engine_requests = property(lambda self: self.table("engine_requests"))
    events = property(lambda self: self.table("events"))

    def table(self, name: str) -> ArrowTable:
        """A table by name; ``KeyError`` if there is none."""
        return self._native.table(name)

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return self._native.tables

    @property
    def facts(self) -> dict[str, str]:
        """Facts of the manifest, such as ``model``."""
        return self._native.facts

    @property
    def stamp(self) -> str:
        """``YYYYMMDD_HHMMSS`` (UTC) of the start."""
        return self._native.stamp

    @property
    def simulated(self) -> bool:
        """The data come from a simulator."""
        return self._native.simulated

    @property
    def notes(self) -> list[str]:
        """What the reader has to say: the run was cut, a file is missing."""
        return self._native.notes


def read(path: str | os.PathLike[str]) -> Run:
    """Reads the record that ``path`` belongs to: any of its files, or its folder (the newest run there)."""
    return Run(path)
