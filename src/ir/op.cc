#include "ir/op.h"

namespace floe {

void InferArgs::require(bool condition, std::string_view what) const {
  if (!condition) fail("{}", what);
}

bool InferArgs::equal(const Dim& a, const Dim& b) const { return symbols.decide_equal(a, b, op.name); }

void InferArgs::require_float(int input) const {
  const Type& type = inputs[static_cast<size_t>(input)];
  if (!is_float(type.dtype)) fail("input {} must be floating, got {}", input, text_of(type));
}

void InferArgs::require_rank(int input, int rank) const {
  const Type& type = inputs[static_cast<size_t>(input)];
  if (type.rank() != rank) fail("input {} must have rank {}, got {}", input, rank, text_of(type));
}

std::string text_of(const Placement& placement) {
  switch (placement.kind) {
    case Placement::Kind::replicate:
      return "R";
    case Placement::Kind::shard:
      return fmt::format("S({})", placement.dim);
    case Placement::Kind::partial:
      return "P(sum)";
  }
  return "?";
}

void OpTable::add(OpDef op) {
  const std::string name = op.name;
  FLOE_CHECK(static_cast<bool>(op.infer), "op '{}' has no infer", name);
  const bool added = ops_.emplace(name, std::move(op)).second;
  FLOE_CHECK(added, "op '{}' is defined twice", name);
}

const OpDef* OpTable::find(std::string_view name) const {
  const auto found = ops_.find(name);
  return found == ops_.end() ? nullptr : &found->second;
}

const OpDef& OpTable::get(std::string_view name) const {
  const OpDef* op = find(name);
  if (op == nullptr) fail_user("unknown op '{}'", name);
  return *op;
}

}  // namespace floe
