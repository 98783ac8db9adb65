"""Makes `llama.gguf`, `llama3.gguf` and `qwen2.gguf`, a tiny random Llama, one with the rotary positions of Llama 3.1,
and a Qwen2 (biases of queries, keys and values), and `llama.json`, `llama3.gguf.json` and `qwen2.gguf.json`: the logits
of PyPI transformers for them.

    pip install torch transformers==5.24.0 gguf==0.19.0 numpy && python3 make_llama.py [llama | llama3 | qwen2]
"""

import json
import sys

import numpy as np
import torch
from gguf import GGUFWriter
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

kind = sys.argv[1] if len(sys.argv) > 1 else "llama"
qwen = kind == "qwen2"
make_config, make_model = (Qwen2Config, Qwen2ForCausalLM) if qwen else (LlamaConfig, LlamaForCausalLM)
scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
scaling["original_max_position_embeddings"] = 64
torch.manual_seed(7)
config = make_config(
    vocab_size=40,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    rms_norm_eps=1e-5,
    rope_theta=1000.0,
    tie_word_embeddings=True,
    initializer_range=0.4,
    **({"rope_scaling": scaling | {"rope_theta": 1000.0}} if kind == "llama3" else {}),
)
model = make_model(config).eval()
with torch.no_grad():
    for name, value in model.named_parameters():
        if "norm" in name:
            value.copy_(torch.rand_like(value) + 0.5)
        elif name.endswith("bias"):
            value.copy_(torch.randn_like(value))
    tokens = [3, 17, 0, 39, 5, 5, 21, 8, 30, 11, 2, 19]
    logits = model(torch.tensor([tokens])).logits[0]
json.dump(
    {"tokens": tokens, "logits": [[round(v, 6) for v in row] for row in logits.tolist()]},
    open("llama.json" if kind == "llama" else f"{kind}.gguf.json", "w"),
)


def permuted(weight, heads):
    """Rotary pairs side by side, as llama.cpp has them, and not a half apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


writer = GGUFWriter(f"{kind}.gguf", "qwen2" if qwen else "llama")
writer.add_block_count(config.num_hidden_layers)
writer.add_context_length(config.max_position_embeddings)
writer.add_embedding_length(config.hidden_size)
writer.add_feed_forward_length(config.intermediate_size)
writer.add_head_count(config.num_attention_heads)
writer.add_head_count_kv(config.num_key_value_heads)
writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_freq_base(1000.0)
if not qwen:
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
if kind == "llama3":
    # What llama.cpp's conversion writes: by how much each frequency is divided.
    factors = []
    for pair in range(4):
        turns = 64 / (2 * np.pi) * 1000.0 ** (-2 * pair / 8)  # of the context
        smooth = min(max((turns - 1.0) / (4.0 - 1.0), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / 8.0 + smooth))
    writer.add_tensor("rope_freqs.weight", np.array(factors, dtype=np.float32))
names = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
for name, value in model.state_dict().items():
    value = value.numpy().astype(np.float32)
    if name == "lm_head.weight":
        continue
    if name == "model.embed_tokens.weight":
        writer.add_tensor("token_embd.weight", value)
    elif name == "model.norm.weight":
        writer.add_tensor("output_norm.weight", value)
    else:
        _, _, layer, rest = name.split(".", 3)
        rest, sort = rest.rsplit(".", 1)
        part = names[rest]
        # llama.cpp turns neighbours of Llama, and halves of Qwen2 as transformers does.
        if part == "attn_q" and not qwen:
            value = permuted(value, config.num_attention_heads)
        if part == "attn_k" and not qwen:
            value = permuted(value, config.num_key_value_heads)
        writer.add_tensor(f"blk.{layer}.{part}.{sort}", np.ascontiguousarray(value))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
