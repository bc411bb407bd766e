// What the ranks of one parallel run say to each other. Collectives are explicit steps of a Program; the
// runtime hands each one here. All ranks issue the same collectives in the same order.
//
// Sums are deterministic: rank order, pairwise ((r0 + r1) + (r2 + r3)), in f32 for f32, bf16 and f16, in f64
// for f64; integers wrap. So two ranks that hold two segments each add up to the same bits as four ranks with
// one.
#pragma once
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace floe {

enum class CollectiveOp {
  all_reduce_sum,  // out = sum over ranks of in
  all_reduce_max,  // NaN wins
  all_gather,      // out = the ranks' in, one after the other along `axis`
  reduce_scatter,  // out = this rank's part along `axis` of the sum
  barrier,         // no data
};
std::string_view name_of(CollectiveOp op);

// Row-major views of one dtype; `in` and `out` of all_reduce may be the same memory.
struct CollectiveCall {
  CollectiveOp op = CollectiveOp::barrier;
  int axis = 0;
  View in;
  View out;
};
// "all_reduce_sum f32[2, 3]": what all ranks must agree on.
std::string text_of(const CollectiveCall& call);

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Returns when `out` holds the result. Throws Error{bug} when shapes do not fit the op, Error{io} naming
  // the collective's number and the ranks when ranks disagree about what comes next, when one has not come
  // before the deadline, or when one gave up; after that every call throws the same.
  virtual void run(const CollectiveCall& call) = 0;

  // This rank cannot go on: wakes the others, whose collectives throw with `reason`.
  virtual void abort(std::string_view reason) = 0;
};

// Checks of one rank's call that need no other rank. Throws Error{bug}.
void check_call(const CollectiveCall& call, int ranks);

}  // namespace floe
