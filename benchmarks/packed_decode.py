"""Decode speed of a packed model against torch in float32 and bfloat16, and against llama.cpp, by CPU-seconds.

    OMP_NUM_THREADS=1 python benchmarks/packed_decode.py MODEL PACKED_FOLDER [--gguf FILE] [--tokens 32] [--repeats 5]

Greedy generation from one short prompt, the same number of tokens for every arm, the arms in turn in every repeat, the
median over repeats. With ``--gguf`` llama.cpp (wheel xllamacpp, its own process, one thread) decodes that file; its
CPU time is the process's. Also one vector through the linear layers alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
import torch

import backcast.compress  # noqa: F401
from backcast.lm.models import resolve

PROMPT = "The capital of France is"


class Torch:
    """A transformers model of this process."""

    def __init__(self, folder: Path, dtype: torch.dtype, ids: torch.Tensor) -> None:
        from transformers import AutoModelForCausalLM

        self.model, self.ids = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), ids

    def seconds(self, tokens: int) -> float:
        """CPU-seconds of ``tokens`` new tokens."""
        start = time.process_time()
        with torch.no_grad():
            self.model.generate(self.ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
        return time.process_time() - start

    def linear_seconds(self) -> float:
        """CPU-seconds of one vector through every linear layer of the decoder."""
        head = self.model.get_output_embeddings()
        layers = [m for m in self.model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
        dtype = self.model.get_input_embeddings()(self.ids).dtype
        inputs = [torch.randn(1, layer.in_features, dtype=dtype) for layer in layers]
        start = time.process_time()
        with torch.no_grad():
            for layer, x in zip(layers, inputs, strict=True):
                layer(x)
        return time.process_time() - start


class LlamaCpp:
    """llama.cpp's server, a process of its own."""

    def __init__(self, gguf: Path) -> None:
        script = Path(__file__).parents[1] / "tests" / "contracts" / "llama_server.py"
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, script, gguf], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.address = self.process.stdout.readline().strip()

    def seconds(self, tokens: int) -> float:
        """CPU-seconds of the process for ``tokens`` new tokens (its clock ticks are hundredths)."""
        asked = {"prompt": PROMPT, "n_predict": tokens, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        start = self._used()
        said = httpx.post(self.address + "/completion", json=asked, timeout=600).json()
        assert said["tokens_predicted"] == tokens
        return self._used() - start

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)

    def _used(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("packed", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = resolve(options.model)
    ids = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt").input_ids
    arms = {
        "float32": Torch(folder, torch.float32, ids),
        "bfloat16": Torch(folder, torch.bfloat16, ids),
        "packed": Torch(options.packed, torch.float32, ids),
    }
    if options.gguf:
        arms["llama.cpp"] = LlamaCpp(options.gguf)
    times = {name: [] for name in arms}
    linear = {name: [] for name in arms if name != "llama.cpp"}
    for repeat in range(options.repeats + 1):
        for name, arm in arms.items():
            taken = arm.seconds(options.tokens)
            alone = arm.linear_seconds() if name in linear else 0.0
            if repeat:  # the first round compiles and warms up
                times[name].append(taken)
                if name in linear:
                    linear[name].append(alone)
    found = {}
    for name, taken in times.items():
        rate = options.tokens / statistics.median(taken)
        found[name] = {"tokens_per_cpu_second": rate, "runs": [round(options.tokens / t, 2) for t in taken]}
        if name in linear:
            found[name]["linear_ms"] = 1e3 * statistics.median(linear[name])
    ours = found["packed"]["tokens_per_cpu_second"]
    for name, row in found.items():
        rate = row["tokens_per_cpu_second"]
        line = f"{name:10s} {rate:7.1f} tokens per CPU-s; packed is x{ours / rate:.2f}"
        if "linear_ms" in row:
            alone = row["linear_ms"]
            line += f"; linear layers {alone:.1f} ms, packed x{alone / found['packed']['linear_ms']:.2f}"
        print(line)
    if options.gguf:
        arms["llama.cpp"].close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
