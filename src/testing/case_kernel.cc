#include "testing/case_kernel.h"

#include <cstring>
#include <random>

#include "compile/print_cuda.h"
#include "ops/group/lower.h"

namespace floe {
namespace {

Type fixed_type(DType dtype, const Shape& shape) {
  Type type{dtype, {}};
  for (const int64_t dim : shape) type.dims.emplace_back(dim);
  return type;
}

}  // namespace

Shape fixed_shape(const Type& type) {
  Shape shape;
  for (const Dim& dim : type.dims) shape.push_back(dim.constant());
  return shape;
}

CaseGraph graph_of(const OpCase& c) {
  CaseGraph built;
  Builder b(built.graph);
  for (size_t k = 0; k < c.inputs.size(); ++k) {
    built.inputs.push_back(
        b.input("x" + std::to_string(k), fixed_type(c.inputs[k].dtype, c.inputs[k].shape)));
  }
  built.results = b.add_all(c.op, built.inputs, c.attrs);
  return built;
}

ChosenKernel choose(const OpCase& c, const CaseGraph& built, Device& device) {
  const Node& node = built.graph.producer(built.results[0]);
  ChosenKernel chosen;
  chosen.attrs = node.attrs;
  if (node.op->pointwise) {
    const auto tape = std::make_shared<Tape>(lower_node(built.graph, node));
    chosen.attrs.set("tape", TapePtr(tape));
    if (!device.on_host()) {
      std::vector<View> inputs, outputs;
      for (const CaseInput& input : c.inputs) inputs.emplace_back(nullptr, input.dtype, input.shape);
      for (const Type& type : node.types) outputs.emplace_back(nullptr, type.dtype, fixed_shape(type));
      chosen.module = device.build(cuda_source(*tape, inputs, outputs, &chosen.attrs));
    }
  }
  KernelSignature signature{node.op->pointwise ? std::string_view("group") : c.op, {}, {}, {}, &chosen.attrs};
  for (const CaseInput& input : c.inputs) {
    signature.inputs.push_back(input.dtype);
    signature.ranks.push_back(static_cast<int>(input.shape.size()));
  }
  for (const Type& type : node.types) signature.outputs.push_back(type.dtype);
  chosen.kernel = kernels_of(device.kind()).find(device.kind(), signature);
  chosen.attrs = chosen.attrs.bind({});
  return chosen;
}

std::vector<Tensor> input_tensors(const OpCase& c) {
  std::vector<Tensor> tensors;
  std::mt19937_64 random(c.seed);
  for (const CaseInput& input : c.inputs) {
    if (input.fill == CaseInput::Fill::given) {
      Tensor copy(input.value->dtype(), input.value->shape());
      if (copy.bytes() > 0) std::memcpy(copy.data(), input.value->data(), copy.bytes());
      tensors.push_back(std::move(copy));
      continue;
    }
    Tensor tensor(input.dtype, input.shape);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < tensor.size(); ++i) {
      switch (input.fill) {
        case CaseInput::Fill::normal:
          tensor.set(i, normal(random));
          break;
        case CaseInput::Fill::uniform:
          tensor.set(i, std::uniform_real_distribution<double>(input.low, input.high)(random));
          break;
        default:
          tensor.set(i, static_cast<double>(std::uniform_int_distribution<int64_t>(
                            static_cast<int64_t>(input.low), static_cast<int64_t>(input.high) - 1)(random)));
      }
    }
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace floe
