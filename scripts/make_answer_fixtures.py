#!/usr/bin/env python3
"""Writes crates/mlperf-accuracy/tests/data/answers.json: made-up answers and how the reference evaluation scripts judge them.

    git clone https://github.com/mlcommons/inference
    pip install pandas
    python make_answer_fixtures.py inference/language OUT_DIR
"""
import sys

if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()

import importlib.util
import json
import random
import types
from pathlib import Path


def load(path: Path):
    """The script as a module; what it imports for other purposes than judging is left empty."""
    for name in ("tqdm", "transformers", "numpy"):
        module = types.ModuleType(name)
        module.tqdm = module.AutoTokenizer = object
        if name != "numpy":
            sys.modules[name] = module
    spec = importlib.util.spec_from_file_location(path.parent.name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PIECES = r"""Answer: ANSWER FINAL FinalAnswer answer Answer. Answer= : = ( ) A B C D E I J a b d j (A) (C). **B** **Answer:** D. \n
\' ' " ['A'] ["B"] . , the Therefore is AB Ad x <|channel|>analysis<|message|> <|channel|>final<|message|>
<|channel|>final x<|message|> <|end|> <|return|> \boxed{ } \boxed{42} \boxed{007} \boxed{1000} 42 7 999 1000 3.5 42. 12a 12_ ** *
option_A A-B é1""".split()


def main() -> None:
    language, out = Path(sys.argv[1]), Path(sys.argv[2])
    scripts = {"plain": load(language / "deepseek-r1" / "eval_accuracy.py"),
               "channels": load(language / "gpt-oss-120b" / "eval_accuracy.py")}
    random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else 4)
    rows = []
    for i in range(int(sys.argv[4]) if len(sys.argv) > 4 else 500):
        answer = "".join(random.choice(PIECES) + random.choice([" ", " ", "", "\n"])
                         for _ in range(random.randint(0, 12)))
        if i % 9 == 0:
            answer = random.choice(["['", '["']) + answer.strip() + random.choice(["']", '"]'])
        row = {"answer": answer}
        for name, script in scripts.items():
            found = []
            for part in ("gpqa", "mmlu_pro", "aime1983"):
                parsed = script.get_evaluator(part)["parse"](script.validate_text_input(answer))
                found.append(None if parsed is None else str(parsed))
            row[name] = found
        rows.append(row)
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    (out / "answers.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
