#!/usr/bin/env python3
"""Tokens per second of a full-parameter AdamW step in transformers on one GPU: the peer of jobs/bench-qwen3-30b-a3b-slice.toml.

    transformers_slice.py CONFIG.json [--compile layer|model|none] [--accumulate 1 4] [--steps 10] ...

A step: `accumulate` micro batches of `rows` sequences of `length` random tokens, all trained; forward, backward, clipping to norm 1,
AdamW. Weights, gradients and moments are bf16 and there is no fp32 copy of the weights, so a step moves less than one that keeps it.
--recipe stock is transformers as it comes, with grouped experts and torch.compile: the whole model with its own loss as one compiled
call, attention as torch picks it. --recipe tuned (the default) sets what a careful user sets:
  experts    transformers' grouped_mm (torch._grouped_mm); its default is a loop over experts, ten times slower
  attention  the fastest of torch's own (cuDNN, flash), timed at these sizes before the run
  loss       lm head and cross entropy by chunks of tokens, gradient of the logits computed beside the loss (logits of 16,384 tokens
             x 151,936 would take 5 GB, twice, and 10 GB more in fp32)
  compile    layer: each decoder layer and the norm, one compilation for all; model: the whole decoder as one graph
  optimizer  torch.optim.AdamW(fused=True)
Both take experts and optimizer so. Prints a JSON line for each number of micro batches. Needs torch 2.9 or newer and transformers 5.
"""

import argparse
import json
import os
import statistics
import sys
import time

STARTED = time.monotonic()
for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):  # its name from torch 2.10 on, and before
    os.environ.setdefault(name, "expandable_segments:True")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402  (after the allocator's settings)
import torch._dynamo.utils  # noqa: E402
import transformers  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402
from transformers.integrations import moe  # noqa: E402

from flops import flops_a_token  # noqa: E402

ATTENTION = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}
ALL_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--length", type=int, default=4096, help="tokens of a sequence")
    parser.add_argument("--rows", type=int, default=4, help="sequences of a micro batch")
    parser.add_argument("--accumulate", type=int, nargs="+", default=[1], help="micro batches of a step; a line for each number")
    parser.add_argument("--steps", type=int, default=10, help="steps measured")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before them")
    parser.add_argument("--compile", choices=["layer", "model", "none"], default="layer")
    parser.add_argument("--recipe", choices=["stock", "tuned"], default="tuned")
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--attention", choices=["fastest", "default", *ATTENTION], default="fastest")
    parser.add_argument("--loss-chunk", type=int, default=8192, help="tokens whose logits exist at a time")
    parser.add_argument("--seconds", type=float, default=0, help="start no further step after this long, 0: no limit")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    if args.recipe == "stock":
        args.compile, args.attention = "model", "default"
    args.loss_chunk = min(args.loss_chunk, args.rows * args.length)
    if args.rows * args.length % args.loss_chunk:
        parser.error("--loss-chunk must divide the tokens of a micro batch: one compilation serves all chunks")
    return args


class Clock:
    """Seconds of work on the device, which must be idle at both ends."""

    def __init__(self, device):
        self.synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def seconds(self, work):
        self.synchronize()
        begin = time.perf_counter()
        result = work()
        self.synchronize()
        return time.perf_counter() - begin, result


# --- attention


def attention_seconds(name, config, args, clock):
    """Median of forward and backward at the run's sizes, or None where this card or torch has no such attention."""

    def tensor(heads):  # strides as in the model: [rows, length, heads, head_dim] seen as [rows, heads, length, head_dim]
        shape = (args.rows, args.length, heads, config.head_dim)
        return torch.randn(shape, device=args.device, dtype=torch.bfloat16).transpose(1, 2).requires_grad_()

    q, k, v = (tensor(n) for n in (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads))

    def step():
        out = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        out.backward(torch.ones_like(out))

    try:
        with sdpa_kernel([ATTENTION[name]]):
            return statistics.median(clock.seconds(step)[0] for _ in range(7))
    except RuntimeError:
        return None


def choose_attention(config, args, clock):
    if args.attention != "fastest":
        return args.attention  # default: torch's own choice
    seconds = {name: attention_seconds(name, config, args, clock) for name in ("cudnn", "flash")}
    print(f"attention, seconds forward and backward: {seconds}", file=sys.stderr)
    found = {name: value for name, value in seconds.items() if value is not None}
    return min(found, key=found.get) if found else "math"


# --- loss


def cross_entropy(logits, labels, scale):
    """scale * sum of the losses, and its gradient by the logits. One pass over the logits each when compiled."""
    logits32 = logits.float()
    lse = torch.logsumexp(logits32, dim=-1, keepdim=True)
    picked = logits32.gather(1, labels[:, None])
    columns = torch.arange(logits.size(1), device=logits.device)
    gradient = (torch.exp(logits32 - lse) - (columns == labels[:, None]).float()) * scale
    return (lse - picked).sum() * scale, gradient.to(logits.dtype)


class HeadLoss(torch.autograd.Function):
    """scale * sum over tokens of the cross entropy of hidden @ weight.T, by chunks of tokens."""

    @staticmethod
    def forward(ctx, hidden, weight, labels, scale, chunk, entropy):
        loss = hidden.new_zeros((), dtype=torch.float32)
        d_hidden, d_weight = torch.empty_like(hidden), None
        for begin in range(0, hidden.size(0), chunk):
            part = slice(begin, begin + chunk)
            part_loss, d_logits = entropy(hidden[part] @ weight.T, labels[part], scale)
            loss += part_loss
            torch.mm(d_logits, weight, out=d_hidden[part])
            if d_weight is None:
                d_weight = d_logits.T @ hidden[part]
            else:
                d_weight.addmm_(d_logits.T, hidden[part])
            del d_logits
        ctx.save_for_backward(d_hidden, d_weight)
        return loss

    @staticmethod
    def backward(ctx, _):  # the loss is the end of the graph: its own gradient is 1
        return *ctx.saved_tensors, None, None, None, None


