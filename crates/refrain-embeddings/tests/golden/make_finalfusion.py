"""Makes the golden files of `formats/finalfusion.rs` but one: needs `pip install finalfusion==0.7.1 numpy`.

Prints the vectors that the tests expect. `make_finalfusion.rs` makes `floret.fifu`."""

import pathlib

import numpy as np
from finalfusion import Embeddings
from finalfusion.compat import load_fasttext
from finalfusion.metadata import Metadata
from finalfusion.norms import Norms
from finalfusion.storage import NdArray, QuantizedArray
from finalfusion.storage.quantized import PQ
from finalfusion.subword import FinalfusionHashIndexer
from finalfusion.vocab import FinalfusionBucketVocab, SimpleVocab

here = pathlib.Path(__file__).parent
random = np.random.default_rng(1)


def floats(*shape):
    return random.standard_normal(shape).astype(np.float32)


def save(name, embeddings, *words):
    embeddings.write(str(here / name))
    for word in words:
        vector, norm = embeddings.embedding_with_norm(word)
        print(name, repr(word), [float(v) for v in vector * norm])


# Norms, metadata, and fastText's n-grams.
save("fasttext.fifu", load_fasttext(str(here / "words.bin")), "the", "猫", "cats", "hat", "猫s")

# finalfusion's own n-grams, marks alone among them, in eight rows.
words = ["one", "two", "naïve 猫"]
rows = floats(len(words), 3)
norms = Norms(np.linalg.norm(rows, axis=1))
rows /= norms[:, None]
vocab = FinalfusionBucketVocab(words, FinalfusionHashIndexer(3, 1, 4))
storage = NdArray(np.concatenate([rows, floats(8, 3)]))
save("bucket.fifu", Embeddings(storage, vocab, norms), "two", "naïve 猫", "three", "猫", "incomprehensible")

# Quantised in two parts with four centroids each, turned, with lengths apart; and no norms.
turn = np.linalg.qr(floats(6, 6))[0].astype(np.float32)
codes = random.integers(0, 4, (5, 2)).astype(np.uint8)
storage = QuantizedArray(PQ(floats(2, 4, 3), turn), codes, np.abs(floats(5)))
vocab = SimpleVocab(["a", "b", "c", "d", "e f"])
embeddings = Embeddings(storage, vocab, None, Metadata({"made": "by hand"}))
embeddings.write(str(here / "quantised.fifu"))
for word in ["a", "e f"]:
    print("quantised.fifu", repr(word), [float(v) for v in embeddings[word]])
