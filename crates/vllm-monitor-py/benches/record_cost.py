"""What one call of the stat logger costs: ``python benches/record_cost.py [batch sizes]``.

Calls ``MonitorStatLogger.record`` as vLLM does, with statistics of steps of so many requests, at the pace of an engine
(a pause between two calls, so that caches are as cold as they are there), and prints the quantiles of its time. For
comparison, the same calls go to a logger that does nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "fake_vllm"))

from vllm.v1.metrics.stats import IterationStats, SchedulerStats  # noqa: E402
from vllm_monitor.engine_stat_logger import MonitorStatLogger  # noqa: E402
from vllm_monitor.vllm_engine_integration import VLLMEngineMonitor  # noqa: E402

CALLS = 20_000
PAUSE_SECS = 50e-6


class Nothing:
    def record(self, scheduler_stats, iteration_stats, mm_cache_stats=None, engine_idx=0):
        pass


def quantiles(logger, requests: int) -> tuple[float, float, float]:
    """p50, p99 and longest in microseconds."""
    iteration = IterationStats(num_generation_tokens=requests, inter_token_latencies_iter=[0.0125] * requests)
    scheduler = SchedulerStats(requests, 3, 0, 0.5)
    took = []
    for _ in range(CALLS):
        end = time.perf_counter() + PAUSE_SECS
        while time.perf_counter() < end:
            pass
        before = time.perf_counter_ns()
        logger.record(scheduler, iteration, mm_cache_stats=None, engine_idx=0)
        took.append(time.perf_counter_ns() - before)
    took = sorted(took[CALLS // 10 :])
    at = lambda q: took[round((len(took) - 1) * q)] / 1000  # noqa: E731
    return at(0.5), at(0.99), at(1.0)


def main() -> None:
    monitor = VLLMEngineMonitor()
    logger = MonitorStatLogger(monitor=monitor)
    print("requests per step | p50 µs | p99 µs | max µs | nothing: p50 µs | p99 µs")
    for requests in [int(text) for text in sys.argv[1:]] or [1, 16, 64, 256]:
        p50, p99, longest = quantiles(logger, requests)
        base50, base99, _ = quantiles(Nothing(), requests)
        print(f"{requests:17} | {p50:6.2f} | {p99:6.2f} | {longest:6.1f} | {base50:15.2f} | {base99:6.2f}")
    status = monitor.get_engine_status()
    print(f"steps {status['counters']['steps']}, dropped {status['dropped_messages']}, faults {status['faults']}")
    monitor.close()


if __name__ == "__main__":
    main()
