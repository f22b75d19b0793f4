#!/usr/bin/env python3
"""Compares prepare_data's ids with those of Hugging Face's tokenizers and Google's sentencepiece, byte for byte.

Trains small tokenizers of every kind that the LLaMA family uses, and of its relatives, makes random strings for each
(words, numbers, code, white space, all scripts, special tokens and parts of them) and one long document, which
prepare_data encodes in parts.

  python3 -m venv build/hf-venv && build/hf-venv/bin/pip install tokenizers==0.23.3 sentencepiece==0.2.3 numpy   # once
  build/hf-venv/bin/python bench/peers/check_tokenizers.py [--bin build/bin] [--strings 2000] [--long 1500000] [KIND...]

exit 0, or 1 with the first differences of each kind.
"""
import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

import numpy
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
DEEPSEEK = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]
WORDS = ("the quick brown fox jumps over lazy dog and cat runs home with green tea while rain falls on old town walls "
         "where people walk every day to work or play music naïve café Größe быстрая лиса 日本語 漢字 한국어 العربية "
         "isn't we'll they've I'M def return print(x) ** == != https://example.org/a?b=c 1234 3.14 2026-11-28").split()
SPECIAL = ["<s>", "</s>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<tool_call>", "</tool_call>", "<mask>",
           "[PAD]", "<｜begin▁of▁sentence｜>", "<｜User｜>", "▁", "<0x0A>", "word", "foo bar", "<unk>"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", "\u00a0", "\u2003", "\u3000", "\u0085", "\u180e", "\u200b"]
RANGES = [(0x20, 0x7f)] * 4 + [(0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xe00),
                               (0x1100, 0x1200), (0x2000, 0x2c00), (0x3000, 0x3400), (0x4e00, 0x9fff), (0xac00, 0xd7a4),
                               (0xe000, 0xe010), (0xfb00, 0x10000), (0x10000, 0x10400), (0x1d400, 0x1d800),
                               (0x1f300, 0x1f700), (0x20000, 0x20100), (0, 0x20)]


def sentence(r):
    return " ".join(r.choice(WORDS) for _ in range(r.randint(3, 12))).capitalize() + r.choice([".", "!", "?", ":", ""])


def some_string(r):
    parts = []
    for _ in range(r.randint(1, 12)):
        kind = r.random()
        if kind < 0.35:
            parts.append(r.choice(WORDS))
        elif kind < 0.5:
            parts.append(r.choice(SPACES) * r.choice([1, 1, 1, 2, 5]))
        elif kind < 0.6:
            text = r.choice(SPECIAL)
            parts.append(text if r.random() < 0.7 else text[r.randint(0, len(text) - 1):r.randint(1, len(text))])
        elif kind < 0.7:
            parts.append(str(r.randint(0, 10 ** r.randint(1, 9))))
        elif kind < 0.8:
            parts.append(r.choice("aé€日😀.=-▁ ") * r.randint(1, 20))
        else:
            low, high = r.choice(RANGES)
            characters = [chr(r.randint(low, high - 1)) for _ in range(r.randint(1, 6))]
            parts.append("".join(c for c in characters if unicodedata.category(c) not in ("Cs", "Cn")))
        if r.random() < 0.5:
            parts.append(" ")
    return "".join(parts)


def added(name, normalized=False, special=False, **options):
    return AddedToken(name, normalized=normalized, special=special, **options)


def byte_level(lines, pre, specials=("<|begin_of_text|>", "<|end_of_text|>"), alphabet=True, vocab=600):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre) if isinstance(pre, list) else pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=vocab, show_progress=False, special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else []))
    return tokenizer


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def bytes_only():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def changed(tokenizer, change):
    definition = json.loads(tokenizer.to_str())
    change(definition)
    return Tokenizer.from_str(json.dumps(definition))


def with_tokens(tokenizer, *tokens):
    for token in tokens:
        (tokenizer.add_special_tokens if token.special else tokenizer.add_tokens)([token])
    return tokenizer


