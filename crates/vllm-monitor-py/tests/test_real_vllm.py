"""The package inside a real vLLM: server and offline ``LLM``. Needs ``REAL_VLLM_DIR`` (scripts/real-vllm install), whose
environment must run these tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

DIR = os.environ.get("REAL_VLLM_DIR")
pytestmark = pytest.mark.skipif(not DIR, reason="REAL_VLLM_DIR is not set")

TOKEN = "test-token"
READY_WITHIN = 900
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith("VLLM_")},
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_MONITOR_TOKEN": TOKEN,
}
ARGUMENTS = [
    *("--load-format", "dummy", "--host", "127.0.0.1", "--max-model-len", "2048", "--served-model-name", "tiny"),
    *("--no-enable-prefix-caching", "--enforce-eager", "--max-num-seqs", "16"),
]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def started(count: int, target) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


class Server:
    """A server of one's own, in a process group of its own."""

    def __init__(self, command: list[str], log: Path, **variables: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, *ARGUMENTS, "--port", str(self.port)],
                env={**ENVIRONMENT, **variables},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + READY_WITHIN
        while self.status_of("/health") != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                pytest.fail(f"the server did not become ready:\n{log.read_text()[-4000:]}")
            time.sleep(0.5)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(30)

    def request(
        self, path: str, body: object = None, method: str | None = None, token: str | None = TOKEN, request_id: str = ""
    ) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        if request_id:
            headers["X-Request-Id"] = request_id
        if token:
            headers["X-Monitor-Token"] = token
        data = None if body is None else json.dumps(body).encode()
        ask = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        try:
            with OPENER.open(ask, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def status_of(self, path: str) -> int:
        return self.request(path)[0]

    def monitor(self) -> dict:
        code, text = self.request("/v1/monitor/status")
        assert code == 200, text
        return json.loads(text)

    def answer(self, prompt: object, tokens: int) -> tuple[int, str]:
        body = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0.0}
        return self.request("/v1/completions", body)

    def complete(self, prompt: object = "the quick brown", tokens: int = 20) -> int:
        return self.answer(prompt, tokens)[0]

    def load(self, requests: int, tokens: int) -> list[threading.Thread]:
        return started(requests, lambda: self.complete("hello", tokens))

    def load_until_aborted(self, requests: int) -> list[threading.Thread]:
        """Keeps so many requests in the server, however fast it is: one that ends is sent again until it is aborted."""

        def one() -> None:
            while True:
                code, text = self.answer("hello", 1900)
                if code != 200 or json.loads(text)["choices"][0]["finish_reason"] != "length":
                    return

        return started(requests, one)

    def abort(self, which: str, count: int) -> int:
        """How many requests it aborted."""
        code, text = self.request("/v1/monitor/abort", {"which": which, "count": count})
        assert code == 200, text
        return json.loads(text)["aborted"]

    def abort_all(self, which: str, threads: list[threading.Thread]) -> None:
        """Aborts until every thread has ended: a request between its end and its next sending is not there to be aborted."""
        end = time.monotonic() + 60
        while any(thread.is_alive() for thread in threads):
            assert time.monotonic() < end, self.monitor()
            self.abort(which, 100)
            time.sleep(0.05)

    def metric(self, name: str) -> float:
        page = self.request("/metrics")[1]
        values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)
        assert values, f"{name} is not on the page"
        return sum(map(float, values))


def prompt_of(tokens: int) -> list[int]:
    """A prompt of so many token ids, all within the tiny model's vocabulary."""
    return [5 + n % 900 for n in range(tokens)]


def until(condition, limit_seconds: float = 60.0, every: float = 0.2):
    """Asks a server in another process until it holds; returns the seconds it took, or ``None``."""
    start = time.monotonic()
    while time.monotonic() - start < limit_seconds:
        if condition():
            return time.monotonic() - start
        time.sleep(every)
    return None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "vllm_monitor.serve", f"{DIR}/model", "--enable-monitoring"]
    made = Server([*command, "--monitor-output-dir", str(folder / "record")], folder / "log")
    made.record = folder / "record"
    yield made
    made.stop()


