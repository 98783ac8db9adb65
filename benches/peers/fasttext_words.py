"""fastText's side of `word2vec`: trains vectors of words and their n-grams on a file of tokens, a
sentence a line, and prints one line of JSON. Called by the bench; needs `pip install
fasttext-wheel==0.9.2`. fastText does not tell the time of training without counting words."""

import json
import resource
import sys
import time

import fasttext

corpus, out, cbow, tree, dim, window, negatives, epochs, sample, min_count, rate, threads, seed, more = sys.argv[1:]

# The binding hands the seed on, but takes it from its defaults alone.
fasttext.FastText.unsupervised_default["seed"] = int(seed)
cpu = resource.getrusage(resource.RUSAGE_SELF)
began = time.time()
model = fasttext.train_unsupervised(
    corpus,
    model="cbow" if int(cbow) else "skipgram",
    loss="hs" if int(tree) else "ns",
    dim=int(dim),
    ws=int(window),
    neg=int(negatives),
    epoch=int(epochs),
    t=float(sample),
    minCount=int(min_count),
    lr=float(rate),
    thread=int(threads),
    verbose=0,
)
whole = time.time() - began
after = resource.getrusage(resource.RUSAGE_SELF)
words = [word for word in model.words if word != "</s>"] + open(more).read().split()
with open(out, "w") as file:
    print(len(words), dim, file=file)
    for word in words:
        print(word, *(f"{value:.6g}" for value in model.get_word_vector(word)), file=file)
print(
    json.dumps(
        {
            "name": "fastText 0.9.2",
            "seconds": None,
            "whole": whole,
            "cpu_seconds": after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime,
        }
    )
)
