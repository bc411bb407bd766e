"""Decodes with CTranslate2 at forced lengths and prints one JSON line: generated tokens per second and peak memory.

    python bench/decode_peer.py '{"model": DIR, "batch": 32, "source": 32, "length": 64, "beam": 4, "threads": 2, ...}'

Called by `floe bench decode`, which runs Floe and its peer in turns on the same machine. DIR comes from ct2_export.py.
It is tried with one thread and with as many as it may have, and the faster counts: where processors are shared with
others, OpenMP's threads wait for each other, and two can be ten times slower than one.
"""

import json
import random
import resource
import sys
import time

import ctranslate2


def main():
    a = json.loads(sys.argv[1])
    empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compute_type = "int8" if a.get("int8") else "float32"
    vocabulary = a["vocabulary"]
    draw = random.Random(1)
    source = [[f"t{draw.randrange(4, vocabulary)}" for _ in range(a["source"])] for _ in range(a["batch"])]

    def seconds_with(threads):
        translator = ctranslate2.Translator(
            a["model"], device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        times = []
        for i in range(a["warmup"] + a["runs"]):
            start = time.perf_counter()
            translator.translate_batch(
                source,
                beam_size=a["beam"],
                min_decoding_length=a["length"],
                max_decoding_length=a["length"],
                max_batch_size=0,
                use_vmap=False,
            )
            if i >= a["warmup"]:
                times.append(time.perf_counter() - start)
        times.sort()
        return times[len(times) // 2]

    tried = []  # seconds, threads, peak memory until then
    for threads in sorted({1, a["threads"]}):
        seconds = seconds_with(threads)
        tried.append((seconds, threads, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    seconds, threads, peak = min(tried)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "tokens_per_second": a["batch"] * a["length"] / seconds,
                "peak_bytes": peak * 1024,
                "threads": threads,
                "empty_bytes": empty * 1024,
                "version": ctranslate2.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
