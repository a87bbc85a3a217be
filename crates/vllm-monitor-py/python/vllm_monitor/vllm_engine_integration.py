"""The monitor of one engine, and how it is attached: ``VLLMEngineMonitor``, ``create_monitored_engine``."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import threading
import weakref
from typing import Any

from vllm_monitor import settings
from vllm_monitor._native import EngineWatch
from vllm_monitor.continuous_learner import ContinuousLearner
from vllm_monitor.distributed_metrics import Collector
from vllm_monitor.engine_args import prepare
from vllm_monitor.plugin_system import PluginManager
from vllm_monitor.predictive_detector import PredictiveDetector
from vllm_monitor.versions import vllm_version

logger = logging.getLogger("vllm_monitor")

#: How often requests in flight are counted, in seconds.
POLL_SECS = 0.5


class VLLMEngineMonitor:
    """Watches one engine, or the data-parallel engines behind one frontend.

    Keywords are those of :data:`vllm_monitor.settings.KEYWORDS`; unknown ones raise ``TypeError``, wrong values
    ``ValueError``. The monitor's thread starts with :meth:`attach_to_engine`, or with the first step of an engine that
    was given :class:`~vllm_monitor.engine_stat_logger.MonitorStatLogger`.
    """

    def __init__(self, **keywords: Any) -> None:
        ours, others = settings.split(keywords)
        if others:
            raise TypeError(
                f"unknown keyword(s) {', '.join(sorted(others))}; known are {', '.join(settings.KEYWORDS)}"
            )
        self._keywords = ours
        self._watch: EngineWatch | None = None
        self._lock = threading.Lock()
        self._engine: weakref.ref[Any] | None = None
        self._stop = threading.Event()
        self._collectors: list[Collector] = []
        self._config: Any = None
        self.plugin_manager = PluginManager()
        self.predictive_detector = PredictiveDetector(self)
        self.continuous_learner = ContinuousLearner(self)
        # Wrong values are an error here and now, not in the server's log later.
        self._check()

    def _check(self) -> None:
        from vllm_monitor._native import Detector

        Detector(settings.environment(), settings.flags(self._keywords))

    @property
    def monitor(self) -> VLLMEngineMonitor:
        """The monitor itself: the guide's snippets say ``monitor.monitor``."""
        return self

    @property
    def keywords(self) -> dict[str, Any]:
        """The monitor's keywords as given."""
        return dict(self._keywords)

    @property
    def watch(self) -> EngineWatch:
        """The Rust side, started on first use."""
        with self._lock:
            if self._watch is None:
                self._watch = EngineWatch(
                    f"in-process pid {os.getpid()}",
                    settings.environment(),
                    settings.flags(self._keywords),
                    version=vllm_version(),
                    output_dir=settings.output_dir(self._keywords.get("monitor_output_dir")),
                    facts=_facts(self._config),
                    **_limits(self._config),
                )
                # A server that is asked to stop closes its record.
                atexit.register(_close, weakref.ref(self))
            return self._watch

    def configure(self, vllm_config: Any) -> None:
        """Takes the engine's limits from its ``VllmConfig``; has no effect once the thread runs."""
        self._config = vllm_config

    def attach_to_engine(self, engine: Any) -> None:
        """Watches ``engine``: an ``LLMEngine``, an ``AsyncLLM`` or an ``LLM``.

        An engine that was made with ``disable_log_stats`` makes no statistics, and nothing can turn them on later:
        that raises ``ValueError``.
        """
        from vllm_monitor.engine_stat_logger import MonitorStatLogger

        engine = getattr(engine, "llm_engine", engine)
        manager = getattr(engine, "logger_manager", None)
        if manager is None:
            raise ValueError(
                "the engine makes no statistics: it was made with disable_log_stats=True. Make it with "
                "disable_log_stats=False, or by vllm_monitor.create_monitored_engine"
            )
        self.configure(engine.vllm_config)
        if not any(isinstance(known, MonitorStatLogger) and known.monitor is self for known in manager.stat_loggers):
            indexes = list(getattr(manager, "engine_indexes", [0]))
            manager.stat_loggers.insert(0, MonitorStatLogger(engine.vllm_config, indexes, monitor=self))
        self.follow(engine)

    def follow(self, engine: Any) -> None:
        """Counts the requests in flight of ``engine``, from a thread of its own."""
        with self._lock:
            if self._engine is not None and self._engine() is engine:
                return
            first = self._engine is None
            self._engine = weakref.ref(engine)
        if first:
            threading.Thread(target=self._poll, name="vllm-monitor-poll", daemon=True).start()
            self.plugin_manager.start()

    def _poll(self) -> None:
        watch = self.watch
        told = False
        while not self._stop.wait(POLL_SECS):
            engine = self._engine() if self._engine else None
            if engine is None:
                return
            try:
                self._count(watch, engine)
            except Exception as error:  # noqa: BLE001 - whatever it is, the engine goes on
                watch.fault(f"requests in flight cannot be counted: {error!r}")
                if not told:
                    told = True
                    logger.warning("requests in flight cannot be counted: %r", error)
            del engine

    @staticmethod
    def _count(watch: EngineWatch, engine: Any) -> None:
        watch.in_flight(engine.output_processor.get_num_unfinished_requests())
        watch.engine_errored(bool(getattr(engine, "errored", False)))

    def get_engine_status(self) -> dict[str, Any]:
        """What is known now, with every step that came before this call. See ``docs/python.md`` for the keys."""
        watch = self.watch
        engine = self._engine() if self._engine else None
        if engine is not None:
            # The thread's own count may be half a second old. What fails there is told there.
            with contextlib.suppress(Exception):
                self._count(watch, engine)
        status: dict[str, Any] = json.loads(watch.status_json())
        status["plugins"] = self.plugin_manager.results()
        return status

    get_monitoring_status = get_engine_status

    def collect_state(self, metrics: dict[str, float] | None = None) -> dict[str, Any]:
        """One checkpoint for :meth:`PredictiveDetector.analyze_checkpoint`: numbers by name, with their time.

        Without ``metrics`` it is the engine's own state; with them, those numbers.
        """
        from vllm_monitor.predictive_detector import checkpoint

        return checkpoint(self.get_engine_status() if metrics is None else metrics)

    def register_collector(self, collector: Collector) -> None:
        """Adds a collector whose numbers go into exports."""
        self._collectors.append(collector)

    def metrics_page(self) -> str:
        """The Prometheus page: the engine's numbers, those of plugins and of collectors."""
        parts = [self.watch.page(), self.plugin_manager.page()]
        parts += [collector.page() for collector in self._collectors]
        return "".join(parts)

    def export_prometheus(self, path: str | os.PathLike[str]) -> None:
        """Writes the Prometheus page to ``path``: aside first, then renamed."""
        path = os.fspath(path)
        aside = f"{path}.{os.getpid()}.new"
        with open(aside, "w", encoding="utf-8") as file:
            file.write(self.metrics_page())
        os.replace(aside, path)

    def export_data(self) -> dict[str, Any]:
        """Everything that is known, as strict JSON values: ``json.dump`` takes it and reads it back the same."""
        data = {
            "schema": 1,
            "vllm_version": vllm_version(),
            "status": self.get_engine_status(),
            "collectors": [collector.collect() for collector in self._collectors],
        }
        return json.loads(json.dumps(data, allow_nan=False))

    def close(self) -> None:
        """Ends the threads; the record on disk, if there is one, is closed."""
        self._stop.set()
        self.plugin_manager.stop()
        self.continuous_learner.stop()
        with self._lock:
            watch = self._watch
        if watch is not None:
            watch.finish()


