"""``python -m vllm_monitor.serve MODEL … --enable-monitoring …``: vLLM's server with this package set up.

Options of the monitor are taken away; every other argument goes to vLLM as it is. The server replaces this process,
so signals and exit status are its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution, entry_points

from vllm_monitor.engine_args import add_flags

_GROUPS = (
    "vllm.general_plugins",
    "vllm.stat_logger_plugins",
    "vllm.io_processor_plugins",
    "vllm.platform_plugins",
)
_VARIABLES = {
    "enable_monitoring": "VLLM_ENABLE_MONITORING",
    "enable_predictive_detection": "VLLM_MONITOR_PREDICTIVE",
    "enable_continuous_learning": "VLLM_MONITOR_LEARNING",
    "enable_auto_mitigation": "VLLM_MONITOR_AUTO_MITIGATE",
}


def split(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and what goes to vLLM.

    >>> ours, theirs = split(["m", "--enable-monitoring", "--port", "8000"])
    >>> ours.enable_monitoring, theirs
    (True, ['m', '--port', '8000'])
    """
    parser = argparse.ArgumentParser(prog="vllm_monitor.serve", add_help=False, allow_abbrev=False)
    add_flags(parser)
    return parser.parse_known_args(arguments)


def environment(ours: argparse.Namespace, base: dict[str, str]) -> dict[str, str]:
    """The server's environment: what a flag says wins over what the variable said."""
    out = dict(base)
    for key, name in _VARIABLES.items():
        value = getattr(ours, key)
        if value is not None:
            out[name] = "true" if value else "false"
    if ours.monitor_output_dir:
        out["VLLM_MONITOR_OUTPUT_DIR"] = ours.monitor_output_dir
    if out.get("VLLM_ENABLE_MONITORING", "").lower() in ("1", "true", "yes", "on"):
        out["VLLM_PLUGINS"] = ",".join(plugins(base.get("VLLM_PLUGINS")))
    return out


def plugins(named: str | None) -> list[str]:
    """Names for ``VLLM_PLUGINS``: those named already, or every installed one, and ours. Unset, it loads all plugins
    but those with routes; set, it loads only those named."""
    if named is not None:
        names = [name for name in named.split(",") if name]
    else:
        names = [entry.name for group in _GROUPS for entry in entry_points(group=group)]
    return list(dict.fromkeys([*names, "vllm_monitor"]))


def command(arguments: list[str]) -> list[str]:
    """The command that starts vLLM's server. ``vllm serve`` asks for the metadata of a package named vllm; builds
    under another name are started by their module."""
    try:
        distribution("vllm")
    except PackageNotFoundError:
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_with_model(arguments)]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", *arguments]


def _with_model(arguments: list[str]) -> list[str]:
    """``MODEL …`` as ``--model MODEL …``."""
    if arguments and not arguments[0].startswith("-"):
        return ["--model", *arguments]
    return arguments


def main(arguments: list[str] | None = None) -> None:
    """Replaces this process by vLLM's server."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        parser = argparse.ArgumentParser(
            prog="python -m vllm_monitor.serve",
            usage="%(prog)s MODEL [options of vllm serve] [options below]",
            description=__doc__.split("\n\n")[0] if __doc__ else None,
        )
        add_flags(parser)
        parser.print_help()
        raise SystemExit(0 if given else 2)
    ours, theirs = split(given)
    run = command(theirs)
    os.execve(run[0], run, environment(ours, dict(os.environ)))


if __name__ == "__main__":
    main()
