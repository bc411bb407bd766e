#!/usr/bin/env python3
"""bench/report.py on a small tree, and on the repository: its tables are what bench/results says."""
import contextlib
import importlib.util
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))
import report  # noqa: E402


def results(rows):
    return {"device": "a processor, 2 threads", "versions": {"floe": "0.1.0", "peer": "3"}, "date": "2026-01-02",
            "command": "floe bench", "rows": rows}


def row(case, metric, floe, peer=None, name=None, value=None):
    return {"case": case, "metric": metric, "floe": floe, "peer": peer, "peer_name": name, "ratio": value}


TRAIN = results([row("small", "tokens/s", 12345.6, 6172.8, "PyTorch", 2.0), row("small", "peak memory, MiB", 50.25)])
PHASES = [row("greedy, batch 1, length 64", "ms per step: " + p, 0.5, 1.0, "no cache", 2.0) for p in report.PHASES]
DECODE = results([row("greedy, batch 1, length 64", "tokens/s", 90.0, 100.0, "no cache", 0.9),
                  row("greedy, batch 1, length 64", "peak memory, MiB", 8.0, 16.0, "no cache", 2.0), *PHASES,
                  row("beam 4, batch 1, length 32", "tokens/s", 7.0, 3.5, "CTranslate2", 2.0)])


STEPS = results([row("greedy, batch 1", "ms/step", 0.2, 4.0, "generate", 20.0),
                 row("greedy, batch 1", "ms/step", 0.2, 0.3, "static", 1.5),
                 row("beam 4, batch 64", "ms/step", 0.5, 8.0, "generate", 16.0)])


def attention_rows(case, speed, memory):
    return [row(case, metric, floe, peer, "PyTorch, cuDNN", 1.0)
            for metric, (floe, peer) in (("TFLOP/s", speed), ("ms", (0.5, 0.5)), ("peak memory, MiB", memory))]


ATTENTION = results([*attention_rows("forward, 16 heads of 128, full, 32 x 512", (500, 400), (65, 66)),
                     *attention_rows("forward, 16 heads of 128, full, 16 x 1024", (600, 700), (65, 66)),
                     *attention_rows("forward, 16 heads of 128, causal, 32 x 512", (300, 200), (65, 66)),
                     *attention_rows("backward, 8 heads of 256, full, 8 x 2048", (355, 300), (70, 71)),
                     *attention_rows("forward, 8 heads of 64, full, padded, 256 x 64", (20, 10), (16, 16)),
                     row("decode, 32 over 8 heads of 128, full, 1 x 1 over 32768", "GB/s", 2500, 2060, "PyTorch, cuDNN", 1.2)])


