// A whole graph, compiled and run on the test's device, against the reference evaluator.
#pragma once
#include <map>
#include <string>

#include "compile/compile.h"
#include "ir/evaluate.h"
#include "ir/graph.h"
#include "runtime/state.h"

namespace floe {

// Tensors do not copy, so that a map of them can be written in braces they are held by pointer here.
using TensorMap = std::map<std::string, TensorPtr, std::less<>>;

struct ProgramResult {
  TensorMap outputs;
  TensorMap states;  // all, after the run
  size_t arena = 0;
};

// Runs the graph as a program of one entry. States are copied before.
ProgramResult run_program(const Graph& graph, const TensorMap& inputs, const TensorMap& states,
                          const CompileOptions& options = {}, int threads = 2);

// Compiles, runs, evaluates in double, and compares every output and every updated state (expect_close with
// `ulps`).
void check_program(const Graph& graph, const TensorMap& inputs, const TensorMap& states, double ulps = 64);

// Normal values for floats, 0..high-1 for integers; the same for the same seed.
TensorPtr share(Tensor tensor);
Tensor random_tensor(DType dtype, const Shape& shape, uint64_t seed, int64_t high = 8, double scale = 1);
TensorPtr random_shared(DType dtype, const Shape& shape, uint64_t seed);

}  // namespace floe
