"""Makes `gguf_tokenizers/`: two tokenizers learnt from bundled text as GGUF files without tensors, one of
SentencePiece's and one of byte pairs, and as JSON what other programs make of some texts with them:
SentencePiece itself, and llama.cpp (npm node-llama-cpp 3.22.1), the byte pairs by the rules of several families.

    pip install gguf==0.19.0 sentencepiece==0.2.3 tokenizers==0.23.3
    npm install --ignore-scripts node-llama-cpp@3.22.1
    python3 make_gguf_tokenizers.py NODE_MODULES
"""

import gzip
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import sentencepiece
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

here = Path(__file__).parent
folder = here / "gguf_tokenizers"
folder.mkdir(exist_ok=True)
novel = here / "../../../refrain-data/data/text/moby-dick.txt.gz"
text = gzip.decompress(novel.read_bytes()).decode()[:80_000]
text += "It's 1851, 12345 or 3.14; WE'LL DON'T camelCase!!\n\n  x = {'a': [1, 22, 333]};\n" * 40

FAMILIES = ["llama-bpe", "qwen2", "smollm", "gpt-2", "tekken", "gpt-4o", "default", "dbrx", "qwen35"]
TEXTS = [
    "The whale said that he'd not go, and WE'LL see.",
    "  two spaces\n\n\nand\tlines \n",
    "née café — 雨の音 🎵 don't DON'T It'S 1234567 or 3.14159!!\n\n?",
    "x = {'a': [1, 22, 333]};\r\n  camelCaseWords ÉTÉ été  ",
    "",
    " the",
    "hello<s> there</s>",
    "naïve हिन्दी пароход",
]
SCRIPT = """
const {join, resolve} = await import("node:path"), {pathToFileURL} = await import("node:url");
const [modules, modelPath, texts] = process.argv.slice(2);
const entry = pathToFileURL(join(resolve(modules), "node-llama-cpp/dist/index.js"));
const {getLlama, LlamaLogLevel} = await import(entry);
const llama = await getLlama({
    gpu: false, build: "never", usePrebuiltBinaries: true, logLevel: LlamaLogLevel.error
});
const model = await llama.loadModel({modelPath, vocabOnly: true});
const first = model.tokens.shouldPrependBosToken ? [model.tokens.bos] : [];
const tokens = JSON.parse(texts).map((text) => [...first, ...model.tokenize(text, true)]);
process.stdout.write(JSON.stringify(tokens));
process.exit(0);
"""


def by_llama_cpp(path):
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "tokens.mjs"
        script.write_text(SCRIPT)
        command = ["node", script, sys.argv[1], path, json.dumps(TEXTS)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def write(path, kind, family, tokens, types, scores=None, merges=None):
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(family)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if scores:
        writer.add_token_scores(scores)
    if merges:
        writer.add_token_merges(merges)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# SentencePiece.
file = io.BytesIO()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(text.splitlines()),
    model_writer=file,
    model_type="bpe",
    vocab_size=620,
    byte_fallback=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    split_digits=True,
    user_defined_symbols=["<user>"],
    minloglevel=2,
)
sp = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
ids = range(sp.get_piece_size())
pieces = [sp.id_to_piece(i) for i in ids]


def kind(i):
    if sp.is_unknown(i):
        return TokenType.UNKNOWN
    if sp.is_control(i):
        return TokenType.CONTROL
    if sp.is_byte(i):
        return TokenType.BYTE
    return TokenType.USER_DEFINED if pieces[i] == "<user>" else TokenType.NORMAL


path = folder / "sentence_piece.gguf"
write(path, "llama", "default", pieces, [kind(i) for i in ids], scores=[sp.get_score(i) for i in ids])
TEXTS.append("a<user>b")
expected = {
    "texts": TEXTS,
    "sentencepiece": [None if "<s>" in t else [1] + sp.encode(t) for t in TEXTS],
    "decoded": [None if "<s>" in t else sp.decode(sp.encode(t)) for t in TEXTS],
    "llama.cpp": by_llama_cpp(path),
}
(folder / "sentence_piece.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")

# Byte pairs, merged across words so that it matters how a family cuts.
learner = Tokenizer(models.BPE())
learner.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
trainer = trainers.BpeTrainer(
    vocab_size=700,
    special_tokens=["<unk>", "<s>", "</s>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    max_token_length=12,
    show_progress=False,
)
# All that can stand side by side in the texts teaches pieces across every joint.
windows = [t[i : i + 5] for t in TEXTS for i in range(len(t) - 4)]
words = [f" {word}" for word in text.split()[:4_000]]
learner.train_from_iterator(windows * 100 + words, trainer)
model = json.loads(learner.to_str())["model"]
tokens = sorted(model["vocab"], key=model["vocab"].get)
types = [TokenType.UNKNOWN] + [TokenType.CONTROL] * 2 + [TokenType.NORMAL] * (len(tokens) - 3)
merges = [" ".join(pair) for pair in model["merges"]]
expected = {"texts": TEXTS}
with tempfile.TemporaryDirectory() as scratch:
    for family in FAMILIES:
        path = folder / "byte_pairs.gguf" if family == FAMILIES[0] else Path(scratch) / "other.gguf"
        write(path, "gpt2", family, tokens, types, merges=merges)
        expected[family] = by_llama_cpp(path)
(folder / "byte_pairs.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")
