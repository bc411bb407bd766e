#include "tensor/attrs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace floe {
namespace {

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", value);  // shortest that reads back the same
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool same(const AttrValue& a, const AttrValue& b) {
  if (a.index() != b.index()) return false;
  if (const auto* x = std::get_if<double>(&a)) {
    return std::bit_cast<uint64_t>(*x) == std::bit_cast<uint64_t>(std::get<double>(b)) ||
           (std::isnan(*x) && std::isnan(std::get<double>(b)));
  }
  if (const auto* x = std::get_if<TensorPtr>(&a)) {
    const TensorPtr& y = std::get<TensorPtr>(b);
    if (*x == y) return true;
    return (*x)->dtype() == y->dtype() && (*x)->shape() == y->shape() &&
           ((*x)->bytes() == 0 || std::memcmp((*x)->data(), y->data(), y->bytes()) == 0);
  }
  if (const auto* x = std::get_if<TapePtr>(&a)) return **x == *std::get<TapePtr>(b);
  return a == b;
}

}  // namespace

Attrs::Attrs(std::initializer_list<std::pair<std::string, AttrValue>> values) {
  for (const auto& [name, value] : values) set(name, value);
}

void Attrs::set(std::string_view name, AttrValue value) {
  const auto at = std::lower_bound(values_.begin(), values_.end(), name,
                                   [](const auto& pair, std::string_view key) { return pair.first < key; });
  if (at != values_.end() && at->first == name) {
    at->second = std::move(value);
  } else {
    values_.emplace(at, std::string(name), std::move(value));
  }
}

void Attrs::erase(std::string_view name) {
  std::erase_if(values_, [&](const auto& pair) { return pair.first == name; });
}

const AttrValue* Attrs::find(std::string_view name) const {
  for (const auto& [key, value] : values_) {
    if (key == name) return &value;
  }
  return nullptr;
}

namespace {
template <class T>
const T& get(const Attrs& attrs, std::string_view name) {
  const AttrValue* value = attrs.find(name);
  FLOE_CHECK(value != nullptr, "attribute '{}' is missing in {}", name, attrs.text());
  const T* typed = std::get_if<T>(value);
  FLOE_CHECK(typed != nullptr, "attribute '{}' = {} is of another kind", name, text_of(*value));
  return *typed;
}
}  // namespace

bool Attrs::flag(std::string_view name) const { return get<bool>(*this, name); }
bool Attrs::flag(std::string_view name, bool otherwise) const { return has(name) ? flag(name) : otherwise; }
int64_t Attrs::integer(std::string_view name) const { return get<int64_t>(*this, name); }
int64_t Attrs::integer(std::string_view name, int64_t otherwise) const {
  return has(name) ? integer(name) : otherwise;
}
double Attrs::number(std::string_view name) const { return get<double>(*this, name); }
double Attrs::number(std::string_view name, double otherwise) const {
  return has(name) ? number(name) : otherwise;
}
const std::string& Attrs::text(std::string_view name) const { return get<std::string>(*this, name); }
std::string Attrs::text(std::string_view name, std::string_view otherwise) const {
  return has(name) ? text(name) : std::string(otherwise);
}
DType Attrs::dtype(std::string_view name) const { return get<DType>(*this, name); }
const std::vector<int64_t>& Attrs::integers(std::string_view name) const {
  return get<std::vector<int64_t>>(*this, name);
}
const Dims& Attrs::dims(std::string_view name) const { return get<Dims>(*this, name); }
const TensorPtr& Attrs::tensor(std::string_view name) const { return get<TensorPtr>(*this, name); }
const TapePtr& Attrs::tape(std::string_view name) const { return get<TapePtr>(*this, name); }

bool Attrs::operator==(const Attrs& other) const {
  return std::equal(
      values_.begin(), values_.end(), other.values_.begin(), other.values_.end(),
      [](const auto& a, const auto& b) { return a.first == b.first && same(a.second, b.second); });
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        } else {
          out += c;
        }
    }
  }
  return out + "\"";
}

std::string text_of(const AttrValue& value) {
  if (const auto* x = std::get_if<bool>(&value)) return *x ? "true" : "false";
  if (const auto* x = std::get_if<int64_t>(&value)) return std::to_string(*x);
  if (const auto* x = std::get_if<double>(&value)) return number_text(*x);
  if (const auto* x = std::get_if<std::string>(&value)) return quote(*x);
  if (const auto* x = std::get_if<DType>(&value)) return std::string(name_of(*x));
  if (const auto* x = std::get_if<std::vector<int64_t>>(&value)) return text_of(Shape(*x));
  if (const auto* x = std::get_if<Dims>(&value)) {
    std::string out = text_of(*x);
    out.front() = '<';
    out.back() = '>';
    return out;
  }
  if (const auto* x = std::get_if<TensorPtr>(&value)) {
    const Tensor& tensor = **x;
    std::string out = fmt::format("tensor {} {} {{", name_of(tensor.dtype()), text_of(tensor.shape()));
    for (int64_t i = 0; i < tensor.size(); ++i) {
      if (i > 0) out += ", ";
      if (is_float(tensor.dtype())) {
        out += tensor.dtype() == DType::f32 && std::isfinite(tensor.at(i))
                   ? fmt::format("{}", static_cast<float>(tensor.at(i)))
                   : number_text(tensor.at(i));
      } else if (tensor.dtype() == DType::i64) {
        out += std::to_string(tensor.as<int64_t>()[i]);
      } else {
        out += std::to_string(static_cast<int64_t>(tensor.at(i)));
      }
    }
    return out + "}";
  }
  return "tape (" + text_of(*std::get<TapePtr>(value)) + ")";
}

std::string Attrs::text() const {
  if (values_.empty()) return "";
  std::string out = "{";
  for (size_t i = 0; i < values_.size(); ++i) {
    out += fmt::format("{}{} = {}", i > 0 ? ", " : "", values_[i].first, text_of(values_[i].second));
  }
  return out + "}";
}

Attrs Attrs::bind(const Binding& binding) const {
  Attrs bound = *this;
  for (auto& [name, value] : bound.values_) {
    if (const auto* dims = std::get_if<Dims>(&value)) {
      std::vector<int64_t> numbers;
      for (const Dim& dim : *dims) numbers.push_back(dim.evaluate(binding));
      value = std::move(numbers);
    }
  }
  return bound;
}

}  // namespace floe
