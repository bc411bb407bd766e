"""Multiplies with torch.matmul and prints one JSON line: seconds of each product.

    python bench/gemm_peer.py '{"device": "cpu", "precision": "f32", "threads": 2, "samples": 5, "sample_seconds": 0.4,
                                "products": [{"m": 64, "n": 512, "k": 512, "sets": 128}, ...]}'

Called by `floe bench gemm`, which runs Floe and its peer in turns on the same machine. As there, several sets of operands
take turns, and on a GPU one CUDA graph holds a product of each set.
"""

import json
import sys
import time

import torch

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def seconds_of(p, a):
    gpu = a["device"] == "cuda"
    where = {"device": a["device"], "dtype": DTYPES[a["precision"]]}
    m, n, k = p["m"], p["n"], p["k"]
    sets = [
        (torch.randn(m, k, **where), torch.randn(n, k, **where).t(), torch.empty(m, n, **where))
        for _ in range(p["sets"])
    ]

    def products():
        for x, w, y in sets:
            torch.matmul(x, w, out=y)

    wait = torch.cuda.synchronize if gpu else lambda: None
    products()
    products()
    launch = products
    if gpu:
        wait()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            products()
        launch = graph.replay
        launch()

    def timed(launches):
        wait()
        start = time.perf_counter()
        for _ in range(launches):
            launch()
        wait()
        return time.perf_counter() - start

    once = timed(1)
    launches = min(max(int(a["sample_seconds"] / once) + 1, 1), 10_000)
    times = sorted(timed(launches) / (launches * p["sets"]) for _ in range(a["samples"]))
    return times[len(times) // 2]


@torch.no_grad()
def main():
    a = json.loads(sys.argv[1])
    torch.set_num_threads(a["threads"])
    torch.manual_seed(1)
    seconds = []
    for p in a["products"]:
        seconds.append(seconds_of(p, a))
        if a["device"] == "cuda":
            torch.cuda.empty_cache()
    print(json.dumps({"seconds": seconds, "version": torch.__version__}))


if __name__ == "__main__":
    main()
