"""Makes `gpt2_tokenizer/`: byte pairs learnt from bundled text as GPT-2's two files, and what
PyPI transformers 5.24 (on tokenizers 0.23) makes of some texts with them.

    pip install transformers==5.24.0 tokenizers==0.23.3 && python3 make_gpt2_tokenizer.py
"""

import gzip
import json
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Tokenizer

here = Path(__file__).parent
folder = here / "gpt2_tokenizer"
folder.mkdir(exist_ok=True)
novel = here / "../../../refrain-data/data/text/moby-dick.txt.gz"
text = gzip.decompress(novel.read_bytes()).decode()[:100_000]
learner = ByteLevelBPETokenizer()
learner.train_from_iterator([text], vocab_size=400, min_frequency=2, special_tokens=["<|endoftext|>"])
learner.save_model(str(folder))

TEXTS = [
    "The king said that he'd not go, and the queen wept.",
    "  two spaces\n\nand\tlines \n",
    "née café — 雨の音 🎵 don't WE'LL 3.14159",
    "one<|endoftext|>two",
    "",
    " the",
    "\x00\x7f\u00a0 control",
]


def expected(prefix):
    files = [str(folder / name) for name in ("vocab.json", "merges.txt")]
    tokenizer = GPT2Tokenizer(*files, add_prefix_space=prefix)
    return [(text, tokenizer(text)["input_ids"]) for text in TEXTS]


content = {"texts": expected(False), "prefixed": expected(True)}
(folder / "expected.json").write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
