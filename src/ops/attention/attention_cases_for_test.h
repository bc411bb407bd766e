// Cases of attention that the tests of all devices build on.
#pragma once
#include <numeric>
#include <vector>

#include "testing/op_case.h"

namespace floe {

// The attributes, and where the rate is above 0 the seed and ordinals.
inline void add_dropout(int64_t batch, double rate, OpCase* c) {
  c->attrs.set("dropout", rate);
  c->attrs.set("op_id", int64_t{11});
  if (rate == 0) return;
  std::vector<int32_t> ordinals(static_cast<size_t>(batch));
  std::iota(ordinals.begin(), ordinals.end(), 40);
  c->inputs.push_back(CaseInput::of(Tensor::from_ints({}, {-7})));
  c->inputs.push_back(CaseInput::of(Tensor::from_ints({batch}, ordinals)));
}

// The gradient of a case of attention, with the out and lse that belong to its q, k, v.
inline OpCase backward(const OpCase& forward_case) {
  OpCase c = forward_case;
  c.op = "attention_grad";
  const std::vector<RefTensor> inputs = case_inputs(forward_case);
  const std::vector<RefTensor> results = reference(forward_case);
  for (size_t i = 0; i < 3; ++i) c.inputs[i] = CaseInput::of(tensor_of(inputs[i]));
  c.inputs.insert(c.inputs.begin() + 3,
                  {CaseInput::of(tensor_of(results[0])), CaseInput::of(tensor_of(results[1])),
                   CaseInput::normal(results[0].shape, results[0].dtype)});
  return c;
}

}  // namespace floe
