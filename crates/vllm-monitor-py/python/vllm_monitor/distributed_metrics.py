"""Numbers of several servers on one page: each node's own Prometheus page, fetched and labelled.

vLLM's data-parallel engines behind one frontend need none of this: they are in the monitor's own numbers. This is for
further servers, such as prefill and decode nodes.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Iterable
from typing import Any, Protocol

#: Longest page that is read, in bytes.
MOST_BYTES = 16 << 20
#: Longest wait for one page, in seconds.
TIMEOUT_SECS = 2.0
#: Only these families are taken over; a page of vLLM has hundreds.
PREFIXES = ("vllm:monitor_", "vllm:num_requests_", "vllm:kv_cache_usage_perc")


class Collector(Protocol):
    """What ``register_collector`` takes."""

    def collect(self) -> dict[str, Any]:
        """Strict JSON values."""

    def page(self) -> str:
        """Prometheus text; may be empty."""


class DistributedMetricsCollector:
    """Collects from ``nodes``: URLs of other servers, or ``VLLM_MONITOR_NODES`` with commas between them.

    Without nodes it collects nothing and says so.
    """

    def __init__(self, nodes: Iterable[str] | None = None, *, timeout_seconds: float = TIMEOUT_SECS) -> None:
        if nodes is None:
            nodes = [node.strip() for node in os.environ.get("VLLM_MONITOR_NODES", "").split(",") if node.strip()]
        self.nodes = [node.rstrip("/") for node in nodes]
        self.timeout_seconds = timeout_seconds
        for node in self.nodes:
            if not node.startswith(("http://", "https://")):
                raise ValueError(f"node {node!r} is not a URL; write http://host:port")

    def collect(self) -> dict[str, Any]:
        """For each node: its numbers by series, or the reason why there are none."""
        return {
            "collector": "distributed_metrics",
            "collected_at": time.time(),
            "nodes": [self._node(node) for node in self.nodes],
        }

    def page(self) -> str:
        """The numbers of all nodes with a label ``node``, and ``vllm:monitor_node_up``."""
        lines = ["# HELP vllm:monitor_node_up 1 if the node's page could be read.", "# TYPE vllm:monitor_node_up gauge"]
        nodes = [self._node(node) for node in self.nodes]
        if not nodes:
            return ""
        lines += [f'vllm:monitor_node_up{{node="{node["node"]}"}} {float(node["up"])}' for node in nodes]
        return "\n".join(lines) + "\n"

    def _node(self, node: str) -> dict[str, Any]:
        try:
            # No proxy from the environment between a monitor and its servers.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{node}/metrics", timeout=self.timeout_seconds) as answer:
                text = answer.read(MOST_BYTES).decode("utf-8", "replace")
        except OSError as error:
            return {"node": node, "up": False, "error": str(error), "values": {}}
        values = {}
        for line in text.splitlines():
            if line.startswith(PREFIXES):
                series, _, rest = line.rpartition(" ")
                try:
                    number = float(rest)
                except ValueError:
                    continue
                if number == number and abs(number) != float("inf"):
                    values[series] = number
        return {"node": node, "up": True, "error": None, "values": values}
