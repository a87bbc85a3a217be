"""Three plots at 300 dpi and a summary of a record, with pandas and matplotlib, as a script by hand would make them.

usage: report.py SAMPLES.parquet REQUESTS.parquet FOLDER

Prints the CPU seconds of the process after its imports, and how many metrics the summary has.
"""

import json
import resource
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    begin = cpu()
    samples, requests, folder = sys.argv[1:]
    rows = pd.read_parquet(samples, columns=["timestamp", "metric_name", "labels", "value", "metric_type"])
    rows["timestamp"] = pd.to_datetime(rows["timestamp"])
    done = pd.read_parquet(requests)

    def of(name):
        return rows[rows.metric_name == name].groupby("timestamp").value.sum()

    def save(figure, name):
        figure.tight_layout()
        figure.savefig(f"{folder}/{name}.png", dpi=300)
        plt.close(figure)

    figure, axis = plt.subplots(figsize=(12, 5))
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
        of(name).plot(ax=axis, label=name)
    axis.legend()
    save(figure, "requests_running")

    figure, axis = plt.subplots(figsize=(12, 5))
    of("vllm:kv_cache_usage_perc").plot(ax=axis)
    save(figure, "kv_cache")

    figure, axes = plt.subplots(4, 1, figsize=(12, 14))
    for axis, name in zip(axes, ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")):
        counter = of(name)
        (counter.diff() / counter.index.to_series().diff().dt.total_seconds()).plot(ax=axis, title=name)
    ttft = (pd.to_datetime(done.first_token) - pd.to_datetime(done.sent)).dt.total_seconds()
    tpot = (pd.to_datetime(done.done) - pd.to_datetime(done.first_token)).dt.total_seconds() / (done.output_tokens - 1)
    axes[2].plot(pd.to_datetime(done.sent), ttft, ".", markersize=1)
    axes[3].plot(pd.to_datetime(done.sent), tpot, ".", markersize=1)
    save(figure, "performance_overview")

    groups = rows.groupby(["metric_name", "labels"]).value
    table = groups.agg(["count", "mean", "min", "max", "std"])
    quantiles = groups.quantile([0.5, 0.9, 0.95, 0.99]).unstack()
    summary = {"requests": {name: values.describe(percentiles=[0.5, 0.9, 0.99]).to_dict()
                            for name, values in (("ttft", ttft), ("tpot", tpot))}}
    summary["metrics"] = table.join(quantiles).reset_index().to_dict("records")
    with open(f"{folder}/summary.json", "w", encoding="utf-8") as out:
        json.dump(summary, out)
    print(cpu() - begin, len(summary["metrics"]))


main()
