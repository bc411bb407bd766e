// The words that printed C++ is made of.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace floe {

// "float": what an element is in memory. Throws Error{user} for a type that has no printed form.
const char* cpp_type(DType type);
std::string cpp_literal(double value);  // of a float: "0.5f"

// Lines under loops.
class CppText {
 public:
  void line(std::string_view text);
  void loop(std::string_view variable, int64_t n);  // opens "for (... variable = 0; variable < n; ...) {"
  // Loops i0, i1, ... over the view's dims; gives their names.
  std::vector<std::string> loops(const View& view);
  void open(std::string_view text);  // "if (...)": adds " {"
  void close(size_t n = 1);
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  int indent_ = 2;
};

// Element offset in a view: "i0 * 12 + i1", "0". Indices are names, numbers or sums.
std::string cpp_offset(const View& view, std::span<const std::string> indices);

// "const float* __restrict x0 = static_cast<const float*>(inputs[0]);", then the outputs y0, ...
void cpp_operands(CppText& text, std::span<const View> inputs, std::span<const View> outputs);

}  // namespace floe
