"""Peak memory of ``backcast compress`` on a synthetic folder of Llama 3.2 3B's shape (6.4 GB on disk, deleted after).

    OMP_NUM_THREADS=1 python benchmarks/compress_memory.py [--method wgm] [--bits 4] [--folder TEMPORARY] [--layers 28]

A process of its own packs it; the peak is what the kernel counted for that process (resident, files read included).
The result is checked layer by layer, since loading a 3B model whole takes more. Beside it: the bytes that loading the
checkpoint with transformers would need at least, which is what methods that work on a loaded model begin with.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthetic import LLAMA_3B, write_model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", default="wgm")
    parser.add_argument("--bits", default="4")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--layers", type=int, default=LLAMA_3B["num_hidden_layers"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        source = Path(work) / "model"
        size = write_model(source, {**LLAMA_3B, "num_hidden_layers": options.layers})
        command = [sys.executable, "-m", "backcast", "compress", str(source), "--out", str(Path(work) / "packed")]
        command += ["--method", options.method, "--bits", options.bits, "--check", "layers", "--json"]
        start = time.monotonic()
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures = json.loads(said.stdout)
    result = {
        "method": f"{options.method} {options.bits}",
        "folder_gb": size / 1e9,
        "weights": figures["weights"],
        "true_bits": figures["true_bits"],
        "packed_gb": figures["bytes_after"] / 1e9,
        "peak_gb": used.ru_maxrss * 1024 / 1e9,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "seconds": seconds,
    }
    print(
        f"peak {result['peak_gb']:.2f} GB; loading the checkpoint alone: {size / 1e9:.2f} GB, "
        f"x{size / 1e9 / result['peak_gb']:.1f}"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
