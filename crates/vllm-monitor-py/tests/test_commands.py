"""The launcher and the pre-startup check."""

from __future__ import annotations

import json
import socket

from vllm_monitor import prestartup_check, serve


def test_our_options_never_reach_vllm():
    given = ["some/model", "--port", "8001", "--enable-monitoring", "--monitor-output-dir", "out", "--no-enable-predictive-detection"]
    ours, theirs = serve.split(given)
    assert theirs == ["some/model", "--port", "8001"]
    environment = serve.environment(ours, {"VLLM_PLUGINS": "other"})
    assert environment == {
        "VLLM_PLUGINS": "other,vllm_monitor",
        "VLLM_ENABLE_MONITORING": "true",
        "VLLM_MONITOR_PREDICTIVE": "false",
        "VLLM_MONITOR_OUTPUT_DIR": "out",
    }


def test_without_the_switch_nothing_changes():
    ours, theirs = serve.split(["m", "--dtype", "half"])
    assert theirs == ["m", "--dtype", "half"]
    assert serve.environment(ours, {"A": "b"}) == {"A": "b"}
    assert serve.environment(ours, {"VLLM_ENABLE_MONITORING": "true"})["VLLM_PLUGINS"].split(",")[-1] == "vllm_monitor"


def test_builds_under_another_name_are_started_by_their_module():
    run = serve.command(["m", "--port", "1"])
    assert run[-4:] == ["--model", "m", "--port", "1"] or run[-4:] == ["serve", "m", "--port", "1"]


def test_a_start_that_would_fail_is_stopped(capsys):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        status = prestartup_check.main(["--host", "127.0.0.1", "--port", str(port)])
    out = capsys.readouterr().out
    assert status == 1 and f"{port} is held" in out, out


def test_auto_fix_makes_folders_and_says_so(tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(cache))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    arguments = ["--model", str(model), "--host", "127.0.0.1", "--port", port, "--json"]
    assert prestartup_check.main(arguments) in (0, 1)
    before = json.loads(capsys.readouterr().out)
    assert not cache.exists() and before["fixed"] == []
    prestartup_check.main([*arguments, "--auto-fix"])
    after = capsys.readouterr().out
    assert cache.is_dir()
    assert f"made {cache}" in json.loads(after)["fixed"][0]
    assert "hf_secret" not in after


def test_a_missing_model_is_named(capsys):
    assert prestartup_check.main(["--model", "/nowhere/at-all", "--port", "0"]) == 1
    assert "/nowhere/at-all" in capsys.readouterr().out


def test_a_wrong_config_is_named(tmp_path, capsys):
    config = tmp_path / "config.json"
    config.write_text("[]")
    assert prestartup_check.main(["--config", str(config)]) == 1
    assert str(config) in capsys.readouterr().err
