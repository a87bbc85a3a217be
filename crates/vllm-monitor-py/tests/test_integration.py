"""The package against a stand-in for vLLM, each in a process of its own."""

from __future__ import annotations

import pytest

ON = {"VLLM_ENABLE_MONITORING": "true"}


def test_option_a_through_our_llm(run_python):
    out = run_python("""
from vllm import SamplingParams
from vllm_monitor import LLM
llm = LLM(model="m", enable_monitoring=True)
outputs = llm.generate(["Hello, world!", "b"], SamplingParams(temperature=0.8))
status = llm.get_monitoring_status()
print(status["monitor_active"], status["tokens_generated"], status["completed_requests"], status["counters"]["steps"])
off = LLM(model="m")
print(off.get_monitoring_status(), off.llm_engine.logger_manager)
""")
    assert out == "True 8 2 4\n{'monitor_active': False} None\n"


def test_option_a_through_vllms_own_llm(run_python):
    code = """
from vllm import LLM, SamplingParams
llm = LLM(model="m", enable_monitoring=True)
outputs = llm.generate(["Hello, world!"], SamplingParams(temperature=0.8))
status = llm.get_monitoring_status()
print(f"Monitoring active: {status['monitor_active']}", status["tokens_generated"])
"""
    assert run_python(code, **ON) == "Monitoring active: True 4\n"


def test_option_b(run_python):
    out = run_python("""
from vllm_monitor.vllm_engine_integration import create_monitored_engine
from vllm.engine.arg_utils import EngineArgs
from vllm import SamplingParams
engine_args = EngineArgs(model="m", enable_monitoring=True, enable_auto_mitigation=True)
engine, monitor = create_monitored_engine(engine_args)
engine.add_request("req_1", "Hello world", SamplingParams())
outputs = engine.step()
status = monitor.get_engine_status()
print(status["active_requests"], status["tokens_generated"], status["auto_mitigation_enabled"])
monitor.close()
""")
    assert out == "1 1 True\n"


def test_attach_and_keywords(run_python):
    out = run_python("""
from vllm import LLM
from vllm_monitor import VLLMEngineMonitor
monitor = VLLMEngineMonitor(**{"enable_predictive": True, "enable_learning": False, "enable_auto_mitigation": True})
engine = LLM(model="m", disable_log_stats=False).llm_engine
monitor.attach_to_engine(engine)
monitor.attach_to_engine(engine)
print(len(engine.logger_manager.stat_loggers), monitor.get_engine_status()["continuous_learning_enabled"])
for wrong in ({"enable_monitorng": True}, {"mitigation_threshold": 7}):
    try:
        VLLMEngineMonitor(**wrong)
    except (TypeError, ValueError) as error:
        print(type(error).__name__)
try:
    monitor.attach_to_engine(LLM(model="m").llm_engine)
except ValueError as error:
    print("disable_log_stats=False" in str(error))
""")
    assert out == "1 False\nTypeError\nValueError\nTrue\n"


def test_plugins_become_metrics_and_faults_stay_inside(run_python):
    out = run_python("""
import json, threading
from typing import Any, Dict
from vllm_monitor import VLLMEngineMonitor
from vllm_monitor.plugin_system import PluginInterface
monitor = VLLMEngineMonitor()

class CustomMonitor(PluginInterface):
    def execute(self) -> Dict[str, Any]:
        return {"status": "ok", "custom_metric": 42}

class Faulty(PluginInterface):
    interval_seconds = 0.1
    def execute(self):
        raise RuntimeError("on purpose")

monitor.plugin_manager.register_plugin(CustomMonitor())
monitor.plugin_manager.register_plugin(Faulty())
try:
    monitor.plugin_manager.register_plugin(object())
except TypeError:
    print("refused")
while not monitor.plugin_manager.results()["Faulty"]["left_out"]:
    threading.Event().wait(0.02)
results = monitor.get_engine_status()["plugins"]
print(results["CustomMonitor"]["result"], results["Faulty"]["faults"])
print([line for line in monitor.metrics_page().splitlines() if "plugin_value{" in line])
monitor.close()
""")
    assert out == (
        "refused\n{'status': 'ok', 'custom_metric': 42} 5\n"
        "['vllm:monitor_plugin_value{plugin=\"CustomMonitor\",key=\"custom_metric\"} 42.0']\n"
    )


