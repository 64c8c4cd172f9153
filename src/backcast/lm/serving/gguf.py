"""The process of llama.cpp's server for one file: ``python -m backcast.lm.serving.gguf FILE NAME HOST PORT``."""

import os
import sys

from backcast.lm.serving.parent import end_with_parent


def main(gguf: str, name: str, host: str, port: str) -> None:
    """Serves until its standard input closes."""
    import xllamacpp

    end_with_parent()
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.model_alias = {name}
    params.hostnames, params.port = [host], int(port)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        params.cpuparams.n_threads = int(threads)
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201
    while True:
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
