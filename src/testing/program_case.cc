#include "testing/program_case.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "runtime/session.h"
#include "testing/op_case.h"
#include "testing/test_device.h"

namespace floe {

TensorPtr share(Tensor tensor) { return std::make_shared<Tensor>(std::move(tensor)); }

TensorPtr random_shared(DType dtype, const Shape& shape, uint64_t seed) {
  return share(random_tensor(dtype, shape, seed));
}

Tensor random_tensor(DType dtype, const Shape& shape, uint64_t seed, int64_t high, double scale) {
  Tensor tensor(dtype, shape);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    if (is_float(dtype)) {
      tensor.set(i, scale * normal(random));
    } else {
      tensor.set(i, static_cast<double>(random() % static_cast<uint64_t>(high)));
    }
  }
  return tensor;
}

ProgramResult run_program(const Graph& graph, const TensorMap& inputs, const TensorMap& states,
                          const CompileOptions& options, int threads) {
  const std::shared_ptr<const Program> program = test_compile({graph}, options);
  const std::unique_ptr<Device> device = open_test_device(threads);
  State state(device.get());
  for (const auto& [name, tensor] : states) state.set(name, copy_of(*tensor));
  Session session(program, test_kernels(), *device, state);
  std::vector<Feed> feeds;
  for (const auto& [name, tensor] : inputs) feeds.push_back({name, view_of(*tensor)});
  const std::vector<View> views = session.run(graph.name(), feeds);
  ProgramResult result;
  result.arena = session.arena_bytes();
  const ProgramEntry& entry = program->entry(graph.name());
  for (size_t k = 0; k < views.size(); ++k) {
    Tensor tensor(views[k].dtype, views[k].shape());
    // An output may be a strided view of a larger value.
    for (int64_t i = 0; i < tensor.size(); ++i) {
      int64_t rest = i;
      int64_t at = 0;
      for (int d = views[k].rank - 1; d >= 0; --d) {
        at += rest % views[k].dims[d] * views[k].strides[d];
        rest /= views[k].dims[d];
      }
      const size_t size = size_of(tensor.dtype());
      std::memcpy(static_cast<char*>(tensor.data()) + static_cast<size_t>(i) * size,
                  static_cast<const char*>(views[k].data) + static_cast<size_t>(at) * size, size);
    }
    result.outputs[entry.outputs[k].name] = share(std::move(tensor));
  }
  for (const std::string& name : state.names()) result.states[name] = share(copy_of(state.get(name)));
  return result;
}

void check_program(const Graph& graph, const TensorMap& inputs, const TensorMap& states, double ulps) {
  RefMap ref_inputs, ref_states;
  for (const auto& [name, tensor] : inputs) ref_inputs[name] = ref_of(*tensor);
  for (const auto& [name, tensor] : states) ref_states[name] = ref_of(*tensor);
  const Evaluation want = evaluate(graph, ref_inputs, ref_states);
  const ProgramResult got = run_program(graph, inputs, states);
  for (const auto& [name, value] : want.outputs)
    expect_close(*got.outputs.at(name), value, ulps, "output " + name);
  for (const auto& [name, tensor] : states) {
    const auto updated = want.updates.find(name);
    expect_close(*got.states.at(name), updated != want.updates.end() ? updated->second : ref_states.at(name),
                 ulps, "state " + name);
  }
}

}  // namespace floe