def test_exports(run_python, tmp_path):
    out = run_python(f"""
import json
from vllm_monitor import VLLMEngineMonitor
from vllm_monitor.distributed_metrics import DistributedMetricsCollector
monitor = VLLMEngineMonitor()
monitor.monitor.register_collector(DistributedMetricsCollector())
monitor.monitor.register_collector(DistributedMetricsCollector(["http://127.0.0.1:1"]))
monitor.monitor.export_prometheus({str(tmp_path / "metrics")!r})
monitoring_data = monitor.monitor.export_data()
with open({str(tmp_path / "data.json")!r}, "w") as f:
    json.dump(monitoring_data, f)
assert json.load(open({str(tmp_path / "data.json")!r})) == monitoring_data
print(monitoring_data["status"]["monitor_active"], monitoring_data["collectors"][1]["nodes"][0]["up"])
monitor.close()
""")
    assert out == "True False\n"
    page = (tmp_path / "metrics").read_text()
    assert "vllm:monitor_tokens_generated_total 0.0" in page
    assert 'vllm:monitor_node_up{node="http://127.0.0.1:1"} 0.0' in page


def test_predictions_from_checkpoints(run_python):
    out = run_python("""
from vllm_monitor import VLLMEngineMonitor
monitor = VLLMEngineMonitor()
for second in range(120):
    checkpoint = {"timestamp": 1000.0 + second, "metrics": {
        "num_running_requests": 8, "num_waiting_requests": 0, "gpu_cache_usage": min(1.0, 0.2 + second * 0.0066),
        "tokens_generated": 1000 * second, "steps_with_output": 50 * second, "preemptions": 0, "nonsense": 1.0}}
    predictions = monitor.predictive_detector.analyze_checkpoint(checkpoint)
kinds = {pred.failure_type for pred in predictions}
print("hang" in kinds, all(0.0 <= pred.probability <= 1.0 for pred in predictions))
print(monitor.predictive_detector.unknown_names, sorted(monitor.predictive_detector.without_forecast)[:1] != [])
for pred in predictions:
    text = f"{pred.failure_type} {pred.probability:.1%} {pred.time_to_failure}s"
state = monitor.collect_state({"num_running_requests": 1, "gpu_cache_usage": 0.3})
print(sorted(state["metrics"]))
""")
    assert out == "True True\n['nonsense'] True\n['gpu_cache_usage', 'num_running_requests']\n"


def test_the_stat_logger_made_by_vllm(run_python):
    code = """
from vllm.v1.metrics.stats import SchedulerStats
from vllm_monitor import runtime
from vllm_monitor.engine_stat_logger import MonitorStatLogger
logger = MonitorStatLogger(vllm_config=None, engine_indexes=[0])
logger.log_engine_initialized()
logger.record(SchedulerStats(1), None, mm_cache_stats=None, engine_idx=0)
logger.record_admission_rejection("max_num_queued_reqs")
logger.record_sleep_state(1, 1)
logger.log()
monitor = runtime.current()
print(None if monitor is None else monitor.get_engine_status()["counters"]["steps"])
"""
    assert run_python(code) == "None\n"
    assert run_python(code, **ON) == "1\n"
    # A wrong setting turns monitoring off and leaves the engine alone.
    assert run_python(code, VLLM_MONITOR_MITIGATION_THRESHOLD="high", **ON) == "None\n"


def test_an_unknown_version_is_monitored_and_not_touched(run_python):
    out = run_python("""
import asyncio
import vllm.version
vllm.version.__version__ = "0.33.0"
from vllm_monitor import engine_plugin
from vllm_monitor.levers import LeverError, Levers
engine_plugin.register()
from vllm.v1.engine.core import EngineCore
print(hasattr(EngineCore, "vllm_monitor_lever"))
async def refused():
    try:
        await Levers(object()).set("max_num_queued_reqs", 0)
    except LeverError as error:
        print(error)
asyncio.run(refused())
""", **ON)
    assert out == (
        "False\nmax_num_queued_reqs is a private attribute of vLLM 0.32.0; this is 0.33.0, where it is not touched\n"
    )


LEVERS = """
import asyncio, json
from types import SimpleNamespace
from vllm_monitor.levers import LeverError, Levers, engine_lever
pool = SimpleNamespace(num_gpu_blocks=48)
scheduler = SimpleNamespace(max_num_active_reqs=16, max_num_running_reqs=16, max_num_scheduled_tokens=2048,
                            kv_cache_manager=SimpleNamespace(watermark_blocks=0, block_pool=pool))
core = SimpleNamespace(scheduler=scheduler)
class Core:
    async def call_utility_async(self, method, *args):
        assert method == "vllm_monitor_lever"
        return engine_lever(core, *args)
client = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_queued_reqs=None, max_num_queued_tokens=None),
                         engine_core=Core())
acting = []
"""