def test_sums_equal_those_of_vllm(server):
    for thread in server.load(12, 40):
        thread.join()
    assert server.complete(prompt_of(1895), 5) == 200
    assert until(lambda: server.monitor()["num_running_requests"] == 0) is not None
    seen = server.monitor()
    counters = seen["counters"]
    assert seen["faults"] == 0 and seen["dropped_messages"] == 0, seen
    assert counters["generation_tokens"] == server.metric("vllm:generation_tokens_total") > 480
    assert counters["prompt_tokens"] == server.metric("vllm:prompt_tokens_total")
    assert counters["steps_with_output"] == server.metric("vllm:iteration_tokens_total_count")
    assert seen["inter_token_latency"]["count"] == server.metric("vllm:inter_token_latency_seconds_count")
    assert seen["time_to_first_token"]["count"] == server.metric("vllm:time_to_first_token_seconds_count")
    assert seen["completed_requests"] == server.metric("vllm:request_success_total")
    code, text = server.request("/v1/monitor/engine")
    assert code == 200 and json.loads(text)["steps"] == counters["steps"], (text, counters)
    print(f"\nfigures: steps {counters['steps']}, tokens {counters['generation_tokens']}")


def test_the_monitors_numbers_stand_on_vllms_page(server):
    assert until(lambda: server.metric("vllm:monitor_tokens_generated_total") == server.metric("vllm:generation_tokens_total"))
    assert server.metric("vllm:monitor_healthy") == 1.0


def test_routes_need_the_token(server):
    for path in ("/v1/monitor/status", "/v1/monitor/metrics", "/v1/monitor/levers", "/v1/monitor/engine"):
        assert server.request(path, token=None)[0] == 401
        assert server.request(path, token="wrong")[0] == 401
        assert server.request(path)[0] == 200
    assert server.request("/v1/monitor/levers/max_num_queued_reqs", {"value": 0}, token=None)[0] == 401
    assert server.request("/health", token=None)[0] == 200


def test_levers_live(server):
    lever = "/v1/monitor/levers/"
    assert server.request(f"{lever}max_num_queued_reqs", {"value": 0, "ttl_seconds": 30})[0] == 200
    assert server.complete() == 503
    assert server.monitor()["mitigation_in_progress"]
    assert server.request(f"{lever}max_num_queued_reqs", method="DELETE")[0] == 200
    assert server.complete() == 200

    assert server.request(f"{lever}max_num_active_reqs", {"value": 2, "ttl_seconds": 60})[0] == 200
    threads = server.load_until_aborted(10)
    everyone_in = lambda seen: seen["active_requests"] == 10 and seen["num_running_requests"] == 2  # noqa: E731
    assert until(lambda: everyone_in(server.monitor())) is not None, server.monitor()
    held = [server.monitor()["num_running_requests"] for _ in range(10)]
    assert server.request(f"{lever}max_num_active_reqs", method="DELETE")[0] == 200
    assert until(lambda: server.monitor()["num_running_requests"] > 2) is not None
    server.abort_all("newest", threads)
    assert max(held) <= 2, held
    assert not server.monitor()["mitigation_in_progress"]

    assert server.request(f"{lever}max_num_active_reqs", {"value": 3, "ttl_seconds": 1})[0] == 200
    described = lambda: {one["name"]: one for one in json.loads(server.request("/v1/monitor/levers")[1])["levers"]}  # noqa: E731
    assert until(lambda: described()["max_num_active_reqs"]["value"] == 16, 20) is not None
    for name, value in (("max_num_active_reqs", 0), ("max_num_running_reqs", 1), ("watermark_blocks", 10**9)):
        code, text = server.request(f"{lever}{name}", {"value": value})
        assert code == 400 and name in text, text
    assert server.request(f"{lever}max_num_queued_reqs", {"valu": 1})[0] == 400

    assert server.request(f"{lever}drain", {"value": 1, "ttl_seconds": 60})[0] == 200
    assert server.status_of("/health") == 503
    assert server.complete() == 200
    assert server.request(f"{lever}drain", method="DELETE")[0] == 200
    assert server.status_of("/health") == 200

    threads = server.load_until_aborted(4)
    assert until(lambda: server.monitor()["num_running_requests"] == 4) is not None
    # All four can end in one step: they are sent again, and are four again.
    four = lambda: server.monitor()["active_requests"] == 4  # noqa: E731
    assert until(lambda: four() and server.abort("newest", 2) == 2) is not None
    assert until(lambda: sum(thread.is_alive() for thread in threads) == 2) is not None
    server.abort_all("longest", threads)
    assert until(lambda: server.monitor()["num_running_requests"] == 0, 10) is not None
    assert server.request("/v1/monitor/abort", {"which": "eldest", "count": 1})[0] == 400
    assert server.complete() == 200


