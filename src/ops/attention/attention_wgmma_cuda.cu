// Which of the kernels on sm_90's tensor cores takes which width.
#include "ops/attention/attention_wgmma_cuda.cuh"

namespace floe {
namespace {

// 3 x 64 queries: exponentials, which need as long as the products here, meet those of two others.
template <class T>
using Narrow = WgmmaForwardTraits<T, ForwardOptions{.width = 64, .warpgroups = 3, .keys = 128}>;
template <class T>
using Middle = WgmmaForwardTraits<T, ForwardOptions{.width = 128, .warpgroups = 2, .keys = 128}>;
// Shared memory is full: outputs take the queries' place.
template <class T>
using Wide =
    WgmmaForwardTraits<T, ForwardOptions{.width = 256, .warpgroups = 2, .keys = 80, .own_out = false}>;

// A block for each tile: unequal ones, as a causal mask makes them, are then handed out evenly by the
// hardware.
template <class T>
using NarrowEach =
    WgmmaForwardTraits<T, ForwardOptions{.width = 64, .warpgroups = 3, .keys = 128, .stays = false}>;
template <class T>
using WideEach =
    WgmmaForwardTraits<T, ForwardOptions{
                              .width = 256, .warpgroups = 2, .keys = 80, .own_out = false, .stays = false}>;

// Over many keys maxima seldom rise: a vote of the warp saves most rescaling of the outputs. No bit changes.
template <class T>
using MiddleVotes =
    WgmmaForwardTraits<T, ForwardOptions{.width = 128, .warpgroups = 2, .keys = 128, .votes = true}>;
template <class T>
using WideEachVotes = WgmmaForwardTraits<
    T, ForwardOptions{
           .width = 256, .warpgroups = 2, .keys = 80, .own_out = false, .stays = false, .votes = true}>;
constexpr int64_t kManyKeys = 4096;

// Where tiles are short and many, their start, which a block that stays hides, costs more than what is left
// unequal at the end.
template <class Traits>
bool stays(const AttentionProblem& s, int longest) {
  return s.queries <= longest && TileOrder::of(s, Traits::kM, true).count() >= 8 * multiprocessors();
}

}  // namespace

template <class T>
bool wgmma_takes(const AttentionProblem& s, const AttentionPointers& data) {
  if (s.scale <= 0 || s.ordinals != nullptr || s.width > 256 || s.value_width > 256) return false;
  const ForwardBoxes<Wide<T>> boxes(s, data);  // the size of a box does not matter
  if (!can_map(boxes.q) || !can_map(boxes.k) || !can_map(boxes.v) || !can_map(boxes.out)) return false;
  return TileOrder::of(s, 64, false).count() < (int64_t{1} << 30);
}

template <class T>
void queue_wgmma_forward(const AttentionProblem& s, const AttentionPointers& data, void* stream) {
  const int widest = std::max(s.width, s.value_width);
  const bool unequal = s.diagonal < s.keys - 1;
  if (widest <= 64) {
    if (unequal && !stays<Narrow<T>>(s, 2048)) return queue_wgmma<NarrowEach<T>>(s, data, stream);
    return queue_wgmma<Narrow<T>>(s, data, stream);
  }
  const bool many = s.keys >= kManyKeys;
  if (widest <= 128) {
    return many || unequal ? queue_wgmma<MiddleVotes<T>>(s, data, stream)
                           : queue_wgmma<Middle<T>>(s, data, stream);
  }
  if (many) return queue_wgmma<WideEachVotes<T>>(s, data, stream);
  return unequal ? queue_wgmma<WideEach<T>>(s, data, stream) : queue_wgmma<Wide<T>>(s, data, stream);
}

template bool wgmma_takes<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&);
template bool wgmma_takes<__half>(const AttentionProblem&, const AttentionPointers&);
template void queue_wgmma_forward<__nv_bfloat16>(const AttentionProblem&, const AttentionPointers&, void*);
template void queue_wgmma_forward<__half>(const AttentionProblem&, const AttentionPointers&, void*);

}  // namespace floe
