#!/usr/bin/env python3
"""Makes the tables in README.md, README.zh.md and docs/ and the charts in docs/charts from bench/results/*.json.

    python3 bench/report.py            writes the tables
    python3 bench/report.py --charts   and the charts; needs matplotlib
    python3 bench/report.py --check    writes nothing; names each file whose tables differ and exits 1

A table stands between the lines `<!-- bench:NAME -->` and `<!-- /bench -->`; NAME is train, train-gpu, decode,
decode-int8, decode-gpu, kv-cache, phases, gemm, gemm-gpu, attention, attention-gpu, attention-own-gpu,
attention-decode-gpu or attention-memory-gpu, with ` zh` behind it for Chinese. Without the results it needs, a table
says so.
"""

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"(<!-- bench:([a-z0-9-]+)( zh)? -->\n).*?(<!-- /bench -->)", re.S)
PHASES = ("projections", "attention", "vocabulary", "encoder", "other")

PEER_COLOURS = {"Floe": "#2a6f97", "PyTorch, plain": "#bbbbbb", "PyTorch, FlashAttention": "#e07a5f",
                "PyTorch, cuDNN": "#81b29a"}

WORDS = {
    "en": {
        "case": "case", "metric": "metric", "floe": "Floe", "peer": "peer", "ratio": "ratio",
        "length": "output length", "batch": "batch", "with": "with cache", "without": "without", "speedup": "speed-up",
        "memory": "peak memory, MiB (with / without)", "phase": "phase", "tokens/s": "tokens/s",
        "ms": "ms per step at length {length}, batch {batch}", "missing": "Not measured yet: {command}.",
        "source": "{device}; {versions}; {date}. `{command}`. Ratio above 1: Floe is better.",
        "incomplete": "Not the whole: {what}.",
        **{p: p for p in PHASES},
    },
    "zh": {
        "case": "任务", "metric": "指标", "floe": "Floe", "peer": "对照", "ratio": "比值",
        "length": "输出长度", "batch": "批大小", "with": "有缓存", "without": "无缓存", "speedup": "加速比",
        "memory": "内存峰值 MiB（有 / 无）", "phase": "阶段", "tokens/s": "词元/秒",
        "ms": "长度 {length}、批 {batch} 时每步毫秒", "missing": "尚未测量：{command}。",
        "source": "{device}；{versions}；{date}。`{command}`。比值大于 1 表示 Floe 更好。",
        "incomplete": "结果不完整：{what}。",
        "projections": "投影", "attention": "注意力", "vocabulary": "词表", "encoder": "编码器", "other": "其他",
    },
}


def number(value):
    """Three digits that count; whole numbers above a hundred."""
    if value is None:
        return ""
    if value >= 99.95:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}" if value >= 0.9995 else f"{value:.3f}"


def ratio(value):
    return "" if value is None else f"**{value:.2f}**" if value >= 1 else f"{value:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def source_line(results, words):
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    line = words["source"].format(versions=versions, **{k: results[k] for k in ("device", "date", "command")})
    # A run that ended early may be shown if it says so: "incomplete" tells what is missing.
    return line + (" " + words["incomplete"].format(what=results["incomplete"]) if "incomplete" in results else "")


def compared(results, words, wanted):
    """A line for each case, metric and peer."""
    rows = []
    for row in results["rows"]:
        if row["metric"].startswith("ms per step") or not wanted(row):
            continue
        peer = f"{number(row['peer'])} ({row['peer_name']})" if row["peer"] is not None else ""
        rows.append([row["case"], row["metric"], number(row["floe"]), peer, ratio(row["ratio"])])
    return table([words[k] for k in ("case", "metric", "floe", "peer", "ratio")], rows) if rows else None


def beside_peers(results, words, wanted=lambda row: True):
    """A line for each case and metric, a column for each peer with its ratio."""
    wanted_rows = [row for row in results["rows"] if wanted(row)]
    peers = list(dict.fromkeys(row["peer_name"] for row in wanted_rows if row["peer_name"]))
    lines = {}
    for row in wanted_rows:
        cells = lines.setdefault((row["case"], row["metric"]), [number(row["floe"])] + [""] * len(peers))
        if row["peer_name"]:
            cells[1 + peers.index(row["peer_name"])] = f"{number(row['peer'])} ({ratio(row['ratio'])})"
    head = [words["case"], words["metric"], words["floe"], *(f"{name} ({words['ratio']})" for name in peers)]
    return table(head, [[*line, *cells] for line, cells in lines.items()]) if lines else None


def cache_cells(results):
    """{(batch, length): {metric: row}} of the comparison with and without cache."""
    cells = {}
    for row in results["rows"]:
        found = re.fullmatch(r"greedy, batch (\d+), length (\d+)", row["case"])
        if found:
            cells.setdefault((int(found[1]), int(found[2])), {})[row["metric"]] = row
    return cells


