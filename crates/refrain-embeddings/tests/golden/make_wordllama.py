"""Makes the golden files of `formats/model2vec.rs` in WordLlama's form: needs `pip install wordllama==0.4.0.post1`.

    python make_wordllama.py

A small tokenizer as Llama's (byte-pair encoding, `▁` for spaces, bytes for what is unknown) and vectors of 16
bits, read by WordLlama itself; `wordllama_expected.json` holds the tokens and vectors of texts: the mean, of
length 1, cut to the first 16 values, and in bits."""

import json
import pathlib
import tempfile

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import Prepend, Replace, Sequence
from tokenizers.processors import TemplateProcessing
from wordllama import WordLlama
from wordllama.config import ModelURI

here = pathlib.Path(__file__).parent
merges = [("▁", "c"), ("a", "t"), ("▁c", "at"), ("▁", "s"), ("▁s", "at"), ("▁cat", "s")]
names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in b"\xe7\x8c\xab!"]
names += ["▁", "c", "a", "t", "s", "o", "n"] + [first + second for first, second in merges]
model = BPE({name: i for i, name in enumerate(names)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
tokenizer = Tokenizer(model)
tokenizer.normalizer = Sequence([Prepend("▁"), Replace(" ", "▁")])
tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in names[:3]])
tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
rows = np.random.default_rng(1).normal(size=(len(names), 64)).astype(np.float16)

with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    (folder / "weights").mkdir()
    (folder / "tokenizers").mkdir()
    weights, words = folder / "weights/custom_64.safetensors", folder / "tokenizers/tokenizer.json"
    save_file({"embedding.weight": rows}, weights)
    tokenizer.save(str(words))
    (folder / "weights/custom_64_binary.safetensors").write_bytes(weights.read_bytes())
    (here / "wordllama.safetensors").write_bytes(weights.read_bytes())
    (here / "wordllama.json").write_bytes(words.read_bytes())
    uri = ModelURI("none", [16, 64], [64], "tokenizer.json")
    load = lambda **how: WordLlama.load(uri, cache_dir=folder, dim=64, **how)
    full, cut, binary = load(), load(trunc_dim=16), load(binary=True)
    expected = []
    for text in ["cats sat on cats", "猫 cat!", "sat"]:
        expected.append({
            "tokens": full.tokenize(text)[0].tokens,
            "mean": full.embed(text)[0].tolist(),
            "unit": full.embed(text, norm=True)[0].tolist(),
            "cut": cut.embed(text, norm=True)[0].tolist(),
            "bits": binary.embed(text)[0].tolist(),
        })
    similarity = [full.similarity("cats sat", "cat"), binary.similarity("cats sat", "cat")]
print("similarity of 'cats sat' and 'cat', in full and in bits:", similarity)
(here / "wordllama_expected.json").write_text(json.dumps(expected))
