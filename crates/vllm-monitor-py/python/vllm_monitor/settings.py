"""What is on, from keywords and the environment: keyword, then variable, then default."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

#: Variables of this package. The others that begin with ``VLLM_MONITOR_`` belong to the monitor's own settings, where
#: an unknown one is refused.
OWN_VARIABLES = (
    "VLLM_MONITOR_ACTING_DIR",
    "VLLM_MONITOR_ALLOW_ACTIONS",
    "VLLM_MONITOR_NODES",
    "VLLM_MONITOR_OUTPUT_DIR",
    "VLLM_MONITOR_TOKEN",
)

#: Keywords of the monitor that ``LLM``, ``EngineArgs`` and the launcher take. ``monitor_config`` is a mapping of any
#: of the others, or of keys such as ``parameters.hang.floor_secs``.
KEYWORDS = (
    "enable_monitoring",
    "enable_predictive",
    "enable_predictive_detection",
    "enable_learning",
    "enable_continuous_learning",
    "enable_auto_mitigation",
    "mitigation_threshold",
    "monitor_config",
    "monitor_output_dir",
    "allow_actions",
)

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def is_enabled(keyword: bool | None = None) -> bool:
    """Whether monitoring is on: the keyword if given, else ``VLLM_ENABLE_MONITORING``, else off."""
    if keyword is not None:
        return bool(keyword)
    return _WORDS.get(os.environ.get("VLLM_ENABLE_MONITORING", "").strip().lower(), False)


def output_dir(keyword: str | None = None) -> str | None:
    """Where the record goes; ``None`` for no record."""
    return keyword or os.environ.get("VLLM_MONITOR_OUTPUT_DIR") or None


def acting_dir(output: str | None = None) -> str | None:
    """The folder of audit and memory: ``VLLM_MONITOR_ACTING_DIR``, else ``acting`` in the record's folder."""
    given = os.environ.get("VLLM_MONITOR_ACTING_DIR")
    record = output_dir(output)
    return given or (os.path.join(record, "acting") if record else None)


def allowed(keyword: Iterable[str] | str | None = None) -> list[str]:
    """Names of strategies that may be called: the keyword if given, else ``VLLM_MONITOR_ALLOW_ACTIONS``."""
    if keyword is None:
        keyword = os.environ.get("VLLM_MONITOR_ALLOW_ACTIONS", "")
    names = keyword.split(",") if isinstance(keyword, str) else keyword
    return [name.strip() for name in names if name.strip()]


def environment() -> list[tuple[str, str]]:
    """Variables for the monitor's settings."""
    return [(name, value) for name, value in os.environ.items() if name not in OWN_VARIABLES]


def split(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of the monitor, and all others."""
    ours = {key: value for key, value in keywords.items() if key in KEYWORDS}
    others = {key: value for key, value in keywords.items() if key not in KEYWORDS}
    return ours, others


def flags(keywords: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keywords as the settings' keys and texts. ``None`` means not given."""
    merged = dict(keywords.get("monitor_config") or {})
    merged.update(keywords)
    return [
        (key, _text(value))
        for key, value in merged.items()
        if key not in ("monitor_config", "monitor_output_dir", "allow_actions") and value is not None
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
