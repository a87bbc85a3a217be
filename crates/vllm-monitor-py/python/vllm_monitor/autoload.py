"""Runs at the start of every Python of this environment (``vllm_monitor_autoload.pth``); does nothing unless
``VLLM_ENABLE_MONITORING`` is on.

vLLM loads plugins only after ``LLM`` and the command line have refused keywords that they do not know. So that
``vllm.LLM(enable_monitoring=True)`` and ``--enable-monitoring`` work, the two modules that refuse are wrapped right
after they are loaded.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


def install() -> None:
    """Adds the finder, if monitoring is on."""
    from vllm_monitor.settings import is_enabled

    if is_enabled() and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _wrap_arguments(module: ModuleType) -> None:
    from vllm_monitor.engine_args import wrap

    wrap(module)


def _wrap_llm(module: ModuleType) -> None:
    def get_monitoring_status(self: Any) -> dict[str, Any]:
        """What is known now; with monitoring off, ``{"monitor_active": False}``."""
        from vllm_monitor.offline import monitoring_status

        return monitoring_status(getattr(self.llm_engine, "vllm_monitor", None))

    if not hasattr(module.LLM, "get_monitoring_status"):
        module.LLM.get_monitoring_status = get_monitoring_status


_WRAPPERS = {"vllm.engine.arg_utils": _wrap_arguments, "vllm.entrypoints.llm": _wrap_llm}


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        wrapper = _WRAPPERS.get(name)
        if wrapper is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        plain = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            plain(module)
            try:
                wrapper(module)
            except Exception as error:  # noqa: BLE001 - vLLM must be importable
                sys.stderr.write(f"vllm_monitor: {name} could not be wrapped: {error!r}\n")

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
