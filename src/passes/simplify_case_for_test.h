// Text before and text after simplify(), and the values of both on awkward numbers.
#pragma once
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "ir/evaluate.h"
#include "ir/print.h"
#include "ir/verify.h"
#include "ops/all.h"
#include "passes/simplify.h"

namespace floe {

// One row of the table of rules: which rule, and what it does to a graph's statements.
struct SimplifyCase {
  std::string rule;
  std::string before;
  std::string after;
};

inline std::string graph_text(const std::string& statements) {
  return "graph \"g\" {\n" + statements + "\n}\n";
}

// Every input filled from a list that holds NaN, infinities and both zeros; each input starts elsewhere.
inline RefMap awkward_inputs(const Graph& graph, const Binding& binding) {
  const double inf = std::numeric_limits<double>::infinity();
  const double numbers[] = {1.5, -0.0, 0.0, std::nan(""), -2.25, inf, -inf, 0.0, -0.0, 3.0, -1.0};
  RefMap feeds;
  size_t start = 0;
  for (const NamedValue& input : graph.inputs()) {
    const Type& type = graph.type(input.value);
    Shape shape;
    for (const Dim& dim : type.dims) shape.push_back(dim.evaluate(binding));
    RefTensor tensor(type.dtype, shape);
    size_t at = start++;
    for (double& x : tensor.f) x = numbers[at++ % std::size(numbers)];
    for (int64_t& x : tensor.i) x = static_cast<int64_t>(at++ % (type.dtype == DType::boolean ? 2 : 5));
    feeds[input.name] = std::move(tensor);
  }
  return feeds;
}

inline void expect_same_bits(const RefTensor& got, const RefTensor& want, const std::string& what) {
  ASSERT_EQ(got.dtype, want.dtype) << what;
  ASSERT_EQ(got.shape, want.shape) << what;
  ASSERT_EQ(got.i, want.i) << what;
  for (size_t k = 0; k < want.f.size(); ++k) {
    if (std::isnan(want.f[k])) {
      ASSERT_TRUE(std::isnan(got.f[k])) << what << " at " << k << ": " << got.f[k];
    } else {
      ASSERT_EQ(std::bit_cast<uint64_t>(got.f[k]), std::bit_cast<uint64_t>(want.f[k]))
          << what << " at " << k << ": got " << got.f[k] << ", want " << want.f[k];
    }
  }
}

inline Graph expect_simplified(const SimplifyCase& c) {
  const Graph before = parse(all_ops(), graph_text(c.before));
  const Graph after = simplify(before);
  verify(after, "simplify");
  EXPECT_EQ(print(after), print(parse(all_ops(), graph_text(c.after)))) << c.rule;
  return after;
}

// Bit-equal values; dims take the values of `binding`.
inline void expect_same_values(const Graph& before, const Graph& after, const Binding& binding = {}) {
  const RefMap feeds = awkward_inputs(before, binding);
  const Evaluation want = evaluate(before, feeds, {}, binding);
  const Evaluation got = evaluate(after, feeds, {}, binding);
  ASSERT_EQ(got.outputs.size(), want.outputs.size());
  for (const auto& [name, value] : want.outputs) expect_same_bits(got.outputs.at(name), value, name);
}

}  // namespace floe
