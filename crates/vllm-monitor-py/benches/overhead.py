"""What monitoring costs a real vLLM: ``DIR/venv/bin/python benches/overhead.py DIR [pairs]``.

DIR is filled by ``scripts/real-vllm install``, with this package installed in its environment. Two servers run all the
time, one with monitoring and one without; the same load goes to them in turn, A B A B, so that both see the same machine.
Each round answers 64 requests of 300 tokens, 16 at a time. Prints each pair, the ratio of the rates with its 95 % interval
over pairs, and the noise: the same ratio between rounds of the server without monitoring.

Step times are compared by ``step_time.py``: a client gets the tokens of several steps at once from a busy server.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

REQUESTS, AT_A_TIME, TOKENS = 64, 16, 300
#: 97.5th percentiles of Student's t, by degrees of freedom.
T = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13]


class Server:
    def __init__(self, folder: str, monitored: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        variables = {key: value for key, value in os.environ.items() if not key.startswith("VLLM_")}
        variables |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        variables |= {"VLLM_ENABLE_MONITORING": "true", "VLLM_PLUGINS": "vllm_monitor"} if monitored else {"VLLM_PLUGINS": ""}
        self.log = tempfile.NamedTemporaryFile("w", suffix=".log", delete=False)
        self.process = subprocess.Popen(
            [
                *(f"{folder}/venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", f"{folder}/model"),
                *("--load-format", "dummy", "--host", "127.0.0.1", "--port", str(self.port), "--max-model-len", "2048"),
                *("--served-model-name", "tiny", "--no-enable-prefix-caching", "--max-num-seqs", str(AT_A_TIME)),
            ],
            env=variables,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def wait(self) -> None:
        end = time.monotonic() + 900
        while time.monotonic() < end and self.process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.5)
        sys.exit(f"the server did not become ready; its log: {self.log.name}")

    def complete(self, prompt: list[int], tokens: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        body = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"status {answer.status}: {answer.read()[:300]!r}")
        answer.read()

    def round(self, seed: int) -> float:
        """Answers the load of ``seed``; returns tokens per second."""
        rng = random.Random(seed)
        prompts = [[rng.randrange(10, 900) for _ in range(rng.randrange(20, 200))] for _ in range(REQUESTS)]
        left = list(prompts)

        def work() -> None:
            while True:
                try:
                    prompt = left.pop()
                except IndexError:
                    return
                self.complete(prompt, TOKENS)

        threads = [threading.Thread(target=work) for _ in range(AT_A_TIME)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return REQUESTS * TOKENS / (time.perf_counter() - began)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.unlink(self.log.name)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval."""
    n = len(values)
    return statistics.mean(values), T[min(n - 2, len(T) - 1)] * statistics.stdev(values) / n**0.5


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 24
    if pairs < 3:
        sys.exit("at least 3 pairs are needed for an interval")
    plain, monitored = Server(sys.argv[1], False), Server(sys.argv[1], True)
    try:
        for server in (plain, monitored):
            server.wait()
            server.round(0)
        rounds: list[tuple[float, float]] = []
        for pair in range(pairs):
            # The order alternates, so that a machine that gets slower favours neither.
            order = (plain, monitored) if pair % 2 == 0 else (monitored, plain)
            found = {id(server): server.round(pair + 1) for server in order}
            rounds.append((found[id(plain)], found[id(monitored)]))
            print(f"pair {pair + 1}: {rounds[-1][0]:.1f} tokens/s without, {rounds[-1][1]:.1f} with")
    finally:
        plain.end()
        monitored.end()
    mean, half = interval([b / a for a, b in rounds])
    noise = statistics.stdev(later[0] / earlier[0] for earlier, later in zip(rounds, rounds[1:], strict=False))
    print(
        f"tokens/s: with / without {mean:.4f} ± {half:.4f} (95 %, {pairs} pairs); noise: ratios between rounds without "
        f"monitoring deviate by {noise:.4f}"
    )


if __name__ == "__main__":
    main()
