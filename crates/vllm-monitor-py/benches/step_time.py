"""What monitoring adds to each step of a real vLLM: ``DIR/venv/bin/python benches/step_time.py DIR [rounds]``.

DIR is filled by ``scripts/real-vllm install``, with this package installed in its environment. One engine in one process,
without a process of its own for its core, so that each step pays for all that is called during it. Each round answers 16
requests of 1,800 tokens. Blocks of 50 steps run with the monitor's stat logger and without it in turn, as A B B A, so that
both see the same machine and the same lengths. Steps that read a prompt are left out.

Prints, for the mean and for the 99th percentile of the step times, the ratio with / without and its 95 % interval over
rounds. The tokens of a step are the same in both, so the ratio of throughputs is the inverse of that of the means. What the
monitor's own threads use is in both, and printed by itself.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

from overhead import interval

REQUESTS, TOKENS, BLOCK = 16, 1800, 50


def cpu_of_threads() -> dict[str, float]:
    """CPU seconds of each thread of this process, by its number and name."""
    tick = os.sysconf("SC_CLK_TCK")
    used = {}
    for task in Path("/proc/self/task").iterdir():
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        fields = rest.split()
        used[f"{task.name} {name}"] = (int(fields[11]) + int(fields[12])) / tick
    return used


def one_round(engine, loggers: list, logger) -> tuple[list[float], list[float]]:
    """Step times in seconds without the logger, and with it."""
    from vllm import SamplingParams

    for number in range(REQUESTS):
        params = SamplingParams(max_tokens=TOKENS, ignore_eos=True, temperature=0.0)
        engine.add_request(f"{time.perf_counter_ns()}-{number}", {"prompt_token_ids": [10 + number] * 32}, params)
    for _ in range(20):
        engine.step()
    taken: tuple[list[float], list[float]] = ([], [])
    step = 0
    while step < TOKENS - 60:
        with_logger = (step // BLOCK) % 4 in (1, 2)
        if with_logger and logger not in loggers:
            loggers.insert(0, logger)
        elif not with_logger and logger in loggers:
            loggers.remove(logger)
        began = time.perf_counter()
        engine.step()
        taken[with_logger].append(time.perf_counter() - began)
        step += 1
    while engine.has_unfinished_requests():
        engine.step()
    return taken


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    if rounds < 3:
        sys.exit("at least 3 rounds are needed for an interval")
    os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_PLUGINS": ""}
    from vllm import LLM

    from vllm_monitor.engine_stat_logger import MonitorStatLogger
    from vllm_monitor.vllm_engine_integration import VLLMEngineMonitor

    model = f"{sys.argv[1]}/model"
    options = {"load_format": "dummy", "max_model_len": 2048, "max_num_seqs": REQUESTS, "enable_prefix_caching": False}
    engine = LLM(model, disable_log_stats=False, **options).llm_engine
    before = set(cpu_of_threads())
    VLLMEngineMonitor().attach_to_engine(engine)
    loggers = engine.logger_manager.stat_loggers
    [logger] = [one for one in loggers if isinstance(one, MonitorStatLogger)]
    one_round(engine, loggers, logger)

    used, began = cpu_of_threads(), time.perf_counter()
    means, tails, steps = [], [], 0
    for number in range(rounds):
        without, with_logger = one_round(engine, loggers, logger)
        steps += len(with_logger)
        means.append(statistics.mean(with_logger) / statistics.mean(without))
        tails.append(statistics.quantiles(with_logger, n=100)[98] / statistics.quantiles(without, n=100)[98])
        print(f"round {number + 1}: {1e6 * statistics.median(without):.0f} µs a step; mean {means[-1]:.4f}, p99 {tails[-1]:.4f}", flush=True)
    wall = time.perf_counter() - began
    own = sum(seconds - used.get(name, 0.0) for name, seconds in cpu_of_threads().items() if name not in before)
    for name, ratios in (("mean", means), ("p99", tails)):
        mean, half = interval(ratios)
        print(f"{name} of the step times: with / without {mean:.4f} ± {half:.4f} (95 %, {rounds} rounds, {steps} steps each)")
    print(f"the monitor's own threads: {own / wall:.3%} of a core")


if __name__ == "__main__":
    main()