def cache_table(results, words):
    rows = []
    for (batch, length), cell in sorted(cache_cells(results).items()):
        speed, memory = cell["tokens/s"], cell["peak memory, MiB"]
        rows.append([str(batch), str(length), number(speed["floe"]), number(speed["peer"]), ratio(speed["ratio"]),
                     f"{number(memory['floe'])} / {number(memory['peer'])}"])
    head = [words["batch"], words["length"], f"{words['tokens/s']}, {words['with']}",
            f"{words['tokens/s']}, {words['without']}", words["speedup"], words["memory"]]
    return table(head, rows) if rows else None


def phase_table(results, words):
    cells = cache_cells(results)
    parts = []
    for batch in sorted({b for b, _ in cells}):
        lengths = sorted(n for b, n in cells if b == batch)
        length = 64 if 64 in lengths else lengths[-1]
        cell = cells[batch, length]
        rows = [[words[p], *(number(cell["ms per step: " + p][side]) for side in ("floe", "peer"))] for p in PHASES]
        head = [words["ms"].format(length=length, batch=batch), words["with"], words["without"]]
        parts.append(table(head, rows))
    return "\n\n".join(parts) or None


def attention_cell(row):
    """What the case of an attention row says: pass, heads, width, mask, batch, length; None for other rows."""
    found = re.fullmatch(r"(forward|backward), (\d+) heads of (\d+), (full|causal), (\d+) x (\d+)", row["case"])
    return (found[1], *map(int, found.group(2, 3)), found[4], *map(int, found.group(5, 6))) if found else None


def of_grid(row):
    """Whether a row is of the grid of lengths, which has four times the product's own features on a GPU."""
    cell = attention_cell(row)
    return cell is not None and (cell[1] != 8 or cell[2] == 256)


def attention_table(metric, wanted):
    return lambda results, words: beside_peers(results, words, lambda row: row["metric"] == metric and wanted(row))


def memory_table(results, words):
    """Of the widest head size whose lengths form a grid, unmasked."""
    return attention_table("peak memory, MiB", lambda row: of_grid(row) and attention_cell(row)[2:4] == (128, "full"))(
        results, words)


TABLES = {
    "train": ("train-cpu", lambda r, w: compared(r, w, lambda row: True)),
    "train-gpu": ("train-h100", lambda r, w: compared(r, w, lambda row: True)),
    "decode": ("decode-cpu", lambda r, w: compared(r, w, lambda row: row["case"].startswith("beam"))),
    "decode-int8": ("decode-cpu", lambda r, w: compared(r, w, lambda row: row["case"].startswith("INT8"))),
    "decode-gpu": ("decode-h100", beside_peers),
    "kv-cache": ("decode-cpu", cache_table),
    "phases": ("decode-cpu", phase_table),
    "gemm": ("gemm-cpu", beside_peers),
    "gemm-gpu": ("gemm-h100", beside_peers),
    "attention": ("attention-cpu", attention_table("TFLOP/s", lambda row: True)),
    "attention-gpu": ("attention-h100", attention_table("TFLOP/s", of_grid)),
    "attention-own-gpu": ("attention-h100", attention_table("ms", lambda row: not of_grid(row)
                                                            and not row["case"].startswith("decode"))),
    "attention-decode-gpu": ("attention-h100", attention_table("GB/s", lambda row: True)),
    "attention-memory-gpu": ("attention-h100", memory_table),
}


def load(folder):
    results = {}
    for path in sorted(folder.glob("*.json")):
        with open(path, encoding="utf-8") as file:
            results[path.stem] = json.load(file)
    return results


def block(name, language, results):
    """The text between a pair of markers."""
    if name not in TABLES:
        raise SystemExit(f"report: there is no table bench:{name}; there are {', '.join(TABLES)}")
    stem, make = TABLES[name]
    benchmark, _, machine = stem.partition("-")
    device = "" if machine == "cpu" else " --device cuda"
    words = WORDS[language]
    of = results.get(stem)
    text = make(of, words) if of else None
    if text is None:
        return words["missing"].format(command=f"`floe bench {benchmark}{device}`") + "\n"
    return f"{text}\n\n{source_line(of, words)}\n"


def with_tables(text, results):
    return MARK.sub(lambda m: m[1] + block(m[2], "zh" if m[3] else "en", results) + m[4], text)


def documents(root):
    return sorted(root.glob("*.md")) + sorted((root / "docs").rglob("*.md"))


