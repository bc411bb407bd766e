// beam_advance of one sentence by one warp, a candidate a lane: the kernel of its own (beam_state_cuda.cu),
// and what search_choice does when it has the candidates (beam_cuda.cu).
#pragma once
#include <cstdint>

namespace floe {

struct AdvanceCall {
  const float* values;
  const int32_t* tokens;
  const int32_t* parents;
  const int32_t* ends;
  const int32_t* phase;
  int32_t* rows;
  int32_t* next_tokens;
  float* scores;
  int32_t* picks;
  int32_t* ended;
  int64_t sentences;
  int64_t width;  // candidates a sentence
  int64_t ends_width;
  int64_t beam_in;
  int64_t beam;
  int64_t lines;  // of rows, next_tokens and scores: what lies beyond is left out
};

// The i-th candidate that counts takes place i. One that ends there leaves it to a later one: the e-th such
// place, in order, to the e-th candidate beyond the beam that counts and does not end. `places` [beam] keeps
// the list of those places; it may be the sentence's lines of `rows`.
__device__ inline void advance_sentence(const AdvanceCall& call, int64_t s, int32_t* places) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const unsigned before = (1u << lane) - 1;
  const int32_t* tokens = call.tokens + s * call.width;
  const int32_t* ends = call.ends + s * call.ends_width;
  int32_t* picks = call.picks + s * call.beam;
  int32_t* ended = call.ended + s * call.beam;
  const int32_t phase = call.phase[s];
  for (int64_t place = lane; place < call.beam; place += 32) picks[place] = ended[place] = -1;
  __syncwarp();

  int64_t counted = 0;  // so far, by all lanes
  int64_t stopped = 0;
  int64_t spare = 0;
  for (int64_t base = 0; base < call.width; base += 32) {
    const int64_t j = base + lane;
    const int32_t token = j < call.width ? tokens[j] : -1;
    bool end = false;
    if (phase > 0 && token >= 0) {
      for (int64_t e = 0; e < call.ends_width; ++e) end = end || ends[e] == token;
    }
    const bool counts = token >= 0 && !(phase == 1 && j > 0 && end);
    const unsigned counting = __ballot_sync(kAll, counts);
    const int64_t index = counted + __popc(counting & before);
    const bool in_beam = counts && index < call.beam;
    const unsigned stopping = __ballot_sync(kAll, in_beam && end);
    const bool later = counts && !in_beam && !end;
    const unsigned replacing = __ballot_sync(kAll, later);
    if (in_beam && end) {
      ended[index] = static_cast<int32_t>(j);
      places[stopped + __popc(stopping & before)] = static_cast<int32_t>(index);
    } else if (in_beam) {
      picks[index] = static_cast<int32_t>(j);
    }
    __syncwarp();
    counted += __popc(counting);
    stopped += __popc(stopping);  // all there will be, where any lane has a later one
    const int64_t turn = spare + __popc(replacing & before);
    if (later && turn < stopped) picks[places[turn]] = static_cast<int32_t>(j);
    spare += __popc(replacing);
    __syncwarp();
  }

  for (int64_t place = lane; place < call.beam; place += 32) {
    const int32_t pick = picks[place];
    const int64_t from = s * call.width + pick;
    const int64_t at = s * call.beam + place;
    const int32_t parent = pick < 0 ? 0 : call.parents[from];
    if (at >= call.lines) continue;
    call.rows[at] = static_cast<int32_t>(s * call.beam_in) + parent;
    call.next_tokens[at] = pick < 0 ? 0 : call.tokens[from];
    call.scores[at] = pick < 0 ? __int_as_float(0xFF800000) : call.values[from];
  }
}

}  // namespace floe
