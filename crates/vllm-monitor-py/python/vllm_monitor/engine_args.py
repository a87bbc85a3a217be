"""Lets vLLM's ``EngineArgs`` and its command line take the monitor's keywords."""

from __future__ import annotations

import argparse
import functools
import sys
from typing import Any

from vllm_monitor import runtime, settings

_MODULE = "vllm.engine.arg_utils"


def teach() -> bool:
    """Wraps ``EngineArgs`` if vLLM is installed; once. Returns whether it is wrapped.

    The keywords are taken away before vLLM sees them and kept as ``vllm_monitor_keywords`` of the instance.
    """
    if _MODULE not in sys.modules:
        try:
            __import__(_MODULE)
        except ImportError:
            return False
    wrap(sys.modules[_MODULE])
    return True


def wrap(module: Any) -> None:
    """Wraps ``EngineArgs`` and ``AsyncEngineArgs`` of ``module``."""
    for name in ("EngineArgs", "AsyncEngineArgs"):
        arguments = getattr(module, name, None)
        if arguments is not None and "vllm_monitor_wrapped" not in vars(arguments):
            _wrap_class(arguments)


def prepare(engine_args: Any) -> None:
    """Turns on what the monitor lives on: statistics, and what each step was made of."""
    engine_args.disable_log_stats = False
    if hasattr(engine_args, "enable_logging_iteration_details"):
        # Whoever asked for the details wants the line per step that vLLM prints.
        runtime.details_wanted(bool(engine_args.enable_logging_iteration_details))
        engine_args.enable_logging_iteration_details = True


def _wrap_class(arguments: Any) -> None:
    plain_init = arguments.__init__

    @functools.wraps(plain_init)
    def init(self: Any, *args: Any, **keywords: Any) -> None:
        ours, others = settings.split(keywords)
        # First, since vLLM's own `__init__` loads plugins, which look at them.
        object.__setattr__(self, "vllm_monitor_keywords", ours)
        if settings.is_enabled():
            runtime.set_keywords(ours)
        plain_init(self, *args, **others)
        if runtime.enabled():
            prepare(self)

    arguments.__init__ = init
    if "add_cli_args" in vars(arguments):
        plain_cli = arguments.add_cli_args

        def add_cli_args(parser: Any, *args: Any, **keywords: Any) -> Any:
            parser = plain_cli(parser, *args, **keywords)
            add_flags(parser)
            return parser

        arguments.add_cli_args = staticmethod(add_cli_args)
    if "from_cli_args" in vars(arguments):
        plain_from = arguments.from_cli_args.__func__

        @functools.wraps(plain_from)
        def from_cli_args(cls: Any, args: Any, *rest: Any, **keywords: Any) -> Any:
            ours = {key: getattr(args, key) for key in settings.KEYWORDS if getattr(args, key, None) is not None}
            runtime.set_keywords(ours)
            made = plain_from(cls, args, *rest, **keywords)
            made.vllm_monitor_keywords = ours
            return made

        arguments.from_cli_args = classmethod(from_cli_args)
    arguments.vllm_monitor_wrapped = True


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the monitor's flags to ``parser``; those it has already stay as they are."""
    known = {option for action in parser._actions for option in action.option_strings}  # noqa: SLF001
    group = parser.add_argument_group("vllm_monitor", "Options of the monitor; vLLM never sees them.")
    for flag, help_text in (
        ("--enable-monitoring", "Monitor this server from inside its process."),
        ("--enable-predictive-detection", "Forecast failures (on by default)."),
        ("--enable-continuous-learning", "Learn from outcomes (on by default)."),
        ("--enable-auto-mitigation", "Ask for actions; has no effect with a policy that observes."),
    ):
        if flag not in known:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=help_text)
    if "--monitor-output-dir" not in known:
        group.add_argument("--monitor-output-dir", default=None, help="Folder for the record; none without it.")
