"""Reads a record: by `sut convert`, and by this program, pyarrow and DuckDB."""

import csv
import datetime
import glob
import json
import os
import sqlite3
import subprocess

FOREIGN = """\
import json, sys
import duckdb, pyarrow.parquet
counts = {}
for path in sys.argv[1:]:
    table = pyarrow.parquet.read_table(path)
    rows = duckdb.sql(f"select count(*) from '{path}'").fetchall()[0][0]
    if rows != table.num_rows:
        raise SystemExit(f"{path}: pyarrow reads {table.num_rows} rows, DuckDB {rows}")
    counts[path] = rows
print(json.dumps(counts))
"""
ENDINGS = (".parquet", ".csv", ".json", ".db", ".prom")


def find(folder):
    """The file with the samples of the only run in a folder; None if there is none."""
    found = [path for path in sorted(glob.glob(os.path.join(folder, "vllm_metrics_*")))
             if path.endswith(ENDINGS) and "_processed" not in path]
    return found[0] if found else None


def convert(place, path):
    """Runs `sut convert` to CSV; returns the tables by name, and faults."""
    out = place.path("converted")
    done = subprocess.run([place.tools.sut, "convert", path, "--to", "csv", "--output-dir", out], capture_output=True, text=True)
    if done.returncode != 0:
        return {}, [f"sut convert cannot read {os.path.basename(path)}: exit status {done.returncode}: {done.stderr[-300:]}"]
    tables = {}
    for name in ("vllm_metrics", "requests", "events", "batches"):
        for file in glob.glob(os.path.join(out, f"{name}_*.csv")):
            with open(file, newline="") as lines:
                tables[name] = list(csv.DictReader(lines))
    return tables, []


def seconds(text):
    """Seconds since the epoch of an RFC 3339 time with nanoseconds."""
    whole, _, rest = text.rstrip("Z").partition(".")
    base = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc).timestamp()
    return base + float("0." + (rest or "0"))


def scrapes(tables):
    """Times at which the server was scraped."""
    return sorted({seconds(row["timestamp"]) for row in tables.get("vllm_metrics", []) if row["metric_name"] == "up"})


def foreign(place, folder):
    """What other readers say of the files: faults, and the numbers of readers that were there."""
    faults, readers = [], 0
    for path in glob.glob(os.path.join(folder, "*")):
        name = os.path.basename(path)
        try:
            if name.endswith(".csv"):
                readers += 1
                with open(path, newline="") as lines:
                    list(csv.DictReader(lines))
            elif name.endswith(".json") and name.startswith(("vllm_metrics_", "requests_", "events_", "batches_")):
                readers += 1
                with open(path) as file:
                    json.load(file)
            elif name.endswith(".db"):
                readers += 1
                with sqlite3.connect(path) as base:
                    tables = [row[0] for row in base.execute("select name from sqlite_master where type = 'table'")]
                    for table in tables:
                        base.execute(f'select count(*) from "{table}"').fetchone()
        except Exception as error:  # noqa: BLE001  (any refusal of a reader is what is looked for)
            faults.append(f"{name}: {type(error).__name__}: {error}")
    parquet = glob.glob(os.path.join(folder, "*.parquet"))
    if parquet and place.tools.readers:
        readers += 2
        done = subprocess.run([place.tools.readers, "-c", FOREIGN, *parquet], capture_output=True, text=True)
        if done.returncode != 0:
            faults.append("pyarrow or DuckDB: " + done.stderr[-300:])
    return faults, readers
