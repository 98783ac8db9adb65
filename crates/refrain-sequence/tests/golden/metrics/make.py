"""Makes spans.json and errors.json with PyPI seqeval 1.2.2 and jiwer 4.0.0.

    python make.py
"""

import json
import random

import jiwer
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

draw = random.Random(7)


def sequence(kinds, tags, length):
    return [
        "O" if draw.random() < 0.3 else draw.choice(tags) + "-" + draw.choice(kinds)
        for _ in range(length)
    ]


def wrong(labels, kinds, tags):
    return [label if draw.random() < 0.7 else sequence(kinds, tags, 1)[0] for label in labels]


cases = []
for i in range(40):
    kinds = ["person", "creative-work", "location"][: draw.randint(1, 3)]
    tags = ["BI", "I", "BIES", "BIE"][i % 4]
    truth = [sequence(kinds, tags, draw.randint(1, 12)) for _ in range(draw.randint(1, 4))]
    found = [wrong(labels, kinds, tags) for labels in truth]
    cases.append(
        {
            "truth": truth,
            "found": found,
            "spans": get_entities(found[0]),
            "precision": float(precision_score(truth, found, zero_division=0)),
            "recall": float(recall_score(truth, found, zero_division=0)),
            "f1": float(f1_score(truth, found, zero_division=0)),
        }
    )
with open("spans.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")

texts = [
    (["hello world"], ["hello duck"]),
    (["the cat  sat on the mat", "one two"], ["a cat sat the mat mat", "one two three"]),
    (["nine eight seven"], [""]),
    (["a b c d", "naïve café"], ["d c b a", "naive café"]),
    (["春眠 不觉晓"], ["春眠不 觉晓"]),
    ([" lead and trail "], ["lead and trail"]),
]
rows = [[t, f, float(jiwer.wer(t, f)), float(jiwer.cer(t, f))] for t, f in texts]
with open("errors.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
