"""What was learned of actions, and strategies of the user's own: ``monitor.continuous_learner``.

Strategies run on a thread of the learner, never on the engine's. One that raises counts as failed; the server goes on.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vllm_monitor import settings
from vllm_monitor._native import Acts
from vllm_monitor.vllm_mitigation_strategies import MitigationOutcome, MitigationStrategy

if TYPE_CHECKING:
    from vllm_monitor.vllm_engine_integration import VLLMEngineMonitor

logger = logging.getLogger("vllm_monitor")

#: Seconds between two decisions.
STEP_SECS = 1.0
#: Most recommendations of one answer.
MOST_RECOMMENDATIONS = 5


class ContinuousLearner:
    """Decides when strategies are called, and learns from what follows.

    Nothing is called unless ``enable_auto_mitigation`` is on, the strategy's name is in ``allow_actions`` (or the
    variable ``VLLM_MONITOR_ALLOW_ACTIONS``, names separated by commas), and ``VLLM_MONITOR_ACTING_DIR`` names a folder
    for the audit and the memory.
    """

    def __init__(self, monitor: VLLMEngineMonitor) -> None:
        self._monitor = monitor
        self._lock = threading.Lock()
        self._acts: Acts | None = None
        self._strategies: dict[str, MitigationStrategy] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def register_strategy(self, name: str, strategy: MitigationStrategy) -> None:
        """Adds a strategy. Raises ``TypeError`` for an object without ``execute``, ``ValueError`` for a name that is taken."""
        if not callable(getattr(strategy, "execute", None)) or not callable(getattr(strategy, "describe", None)):
            raise TypeError(
                f"a strategy is a MitigationStrategy with a method execute(); {type(strategy).__name__} is none"
            )
        self._core().register(json.dumps(strategy.describe(name), allow_nan=False))
        with self._lock:
            self._strategies[name] = strategy
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vllm-monitor-acting", daemon=True)
                self._thread.start()

    def get_learning_recommendations(
        self,
        state: str | None = None,
        errors: Iterable[str] = (),
        metrics: Mapping[str, float] | None = None,
    ) -> list[dict[str, Any]]:
        """Recommended actions, best first, at most five: ``rank``, ``strategy``, ``score``, ``confidence``, …

        They are against the failure that ``errors`` names (such as ``"kv_preemption"``); else against the one that is
        most probable by ``metrics``; else against the engine's own most probable one. Without any there are none.
        ``state`` does not matter: a state is not a failure.
        """
        failure = self._failure([str(error) for error in errors or ()], metrics)
        if failure is None:
            return []
        found: list[dict[str, Any]] = json.loads(self._core().recommendations(failure, self._monitor.watch))
        return [{**one, "failure": failure} for one in found[:MOST_RECOMMENDATIONS]]

    def get_learning_report(self) -> dict[str, Any]:
        """Whether strategies are called or why not, what was done, what went wrong, and learned rules."""
        report: dict[str, Any] = json.loads(self._core().status_json())
        with self._lock:
            report["strategies"] = sorted(self._strategies)
        return report

    def set_kill_switch(self, on: bool) -> None:
        """While it is on, no strategy is called."""
        self._core().set_kill_switch(on)

    def stop(self) -> None:
        """Ends the thread without waiting for a strategy that is running."""
        self._stop.set()

    def _core(self) -> Acts:
        with self._lock:
            if self._acts is None:
                keywords = self._monitor.keywords
                folder = settings.acting_dir(keywords.get("monitor_output_dir"))
                self._acts = Acts(
                    f"in-process pid {os.getpid()}",
                    settings.environment(),
                    settings.flags(keywords),
                    settings.allowed(keywords.get("allow_actions")),
                    folder,
                )
                for problem in json.loads(self._acts.status_json())["problems"]:
                    logger.warning("%s", problem)
            return self._acts

    def _failure(self, errors: list[str], metrics: Mapping[str, float] | None) -> str | None:
        known = MitigationStrategy.against + ("process_exit", "startup")
        for error in errors:
            for failure in known:
                if failure in error.lower().replace(" ", "_"):
                    return failure
        if metrics:
            checkpoint = self._monitor.collect_state(dict(metrics))
            predictions = self._monitor.predictive_detector.analyze_checkpoint(checkpoint)
            best = max(predictions, key=lambda one: one.probability, default=None)
            if best is not None:
                return str(best.failure_type)
        failures = self._core().failures(self._monitor.watch)
        return failures[0] if failures else None

    def _run(self) -> None:
        core, watch = self._core(), self._monitor.watch
        while not self._stop.wait(STEP_SECS):
            try:
                self._carry_out(json.loads(core.step(watch)))
            except Exception as error:  # noqa: BLE001 - whatever it is, the engine goes on
                watch.fault(f"the acting thread: {error!r}")

    def _carry_out(self, jobs: list[dict[str, Any]]) -> None:
        core = self._core()
        for job in jobs:
            error = self._call(job)
            # What follows from a failure is recorded there; strategies cannot be taken back.
            core.report(job["ticket"], error)

    def _call(self, job: dict[str, Any]) -> str | None:
        """Calls a strategy. ``None`` if it went well."""
        strategy = self._strategies.get(job["strategy"])
        if strategy is None:
            return "there is no such strategy any more"
        try:
            outcome = strategy.execute(dict(job))
        except Exception as error:  # noqa: BLE001 - a strategy's fault is its own
            logger.warning("strategy %s failed: %r", job["strategy"], error)
            return f"it raised {error!r}"
        try:
            outcome = MitigationOutcome(outcome)
        except ValueError:
            return f"it returned {outcome!r}, which is no MitigationOutcome"
        if outcome in (MitigationOutcome.SUCCESS, MitigationOutcome.PARTIAL_SUCCESS):
            return None
        return f"it reported {outcome.value}"
