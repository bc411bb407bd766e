// Groups for tests: a body being written, with its inputs, and what the CPU's interpreter makes of it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "ir/builder.h"
#include "ir/graph.h"
#include "ops/all.h"
#include "ops/group/lower.h"
#include "testing/program_case.h"

namespace floe {

struct GroupCase {
  explicit GroupCase(std::string its_name) : name(std::move(its_name)) {}

  Value input(Tensor value) {
    const Shape shape = value.shape();
    return view(std::move(value), shape, row_major(shape), 0);
  }
  Value normal(const Shape& shape, DType type = DType::f32) {
    return input(random_tensor(type, shape, inputs.size() + 1));
  }
  Value integers(DType type, const Shape& shape, int64_t high) {
    return input(random_tensor(type, shape, inputs.size() + 1, high));
  }
  // Element `offset` on, rows `stride` apart: [rows, columns] of a merged projection.
  Value slice(DType type, int64_t rows, int64_t columns, int64_t stride, int64_t offset) {
    Tensor whole = random_tensor(type, {rows * stride + offset}, inputs.size() + 1);
    return view(std::move(whole), {rows, columns}, {stride, 1}, offset);
  }
  void output(Value value) { b.output("y" + std::to_string(body->outputs().size()), value); }

  Tape tape() const { return lower_group(*body); }
  std::vector<Tensor> results() const {
    std::vector<Tensor> all;
    for (const NamedValue& output : body->outputs()) {
      Shape shape;
      for (const Dim& dim : body->type(output.value).dims) shape.push_back(dim.constant());
      all.emplace_back(body->type(output.value).dtype, shape);
    }
    return all;
  }

  std::string name;
  std::shared_ptr<Graph> body = std::make_shared<Graph>(all_ops(), "group");
  Builder b{*body};
  std::vector<Tensor> inputs;  // what the views look at
  std::vector<View> views;

 private:
  static Shape row_major(const Shape& shape) {
    Shape strides(shape.size(), 1);
    for (size_t k = shape.size(); k-- > 1;) strides[k - 1] = strides[k] * shape[k];
    return strides;
  }
  Value view(Tensor memory, const Shape& shape, const Shape& strides, int64_t offset) {
    Type type{memory.dtype(), {}};
    for (const int64_t dim : shape) type.dims.emplace_back(dim);
    inputs.push_back(std::move(memory));
    const auto bytes = offset * static_cast<int64_t>(size_of(type.dtype));
    View view(inputs.back().as<char>() + bytes, type.dtype, shape);
    for (size_t k = 0; k < strides.size(); ++k) view.strides[k] = strides[k];
    views.push_back(view);
    return b.input("x" + std::to_string(views.size() - 1), type);
  }
};

std::vector<Tensor> interpreted(const GroupCase& g);

// What integers can do, as outputs of a case; gives "x < y or x == y".
Value add_integer_outputs(GroupCase& g, Value x, Value y);

// Fails unless every element is the same number: within `ulps` units of its last place (f32), or with 0
// equal, also in the sign of a zero. NaN meets NaN.
void expect_same_numbers(const Tensor& got, const Tensor& want, double ulps, const std::string& what);

// A group's body on the CPU, through its kernel. Output k lies over input `over[k]` where that is given and
// not negative; else in memory of its own.
std::vector<Tensor> run_group_body(const Graph& body, const std::vector<Tensor*>& inputs, int threads = 2,
                                   const std::vector<int>& over = {});

}  // namespace floe