# --- model


def refuse_slow_experts(args):
    """transformers takes a loop of matrix products where this torch or card has no grouped one, and does not say so."""
    weight = torch.zeros(1, 16, 16, device=args.device, dtype=torch.bfloat16)
    offsets = torch.full((1,), 16, device=args.device, dtype=torch.int32)
    if args.experts == "grouped_mm" and not moe._can_use_grouped_mm(weight[0], weight, offsets):
        sys.exit("transformers would not use torch's grouped_mm here")


def build(config, args):
    device = torch.device(args.device)
    with device:  # 5.6 B random numbers take a minute on a CPU
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16, attn_implementation="sdpa", experts_implementation=args.experts
        )
    model.train()
    assert model.config._experts_implementation == args.experts
    assert all(p.dtype == torch.bfloat16 and p.device.type == device.type for p in model.parameters())
    return model


def compile_parts(model, args):
    """The decoder (stock: the model with its loss) and the loss's pointwise part, compiled as asked."""
    if args.recipe == "stock":
        return torch.compile(model, dynamic=False), None
    if args.compile == "none":
        return model.model, torch.compile(cross_entropy)  # uncompiled, the fp32 logits would not fit
    if args.compile == "model":
        return torch.compile(model.model, dynamic=False), torch.compile(cross_entropy)
    for layer in model.model.layers:
        layer.compile(dynamic=False)
    model.model.norm.compile(dynamic=False)
    return model.model, torch.compile(cross_entropy)


def decay_groups(model):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]


class Training:
    def __init__(self, config, args):
        self.args, self.config = args, config
        self.device = torch.device(args.device)
        self.clock = Clock(self.device)
        self.model = build(config, args)
        self.decoder, self.entropy = compile_parts(self.model, args)
        self.optimizer = torch.optim.AdamW(decay_groups(self.model), lr=1e-5, betas=(0.9, 0.95), fused=True)
        self.random = torch.Generator(self.device).manual_seed(1)
        self.last_loss = self.last_norm = self.seconds_to_first_step = None

    def micro_batch(self, accumulate):
        shape = (self.args.rows, self.args.length)
        ids = torch.randint(self.config.vocab_size, shape, device=self.device, generator=self.random)
        loss = self.stock_loss(ids) / accumulate if self.args.recipe == "stock" else self.tuned_loss(ids, accumulate)
        loss.backward()
        return loss.detach()

    def stock_loss(self, ids):
        return self.decoder(input_ids=ids, labels=ids, use_cache=False).loss

    def tuned_loss(self, ids, accumulate):
        hidden = self.decoder(input_ids=ids, use_cache=False).last_hidden_state
        # Every position but a row's last predicts the next token; the last one predicts the row's first, which costs as much.
        labels = ids.roll(-1, dims=1).reshape(-1)
        scale = torch.full((), 1 / (labels.numel() * accumulate), device=self.device)  # a number would be compiled in
        return HeadLoss.apply(
            hidden.reshape(-1, hidden.size(-1)), self.model.lm_head.weight, labels, scale, self.args.loss_chunk, self.entropy
        )

    def step(self, accumulate):
        self.last_loss = sum(self.micro_batch(accumulate) for _ in range(accumulate))
        self.last_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def measure(self, accumulate, until):
        seconds = []
        for _ in range(self.args.warm_up + self.args.steps):
            if len(seconds) > self.args.warm_up and time.monotonic() > until:
                break
            seconds.append(self.clock.seconds(lambda: self.step(accumulate))[0])
            self.seconds_to_first_step = self.seconds_to_first_step or time.monotonic() - STARTED
        return seconds

    def report(self, accumulate, seconds, attention):
        measured = seconds[self.args.warm_up :]
        tokens = self.args.rows * self.args.length * accumulate
        median = statistics.median(measured)
        on_gpu = self.device.type == "cuda"
        return {
            "tokens_a_step": tokens,
            "tokens_per_second": tokens / median,
            "ms_a_step": 1000 * median,
            "model_tflops": tokens / median * flops_a_token(self.args.config, self.args.length) / 1e12,
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
            "peak_reserved_bytes": torch.cuda.max_memory_reserved() if on_gpu else None,
            "seconds_to_first_step": self.seconds_to_first_step,
            "all_ms": [round(1000 * value, 2) for value in seconds],
            "loss": float(self.last_loss),
            "grad_norm": float(self.last_norm),
            "recipe": self.args.recipe,
            "compile": self.args.compile,
            "compiled_graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],  # layer: 3 or 4 for any number of layers
            "experts": self.args.experts,
            "attention": attention,
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }


def main():
    args = arguments()
    torch.manual_seed(1)
    until = time.monotonic() + args.seconds if args.seconds > 0 else float("inf")
    config = transformers.AutoConfig.from_pretrained(args.config)
    refuse_slow_experts(args)
    attention = choose_attention(config, args, Clock(torch.device(args.device)))
    with sdpa_kernel(ALL_ATTENTION if attention == "default" else [ATTENTION[attention]]):
        training = Training(config, args)
        for accumulate in args.accumulate:
            seconds = training.measure(accumulate, until)
            print(json.dumps(training.report(accumulate, seconds, attention)), flush=True)


if __name__ == "__main__":
    main()
