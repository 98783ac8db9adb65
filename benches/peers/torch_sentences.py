"""sentence-transformers' side of the `sentence_vectors` benchmark: the same folder, texts and threads.

    python torch_sentences.py FOLDER TEXTS VECTORS --threads 1

A line "0" on standard input compares VECTORS, a JSON list of ours, with each text's vector by transformers alone; a
line "N" encodes the first N texts in batches of 32. It prints one JSON object per line.

Needs `pip install torch==2.15.0 transformers==5.24.0 sentence-transformers==6.2.0`.
"""

import argparse
import json
import sys
import time

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("texts")
    parser.add_argument("vectors")
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    lines = open(a.texts, "rb").read().decode("utf-8", errors="replace").split("\n")
    texts = [line for line in lines if line.strip()]
    encoder = SentenceTransformer(a.folder, device="cpu")

    def difference():
        ours = np.array(json.load(open(a.vectors)), dtype=np.float32)
        tokenizer = AutoTokenizer.from_pretrained(a.folder)
        model = AutoModel.from_pretrained(a.folder).eval()
        worst = 0.0
        with torch.no_grad():
            for text, own in zip(texts, ours):
                tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
                vector = model(**tokens).last_hidden_state[0].mean(0)
                vector = torch.nn.functional.normalize(vector, dim=0).numpy()
                worst = max(worst, float(abs(vector - own).max()))
        return {"difference": worst, "compared": len(ours)}

    def encode(n):
        began, processor = time.perf_counter(), time.process_time()
        encoder.encode(texts[:n], batch_size=32)
        return {"seconds": time.perf_counter() - began, "processor": time.process_time() - processor}

    encode(64)
    print(json.dumps({"ready": torch.__version__}), flush=True)
    for line in sys.stdin:
        n = int(line)
        print(json.dumps(encode(n) if n else difference()), flush=True)


if __name__ == "__main__":
    main()
