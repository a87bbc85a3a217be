"""The wall clock is stepped by an hour during a run: the run ends, the step is reported, no latency is negative.

A preloaded library (clockstep.c, compiled with cc) adds an offset to the wall clock of `sut`; the server keeps the
right time, and monotonic clocks are untouched, as with a real step.
"""

import json
import os
import re
import shutil
import struct
import subprocess
import time

import common
import records

HOUR = 3600
LONGEST = 90
RUNS = ["Server", "Offline", "SingleStream", "collect"]


def cases(tools, count, random):
    made = []
    for number in range(count):
        run_of, step = RUNS[number // 2 % len(RUNS)], (-HOUR, HOUR)[number % 2]
        made.append((f"{number:02}-{run_of}{step:+}",
                     lambda place, r=run_of, s=step, at=random.uniform(1, 2.5): run(place, r, s, at)))
    return made


def library(tools):
    """The compiled library; one for all cases."""
    path = os.path.join(tools.folder, "clockstep.so")
    with tools.lock:
        if not os.path.exists(path):
            if not shutil.which("cc"):
                raise common.Skipped("no C compiler (cc)")
            source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clockstep.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", path, source, "-ldl"], check=True)
    return path


def run(place, run_of, step, at):
    offset = place.write("offset", struct.pack("=q", 0))
    env = {"LD_PRELOAD": library(place.tools), "CLOCKSTEP": offset}
    server, url = place.simulator("--no-enable-prefix-caching")
    if run_of == "collect":
        words = ["collect", "--url", url, "--interval", "200ms", "--duration", "6s", "--no-plots"]
    else:
        conf = place.write("user.conf", common.USER_CONF)
        words = ["--url", url, "--scenario", run_of, "--num-samples", "64", "--duration", "4s", "--user-conf", conf,
                 "--target-qps", {"Server": "16", "Offline": "16", "SingleStream": "8"}[run_of], "--max-tokens", "64",
                 "--metrics-collection-interval", "200ms", "--no-plots"]
    process = place.sut(*words, env=env)
    if not common.wait_for(lambda: records.find(place.path("metrics_output")) or process.poll() is not None, 30):
        return ["the record never began"]
    time.sleep(at)
    running = process.poll() is None
    with open(offset, "r+b") as file:
        file.write(struct.pack("=q", step * 10**9))
    begin = time.monotonic()
    status = common.wait(process, LONGEST)
    place.figure("seconds until the end", time.monotonic() - begin)
    server.terminate()
    said = place.said()
    faults = [] if running else ["the run was over before the step"]
    faults += common.crashed(status, said, place.folder)
    if status not in (0, 1, 4):
        faults.append(f"exit status {status}: {said[-300:]}")
    if not re.search(r"clock was (?:set|stepped)", said):
        faults.append("the step is not reported on the console")
    faults += [f"a negative time is shown: {found}" for found in re.findall(r"[ (]-\d[\d.]* ?(?:ns|us|µs|ms|s)\b[^\n]*", said)]
    path = records.find(place.path("metrics_output"))
    tables, unread = records.convert(place, path) if path else ({}, ["there is no record"])
    faults += unread
    order = ["issued", "sent", "first_token", "done"]
    for row in tables.get("requests", []):
        times = [records.seconds(row[name]) for name in order if row[name]]
        if times != sorted(times):
            faults.append(f"request {row['request_id']} runs backwards: {row}")
            break
    stamps = records.scrapes(tables)
    if stamps and stamps[-1] - stamps[0] > 120:
        faults.append(f"the samples span {stamps[-1] - stamps[0]:.0f} s")
    faults += negative(place)
    return faults


def negative(place):
    """Negative latencies in the JSON files of the run."""
    faults = []

    def look(name, value, where):
        if isinstance(value, dict):
            for key, inner in value.items():
                look(f"{name}.{key}", inner, where)
        elif isinstance(value, list):
            for inner in value:
                look(name, inner, where)
        elif isinstance(value, (int, float)) and value < 0 and re.search(r"ttft|tpot|latency|seconds|_ms|_ns", name):
            faults.append(f"{os.path.basename(where)}: {name} is {value}")

    for path in common.files_under(place.folder):
        if re.search(r"(result_|metrics_summary_)\w+\.json$", path):
            with open(path) as file:
                look("", json.load(file), path)
    return faults[:3]
