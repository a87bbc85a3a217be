"""The recorder's Python door: record, read back, hand over as Arrow."""

from __future__ import annotations

import doctest
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import vllm_metrics
from vllm_monitor import _native, plugin_system, serve

sys.path.insert(0, str(Path(__file__).parent / "fake_vllm"))

from vllm.v1.metrics.stats import FinishedRequestStats, IterationStats, SchedulerStats  # noqa: E402


@pytest.mark.parametrize("module", [vllm_metrics, plugin_system, serve])
def test_examples_run(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0 and failed == 0


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3.0\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def endpoint():
    server = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def record(endpoint, folder):
    with vllm_metrics.Session(endpoint, interval=0.5, output_dir=folder, facts={"model": "tiny"}) as session:
        session.model_loaded()
        assert session.scrape_now()
        session.phase("performance")
        session.batch_issued(0, 2)
        for number in (1, 2):
            session.request_issued(number, sample_index=10 + number, batch_id=0)
            session.request_sent(number)
        session.first_token(1)
        session.request_completed(1, output_tokens=128, prompt_tokens=12)
        session.request_completed(2, failed="it was too long")
        session.batch_completed(0)
        session.test_completed()
        assert session.dropped == 0
    return session.finish()


def test_a_run_is_recorded_and_read_back(endpoint, tmp_path):
    finished = record(endpoint, tmp_path)
    assert Path(finished.paths["samples"]).is_file()
    run = finished.read()
    assert run.facts["model"] == "tiny" and not run.simulated
    assert run.tables == ["samples", "requests", "batches", "steps", "engine_requests", "events"]
    assert len(run.requests) == 2 and len(run.steps) == 0
    assert "server_queue_ns" in run.requests.columns
    with pytest.raises(KeyError, match="there is no table nothing"):
        run.table("nothing")
    session = _native.Session([], None, str(tmp_path / "second"), {})
    session.finish()
    with pytest.raises(RuntimeError, match="finished already"):
        session.finish()


def test_pyarrow_pandas_and_polars_take_tables_without_a_copy(endpoint, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    run = record(endpoint, tmp_path).read()
    table = pyarrow.table(run.requests)
    assert table["outcome"].to_pylist() == ["completed", "failed"]
    assert table["reason"].to_pylist() == [None, "it was too long"]
    assert table["output_tokens"].to_pylist() == [128, None]
    # The same memory at each hand-over: nothing was copied.
    address = lambda: pyarrow.table(run.samples)["value"].chunk(0).buffers()[1].address  # noqa: E731
    assert address() == address()
    frame = pyarrow.table(run.samples).to_pandas()
    running = frame[frame.metric_name == "vllm:num_requests_running"]
    assert set(running.value) == {3.0}
    lazy = polars.DataFrame(run.samples).filter(polars.col("metric_name") == "vllm:num_requests_running")
    assert lazy["value"].unique().to_list() == [3.0]
    # A table outlives its run.
    requests = run.requests
    del run
    assert pyarrow.table(requests).num_rows == 2


def test_steps_and_requests_of_an_engine_are_in_its_record(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    watch = _native.EngineWatch("test", [], [], output_dir=str(tmp_path), facts={"model": "tiny"})
    for number in range(50):
        iteration = IterationStats(num_generation_tokens=2, inter_token_latencies_iter=[0.01, 0.02])
        if number == 49:
            iteration.finished_requests = [FinishedRequestStats(finish_reason=1, request_id="cmpl-7-0-abcdef01")]
        watch.record(SchedulerStats(2, kv_cache_usage=0.25), iteration)
    watch.finish()
    run = vllm_metrics.read(tmp_path)
    steps = pyarrow.table(run.steps)
    assert steps["step"].to_pylist() == list(range(50))
    assert sum(steps["generation_tokens"].to_pylist()) == 100
    assert pyarrow.table(run.engine_requests)["request_id"].to_pylist() == [7]
    samples = pyarrow.table(run.samples).to_pylist()
    [count] = [row["value"] for row in samples if row["metric_name"] == "vllm:monitor_inter_token_latency_seconds_count"]
    assert count == 100.0
    assert run.notes == []


def test_wrong_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="intervall"):
        vllm_metrics.Session(output_dir=tmp_path, config={"intervall": 1})
    with pytest.raises(ValueError, match="interval -1"):
        vllm_metrics.Session(output_dir=tmp_path, interval=-1.0)
    with pytest.raises(RuntimeError, match="nothing-here"):
        vllm_metrics.read(tmp_path / "nothing-here")
    with pytest.raises(OverflowError):
        vllm_metrics.Session(output_dir=tmp_path).request_issued(-1)
