#!/usr/bin/env python3
"""Writes sut/tests/data/accuracy: texts with the scores that rouge_score gives them, and stems by NLTK.

    pip install rouge_score nltk
    python make_accuracy_fixtures.py OUT_DIR

The texts are made up from a list of words and suffixes; the sentences are already on lines of their own, so that
no sentence splitter takes part.
"""
import json
import random
import sys
from pathlib import Path

from nltk.stem.porter import PorterStemmer
from rouge_score import rouge_scorer

ROOTS = """abide able act add adopt agree ally analog angular annoy argue authentic bell bow build buy call canning care
cease city communicate compete conflate connect control cry day decide deep defend depend die digit dog dye effect
electric enjoy exceed fail feed fit fizz fly form formal friend fun gene geo happy hop hope howe inning introduce irritate
jog joy just kind king lie log logic love manual measure motor nation news note oper outing play plaster poem pony
predicate proceed profit quiet rain rate ration relate replace revive roll run sense sing size sky snow spy state stop
succeed sun tan theo tie toy triplicate trouble try use valence vary vietnam vile walk whistle yaw yoyo""".split()
SUFFIXES = """s es ed eed ing ied ies ly li y er or ion ation ational tional ization izer ize ative icate iciti ical ful
fulness fulli ness ousness ous ousli iveness ive iviti biliti bli able ably ible al alli ally alism aliti alize ance ence
enci anci ant ement ment ent entli eli ou ism ate iti logi logy ll lled lling ss sses yy yyy ying""".split()


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    random.seed(20)
    stemmer = PorterStemmer()
    words = sorted({r + s for r in ROOTS for s in ["", *random.sample(SUFFIXES, 11)]}
                   | {r.rstrip("ey") + s for r in ROOTS for s in random.sample(SUFFIXES, 5)}
                   | {"a", "by", "yyyy", "yyyyed", "aying", "2000s", "x1ies", "ies", "ied", "ed", "ing", "sses", "eed"})
    words = [w for w in words if w]
    (out / "stems.tsv").write_text("".join(f"{w}\t{stemmer.stem(w)}\n" for w in words))

    scorers = {s: rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=s)
               for s in (True, False)}

    def sentence() -> str:
        picked = random.choices(words, k=random.randint(1, 14))
        text = " ".join(w.capitalize() if random.random() < 0.1 else w for w in picked)
        return text + random.choice([".", "!", "?", " 3.5%.", " (x-ray).", " naïve Straße.", ""])

    cases = []
    for i in range(60):
        reference = [sentence() for _ in range(random.randint(1, 5))]
        answer = [s for s in reference if random.random() < 0.6] + [sentence() for _ in range(random.randint(0, 3))]
        random.shuffle(answer)
        if i % 5 == 0:
            answer = [" ".join(random.sample(s.split(), len(s.split()))) for s in answer]
        cases.append(("\n".join(reference), "\n".join(answer)))
    cases += [("", ""), ("a", ""), ("", "a"), ("...", "!!"), ("\n\n", "\n"), ("one", "one"), ("a b a b", "b a b a"),
              ("日本語 kelvin K İstanbul", "kelvin k istanbul"), ("word\r\nword\tword", "word word")]
    rows = []
    for reference, answer in cases:
        row = {"reference": reference, "answer": answer}
        for stemmed, scorer in scorers.items():
            scores = scorer.score(reference, answer)
            row["stemmed" if stemmed else "plain"] = [scores[k].fmeasure for k in scorer.rouge_types]
        rows.append(row)
    lines = ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    (out / "rouge.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
