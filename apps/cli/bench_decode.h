// `floe bench decode`: forced lengths, with and without the key/value cache, beside CTranslate2 with the same
// weights (bench/decode_peer.py), and by the step beside PyTorch (bench/decode_hf.py, decode_static.py).
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>

#include "bench_flags.h"

namespace floe {

class BenchReport;

struct DecodeShape {
  int64_t d_model, d_ff, layers, heads, vocabulary, max_positions;
};
// The beginning of a question to bench_decode_one or to a peer.
nlohmann::ordered_json decode_question(const DecodeShape& shape, const BenchFlags& flags);
std::string decode_model_text(const DecodeShape& shape, int64_t source);

// Milliseconds of a greedy or beam step, beside the two ways to decode with PyTorch.
void compare_steps(const BenchFlags& flags, BenchReport& report);

// Writes bench/results/decode-cpu.json or decode-h100.json, or what --output says.
int bench_decode(const BenchFlags& flags);

// One measurement in this process, for bench_decode: `question` is what decode_peer.py takes (without
// "model": random weights) and whether there is a `cache`; the printed line what it prints, with seconds by
// phase. With "first": also `first_seconds`, of a run that ends after one token. With "save": only writes the
// model of random weights there.
int bench_decode_one(const std::string& question);

}  // namespace floe
