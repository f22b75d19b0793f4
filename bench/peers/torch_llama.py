"""The training step of Trine's LLaMA in PyTorch, at PyTorch's best setting on a CPU: bench/step's peer.

  torch_llama.py --model bench-s --dtype bf16 --mode compile --json    times steps, prints one JSON line
  torch_llama.py ... --serve     warms up, prints "ready"; each line "go" on stdin runs one step and prints its
                                 seconds; at the end of stdin prints the JSON line
  torch_llama.py --check DIR     compares loss, gradients and training curve with what DIR says (config.json and
                                 *.safetensors as Hugging Face and the reference fixtures write them)
  torch_llama.py --text FILE     trains `tiny` on the bytes of FILE and prints the loss of each step

One step = forward, mean cross-entropy, backward, global norm, clipping to 1, AdamW. The best setting:
scaled_dot_product_attention, nn.RMSNorm, AdamW(fused=True) which also divides by the clipping factor, logits
widened to f32 for the loss as every trainer does, and a malloc that keeps its memory between steps, in huge pages
(a tenth less CPU time than with glibc's defaults).
  f32               f32 everywhere
  bf16, eager       bf16 weights, activations and gradients; f32 masters and moments
  bf16, autocast    f32 weights, torch.autocast casts them inside the step
and each with torch.compile over forward and loss (and so backward).
"""
import argparse
import dataclasses
import glob
import json
import math
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


@dataclasses.dataclass
class Config:
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    seq: int
    batch: int
    lr: float = 3e-4
    head_dim: int = 0  # 0: hidden / heads
    norm_eps: float = 1e-5
    theta: float = 1e4

    def __post_init__(self):
        self.head_dim = self.head_dim or self.hidden // self.heads


PRESETS = {
    "tiny": Config(8, 128, 4, 2, 344, 259, seq=128, batch=32, lr=2e-3),
    "bench-s": Config(8, 256, 8, 4, 688, 4096, seq=256, batch=8),
    "bench-m": Config(12, 768, 12, 4, 2048, 32000, seq=256, batch=4),
}
MODES = ("eager", "compile", "autocast", "autocast-compile")
CLIP = 1.0
MALLOC = ":".join("glibc.malloc." + t for t in
                  ("hugetlb=1", "mmap_max=0", "trim_threshold=100000000000", "top_pad=67108864"))


# ---- the model; names of modules are Hugging Face's, so that its weights load as they are ------------------------
# B batch, T tokens, D hidden, H heads, K kv heads, E head size


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = nn.Linear(c.hidden, c.heads * c.head_dim, bias=False)
        self.k_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.v_proj = nn.Linear(c.hidden, c.kv_heads * c.head_dim, bias=False)
        self.o_proj = nn.Linear(c.heads * c.head_dim, c.hidden, bias=False)

    def forward(self, x, cos, sin):
        b, t, _ = x.shape
        q = rotate(self.q_proj(x).view(b, t, self.c.heads, -1), cos, sin).transpose(1, 2)  # [B, H, T, E]
        k = rotate(self.k_proj(x).view(b, t, self.c.kv_heads, -1), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.c.kv_heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.c.heads != self.c.kv_heads)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


def rotate(x, cos, sin):
    """RoPE over halves: (a, b) -> (a cos - b sin, b cos + a sin). x [B, T, heads, E], cos and sin [T, 1, E]; the
    first half of sin is negated, so that three passes over x are enough."""
    a, b = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat((b, a), -1), sin)


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden, c.ffn, bias=False)
        self.up_proj = nn.Linear(c.hidden, c.ffn, bias=False)
        self.down_proj = nn.Linear(c.ffn, c.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = nn.RMSNorm(c.hidden, eps=c.norm_eps)


class Llama(nn.Module):
    def __init__(self, c, compute_dtype):
        super().__init__()
        self.model = Decoder(c)
        self.lm_head = nn.Linear(c.hidden, c.vocab, bias=False)
        angle = torch.arange(c.seq).outer(c.theta ** (-torch.arange(0, c.head_dim, 2) / c.head_dim))  # [T, E/2]
        self.cos = torch.cat((angle.cos(), angle.cos()), -1)[:, None].to(compute_dtype)
        self.sin = torch.cat((-angle.sin(), angle.sin()), -1)[:, None].to(compute_dtype)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * c.layers) if into_residual else 0.02)

    def forward(self, ids):
        t = ids.shape[1]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return self.lm_head(self.model.norm(x))


# ---- the step ----------------------------------------------------------------------------------------------------


