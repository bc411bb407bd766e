#!/usr/bin/env python3
"""Draws the learning curve of a training run from its metrics.jsonl; needs matplotlib.

python3 bench/curve.py docs/runs/multi30k-en-de.jsonl docs/charts/multi30k-en-de.svg
"""

import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (after the back end is chosen)


def main():
    source, target = sys.argv[1:3]
    rows = [json.loads(line) for line in open(source)]
    train = [row for row in rows if row["kind"] == "train"]
    valid = [row for row in rows if row["kind"] == "validation"]
    matplotlib.rcParams.update({"svg.hashsalt": "floe", "svg.fonttype": "none", "font.size": 10})
    figure, loss = plt.subplots(figsize=(7, 3.4), layout="constrained")
    loss.plot([r["step"] for r in train], [r["nll"] for r in train], color="#9db8d8", label="training nll, one batch")
    loss.plot([r["step"] for r in valid], [r["cross_entropy"] for r in valid], "o-", color="#1f4e8c", label="validation cross-entropy")
    loss.set_xlabel("update")
    loss.set_ylabel("nats a target token")
    bleu = loss.twinx()
    bleu.plot([r["step"] for r in valid], [r["bleu"] for r in valid], "s--", color="#c0562a", label="validation BLEU")
    bleu.set_ylabel("BLEU")
    bleu.set_ylim(bottom=0)
    lines = loss.get_lines() + bleu.get_lines()
    loss.legend(lines, [line.get_label() for line in lines], loc="center right", frameon=False)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
