// Groups that printed CUDA is tried on: every shape of work, every type, every scalar function.
#pragma once
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "compile/print_cuda.h"
#include "ir/builder.h"
#include "ops/all.h"
#include "ops/broadcast/broadcast.h"
#include "ops/dropout/dropout.h"
#include "ops/elementwise/elementwise.h"
#include "ops/elementwise/functions.h"
#include "ops/group/lower.h"
#include "testing/group_case.h"
#include "testing/program_case.h"

namespace floe {

class CudaCases {
 public:
  CudaCases() {
    shapes();
    integer_types();
    dropouts();
    for (const ScalarFunction& row : scalar_functions()) scalar_function(row);
  }
  const std::vector<std::unique_ptr<GroupCase>>& all() const { return cases_; }

 private:
  GroupCase& add_case(const std::string& name) {
    cases_.push_back(std::make_unique<GroupCase>(name));
    return *cases_.back();
  }

  void shapes() {
    const std::vector<std::vector<Shape>> pairs = {{{}, {}},
                                                   {{1}, {1}},
                                                   {{7}, {7}},
                                                   {{3, 171}, {3, 171}},
                                                   {{4096}, {}},
                                                   {{5, 700}, {700}},
                                                   {{5, 703}, {703}},
                                                   {{5, 700}, {5, 1}},
                                                   {{5, 701}, {5, 1}},
                                                   {{2, 5000}, {5000}},
                                                   {{3, 4, 64}, {64}},
                                                   {{4, 1, 3}, {5, 1}},
                                                   {{70000, 3}, {3}},
                                                   {{66000, 8}, {8}},
                                                   {{3, 1, 1032}, {1, 4, 1}},
                                                   {{2, 1, 3, 1, 5}, {4, 1, 2, 1}},
                                                   {{1, 1}, {1}},
                                                   {{0, 3}, {3}},
                                                   {{3, 0}, {3, 1}},
                                                   {{600, 1}, {1, 600}},
                                                   {{2, 3, 16}, {2, 1, 16}}};
    for (const auto& pair : pairs) {
      GroupCase& g = add_case("sub_" + text_of(pair[0]) + "_" + text_of(pair[1]));
      const Value x = g.normal(pair[0]), y = g.normal(pair[1]);
      g.output(sub(g.b, x, y));
      g.output(elementwise(g.b, "lt", {y, x}));
    }
    {
      GroupCase& g = add_case("one_operand");
      g.output(scale(g.b, g.normal({33, 77}), 0.1));
    }
    {
      GroupCase& g = add_case("broadcast_alone");
      g.output(broadcast_to(g, g.normal({3, 1}), {2, 3, 5}));
    }
    for (const auto& [columns, stride, offset] :
         {std::array<int64_t, 3>{24, 72, 24}, {24, 72, 1}, {23, 72, 0}, {24, 73, 0}, {1, 5, 2}}) {
      GroupCase& g = add_case(fmt::format("slice_of_{}_in_{}_from_{}", columns, stride, offset));
      const Value x = g.slice(DType::f32, 50, columns, stride, offset);
      g.output(elementwise(g.b, "silu", {add(g.b, x, g.normal({columns}))}));
    }
    {
      GroupCase& g = add_case("flat_from_an_odd_address");
      g.output(elementwise(g.b, "exp", {g.slice(DType::f32, 1, 1000, 1000, 3)}));
    }
  }
  static Value broadcast_to(GroupCase& g, Value x, Dims dims) {
    return g.b.add("broadcast", {x}, {{"dims", std::move(dims)}});
  }

  void integer_types() {
    for (const DType type : {DType::i8, DType::u8, DType::i32, DType::i64}) {
      GroupCase& g = add_case("integers_" + std::string(name_of(type)));
      const Value x = g.integers(type, {3, 50}, 120), y = g.integers(type, {50}, 120);
      const Value either = add_integer_outputs(g, x, y);
      g.output(cast(g.b, either, type));
      for (const char* name : {"min", "floor", "round"}) {
        g.output(elementwise(g.b, name,
                             name[0] == 'm' ? Values{x, y}
                                            : Values{
                                                  x,
                                              }));
      }
    }
  }

  void dropouts() {
    for (const Shape& shape : {Shape{3, 64}, Shape{3, 5, 72}, Shape{3, 5, 70}, Shape{2, 3, 4, 36},
                               Shape{2, 3, 4, 9}, Shape{1, 1}, Shape{2, 1, 1100}}) {
      GroupCase& g = add_case("dropout_" + text_of(shape));
      const Value x = g.normal(shape), bias = g.normal({shape.back()}), residual = g.normal(shape);
      const Value seed = g.integers(DType::i32, {}, 1 << 20);
      const Value ordinals = g.integers(DType::i32, {shape[0]}, 1 << 20);
      const Value dropped = dropout(g.b, elementwise(g.b, "gelu", {add(g.b, x, bias)}), seed, ordinals, 0.3);
      g.output(add(g.b, residual, dropped));
      g.output(elementwise(g.b, "ne", {dropped, like(g.b, dropped, 0)}));
      Dims dims;
      for (const int64_t dim : shape) dims.emplace_back(dim);
      g.output(uniform(g.b, seed, ordinals, dims, int64_t{1} << 31));
    }
  }

  static std::vector<double> awkward() {
    const double inf = std::numeric_limits<double>::infinity();
    std::vector<double> numbers = {0.0,    -0.0,  1.0,  -1.0,  inf,    -inf,    std::nan(""), 88.8, -87.5,
                                   -103.0, 1e-40, 3e38, 0.624, -0.626, 0.99999, 3.9,          -5,   1e30};
    for (int i = -40; i <= 40; ++i) numbers.push_back(0.173 * i);
    return numbers;
  }

  void scalar_function(const ScalarFunction& row) {
    using Kind = ScalarFunction::Kind;
    if (row.kind == Kind::logical || row.kind == Kind::select || row.kind == Kind::integer)
      return;  // with the integers
    GroupCase& g = add_case("row_" + row.name);
    const auto n = static_cast<int64_t>(awkward().size());
    Values operands = {g.input(Tensor::from_doubles(DType::f32, {n}, awkward()))};
    if (row.arity == 2) operands.push_back(g.input(Tensor::from_doubles(DType::f32, {n, 1}, awkward())));
    if (row.name == "cast") {
      for (const DType to : {DType::i8, DType::u8, DType::i32, DType::i64, DType::boolean}) {
        g.output(cast(g.b, operands[0], to));
      }
    } else {
      g.output(elementwise(g.b, row.name, operands));
    }
  }

  std::vector<std::unique_ptr<GroupCase>> cases_;
};

}  // namespace floe
