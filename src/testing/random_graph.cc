#include "testing/random_graph.h"

#include <cmath>
#include <limits>
#include <random>

#include "ops/all.h"
#include "ops/broadcast/broadcast.h"
#include "ops/elementwise/elementwise.h"
#include "ops/reduce/reduce.h"
#include "ops/reshape/reshape.h"

namespace floe {
namespace {

class Generator {
 public:
  Generator(Graph& graph, const RandomGraphOptions& options)
      : options_(options), builder_(graph), random_(options.seed) {
    b_ = graph.symbols().declare("B", {1, 8, 1});
    s_ = graph.symbols().declare("S", {0, 16, 1});
  }

  void run() {
    for (int i = 0; i < 3; ++i) {
      full_.push_back(builder_.input("x" + std::to_string(i), {options_.dtype, {b_, s_}}));
    }
    for (int i = 0; i < options_.nodes; ++i) {
      builder_.set_where(pick(4) == 0 ? "layer \"" + std::to_string(pick(3)) + "\"\n\\" : "");
      step();
    }
    for (int i = 0; i < 3; ++i) builder_.output("y" + std::to_string(i), full_[pick(full_.size())]);
    if (!rows_.empty()) builder_.output("row", rows_[pick(rows_.size())]);
  }

 private:
  size_t pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  Value any() { return full_[pick(full_.size())]; }
  // Something that broadcasts to [B, S].
  Value operand() {
    const size_t kind = pick(6);
    if (kind == 0) return constant();
    if (kind == 1 && !rows_.empty()) return rows_[pick(rows_.size())];
    return any();
  }
  Value constant() {
    const double inf = std::numeric_limits<double>::infinity();
    const double numbers[] = {0.0, -0.0, 1.0, 1.0, -1.0, 2.5, inf, -inf, std::nan(""), 0.1};
    return builder_.constant(Tensor::from_doubles(options_.dtype, {}, {numbers[pick(std::size(numbers))]}));
  }

  void step() {
    switch (pick(9)) {
      case 0: {
        const char* names[] = {"neg", "abs", "exp", "tanh", "relu", "sqrt", "gelu", "floor"};
        full_.push_back(elementwise(builder_, names[pick(std::size(names))], {any()}));
        break;
      }
      case 1:
      case 2:
      case 3: {
        const char* names[] = {"add", "sub", "mul", "div", "max", "min", "pow"};
        Value x = operand();
        Value y = any();
        if (pick(2) == 0) std::swap(x, y);
        full_.push_back(elementwise(builder_, names[pick(std::size(names))], {x, y}));
        break;
      }
      case 4: {
        const char* names[] = {"lt", "le", "eq", "ne"};
        const Value condition = elementwise(builder_, names[pick(std::size(names))], {any(), operand()});
        full_.push_back(select(builder_, condition, operand(), any()));
        break;
      }
      case 5:
        rows_.push_back(pick(2) == 0 ? reduce_sum(builder_, any(), {0}, /*keep=*/false)
                                     : reduce_max(builder_, any(), {-2}, /*keep=*/true));
        break;
      case 6:
        full_.push_back(
            broadcast(builder_, pick(2) == 0 || rows_.empty() ? constant() : rows_.back(), {b_, s_}));
        break;
      case 7: {
        const Value flat = builder_.add("reshape", {any()}, {{"dims", Dims{b_ * s_}}});
        full_.push_back(builder_.add("reshape", {flat}, {{"dims", Dims{b_, s_}}}));
        break;
      }
      default: {
        const Value narrow =
            builder_.add("cast", {any()}, {{"dtype", pick(2) == 0 ? DType::f32 : DType::f64}});
        full_.push_back(builder_.add("cast", {narrow}, {{"dtype", options_.dtype}}));
      }
    }
  }

  RandomGraphOptions options_;
  Builder builder_;
  std::mt19937_64 random_;
  Dim b_, s_;
  Values full_;  // [B, S]
  Values rows_;  // [S] or [1, S]
};

}  // namespace

Graph random_graph(const RandomGraphOptions& options) {
  Graph graph(all_ops(), "random " + std::to_string(options.seed));
  Generator(graph, options).run();
  return graph;
}

}  // namespace floe
