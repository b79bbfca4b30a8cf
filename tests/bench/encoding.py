"""Encoding of a large parquet file by moebius beside Hugging Face tokenizers: rows and tokens a second of CPU time, and
when training starts. Needs pyarrow, tokenizers, and a folder with tokenizer.json whose template is qwen3's.

usage: encoding.py MOEBIUS TOKENIZER_DIR ROWS.json(l) SCRATCH_DIR [--rows 2000000] [--ranks 4]

Both count user + system time of all their processes, so that other load on the machine changes little. tokenizers gets the
finished texts (those that `moebius render` shows) and only turns them into ids, one thread a process; moebius also reads the
parquet file, writes the template, weighs tokens and writes samples to disk.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import re
import resource
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq

CONFIG = {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 32,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "intermediate_size": 64,
          "moe_intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 2, "norm_topk_prob": True,
          "decoder_sparse_step": 1, "mlp_only_layers": [], "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
          "max_position_embeddings": 4096, "attention_bias": False, "tie_word_embeddings": True, "torch_dtype": "float32"}
JOB = """[job]
output = "out"
[model]
config = "config.json"
tokenizer = "{tokenizer}"
init = "random"
[data]
train = ["{data}"]
template = "qwen3"
max_length = 512
[train]
global_batch_size = {ranks}
iterations = 1
[checkpoint]
interval = 0
[log]
tensorboard = false
"""
arguments = argparse.ArgumentParser()
arguments.add_argument("moebius", type=pathlib.Path)
arguments.add_argument("tokenizer", type=pathlib.Path)
arguments.add_argument("source", type=pathlib.Path)
arguments.add_argument("scratch", type=pathlib.Path)
arguments.add_argument("--rows", type=int, default=2000000)
arguments.add_argument("--ranks", type=int, default=4)
args = arguments.parse_args()
args.scratch.mkdir(parents=True, exist_ok=True)
environment = dict(os.environ, OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", OMPI_MCA_rmaps_base_oversubscribe="1")


def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def write_rows():
    text = args.source.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    table = pa.Table.from_pylist(rows)
    block = pa.concat_tables([table] * max(1, 100000 // len(rows))).combine_chunks()
    with pq.ParquetWriter(args.scratch / "big.parquet", table.schema, compression="zstd") as writer:
        left = args.rows
        while left > 0:
            writer.write_table(block.slice(0, left), row_group_size=50000)
            left -= len(block)
    pq.write_table(table, args.scratch / "small.parquet")
    return len(rows)


def run(arguments, log):
    begin, used = time.time(), children()
    with open(args.scratch / log, "w") as file:
        subprocess.run(arguments, cwd=args.scratch, env=environment, stdout=file, stderr=subprocess.STDOUT, check=True)
    return time.time() - begin, children() - used


def moebius(data, out):
    subprocess.run(["rm", "-rf", args.scratch / "out"], check=True)
    (args.scratch / "job.toml").write_text(JOB.format(tokenizer=args.tokenizer.resolve(), data=data, ranks=args.ranks))
    wall, cpu = run(["mpirun", "-np", str(args.ranks), str(args.moebius.resolve()), "train", "job.toml"], out)
    text = (args.scratch / out).read_text()
    tokens = int(re.search(r"training: \d+ samples, (\d+) tokens", text).group(1))
    return {"wall": wall, "cpu": cpu, "tokens": tokens, "first_step": float(re.search(r"first step done ([\d.]+) s", text).group(1)),
            "memory": re.search(r"memory: ([^,]*) at the most", text).group(1)}


def encode(job):
    from tokenizers import Tokenizer
    texts, times = job
    tokenizer = Tokenizer.from_file(str(args.tokenizer / "tokenizer.json"))
    begin = time.process_time()
    tokens = 0
    for _ in range(times):
        tokens += sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))
    return tokens, time.process_time() - begin


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    (args.scratch / "config.json").write_text(json.dumps(CONFIG))
    base = write_rows()
    small, large = moebius("small.parquet", "small.log"), moebius("big.parquet", "big.log")
    rows, tokens, cpu = args.rows - base, large["tokens"] - small["tokens"], large["cpu"] - small["cpu"]
    print(f"load {os.getloadavg()}")
    print(f"moebius     {rows} rows, {tokens} tokens: {cpu:.1f} s of CPU, {rows / cpu:.0f} rows/s, {tokens / cpu:.0f} tokens/s of "
          f"a core; first step after {large['first_step']:.0f} s on {args.ranks} ranks, {large['memory']} at the most in a rank")
    run([str(args.moebius.resolve()), "render", "job.toml", "--set", 'data.train=["small.parquet"]', "-o", "small.jsonl"], "render.log")
    texts = [json.loads(line).get("text") for line in open(args.scratch / "small.jsonl", encoding="utf-8")]
    texts = [text for text in texts if text]
    times = max(1, min(args.rows, 200000) // len(texts) // args.ranks)
    with multiprocessing.Pool(args.ranks) as pool:
        parts = pool.map(encode, [(texts, times)] * args.ranks)
    hf_rows, hf_tokens, hf_cpu = len(texts) * times * args.ranks, sum(part[0] for part in parts), sum(part[1] for part in parts)
    print(f"tokenizers  {hf_rows} rows, {hf_tokens} tokens: {hf_cpu:.1f} s of CPU, {hf_rows / hf_cpu:.0f} rows/s, "
          f"{hf_tokens / hf_cpu:.0f} tokens/s of a core")
    print(f"moebius / tokenizers, tokens a second of a core: {(tokens / cpu) / (hf_tokens / hf_cpu):.2f}")
