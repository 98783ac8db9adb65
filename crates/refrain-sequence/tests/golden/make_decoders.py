"""Tiny random GPT-2, Llama (grouped queries, scaled rotary positions, in three files; one with biases; one whose
heads are wider than their share, as Mistral-Nemo's are), Mistral (sliding window) and Qwen2 with their logits, loss,
every gradient, and weights after ten steps of AdamW.

    python make_decoders.py [NAME ...]   # writes gpt2/, llama/ and so on beside itself, or those named alone
    python make_decoders.py --check FOLDER TOKENS.json   # logits of a folder, against those in the file

Made with PyPI transformers 5.24.0, torch 2.15.0, safetensors 0.8.0.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

here = pathlib.Path(__file__).parent
TOKENS = [3, 17, 0, 21, 5, 5, 20, 8, 19, 11, 2, 12, 4]

if sys.argv[1:2] == ["--check"]:
    model = AutoModelForCausalLM.from_pretrained(sys.argv[2], dtype=torch.float32).eval()
    golden = json.load(open(sys.argv[3]))
    with torch.no_grad():
        logits = model(torch.tensor([golden["tokens"][:-1]])).logits[0].flatten()
    print("largest difference", (logits - torch.tensor(golden["logits"])).abs().max().item())
    sys.exit()

small = dict(vocab_size=23, bos_token_id=None, eos_token_id=None)
llama = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
    rms_norm_eps=1e-5,
    initializer_range=0.3,
    **small,
)
configs = {
    "gpt2": GPT2Config(
        n_embd=8,
        n_layer=2,
        n_head=2,
        n_positions=16,
        initializer_range=0.3,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        **small,
    ),
    "llama": LlamaConfig(
        tie_word_embeddings=False,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        **llama,
    ),
    "mistral": MistralConfig(
        tie_word_embeddings=True, sliding_window=4, rope_parameters={"rope_type": "default", "rope_theta": 1000.0}, **llama
    ),
    "llama_biases": LlamaConfig(tie_word_embeddings=True, attention_bias=True, mlp_bias=True, **llama),
    "llama_heads": LlamaConfig(tie_word_embeddings=False, head_dim=6, **llama),
    "qwen2": Qwen2Config(tie_word_embeddings=True, use_sliding_window=False, **llama),
}
for name, config in configs.items():
    if sys.argv[1:] and name not in sys.argv[1:]:
        continue
    torch.manual_seed(7)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).train()
    with torch.no_grad():
        for parameter, value in model.named_parameters():
            if value.ndim == 1:
                start = 0.5 if parameter.endswith("weight") else -0.5
                value.copy_(torch.rand_like(value) + start)
    folder = here / name
    model.save_pretrained(folder, max_shard_size="9KB" if name == "llama" else "1GB")
    for extra in ["generation_config.json"]:
        (folder / extra).unlink(missing_ok=True)
    tokens = torch.tensor([TOKENS])
    inputs, targets = tokens[:, :-1], tokens[:, 1:]

    def loss_of():
        logits = model(inputs).logits
        return logits, torch.nn.functional.cross_entropy(logits[0], targets[0])

    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), eps=1e-6)
    losses = []
    for step in range(10):
        optimizer.zero_grad()
        logits, loss = loss_of()
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            golden = {"tokens": TOKENS, "logits": [round(v, 7) for v in logits[0].flatten().tolist()]}
            save_file({n: p.grad.clone() for n, p in model.named_parameters()}, folder / "gradient.safetensors")
        optimizer.step()
    golden["losses"] = losses
    json.dump(golden, open(folder / "golden.json", "w"))
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, folder / "after.safetensors")