def _close(monitor: weakref.ref[VLLMEngineMonitor]) -> None:
    if (still := monitor()) is not None:
        still.close()


def _facts(config: Any) -> dict[str, str]:
    """Facts for the record's manifest."""
    facts = {"server_version": vllm_version(), "model": getattr(getattr(config, "model_config", None), "model", None)}
    return {key: str(value) for key, value in facts.items() if value is not None}


def _limits(config: Any) -> dict[str, Any]:
    """The engine's limits; what an unknown version of vLLM does not have is left out."""
    if config is None:
        return {}
    scheduler = getattr(config, "scheduler_config", None)
    cache = getattr(config, "cache_config", None)
    limits = {
        "max_running": getattr(scheduler, "max_num_seqs", None),
        "max_queued": getattr(scheduler, "max_num_queued_reqs", None),
        "max_model_len": getattr(getattr(config, "model_config", None), "max_model_len", None),
        "kv_blocks": getattr(cache, "num_gpu_blocks", None),
        "kv_block_tokens": getattr(cache, "block_size", None),
    }
    return {key: value for key, value in limits.items() if isinstance(value, (int, float))}


def create_monitored_engine(engine_args: Any, **keywords: Any) -> tuple[Any, VLLMEngineMonitor]:
    """An ``LLMEngine`` made from ``engine_args``, and its monitor.

    Monitor's keywords may stand in ``EngineArgs`` (this module teaches it to take them) or here, where they win.
    """
    from vllm.v1.engine.llm_engine import LLMEngine

    given = dict(getattr(engine_args, "vllm_monitor_keywords", {}))
    given.update(keywords)
    given.pop("enable_monitoring", None)
    monitor = VLLMEngineMonitor(**given)
    prepare(engine_args)
    engine = LLMEngine.from_engine_args(engine_args)
    monitor.attach_to_engine(engine)
    return engine, monitor


def _teach_engine_args() -> None:
    """Lets ``EngineArgs`` take the monitor's keywords, as the guide's snippet does."""
    from vllm_monitor.engine_args import teach

    teach()


_teach_engine_args()
