#include "compile/cpp_text.h"

#include <cmath>

#include "base/error.h"

namespace floe {

const char* cpp_type(DType type) {
  switch (type) {
    case DType::f32:
      return "float";
    case DType::i8:
      return "signed char";
    case DType::u8:
    case DType::boolean:
      return "unsigned char";
    case DType::i32:
      return "int";
    case DType::i64:
      return "long long";
    default:
      fail_user("[print_cpp] {} cannot be printed", name_of(type));
  }
}

std::string cpp_literal(double value) {
  const auto number = static_cast<float>(value);
  if (std::isnan(number)) return "__builtin_nanf(\"\")";
  if (std::isinf(number)) return number > 0 ? "__builtin_inff()" : "-__builtin_inff()";
  std::string text = fmt::format("{:.9g}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text + "f";
}

void CppText::line(std::string_view text) {
  text_ += std::string(static_cast<size_t>(indent_), ' ');
  text_ += text;
  text_ += '\n';
}

void CppText::open(std::string_view text) {
  line(fmt::format("{} {{", text));
  indent_ += 2;
}

void CppText::loop(std::string_view variable, int64_t n) {
  open(fmt::format("for (long long {0} = 0; {0} < {1}; ++{0})", variable, n));
}

std::vector<std::string> CppText::loops(const View& view) {
  std::vector<std::string> names;
  for (int k = 0; k < view.rank; ++k) {
    names.push_back(fmt::format("i{}", k));
    loop(names.back(), view.dim(k));
  }
  return names;
}

void CppText::close(size_t n) {
  for (; n > 0; --n) {
    indent_ -= 2;
    line("}");
  }
}

std::string cpp_offset(const View& view, std::span<const std::string> indices) {
  FLOE_CHECK(static_cast<int>(indices.size()) == view.rank, "{} indices for rank {}", indices.size(),
             view.rank);
  std::string text;
  for (size_t k = 0; k < indices.size(); ++k) {
    if (view.dims[k] == 1 || view.strides[k] == 0) continue;
    if (!text.empty()) text += " + ";
    if (view.strides[k] == 1) {
      text += indices[k];
    } else {
      const bool sum = indices[k].find(' ') != std::string::npos;
      text += fmt::format("{}{}{} * {}", sum ? "(" : "", indices[k], sum ? ")" : "", view.strides[k]);
    }
  }
  return text.empty() ? "0" : text;
}

void cpp_operands(CppText& text, std::span<const View> inputs, std::span<const View> outputs) {
  for (size_t k = 0; k < inputs.size(); ++k) {
    text.line(fmt::format("const {0}* __restrict x{1} = static_cast<const {0}*>(inputs[{1}]);",
                          cpp_type(inputs[k].dtype), k));
  }
  for (size_t k = 0; k < outputs.size(); ++k) {
    text.line(fmt::format("{0}* __restrict y{1} = static_cast<{0}*>(outputs[{1}]);",
                          cpp_type(outputs[k].dtype), k));
  }
}

}  // namespace floe
