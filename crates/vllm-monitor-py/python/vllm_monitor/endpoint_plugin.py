"""vLLM's endpoint plugin: status and levers under ``/v1/monitor``, and a ``/health`` that looks at progress.

vLLM loads it only if ``VLLM_PLUGINS`` names it. ``/v1/monitor`` answers those who send ``VLLM_MONITOR_TOKEN`` in the
header ``X-Monitor-Token``; without that variable it answers nobody.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from typing import Any

# FastAPI reads the routes' annotations, so these names must be the module's own. vLLM brings FastAPI.
from fastapi import Request
from fastapi.responses import JSONResponse, PlainTextResponse

from vllm_monitor import runtime
from vllm_monitor.levers import TTL_SECS, LeverError, Levers

logger = logging.getLogger("vllm_monitor")

HEADER = "X-Monitor-Token"
VARIABLE = "VLLM_MONITOR_TOKEN"


class MonitorEndpoints:
    """The routes."""

    name = "vllm_monitor"
    required_tasks = None

    def __init__(self) -> None:
        self._client: Any = None
        self._levers: Levers | None = None
        self._token = os.environ.get(VARIABLE, "")

    def attach_router(self, app: Any) -> None:
        """Adds the routes; with monitoring off, none."""
        if not runtime.enabled():
            return
        def refused(request: Request) -> Any:
            if not self._token:
                return JSONResponse({"error": f"set {VARIABLE} where the server starts, and send it as {HEADER}"}, 403)
            if not hmac.compare_digest(request.headers.get(HEADER, "").encode(), self._token.encode()):
                return JSONResponse({"error": f"the header {HEADER} is missing or wrong"}, 401)
            return None

        @app.get("/health", include_in_schema=False)
        async def health() -> Any:
            return await self._health()

        @app.get("/v1/monitor/status", include_in_schema=False)
        async def status(request: Request) -> Any:
            monitor = runtime.current()
            if (no := refused(request)) is not None or monitor is None:
                return no or JSONResponse({"error": "the monitor did not start; the log says why"}, 503)
            return JSONResponse(await asyncio.to_thread(monitor.get_engine_status))

        @app.get("/v1/monitor/metrics", include_in_schema=False)
        async def metrics(request: Request) -> Any:
            monitor = runtime.current()
            if (no := refused(request)) is not None or monitor is None:
                return no or JSONResponse({"error": "the monitor did not start; the log says why"}, 503)
            return PlainTextResponse(await asyncio.to_thread(monitor.metrics_page))

        @app.get("/v1/monitor/levers", include_in_schema=False)
        async def levers(request: Request) -> Any:
            if (no := refused(request)) is not None or self._levers is None:
                return no or JSONResponse({"error": "there is no engine"}, 503)
            return JSONResponse({"levers": await self._levers.describe(), "aborts": self._levers.aborts()})

        @app.get("/v1/monitor/engine", include_in_schema=False)
        async def engine(request: Request) -> Any:
            if (no := refused(request)) is not None or self._levers is None:
                return no or JSONResponse({"error": "there is no engine"}, 503)
            try:
                return JSONResponse({"steps": await self._levers.engine_steps()})
            except LeverError as error:
                return JSONResponse({"error": str(error)}, 503)

        @app.post("/v1/monitor/levers/{name}", include_in_schema=False)
        async def set_lever(name: str, request: Request) -> Any:
            if (no := refused(request)) is not None or self._levers is None:
                return no or JSONResponse({"error": "there is no engine"}, 503)
            try:
                body = await request.json()
                value, ttl = body["value"], float(body.get("ttl_seconds", TTL_SECS))
            except (ValueError, TypeError, KeyError, AttributeError):
                text = 'the body must be {"value": whole number, "ttl_seconds": seconds}'
                return JSONResponse({"error": text}, 400)
            try:
                return JSONResponse(await self._levers.set(name, value, ttl))
            except LeverError as error:
                return JSONResponse({"error": str(error)}, 400)

        @app.delete("/v1/monitor/levers/{name}", include_in_schema=False)
        async def reset_lever(name: str, request: Request) -> Any:
            if (no := refused(request)) is not None or self._levers is None:
                return no or JSONResponse({"error": "there is no engine"}, 503)
            try:
                return JSONResponse(await self._levers.reset(name))
            except LeverError as error:
                return JSONResponse({"error": str(error)}, 400)

        @app.post("/v1/monitor/abort", include_in_schema=False)
        async def abort(request: Request) -> Any:
            if (no := refused(request)) is not None or self._levers is None:
                return no or JSONResponse({"error": "there is no engine"}, 503)
            try:
                body = await request.json()
                which, count = body["which"], body["count"]
            except (ValueError, TypeError, KeyError):
                text = 'the body must be {"which": "newest" or "longest", "count": whole number}'
                return JSONResponse({"error": text}, 400)
            try:
                return JSONResponse({"aborted": await self._levers.abort(which, count)})
            except LeverError as error:
                return JSONResponse({"error": str(error)}, 400)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """vLLM calls it once the engine is there."""
        self._client = engine_client
        monitor = runtime.current()
        if not runtime.enabled() or monitor is None:
            return
        try:
            self._levers = Levers(engine_client, monitor.watch.acting)
            _expose(monitor)
        except Exception as error:  # noqa: BLE001 - the server must start
            runtime.tell_once(f"the monitor's routes are not complete: {error!r}")

    async def _health(self) -> Any:
        """503 if vLLM says that its engine is dead, if the monitor's evidence says so, or while the server drains."""
        if self._levers is not None and self._levers.drain:
            return JSONResponse({"healthy": True, "state": "DRAINING"}, 503)
        if self._client is not None:
            from vllm.v1.engine.exceptions import EngineDeadError

            try:
                await self._client.check_health()
            except EngineDeadError:
                return JSONResponse({"healthy": False, "state": "ERROR"}, 503)
        monitor = runtime.current()
        if monitor is None:
            return JSONResponse({"healthy": True}, 200)
        healthy, state, _reasons = monitor.watch.health()
        return JSONResponse({"healthy": healthy, "state": state}, 200 if healthy else 503)


def plugin() -> MonitorEndpoints:
    """The entry point."""
    return MonitorEndpoints()


class _Exposed:
    """The monitor's numbers on vLLM's own ``/metrics``, as published last: a scrape never waits for them."""

    def __init__(self, monitor: Any) -> None:
        self._monitor = monitor

    def collect(self) -> Any:
        from prometheus_client.parser import text_string_to_metric_families

        return list(text_string_to_metric_families(self._monitor.watch.latest_page()))

    def describe(self) -> list[Any]:
        return []


def _expose(monitor: Any) -> None:
    from prometheus_client import REGISTRY

    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        logger.info("several API servers: the monitor's numbers are at /v1/monitor/metrics only")
        return
    if not getattr(monitor, "is_exposed", False):
        monitor.is_exposed = True
        REGISTRY.register(_Exposed(monitor))
