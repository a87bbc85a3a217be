"""vLLM's ``LLM`` with monitoring."""

from __future__ import annotations

from typing import Any

from vllm import LLM as _LLM

from vllm_monitor import settings
from vllm_monitor.vllm_engine_integration import VLLMEngineMonitor


class LLM(_LLM):
    """As vLLM's ``LLM``, and takes :data:`vllm_monitor.settings.KEYWORDS`.

    Monitoring is on with ``enable_monitoring=True``, or with ``VLLM_ENABLE_MONITORING=true`` if that keyword is not
    given.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        ours, others = settings.split(keywords)
        on = settings.is_enabled(ours.pop("enable_monitoring", None))
        self.monitor: VLLMEngineMonitor | None = None
        if on:
            others["disable_log_stats"] = False
            others["enable_logging_iteration_details"] = True
        super().__init__(*args, **others)
        if on:
            # With the variable set, vLLM's general plugin has attached one already.
            self.monitor = getattr(self.llm_engine, "vllm_monitor", None)
            if self.monitor is None:
                self.monitor = VLLMEngineMonitor(**ours)
                self.monitor.attach_to_engine(self.llm_engine)

    def get_monitoring_status(self) -> dict[str, Any]:
        """What is known now; with monitoring off, ``{"monitor_active": False}``."""
        return monitoring_status(self.monitor)


def monitoring_status(monitor: VLLMEngineMonitor | None) -> dict[str, Any]:
    """The status of ``monitor``, or that there is none."""
    return {"monitor_active": False} if monitor is None else monitor.get_engine_status()
