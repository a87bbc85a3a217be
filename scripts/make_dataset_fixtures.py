#!/usr/bin/env python3
"""Writes the small tables in crates/mlperf-dataset/tests/data with the pandas it runs under.

Run it once per pandas generation, each in an environment of its own:

    python make_dataset_fixtures.py OUT_DIR

The tables have the columns of MLPerf's llama2-70b and deepseek-r1 datasets and made-up content, the same under every
pandas; llama2.json and deepseek.json hold the values that every other file must give.
"""
import sys

if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd

# Every kind of integer opcode, texts beyond ASCII and beyond latin1, a shared text, an answer that is missing.
LLAMA2 = [
    {
        "system_prompt": "You are kind.",
        "question": f"Question {i}: {text}",
        "output": text,
        "input": f"<s>[INST] {text} [/INST]",
        "tok_input": [1, 518, 25580, 29962, 70000 + i, 255, 256, 65535, 65536][: 3 + 2 * i],
        "tok_output": [29871, i, 2],
        "tok_input_length": 3 + 2 * i,
        "tok_output_length": 3,
        "origin": "flan",
        "id": f"flan.{i}",
    }
    for i, text in enumerate(["plain", "naïve café", "日本語 🙂\n\"quoted\""])
]
DEEPSEEK = [
    {"text_input": "What is 1+1?", "ground_truth": "2", "dataset": "math500", "question": "1+1", "metric": "exact"},
    {"text_input": "Löse x²=4", "ground_truth": None, "dataset": "gpqa", "question": "x", "metric": "choice"},
    {"text_input": "c" * 300, "ground_truth": "B", "dataset": "gpqa", "question": "y", "metric": "choice"},
]


def write(frame: pd.DataFrame, path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps(frame, protocol=protocol))


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    stamp = "pandas" + ".".join(pd.__version__.split(".")[:2])
    llama2, deepseek = pd.DataFrame(LLAMA2), pd.DataFrame(DEEPSEEK)
    protocols = [p for p in (2, 4, 5) if p <= pickle.HIGHEST_PROTOCOL]
    for protocol in protocols:
        write(llama2, out / f"llama2_{stamp}_p{protocol}.pkl", protocol)
    write(deepseek, out / f"deepseek_{stamp}.pkl", 4)
    # What people do to a table before they save it: arrays in cells, numpy numbers in lists, rows picked out of a
    # larger table, columns moved about, a copy whose blocks lie the other way round in memory.
    odd = pd.concat([llama2.iloc[::-1], llama2]).iloc[[2, 1, 0]]
    odd = odd[list(reversed(odd.columns))]
    odd["tok_input"] = [np.array(ids, dtype=np.int32) for ids in odd["tok_input"]]
    odd["tok_output"] = [[np.int64(i) for i in ids] for ids in odd["tok_output"]]
    odd["score"] = [0.5, np.nan, 1.5]
    odd["kept"] = np.array([True, False, True])
    write(odd, out / f"llama2_{stamp}_odd.pkl", protocols[-1])
    if pd.__version__.startswith("2."):
        (out / "llama2.json").write_text(json.dumps(LLAMA2, ensure_ascii=False, indent=1) + "\n")
        (out / "deepseek.json").write_text(json.dumps(DEEPSEEK, ensure_ascii=False, indent=1) + "\n")
        llama2.to_json(out / "llama2_columns.json")
        llama2.to_json(out / "llama2.jsonl", orient="records", lines=True)
        llama2.to_csv(out / "llama2.csv", index=False)
        llama2.to_parquet(out / "llama2.parquet")


if __name__ == "__main__":
    main()
