#!/usr/bin/env python3
"""Writes the small tokenizers of these tests and the ids that their own libraries give.

    pip install tokenizers==0.23.3 sentencepiece==0.2.3
    zcat /usr/share/doc/jargon-text/jargon.txt.gz > jargon.txt
    python3 make.py jargon.txt

bpe.json: byte-level BPE with LLaMA-3's pattern, merges as pairs, ignore_merges. bpe_gpt2.json: GPT-2's pattern, merges as
strings. bpe.model, unigram.model: SentencePiece; the first with byte fallback and options as LLaMA-2's.
expected.json: file -> [{"text", "ids"}], by the tokenizers and sentencepiece packages.
"""
import json
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
# No runs that a unigram model can cut into the same pieces in two orders: versions of sentencepiece differ there.
TEXTS = [
    "", "a", " ", "Hello, world!", "  two  spaces ", "It's we'LL they'Ve I'D", "1234567 + 89 = x1y22",
    "tab\tand\r\nnewlines\n\n\n   indented\n", "def f(x):\n    return x ** 2  # square\n",
    "Grüße, naïve café, Ελληνικά, русский текст", "日本語のテキスト、漢字とかな", "emoji 😀👩‍👩‍👧 and math ∑∫√ ½ ²",
    "e\u0301 combining, \u00a0nbsp, \u2003em space, \u3000ideographic", "zero\u200bwidth\u0000null",
    "<|begin_of_text|>special<|end_of_text|> and <|not_a_token|> <|end_of", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "................ ========", "hacker's dictionary: the jargon file, kluge, foo, bar, baz, quux",
    "MiXeD CaSe ANTIDISESTABLISHMENTARIANISM", "\n", "   \n  x", "x   ", "<s> </s> <unk> ▁ <0x0A>", "quux",
]


def train_bpe(text, pattern, special):
    tokenizer = Tokenizer(models.BPE(ignore_merges=pattern is not None))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    tokenizer.pre_tokenizer = byte_level if pattern is None else pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    definition = json.loads(tokenizer.to_str())
    definition["model"]["vocab"]["quux"] = 700  # no sequence of merges reaches it: only ignore_merges finds it
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.add_special_tokens([AddedToken(s, normalized=False) for s in special])
    return tokenizer


def train_sentencepiece(path, kind):
    options = dict(input="sample.txt", model_prefix=kind, model_type=kind, vocab_size=500, minloglevel=2,
                   normalization_rule_name="identity")
    if kind == "bpe":
        options |= dict(byte_fallback=True, remove_extra_whitespaces=False, split_digits=True,
                        character_coverage=0.9999)
    sentencepiece.SentencePieceTrainer.train(**options)
    return sentencepiece.SentencePieceProcessor(model_file=f"{kind}.model")


def main():
    text = open(sys.argv[1], encoding="utf-8", errors="replace").read()[100_000:250_000]
    open("sample.txt", "w", encoding="utf-8").write(text)
    expected = {}
    for name, pattern, special in [("bpe.json", LLAMA3, ["<|begin_of_text|>", "<|end_of_text|>", "<|end_of_text|>>"]),
                                   ("bpe_gpt2.json", None, ["<|endoftext|>"])]:
        tokenizer = train_bpe(text, pattern, special)
        definition = json.loads(tokenizer.to_str())
        if pattern is None:
            definition["model"]["merges"] = [" ".join(m) for m in definition["model"]["merges"]]
        json.dump(definition, open(name, "w"), ensure_ascii=False, indent=0)
        tokenizer = Tokenizer.from_file(name)
        expected[name] = [{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False).ids} for t in TEXTS]
    for kind in ("bpe", "unigram"):
        processor = train_sentencepiece("sample.txt", kind)
        expected[f"{kind}.model"] = [{"text": t, "ids": processor.encode(t)} for t in TEXTS]
    json.dump(expected, open("expected.json", "w"), indent=0)


main()
