// beam_advance and beam_rows on the GPU: one launch each.
#include <algorithm>

#include "device/cuda/launch.cuh"
#include "ops/search/search_kernel.h"

namespace floe {
namespace {

// ---- beam_advance: a warp a sentence, a candidate a lane

constexpr int kSentencesPerBlock = 4;

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
};

// The i-th candidate that counts takes place i. One that ends there leaves it to a later one: the e-th such
// place, in order, to the e-th candidate beyond the beam that counts and does not end. `rows` keeps the list
// of those places until it gets its value.
__global__ void __launch_bounds__(32 * kSentencesPerBlock)
    advance_kernel(const __grid_constant__ AdvanceCall call) {
  constexpr unsigned kAll = 0xFFFFFFFFu;
  let_next_start();
  wait_for_previous();
  const int64_t s = static_cast<int64_t>(blockIdx.x) * kSentencesPerBlock + threadIdx.x / 32;
  if (s >= call.sentences) return;  // a warp as a whole
  const int lane = static_cast<int>(threadIdx.x % 32);
  const unsigned before = (1u << lane) - 1;
  const int32_t* tokens = call.tokens + s * call.width;
  const int32_t* ends = call.ends + s * call.ends_width;
  int32_t* rows = call.rows + s * call.beam;
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
      rows[stopped + __popc(stopping & before)] = static_cast<int32_t>(index);
    } else if (in_beam) {
      picks[index] = static_cast<int32_t>(j);
    }
    __syncwarp();
    counted += __popc(counting);
    stopped += __popc(stopping);  // all there will be, where any lane has a later one
    const int64_t turn = spare + __popc(replacing & before);
    if (later && turn < stopped) picks[rows[turn]] = static_cast<int32_t>(j);
    spare += __popc(replacing);
    __syncwarp();
  }

  for (int64_t place = lane; place < call.beam; place += 32) {
    const int32_t pick = picks[place];
    const int64_t from = s * call.width + pick;
    const int64_t at = s * call.beam + place;
    const int32_t parent = pick < 0 ? 0 : call.parents[from];
    rows[place] = static_cast<int32_t>(s * call.beam_in) + parent;
    call.next_tokens[at] = pick < 0 ? 0 : call.tokens[from];
    call.scores[at] = pick < 0 ? __int_as_float(0xFF800000) : call.values[from];
  }
}

void run_advance(const KernelRun& run, int64_t beam_in) {
  const AdvanceCall call{run.inputs[0].as<float>(),    run.inputs[1].as<int32_t>(),
                         run.inputs[2].as<int32_t>(),  run.inputs[3].as<int32_t>(),
                         run.inputs[4].as<int32_t>(),  run.outputs[0].as<int32_t>(),
                         run.outputs[1].as<int32_t>(), run.outputs[2].as<float>(),
                         run.outputs[3].as<int32_t>(), run.outputs[4].as<int32_t>(),
                         run.inputs[0].dim(0),         run.inputs[0].dim(1),
                         run.inputs[3].dim(1),         beam_in,
                         run.outputs[3].dim(1)};
  launch("beam_advance", advance_kernel,
         {.grid = dim3(blocks_for(call.sentences, kSentencesPerBlock)),
          .block = dim3(32 * kSentencesPerBlock),
          .overlap = true},
         run.stream, call);
}

// ---- beam_rows: a block has some columns of all lines, so it may overwrite a line once it has read them all

constexpr int kColumns = 8;  // a sector of 32 bytes
constexpr int kMostThreads = 1024;

struct RowsCall {
  const int32_t* state;
  const int32_t* rows;
  const int32_t* positions;
  const int32_t* entries;
  int32_t* out;  // may be state
  int32_t* current;
  int64_t lines;  // of state
  int64_t width;
  int64_t count;  // of rows
};

// A row that is not in the state gives -1 in every column.
__global__ void __launch_bounds__(kMostThreads) rows_kernel(const __grid_constant__ RowsCall call) {
  let_next_start();
  wait_for_previous();
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + threadIdx.x % kColumns;
  const int64_t first = threadIdx.x / kColumns;
  const int64_t stride = blockDim.x / kColumns;
  const bool inside = column < call.width;
  int32_t* __restrict__ current = call.current;
#pragma unroll 4
  for (int64_t r = first; r < call.count; r += stride) {
    if (!inside) continue;
    const int64_t row = call.rows[r];
    int32_t value = row >= 0 && row < call.lines ? call.state[row * call.width + column] : -1;
    if (call.positions[r] == column) value = call.entries[r];
    current[r * call.width + column] = value;
  }
  __syncthreads();
  for (int64_t r = first; r < call.lines; r += stride) {
    if (!inside) continue;
    const int64_t at = r * call.width + column;
    if (r < call.count) {
      call.out[at] = current[at];  // this thread wrote it
    } else if (call.out != call.state) {
      call.out[at] = call.state[at];
    } else {
      break;
    }
  }
}

void run_rows(const KernelRun& run) {
  const View& state = run.inputs[0];
  const RowsCall call{state.as<int32_t>(),
                      run.inputs[1].as<int32_t>(),
                      run.inputs[2].as<int32_t>(),
                      run.inputs[3].as<int32_t>(),
                      run.outputs[0].as<int32_t>(),
                      run.outputs[1].as<int32_t>(),
                      state.dim(0),
                      state.dim(1),
                      run.outputs[1].dim(0)};
  const int64_t work = std::max(call.count, call.out == call.state ? 0 : call.lines) * kColumns;
  if (work == 0) return;
  const int64_t threads = std::min<int64_t>(kMostThreads, (work + 31) / 32 * 32);
  launch("beam_rows", rows_kernel,
         {.grid = dim3(blocks_for(call.width, kColumns)),
          .block = dim3(static_cast<unsigned>(threads)),
          .overlap = true},
         run.stream, call);
}

}  // namespace

void add_beam_state_cuda(KernelTable& table) {
  Kernel advance;
  advance.op = "beam_advance";
  advance.device = DeviceKind::cuda;
  advance.name = "beam_advance.f32";
  advance.supports = [](const KernelSignature& s) { return s.inputs[0] == DType::f32; };
  advance.bind = [](const KernelCall& call) {
    const int64_t beam_in = call.attrs.integer("beam_in");
    return BoundKernel{0, [beam_in](const KernelRun& run) { run_advance(run, beam_in); }, {}};
  };
  table.add(std::move(advance));

  Kernel rows;
  rows.op = "beam_rows";
  rows.device = DeviceKind::cuda;
  rows.name = "beam_rows.i32";
  rows.in_place = {{0, 0}};
  rows.supports = [](const KernelSignature&) { return true; };
  rows.bind = [](const KernelCall&) { return BoundKernel{0, run_rows, {}}; };
  table.add(std::move(rows));
}

}  // namespace floe