def test_levers_are_set_read_back_and_taken_back(run_python):
    out = run_python(LEVERS + """
async def main():
    levers = Levers(client, acting.append)
    print((await levers.set("max_num_queued_reqs", 0, 60))["before"], client.scheduler_config.max_num_queued_reqs)
    print((await levers.set("max_num_active_reqs", 2, 60))["before"], scheduler.max_num_active_reqs)
    print((await levers.set("max_num_active_reqs", 3, 60))["before"], scheduler.max_num_active_reqs)
    print((await levers.set("watermark_blocks", 12, 0.05))["before"], scheduler.kv_cache_manager.watermark_blocks)
    described = {lever["name"]: lever for lever in await levers.describe()}
    print(described["max_num_active_reqs"]["before"], described["max_num_active_reqs"]["most"])
    await levers.reset("max_num_queued_reqs")
    await levers.reset("max_num_active_reqs")
    while scheduler.kv_cache_manager.watermark_blocks:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    print(client.scheduler_config.max_num_queued_reqs, scheduler.max_num_active_reqs, acting[-1])
asyncio.run(main())
""")
    assert out == "None 0\n16 2\n16 3\n0 12\n16 16\nNone 16 False\n"


def test_levers_refuse_what_would_harm(run_python):
    out = run_python(LEVERS + """
async def main():
    levers = Levers(client, acting.append)
    for name, value, ttl in (("max_num_running_reqs", 1, 60), ("max_num_active_reqs", 0, 60), ("max_num_active_reqs", 17, 60),
                             ("max_num_scheduled_tokens", 8, 60), ("watermark_blocks", 25, 60),
                             ("max_num_queued_reqs", -1, 60), ("max_num_queued_reqs", True, 60),
                             ("max_num_queued_reqs", 1, 0), ("max_num_queued_reqs", 1, 1e9)):
        try:
            await levers.set(name, value, ttl)
            print("set", name, value)
        except LeverError as error:
            assert name in str(error) or "ttl" in str(error), error
    print(acting, vars(client.scheduler_config), scheduler.max_num_active_reqs)
asyncio.run(main())
""")
    assert out == "[] {'max_num_queued_reqs': None, 'max_num_queued_tokens': None} 16\n"


def test_the_routes_answer_as_documented(run_python):
    """The bodies of docs/acting.md, which the monitor's client and the simulator have too."""
    pytest.importorskip("fastapi")
    pytest.importorskip("httpx")
    out = run_python(LEVERS + """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from vllm_monitor import runtime
from vllm_monitor.endpoint_plugin import plugin
monitor = runtime.monitor_for(None)
class State:
    prompt_len = 5
    class detokenizer:
        num_output_tokens = staticmethod(lambda: 1)
class Longest(State):
    prompt_len = 50
states = {"old": Longest, "middle": State, "new": State}
client.output_processor = SimpleNamespace(request_states=states)
async def abort(names, internal):
    assert internal
    for name in names:
        del states[name]
client.abort = abort
async def check_health():
    pass
client.check_health = check_health
app = FastAPI()
routes = plugin()
routes.attach_router(app)
asyncio.run(routes.init_state(client, None, None))
web = TestClient(app, headers={"X-Monitor-Token": "t"})
def ask(method, path, body=None, **more):
    answer = web.request(method, "/v1/monitor/" + path, json=body, **more)
    return answer.status_code, answer.json()
print(ask("GET", "levers", headers={"X-Monitor-Token": "no"})[0])
code, state = ask("GET", "levers")
print(code, sorted(state), state["aborts"], [lever["name"] for lever in state["levers"]])
print(sorted(state["levers"][0]))
print(ask("POST", "levers/drain", {"value": 1, "ttl_seconds": 60}), web.get("/health").status_code)
held = {lever["name"]: lever for lever in ask("GET", "levers")[1]["levers"]}["drain"]
print(held["value"], held["before"], 59 < held["seconds_left"] <= 60)
print(ask("DELETE", "levers/drain"), web.get("/health").status_code)
print(ask("DELETE", "levers/watermark_blocks"))
print(ask("POST", "levers/drain", {"value": 2})[0], ask("POST", "levers/nonsense", {"value": 2})[0])
print(ask("POST", "abort", {"which": "newest", "count": 1}), list(states))
print(ask("POST", "abort", {"which": "longest", "count": 1}), list(states))
print(ask("POST", "abort", {"which": "eldest", "count": 1})[0], ask("POST", "abort", {"count": 1})[0])
""", VLLM_MONITOR_TOKEN="t", **ON)
    assert out.splitlines() == [
        "401",
        "200 ['aborts', 'levers'] ['newest', 'longest'] ['max_num_queued_reqs', 'max_num_queued_tokens', "
        "'max_num_active_reqs', 'max_num_scheduled_tokens', 'drain', 'watermark_blocks']",
        "['effect', 'least', 'most', 'name', 'unit', 'value']",
        "(200, {'name': 'drain', 'value': 1, 'before': 0, 'seconds_left': 60.0}) 503",
        "1 0 True",
        "(200, {'name': 'drain', 'value': 0, 'before': 1, 'seconds_left': None}) 200",
        "(200, {'name': 'watermark_blocks', 'value': 0, 'before': 0, 'seconds_left': None})",
        "400 400",
        "(200, {'aborted': 1}) ['old', 'middle']",
        "(200, {'aborted': 1}) ['middle']",
        "400 400",
    ]


