// Named attributes of a node or of a step. A value prints as text and parses back to the same value:
// true · 3 · 0.5 · "text" · f32 · [1, 2] (numbers) · <B, S, 512> (dims) · tensor f32 [2] {1, 2}.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tensor/dim.h"
#include "tensor/dtype.h"
#include "tensor/scalar.h"
#include "tensor/tensor.h"

namespace floe {

using TensorPtr = std::shared_ptr<const Tensor>;
using TapePtr = std::shared_ptr<const Tape>;
using AttrValue =
    std::variant<bool, int64_t, double, std::string, DType, std::vector<int64_t>, Dims, TensorPtr, TapePtr>;

class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<std::string, AttrValue>> values);

  void set(std::string_view name, AttrValue value);
  void erase(std::string_view name);
  bool has(std::string_view name) const { return find(name) != nullptr; }
  const AttrValue* find(std::string_view name) const;

  // Throw bug when the attribute is missing or of another kind; the second form gives `otherwise` when
  // missing.
  bool flag(std::string_view name) const;
  bool flag(std::string_view name, bool otherwise) const;
  int64_t integer(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double number(std::string_view name) const;
  double number(std::string_view name, double otherwise) const;
  const std::string& text(std::string_view name) const;
  std::string text(std::string_view name, std::string_view otherwise) const;
  DType dtype(std::string_view name) const;
  const std::vector<int64_t>& integers(std::string_view name) const;
  const Dims& dims(std::string_view name) const;
  const TensorPtr& tensor(std::string_view name) const;
  const TapePtr& tape(std::string_view name) const;

  const std::vector<std::pair<std::string, AttrValue>>& all() const { return values_; }
  bool operator==(const Attrs& other) const;  // NaN equals NaN; tensors by content
  std::string text() const;                   // "{axis = 1, eps = 1e-05}"; "" when empty

  // Dims become numbers: what a kernel sees.
  Attrs bind(const Binding& binding) const;

 private:
  std::vector<std::pair<std::string, AttrValue>> values_;  // sorted by name
};

std::string text_of(const AttrValue& value);
std::string quote(std::string_view text);  // "a\"b\n", bytes outside ASCII kept

}  // namespace floe
