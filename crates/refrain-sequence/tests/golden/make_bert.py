"""Writes the folders `bert` and `prenorm` beside this file: two tiny random encoders as Hugging Face
folders, and in `expected.json` what `transformers` computes with them.

    pip install torch transformers tokenizers safetensors
    python tests/golden/make_bert.py          (made with Python 3.11, torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3)

`bert` is post-norm, one file of 32-bit floats, with a WordPiece tokenizer and the folder layout of
sentence-transformers. `prenorm` is a RobertaPreLayerNorm in two files of 16-bit floats, with the
prefix of a model that stands inside a larger one.

    python tests/golden/make_bert.py --check FOLDER

reads a folder written here with transformers (and, where it holds a text encoder, with sentence-transformers)
and compares states and vectors with those in its `told.json`; the test of `src/encoder/transformers_tests.rs`
calls it.

The states are computed in 64 bits. The loss is the sum of all last states, each times sin(0.3 i), i
counting the values of all texts one after the other; of each parameter's gradient the norm and the
sum of value i times sin(0.7 i) are kept.
"""

import json
import math
import os
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.decoders import WordPiece as WordPieceDecoder
from transformers import BertConfig, BertModel, RobertaPreLayerNormConfig, RobertaPreLayerNormModel

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    "A cat sat on the mat.",
    "The dog chased a cat!",
    "Rain",
    "Nobody knows the tune, but everybody hums it quietly in the evening rain.",
]


def shaken(model):
    """Weights far from their first values, so that every parameter matters."""
    at = 0
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.sin(0.7 * torch.arange(at, at + p.numel(), dtype=torch.float64) ** 1.01)
            p += (0.15 * noise).reshape(p.shape).to(p.dtype)
            at += p.numel()
    return model.eval()


def numbers(x, digits=8):
    return [float(f"{v:.{digits}g}") for v in x.flatten().tolist()]


def expected(model, batch, types):
    """Each text alone: states of all layers, attention of all layers, then loss and gradients."""
    model = model.double()
    texts, flat = [], []
    for tokens, kinds in zip(batch, types):
        out = model(
            torch.tensor([tokens]),
            token_type_ids=torch.tensor([kinds]),
            output_hidden_states=True,
            output_attentions=True,
        )
        flat.append(out.last_hidden_state.flatten())
        texts.append({
            "tokens": tokens,
            "types": kinds,
            "states": [numbers(h) for h in out.hidden_states] + [numbers(out.last_hidden_state)],
            "attention": [numbers(a) for a in out.attentions] if len(tokens) < 8 else [],
            "pooled": numbers(out.pooler_output) if out.pooler_output is not None else None,
        })
    flat = torch.cat(flat)
    loss = (flat * torch.sin(0.3 * torch.arange(len(flat), dtype=torch.float64))).sum()
    model.zero_grad()
    loss.backward()
    gradients = {}
    for name, p in model.named_parameters():
        if p.grad is not None:
            g = p.grad.flatten()
            dot = (g * torch.sin(0.7 * torch.arange(len(g), dtype=torch.float64))).sum()
            gradients[name] = [float(f"{g.norm().item():.8g}"), float(f"{dot.item():.8g}")]
    return {"texts": texts, "loss": loss.item(), "gradients": gradients}


def dump(value, *path):
    os.makedirs(os.path.join(HERE, *path[:-1]), exist_ok=True)
    with open(os.path.join(HERE, *path), "w") as file:
        json.dump(value, file, separators=(",", ":"), ensure_ascii=False)
        file.write("\n")


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = WordPieceDecoder(prefix="##")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=100, special_tokens=special, show_progress=False)
    alphabet = [" ".join("abcdefghijklmnopqrstuvwxyz"), "abcdefghijklmnopqrstuvwxyz"[::-1]]
    tokenizer.train_from_iterator(TEXTS * 3 + alphabet, trainer)
    ids = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return tokenizer


