#include "comm/communicator.h"

#include "base/error.h"

namespace floe {

std::string_view name_of(CollectiveOp op) {
  switch (op) {
    case CollectiveOp::all_reduce_sum:
      return "all_reduce_sum";
    case CollectiveOp::all_reduce_max:
      return "all_reduce_max";
    case CollectiveOp::all_gather:
      return "all_gather";
    case CollectiveOp::reduce_scatter:
      return "reduce_scatter";
    case CollectiveOp::barrier:
      return "barrier";
  }
  return "?";
}

std::string text_of(const CollectiveCall& call) {
  if (call.op == CollectiveOp::barrier) return std::string(name_of(call.op));
  std::string text =
      fmt::format("{} {}{}", name_of(call.op), name_of(call.in.dtype), text_of(call.in.shape()));
  if (call.op == CollectiveOp::all_gather || call.op == CollectiveOp::reduce_scatter) {
    text += fmt::format(" along {}", call.axis);
  }
  return text;
}

void check_call(const CollectiveCall& call, int ranks) {
  if (call.op == CollectiveOp::barrier) return;
  FLOE_CHECK(call.in.contiguous() && call.out.contiguous(), "{}: views must be row-major", text_of(call));
  FLOE_CHECK(call.in.dtype == call.out.dtype, "{}: gives {}", text_of(call), name_of(call.out.dtype));
  Shape want = call.in.shape();
  if (call.op == CollectiveOp::all_gather || call.op == CollectiveOp::reduce_scatter) {
    FLOE_CHECK(call.axis >= 0 && call.axis < call.in.rank, "{}: no such axis", text_of(call));
    int64_t& dim = want[static_cast<size_t>(call.axis)];
    if (call.op == CollectiveOp::all_gather) {
      dim *= ranks;
    } else {
      FLOE_CHECK(dim % ranks == 0, "{}: {} ranks do not divide it", text_of(call), ranks);
      dim /= ranks;
    }
  }
  FLOE_CHECK(call.out.shape() == want, "{}: the result must be {}, is {}", text_of(call), text_of(want),
             text_of(call.out.shape()));
  FLOE_CHECK(call.op == CollectiveOp::all_gather || call.in.dtype != DType::boolean, "{}: bools have no sum",
             text_of(call));
}

}  // namespace floe
