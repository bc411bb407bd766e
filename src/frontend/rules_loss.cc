// Losses over classes.
#include "frontend/onnx_call.h"
#include "frontend/onnx_values.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

using C = OnnxCall&;

// log_probabilities [N, C, ...], target [N, ...], weight [C] -> [N, ...] or []
Value negative_log_likelihood(C c, Value log_probabilities) {
  Builder& b = c.b;
  const Type type = b.type(log_probabilities), target_type = c.type(1);
  if (type.rank() < 2 || target_type.rank() != type.rank() - 1)
    c.fail("scores {} with targets {}", text_of(type), text_of(target_type));
  const Value target = c.x(1);
  Value kept;  // where the target counts
  Value index = target;
  if (const OnnxAttribute* ignored = c.attribute("ignore_index"); ignored != nullptr) {
    const Value id = b.scalar(static_cast<double>(ignored->i), target_type.dtype);
    kept = elementwise(b, "ne", {target, id});
    index = select(b, kept, target, like(b, target, 0));
  }
  Dims with_one = target_type.dims;
  with_one.insert(with_one.begin() + 1, Dim(1));
  const Value picked =
      reshape(b, gather_elements(b, log_probabilities, reshape(b, index, with_one), 1), target_type.dims);
  Value loss = elementwise(b, "neg", {picked});
  Value weight;
  const Value zero = like(b, loss, 0);
  if (c.has(2)) {
    weight = gather_wrapped(b, c.in[2], index, 0);
    loss = mul(b, loss, weight);
  }
  if (kept) {
    loss = select(b, kept, loss, zero);
    weight = weight ? select(b, kept, weight, zero) : cast(b, kept, type.dtype);
  }
  const std::string reduction = c.text("reduction", "mean");
  if (reduction == "none") return loss;
  std::vector<int64_t> all;
  for (int i = 0; i < target_type.rank(); ++i) all.push_back(i);
  if (reduction == "sum") return sum_over(b, loss, all, false);
  if (reduction != "mean") c.fail("reduction '{}' is unknown", reduction);
  if (!weight) return mean_over(b, loss, all, false);
  return div(b, sum_over(b, loss, all, false), sum_over(b, weight, all, false));
}

Values likelihood_loss(C c) { return {negative_log_likelihood(c, c.x(0))}; }

Values softmax_loss(C c) {
  if (c.rank() < 2) c.fail("scores {} have no classes", text_of(c.type()));
  const Value log_probabilities = softmax_along(c.b, c.x(0), 1, /*log=*/true);
  return {negative_log_likelihood(c, log_probabilities), log_probabilities};
}

}  // namespace

void add_onnx_loss(OnnxRules& rules) {
  const OnnxRules mine = {{"NegativeLogLikelihoodLoss", likelihood_loss},
                          {"SoftmaxCrossEntropyLoss", softmax_loss}};
  rules.insert(mine.begin(), mine.end());
}

}  // namespace floe
