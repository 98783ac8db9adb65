"""Makes the golden files of `formats/model2vec.rs`: needs `pip install model2vec==0.10.0`.

Prints the vectors that the tests expect: those of texts of one token. Tokens share rows and have weights,
as in models whose vocabulary was made small."""

import pathlib
import tempfile

import numpy as np
from model2vec import StaticModel
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

here = pathlib.Path(__file__).parent
tokens = ["[PAD]", "[UNK]", "the", "cat", "cats", "##s", "猫"]
tokenizer = Tokenizer(WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
tokenizer.normalizer = BertNormalizer()
tokenizer.pre_tokenizer = BertPreTokenizer()
rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
model = StaticModel(
    vectors=rows,
    tokenizer=tokenizer,
    config={},
    normalize=False,
    weights=np.array([0.0, 0.5, 0.25, 1.5, 1.0, 0.75, 2.0], dtype=np.float32),
    token_mapping=np.array([0, 0, 1, 2, 2, 3, 4]),
)
with tempfile.TemporaryDirectory() as folder:
    model.save_pretrained(folder)
    for name, to in [("model.safetensors", "model2vec.safetensors"), ("tokenizer.json", "model2vec.json")]:
        (here / to).write_bytes((pathlib.Path(folder) / name).read_bytes())
for token in ["the", "cat", "cats", "猫"]:
    print(token, [float(value) for value in model.encode(token)])
