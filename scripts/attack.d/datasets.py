"""Hostile datasets, as pickles and Parquet files, under 1 GB of address space: a clear error each.

Each file is given to `sut --dry-run --dataset-path FILE`. Exit status 2 and an error that names the file are wanted; a
file damaged at random may also be read. No file may run anything.
"""

import os
import time

import common
import parquets
import pickles

MEMORY = 1 << 30
SECONDS = 60
# They contradict themselves in a way that costs nothing: they may also be read.
LENIENT = ("values-", "group-rows-", "page-size-plain-", "other-kind", "other-path", "groups-100000", "rows-step-0", "slice-2^62")


def cases(tools, count, random):
    """At least one honest file of each kind, then hostile ones of both kinds in equal parts, then damaged ones."""
    ran = os.path.join(tools.folder, "a-pickle-was-executed")
    honest = [("honest-pkl", pickles.honest(), ".pkl", {0}), ("honest-parquet", parquets.honest(), ".parquet", {0})]
    pickled = [("pkl-" + name, data, ".pkl.gz" if name.startswith("gzip") else ".pkl", {0, 2} if name in LENIENT else {2})
               for name, data in pickles.hostile(ran)]
    stored = [("parquet-" + name, data, ".parquet", {0, 2} if name.startswith(LENIENT) else {2})
              for name, data in parquets.hostile()]
    chosen = [*pickled, *stored]
    if count < len(chosen):
        half = (count + 1) // 2
        chosen = random.sample(pickled, min(half, len(pickled))) + random.sample(stored, min(count - half, len(stored)))
    rest = max(0, count - len(chosen))
    chosen += [("pkl-" + n, d, ".pkl", {0, 2}) for n, d in pickles.damaged(random, (rest + 1) // 2)]
    chosen += [("parquet-" + n, d, ".parquet", {0, 2}) for n, d in parquets.damaged(random, rest // 2)]
    return [(safe(name), lambda place, f=file: read(place, *f, ran)) for name, *file in honest + chosen]


def safe(name):
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)


def read(place, data, ending, allowed, ran):
    path = place.write("hostile" + ending, data)
    begin = time.monotonic()
    process = place.sut("--dry-run", "--scenario", "Offline", "--duration", "1s", "--num-samples", "1",
                        "--dataset-path", path, memory=MEMORY)
    status = common.wait(process, SECONDS)
    said = place.said()
    faults = common.crashed(status, said, place.folder)
    if status == 2:
        # A panic in a library's decoder that became an error of the file; debug builds check more arithmetic.
        caught = [fault for fault in faults if fault.startswith("panic")]
        faults = [fault for fault in faults if fault not in caught]
        place.figure("panics that became errors", len(caught))
    place.figure("seconds", time.monotonic() - begin)
    place.figure("exit status", str(status))
    if not faults and status not in allowed:
        faults.append(f"exit status {status}, expected {sorted(allowed)}: {said[-300:]}")
    if status == 2 and "hostile" + ending not in said:
        faults.append(f"the error does not name the file: {said[-300:]}")
    if os.path.exists(ran):
        faults.append("a pickle was executed")
    return faults