class Report(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        (self.root / "bench" / "results").mkdir(parents=True)
        (self.root / "docs").mkdir()

    def write(self, name, of):
        (self.root / "bench" / "results" / name).write_text(json.dumps(of))

    def run_report(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = report.main(list(arguments), self.root)
        return code, printed.getvalue()

    def test_fills_what_stands_between_the_markers_and_nothing_else(self):
        readme = self.root / "README.md"
        readme.write_text("before\n<!-- bench:train -->\nold\n<!-- /bench -->\nafter\n")
        self.write("train-cpu.json", TRAIN)
        self.assertEqual(self.run_report()[0], 0)
        self.assertEqual(
            readme.read_text(),
            "before\n<!-- bench:train -->\n"
            "| case | metric | Floe | peer | ratio |\n|---|---|---|---|---|\n"
            "| small | tokens/s | 12,346 | 6,173 (PyTorch) | **2.00** |\n"
            "| small | peak memory, MiB | 50.2 |  |  |\n\n"
            "a processor, 2 threads; floe 0.1.0, peer 3; 2026-01-02. `floe bench`. Ratio above 1: Floe is better.\n"
            "<!-- /bench -->\nafter\n")

    def test_a_stale_table_is_named_and_left_as_it_is(self):
        page = self.root / "docs" / "speed.md"
        page.write_text("<!-- bench:decode -->\n<!-- /bench -->\n")
        self.write("decode-cpu.json", DECODE)
        code, printed = self.run_report("--check")
        self.assertEqual(code, 1)
        self.assertIn("docs/speed.md is not what bench/results says", printed)
        self.assertEqual(page.read_text(), "<!-- bench:decode -->\n<!-- /bench -->\n")
        self.run_report()
        self.assertEqual(self.run_report("--check"), (0, ""))

    def test_each_language_has_every_word(self):
        self.assertEqual(report.WORDS["en"].keys(), report.WORDS["zh"].keys())
        readme = self.root / "README.zh.md"
        readme.write_text("".join(f"<!-- bench:{name} zh -->\n<!-- /bench -->\n" for name in report.TABLES))
        self.write("train-cpu.json", TRAIN)
        self.write("decode-cpu.json", DECODE)
        self.run_report()
        text = readme.read_text()
        self.assertIn("| 批大小 | 输出长度 |", text)
        self.assertIn("| 1 | 64 | 90.0 | 100 | 0.90 | 8.00 / 16.0 |", text)
        self.assertIn("| 投影 | 0.500 | 1.00 |", text)
        self.assertIn("| beam 4, batch 1, length 32 | tokens/s | 7.00 | 3.50 (CTranslate2) | **2.00** |", text)
        self.assertNotIn("-->\n<!-- /bench", text)  # no table is left as it was

    def test_each_peer_has_a_column(self):
        readme = self.root / "README.md"
        readme.write_text("<!-- bench:decode-gpu -->\n<!-- /bench -->\n")
        self.write("decode-h100.json", STEPS)
        self.run_report()
        self.assertIn("| case | metric | Floe | generate (ratio) | static (ratio) |\n|---|---|---|---|---|\n"
                      "| greedy, batch 1 | ms/step | 0.200 | 4.00 (**20.00**) | 0.300 (**1.50**) |\n"
                      "| beam 4, batch 64 | ms/step | 0.500 | 8.00 (**16.00**) |  |\n", readme.read_text())

    def test_attention_has_a_table_for_each_question(self):
        names = ("attention-gpu", "attention-own-gpu", "attention-decode-gpu", "attention-memory-gpu")
        readme = self.root / "README.md"
        readme.write_text("".join(f"<!-- bench:{name} -->\n<!-- /bench -->\n" for name in names))
        self.write("attention-h100.json", ATTENTION)
        self.run_report()
        grid, own, decode, memory = readme.read_text().split("<!-- /bench -->\n")[:4]
        self.assertEqual(grid.count("TFLOP/s"), 4)
        self.assertIn("| backward, 8 heads of 256, full, 8 x 2048 | TFLOP/s | 355 | 300 (**1.00**) |", grid)
        self.assertIn("| forward, 8 heads of 64, full, padded, 256 x 64 | ms | 0.500 | 0.500 (**1.00**) |", own)
        self.assertEqual(own.count("| ms |"), 1)
        self.assertIn("| GB/s | 2,500 | 2,060 (**1.20**) |", decode)
        self.assertEqual(memory.count("peak memory, MiB"), 2)

    def test_results_without_a_peer_make_a_table_too(self):
        (self.root / "README.md").write_text("<!-- bench:gemm -->\n<!-- /bench -->\n")
        self.write("gemm-cpu.json", results([row("64x512x512, f32", "GB/s", 12.0)]))
        self.run_report()
        self.assertIn("| case | metric | Floe |\n|---|---|---|\n| 64x512x512, f32 | GB/s | 12.0 |\n",
                      (self.root / "README.md").read_text())

    def test_without_results_a_table_says_so(self):
        readme = self.root / "README.md"
        readme.write_text("".join(f"<!-- bench:{name} -->\n<!-- /bench -->\n" for name in ("kv-cache", "gemm-gpu")))
        self.run_report()
        self.assertIn("Not measured yet: `floe bench decode`.", readme.read_text())
        self.assertIn("Not measured yet: `floe bench gemm --device cuda`.", readme.read_text())

    def test_a_run_that_ended_early_says_so(self):
        readme = self.root / "README.md"
        readme.write_text("<!-- bench:train -->\n<!-- /bench -->\n")
        self.write("train-cpu.json", {**TRAIN, "incomplete": "no big model"})
        self.run_report()
        self.assertIn("Ratio above 1: Floe is better. Not the whole: no big model.\n", readme.read_text())

    def test_refuses_a_table_that_does_not_exist(self):
        (self.root / "README.md").write_text("<!-- bench:speed -->\n<!-- /bench -->\n")
        with self.assertRaisesRegex(SystemExit, "no table bench:speed; there are train, train-gpu, decode"):
            self.run_report()

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not installed")
    def test_charts_are_the_same_bytes_from_the_same_numbers(self):
        self.write("train-cpu.json", TRAIN)
        self.write("decode-cpu.json", DECODE)
        self.write("attention-h100.json", ATTENTION)
        self.run_report("--charts")
        charts = self.root / "docs" / "charts"
        first = {path.name: path.read_bytes() for path in charts.glob("*.svg")}
        self.assertEqual(set(first), {"training-speed.svg", "kv-cache-speed-up.svg", "decode-phases.svg",
                                      "attention-gpu-speed.svg", "attention-gpu-memory.svg"})
        self.run_report("--charts")
        self.assertEqual(first, {path.name: path.read_bytes() for path in charts.glob("*.svg")})

    def test_the_repository_says_what_was_measured(self):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = report.main(["--check"], ROOT)
        self.assertEqual(code, 0, printed.getvalue())


if __name__ == "__main__":
    unittest.main()