def llama2(sp, form="prepend", drop=(), fuse=True):
    pieces = {sp.id_to_piece(i): i for i in range(sp.get_piece_size())}
    for piece in drop:
        pieces.pop(piece)
    pieces = {piece: i for i, piece in enumerate(pieces)}
    merges = sorted((rank, piece[:k], piece[k:]) for piece, rank in pieces.items()
                    for k in range(1, len(piece)) if piece[:k] in pieces and piece[k:] in pieces)
    tokenizer = Tokenizer(models.BPE(pieces, [(a, b) for _, a, b in merges], unk_token="<unk>", fuse_unk=fuse,
                                     byte_fallback=True))
    strip = [decoders.Strip(" ", 1, 0)]
    if form == "prepend":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif form == "replace":
        tokenizer.normalizer, strip = normalizers.Replace(" ", "▁"), []
    else:
        scheme, cut = form.split("-")
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=cut == "split")
        strip = strip if scheme != "never" else []
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + strip)
    tokenizer.add_special_tokens([added(s, special=True) for s in ("<unk>", "<s>", "</s>")])
    return tokenizer


FLAGS = [added("<mask>", lstrip=True, special=True), added("<tool_call>", normalized=True), added("[PAD]", special=True),
         added("</tool_call>", normalized=True, rstrip=True), added("word", normalized=True, single_word=True),
         added("foo bar", lstrip=True, rstrip=True), added("<|eot_id|>", special=True, single_word=True)]
PLAIN = [added("<tool_call>", normalized=True), added("[PAD]", special=True), added("word", normalized=True)]


def kinds(lines, sp):
    """Name -> a function that makes the tokenizer."""
    level = lambda **options: byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=False), **options)
    patterns = lambda *steps, **options: byte_level(lines, [*steps, bytes_only()], **options)
    llama3 = lambda: patterns(split(LLAMA3))
    digits = lambda single: pre_tokenizers.Digits(individual_digits=single)

    def ignore_merges(d):
        d["model"]["ignore_merges"] = True
        d["model"]["vocab"]["quickly"] = max(d["model"]["vocab"].values()) + 1

    def empty_normalizer(d):
        d["normalizer"] = {"type": "Sequence", "normalizers": []}

    deepseek = lambda: changed(patterns(*map(split, DEEPSEEK), digits(True),
                                        specials=["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>"]), empty_normalizer)
    without_bytes = ["<0x%02X>" % b for b in range(128, 256)]
    return {
        "llama3": llama3,
        "llama3 ignore_merges": lambda: changed(llama3(), ignore_merges),
        "llama3 added tokens": lambda: with_tokens(llama3(), *FLAGS),
        "llama3 empty normalizer": lambda: changed(llama3(), empty_normalizer),
        "gpt2": level,
        "gpt2 prefix space": lambda: byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "gpt2 without some bytes": lambda: level(alphabet=False, vocab=300),
        "smollm": lambda: byte_level(lines, [digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        "deepseek": deepseek,
        "digits contiguous": lambda: byte_level(lines, [digits(False), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        "punctuation": lambda: patterns(pre_tokenizers.Punctuation(), pre_tokenizers.WhitespaceSplit()),
        "whitespace": lambda: patterns(pre_tokenizers.Whitespace()),
        "falcon": lambda: byte_level(lines, [pre_tokenizers.Punctuation("contiguous"),
                                             pre_tokenizers.ByteLevel(add_prefix_space=False), digits(False),
                                             split("[0-9][0-9][0-9]")]),
        "split removed": lambda: patterns(split(r"\s+", "removed")),
        "split merged with previous": lambda: patterns(split(r"\s", "merged_with_previous")),
        "split merged with next": lambda: patterns(split(r"\s", "merged_with_next")),
        "split contiguous": lambda: patterns(split(r"\s", "contiguous")),
        "split inverted": lambda: patterns(split(r"\p{L}+|\p{N}", "removed", True)),
        "split text": lambda: patterns(pre_tokenizers.Split(" ", "merged_with_next")),
        "llama2": lambda: llama2(sp),
        "llama2 added tokens": lambda: with_tokens(llama2(sp), *PLAIN),
        "llama2 added tokens that strip": lambda: with_tokens(llama2(sp), *FLAGS),
        "llama2 replace only": lambda: llama2(sp, "replace"),
        "llama2 without some bytes": lambda: llama2(sp, drop=without_bytes),
        "llama2 without some bytes, unfused": lambda: llama2(sp, drop=without_bytes, fuse=False),
        "metaspace first": lambda: llama2(sp, "first-whole"),
        "metaspace always": lambda: llama2(sp, "always-whole"),
        "metaspace never": lambda: llama2(sp, "never-whole"),
        "metaspace first split": lambda: llama2(sp, "first-split"),
        "metaspace always split": lambda: llama2(sp, "always-split"),
        "metaspace added tokens": lambda: with_tokens(llama2(sp, "first-whole"), *FLAGS),
    }


def train_sentencepiece(lines, folder, **options):
    (folder / "text").write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "sp"), vocab_size=options.pop("vocab", 500), minloglevel=2,
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, character_coverage=0.98, **options)
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))