def charts(results, folder):
    import matplotlib

    matplotlib.use("svg")
    # The same file from the same numbers: no date, fixed ids.
    matplotlib.rcParams.update({"svg.hashsalt": "floe", "svg.fonttype": "none", "font.size": 10,
                                "axes.spines.top": False, "axes.spines.right": False})
    import matplotlib.pyplot as plot

    folder.mkdir(parents=True, exist_ok=True)

    def save(figure, name):
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        plot.close(figure)

    if "train-cpu" in results:
        rows = [r for r in results["train-cpu"]["rows"] if r["metric"] == "tokens/s"]
        figure, axes = plot.subplots(figsize=(7, 0.9 + 0.8 * len(rows)))
        for i, row in enumerate(rows):
            axes.barh(i - 0.18, row["floe"], 0.34, color="#2a6f97", label="Floe" if i == 0 else None)
            if row["peer"] is not None:
                axes.barh(i + 0.18, row["peer"], 0.34, color="#c9ada7", label=row["peer_name"] if i == 0 else None)
        axes.set_yticks(range(len(rows)), [r["case"].replace(", batch", "\nbatch") for r in rows])
        axes.invert_yaxis()
        axes.set_xlabel("training, tokens/s (source + target)")
        axes.legend(frameon=False)
        save(figure, "training-speed")

    cells = cache_cells(results["decode-cpu"]) if "decode-cpu" in results else {}
    if cells:
        batches = sorted({b for b, _ in cells})
        figure, axes = plot.subplots(figsize=(6, 3.6))
        for batch in batches:
            points = sorted((n, c["tokens/s"]["ratio"]) for (b, n), c in cells.items() if b == batch)
            axes.plot(*zip(*points), marker="o", label=f"batch {batch}")
        axes.axhline(1, color="#999999", linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.set_xlabel("output length")
        axes.set_ylabel("speed-up by the KV cache")
        axes.legend(frameon=False)
        save(figure, "kv-cache-speed-up")

        figure, grid = plot.subplots(1, len(batches), figsize=(8, 3.6), squeeze=False)
        colours = dict(zip(PHASES, ("#2a6f97", "#e07a5f", "#81b29a", "#f2cc8f", "#bbbbbb")))
        for axes, batch in zip(grid[0], batches):
            lengths = sorted(n for b, n in cells if b == batch)
            for offset, side in ((-0.2, "floe"), (0.2, "peer")):
                below = [0.0] * len(lengths)
                for phase in PHASES:
                    values = [cells[batch, n]["ms per step: " + phase][side] for n in lengths]
                    axes.bar([i + offset for i in range(len(lengths))], values, 0.36, below, color=colours[phase],
                             alpha=1 if side == "floe" else 0.55,
                             label=phase if side == "floe" and batch == batches[0] else None)
                    below = [x + y for x, y in zip(below, values)]
            axes.set_xticks(range(len(lengths)), lengths)
            axes.set_xlabel(f"output length, batch {batch}")
        grid[0][0].set_ylabel("ms per step (left: with cache)")
        grid[0][0].legend(frameon=False)
        save(figure, "decode-phases")

    attention_charts(results, plot, save)


def attention_charts(results, plot, save):
    """Speed and memory against length: a line for Floe and for each back end."""
    for stem, name in (("attention-cpu", "attention-cpu"), ("attention-h100", "attention-gpu")):
        if stem not in results:
            continue
        rows = [row for row in results[stem]["rows"] if attention_cell(row) and attention_cell(row)[2] in (64, 128)
                and of_grid(row)]
        for metric, kind in (("TFLOP/s", "speed"), ("peak memory, MiB", "memory")):
            panels = {}
            for row in rows:
                of, _, width, mask, _, length = attention_cell(row)
                if row["metric"] != metric or (kind == "memory" and (width, mask) != (128, "full")):
                    continue
                lines = panels.setdefault((of, width, mask), {})
                lines.setdefault("Floe", {})[length] = row["floe"]
                if row["peer"] is not None:
                    lines.setdefault(row["peer_name"], {})[length] = row["peer"]
            if not panels:
                continue
            columns = min(len(panels), 4)
            height = -(-len(panels) // columns)
            figure, grid = plot.subplots(height, columns, figsize=(3.2 * columns, 3.2 * height), squeeze=False)
            every = [axes for line in grid for axes in line]
            for axes, ((of, width, mask), lines) in zip(every, sorted(panels.items())):
                for peer, points in lines.items():
                    axes.plot(*zip(*sorted(points.items())), marker="o", label=peer,
                              linewidth=2 if peer == "Floe" else 1, color=PEER_COLOURS.get(peer))
                axes.set_title(f"{of}, d = {width}, {mask}", fontsize=10)
                axes.set_xscale("log", base=2)
                axes.set_xlabel("length")
                axes.xaxis.set_major_formatter("{x:g}")
                if kind == "memory":
                    axes.set_yscale("log", base=2)
                    axes.yaxis.set_major_formatter("{x:g}")
                else:
                    axes.set_ylim(bottom=0)
            for axes in every[len(panels):]:
                axes.set_visible(False)
            every[0].set_ylabel(metric)
            every[0].legend(frameon=False, fontsize=8)
            save(figure, f"{name}-{kind}")


def main(arguments, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--charts", action="store_true")
    given = parser.parse_args(arguments)
    results = load(root / "bench" / "results")
    stale = []
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        made = with_tables(text, results)
        if made == text:
            continue
        stale.append(path.relative_to(root))
        if not given.check:
            path.write_text(made, encoding="utf-8")
    if given.charts:
        charts(results, root / "docs" / "charts")
    for path in stale:
        print(f"report: {path} {'is not what bench/results says; run bench/report.py' if given.check else 'written'}")
    return 1 if given.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
