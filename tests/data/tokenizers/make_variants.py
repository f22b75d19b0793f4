#!/usr/bin/env python3
"""Writes variants.json: kinds of tokenizer.json as changes to a base, and the ids that Hugging Face's library gives.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    zcat /usr/share/doc/jargon-text/jargon.txt.gz > jargon.txt
    python3 make_variants.py jargon.txt

The bases: bpe.json (make.py), and "pieces", which stand for a BPE model with byte fallback as LLaMA-2's: <unk>, <s>, </s>,
<0x00> ... <0xFF>, then the pieces; its merges are all ways to join two pieces to a third, by the third's id, then by the ids of
the two. A variant's "patch" is a JSON merge patch (RFC 7386) of the base.
"""
import json
import sys

import sentencepiece
from tokenizers import Tokenizer

TEXTS = [
    "Hello, world! It's 1234567 + 89 = x1y22.",
    "  two  spaces\tand\r\n\n\n   lines \n x",
    "Grüße 日本、ру 😀 ½² e\u0301\u00a0nbsp\u2003em\u180e.",
    "a <mask>  <tool_call> b</tool_call>  c word words [PAD] foo bar <｜User｜>Zz<s>x</s> ▁ <0x0A> <|eot_id|>",
    " <mask>", "word", "", " ", "Z", "▁a  ▁",
]


def base_of_pieces(pieces):
    names = ["<unk>", "<s>", "</s>", *("<0x%02X>" % b for b in range(256)), *pieces]
    vocab = {name: i for i, name in enumerate(names)}
    merges = [(vocab[name], vocab[name[:k]], vocab[name[k:]]) for name in pieces for k in range(1, len(name))
              if name[:k] in vocab and name[k:] in vocab]
    special = lambda name: dict(id=vocab[name], content=name, single_word=False, lstrip=False, rstrip=False,
                                normalized=False, special=True)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [special(n) for n in names[:3]],
            "normalizer": None, "pre_tokenizer": None, "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": vocab, "merges": [[names[a], names[b]] for _, a, b in sorted(merges)]}}


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        result[key] = merge_patch(result.get(key), value)
        if value is None:
            del result[key]
    return result


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def byte_level(regex, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def steps(*parts):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(parts)}}


def digits(single):
    return {"type": "Digits", "individual_digits": single}


def metaspace(scheme, cut):
    return {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}}


def tokens(first_id, with_flags):
    """Added tokens; ids in the order of the library."""
    names = ["<mask>", "<tool_call>", "[PAD]", "</tool_call>", "word", "foo bar", "<|eot_id|>"]
    flags = [("lstrip", "special"), ("normalized",), ("special",), ("normalized", "rstrip"), ("normalized", "single_word"),
             ("lstrip", "rstrip"), ("special", "single_word")]
    made = []
    for name, on in zip(names, flags):
        token = dict(id=first_id + len(made), content=name, single_word=False, lstrip=False, rstrip=False, normalized=False,
                     special=False)
        if not with_flags:
            on = [flag for flag in on if flag in ("special", "normalized")]
        made.append(token | {flag: True for flag in on})
    return made


PREPEND = {"normalizer": {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}}


def variants(level, spaces):
    user = {"model": {"vocab": {"<｜User｜>": 704}}, "added_tokens": level["added_tokens"] + [
        dict(level["added_tokens"][0], id=704, content="<｜User｜>")]}
    deepseek = [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"), digits(True)]
    high_bytes = {"model": {"vocab": {"<0x%02X>" % b: None for b in range(128, 256)}}}
    lossy = {"model": {"merges": [], "vocab": {"Z": None, "Ã": None, "ð": None}}}
    yield "bpe.json", "smollm", steps(digits(True), byte_level(True))
    yield "bpe.json", "deepseek", {"normalizer": {"type": "Sequence", "normalizers": []}} | user | steps(
        *deepseek, byte_level(False))
    yield "bpe.json", "digits contiguous", steps(digits(False), byte_level(True))
    yield "bpe.json", "prefix space", {"pre_tokenizer": byte_level(True, prefix=True)}
    yield "bpe.json", "punctuation", steps({"type": "Punctuation", "behavior": "Isolated"}, {"type": "WhitespaceSplit"},
                                           byte_level(False))
    yield "bpe.json", "whitespace", steps({"type": "Whitespace"}, byte_level(False))
    yield "bpe.json", "falcon", steps({"type": "Punctuation", "behavior": "Contiguous"}, byte_level(True), digits(False),
                                      split("[0-9][0-9][0-9]"))
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield "bpe.json", behavior, steps(split(r"\s", behavior), byte_level(False))
    yield "bpe.json", "inverted", steps(split(r"\p{L}+|\p{N}", "Removed", True), byte_level(False))
    yield "bpe.json", "split at text", steps(split(" ", "MergedWithNext", kind="String"), byte_level(False))
    yield "bpe.json", "bytes without tokens", lossy
    yield "bpe.json", "bytes without tokens, unknown", merge_patch(lossy, {"model": {"unk_token": "!", "fuse_unk": True}})
    yield "bpe.json", "added tokens", {"added_tokens": level["added_tokens"] + tokens(704, True)}
    yield "pieces", "llama2", PREPEND
    yield "pieces", "spaces replaced", {"normalizer": {"type": "Replace", "pattern": {"Regex": " "}, "content": "▁"}}
    for scheme in ("first", "always", "never"):
        for cut in (False, True):
            yield "pieces", f"metaspace {scheme}{' split' if cut else ''}", metaspace(scheme, cut)
    yield "pieces", "bytes without fallback", PREPEND | high_bytes
    count = len(spaces["model"]["vocab"])
    yield "pieces", "llama2 added tokens", PREPEND | {"added_tokens": spaces["added_tokens"] + tokens(count, False)}
    yield "pieces", "llama2 tokens that strip", PREPEND | {"added_tokens": spaces["added_tokens"] + tokens(count, True)}
    yield "pieces", "metaspace tokens that strip", metaspace("first", False) | {
        "added_tokens": spaces["added_tokens"] + tokens(count, True)}


def main():
    text = open(sys.argv[1], encoding="utf-8", errors="replace").read()[100_000:250_000]
    open("sample.txt", "w", encoding="utf-8").write(text)
    sentencepiece.SentencePieceTrainer.train(
        input="sample.txt", model_prefix="pieces", model_type="bpe", vocab_size=380, minloglevel=2, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, character_coverage=0.99,
        allow_whitespace_only_pieces=True)
    processor = sentencepiece.SentencePieceProcessor(model_file="pieces.model")
    pieces = [processor.id_to_piece(i) for i in range(259, processor.get_piece_size())]
    bases = {"bpe.json": json.load(open("bpe.json")), "pieces": base_of_pieces(pieces)}
    made = []
    for base, name, patch in variants(*bases.values()):
        tokenizer = Tokenizer.from_str(json.dumps(merge_patch(bases[base], patch)))
        made.append({"name": name, "base": base, "patch": patch,
                     "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]})
    with open("variants.json", "w", encoding="utf-8") as file:
        dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        file.write('{"pieces":%s,\n"texts":%s,\n"variants":[\n%s]}\n' % (
            dump(pieces), dump(TEXTS), ",\n".join(dump(variant) for variant in made)))


main()
