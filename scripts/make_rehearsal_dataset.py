#!/usr/bin/env python3
"""Writes a made-up dataset on which a submission can be rehearsed against the simulator, accuracy included.

    make_rehearsal_dataset.py OUT.json [--samples 13368] [--seed 1]
    sut --dataset-path OUT.json --simulate-references --test-mode both ...

The shape is llama3.1-8b's cnn_eval.json with one column more: `tok_output`, what the simulated model answers. Answers
keep some of their reference's words in order and replace the others, so that ROUGE is neither 0 nor 100, and their
lengths lie within the benchmark's bounds. Words are those that the simulator gives its token ids (ids count through
a, b, ..., z, aa, ab, ...; the first three have no text), so its text and these ids are the same answer.

--tokenizer DIR also writes a tokenizer of the same words, which MLCommons' evaluation.py can load as --model-name.
"""
import argparse
import json
import random
from pathlib import Path

VOCABULARY = 128_256
FIRST_WORD = 3
# Words of four letters begin here: 26 + 26² + 26³ shorter ones come before.
FIRST_OF_FOUR = FIRST_WORD + 26 + 26**2 + 26**3


def word(token: int) -> str:
    letters, rest = "", token - FIRST_WORD + 1
    while rest:
        rest -= 1
        letters = chr(ord("a") + rest % 26) + letters
        rest //= 26
    return letters


def text(ids: list[int]) -> str:
    return " ".join(word(token) for token in ids)


def row(rng: random.Random, kept: float) -> dict:
    prompt = [rng.randrange(FIRST_WORD, VOCABULARY) for _ in range(rng.randint(60, 180))]
    answer = [rng.randrange(FIRST_OF_FOUR, VOCABULARY) for _ in range(rng.randint(116, 127))]
    reference = [t if rng.random() < kept else rng.randrange(FIRST_OF_FOUR, VOCABULARY) for t in answer]
    return {
        "instruction": "",
        "input": text(prompt),
        "tok_input": prompt,
        "output": text(reference),
        "tok_output": answer,
    }


def write_tokenizer(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {word(token): token for token in range(FIRST_WORD, VOCABULARY)}
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, c in enumerate(["<pad>", "<s>", "</s>"])]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
                 "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
                 "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>",
              "pad_token": "<pad>", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=13368)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kept", type=float, default=0.6, help="share of the reference's words in an answer")
    parser.add_argument("--tokenizer", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    rows = (json.dumps(row(rng, args.kept)) for _ in range(args.samples))
    args.out.write_text("[\n" + ",\n".join(rows) + "\n]\n")
    if args.tokenizer:
        write_tokenizer(args.tokenizer)


if __name__ == "__main__":
    main()