class MasterAdamW:
    """Fused AdamW in f32. Where the model is narrower than f32, over f32 copies of its weights and gradients."""

    def __init__(self, model, decay=0.1):
        self.params = list(model.parameters())
        self.narrow = self.params[0].dtype != torch.float32
        self.masters = [p.detach().float() for p in self.params] if self.narrow else self.params
        if self.narrow:
            for m in self.masters:
                m.grad = torch.empty_like(m)
        groups = [dict(params=[m for m in self.masters if m.dim() > 1], weight_decay=decay),
                  dict(params=[m for m in self.masters if m.dim() == 1], weight_decay=0.0)]
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8, fused=True)

    @torch.no_grad()
    def step(self, lr):
        """Returns the global norm of the gradients before clipping."""
        if self.narrow:
            torch._foreach_copy_([m.grad for m in self.masters], [p.grad for p in self.params])
        norm = nn.utils.get_total_norm([m.grad for m in self.masters])
        for group in self.adam.param_groups:
            group["lr"] = lr
        self.adam.grad_scale = norm / CLIP if norm > CLIP else None  # the fused kernel divides by it
        self.adam.step()
        if self.narrow:
            torch._foreach_copy_(self.params, self.masters)
        for p in self.params:
            p.grad = None
        return norm.item()


class Trainer:
    def __init__(self, config, dtype, mode, weights=None):
        autocast = mode.startswith("autocast")
        if autocast and dtype != "bf16":
            sys.exit(f"[torch_llama] --mode {mode} --dtype {dtype}. Autocast computes in bf16: use --dtype bf16.")
        narrow = torch.bfloat16 if dtype == "bf16" else torch.float32
        torch.manual_seed(1234)
        self.model = Llama(config, compute_dtype=narrow)
        if weights:
            self.model.load_state_dict(weights)
        if not autocast:
            self.model.to(narrow)
        self.optimizer = MasterAdamW(self.model)

        def loss_of(ids, labels):
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = self.model(ids)
            return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

        self.loss_of = torch.compile(loss_of) if mode.endswith("compile") else loss_of

    def step(self, ids, labels, lr):
        """Returns the loss before the update and the norm of the gradients."""
        loss = self.loss_of(ids, labels)
        loss.backward()
        return loss.item(), self.optimizer.step(lr)


# ---- what the program does with it -------------------------------------------------------------------------------


def vm_hwm_bytes():
    """Peak resident memory of this process."""
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


class Timer:
    """Runs and times steps on random tokens."""

    def __init__(self, config, args):
        self.config, self.args = config, args
        self.trainer = Trainer(config, args.dtype, args.mode)
        shape = (8, config.batch, config.seq + 1)
        self.tokens = torch.randint(config.vocab, shape, generator=torch.Generator().manual_seed(args.seed))
        self.seconds, self.count, self.loss = [], 0, math.nan

    def run(self):
        batch = self.tokens[self.count % len(self.tokens)]
        self.count += 1
        begin = time.perf_counter()
        self.loss, _ = self.trainer.step(batch[:, :-1], batch[:, 1:], self.config.lr)
        return time.perf_counter() - begin

    def warm_up(self):
        for _ in range(self.args.warmup):
            self.run()

    def timed(self):
        self.seconds.append(self.run())
        return self.seconds[-1]

    def result(self):
        tokens = self.config.batch * self.config.seq
        return dict(program="pytorch", version=torch.__version__, model=self.args.model,
                    dtype=self.args.dtype, mode=self.args.mode, threads=torch.get_num_threads(),
                    steps=len(self.seconds),
                    tokens_per_s=round(tokens / statistics.median(self.seconds), 1) if self.seconds else None,
                    tokens_per_s_best=round(tokens / min(self.seconds), 1) if self.seconds else None,
                    memory_peak_bytes=vm_hwm_bytes(), loss=round(self.loss, 4))


def bench(config, args):
    timer = Timer(config, args)
    timer.warm_up()
    for _ in range(args.steps):
        timer.timed()
    r = timer.result()
    if args.json:
        print(json.dumps(r))
    else:
        print(f"{args.model} {args.dtype} {args.mode}: {r['tokens_per_s']:,} tokens/s "
              f"(best {r['tokens_per_s_best']:,}), peak {r['memory_peak_bytes'] / 2**30:.2f} GiB, "
              f"PyTorch {r['version']}, {r['threads']} threads")


def serve(config, args):
    timer = Timer(config, args)
    timer.warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            sys.exit(f"[torch_llama] got the line {line.strip()!r}, need 'go'.")
        print(f"{timer.timed():.6f}", flush=True)
    print(json.dumps(timer.result()), flush=True)


