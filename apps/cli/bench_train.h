// `floe bench train`: updates of random batches beside the same model in PyTorch (bench/train_peer.py).
#pragma once
#include "bench_flags.h"

namespace floe {

// Writes bench/results/train-cpu.json, or what --output says.
int bench_train(const BenchFlags& flags);

// One measurement in this process, for bench_train: `question` is what train_peer.py takes, the printed line
// what it prints, with `profile` (milliseconds of an update by op and place).
int bench_train_one(const std::string& question);

}  // namespace floe
