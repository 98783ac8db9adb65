"""transformers' and sentence-transformers' side of the example `sentence_vectors`: the same folder and
texts, two threads; prints the largest difference from the example's vectors and texts a second.

    cargo run --release --features tokenizers --example sentence_vectors -- \\
        --model FOLDER --texts FILE --vectors vectors.json
    python benches/peers/sentence_vectors.py FOLDER FILE vectors.json

Needs `pip install torch==2.15.0 transformers==5.24.0 sentence-transformers==6.2.0`.
"""

import json
import sys
import time

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

folder, file, ours = sys.argv[1:]
torch.set_num_threads(2)
content = open(file, "rb").read().decode("utf-8", errors="replace")
texts = [line for line in content.split("\n") if line.strip()]
ours = np.array(json.load(open(ours)), dtype=np.float32)
assert len(ours) == len(texts)

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder).eval()
worst = 0.0
with torch.no_grad():
    for text, own in list(zip(texts, ours))[:500]:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        vector = model(**tokens).last_hidden_state[0].mean(0)
        vector = torch.nn.functional.normalize(vector, dim=0).numpy()
        worst = max(worst, float(abs(vector - own).max()))
print(f"transformers, each text alone, {min(len(texts), 500)} texts: largest difference {worst:.2e}")

encoder = SentenceTransformer(folder, device="cpu")
encoder.encode(texts[:64])
for size in (32, 128):
    began = time.time()
    vectors = encoder.encode(texts, batch_size=size)
    seconds = time.time() - began
    print(
        f"sentence-transformers, batches of {size}: {len(texts)} texts in {seconds:.2f} s, "
        f"{len(texts) / seconds:.0f} a second; largest difference {abs(vectors - ours).max():.2e}"
    )
