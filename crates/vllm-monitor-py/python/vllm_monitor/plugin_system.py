"""Plugins of the user's own: one class, one method, whose numbers become metrics.

A plugin runs on the plugin manager's thread, never on the engine's. One that raises is counted, told once, and left
out after repeated faults; a slow one delays other plugins only.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from typing import Any

logger = logging.getLogger("vllm_monitor")

#: Faults in a row after which a plugin is left out.
FAULTS_ALLOWED = 5
#: Most entries of one result that are kept.
MOST_ENTRIES = 100
#: Longest text that is kept, in characters.
LONGEST_TEXT = 1000


class PluginInterface:
    """What a plugin is: a class with ``execute``. The other members have defaults.

    >>> class Queue(PluginInterface):
    ...     def execute(self):
    ...         return {"status": "ok", "custom_metric": 42}
    >>> Queue().get_metadata()["name"]
    'Queue'
    """

    #: Seconds between two calls.
    interval_seconds: float = 1.0

    def execute(self) -> dict[str, Any]:
        """Called on a thread of the plugin manager. Numbers of the result become metrics, texts stand in the status."""
        raise NotImplementedError(f"{type(self).__name__} has no execute()")

    def initialize(self, context: dict[str, Any] | None = None) -> None:
        """Called once, before the first :meth:`execute`."""

    def cleanup(self) -> None:
        """Called when the plugin is taken away or the monitor ends."""

    def get_metadata(self) -> dict[str, Any]:
        """Name and version; the name is the class's unless overridden."""
        return {"name": type(self).__name__, "version": "0"}


class _Running:
    def __init__(self, name: str, plugin: PluginInterface) -> None:
        self.name = name
        self.plugin = plugin
        self.due = 0.0
        self.runs = 0
        self.faults = 0
        self.faults_in_row = 0
        self.error: str | None = None
        self.left_out = False
        self.result: dict[str, Any] = {}
        self.initialized = False


class PluginManager:
    """Runs plugins, keeps their newest results."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plugins: dict[str, _Running] = {}
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def register_plugin(self, plugin: PluginInterface) -> str:
        """Adds a plugin and returns its name. A second one of the same name replaces the first.

        Raises ``TypeError`` for an object without ``execute``.
        """
        if not callable(getattr(plugin, "execute", None)):
            raise TypeError(f"a plugin needs a method execute(); {type(plugin).__name__} has none")
        metadata = plugin.get_metadata() if hasattr(plugin, "get_metadata") else {}
        name = str(metadata.get("name") or type(plugin).__name__)
        with self._lock:
            before = self._plugins.get(name)
            self._plugins[name] = _Running(name, plugin)
        if before is not None:
            _guarded(before, "cleanup")
        self.start()
        self._wake.set()
        return name

    def unregister_plugin(self, name: str) -> bool:
        """Takes a plugin away; false if there is none of this name."""
        with self._lock:
            running = self._plugins.pop(name, None)
        if running is not None:
            _guarded(running, "cleanup")
        return running is not None

    def list_plugins(self) -> list[str]:
        """Names of all plugins."""
        with self._lock:
            return list(self._plugins)

    def start(self) -> None:
        """Starts the thread, if there is a plugin and no thread yet."""
        with self._lock:
            if self._thread is None and self._plugins and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="vllm-monitor-plugins", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Ends the thread without waiting for a plugin that is running."""
        self._stopped = True
        self._wake.set()
        with self._lock:
            plugins = list(self._plugins.values())
        for running in plugins:
            _guarded(running, "cleanup")

    def execute_plugin(self, name: str) -> dict[str, Any]:
        """Runs one plugin now, on the caller's thread, and returns its result. Raises ``KeyError`` if there is none."""
        with self._lock:
            running = self._plugins[name]
        _execute(running)
        return dict(running.result)

    def results(self) -> dict[str, Any]:
        """For each plugin: its newest result, runs, faults, and whether it is left out."""
        with self._lock:
            return {
                running.name: {
                    "result": dict(running.result),
                    "runs": running.runs,
                    "faults": running.faults,
                    "last_error": running.error,
                    "left_out": running.left_out,
                }
                for running in self._plugins.values()
            }

    def page(self) -> str:
        """Numbers of all results as Prometheus text."""
        lines = []
        for name, state in self.results().items():
            for key, value in state["result"].items():
                number = _number(value)
                if number is not None:
                    lines.append(f'{_label("plugin", name)},{_label("key", key)}' + f"}} {number!r}")
        if not lines:
            return ""
        head = (
            "# HELP vllm:monitor_plugin_value Numbers that plugins returned.\n# TYPE vllm:monitor_plugin_value gauge\n"
        )
        return head + "".join(f"vllm:monitor_plugin_value{{{line}\n" for line in lines)

    def _run(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            with self._lock:
                due = [running for running in self._plugins.values() if running.due <= now and not running.left_out]
                waiting = [running.due for running in self._plugins.values() if not running.left_out]
            for running in due:
                running.due = now + max(0.1, float(getattr(running.plugin, "interval_seconds", 1.0)))
                _execute(running)
            if not due:
                self._wake.wait(min(max(0.0, min(waiting, default=now + 1.0) - now), 1.0))
                self._wake.clear()


def _execute(running: _Running) -> None:
    try:
        if not running.initialized:
            running.initialized = True
            getattr(running.plugin, "initialize", lambda context=None: None)({})
        result = running.plugin.execute()
        if not isinstance(result, dict):
            raise TypeError(f"execute() returned {type(result).__name__}; a dict is expected")
        running.result = {str(key): _kept(value) for key, value in list(result.items())[:MOST_ENTRIES]}
        running.runs += 1
        running.faults_in_row = 0
    except Exception as error:  # noqa: BLE001 - a user's code may raise anything
        running.faults += 1
        running.faults_in_row += 1
        running.error = repr(error)[:LONGEST_TEXT]
        if running.faults == 1:
            logger.warning("plugin %s raised %r; it is tried again", running.name, error)
        if running.faults_in_row >= FAULTS_ALLOWED and not running.left_out:
            running.left_out = True
            logger.warning("plugin %s raised %d times in a row and is left out", running.name, FAULTS_ALLOWED)


def _guarded(running: _Running, method: str) -> None:
    try:
        getattr(running.plugin, method, lambda: None)()
    except Exception as error:  # noqa: BLE001
        logger.warning("plugin %s raised %r in %s()", running.name, error, method)


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, int, float)) and math.isfinite(value):
        return float(value)
    return None


def _kept(value: Any) -> Any:
    if isinstance(value, (bool, int)) or value is None or _number(value) is not None:
        return value
    return str(value)[:LONGEST_TEXT]


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{re.sub("[^a-zA-Z0-9_]", "_", name)}="{escaped}"'
