"""Trains the PyTorch twin on random batches and prints one JSON line: tokens per second and peak memory.

    python bench/train_peer.py '{"d_model": 128, "d_ff": 256, ..., "batch": 128, "source": 24, "target": 24}'

Called by `floe bench train`, which runs Floe and its peer in turns on the same machine.
"""

import json
import resource
import sys
import time

import torch

from torch_twin import Config, Twin


def main():
    a = json.loads(sys.argv[1])
    torch.set_num_threads(a["threads"])
    torch.manual_seed(1)
    empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = Twin(Config(a["d_model"], a["d_ff"], a["layers"], a["heads"], a["vocabulary"], a["dropout"]))
    model.train()
    mode = a.get("mode", "eager")
    device = a.get("device", "cpu")
    gpu = device == "cuda"
    model.to(device)

    def loss_of(*batch):
        with torch.autocast(device, torch.bfloat16, enabled=a.get("precision") == "bf16"):
            return model.loss(*batch)

    # The loss lies inside what is compiled: that is the faster way of every mode.
    step_model = loss_of if mode == "eager" else torch.compile(loss_of, mode=mode)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=True
    )
    b, s, t, v = a["batch"], a["source"], a["target"], a["vocabulary"]
    source = torch.randint(4, v, (b, s), device=device)
    target = torch.randint(4, v, (b, t + 1), device=device)
    lengths = torch.full((b,), s, device=device)
    target_in, target_out = target[:, :-1].contiguous(), target[:, 1:].contiguous()

    def step():
        optimizer.zero_grad(set_to_none=True)
        if mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        loss, tokens = step_model(source, lengths, target_in, target_out)
        (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(a["warmup"]):
        step()
    times = []
    if gpu:  # steps follow each other without waiting, as in a training loop
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(a["steps"]):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / a["steps"])
        free, total = torch.cuda.mem_get_info()
        empty, peak = 0, total - free
    else:
        for _ in range(a["steps"]):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times.sort()
    print(
        json.dumps(
            {
                "seconds": times[len(times) // 2],
                "tokens_per_second": b * (s + t) / times[len(times) // 2],
                "peak_bytes": peak,
                "empty_bytes": empty * 1024,
                "version": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
