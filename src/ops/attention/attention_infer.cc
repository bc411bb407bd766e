// Which operands attention, attention_grad and attention_weights take, and what they give.
#include <cmath>

#include "ops/attention/attention_inputs_kernel.h"
#include "ops/attention/attention_parts.h"

namespace floe {
namespace {

void check_attributes(const InferArgs& args) {
  const std::string& causal = args.attrs.text("causal");
  if (causal != "none" && causal != "top_left" && causal != "bottom_right") {
    args.fail("causal must be none, top_left or bottom_right, got '{}'", causal);
  }
  const double dropout = args.attrs.number("dropout", 0);
  if (!(dropout >= 0 && dropout < 1)) args.fail("dropout must be in [0, 1), got {}", dropout);
  const double softcap = args.attrs.number("softcap", 0);
  if (!(softcap >= 0 && std::isfinite(softcap)))
    args.fail("softcap must be 0 (none) or a number above it, got {}", softcap);
  for (const char* side : {"window_left", "window_right"}) {
    const int64_t window = args.attrs.integer(side, 0);
    if (window < 0) args.fail("{} must be 0 or above, or absent where all is seen, got {}", side, window);
  }
  const auto is_gradients = [&](const char* name) {
    if (args.attrs.flag(name, false) && args.op.name != "attention_grad")
      args.fail("{} is for attention_grad alone", name);
  };
  is_gradients("dlse");
  is_gradients("bias_gradient");
  if (args.attrs.flag("bias_gradient", false) && !args.attrs.flag("bias", false))
    args.fail("there is no bias to give a gradient of");
}

std::string optional_text(const Attrs& attrs) {
  std::string text = fmt::format("lengths = {}", attrs.flag("lengths"));
  for (const char* name : {"query_lengths", "bias", "slopes", "dlse"}) {
    if (attrs.flag(name, false)) text += fmt::format(", {} = true", name);
  }
  return text;
}

// lse, and dlse.
Type lse_type(const InferArgs& args) {
  const Type& q = args.inputs[0];
  return {DType::f32, {q.dim(0), q.dim(2), q.dim(1)}};
}

void check_bias(const InferArgs& args, const Type& type) {
  const Type &q = args.inputs[0], &k = args.inputs[1];
  const auto one_or = [&](int at, const Dim& dim) {
    return (type.dim(at).is_constant() && type.dim(at).constant() == 1) || args.equal(type.dim(at), dim);
  };
  if (type.dtype != DType::f32 || type.rank() != 4 || !one_or(0, q.dim(0)) || !one_or(1, q.dim(2)) ||
      !args.equal(type.dim(2), q.dim(1)) || !args.equal(type.dim(3), k.dim(1))) {
    args.fail("bias must be f32[{} or 1, {} or 1, {}, {}], got {}", q.dim(0).text(), q.dim(2).text(),
              q.dim(1).text(), k.dim(1).text(), text_of(type));
  }
}

void check_optional(const InferArgs& args, size_t first) {
  check_attributes(args);
  const AttentionInputs at = AttentionInputs::of(args.attrs, first);
  if (args.inputs.size() != at.count) {
    args.fail("takes {} inputs with {} and dropout = {}, got {}", at.count, optional_text(args.attrs),
              args.attrs.number("dropout", 0), args.inputs.size());
  }
  const Type& q = args.inputs[0];
  const auto expect = [&](size_t input, const char* what, const Type& type) {
    if (input == AttentionInputs::kAbsent) return;
    const Type& got = args.inputs[input];
    bool fits = got.dtype == type.dtype && got.rank() == type.rank();
    for (int i = 0; fits && i < type.rank(); ++i) fits = args.equal(got.dim(i), type.dim(i));
    if (!fits) args.fail("{} must be {}, got {}", what, text_of(type), text_of(got));
  };
  const Type per_row{DType::i32, {q.dim(0)}};
  expect(at.lengths, "lengths", per_row);
  expect(at.query_lengths, "query_lengths", per_row);
  if (at.bias != AttentionInputs::kAbsent) check_bias(args, args.inputs[at.bias]);
  expect(at.slopes, "slopes", {DType::f32, {q.dim(2)}});
  expect(at.dlse, "dlse", lse_type(args));
  expect(at.seed, "seed", {DType::i32, {}});
  expect(at.ordinals, "ordinals", per_row);
}

void check_query_and_key(const InferArgs& args) {
  for (int i = 0; i < 2; ++i) {
    args.require_float(i);
    args.require_rank(i, 4);
  }
  const Type& q = args.inputs[0];
  const Type& k = args.inputs[1];
  if (q.dtype != k.dtype) args.fail("q and k must have one type, got {} and {}", text_of(q), text_of(k));
  if (!args.equal(q.dim(0), k.dim(0)) || !args.equal(q.dim(3), k.dim(3))) {
    args.fail("q and k must agree in batch and head size, got {} and {}", text_of(q), text_of(k));
  }
  for (const Dim& heads : {q.dim(2), k.dim(2)}) {
    if (!heads.is_constant() || heads.constant() < 1) {
      args.fail("the number of heads must be a number above 0, got {}", heads.text());
    }
  }
  if (q.dim(2).constant() % k.dim(2).constant() != 0) {
    args.fail("{} query heads are no multiple of {} key heads", q.dim(2).text(), k.dim(2).text());
  }
}

void check_value(const InferArgs& args) {
  args.require_rank(2, 4);
  const Type& k = args.inputs[1];
  const Type& v = args.inputs[2];
  if (v.dtype != k.dtype || !args.equal(k.dim(0), v.dim(0)) || !args.equal(k.dim(1), v.dim(1)) ||
      !args.equal(k.dim(2), v.dim(2))) {
    args.fail("k and v must agree in all but head size, got {} and {}", text_of(k), text_of(v));
  }
}

std::vector<Type> out_and_lse(const InferArgs& args) {
  const Type& q = args.inputs[0];
  return {{q.dtype, {q.dim(0), q.dim(1), q.dim(2), args.inputs[2].dim(3)}}, lse_type(args)};
}

}  // namespace

std::vector<Type> infer_attention(const InferArgs& args) {
  check_query_and_key(args);
  check_value(args);
  check_optional(args, 3);
  return out_and_lse(args);
}

std::vector<Type> infer_attention_grad(const InferArgs& args) {
  check_query_and_key(args);
  check_value(args);
  check_optional(args, 6);
  const std::vector<Type> forward = out_and_lse(args);
  const auto expect = [&](size_t at, const char* what, const Type& type) {
    if (args.inputs[at] != type)
      args.fail("{} must be {}, got {}", what, text_of(type), text_of(args.inputs[at]));
  };
  expect(3, "out", forward[0]);
  expect(4, "lse", forward[1]);
  expect(5, "dout", forward[0]);
  std::vector<Type> grads{args.inputs[0], args.inputs[1], args.inputs[2]};
  if (args.attrs.flag("bias_gradient", false))
    grads.push_back(args.inputs[AttentionInputs::of(args.attrs, 6).bias]);
  return grads;
}

std::vector<Type> infer_attention_weights(const InferArgs& args) {
  check_query_and_key(args);
  check_optional(args, 2);
  const Type& q = args.inputs[0];
  return {{DType::f32, {q.dim(0), q.dim(2), q.dim(1), args.inputs[1].dim(1)}}};
}

}  // namespace floe