def schedule(step, steps, peak, warmup):
    """Linear warm-up, then cosine down to a tenth; `step` counts from 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))))


def train_text(config, args):
    with open(args.text, "rb") as f:
        data = torch.frombuffer(bytearray(f.read()), dtype=torch.uint8)
    if len(data) <= config.seq + 1:
        sys.exit(f"[torch_llama] {args.text} has {len(data)} bytes, need more than {config.seq + 1}.")
    trainer = Trainer(config, args.dtype, args.mode)
    random = torch.Generator().manual_seed(args.seed)
    for step in range(args.steps):
        starts = torch.randint(len(data) - config.seq - 1, (config.batch, 1), generator=random)
        batch = data[starts + torch.arange(config.seq + 1)].long()
        lr = schedule(step, args.steps, config.lr, max(1, args.steps // 20))
        loss, norm = trainer.step(batch[:, :-1], batch[:, 1:], lr)
        print(f"step {step + 1} | loss {loss:.4f} | gnorm {norm:.3f} | lr {lr:.2e}", flush=True)


def check(args):
    """Compares with the fixtures in a folder; exit status 1 where they disagree."""
    from safetensors.torch import load_file
    folder = args.check
    with open(os.path.join(folder, "config.json")) as f:
        j = json.load(f)
    rope = j["rope_parameters"]
    if rope["rope_type"] != "default" or j["tie_word_embeddings"]:
        sys.exit(f"[torch_llama] {folder} has RoPE scaling or tied embeddings, no benchmark has. Check another.")
    config = Config(j["num_hidden_layers"], j["hidden_size"], j["num_attention_heads"], j["num_key_value_heads"],
                    j["intermediate_size"], j["vocab_size"], seq=j["max_position_embeddings"], batch=0,
                    head_dim=j["head_dim"], norm_eps=j["rms_norm_eps"], theta=rope["rope_theta"])
    weights = {}
    for path in glob.glob(os.path.join(folder, "model*.safetensors")):
        weights |= load_file(path)
    reference = load_file(os.path.join(folder, "reference.safetensors"))
    training = load_file(os.path.join(folder, "training.safetensors"))
    exact = args.dtype == "f32"

    trainer = Trainer(config, args.dtype, args.mode, weights)
    loss = trainer.loss_of(reference["ids"].long(), reference["labels"].long())
    loss.backward()
    gradient = max(((p.grad.float() - reference["grad." + n]).norm() / reference["grad." + n].norm()).item()
                   for n, p in trainer.model.named_parameters())

    trainer = Trainer(config, args.dtype, args.mode, weights)
    curve = [trainer.step(b[:, :-1].long(), b[:, 1:].long(), schedule(i, 20, 3e-3, 4))
             for i, b in enumerate(training["batches"])]
    losses, norms = (torch.tensor(v, dtype=torch.float64) for v in zip(*curve))

    def relative(got, want):
        return ((got.double() - want.double()).abs() / want.double().abs()).max().item()

    print(f"loss {loss.item():.6f}, {folder} says {reference['loss'].item():.6f}")
    if exact:
        errors = {"loss": (relative(loss.detach(), reference["loss"]), 1e-5), "worst gradient": (gradient, 1e-5),
                  "loss over 20 steps": (relative(losses, training["loss"]), 1e-5),
                  "gradient norm over 20 steps": (relative(norms, training["grad_norm"]), 1e-4)}
    else:  # later gradient norms are not compared: Adam amplifies rounding
        errors = {"loss": (relative(loss.detach(), reference["loss"]), 2e-3), "worst gradient": (gradient, 5e-2),
                  "loss over 20 steps": (relative(losses, training["loss"]), 2e-3),
                  "first gradient norm": (relative(norms[0], training["grad_norm"][0]), 5e-3)}
    bad = 0
    for name, (error, limit) in errors.items():
        bad += not error <= limit
        print(f"{name}: relative error {error:.1e}, limit {limit:.0e}{'' if error <= limit else '  WRONG'}")
    sys.exit(bad > 0)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", "--preset", default="bench-s", choices=PRESETS)
    p.add_argument("--dtype", default="bf16", choices=("bf16", "f32"))
    p.add_argument("--mode", default="eager", choices=MODES)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--steps", type=int, help="timed steps (default 10), or steps of --text (default 300)")
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--seed", type=int, default=1234)
    p.add_argument("--json", action="store_true")
    action = p.add_mutually_exclusive_group()
    action.add_argument("--serve", action="store_true")
    action.add_argument("--check", metavar="DIR")
    action.add_argument("--text", metavar="FILE")
    args = p.parse_args()

    args.steps = args.steps or (300 if args.text else 10)
    torch.set_num_threads(args.threads)
    if args.check:
        check(args)
    elif args.text:
        train_text(PRESETS["tiny"], args)
    elif args.serve:
        serve(PRESETS[args.model], args)
    else:
        bench(PRESETS[args.model], args)


if __name__ == "__main__":
    # Read when a process starts, so start again; set it (to anything) to keep your own.
    if "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable] + sys.argv, os.environ | {"GLIBC_TUNABLES": MALLOC})
    main()
