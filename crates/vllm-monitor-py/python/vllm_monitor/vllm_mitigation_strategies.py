"""Strategies against failures, written in Python: :class:`MitigationStrategy` and :class:`MitigationOutcome`."""

from __future__ import annotations

from enum import Enum
from typing import Any

__all__ = ["MitigationOutcome", "MitigationStrategy"]


class MitigationOutcome(str, Enum):
    """How a strategy says that it went. Whether it helped is measured, not believed."""

    SUCCESS = "SUCCESS"
    PARTIAL_SUCCESS = "PARTIAL_SUCCESS"
    FAILURE = "FAILURE"
    MADE_WORSE = "MADE_WORSE"
    NOT_APPLICABLE = "NOT_APPLICABLE"


class MitigationStrategy:
    """A strategy: a class with ``execute``. The class attributes describe it and have defaults.

    It is called only if auto mitigation is on and its name is enabled, under the same guardrails as every action: two
    kinds of evidence, cool-down, budget, one action at a time, breaker and kill switch. Its effect is judged at
    ``within_seconds`` by ``signal``, against a forecast without it.

    >>> class Shed(MitigationStrategy):
    ...     against = ("kv_preemption",)
    ...     def execute(self, context):
    ...         return MitigationOutcome.SUCCESS
    >>> Shed().describe("shed")["against"]["kv_preemption"]["effect"]["signal"]
    'goodput_tokens_per_sec'
    """

    #: One sentence.
    title: str = ""
    #: The failures that it is against.
    against: tuple[str, ...] = (
        "kv_preemption",
        "queue_overflow",
        "degradation",
        "hang",
        "gpu_memory",
        "host_memory",
        "hardware",
        "network",
        "straggler",
        "request_errors",
    )
    #: The signal that it changes, whether it ``"rises"`` or ``"falls"``, by which share of its forecast, judged after
    #: how many seconds.
    signal: str = "goodput_tokens_per_sec"
    change: str = "rises"
    by: float = 0.1
    within_seconds: float = 30.0
    #: What it affects: ``none``, ``new_requests``, ``some_requests``, ``all_requests`` or ``fleet``.
    blast: str = "some_requests"
    #: From mild to severe, 0 to 8.
    severity: int = 4
    #: Share of goodput that it costs.
    cost: float = 0.05
    #: Expected share of the usual goodput that is kept, and how many observations that belief is worth.
    prior: tuple[float, float] = (0.6, 1.0)
    #: In words.
    side_effects: str = ""

    def execute(self, context: dict[str, Any]) -> MitigationOutcome:
        """Called on a thread of the monitor. ``context``: ``failure``, ``reason``, ``metrics``, ``strategy``, ``ticket``."""
        raise NotImplementedError(f"{type(self).__name__} has no execute()")

    def describe(self, name: str) -> dict[str, Any]:
        """It as an action, in the form of ``configs/monitor/arms.toml``."""
        effect = {"signal": self.signal, "change": self.change, "by": self.by, "within_secs": self.within_seconds}
        mean, weight = self.prior
        one = {"prior": {"mean": mean, "weight": weight}, "effect": effect}
        return {
            "name": name,
            "title": self.title or type(self).__name__,
            "severity": self.severity,
            "blast": self.blast,
            "cost": self.cost,
            "side_effects": self.side_effects,
            "against": dict.fromkeys(self.against, one),
        }
