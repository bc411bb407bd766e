#include "ops/top_k/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ir/evaluate.h"

namespace floe {

TopK top_k(Builder& b, Value x, int64_t k) {
  const Values results = b.add_all("top_k", {x}, {{"k", k}});
  return {results[0], results[1]};
}

void define_top_k(OpTable& table) {
  OpDef op;
  op.name = "top_k";
  op.summary = "x [..., N] -> values [..., k], indices i32 [..., k], largest first, lower index first";
  op.min_inputs = op.max_inputs = 1;
  op.differentiable = false;
  op.infer = [](const InferArgs& args) -> std::vector<Type> {
    args.require_float(0);
    args.require(args.inputs[0].rank() >= 1, "x has no dims");
    const int64_t k = args.attrs.integer("k");
    if (k < 1) args.fail("k must be at least 1, got {}", k);
    Type values = args.inputs[0];
    values.dims.back() = Dim(k);
    return {values, {DType::i32, values.dims}};
  };
  op.evaluate = [](const EvalArgs& args) -> std::vector<RefTensor> {
    const RefTensor& x = args.inputs[0];
    const int64_t n = x.shape.back();
    const int64_t k = args.attrs.integer("k");
    RefTensor values(x.dtype, args.shapes[0]);
    RefTensor indices(DType::i32, args.shapes[1]);
    const int64_t rows = count(args.shapes[0]) / k;
    for (int64_t row = 0; row < rows; ++row) {
      const double* from = x.f.data() + row * n;
      std::vector<int64_t> order;
      for (int64_t i = 0; i < n; ++i) {
        if (!std::isnan(from[i])) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return from[a] > from[b]; });
      for (int64_t j = 0; j < k; ++j) {
        const bool found = j < static_cast<int64_t>(order.size());
        const auto at = static_cast<size_t>(row * k + j);
        values.f[at] = found ? from[order[static_cast<size_t>(j)]] : -std::numeric_limits<double>::infinity();
        indices.i[at] = found ? order[static_cast<size_t>(j)] : -1;
      }
    }
    return {values, indices};
  };
  table.add(std::move(op));
}

}  // namespace floe
