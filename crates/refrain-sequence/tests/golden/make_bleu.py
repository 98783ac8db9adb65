"""Writes `bleu.json` beside this file: scores of some texts by sacreBLEU.

    pip install sacrebleu
    python tests/golden/make_bleu.py          (made with Python 3.11, sacrebleu 2.6.0)
"""

import json
import os

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

TEXTS = [
    ("A dog runs on the beach.", ["A dog runs along the beach."]),
    ("Two men are talking.", ["Two men talk.", "Two men are talking to each other."]),
    ("", ["Nothing was written here."]),
    ("He said &quot;5,000.50 - no, 3.5-4%!&quot; &amp; left... at 10:30,", ['He said "5,000.50 or 3.5-4 %!" & left at 10:30.']),
    ("the the the the the the the", ["the cat is on the mat", "there is a cat on the mat"]),
    ("Ein Mädchen in einem Karate-Anzug bricht ein Brett mit einem Tritt.", ["Ein Mädchen im Karate-Anzug bricht einen Stock mit einem Tritt."]),
    ("U.S.A. won 3-1, 2.5,1 <skipped> e-\nmail a.b", ["The U.S.A. won 3-1, 2.5,1 email a.b"]),
    ("wholly other words", ["Nothing is alike"]),
    ("people", ["people"]),
    ("a b c", ["a b c d", "a b", "x"]),
    ("日本語 のテスト。 $5.00/10 [x] {y} ~z\x1cend", ["日本語 の テスト 。 $ 5.00 / 10 [x] { y } z end"]),
    ("A MAN IN A RED SHIRT", ["A man in a red shirt", "a man in red"]),
    ("A young boy wearing a Giants jersey swings a baseball bat at an incoming pitch.",
     ["A young child is wearing a giants jersey and swinging a baseball bat at an incoming pitch."]),
]
texts = [t for t, _ in TEXTS]
references = [r for _, r in TEXTS]
# sacreBLEU wants streams: the first references of all texts, then the second ones; None where missing.
streams = lambda n: [
    [r[i] if i < len(r) else None for r in references[:n]] for i in range(max(map(len, references[:n])))
]

corpora = []
for lowercase, tokenized, first in [
    (False, False, len(texts)), (True, False, len(texts)), (False, True, len(texts)), (False, False, 1),
    (False, False, 2), (False, False, 6), (True, True, 12),
]:
    bleu = BLEU(lowercase=lowercase, tokenize="none" if tokenized else "13a")
    s = bleu.corpus_score(texts[:first], streams(first))
    corpora.append({
        "lowercase": lowercase, "tokenized": tokenized, "first": first, "score": s.score,
        "precisions": s.precisions, "brevity_penalty": s.bp, "matches": s.counts, "totals": s.totals,
        "length": s.sys_len, "reference_length": s.ref_len,
    })
golden = {
    "texts": texts,
    "references": references,
    "tokenized": [Tokenizer13a()(t) for t in texts],
    "corpora": corpora,
    "sentences": [BLEU(effective_order=True).sentence_score(t, r).score for t, r in TEXTS],
    "chrf": [CHRF().corpus_score(texts[:n], streams(n)).score for n in range(1, len(texts) + 1)],
    "chrf_lowercase": [
        CHRF(lowercase=True).corpus_score(texts[:n], streams(n)).score for n in range(1, len(texts) + 1)
    ],
}
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "bleu.json"), "w") as file:
    json.dump(golden, file, ensure_ascii=False, indent=0)
    file.write("\n")
