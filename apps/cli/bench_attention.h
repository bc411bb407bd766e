// `floe bench attention`: attention, its gradient and its decoding over a cache, beside the back ends of
// PyTorch's scaled_dot_product_attention (bench/attention_peer.py).
#pragma once
#include "bench_flags.h"

namespace floe {

// Writes bench/results/attention-cpu.json or attention-h100.json, or what --output says.
int bench_attention(const BenchFlags& flags);

// Answers for bench_attention what attention_peer.py answers: `settings` is what that takes; cases come from
// standard input, one a line.
int bench_attention_one(const std::string& settings);

}  // namespace floe
