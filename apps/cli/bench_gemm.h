// `floe bench gemm`: matrix products through the matmul op, beside torch.matmul (bench/gemm_peer.py).
#pragma once
#include "bench_flags.h"

namespace floe {

// Writes bench/results/gemm-cpu.json or gemm-h100.json, or what --output says.
int bench_gemm(const BenchFlags& flags);

// All products of one turn in this process, for bench_gemm: `question` is what gemm_peer.py takes, the
// printed line what it prints.
int bench_gemm_one(const std::string& question);

}  // namespace floe
