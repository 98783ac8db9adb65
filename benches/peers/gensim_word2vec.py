"""gensim's side of `word2vec`: trains word vectors on a file of tokens, a sentence a line, and prints one
line of JSON. Called by the bench; needs `pip install gensim==4.4.0`."""

import json
import resource
import sys
import time

import gensim
from gensim.models import Word2Vec

corpus, out, cbow, tree, dim, window, negatives, epochs, sample, min_count, rate, threads, seed, _ = sys.argv[1:]

# Word2Vec(...) with a corpus_file does the same two steps; they are timed apart here.
model = Word2Vec(
    sg=1 - int(cbow),
    hs=int(tree),
    cbow_mean=1,
    vector_size=int(dim),
    window=int(window),
    negative=0 if int(tree) else int(negatives),
    epochs=int(epochs),
    sample=float(sample),
    min_count=int(min_count),
    alpha=float(rate),
    min_alpha=float(rate) * 1e-4,
    workers=int(threads),
    seed=int(seed),
)
began = time.time()
model.build_vocab(corpus_file=corpus)
vocabulary = time.time() - began
cpu = resource.getrusage(resource.RUSAGE_SELF)
began = time.time()
model.train(
    corpus_file=corpus,
    total_examples=model.corpus_count,
    total_words=model.corpus_total_words,
    epochs=model.epochs,
)
seconds = time.time() - began
after = resource.getrusage(resource.RUSAGE_SELF)
model.wv.save_word2vec_format(out)
print(
    json.dumps(
        {
            "name": f"gensim {gensim.__version__}",
            "seconds": seconds,
            "whole": vocabulary + seconds,
            "cpu_seconds": after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime,
        }
    )
)
