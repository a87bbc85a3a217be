"""Monitors vLLM from inside its own process: thin Python over Rust.

Nothing here imports vLLM until it is needed, so the pre-startup check and the reading of records work without it.

``LLM``
    vLLM's ``LLM`` with ``enable_monitoring=True`` and ``get_monitoring_status()``.
``MONITOR_VERSION``
    Version of this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_monitor._native import __version__

if TYPE_CHECKING:
    from vllm_monitor.offline import LLM as LLM
    from vllm_monitor.vllm_engine_integration import (
        VLLMEngineMonitor as VLLMEngineMonitor,
    )
    from vllm_monitor.vllm_engine_integration import (
        create_monitored_engine as create_monitored_engine,
    )

MONITOR_VERSION = __version__

_LAZY = {
    "LLM": "vllm_monitor.offline",
    "VLLMEngineMonitor": "vllm_monitor.vllm_engine_integration",
    "create_monitored_engine": "vllm_monitor.vllm_engine_integration",
}

__all__ = ["LLM", "MONITOR_VERSION", "VLLMEngineMonitor", "__version__", "create_monitored_engine"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
