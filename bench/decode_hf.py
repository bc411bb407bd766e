"""Decodes forced lengths with generate() of Hugging Face transformers and prints one JSON line: seconds of each case.

    python bench/decode_hf.py '{"d_model": 512, ..., "source": 32, "length": 64, "cases": [{"batch": 64, "beam": 4}], ...}'

Called by `floe bench decode`, which runs Floe and its peers in turns on the same machine. A Marian model of the same sizes:
post-norm, ReLU, tied embeddings, random weights; the library's own cache and search.
"""

import gc
import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import MarianConfig, MarianMTModel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def model_of(a):
    config = MarianConfig(
        vocab_size=a["vocabulary"],
        d_model=a["d_model"],
        encoder_layers=a["layers"],
        decoder_layers=a["layers"],
        encoder_ffn_dim=a["d_ff"],
        decoder_ffn_dim=a["d_ff"],
        encoder_attention_heads=a["heads"],
        decoder_attention_heads=a["heads"],
        max_position_embeddings=a["max_positions"],
        activation_function="relu",
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        pad_token_id=0,
        bos_token_id=2,
        decoder_start_token_id=2,
        eos_token_id=3,
        forced_eos_token_id=None,
    )
    return MarianMTModel(config).to(a["device"], DTYPES[a["precision"]]).eval()


@torch.inference_mode()
def main():
    a = json.loads(sys.argv[1])
    gpu = a["device"] == "cuda"
    torch.set_num_threads(a["threads"])
    torch.manual_seed(1)
    transformers.logging.set_verbosity_error()
    model = model_of(a)
    results = []
    for case in a["cases"]:
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
        source = torch.randint(4, a["vocabulary"], (case["batch"], a["source"]), device=a["device"])
        mask = torch.ones_like(source)

        def call(length):
            start = time.perf_counter()
            tokens = model.generate(
                source,
                attention_mask=mask,
                min_new_tokens=length,
                max_new_tokens=length,
                num_beams=case["beam"],
                do_sample=False,
                use_cache=True,
            ).cpu()
            assert tokens.shape == (case["batch"], length + 1), tokens.shape
            return time.perf_counter() - start

        def median(times):
            return sorted(times)[len(times) // 2]

        call(a["length"])
        # Turn by turn, so that a slow moment of the machine falls on both.
        pairs = [(call(1), call(a["length"])) for _ in range(a["runs"])]
        first, seconds = (median(times) for times in zip(*pairs))
        result = {**case, "seconds": seconds, "first_seconds": first}
        if gpu:
            free, total = torch.cuda.mem_get_info()
            result["peak_bytes"] = total - free
        results.append(result)
    versions = {"pytorch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({"results": results, "versions": versions}))


if __name__ == "__main__":
    main()
