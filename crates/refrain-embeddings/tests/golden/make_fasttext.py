"""Makes the golden files of `formats/fasttext.rs`: needs `pip install fasttext-wheel==0.9.2 "numpy<3"`.

Prints the vectors that the tests expect. Twelve threads, since version 0.9.2 draws only a tenth of
the first values for each thread; so each run gives other files."""

import pathlib
import tempfile

import fasttext

here = pathlib.Path(__file__).parent
text = "the cat sat on the mat\nthe 猫 sat\ncats and mats\n" * 3
with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    file.write(text)
    file.flush()
    model = fasttext.train_unsupervised(
        file.name, dim=3, minn=2, maxn=4, bucket=20, epoch=5, minCount=1, thread=12, lr=0.5, verbose=0
    )
model.save_model(str(here / "words.bin"))
print("words.bin", len(model.words), model.words)
for word in ["the", "猫", "cats", "hat", "猫s", "</s>"]:
    print(repr(word), [float(v) for v in model.get_word_vector(word)])

lines = [f"__label__{'up' if i % 2 else 'down'} w{i % 40} x{i % 7} word{i * i % 300}" for i in range(2000)]
with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
    file.write("\n".join(lines))
    file.flush()
    model = fasttext.train_supervised(
        file.name, dim=3, minn=2, maxn=3, bucket=1000, epoch=3, thread=12, verbose=0
    )
    model.quantize(input=file.name, qnorm=True, cutoff=300, retrain=False, dsub=2)
model.save_model(str(here / "labels.ftz"))
words = model.get_words()
print("labels.ftz", len(words), model.get_labels())
for word in [words[1], words[7], "wordy", "zzz"]:
    print(repr(word), [float(v) for v in model.get_word_vector(word)])
