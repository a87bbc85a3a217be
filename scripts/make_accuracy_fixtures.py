#!/usr/bin/env python3
"""Writes crates/mlperf-accuracy/tests/data: texts with the scores that rouge_score gives them, stems and sentences by NLTK.

    pip install rouge_score nltk
    python make_accuracy_fixtures.py OUT_DIR

The texts are made up from a list of words and suffixes; the sentences are already on lines of their own, so that
no sentence splitter takes part.
"""
import sys

if sys.argv[1:] in (["-h"], ["--help"]):
    print(__doc__)
    sys.exit()

import json
import random
from pathlib import Path

from nltk.stem.porter import PorterStemmer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
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


# A small sentence model of our own: the words that the made-up texts below are made of.
ABBREVIATIONS = ["dr", "mr", "e.g", "u.s", "p.m", "etc", "fig", "vs"]
COLLOCATIONS = [("##number##", "street"), ("s", "bach"), ("fig", "two")]
STARTERS = ["the", "however", "but"]
# Bits as Punkt counts them: begin, middle, unknown, upper case (2, 4, 8) and lower case (16, 32, 64).
ORTHOGRAPHY = {"the": 2 + 8 + 32, "house": 32, "bach": 4, "newton": 2 + 4, "however": 2 + 32 + 64, "went": 32,
               "blue": 16 + 32, "##number##": 2, "paris": 4 + 8, "and": 32}
PIECES = """The the However however house House Bach Newton newton Paris went blue and A. S. J. I x. Dr. dr. Mr. e.g. U.S. p.m.
etc. etc fig. Fig. vs. 3 3.5 1,000. -7. .5 2nd. street Street two (one two) one. two! three? four?! five... six.... . . . --
x--y a,b, "quoted." 'q' said.” “Why?” «oui». ]. [1]. end.) *note* a@b.c co-op. anti-dr. naïve. Ünder. ünder 日本。 ; : , ! ? .
-""".split()


def punkt(out: Path) -> None:
    params = PunktParameters()
    params.abbrev_types, params.sent_starters = set(ABBREVIATIONS), set(STARTERS)
    params.collocations = set(COLLOCATIONS)
    params.ortho_context.update(ORTHOGRAPHY)
    model = out / "punkt_tab"
    model.mkdir(exist_ok=True)
    (model / "abbrev_types.txt").write_text("".join(f"{w}\n" for w in ABBREVIATIONS))
    (model / "sent_starters.txt").write_text("".join(f"{w}\n" for w in STARTERS))
    (model / "collocations.tab").write_text("".join(f"{a}\t{b}\n" for a, b in COLLOCATIONS))
    (model / "ortho_context.tab").write_text("".join(f"{w}\t{n}\n" for w, n in ORTHOGRAPHY.items()))
    tokenizer = PunktSentenceTokenizer(params)
    texts = ["", " ", ".", "a", "A. B. C.", "(One.) Two.", "x. . . . y", "a.\n\n\"b.\" c.", ". a", "a?!) b"]
    for _ in range(400):
        spaces = [" "] * 12 + ["\n", "  ", "\t", "\r\n", "\u00a0", "", "\n\n"]
        words = [random.choice(PIECES) + random.choice(spaces) for _ in range(random.randint(1, 16))]
        texts.append("".join(words))
    rows = ",\n".join(json.dumps({"text": t, "sentences": tokenizer.tokenize(t)}, ensure_ascii=False) for t in texts)
    (out / "sentences.json").write_text(f"[\n{rows}\n]\n")


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
    punkt(out)


if __name__ == "__main__":
    main()
