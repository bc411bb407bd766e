// The ops that give a graph its doors: input (fed at each run), state (outlives runs), constant.
#include "ir/evaluate.h"
#include "ir/op.h"

namespace floe {
namespace {

std::vector<Type> declared_type(const InferArgs& args) {
  const Dims& dims = args.attrs.dims("dims");
  for (const Dim& dim : dims) {
    std::vector<std::string> names;
    dim.collect_symbols(&names);
    for (const std::string& name : names) {
      if (!args.symbols.has(name)) {
        args.fail("'{}': dim '{}' is not declared in the graph", args.attrs.text("name"), name);
      }
    }
  }
  return {{args.attrs.dtype("dtype"), dims}};
}

}  // namespace

void define_graph(OpTable& table) {
  OpDef input;
  input.name = "input";
  input.summary = "a value that the caller feeds at each run";
  input.infer = declared_type;
  table.add(std::move(input));

  OpDef state;
  state.name = "state";
  state.summary = "a value that outlives runs: parameter, optimizer moment, cache";
  state.infer = declared_type;
  table.add(std::move(state));

  OpDef constant;
  constant.name = "constant";
  constant.summary = "a value known when the graph is built";
  constant.infer = [](const InferArgs& args) -> std::vector<Type> {
    const Tensor& value = *args.attrs.tensor("value");
    Type type{value.dtype(), {}};
    for (const int64_t dim : value.shape()) type.dims.emplace_back(dim);
    return {type};
  };
  constant.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    return {ref_of(*args.attrs.tensor("value"))};
  };
  constant.differentiable = false;
  table.add(std::move(constant));
}

}  // namespace floe
