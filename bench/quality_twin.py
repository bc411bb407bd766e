"""Trains the PyTorch twin by a Floe recipe and writes it as a Floe model, so that one decoder serves both.

    python bench/quality_twin.py --run RUN --source train.en --target train.de --output TWIN [--updates N] [--seed 1]

RUN is what `floe train` wrote: its tokenizer, its config and its options (batch size, rates, warm-up, averaging) are the
twin's too. Same batches by padded tokens, same schedule, Adam, label smoothing and dropout places; other random numbers.
Needs torch, sentencepiece and safetensors.
"""

import argparse
import json
import math
import random
import shutil
import time
import tomllib
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from torch_twin import Config, Twin


def read_lines(path):
    return [line.rstrip("\n") for line in open(path, encoding="utf-8", newline="\n")]


def batches(pairs, options, seed):
    """One epoch: lists of pair numbers, grouped by padded length, in random order."""
    draw = random.Random(seed)
    multiple = options["batch"]["length_multiple"]
    longest = options["batch"]["max_length"]

    def width(pair):
        return -(-(max(len(pair[0]), len(pair[1])) + 1) // multiple) * multiple

    order = [i for i, pair in enumerate(pairs) if max(len(pair[0]), len(pair[1])) + 1 <= longest]
    draw.shuffle(order)
    order.sort(key=lambda i: width(pairs[i]))
    out, now = [], []
    for i in order:
        if now and (len(now) + 1) * width(pairs[i]) > options["batch"]["batch_tokens"]:
            out.append(now)
            now = []
        now.append(i)
    out.append(now)
    draw.shuffle(out)
    return out


def tensors(pairs, rows, pad, start, end, device):
    def padded(lists):
        longest = max(len(x) for x in lists)
        return torch.tensor([x + [pad] * (longest - len(x)) for x in lists], device=device)

    source = padded([pairs[i][0] + [end] for i in rows])
    lengths = torch.tensor([len(pairs[i][0]) + 1 for i in rows], device=device)
    return source, lengths, padded([[start] + pairs[i][1] for i in rows]), padded([pairs[i][1] + [end] for i in rows])


def floe_names(twin):
    """The twin's parameters by Floe's names."""
    named = {"embedding.weight": twin.embedding.weight}
    for side, layers in (("encoder", twin.encoder), ("decoder", twin.decoder)):
        for i, layer in enumerate(layers):
            at = f"{side}.{i}"
            parts = [("self_attention", layer.self_attention, layer.norms[0], ["qkv", "out"])]
            if layer.cross_attention is not None:
                parts.append(("cross_attention", layer.cross_attention, layer.norms[1], ["q", "kv", "out"]))
            parts.append(("feed_forward", layer, layer.norms[-1], ["up", "down"]))
            for part, module, norm, products in parts:
                named[f"{at}.{part}.norm.gamma"], named[f"{at}.{part}.norm.beta"] = norm.weight, norm.bias
                for name in products:
                    product = getattr(module, name)
                    named[f"{at}.{part}.{name}.weight"], named[f"{at}.{part}.{name}.bias"] = product.weight, product.bias
    return named


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--run", required=True)
    p.add_argument("--source", required=True)
    p.add_argument("--target", required=True)
    p.add_argument("--output", required=True)
    p.add_argument("--updates", type=int)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--device", default="cuda")
    args = p.parse_args()
    options = tomllib.loads((Path(args.run) / "options.toml").read_text())
    folder = Path(args.run) / "model"
    config = json.loads((folder / "config.json").read_text())["model"]
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(Path(args.run) / "tokenizer.model"))
    pad, start, end = config["pad_id"], config["start_id"], config["eos_id"]
    pairs = [
        (tokenizer.encode(s), tokenizer.encode(t)) for s, t in zip(read_lines(args.source), read_lines(args.target))
    ]
    pairs = [pair for pair in pairs if pair[0] and pair[1]]

    torch.manual_seed(args.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    twin = Twin(
        Config(
            config["d_model"],
            config["d_ff"],
            config["encoder_layers"],
            config["heads"],
            config["target_vocabulary"],
            config["residual_dropout"],
        ),
        config["max_positions"],
    )
    for module in twin.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    twin = twin.to(args.device).train()
    adam, schedule = options["optimizer"], options["schedule"]
    optimizer = torch.optim.Adam(
        twin.parameters(), lr=1, betas=(adam["beta1"], adam["beta2"]), eps=adam["adam_epsilon"], fused=args.device == "cuda"
    )
    updates = args.updates or options["stop"]["max_updates"]
    every, kept = options["checkpoint"]["save_every"], options["checkpoint"]["average_last"]
    named, sums, added = floe_names(twin), {}, 0
    began, step, epoch = time.time(), 0, 0
    while step < updates:
        epoch += 1
        for rows in batches(pairs, options, args.seed * 100003 + epoch):
            step += 1
            rate = schedule["learning_rate"] * min(step / schedule["warmup"], math.sqrt(schedule["warmup"] / step))
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(args.device, dtype=torch.bfloat16):
                loss, tokens = twin.loss(*tensors(pairs, rows, pad, start, end, args.device), adam["label_smoothing"], pad)
            optimizer.zero_grad()
            (loss / tokens).backward()
            optimizer.step()
            if step > updates - every * kept and (updates - step) % every == 0:
                added += 1
                for name, value in named.items():
                    sums[name] = sums.get(name, 0) + value.detach().double()
            if step >= updates:
                break
    print(f"{step} updates, {epoch} epochs, {time.time() - began:.0f} s, loss {loss.item() / tokens.item():.4f}")
    out = Path(args.output)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.model"):
        shutil.copy(folder / name, out / name)
    weights = {name: (value / added).float().cpu().contiguous() for name, value in sums.items()}
    save_file(weights, str(out / "model.safetensors"))


if __name__ == "__main__":
    main()
