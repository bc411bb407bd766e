// `floe bench decode`: forced lengths, with and without the key/value cache, and beside CTranslate2 with the
// same weights (bench/decode_peer.py).
#pragma once
#include "bench_flags.h"

namespace floe {

// Writes bench/results/decode-cpu.json, or what --output says.
int bench_decode(const BenchFlags& flags);

// One measurement in this process, for bench_decode: `question` is what decode_peer.py takes (without
// "model": random weights) and whether there is a `cache`; the printed line what it prints, with seconds by
// phase. With "save": only writes the model of random weights there.
int bench_decode_one(const std::string& question);

}  // namespace floe
