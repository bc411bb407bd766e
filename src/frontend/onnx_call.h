// One node of an ONNX graph while it becomes ops of the IR: its operands, its attributes, and what its rule
// needs. A rule is a function from a call to the node's results, in a table by operator.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "frontend/known_values.h"
#include "frontend/onnx_proto.h"
#include "ir/builder.h"

namespace floe {

// A symbol must be bounded more tightly for the graph to hold: the model is read once more with that bound.
class BoundNeeded : public Error {
 public:
  BoundNeeded(std::string symbol_in, bool upper_in, int64_t bound_in, const std::string& text)
      : Error(ErrorKind::user, text), symbol(std::move(symbol_in)), upper(upper_in), bound(bound_in) {}
  std::string symbol;
  bool upper;
  int64_t bound;
};

struct OnnxCall {
  Builder& b;
  KnownValues& known;
  const OnnxNode& node;
  int64_t opset;
  const std::map<std::string, OnnxAttribute>* arguments;       // of the function that the node is part of
  std::function<Values(const OnnxGraph&, const Values&)> run;  // a graph among the attributes
  std::string folder;
  Values in;  // no value where an operand is left out

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    throw Error(ErrorKind::user, fmt::format(text, std::forward<Args>(args)...));
  }

  bool has(size_t i) const { return i < in.size() && in[i]; }
  Value x(size_t i = 0) const;  // refuses when it is left out
  Type type(size_t i = 0) const { return b.type(x(i)); }
  int rank(size_t i = 0) const { return type(i).rank(); }
  bool wants(size_t output) const { return output < node.outputs.size() && !node.outputs[output].empty(); }

  const OnnxAttribute* attribute(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double number(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  std::optional<std::vector<int64_t>> integers(std::string_view name) const;

  // Refuse with `what` when a value depends on more than constants, shapes and offered inputs.
  Dims dims(Value value, std::string_view what) const;
  std::vector<int64_t> fixed(Value value, std::string_view what) const;
  double scalar(Value value, std::string_view what) const;
  // From input i, or from the attribute where the input is left out or the opset had none.
  std::optional<std::vector<int64_t>> axes(size_t i, std::string_view name) const;
  int64_t one(Value value, std::string_view what) const;  // a whole number
  void want_rank(Value value, int rank, std::string_view what) const;
  int axis(int64_t axis, int rank) const;  // -1 is the last
  // Is low <= high? Where only the bound of one symbol is wanting, the model is taken to be for what lies
  // within.
  bool assume_less_equal(const Dim& low, const Dim& high, std::string_view what) const;
  int64_t constant_dim(const Dim& dim, std::string_view what) const;
};

using OnnxRule = Values (*)(OnnxCall&);
using OnnxRules = std::map<std::string, OnnxRule, std::less<>>;
const OnnxRules& onnx_rules();

void add_onnx_pointwise(OnnxRules& rules);
void add_onnx_shapes(OnnxRules& rules);
void add_onnx_movement(OnnxRules& rules);
void add_onnx_index(OnnxRules& rules);
void add_onnx_reduce(OnnxRules& rules);
void add_onnx_norm(OnnxRules& rules);
void add_onnx_product(OnnxRules& rules);
void add_onnx_quantize(OnnxRules& rules);
void add_onnx_attention(OnnxRules& rules);
void add_onnx_loss(OnnxRules& rules);
void add_onnx_window(OnnxRules& rules);
void add_onnx_control(OnnxRules& rules);

}  // namespace floe
