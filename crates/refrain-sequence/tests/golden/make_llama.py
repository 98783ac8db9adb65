"""Makes `llama.gguf` and `qwen2.gguf`, a tiny random Llama and Qwen2 (biases of queries, keys and values), and
`llama.json` and `qwen2.gguf.json`: the logits of PyPI transformers for them.

    pip install torch transformers==5.24.0 gguf==0.19.0 numpy && python3 make_llama.py [llama | qwen2]
"""

import json
import sys

import numpy as np
import torch
from gguf import GGUFWriter
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

kind = sys.argv[1] if len(sys.argv) > 1 else "llama"
make_config, make_model = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[kind]
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
    open({"llama": "llama.json", "qwen2": "qwen2.gguf.json"}[kind], "w"),
)


def permuted(weight, heads):
    """Rotary pairs side by side, as llama.cpp has them, and not a half apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


writer = GGUFWriter(f"{kind}.gguf", kind)
writer.add_block_count(config.num_hidden_layers)
writer.add_context_length(config.max_position_embeddings)
writer.add_embedding_length(config.hidden_size)
writer.add_feed_forward_length(config.intermediate_size)
writer.add_head_count(config.num_attention_heads)
writer.add_head_count_kv(config.num_key_value_heads)
writer.add_layer_norm_rms_eps(config.rms_norm_eps)
writer.add_rope_freq_base(1000.0)
if kind == "llama":
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
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
        if part == "attn_q" and kind == "llama":
            value = permuted(value, config.num_attention_heads)
        if part == "attn_k" and kind == "llama":
            value = permuted(value, config.num_key_value_heads)
        writer.add_tensor(f"blk.{layer}.{part}.{sort}", np.ascontiguousarray(value))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
