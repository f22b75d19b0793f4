#!/usr/bin/env python3
"""The training step of a LLaMA in PyTorch on a GPU, as scripts/gpu_table.py's peer: torch.compile, flash attention
(scaled_dot_product_attention), bf16 weights with fused AdamW over f32 masters. The model and the optimizer are
torch_llama.py's.

  torch_cuda.py '{"layers": 16, "hidden": 2048, ...}'      one JSON line: tokens_per_s
  torch_cuda.py --autocast '{...}'                         f32 weights under autocast, too: one more to compile
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

import torch_llama

WARMUP, STEPS = 3, 5


def make_step(m, autocast):
    config = torch_llama.Config(m["layers"], m["hidden"], m["heads"], m["kv_heads"], m["ffn"], m["vocab"], seq=m["seq"],
                                batch=m["micro_batch"], head_dim=m["head_dim"], theta=5e5)
    with torch.device("cuda"):
        model = torch_llama.Llama(config, compute_dtype=torch.bfloat16)
        if m["tied"]:
            model.lm_head.weight = model.model.embed_tokens.weight
        if not autocast:
            model.to(torch.bfloat16)
        optimizer = torch_llama.MasterAdamW(model)

    def loss_of(ids, labels):
        with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
            logits = model(ids)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    compiled = torch.compile(loss_of)
    microbatches = m["global_batch"] // m["micro_batch"]
    tokens = torch.randint(m["vocab"], (microbatches, m["micro_batch"], m["seq"] + 1), device="cuda")

    def step():
        for batch in tokens:
            (compiled(batch[:, :-1], batch[:, 1:]) / microbatches).backward()
        return optimizer.step(3e-4)  # reads the norm, and so waits for the GPU

    return step


def measure(m, autocast):
    step = make_step(m, autocast)
    for _ in range(WARMUP):
        step()
    seconds = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    s = statistics.median(seconds)
    return dict(mode="autocast" if autocast else "bf16 weights, f32 masters", step_ms=round(s * 1e3, 2),
                tokens_per_s=round(m["global_batch"] * m["seq"] / s), torch=torch.__version__,
                memory_gb=round(torch.cuda.max_memory_allocated() * 1e-9, 1))


def main():
    m = json.loads(sys.argv[-1])
    torch.manual_seed(1234)
    for autocast in (False, True) if "--autocast" in sys.argv else (False,):
        try:
            print(json.dumps(measure(m, autocast)), flush=True)
        except torch.OutOfMemoryError as error:
            print(f"[torch_cuda] {error}", file=sys.stderr)
        torch._dynamo.reset()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
