// Cases of attention that the tests of all devices build on.
#pragma once
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
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

// The gradient of a case of attention, with the out and lse that belong to its inputs.
inline OpCase backward(const OpCase& forward_case) {
  OpCase c = forward_case;
  c.op = "attention_grad";
  const std::vector<RefTensor> inputs = case_inputs(forward_case);
  const std::vector<RefTensor> results = reference(forward_case);
  for (size_t i = 0; i < inputs.size(); ++i) c.inputs[i] = CaseInput::of(tensor_of(inputs[i]));
  c.inputs.insert(c.inputs.begin() + 3,
                  {CaseInput::of(tensor_of(results[0])), CaseInput::of(tensor_of(results[1])),
                   CaseInput::normal(results[0].shape, results[0].dtype)});
  return c;
}

// Everything that attention can be asked for.
struct Asked {
  int64_t batch = 2, queries = 5, keys = 7, heads = 2, key_heads = 2, width = 8, value_width = 8;
  std::string causal = "none";
  std::vector<int32_t> lengths = {}, query_lengths = {};
  int64_t left = -1, right = -1;  // -1: no bound
  double softcap = 0;
  int64_t bias_batch = 0, bias_heads = 0;  // 0: no bias
  bool slopes = false;
  double dropout = 0;
  double scale = 0;  // 0: 1 / sqrt(width)
  DType dtype = DType::f32;
};

inline std::string text_of(const Asked& s) {
  return fmt::format(
      "{} B{} Sq{} Sk{} H{}/{} D{}/{} {} lengths {}/{} window {},{} cap {} bias {}x{}{} dropout {}",
      name_of(s.dtype), s.batch, s.queries, s.keys, s.heads, s.key_heads, s.width, s.value_width, s.causal,
      s.lengths.size(), s.query_lengths.size(), s.left, s.right, s.softcap, s.bias_batch, s.bias_heads,
      s.slopes ? " slopes" : "", s.dropout);
}

// Of q, k, v and what is asked for but dropout.
inline void add_masks(const Asked& s, OpCase* c) {
  const auto ids = [&](const char* name, const std::vector<int32_t>& values) {
    if (values.empty()) return;
    c->attrs.set(name, true);
    c->inputs.push_back(CaseInput::of(Tensor::from_ints({s.batch}, values)));
  };
  const auto width = static_cast<double>(std::max<int64_t>(1, s.width));
  c->attrs.set("causal", s.causal);
  c->attrs.set("scale", s.scale != 0 ? s.scale : 1 / std::sqrt(width));
  c->attrs.set("lengths", false);
  ids("lengths", s.lengths);
  ids("query_lengths", s.query_lengths);
  if (s.left >= 0) c->attrs.set("window_left", s.left);
  if (s.right >= 0) c->attrs.set("window_right", s.right);
  if (s.softcap > 0) c->attrs.set("softcap", s.softcap);
  if (s.bias_batch > 0) {
    c->attrs.set("bias", true);
    c->inputs.push_back(CaseInput::normal({s.bias_batch, s.bias_heads, s.queries, s.keys}));
  }
  if (s.slopes) {
    c->attrs.set("slopes", true);
    c->inputs.push_back(CaseInput::uniform({s.heads}, 0.05, 0.5).constant());
  }
}

inline OpCase forward(const Asked& s) {
  OpCase c{"attention",
           {CaseInput::normal({s.batch, s.queries, s.heads, s.width}, s.dtype),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.width}, s.dtype),
            CaseInput::normal({s.batch, s.keys, s.key_heads, s.value_width}, s.dtype)}};
  add_masks(s, &c);
  add_dropout(s.batch, s.dropout, &c);
  return c;
}

// By out and lse, of q, k, v and a bias.
inline OpCase every_gradient(const Asked& s) {
  OpCase c = backward(forward(s));
  c.attrs.set("dlse", true);
  c.inputs.insert(c.inputs.end() - (s.dropout > 0 ? 2 : 0), CaseInput::normal({s.batch, s.heads, s.queries}));
  if (s.bias_batch > 0) c.attrs.set("bias_gradient", true);
  return c;
}

// Runs a case of attention_grad twice, into results of their own and into slices of one merged gradient
// [B, S, 4, H, D] (of q, k, v, and a part that stays as it is): the bits must be equal. For as many keys as
// queries and as many key heads as heads.
inline void expect_slices_hold_the_same(const OpCase& c) {
  const std::vector<Tensor> want = run_kernel(c);
  const Shape& shape = want[0].shape();
  const DType dtype = want[0].dtype();
  const int64_t rows = shape[0] * shape[1], width = shape[2] * shape[3];
  Tensor merged(dtype, {shape[0], shape[1], 4, shape[2], shape[3]});
  for (int64_t i = 0; i < merged.size(); ++i) merged.set(i, 7);
  const std::unique_ptr<Device> device = open_test_device();
  const auto uploaded = [&](const Tensor& tensor) {
    DeviceBuffer memory(*device, tensor.bytes());
    device->upload(memory.data(), tensor.data(), tensor.bytes());
    return memory;
  };
  std::vector<Tensor> tensors;
  std::vector<DeviceBuffer> memory;
  std::vector<View> inputs, outputs;
  KernelSignature signature{c.op, {}, {}, {dtype, dtype, dtype}, &c.attrs};
  for (const RefTensor& input : case_inputs(c)) {
    tensors.push_back(tensor_of(input));
    memory.push_back(uploaded(tensors.back()));
    inputs.emplace_back(memory.back().data(), input.dtype, input.shape);
    signature.inputs.push_back(input.dtype);
    signature.ranks.push_back(static_cast<int>(input.shape.size()));
  }
  const DeviceBuffer merged_memory = uploaded(merged);
  for (int64_t part = 0; part < 3; ++part) {
    View view(static_cast<char*>(merged_memory.data()) + part * width * static_cast<int64_t>(size_of(dtype)),
              dtype, shape);
    view.strides = {shape[1] * 4 * width, 4 * width, shape[3], 1};
    outputs.push_back(view);
  }
  const Kernel* kernel = test_kernels().find(device->kind(), signature);
  ASSERT_NE(kernel, nullptr);
  EXPECT_EQ(kernel->strided_outputs, 0b111u);
  const BoundKernel bound = kernel->bind({c.attrs, inputs, outputs, 2, 0, device.get()});
  const DeviceBuffer workspace(*device, bound.workspace);
  bound.run({inputs, outputs, workspace.data(), device->pool(), nullptr, device->stream()});
  device->download(merged.data(), merged_memory.data(), merged.bytes());
  device->wait();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < 4 * width; ++i) {
      const int64_t part = i / width;
      const double expected = part == 3 ? 7 : want[static_cast<size_t>(part)].at(row * width + i % width);
      ASSERT_EQ(merged.at(row * 4 * width + i), expected) << "row " << row << ", part " << part;
    }
  }
}

}  // namespace floe
