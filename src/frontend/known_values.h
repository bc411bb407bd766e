// What is known of values while a graph is being built: numbers, where nothing but constants leads to them,
// and sizes as expressions over symbolic dims, where only shapes do. Foreign graphs compute axes and shapes
// by ordinary ops; this reads them back.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "ir/builder.h"
#include "ir/evaluate.h"

namespace floe {

class KnownValues {
 public:
  // Gives an input's or a state's value if it may be built into the graph; asked only where a number is
  // wanted.
  using Offer = std::function<TensorPtr(const Node& door)>;
  KnownValues(const Builder& builder, Offer offer) : b_(builder), offer_(std::move(offer)) {}

  // All elements, computed by the reference evaluator; null where something unknown is read. The pointer is
  // good until the next call.
  const RefTensor* numbers(Value value);
  // Of an integer or bool tensor of at most 1024 elements, row-major; bools as 0 and 1.
  std::optional<Dims> dims(Value value);

 private:
  using Elements = std::vector<std::optional<Dim>>;
  const Elements* elements(Value value, int depth);
  std::optional<Elements> compute(Value value, int depth);
  std::optional<Elements> from_numbers(Value value);
  Elements compute_pointwise(const Node& node, const std::vector<const Elements*>& operands);
  std::optional<Dim> apply(std::string_view op, const std::vector<std::optional<Dim>>& x) const;

  const Builder& b_;
  Offer offer_;
  std::map<int32_t, std::optional<RefTensor>> numbers_;
  std::map<int32_t, std::optional<Elements>> elements_;
};

}  // namespace floe