def test_a_long_prefill_raises_no_alarm(server):
    stop = threading.Event()
    seen: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            seen.append(server.status_of("/health"))

    asker = threading.Thread(target=ask)
    asker.start()
    for _ in range(3):
        assert server.complete(prompt_of(2000), 2) == 200
    stop.set()
    asker.join()
    assert set(seen) == {200}, seen
    assert not [alert for alert in server.monitor()["alerts"] if alert.startswith("hang")]


def engine_pid(server) -> int:
    """The process that vLLM calls EngineCore, among the server's own."""
    found = re.findall(r"EngineCore pid=(\d+)", server.log.read_text())
    assert found, "the log names no EngineCore"
    return int(found[-1])


def test_a_hang_that_began_while_idle_is_found(server):
    assert until(lambda: server.monitor()["num_running_requests"] == 0) is not None
    pid = engine_pid(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        [thread] = server.load(1, 5)
        took = until(lambda: server.status_of("/health") == 503, 120)
        status = server.monitor()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert took is not None, status
    assert any(alert.startswith("hang present") for alert in status["alerts"]), status["alerts"]
    thread.join()
    back = until(lambda: server.status_of("/health") == 200, 120)
    assert back is not None, server.monitor()
    assert server.complete() == 200
    print(f"\nfigures: hang while idle found after {took:.1f} s, cleared {back:.1f} s after the engine went on")


def test_the_record_holds_every_step(server):
    """The last of the tests on this server: it is stopped here, which closes its record."""
    import pyarrow
    import vllm_metrics

    threads = server.load(4, 400)
    for thread in threads:
        thread.join()
    code, _ = server.request("/v1/completions", {"model": "tiny", "prompt": "joined", "max_tokens": 3}, request_id="4711")
    assert code == 200
    assert until(lambda: server.monitor()["active_requests"] == 0) is not None
    counters = server.monitor()["counters"]
    server.stop()
    run = vllm_metrics.read(server.record)
    table = pyarrow.table(run.steps)
    # As whole nanoseconds: Python's own times have microseconds.
    at = table.schema.get_field_index("timestamp")
    steps = table.set_column(at, "timestamp", table["timestamp"].cast(pyarrow.int64())).to_pylist()
    assert len(steps) == counters["steps"]
    assert sum(row["generation_tokens"] for row in steps) == counters["generation_tokens"]
    assert all(row["prefill_tokens"] is not None for row in steps)
    # The longest stretch in which the engine had work all the time: its durations cover the wall time.
    stretches: list[list[dict]] = [[]]
    for row in steps:
        if row["duration_ns"] is None or (stretches[-1] and stretches[-1][-1]["running"] + stretches[-1][-1]["waiting"] == 0):
            stretches.append([])
        stretches[-1].append(row)
    longest = max(stretches, key=len)
    assert len(longest) > 300
    wall = (longest[-1]["timestamp"] - longest[0]["timestamp"]) / 1e9
    covered = sum(row["duration_ns"] for row in longest[1:]) / 1e9
    assert abs(covered - wall) <= 0.01 * wall, (covered, wall)
    requests = pyarrow.table(run.engine_requests).select(["request_id", "output_tokens"]).to_pylist()
    assert len(requests) == counters["completed_requests"]
    assert [row["output_tokens"] for row in requests if row["request_id"] == 4711] == [3], requests[-1]
    assert run.notes == []
    print(f"\nfigures: {len(steps)} steps, {covered:.2f} s of {wall:.2f} s covered by {len(longest)} steps")


def test_panics_faulty_plugins_and_a_full_ring_leave_the_server_alone(tmp_path):
    """Every kind of fault at once, from the first step on."""
    script = tmp_path / "faulty_server.py"
    script.write_text("""
import runpy
if __name__ == "__main__":
    from vllm_monitor import _native, runtime
    from vllm_monitor.plugin_system import PluginInterface
    class Faulty(PluginInterface):
        def execute(self):
            raise RuntimeError("on purpose")
    runtime.monitor_for(None).plugin_manager.register_plugin(Faulty())
    _native._inject_panics(10**9)
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
""")
    command = [sys.executable, str(script), "--model", f"{DIR}/model", "--enable-monitoring"]
    server = Server(command, tmp_path / "log", VLLM_ENABLE_MONITORING="true", VLLM_PLUGINS="vllm_monitor")
    try:
        for thread in server.load(8, 60):
            thread.join()
        assert server.complete() == 200
        status = server.monitor()
        assert status["silenced"] and status["faults"] == 16 and not status["monitor_active"], status
        assert status["plugins"]["Faulty"]["faults"] >= 1
        assert server.status_of("/health") == 200
        assert server.metric("vllm:generation_tokens_total") == 8 * 60 + 20
        log = server.log.read_text()
        assert log.count("vllm_monitor: a step could not be recorded") == 1
        assert log.count("recording is off until the server restarts") == 1
    finally:
        server.stop()


#: Preloaded: what a process writes into HANGING_DIR waits while the file HANGING_NOW exists, as on a disk that hangs.
HANGING_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
static void wait_for_disk(int fd) {
    const char *dir = getenv("HANGING_DIR"), *now = getenv("HANGING_NOW");
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (!dir || !now || n <= 0) return;
    path[n] = 0;
    while (strncmp(path, dir, strlen(dir)) == 0 && access(now, F_OK) == 0) usleep(10000);
}
#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name); wait_for_disk(fd)
ssize_t write(int fd, const void *b, size_t n) { REAL(write); return real(fd, b, n); }
ssize_t writev(int fd, const struct iovec *v, int n) { REAL(writev); return real(fd, v, n); }
int fsync(int fd) { REAL(fsync); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return real(fd); }
"""


def test_a_disk_that_hangs_stops_no_step(tmp_path):
    import pyarrow
    import vllm_metrics

    (tmp_path / "disk.c").write_text(HANGING_DISK)
    shim = tmp_path / "disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, tmp_path / "disk.c", "-ldl"], check=True)
    record, hangs = tmp_path / "record", tmp_path / "hangs"
    command = [sys.executable, "-m", "vllm_monitor.serve", f"{DIR}/model", "--enable-monitoring"]
    server = Server(
        [*command, "--monitor-output-dir", str(record)],
        tmp_path / "log",
        LD_PRELOAD=str(shim),
        HANGING_DIR=str(record),
        HANGING_NOW=str(hangs),
    )
    try:
        assert server.complete() == 200
        sizes = lambda: sum(file.stat().st_size for file in record.rglob("*") if file.is_file())  # noqa: E731
        hangs.touch()
        before, size = server.monitor()["counters"]["steps"], sizes()
        for thread in server.load(8, 400):
            thread.join()
        # The record's writer has had work to do since; the engine and the status go on.
        seen = server.monitor()
        assert seen["counters"]["steps"] >= before + 400 and seen["faults"] == 0 and seen["dropped_messages"] == 0, seen
        assert seen["counters"]["generation_tokens"] == server.metric("vllm:generation_tokens_total") == 8 * 400 + 20
        assert server.complete() == 200 and server.status_of("/health") == 200
        assert sizes() == size, "the disk did not hang"
        hangs.unlink()
        assert until(lambda: server.monitor()["active_requests"] == 0) is not None
        counters = server.monitor()["counters"]
    finally:
        hangs.unlink(missing_ok=True)
        server.stop()
    run = vllm_metrics.read(record)
    assert pyarrow.table(run.steps).num_rows == counters["steps"]
    assert run.notes == []
    print(f"\nfigures: {counters['steps'] - before} steps while the disk hung, all of them recorded afterwards")


def offline(code: str, **variables: str) -> str:
    """Runs code with vLLM in a process of its own."""
    head = "import sys\nMODEL, OPTIONS = sys.argv[1], dict(load_format='dummy', max_model_len=512, enforce_eager=True)\n"
    body = "\n".join("    " + line for line in code.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", f"{head}if __name__ == '__main__':\n{body}\n", f"{DIR}/model"],
        env={**ENVIRONMENT, "VLLM_WORKER_MULTIPROC_METHOD": "fork", **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_option_a_as_written():
    """``from vllm import LLM`` with the variable set, as the guide has it; tiny model and eager mode added."""
    out = offline("""
from vllm import LLM, SamplingParams
llm = LLM(model=MODEL, enable_monitoring=True, **OPTIONS)
outputs = llm.generate(["Hello, world!"], SamplingParams(temperature=0.8))
status = llm.get_monitoring_status()
print(f"Monitoring active: {status['monitor_active']}")
print(status["tokens_generated"] == sum(len(o.outputs[0].token_ids) for o in outputs), status["active_requests"])
""", VLLM_ENABLE_MONITORING="true", VLLM_MONITOR_PREDICTIVE="true", VLLM_MONITOR_LEARNING="true",
                  VLLM_MONITOR_AUTO_MITIGATE="true")
    assert "Monitoring active: True\nTrue 0\n" in out, out


def test_option_b_and_every_snippet_on_the_monitor(tmp_path):
    out = offline(f"""
import json
from typing import Any, Dict
from vllm import SamplingParams
from vllm_monitor.vllm_engine_integration import create_monitored_engine
from vllm.engine.arg_utils import EngineArgs
engine_args = EngineArgs(model=MODEL, enable_monitoring=True, enable_auto_mitigation=True, **OPTIONS)
engine, monitor = create_monitored_engine(engine_args)
engine.add_request("req_1", "Hello world", SamplingParams(max_tokens=8, ignore_eos=True))
outputs = engine.step()
while engine.has_unfinished_requests():
    outputs = engine.step()

checkpoint = monitor.collect_state()
predictions = monitor.predictive_detector.analyze_checkpoint(checkpoint)
for pred in predictions:
    print(f"Failure type: {{pred.failure_type}}")
    print(f"Probability: {{pred.probability:.1%}}")
    print(f"Time to failure: {{pred.time_to_failure}}s")

from vllm_monitor.plugin_system import PluginInterface
class CustomMonitor(PluginInterface):
    def execute(self) -> Dict[str, Any]:
        return {{"status": "ok", "custom_metric": 42}}
monitor.plugin_manager.register_plugin(CustomMonitor())
monitor.plugin_manager.execute_plugin("CustomMonitor")

status = monitor.get_engine_status()
print(f'''
Active Requests: {{status['active_requests']}}
Tokens Generated: {{status['tokens_generated']}}
Avg Step Duration: {{status['avg_step_duration_ms']}}ms
Mitigation Active: {{status['mitigation_in_progress']}}
''')

from vllm_monitor.distributed_metrics import DistributedMetricsCollector
distributed_collector = DistributedMetricsCollector()
monitor.monitor.register_collector(distributed_collector)
monitor.monitor.export_prometheus({str(tmp_path / "metrics")!r})
monitoring_data = monitor.monitor.export_data()
with open({str(tmp_path / "monitoring_data.json")!r}, "w") as f:
    json.dump(monitoring_data, f)
""")
    assert "Tokens Generated: 8\n" in out and "Mitigation Active: False" in out, out
    assert re.search(r"Avg Step Duration: [0-9.]+ms", out), out
    page = (tmp_path / "metrics").read_text()
    assert "vllm:monitor_tokens_generated_total 8.0" in page and 'key="custom_metric"' in page
    data = json.loads((tmp_path / "monitoring_data.json").read_text())
    assert data["status"]["counters"]["generation_tokens"] == 8
