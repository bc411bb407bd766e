// What the definitions of attention, attention_grad and attention_weights share.
#pragma once
#include <span>

#include "ir/evaluate.h"
#include "ir/op.h"
#include "ops/attention/attention.h"

namespace floe {

// Attributes and optional inputs by name; `first` is where the optional inputs begin.
AttentionArgs attention_args(const Attrs& attrs, std::span<const Value> inputs, size_t first);

std::vector<Type> infer_attention(const InferArgs& args);
std::vector<Type> infer_attention_grad(const InferArgs& args);
std::vector<Type> infer_attention_weights(const InferArgs& args);

Values attention_meaning(Builder& b, const Node& node, std::span<const Value> inputs);
Values attention_grad_meaning(Builder& b, const Node& node, std::span<const Value> inputs);
Values attention_weights_meaning(Builder& b, const Node& node, std::span<const Value> inputs);

std::vector<RefTensor> evaluate_attention(const EvalArgs& args);
std::vector<RefTensor> evaluate_attention_grad(const EvalArgs& args);
std::vector<RefTensor> evaluate_attention_weights(const EvalArgs& args);

}  // namespace floe
