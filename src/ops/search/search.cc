#include "ops/search/search.h"

#include "ops/search/definitions.h"
#include "ops/search/joined.h"

namespace floe {

void require_i32(const InferArgs& args, int input, int rank, std::string_view name) {
  const Type& type = args.inputs[static_cast<size_t>(input)];
  if (type.dtype != DType::i32 || type.rank() != rank) {
    args.fail("{} must be i32 of rank {}, got {}", name, rank, text_of(type));
  }
}

void require_dim(const InferArgs& args, int input, int axis, const Dim& dim, std::string_view name) {
  const Type& type = args.inputs[static_cast<size_t>(input)];
  if (!args.equal(type.dim(axis), dim)) {
    args.fail("{} is {}, its dim {} must be {}", name, text_of(type), axis, dim.text());
  }
}

void define_search(OpTable& table) {
  define_search_penalties(table);
  define_beam(table);
  define_sample(table);
  define_turn(table);
  define_joined(table);
}

}  // namespace floe
