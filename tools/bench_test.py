#!/usr/bin/env python3
"""`floe bench` with tiny models and no peers: the results have the form that bench/report.py reads.

    tools/bench_test.py FLOE
"""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FLOE = sys.argv.pop(1)


class Bench(unittest.TestCase):
    def bench(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, "results", "cpu.json")
            subprocess.run([FLOE, "bench", *arguments, "--quick", "--output", output], check=True, capture_output=True)
            return json.loads(output.read_text())

    def refusal(self, *arguments):
        run = subprocess.run([FLOE, "bench", *arguments], capture_output=True, text=True)
        self.assertEqual(run.returncode, 2)
        return run.stderr

    def check_head(self, results):
        self.assertRegex(results["device"], r".+, 2 threads$")
        self.assertEqual(set(results["versions"]), {"floe", "compiler"})
        self.assertRegex(results["date"], r"^\d{4}-\d\d-\d\d$")
        for row in results["rows"]:
            self.assertEqual(list(row), ["case", "metric", "floe", "peer", "peer_name", "ratio"])
            self.assertGreaterEqual(row["floe"], 0)

    def test_train(self):
        results = self.bench("train")
        self.check_head(results)
        self.assertEqual(results["command"], "floe bench train --case all --threads 2 --rounds 3 --quick")
        self.assertEqual([row["metric"] for row in results["rows"]], ["tokens/s", "peak memory, MiB"])
        for row in results["rows"]:
            self.assertGreater(row["floe"], 0)
            self.assertIsNone(row["peer"])
            self.assertIsNone(row["ratio"])
        (profile,) = results["profiles"].values()
        self.assertIn("matmul", profile)

    def test_decode(self):
        results = self.bench("decode")
        self.check_head(results)
        phases = {"ms per step: " + p for p in ("projections", "attention", "vocabulary", "encoder", "other")}
        cases = {}
        for row in results["rows"]:
            cases.setdefault(row["case"], {})[row["metric"]] = row
        self.assertEqual(set(cases), {f"greedy, batch {b}, length {n}" for b in (1, 2) for n in (4, 8)} |
                         {f"{kind}beam 2, batch {b}, length 4" for b in (1, 2) for kind in ("", "INT8, ")})
        for case, metrics in cases.items():
            speed = metrics["tokens/s"]
            self.assertGreater(speed["floe"], 0)
            if "beam" in case:
                self.assertEqual(set(metrics), {"tokens/s", "peak memory, MiB"})
                self.assertIsNone(speed["peer"])
                continue
            self.assertEqual(set(metrics), {"tokens/s", "peak memory, MiB"} | phases)
            self.assertEqual(speed["peer_name"], "Floe without KV cache")
            self.assertAlmostEqual(speed["ratio"], speed["floe"] / speed["peer"])
            memory = metrics["peak memory, MiB"]
            self.assertAlmostEqual(memory["ratio"], memory["peer"] / memory["floe"])

    def test_decode_steps(self):
        results = self.bench("decode", "--case", "steps")
        self.check_head(results)
        metrics = {}
        for row in results["rows"]:
            self.assertIsNone(row["peer"])
            metrics.setdefault(row["case"], {})[row["metric"]] = row["floe"]
        self.assertEqual(list(metrics), ["greedy, batch 1", "greedy, batch 2", "beam 2, batch 2"])
        for (case, of), sentences in zip(metrics.items(), (1, 2, 2)):
            self.assertEqual(list(of), ["ms/step", "tokens/s", "tokens/s with the encoder"])
            self.assertAlmostEqual(of["ms/step"] * of["tokens/s"], 1e3 * sentences)
            self.assertGreater(of["tokens/s with the encoder"], 0)
        self.assertEqual(list(results["profiles"]), ["beam 1, batch 1", "beam 1, batch 2", "beam 2, batch 2"])

    def test_gemm(self):
        results = self.bench("gemm")
        self.check_head(results)
        self.assertEqual([(row["case"], row["metric"]) for row in results["rows"]],
                         [("4x8x16, f32", "GB/s"), ("128x8x16, f32", "TFLOP/s")])
        for row in results["rows"]:
            self.assertGreater(row["floe"], 0)
            self.assertIsNone(row["peer"])

    def test_attention(self):
        results = self.bench("attention")
        self.check_head(results)
        metrics = {}
        for row in results["rows"]:
            self.assertIsNone(row["peer"])
            metrics.setdefault(row["case"], {})[row["metric"]] = row["floe"]
        every = [f"{of}, 2 heads of 8, causal, padded, dropout 0.25, 3 x 8" for of in ("forward", "backward")]
        self.assertEqual(list(metrics), ["forward, 2 heads of 8, full, 2 x 8", "backward, 2 heads of 8, full, 2 x 8",
                                         "decode, 4 over 2 heads of 8, full, 2 x 1 over 20", *every])
        for case, of in metrics.items():
            speed = "GB/s" if case.startswith("decode") else "TFLOP/s"
            self.assertEqual(list(of), [speed, "ms", "peak memory, MiB"])
            for value in of.values():
                self.assertGreater(value, 0)
        # 4 products of 8 for 2 x 8 x 8 pairs and 2 heads; 2.5 times that backward.
        forward, backward = (metrics[f"{of}, 2 heads of 8, full, 2 x 8"] for of in ("forward", "backward"))
        self.assertAlmostEqual(forward["TFLOP/s"] * forward["ms"] * 1e9 / (4 * 8 * 2 * 8 * 8 * 2), 1)
        self.assertAlmostEqual(backward["TFLOP/s"] * backward["ms"] * 1e9 / (10 * 8 * 2 * 8 * 8 * 2), 1)
        # Keys 2 to 8 of three rows are seen, 4 + 6 + 8; half of them when causal.
        padded = metrics[every[0]]
        self.assertAlmostEqual(padded["TFLOP/s"] * padded["ms"] * 1e9 / (4 * 8 * (4 + 6 + 8) * 8 * 2 / 2), 1)

    def test_refusals(self):
        self.assertIn("bench measures train, decode, gemm or attention", self.refusal())
        self.assertIn("train has no option --tread; did you mean --threads?", self.refusal("train", "--tread", "2"))
        self.assertIn("--case is one of all, multi30k, tatoeba, small, base-16x32, base-128x32, not 'huge'",
                      self.refusal("train", "--case", "huge"))
        self.assertIn("--case is one of all, cache, int8, peer, steps, not 'x'", self.refusal("decode", "--case", "x"))
        self.assertIn("--case is one of all, steps, not 'cache'",
                      self.refusal("decode", "--case", "cache", "--device", "cuda"))
        self.assertIn("--case is all: the products are measured together, not 'x'",
                      self.refusal("gemm", "--case", "x"))
        self.assertIn("--case is one of all, forward, backward, own, decode, memory, not 'x'",
                      self.refusal("attention", "--case", "x"))
        self.assertIn("--rounds is 0; it must be at least 1", self.refusal("train", "--rounds", "0"))

    def test_a_peer_that_fails_is_named(self):
        run = subprocess.run([FLOE, "bench", "train", "--quick", "--peer", "/no/python", "--output", "/dev/null"],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertIn("/no/python bench/train_peer.py", run.stderr)
        self.assertIn("cannot be started", run.stderr)
        run = subprocess.run([FLOE, "bench", "attention", "--quick", "--peer", "/no/python", "--output", "/dev/null"],
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"/no/python bench/attention_peer.py .* cannot be started")


if __name__ == "__main__":
    unittest.main()
