"""glove-python3's side of `glove`: counts pairs and trains on a file of tokens, a sentence a line, and
prints one line of JSON. Called by the bench; needs `pip install glove-python3==0.1.0`, which builds
with Python 3.9, "setuptools<60", numpy and scipy, without build isolation. It keeps one vector for a
word where GloVe has two."""

import json
import sys
import time

from glove import Corpus, Glove

tokens, out, dim, window, epochs, min_count, rate, x_max, threads, seed = sys.argv[1:]

sentences = [line.split() for line in open(tokens)]
counts = {}
for sentence in sentences:
    for word in sentence:
        counts[word] = counts.get(word, 0) + 1
known = sorted((w for w, n in counts.items() if n >= int(min_count)), key=lambda w: -counts[w])
corpus = Corpus(dictionary={word: i for i, word in enumerate(known)})
began = time.time()
corpus.fit(sentences, window=int(window), ignore_missing=True)
counting = time.time() - began
model = Glove(
    no_components=int(dim),
    learning_rate=float(rate),
    alpha=0.75,
    max_count=float(x_max),
    random_state=int(seed),
)
began = time.time()
model.fit(corpus.matrix, epochs=int(epochs), no_threads=int(threads), verbose=False)
seconds = time.time() - began
with open(out, "w") as file:
    print(len(known), dim, file=file)
    for word, vector in zip(known, model.word_vectors):
        print(word, *(f"{value:.6g}" for value in vector), file=file)
print(json.dumps({"counting": counting, "seconds": seconds, "pairs": int(corpus.matrix.nnz)}))