LLAMA2_OPTIONS = dict(model_type="bpe", normalization_rule_name="identity", remove_extra_whitespaces=False,
                      split_digits=True, allow_whitespace_only_pieces=True)


def prepared(binary, folder, tokenizer, texts):
    """The ids of each text that prepare_data keeps, without the end of document."""
    with open(folder / "texts.jsonl", "w") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
    subprocess.run([binary / "prepare_data", folder / "texts.jsonl", "--tokenizer", tokenizer, "--valid-fraction", "0",
                    "--out", folder / "p"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    index = (folder / "p-train.idx").read_bytes()
    code, count = struct.unpack_from("<BQ", index, 17)
    ids = numpy.fromfile(folder / "p-train.bin", {8: numpy.uint16, 4: numpy.int32}[code])
    documents, at = [], 0
    for size in numpy.frombuffer(index, numpy.int32, count, 34):
        documents.append(ids[at:at + size - 1].tolist())
        at += size
    return documents


def compare(name, binary, folder, tokenizer, encode, strings, long):
    texts = [long, *strings]
    want = [(text, ids) for text in texts if text and (ids := encode(text))]
    got = prepared(binary, folder, tokenizer, texts)
    if len(got) != len(want):
        print(f"FAULT {name}: {len(got)} documents, want {len(want)}")
        return False
    wrong = [(text, ids, other) for (text, ids), other in zip(want, got) if ids != other]
    print(f"{'FAULT' if wrong else 'ok   '} {name}: {len(want) - len(wrong)} of {len(want)} equal, {sum(len(i) for _, i in want)} ids")
    for text, ids, other in wrong[:3]:
        at = next((i for i, (a, b) in enumerate(zip(ids, other)) if a != b), min(len(ids), len(other)))
        print(f"   {text[:80]!r}: from id {at} want {ids[at:at + 8]} got {other[at:at + 8]}")
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--strings", type=int, default=2000)
    parser.add_argument("--long", type=int, default=1_500_000, help="characters of the long document")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("kinds", nargs="*")
    arguments = parser.parse_args()
    r = random.Random(arguments.seed)
    lines = [sentence(r) for _ in range(1500)]
    right = True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        sp = train_sentencepiece(lines, folder, **LLAMA2_OPTIONS)
        end = dict(eos_token_id=1)  # any token of the vocabulary
        (folder / "config.json").write_text(json.dumps(end))
        for kind, make in kinds(lines, sp).items():
            if arguments.kinds and kind not in arguments.kinds:
                continue
            tokenizer = make()
            tokenizer.save(str(folder / "tokenizer.json"))
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            strings = [some_string(r) for _ in range(arguments.strings)]
            long = ""
            while len(long) < arguments.long:
                long += some_string(r) + r.choice([" ", "\n", "\n\n", ""])
            encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
            right &= compare(kind, arguments.bin, folder, folder / "tokenizer.json", encode, strings, long)
        for kind, options in {"sentencepiece bpe": LLAMA2_OPTIONS,
                              "sentencepiece unigram": dict(model_type="unigram", vocab=400)}.items():
            if arguments.kinds and kind not in arguments.kinds:
                continue
            sp = train_sentencepiece(lines, folder, **options)
            strings = [some_string(r).replace("\0", "") for _ in range(arguments.strings)]
            long = "".join(some_string(r) for _ in range(arguments.long // 40))
            right &= compare(kind, arguments.bin, folder, folder / "sp.model", sp.encode, strings, long)
    sys.exit(not right)


main()
