"""Decodes with CTranslate2 at forced lengths and prints one JSON line: generated tokens per second and peak memory.

    python bench/decode_peer.py '{"model": DIR, "batch": 32, "source": 32, "length": 64, "beam": 4, "threads": 2, ...}'

Called by `floe bench decode`, which runs Floe and its peer in turns on the same machine. DIR comes from ct2_export.py.
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
    translator = ctranslate2.Translator(
        a["model"], device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=a["threads"]
    )
    vocabulary = a["vocabulary"]
    draw = random.Random(1)
    source = [[f"t{draw.randrange(4, vocabulary)}" for _ in range(a["source"])] for _ in range(a["batch"])]

    def run():
        translator.translate_batch(
            source,
            beam_size=a["beam"],
            min_decoding_length=a["length"],
            max_decoding_length=a["length"],
            max_batch_size=0,
            use_vmap=False,
        )

    times = []
    for i in range(a["warmup"] + a["runs"]):
        start = time.perf_counter()
        run()
        if i >= a["warmup"]:
            times.append(time.perf_counter() - start)
    times.sort()
    seconds = times[len(times) // 2]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "tokens_per_second": a["batch"] * a["length"] / seconds,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "empty_bytes": empty * 1024,
                "version": ctranslate2.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
