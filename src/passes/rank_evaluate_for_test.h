// The reference evaluator on ranks that are threads: collectives go through a ThreadCommunicator, in double.
#pragma once
#include <string>
#include <vector>

#include "comm/thread_communicator.h"
#include "ir/evaluate.h"
#include "ir/op.h"

namespace floe {

inline View double_view(RefTensor& tensor) { return {tensor.f.data(), DType::f64, tensor.shape}; }

inline std::optional<std::vector<RefTensor>> evaluate_collective(Communicator& comm, const Node& node,
                                                                 std::span<const RefTensor> inputs) {
  const std::string& op = node.op->name;
  if (op != "all_reduce" && op != "all_gather" && op != "local_shard" && op != "reduce_scatter")
    return std::nullopt;
  RefTensor x = inputs[0];
  Shape shape = x.shape;
  const auto axis = static_cast<size_t>(node.attrs.integer("axis", 0));
  if (op == "all_gather") shape[axis] *= comm.size();
  if (op == "local_shard" || op == "reduce_scatter") shape[axis] /= comm.size();
  RefTensor y(x.dtype, shape);
  if (op == "local_shard") {
    int64_t inner = 1;
    for (size_t i = axis; i < shape.size(); ++i) inner *= shape[i];
    for (int64_t at = 0; at < y.size(); ++at) {
      y.f[static_cast<size_t>(at)] =
          x.f[static_cast<size_t>((at / inner * comm.size() + comm.rank()) * inner + at % inner)];
    }
    return {{y}};
  }
  const CollectiveOp kind = op == "all_gather"                   ? CollectiveOp::all_gather
                            : op == "reduce_scatter"             ? CollectiveOp::reduce_scatter
                            : node.attrs.text("reduce") == "max" ? CollectiveOp::all_reduce_max
                                                                 : CollectiveOp::all_reduce_sum;
  comm.run({.op = kind, .axis = static_cast<int>(axis), .in = double_view(x), .out = double_view(y)});
  return {{y}};
}

// Every rank's evaluation of the same graph on the same inputs and its own states.
inline std::vector<Evaluation> evaluate_on_ranks(const Graph& graph, const RefMap& inputs,
                                                 const std::vector<RefMap>& states,
                                                 const Binding& binding = {}) {
  std::vector<Evaluation> results(states.size());
  run_ranks({.ranks = static_cast<int>(states.size())}, [&](Communicator& comm) {
    const auto rank = static_cast<size_t>(comm.rank());
    results[rank] = evaluate(graph, inputs, states[rank], binding,
                             [&](const Node& node, std::span<const RefTensor> operands) {
                               return evaluate_collective(comm, node, operands);
                             });
  });
  return results;
}

}  // namespace floe
