// Ops through which the ranks of one mesh axis exchange values. A graph with them is one rank's view: every
// rank runs it on its own values. Attributes: mesh (the axis' name), ways (its size), axis (of a cut),
// reduce ("sum" or "max").
//
//   all_reduce      partial -> whole     gradient: the same on every rank, passes through
//   fan_out         whole -> whole       changes nothing; stands where a whole value meets cut ones, so its
//                                        gradient is partial: all_reduce
//   all_gather      cut -> whole         gradient: this rank's part (local_shard)
//   local_shard     whole -> cut         gradient: all_gather
//   reduce_scatter  partial -> cut       gradient: all_gather
//
// all_reduce and fan_out are each other's gradients, so are all_gather and local_shard (Shoeybi et al.,
// "Megatron-LM", 2019, operators f and g).
#pragma once
#include "ir/builder.h"

namespace floe {

struct MeshAxis {
  std::string name = "tp";
  int64_t ways = 2;
};

Value all_reduce(Builder& b, Value x, const MeshAxis& mesh);
Value all_reduce_max(Builder& b, Value x, const MeshAxis& mesh);
Value fan_out(Builder& b, Value x, const MeshAxis& mesh);
Value all_gather(Builder& b, Value x, int64_t axis, const MeshAxis& mesh);
Value local_shard(Builder& b, Value x, int64_t axis, const MeshAxis& mesh);
Value reduce_scatter(Builder& b, Value x, int64_t axis, const MeshAxis& mesh);

}  // namespace floe
