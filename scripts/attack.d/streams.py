"""Output that cannot be written any more, closed at random moments: the record is whole and the run ends as usual.

stdout, stderr or both are pipes whose reader goes away, or a device that is full, while a server that fails some
scrapes makes the program warn.
"""

import os
import subprocess
import time

import common
import records

SCRAPES_APART = 0.2
LONGEST = 90


def cases(tools, count, random):
    kinds = ["stderr", "stdout", "both", "full"]
    return [(f"{n:02}-{kinds[n % 4]}", lambda place, k=kinds[n % 4], at=random.uniform(0, 5): run(place, k, at))
            for n in range(count)]


def run(place, kind, at):
    server, url = place.simulator("--no-enable-prefix-caching", "--fault", "metrics-status code=500 requests=8..10",
                                  "--fault", "metrics-status code=500 requests=18..20")
    conf = place.write("user.conf", common.USER_CONF)
    words = ["--url", url, "--scenario", "Server", "--target-qps", "16", "--num-samples", "64", "--duration", "3s",
             "--user-conf", conf, "--metrics-collection-interval", f"{int(SCRAPES_APART * 1000)}ms", "--no-plots"]
    if kind == "full":
        with open("/dev/full", "wb") as full:
            process = place.sut(*words, stdout=full, stderr=full)
    else:
        process = place.sut(*words, **{name: subprocess.PIPE for name in ("stdout", "stderr") if kind in (name, "both")})
        time.sleep(at)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
    status = common.wait(process, LONGEST)
    server.terminate()
    faults = common.crashed(status, place.said(), place.folder)
    if status not in (0, 1):
        faults.append(f"exit status {status}, expected 0 or 1: {place.said()[-300:]}")
    path = records.find(place.path("metrics_output"))
    if path is None:
        return [*faults, "there is no record"]
    tables, unread = records.convert(place, path)
    faults += unread
    if not tables:
        return faults
    place.figure("rows of requests", len(tables["requests"]))
    kinds = [event["kind"] for event in tables["events"]]
    times = records.scrapes(tables)
    if len(tables["requests"]) < 64:
        faults.append(f"{len(tables['requests'])} requests recorded, 64 were issued")
    if "session_finished" not in kinds:
        faults.append("the record has no session_finished")
    gaps = [b - a for a, b in zip(times, times[1:]) if b - a > 6 * SCRAPES_APART]
    if gaps and not {"gap", "missed_tick"} & set(kinds):
        faults.append(f"scrapes are {max(gaps):.1f} s apart, and no event says so")
    ends = [records.seconds(row["done"]) for row in tables["requests"] if row["done"]]
    if not times or times[-1] < max(ends) - 2 * SCRAPES_APART:
        faults.append("the scrapes end before the last answer")
    if not os.path.exists(place.path("mlperf_logs", "sut_run.json")):
        faults.append("there is no sut_run.json")
    return faults
