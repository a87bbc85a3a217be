"""``MonitorStatLogger``: vLLM calls it once per engine step.

Nothing that fails here reaches the engine. ``record`` forwards to Rust, which never raises; whatever the shim itself
might raise is counted, and after repeated faults the shim does nothing any more.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.metrics.loggers import AggregateStatLoggerBase

from vllm_monitor import runtime

#: Faults of the shim after which it does nothing.
FAULTS_ALLOWED = 16


class MonitorStatLogger(AggregateStatLoggerBase):
    """Forwards the statistics of every step to a monitor.

    vLLM makes it from the entry point, with its ``VllmConfig`` and the indexes of its engines: it is then tied to the
    process's monitor, or does nothing if monitoring is off. ``monitor`` ties it to another one.
    """

    def __init__(self, vllm_config: Any = None, engine_indexes: Any = None, *, monitor: Any = None) -> None:
        self._faults = 0
        self._hide_details = True
        self._watch: Any = None
        self.monitor = monitor
        try:
            if monitor is None and hasattr(vllm_config, "attach_to_engine"):
                # As the guide makes it: MonitorStatLogger(monitor).
                self.monitor, vllm_config = vllm_config, None
            elif monitor is None:
                self.monitor = runtime.monitor_for(vllm_config)
            if self.monitor is not None:
                if vllm_config is not None:
                    self.monitor.configure(vllm_config)
                self._hide_details = not runtime.user_wants_details()
                self._watch = self.monitor.watch
        except Exception as error:  # noqa: BLE001 - the engine must start
            runtime.tell_once(f"monitoring is off: {error}")
            self.monitor = None

    def record(
        self,
        scheduler_stats: Any,
        iteration_stats: Any,
        mm_cache_stats: Any = None,
        engine_idx: int = 0,
    ) -> None:
        """One step."""
        watch = self._watch
        if watch is None:
            return
        try:
            watch.record(scheduler_stats, iteration_stats, engine_idx)
            # Details were asked for by this package; vLLM's own logger would print a line per step.
            if self._hide_details and scheduler_stats is not None:
                scheduler_stats.iteration_details = None
        except Exception as error:  # noqa: BLE001
            self._fault(error)

    def record_admission_rejection(self, reason: str) -> None:
        """The frontend refused a request."""
        if self._watch is not None:
            try:
                self._watch.rejected()
            except Exception as error:  # noqa: BLE001
                self._fault(error)

    def record_sleep_state(self, is_awake: int = 0, level: int = 0) -> None:
        """vLLM calls it with 1 and a level when the engine goes to sleep, with 0 when it wakes."""
        if self._watch is not None:
            try:
                self._watch.asleep(bool(is_awake) and level > 0)
            except Exception as error:  # noqa: BLE001
                self._fault(error)

    def log_engine_initialized(self) -> None:
        """Nothing to do."""

    def log(self, stats: Any = None) -> None:
        """vLLM calls it now and then without an argument: nothing to do."""

    def _fault(self, error: Exception) -> None:
        self._faults += 1
        if self._faults >= FAULTS_ALLOWED:
            self._watch = None
        if self._faults == 1:
            runtime.tell_once(f"a step could not be recorded: {error!r}; the engine is not affected")
