"""gensim's side of `vectors`: reads word2vec's binary file, asks for neighbours, and prints one line of
JSON. Called by the bench; needs `pip install gensim==4.4.0`."""

import json
import sys
import time

import gensim
from gensim.models import KeyedVectors

path, word, queries = sys.argv[1:]
began, cpu = time.time(), time.process_time()
vectors = KeyedVectors.load_word2vec_format(path, binary=True)
load, load_cpu = time.time() - began, time.process_time() - cpu
began = time.time()
vectors.most_similar(word, topn=10)
first = time.time() - began
words = vectors.index_to_key[: int(queries)]
began = time.time()
for other in words:
    vectors.most_similar(other, topn=10)
query = (time.time() - began) / len(words)
report = {"load": load, "load_cpu": load_cpu, "first": first, "query": query}
print(json.dumps({"version": gensim.__version__, **report}))
