#!/usr/bin/env python3
"""`floe profile train` with a tiny model: its sums add up, table and JSON say the same, mistakes are named.

    tools/profile_test.py FLOE
"""
import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

FLOE = sys.argv.pop(1)


def floe(*arguments):
    return subprocess.run([FLOE, "profile", *arguments], capture_output=True, text=True)


class Profile(unittest.TestCase):
    def test_train(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "profile.json")
            run = floe("train", "--quick", "--runs", "2", "--threads", "2", "--top", "3", "--json", path)
            self.assertEqual(run.returncode, 0, run.stderr)
            profile = json.loads(path.read_text())
        lines, ceilings = profile["lines"], profile["ceilings"]
        self.assertEqual(profile["device"], "cpu")
        self.assertEqual(profile["runs"], 2)
        self.assertGreater(profile["run_ms"], 0)
        self.assertTrue(math.isclose(sum(line["ms"] for line in lines), profile["sum_ms"]))
        self.assertTrue(math.isclose(sum(line["share"] for line in lines), 1))
        self.assertTrue(math.isclose(profile["coverage"], profile["sum_ms"] / profile["run_ms"]))
        self.assertEqual(sum(line["calls"] for line in lines), profile["marks"])
        self.assertEqual(lines, sorted(lines, key=lambda line: -line["ms"]))
        for line in lines:
            floor = max(line["gb"] / ceilings["copy_gb_per_s"], line["gflop"] / 1e3 / ceilings["f32_tflop_per_s"])
            self.assertTrue(math.isclose(line["floor_ms"], 1e3 * floor), line)
            self.assertTrue(math.isclose(line["roofline"], line["floor_ms"] / line["ms"]), line)
        self.assertIn("encoder.0.self_attention.out", {line["layer"] for line in lines if line["op"] == "matmul"})
        self.assertIn(f"sum of its kernels' times: {profile['sum_ms']:.3f} ms, {100 * profile['coverage']:.1f} %",
                      run.stdout)
        self.assertIn(f"the 3 longest of {len(lines)} lines", run.stdout)
        longest = lines[0]
        rows = run.stdout.split("longest of")[1].splitlines()[2:]
        self.assertEqual(len(rows), 3)
        self.assertTrue(rows[0].startswith(longest["op"]))
        self.assertIn(longest["result"], rows[0])

    def test_sizes_are_taken(self):
        run = floe("train", "--quick", "--runs", "1", "--batch", "2", "--source", "5", "--target", "7")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("batch 2x5x7", run.stdout.splitlines()[0])

    def test_refusals(self):
        for arguments, message in [
                ([], "profile looks at train or translate"),
                (["train", "--case", "huge"], "--case is one of all, multi30k, tatoeba, small, base-16x32, base-128x32, not 'huge'"),
                (["train", "--case", "all"], "--case all: a profile is of one case"),
                (["train", "--runs", "0"], "--runs is 0; it must be at least 1"),
                (["train", "--top", "-1"], "--top is -1; it must be at least 0"),
                (["train", "--batch", "0"], "--batch is 0; it must be at least 1"),
                (["train", "--precision", "f8"], "--precision: 'f8' is none of f32, bf16"),
                (["train", "--device", "tpu"], "--device: 'tpu' is none of cpu, cuda"),
                (["train", "--runz", "1"], "train has no option --runz; did you mean --runs?"),
                (["translate"], "--model is missing")]:
            run = floe(*arguments)
            self.assertEqual(run.returncode, 2, arguments)
            self.assertIn(message, run.stderr)
            self.assertEqual(run.stdout, "")


if __name__ == "__main__":
    unittest.main()
