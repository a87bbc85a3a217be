"""The one monitor of this process, shared by vLLM's three kinds of plugins."""

from __future__ import annotations

import logging
import threading
from typing import Any

from vllm_monitor import settings

logger = logging.getLogger("vllm_monitor")

_lock = threading.Lock()
_monitor: Any = None
_told: set[str] = set()
_keywords: dict[str, Any] = {}


def set_keywords(keywords: dict[str, Any]) -> None:
    """Keywords of the process's monitor, before the engine is made."""
    _keywords.update(keywords)


def enabled() -> bool:
    """Whether this process is to be monitored."""
    return settings.is_enabled(_keywords.get("enable_monitoring"))


def monitor_for(vllm_config: Any) -> Any:
    """The process's monitor; ``None`` if monitoring is off."""
    global _monitor
    if not enabled():
        return None
    from vllm_monitor.vllm_engine_integration import VLLMEngineMonitor

    with _lock:
        if _monitor is None:
            keywords = {key: value for key, value in _keywords.items() if key in settings.KEYWORDS}
            keywords.pop("enable_monitoring", None)
            _monitor = VLLMEngineMonitor(**keywords)
            if vllm_config is not None:
                _monitor.configure(vllm_config)
        return _monitor


def current() -> Any:
    """The process's monitor, if there is one."""
    return _monitor


def details_wanted(wanted: bool) -> None:
    """Remembers whether the user asked vLLM to print each iteration, before this package asked on its own behalf."""
    # Arguments are made several times from one another, and only the first still shows what the user asked for.
    _keywords.setdefault("details_wanted", wanted)


def user_wants_details() -> bool:
    """Whether the user asked vLLM to print each iteration."""
    return bool(_keywords.get("details_wanted", False))


def tell_once(text: str) -> None:
    """One line of log per text."""
    if text not in _told:
        _told.add(text)
        logger.warning("%s", text)
