"""The Rust side, driven with objects that look like vLLM's statistics."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from vllm_monitor import _native

sys.path.insert(0, str(Path(__file__).parent / "fake_vllm"))

from vllm.v1.metrics.stats import (  # noqa: E402 - the path comes first
    FinishedRequestStats,
    IterationStats,
    PromptTokenStats,
    SchedulerIterationDetails,
    SchedulerStats,
)


@pytest.fixture
def watch():
    made = _native.EngineWatch("test", [], [], kv_blocks=100, kv_block_tokens=16)
    yield made
    made.finish()


def status(watch):
    return json.loads(watch.status_json())


def test_every_number_of_a_step_arrives(watch):
    details = SchedulerIterationDetails(num_ctx_tokens=20, num_generation_tokens=2, elapsed_ms=12.5)
    iteration = IterationStats(
        num_generation_tokens=3,
        prompt_token_stats=PromptTokenStats(total=20, cached_tokens=16),
        num_preempted_reqs=1,
        time_to_first_tokens_iter=[0.25],
        inter_token_latencies_iter=[0.010, 0.020],
        finished_requests=[
            FinishedRequestStats(finish_reason=1, request_id="cmpl-7-0", num_prompt_tokens=20, num_generation_tokens=9),
            FinishedRequestStats(finish_reason=3, request_id=None),
        ],
    )
    watch.record(SchedulerStats(3, 2, 1, 0.5, details), iteration)
    watch.record(SchedulerStats(3, 2, 1, 0.5, details), None)
    seen = status(watch)
    assert seen["counters"] == {
        "steps": 2,
        "steps_with_output": 1,
        "generation_tokens": 3,
        "prompt_tokens": 20,
        "preemptions": 1,
        "completed_requests": 1,
        "error_requests": 1,
        "aborted_requests": 0,
    }
    assert (seen["num_running_requests"], seen["num_waiting_requests"], seen["kv_cache_usage"]) == (3, 3, 0.5)
    assert seen["inter_token_latency"]["count"] == 2
    assert abs(seen["time_to_first_token"]["p50_seconds"] - 0.25) < 0.001
    assert seen["faults"] == 0, seen["last_fault"]


def test_outputs_without_the_schedulers_numbers_are_no_step(watch):
    watch.record(SchedulerStats(1), IterationStats(num_generation_tokens=1))
    watch.record(None, IterationStats(num_generation_tokens=5))
    watch.record(None, None)
    seen = status(watch)
    assert (seen["counters"]["steps"], seen["tokens_generated"], seen["num_running_requests"]) == (1, 6, 1)


def test_foreign_objects_are_faults_that_nobody_notices(watch, capfd):
    class Broken:
        @property
        def num_running_reqs(self):
            raise RuntimeError("broken on purpose")

    for _ in range(3):
        assert watch.record(Broken(), None) is None
    watch.record(SchedulerStats(num_running_reqs="three"), None)
    watch.record(SchedulerStats(num_running_reqs=-1), None)
    watch.record(SchedulerStats(1), IterationStats(inter_token_latencies_iter=(1.0,)))
    watch.record(SchedulerStats(1), IterationStats(inter_token_latencies_iter=["x"]))
    seen = status(watch)
    assert (seen["faults"], seen["counters"]["steps"], seen["refused_values"]) == (6, 1, 1)
    assert seen["monitor_active"]
    told = capfd.readouterr().err
    assert told.count("a step could not be recorded") == 1, told


def test_a_panic_is_a_fault_and_many_end_in_silence(watch):
    _native._inject_panics(3)
    for _ in range(4):
        watch.record(SchedulerStats(1), None)
    seen = status(watch)
    assert (seen["faults"], seen["counters"]["steps"], seen["last_fault"]) == (3, 1, "panic: injected by a test")
    _native._inject_panics(100)
    for _ in range(100):
        watch.record(SchedulerStats(1), None)
    _native._inject_panics(0)
    seen = status(watch)
    assert seen["silenced"] and not seen["monitor_active"] and seen["faults"] == 16


def test_a_full_ring_drops_and_counts():
    watch = _native.EngineWatch("test", [], [], ring_words=64)
    stats = IterationStats(inter_token_latencies_iter=[0.01] * 100)
    for _ in range(5):
        watch.record(SchedulerStats(1), stats)
    seen = status(watch)
    assert (seen["dropped_messages"], seen["counters"]["steps"]) == (5, 0)
    watch.finish()


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="VLLM_MONITOR_TRESHOLD"):
        _native.EngineWatch("test", [("VLLM_MONITOR_TRESHOLD", "1")], [])
    with pytest.raises(ValueError, match="mitigation_threshold"):
        _native.EngineWatch("test", [], [("mitigation_threshold", "high")])


def test_a_hang_that_began_while_idle_is_found():
    """Requests in flight that no step reports: the hang that gauges cannot show."""
    quick = _native.EngineWatch(
        "test", [], [("parameters.hang.floor_secs", "1"), ("parameters.hang.untaught_secs", "1")], evaluate_every=0.05
    )
    quick.record(SchedulerStats(0), IterationStats(num_generation_tokens=1))
    quick.in_flight(0)
    assert until(quick, lambda seen: seen["state"] in ("READY", "SERVING"), 10)
    # One request comes in and no step follows.
    assert until(quick, lambda seen: not seen["healthy"], 60, in_flight=1), status(quick)
    assert "hang present" in status(quick)["alerts"], status(quick)["alerts"]
    # The engine makes steps again.
    def step(seen):
        quick.record(SchedulerStats(1), IterationStats(num_generation_tokens=1))
        return seen["healthy"]

    assert until(quick, step, 60, in_flight=1), status(quick)
    quick.finish()


def until(watch, condition, limit_seconds, in_flight=None):
    """Asks for the status until ``condition`` holds; each answer waits for the monitor's thread."""
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        if in_flight is not None:
            watch.in_flight(in_flight)
        if condition(status(watch)):
            return True
    return False


def test_the_page_is_what_prometheus_reads(watch):
    watch.record(SchedulerStats(2), IterationStats(num_generation_tokens=2, inter_token_latencies_iter=[0.01, 0.02]))
    page = watch.page()
    for line in (
        "vllm:monitor_tokens_generated_total 2.0",
        "vllm:monitor_active_requests 2.0",
        'vllm:monitor_inter_token_latency_seconds_bucket{engine="0",le="0.01"} 1.0',
        'vllm:monitor_inter_token_latency_seconds_bucket{engine="0",le="+Inf"} 2.0',
        "# TYPE vllm:monitor_prediction_accuracy gauge",
    ):
        assert line in page, page
    assert watch.latest_page() == page


def test_after_the_end_nothing_is_recorded(watch):
    watch.finish()
    watch.record(SchedulerStats(1), None)
    assert not status(watch)["monitor_active"]
    watch.finish()
