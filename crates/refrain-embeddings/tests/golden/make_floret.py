"""Makes the golden file of `formats/floret.rs`: needs `pip install floret==0.10.5`.

Prints the rows and vectors that the tests expect. Twelve threads, since only a tenth of the first
values are drawn for each; so each run gives another file."""

import pathlib
import tempfile

import floret

here = pathlib.Path(__file__).parent
text = "the cat sat on the mat\nthe 猫 sat\ncats and mats\n" * 3
with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    file.write(text)
    file.flush()
    model = floret.train_unsupervised(
        file.name, mode="floret", hashCount=3, dim=3, minn=2, maxn=4, bucket=30, epoch=5,
        minCount=1, thread=12, lr=0.5, verbose=0,
    )
model.save_floret_vectors(str(here / "words.floret"))
words = model.get_words()
print(words)
# The first word has a row of its own besides, which is not in the file.
for word in ["cats", "猫", "naïve猫s", "a", "incomprehensibilities"]:
    ngrams, rows = model.get_subwords(word)
    print(repr(word), [int(row) - len(words) for row in rows])
    print([float(v) for v in model.get_word_vector(word)])
