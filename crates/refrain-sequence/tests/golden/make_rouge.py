"""ROUGE of pairs of texts, by PyPI rouge-score 0.1.2 without its stemmer.

    python make_rouge.py            # writes rouge.json
"""

import json

from rouge_score.rouge_scorer import RougeScorer

pairs = [
    ("the cat sat on the mat", "the cat was found under the bed"),
    ("police killed the gunman", "police kill the gunman"),
    ("the gunman killed police", "police killed the gunman"),
    ("A B a b, A-B!", "a b c a"),
    ("same words here", "same words here"),
    ("nothing alike", "something other"),
    ("", "an empty candidate"),
    ("an empty reference", ""),
    ("one", "one"),
    ("it's 3.5 % of the naïve café's sales in 2021", "sales of the cafe's 3 naive 5 in 2021"),
    ("der Hund\nschläft im\tHaus_garten", "im Haus garten schläft ein Hund"),
    (
        "The town council voted on Monday to close the old bridge. Drivers will have to take the road by the river.",
        "On Monday the council of the town voted for closing the bridge, which is old; drivers take the river road.",
    ),
]
scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
golden = []
for candidate, reference in pairs:
    scores = scorer.score(reference, candidate)
    kinds = [scores[kind] for kind in ("rouge1", "rouge2", "rougeL")]
    golden.append(
        {
            "candidate": candidate,
            "reference": reference,
            "scores": [[s.precision, s.recall, s.fmeasure] for s in kinds],
        }
    )
json.dump(golden, open("rouge.json", "w"), ensure_ascii=False, indent=1)
