// How many rows and cache positions an engine takes, where memory is limited: as many sentences at once as
// the caches, the weights packed for the kernels and the arenas of encoder and step leave room for.
#include <algorithm>

#include "base/bytes.h"
#include "base/error.h"
#include "translate/engine.h"
#include "translate/search_graph.h"

namespace floe {
namespace {

// A recorded step, code and a library's own memory are not counted on a GPU; of a 16th of what is free they
// take little.
constexpr size_t kGpuSpare = 16;

// Of prefixes and of the penalties' lists: more than most searches are given, and nothing beside the logits.
constexpr int64_t kListLength = 16;

}  // namespace

// Caches in proportion to the sentences; one of the greatest length always has room.
SearchRoom DecodeEngine::room_for(int64_t sentences) const {
  const int64_t beam = options_.fit_beam;
  const int64_t most = std::max<int64_t>(1, options_.max_rows / beam);
  const auto share = [&](int64_t all, int64_t least) { return std::max(least, all / most * sentences); };
  SearchRoom room = room_;
  if (sentences == most) return room;
  room.rows = sentences * beam;
  room.positions = share(room_.positions, std::min(room_.positions, beam * max_target_));
  const int64_t longest = (config_.max_positions + room_.cross_block - 1) / room_.cross_block;
  room.cross_blocks = share(room_.cross_blocks, std::min(room_.cross_blocks, longest));
  return room;
}

Binding DecodeEngine::step_binding(const SearchRoom& room) const {
  return {{"R", room.rows / options_.fit_beam * options_.fit_beam},
          {"T", max_target_},
          {"W", (config_.max_positions + room.cross_block - 1) / room.cross_block},
          {"M", room.rows},
          {"F", kListLength},
          {"E", kListLength},
          {"U", kListLength},
          {"self_blocks", room.positions},
          {"cross_blocks", room.cross_blocks}};
}

size_t DecodeEngine::bytes_for(int64_t sentences) {
  const SearchRoom room = room_for(sentences);
  size_t bytes = 0;
  for (const CacheShape& cache : cache_shapes(room))
    bytes += static_cast<size_t>(count(cache.shape)) * size_of(cache.dtype);
  const Session::Needs step = stepper(options_.fit_beam, false).needs(kSearchEntry, step_binding(room));
  bytes += step.arena + step.packed;
  if (!config_.has_encoder()) return bytes;
  // As many of the greatest length as the cross cache takes, or all as long as there is room for.
  const int64_t positions = room.cross_blocks * room.cross_block;
  size_t arena = 0, packed = 0;
  for (const int64_t length : {config_.max_positions, positions / sentences}) {
    const int64_t width = std::clamp<int64_t>(length, 1, config_.max_positions);
    const Session::Needs encode =
        encoder_->needs("encode", {{"B", std::clamp<int64_t>(positions / width, 1, sentences)},
                                   {"S", width},
                                   {"W", (width + room.cross_block - 1) / room.cross_block},
                                   {"cross_blocks", room.cross_blocks}});
    arena = std::max(arena, encode.arena);
    packed = encode.packed;
  }
  return bytes + arena + packed;
}

size_t DecodeEngine::least_bytes(const ModelConfig& config, const KernelTable& kernels, Device& device,
                                 const DecodeEngineOptions& options) {
  State none(&device);
  return DecodeEngine(WithoutCaches{}, config, none, kernels, device, options).bytes_for(1);
}

SearchRoom DecodeEngine::fitted_room() {
  const size_t available = device_.memory_available();
  if (available == Device::kNoLimit) return room_;
  size_t budget = available - std::min(available, options_.keep_free);
  if (!device_.on_host()) budget -= budget / kGpuSpare;
  int64_t most = std::max<int64_t>(1, options_.max_rows / options_.fit_beam);
  if (bytes_for(most) <= budget) return room_;
  const size_t least = bytes_for(1);
  if (least > budget) {
    throw OutOfMemory(fmt::format(
        "{}: to translate one sentence of the greatest length ({} tokens) with a beam of {} takes {} beside "
        "what "
        "is in use; {} are left{}",
        device_.name(), config_.max_positions, options_.fit_beam, rounded_bytes(least), rounded_bytes(budget),
        device_.memory_limit() == Device::kNoLimit
            ? ""
            : fmt::format(" of a memory limit of {}", exact_bytes(device_.memory_limit()))));
  }
  int64_t fits = 1;
  while (most - fits > 1) {
    const int64_t middle = fits + (most - fits) / 2;
    (bytes_for(middle) <= budget ? fits : most) = middle;
  }
  return room_for(fits);
}

}  // namespace floe
