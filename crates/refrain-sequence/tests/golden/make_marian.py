"""Writes the folders `marian` and `pegasus` beside this file: two tiny random encoder-decoders as Hugging
Face folders, and in `expected.json` what `transformers` computes with them.

    pip install torch transformers safetensors
    python tests/golden/make_marian.py          (made with Python 3.11, torch 2.15.0, transformers 5.24.0)

`marian` has norms after the parts, Swish, and a bias of the logits; 32-bit floats. `pegasus` has norms
before the parts and ReLU; 16-bit floats.

All is computed in 64 bits without dropout, each pair alone, and the row of the padding token, with which
targets begin, learns like the others. The loss is the sum over all targets; of each
parameter's gradient the norm and the sum of value i times sin(0.7 i) are kept, and the same of each
parameter after ten steps of AdamW (learning rate 1e-3, weight decay 0.01 of everything) on the mean loss
with label smoothing 0.1.
"""

import json
import os

import torch
from transformers import MarianConfig, MarianMTModel, PegasusConfig, PegasusForConditionalGeneration

HERE = os.path.dirname(os.path.abspath(__file__))
SIZES = dict(
    vocab_size=40, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
    decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=32,
    scale_embedding=True, attn_implementation="eager",
)
PAIRS = [
    ([5, 17, 30, 8, 3], [9, 21, 38, 3]),
    ([12, 3], [31, 7, 7, 25, 14, 3]),
    ([33, 6, 19, 2, 11, 28, 3], [4, 3]),
]


def shaken(model):
    """Weights far from their first values, so that every parameter matters."""
    at = 0
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not p.requires_grad:
                continue
            noise = torch.sin(0.7 * torch.arange(at, at + p.numel(), dtype=torch.float64) ** 1.01)
            p += (0.15 * noise).reshape(p.shape).to(p.dtype)
            at += p.numel()
    return model.eval()


def numbers(x, digits=8):
    return [float(f"{v:.{digits}g}") for v in x.flatten().tolist()]


def ran(model, source, target):
    start = model.config.decoder_start_token_id
    return model(
        input_ids=torch.tensor([source]),
        decoder_input_ids=torch.tensor([[start] + target[:-1]]),
        output_attentions=True,
    )


def loss_of(model, smoothing=0.0):
    return sum(
        torch.nn.functional.cross_entropy(
            ran(model, source, target).logits[0], torch.tensor(target), reduction="sum",
            label_smoothing=smoothing,
        )
        for source, target in PAIRS
    )


def sums(tensors):
    result = {}
    for name, x in tensors:
        x = x.detach().flatten()
        dot = (x * torch.sin(0.7 * torch.arange(len(x), dtype=torch.float64))).sum()
        result[name] = [float(f"{x.norm().item():.10g}"), float(f"{dot.item():.10g}")]
    return result


def expected(model):
    model = model.double()
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None
    pairs = []
    for source, target in PAIRS:
        out = ran(model, source, target)
        greedy = model.generate(
            torch.tensor([source]), num_beams=1, do_sample=False, max_new_tokens=12,
            forced_eos_token_id=None, bad_words_ids=None, suppress_tokens=None,
        )
        pairs.append({
            "source": source,
            "target": target,
            "states": numbers(out.encoder_last_hidden_state),
            "logits": numbers(out.logits),
            "encoder": [numbers(a) for a in out.encoder_attentions],
            "decoder": [numbers(a) for a in out.decoder_attentions],
            "across": [numbers(a) for a in out.cross_attentions],
            "greedy": greedy[0, 1:].tolist(),
        })
    loss = loss_of(model)
    model.zero_grad()
    loss.backward()
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    gradients = sums((n, p.grad) for n, p in named)
    targets = sum(len(target) for _, target in PAIRS)
    adam = torch.optim.AdamW([p for _, p in named], lr=1e-3, weight_decay=0.01)
    steps = []
    for _ in range(10):
        adam.zero_grad()
        mean = loss_of(model, 0.1) / targets
        mean.backward()
        adam.step()
        steps.append(mean.item())
    return {
        "pairs": pairs, "loss": loss.item(), "gradients": gradients, "steps": steps,
        "trained": sums(named),
    }


def write(name, model, half):
    folder = os.path.join(HERE, name)
    (model.half() if half else model).save_pretrained(folder)
    os.remove(os.path.join(folder, "generation_config.json"))
    model = model.float()
    for side in (model.model.encoder, model.model.decoder):
        # Sinusoids are not saved, and were not to be rounded.
        side.embed_positions.weight.data = side.embed_positions.create_weight()
    with open(os.path.join(folder, "expected.json"), "w") as file:
        json.dump(expected(model), file, separators=(",", ":"))
        file.write("\n")


torch.manual_seed(1)
marian = shaken(MarianMTModel(MarianConfig(
    pad_token_id=39, decoder_start_token_id=39, eos_token_id=3, forced_eos_token_id=None,
    activation_function="swish", **SIZES,
)))
marian.final_logits_bias += 0.3 * torch.sin(torch.arange(40.0))
write("marian", marian, False)
write("pegasus", shaken(PegasusForConditionalGeneration(PegasusConfig(
    pad_token_id=0, decoder_start_token_id=0, eos_token_id=3, forced_eos_token_id=None,
    activation_function="relu", **SIZES,
))), True)
