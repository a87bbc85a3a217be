"""Forecasts of failures, from the live engine or from checkpoints of one's own."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vllm_monitor import settings
from vllm_monitor._native import Detector

if TYPE_CHECKING:
    from vllm_monitor.vllm_engine_integration import VLLMEngineMonitor

#: Keys of checkpoints and the vLLM metrics that they mean.
NAMES = {
    "num_running_requests": "vllm:num_requests_running",
    "num_waiting_requests": "vllm:num_requests_waiting",
    "gpu_cache_usage": "vllm:kv_cache_usage_perc",
    "kv_cache_usage": "vllm:kv_cache_usage_perc",
    "tokens_generated": "vllm:generation_tokens_total",
    "prompt_tokens": "vllm:prompt_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "steps": "vllm_monitor_engine_steps_total",
    "steps_with_output": "vllm:iteration_tokens_total_count",
    "completed_requests": "vllm:request_success_total",
}


@dataclass(frozen=True)
class Prediction:
    """What one predictor says."""

    #: Kind of failure: ``kv_preemption``, ``queue_overflow``, ``hang``, …
    failure_type: str
    #: Probability that it begins within 300 s.
    probability: float
    #: Median time to it in seconds; ``None`` if it is not to be expected within 300 s.
    time_to_failure: float | None
    #: Probabilities that it begins within 5, 30, 60 and 300 s.
    horizons: tuple[float, ...] = ()
    #: The failure is present now: ``degraded`` or ``failed``.
    present: str | None = None
    #: The evidence.
    evidence: tuple[str, ...] = field(default=())


def checkpoint(values: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of ``values`` (a status, or numbers by name) as a checkpoint, stamped now."""
    flat = dict(values)
    flat.update(flat.pop("counters", {}) or {})
    numbers = {
        key: float(value)
        for key, value in flat.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and (key in NAMES or key.startswith("vllm"))
    }
    if "kv_cache_usage" in numbers:
        numbers.setdefault("gpu_cache_usage", numbers["kv_cache_usage"])
    return {"timestamp": time.time(), "metrics": numbers}


class PredictiveDetector:
    """Analyses checkpoints in order of time.

    A forecast needs a history: the first checkpoints of a detector give none. With a monitor that is attached to an
    engine, the history is the engine's own, and the checkpoint only says when.
    """

    def __init__(self, monitor: VLLMEngineMonitor | None = None, **keywords: Any) -> None:
        self._monitor = monitor
        self._keywords = keywords
        self._detector: Detector | None = None
        #: Names of the newest checkpoint that mean nothing to the monitor.
        self.unknown_names: list[str] = []
        #: For each predictor without a forecast: why.
        self.without_forecast: dict[str, str] = {}

    def analyze_checkpoint(self, checkpoint: Mapping[str, Any] | None = None) -> list[Prediction]:
        """The forecasts, most probable first. ``None`` is the live engine's present state.

        A checkpoint is ``{"timestamp": seconds, "metrics": {name: number}}`` or the numbers alone. Names are those of
        :data:`NAMES` or vLLM's own.
        """
        if checkpoint is None:
            if self._monitor is None:
                raise ValueError("without a monitor, a checkpoint is needed")
            raw = self._monitor.get_engine_status()["predictions"]
        elif self._is_live():
            raw = self._monitor.get_engine_status()["predictions"]  # type: ignore[union-attr]
        else:
            raw = self._analyze(checkpoint)
        self.without_forecast = {one["failure_type"]: one["reason"] for one in raw if one["probability"] is None}
        made = [
            Prediction(
                failure_type=one["failure_type"],
                probability=one["probability"],
                time_to_failure=one["time_to_failure"],
                horizons=tuple(one["horizons"] or ()),
                present=one["present"],
                evidence=tuple(one["evidence"]),
            )
            for one in raw
            if one["probability"] is not None
        ]
        return sorted(made, key=lambda one: one.probability, reverse=True)

    def _is_live(self) -> bool:
        return self._monitor is not None and self._monitor.get_engine_status()["engine_attached"]

    def _analyze(self, checkpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._detector is None:
            self._detector = Detector(settings.environment(), settings.flags(self._keywords))
        at = float(checkpoint.get("timestamp", time.time()))
        values = checkpoint.get("metrics", checkpoint)
        pairs = [
            (NAMES.get(name, name), float(value))
            for name, value in values.items()
            if name != "timestamp" and isinstance(value, (int, float))
        ]
        text, self.unknown_names = self._detector.analyze(at, pairs)
        return json.loads(text)
