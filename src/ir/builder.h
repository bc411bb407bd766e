// Appends nodes to a graph: infers their types at once and refuses bad ones with the op's name and the
// layer's. Each op's own builder function (ops/softmax/softmax.h: softmax(b, x)) is written with add().
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "ir/graph.h"
#include "ir/op.h"

namespace floe {

class Builder {
 public:
  explicit Builder(Graph& graph) : graph_(graph) {}

  Values add_all(std::string_view op, Values inputs, Attrs attrs = {},
                 std::shared_ptr<const Graph> body = nullptr);
  Value add(std::string_view op, Values inputs, Attrs attrs = {}) {  // of an op with one result
    return add_all(op, std::move(inputs), std::move(attrs))[0];
  }

  Value input(std::string_view name, Type type);
  // `marks` ride on the node for passes: trainable, shard axis, may-quantize.
  Value state(std::string_view name, Type type, Attrs marks = {});
  Value constant(Tensor value);
  Value scalar(double value, DType type = DType::f32);
  void output(std::string_view name, Value value) { graph_.add_output(std::string(name), value); }
  void update(std::string_view state, Value value) { graph_.add_update(std::string(state), value); }

  Graph& graph() { return graph_; }
  const Graph& graph() const { return graph_; }
  const Type& type(Value value) const { return graph_.type(value); }
  const SymbolTable& symbols() const { return graph_.symbols(); }

  // The next id for a random op: Philox keys are (seed, op id), kept by every pass.
  int64_t next_op_id() { return next_op_id_++; }
  void set_next_op_id(int64_t id) { next_op_id_ = id; }

  // While it lives, new nodes carry "outer.name" as the place they came from.
  class Scope {
   public:
    Scope(Builder& builder, std::string_view name);
    ~Scope() { builder_.where_ = std::move(saved_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Builder& builder_;
    std::string saved_;
  };
  const std::string& where() const { return where_; }
  void set_where(std::string where) { where_ = std::move(where); }

 private:
  Graph& graph_;
  std::string where_;
  int64_t next_op_id_ = 1;
};

}  // namespace floe
