"""SIGKILL at random moments: everything recorded up to shortly before is readable.

Two of three cases kill `sut collect`, in each format in turn; the others kill a test run. `sut convert` and `sut process`
must read what is there; so must the readers of --readers, and csv, json and sqlite3 of Python.
"""

import os
import subprocess
import time

import common
import records

FORMATS = ["parquet", "csv", "json", "sqlite", "prom"]
# Longest that a recorded scrape may be missing from the files: the writer flushes once a second, and this machine may be
# busy.
LAG = 4.0


def cases(tools, count, random):
    made = []
    for number in range(count):
        kind, form = ("run" if number % 3 == 2 else "collect"), FORMATS[number % len(FORMATS)]
        made.append((f"{number:03}-{kind}-{form}",
                     lambda place, k=kind, f=form, at=random.uniform(0, 6), b=number % 4 > 0:
                     run(place, k, f, at, b)))
    return made


def run(place, kind, form, at, began):
    """Kills after a time, counted from the start of the program or from that of its record."""
    _, url = place.simulator("--no-enable-prefix-caching")
    if kind == "collect":
        words = ["collect", "--url", url, "--interval", "100ms", "--format", form, "--no-plots"]
    else:
        words = ["--url", url, "--scenario", "Server", "--target-qps", "20", "--num-samples", "64", "--duration", "60s",
                 "--metrics-collection-interval", "100ms", "--metrics-format", form, "--no-plots"]
    process = place.sut(*words)
    if began:
        common.wait_for(lambda: records.find(place.path("metrics_output")), 30)
    time.sleep(at)
    killed = time.time()
    process.kill()
    process.wait()
    folder = place.path("metrics_output")
    path = records.find(folder)
    if path is None or os.path.getsize(path) == 0:
        place.figure("killed before the record began", 1)
        return ["there is no record"] if began and path is None else []
    faults, readers = records.foreign(place, folder)
    place.figure("other readers", readers)
    tables, unread = records.convert(place, path)
    faults += unread
    done = subprocess.run([place.tools.sut, "process", path], capture_output=True, text=True, cwd=place.folder)
    # A record without two scrapes has nothing to derive.
    if done.returncode != 0 and len(records.scrapes(tables)) > 1:
        faults.append(f"sut process: exit status {done.returncode}: {done.stderr[-300:]}")
    times = records.scrapes(tables)
    if times:
        lag = killed - times[-1]
        place.figure("seconds between the last readable scrape and the kill", lag)
        if lag > LAG:
            faults.append(f"the last readable scrape is {lag:.1f} s older than the kill")
    elif not unread and began and at > LAG:
        faults.append("no scrape is readable")
    return faults
