"""vLLM's general plugin: runs in every process of vLLM before its engine is built.

With monitoring off it does nothing. Else it lets engines that are made in this process be followed, and, in versions
that are known, gives the engine's process one method through which limits can be read and set between steps.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from vllm_monitor import runtime
from vllm_monitor.versions import KNOWN, is_known, vllm_version

logger = logging.getLogger("vllm_monitor")

_MARK = "vllm_monitor_patched"


def register() -> None:
    """Called by vLLM, several times over and in several processes."""
    if not runtime.enabled():
        return
    try:
        install()
    except Exception as error:  # noqa: BLE001 - vLLM must start
        runtime.tell_once(f"the engine cannot be followed: {error!r}")


def install() -> None:
    """Patches what is not patched yet."""
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.llm_engine import LLMEngine

    from vllm_monitor.engine_args import teach

    teach()
    _follow_async(AsyncLLM)
    _follow_offline(LLMEngine)
    if not is_known():
        runtime.tell_once(
            f"vLLM {vllm_version()} is not one of {', '.join(KNOWN)}: it is monitored, and its limits are not touched"
        )
        return
    from vllm.v1.engine.core import EngineCore

    from vllm_monitor.levers import engine_lever

    if not hasattr(EngineCore, "vllm_monitor_lever"):
        EngineCore.vllm_monitor_lever = engine_lever


def _follow_async(engine_class: Any) -> None:
    if _MARK in vars(engine_class):
        return
    plain = engine_class.__init__

    @functools.wraps(plain)
    def init(self: Any, *args: Any, **keywords: Any) -> None:
        plain(self, *args, **keywords)
        try:
            monitor = runtime.current()
            if monitor is not None:
                monitor.follow(self)
        except Exception as error:  # noqa: BLE001
            runtime.tell_once(f"requests in flight are not counted: {error!r}")

    engine_class.__init__ = init
    setattr(engine_class, _MARK, True)


def _follow_offline(engine_class: Any) -> None:
    """vLLM loads stat loggers of plugins for servers only; offline engines are given theirs here."""
    if _MARK in vars(engine_class):
        return
    plain = engine_class.__init__

    @functools.wraps(plain)
    def init(self: Any, vllm_config: Any, executor_class: Any, log_stats: bool, *args: Any, **keywords: Any) -> None:
        plain(self, vllm_config, executor_class, True, *args, **keywords)
        try:
            monitor = runtime.monitor_for(vllm_config)
            if monitor is not None:
                monitor.attach_to_engine(self)
                self.vllm_monitor = monitor
        except Exception as error:  # noqa: BLE001
            runtime.tell_once(f"the engine is not monitored: {error!r}")

    engine_class.__init__ = init
    setattr(engine_class, _MARK, True)