STRATEGY = """
from typing import Any, Dict
from vllm_monitor import VLLMEngineMonitor
from vllm_monitor.vllm_mitigation_strategies import MitigationOutcome, MitigationStrategy

class CustomMitigation(MitigationStrategy):
    calls = []
    against = ("hang",)
    def execute(self, context: Dict[str, Any]) -> MitigationOutcome:
        self.calls.append(context)
        return MitigationOutcome.SUCCESS

monitor = VLLMEngineMonitor(enable_auto_mitigation=True)
monitor.continuous_learner.register_strategy(
    "custom_mitigation",
    CustomMitigation()
)
"""


def test_the_guides_strategy_is_registered_and_only_observed(run_python):
    """The guide's snippet; the import of ``MitigationOutcome`` and of ``typing`` is added, which it leaves out."""
    out = run_python(STRATEGY + """
report = monitor.continuous_learner.get_learning_report()
print(report["strategies"], report["acts"], report["why_not"])
state, errors, metrics = "SERVING", ["hang"], {}
recommendations = monitor.continuous_learner.get_learning_recommendations(
    state, errors, metrics
)
print(recommendations[0]["rank"], sorted(recommendations[0])[:3], len(recommendations) <= 5)
print("custom_mitigation" in [one["strategy"] for one in recommendations])
print(monitor.continuous_learner.get_learning_recommendations("SERVING", [], {}))
for wrong in (object(), CustomMitigation):
    try:
        monitor.continuous_learner.register_strategy("custom_mitigation", wrong() if wrong is CustomMitigation else wrong)
    except (TypeError, ValueError) as error:
        print(error)
monitor.close()
""")
    lines = out.splitlines()
    assert lines[:4] == [
        "['custom_mitigation'] False the mode is observe",
        "1 ['confidence', 'expected_duration_secs', 'failure'] True",
        "True",
        "[]",
    ], out
    assert "execute()" in lines[4] and "taken" in lines[5], out


def test_a_strategy_runs_under_the_guardrails(run_python, tmp_path):
    """An engine that hangs with work: the strategy is called once, with an audit, if it was enabled."""
    code = STRATEGY + """
import time
from vllm.v1.metrics.stats import IterationStats, SchedulerStats
watch = monitor.watch
for _ in range(40):
    watch.record(SchedulerStats(num_running_reqs=4, num_waiting_reqs=3), IterationStats(num_generation_tokens=4))
    time.sleep(0.02)
deadline = time.monotonic() + WAIT
while not CustomMitigation.calls and time.monotonic() < deadline:
    watch.in_flight(7)
    time.sleep(0.2)
report = monitor.continuous_learner.get_learning_report()
print(len(CustomMitigation.calls), report["acts"])
if CustomMitigation.calls:
    print(sorted(CustomMitigation.calls[0]), CustomMitigation.calls[0]["failure"])
monitor.close()
"""
    quick = {
        "VLLM_MONITOR_ACTING_DIR": str(tmp_path / "acting"),
        "VLLM_MONITOR_ALLOW_ACTIONS": "custom_mitigation",
    }
    options = (
        'VLLMEngineMonitor(enable_auto_mitigation=True, monitor_config={"parameters.hang.floor_secs": 1, '
        '"parameters.hang.untaught_secs": 2, "parameters.hang.grace_secs": 0})'
    )
    code = code.replace("VLLMEngineMonitor(enable_auto_mitigation=True)", options)
    out = run_python(code.replace("WAIT", "60"), **quick)
    assert out == "1 True\n['failure', 'metrics', 'reason', 'strategy', 'ticket'] hang\n", out
    audit = (tmp_path / "acting" / "audit.jsonl").read_text()
    assert '"kind":"intent"' in audit and '"kind":"executed"' in audit
    # Without its name among those that are enabled it is never called.
    quick["VLLM_MONITOR_ALLOW_ACTIONS"] = "another"
    assert run_python(code.replace("WAIT", "12"), **quick).startswith("0 True")