def bert():
    tokenizer = wordpiece()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=40, type_vocab_size=2, layer_norm_eps=1e-12,
        attn_implementation="eager",
    )
    model = shaken(BertModel(config))
    folder = os.path.join(HERE, "bert")
    model.save_pretrained(folder)
    # Padding and a short truncation, which a user of vectors must not inherit.
    tokenizer.enable_padding(length=40, pad_id=0, pad_token="[PAD]")
    tokenizer.enable_truncation(10)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(24)
    kind = "sentence_transformers.models."
    dump([
        {"idx": 0, "name": "0", "path": "", "type": kind + "Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": kind + "Normalize"},
    ], "bert", "modules.json")
    dump({
        "word_embedding_dimension": 32, "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }, "bert", "1_Pooling", "config.json")
    dump({"max_seq_length": 24, "do_lower_case": False}, "bert", "sentence_bert_config.json")

    batch = [[2, 17, 30, 99, 5, 3], [2, 44, 3], [2, 61, 62, 63, 9, 8, 3, 70, 71, 72, 3]]
    types = [[0] * 6, [0] * 3, [0] * 7 + [1] * 4]
    result = expected(model, batch, types)
    result["sentences"] = []
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        states = model(torch.tensor([encoding.ids])).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(0), dim=0)
        result["sentences"].append({
            "text": text, "tokens": encoding.ids, "decoded": tokenizer.decode(encoding.ids),
            "vector": numbers(vector),
        })
    dump(result, "bert", "expected.json")


def prenorm():
    torch.manual_seed(2)
    config = RobertaPreLayerNormConfig(
        vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=20, type_vocab_size=1, layer_norm_eps=1e-5,
        pad_token_id=1, hidden_act="gelu_new", attn_implementation="eager",
    )
    model = shaken(RobertaPreLayerNormModel(config, add_pooling_layer=False)).half().float()
    folder = os.path.join(HERE, "prenorm")
    os.makedirs(folder, exist_ok=True)
    config.architectures = ["RobertaPreLayerNormForMaskedLM"]
    config.save_pretrained(folder)
    weights = {"roberta_prelayernorm." + n: p.half().contiguous() for n, p in model.named_parameters()}
    weights["lm_head.bias"] = torch.zeros(60).half()
    names = list(weights)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    index = {"metadata": {"total_size": sum(2 * w.numel() for w in weights.values())}, "weight_map": {}}
    for i, part in enumerate(parts, 1):
        file = f"model-{i:05}-of-00002.safetensors"
        save_file({n: weights[n] for n in part}, os.path.join(folder, file), {"format": "pt"})
        index["weight_map"].update({n: file for n in part})
    dump(index, "prenorm", "model.safetensors.index.json")
    batch = [[0, 17, 30, 59, 5, 2], [0, 44, 2], [0, 51, 42, 53, 9, 8, 3, 2]]
    dump(expected(model, batch, [[0] * len(t) for t in batch]), "prenorm", "expected.json")


def check(folder):
    from transformers import AutoModel

    with open(os.path.join(folder, "told.json")) as file:
        told = json.load(file)
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    model.eval()
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    assert not missing and not info["unexpected_keys"], info
    largest = 0.0
    with torch.no_grad():
        for tokens, states in zip(told["tokens"], told["states"]):
            found = model(torch.tensor([tokens])).last_hidden_state.flatten()
            largest = max(largest, (found - torch.tensor(states)).abs().max().item())
    print("states: largest difference", largest)
    if "sentences" in told:
        from sentence_transformers import SentenceTransformer

        vectors = SentenceTransformer(folder, device="cpu").encode(told["sentences"])
        apart = abs(vectors - torch.tensor(told["vectors"]).numpy()).max()
        print("vectors: largest difference", apart)
        largest = max(largest, float(apart))
    assert largest < 1e-5, largest


if sys.argv[1:2] == ["--check"]:
    check(sys.argv[2])
else:
    bert()
    prenorm()
