"""Limits of a running engine that can be set and taken back: one table.

Each is a private attribute of one version of vLLM: it is refused in every other version, checked against its bounds,
read back after it was written, and taken back when its time is over.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vllm_monitor.versions import KNOWN, is_known, vllm_version

#: How long a lever stays set unless told otherwise, and at most, in seconds.
TTL_SECS = 60.0
LONGEST_TTL_SECS = 3600.0
#: Longest wait for the engine's process, in seconds. It answers between two steps.
ANSWER_SECS = 10.0


#: Not a lever: the number of steps that the engine itself counted, for comparison.
ENGINE_STEPS = "engine_steps"


class LeverError(Exception):
    """A lever that cannot be set; the text says why and what can be done."""


@dataclass(frozen=True)
class Lever:
    """One limit."""

    name: str
    #: ``frontend``: read at the admission of each request. ``engine``: read by the scheduler at each step. ``plugin``:
    #: read by the routes of this package.
    where: str
    unit: str
    effect: str


LEVERS = {
    lever.name: lever
    for lever in (
        Lever(
            "max_num_queued_reqs",
            "frontend",
            "requests",
            "requests waiting and running beyond which new ones are answered 503",
        ),
        Lever(
            "max_num_queued_tokens",
            "frontend",
            "tokens",
            "prompt tokens in the queue beyond which new requests are answered 503",
        ),
        Lever(
            "max_num_active_reqs",
            "engine",
            "requests",
            "requests in the running batch beyond which none is added; those that run go on",
        ),
        Lever("max_num_scheduled_tokens", "engine", "tokens", "tokens computed per step"),
        Lever("drain", "plugin", "0 or 1", "1: /health answers 503, so that a load balancer sends requests elsewhere"),
        Lever(
            "watermark_blocks",
            "engine",
            "blocks",
            "KV blocks that stay free when a request is admitted: fewer preemptions, less throughput",
        ),
    )
}


def engine_lever(core: Any, name: str, value: int | None = None) -> str:
    """Runs in the engine's process, between two steps: reads a lever, or sets it. Returns JSON.

    ``EngineCore.vllm_monitor_lever``; never raises.
    """
    try:
        if name == ENGINE_STEPS:
            return json.dumps({"value": getattr(core, "_iteration_index", None)})
        holder, least, most = _place(core, name)
        before = getattr(holder, name)
        if value is not None:
            if not least <= value <= most:
                return json.dumps({"error": f"{name} must lie between {least} and {most}; {value} does not"})
            setattr(holder, name, value)
        return json.dumps({"before": before, "value": getattr(holder, name), "least": least, "most": most})
    except Exception as error:  # noqa: BLE001 - an exception here is told to the caller, not to the engine
        return json.dumps({"error": f"{name}: {error!r}"})


def _place(core: Any, name: str) -> tuple[Any, int, int]:
    """The object that holds a lever, and its bounds. The most is what the engine was started with."""
    scheduler = core.scheduler
    started = core.__dict__.setdefault(
        "vllm_monitor_started_with",
        {
            "max_num_active_reqs": int(scheduler.max_num_active_reqs),
            "max_num_scheduled_tokens": int(scheduler.max_num_scheduled_tokens),
        },
    )
    # Never `max_num_running_reqs`: the scheduler asserts that no more run.
    if name == "max_num_active_reqs":
        return scheduler, 1, started[name]
    if name == "max_num_scheduled_tokens":
        # Every running request gets its tokens, or those at the end of the batch would starve.
        per_request = 1 + int(getattr(scheduler, "num_spec_tokens", 0) or 0)
        return scheduler, min(started[name], scheduler.max_num_running_reqs * per_request), started[name]
    if name == "watermark_blocks":
        manager = scheduler.kv_cache_manager
        return manager, 0, int(manager.block_pool.num_gpu_blocks) // 2
    raise KeyError("no such lever in the engine's process")


@dataclass
class _Set:
    value: int
    before: int | None
    until: float
    timer: asyncio.TimerHandle


class Levers:
    """The levers of one frontend. Its methods run on the frontend's event loop."""

    def __init__(self, engine_client: Any, changed: Callable[[bool], None] = lambda acting: None) -> None:
        self._client = engine_client
        self._changed = changed
        self._set: dict[str, _Set] = {}
        #: Whether ``/health`` answers 503.
        self.drain = 0
        #: How often each lever was set.
        self.counts: dict[str, int] = {}

    async def describe(self) -> list[dict[str, Any]]:
        """Every lever: its value, bounds, what it was before it was set, and the seconds until it is taken back."""
        out = []
        for lever in LEVERS.values():
            entry: dict[str, Any] = {"name": lever.name, "unit": lever.unit, "effect": lever.effect}
            try:
                entry |= await self._access(lever, None)
                entry.pop("before", None)
            except LeverError as error:
                entry["error"] = str(error)
            held = self._set.get(lever.name)
            if held is not None:
                entry |= {"before": held.before, "seconds_left": max(0.0, held.until - time.monotonic())}
            out.append(entry)
        return out

    async def engine_steps(self) -> int | None:
        """Steps that the engine's process counted itself; ``None`` if it does not count. Raises :class:`LeverError`."""
        told = await self._access(Lever(ENGINE_STEPS, "engine", "steps", ""), None)
        return told["value"]

    async def set(self, name: str, value: int, ttl_seconds: float = TTL_SECS) -> dict[str, Any]:
        """Sets a lever for ``ttl_seconds``. Raises :class:`LeverError`; nothing is changed then."""
        lever = _known(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise LeverError(f"{name} takes a whole number of {lever.unit}; {value!r} is none")
        if not 0 < ttl_seconds <= LONGEST_TTL_SECS:
            raise LeverError(f"ttl_seconds must lie above 0 and at most at {LONGEST_TTL_SECS:.0f}; {ttl_seconds} does not")
        told = await self._access(lever, value)
        if told["value"] != value:
            raise LeverError(f"{name} was written as {value} and reads back as {told['value']}")
        held = self._set.pop(name, None)
        if held is not None:
            held.timer.cancel()
        timer = asyncio.get_running_loop().call_later(ttl_seconds, self._expired, name)
        before = held.before if held is not None else told["before"]
        self._set[name] = _Set(value, before, time.monotonic() + ttl_seconds, timer)
        self.counts[name] = self.counts.get(name, 0) + 1
        self._changed(True)
        return {"name": name, "value": value, "before": before, "seconds_left": ttl_seconds}

    async def reset(self, name: str) -> dict[str, Any]:
        """Takes a lever back to what it was; no error if it was not set."""
        lever = _known(name)
        held = self._set.pop(name, None)
        if held is None:
            told = await self._access(lever, None)
            return {"name": name, "value": told["value"], "before": told["value"], "seconds_left": None}
        held.timer.cancel()
        told = await self._access(lever, held.before, is_reset=True)
        self._changed(bool(self._set))
        return {"name": name, "value": told["value"], "before": held.value, "seconds_left": None}

    def aborts(self) -> list[str]:
        """The orders in which requests can be aborted; none where this version of vLLM is not known."""
        states = getattr(getattr(self._client, "output_processor", None), "request_states", None)
        return ["newest", "longest"] if is_known() and isinstance(states, dict) else []

    async def abort(self, which: str, count: int) -> int:
        """Aborts ``count`` requests, the newest or the longest first; returns how many. Raises :class:`LeverError`."""
        if which not in self.aborts():
            known = ", ".join(self.aborts()) or "nothing: the version of vLLM is not known"
            raise LeverError(f"which is {which!r}: possible is {known}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise LeverError(f"count must be a whole number; {count!r} is none")
        # Python keeps the order of arrival.
        requests = list(self._client.output_processor.request_states.items())[::-1]
        if which == "longest":
            requests.sort(key=lambda request: _tokens(request[1]), reverse=True)
        names = [name for name, _ in requests[:count]]
        if names:
            await self._client.abort(names, internal=True)
        return len(names)

    def _expired(self, name: str) -> None:
        task = asyncio.ensure_future(self.reset(name))
        # An engine that is gone cannot be reset and need not be.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _access(self, lever: Lever, value: int | None, *, is_reset: bool = False) -> dict[str, Any]:
        if not is_known():
            raise LeverError(
                f"{lever.name} is a private attribute of vLLM {', '.join(KNOWN)}; this is {vllm_version()}, where it is "
                "not touched"
            )
        if self._client is None:
            raise LeverError("this server has no engine")
        if lever.where == "frontend":
            return self._frontend(lever, value, is_reset)
        if lever.where == "plugin":
            before = self.drain
            if value not in (None, 0, 1):
                raise LeverError(f"drain must be 0 or 1; {value} is not")
            self.drain = before if value is None else value
            return {"before": before, "value": self.drain, "least": 0, "most": 1}
        try:
            text = await asyncio.wait_for(
                self._client.engine_core.call_utility_async("vllm_monitor_lever", lever.name, value), ANSWER_SECS
            )
        except asyncio.TimeoutError:
            raise LeverError(f"the engine did not answer within {ANSWER_SECS:.0f} s: does it make steps?") from None
        except Exception as error:  # noqa: BLE001 - whatever the engine says
            raise LeverError(f"the engine refused: {error}") from error
        told: dict[str, Any] = json.loads(text)
        if "error" in told:
            raise LeverError(told["error"])
        return told

    def _frontend(self, lever: Lever, value: int | None, is_reset: bool) -> dict[str, Any]:
        config = self._client.scheduler_config
        before = getattr(config, lever.name)
        if value is not None or is_reset:
            if value is not None and value < 0:
                raise LeverError(f"{lever.name} must be at least 0; {value} is not")
            setattr(config, lever.name, value)
        return {"before": before, "value": getattr(config, lever.name), "least": 0, "most": None}


def _tokens(state: Any) -> int:
    count = getattr(state.detokenizer, "num_output_tokens", None)
    return int(state.prompt_len) + (int(count()) if count is not None else 0)


def _known(name: str) -> Lever:
    if name not in LEVERS:
        raise LeverError(f"there is no lever {name!r}; there are {', '.join(LEVERS)}")
    return LEVERS[name]
