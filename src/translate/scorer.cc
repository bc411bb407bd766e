#include "translate/scorer.h"

#include <algorithm>
#include <new>

#include "base/error.h"
#include "compile/compile.h"
#include "device/device.h"
#include "nn/transformer.h"
#include "runtime/session.h"
#include "runtime/state.h"
#include "text/lines.h"
#include "translate/batches.h"
#include "translate/int8.h"

namespace floe {
namespace {

constexpr const char* kEntry = "score";

Tensor padded(size_t rows, size_t width, int32_t pad) {
  return Tensor::from_ints({static_cast<int64_t>(rows), static_cast<int64_t>(width)},
                           std::vector<int32_t>(rows * width, pad));
}

}  // namespace

struct Scorer::Row {
  size_t index = 0;
  uint64_t number = 0;  // of the line, from 1
  std::vector<int32_t> source;
  std::vector<int32_t> target;  // without start and end token
};

struct Scorer::Engine {
  Engine(const ModelConfig& config, Weights weights, Device& device) : state(&device) {
    add_all_kernels(device.kind(), kernels);
    if (!runs_int8(device.kind(), kernels)) weights = dequantized(std::move(weights));
    const QuantizePlan plan = quantize_plan(config, weights);
    for (auto& [name, tensor] : weights) state.set(name, std::move(tensor));
    Graph graph = int8_graph(scoring_graph(config, {}), plan);
    graph.set_name(kEntry);
    session = std::make_unique<Session>(compile({graph}, kernels, {.device = device.kind()}), kernels, device,
                                        state);
  }
  KernelTable kernels;
  State state;
  std::unique_ptr<Session> session;
};

Scorer::Scorer(ModelFile model, const ScorerOptions& options, Device& device, Warn warn)
    : text_(std::move(model.text)), config_(model.config), options_(options), warn_(std::move(warn)) {
  if (options_.batch_tokens < 1)
    fail_user("batch tokens is {}; it must be at least 1", options_.batch_tokens);
  engine_ = std::make_unique<Engine>(config_, std::move(model.weights), device);
}

Scorer::~Scorer() = default;

std::vector<int32_t> Scorer::ids_of(const TextCodec& codec, const std::string& text, int64_t limit,
                                    const char* side, uint64_t number) {
  std::vector<int32_t> ids = codec.encode(text).ids;
  if (static_cast<int64_t>(ids.size()) <= limit) return ids;
  if (options_.strict)
    fail_user("{} line {} has {} tokens; the model takes {}", side, number, ids.size(), limit);
  warn_(fmt::format("{} line {} has {} tokens; the model takes {}, and what follows them is left out", side,
                    number, ids.size(), limit));
  ids.resize(static_cast<size_t>(limit));
  return ids;
}

std::vector<PairScore> Scorer::score(std::span<const std::string> source, std::span<const std::string> target,
                                     uint64_t first_line) {
  if (source.size() != target.size())
    fail_user("{} source lines with {} target lines", source.size(), target.size());
  std::vector<Row> rows;
  std::vector<int64_t> lengths;
  for (size_t i = 0; i < source.size(); ++i) {
    if (is_blank(source[i]) || is_blank(target[i])) continue;
    const uint64_t number = first_line + i;
    Row row{.index = i, .number = number};
    row.source =
        ids_of(text_.source, source[i], text_.max_source - (text_.source_ends ? 1 : 0), "source", number);
    row.target = ids_of(text_.target, target[i], text_.max_target, "target", number);
    if (row.source.empty() || row.target.empty()) continue;
    if (text_.source_ends) row.source.push_back(text_.eos_id);
    lengths.push_back(static_cast<int64_t>(row.source.size() + row.target.size() + 1));
    rows.push_back(std::move(row));
  }
  std::vector<PairScore> out(source.size());
  for (const auto& batch :
       make_batches(lengths, {.tokens = options_.batch_tokens, .rows = options_.batch_rows})) {
    std::vector<const Row*> members;
    for (const size_t row : batch) members.push_back(&rows[row]);
    run(members, out);
  }
  return out;
}

void Scorer::run(std::span<const Row*> rows, std::vector<PairScore>& out) {
  std::string reason;
  try {
    run_at_once(rows, out);
    return;
  } catch (const std::bad_alloc&) {
    reason = "there is not enough memory";
  } catch (const OutOfMemory& error) {
    reason = error.what();
  }
  engine_->session->trim();
  if (rows.size() == 1) {
    throw OutOfMemory(fmt::format("line {} with {} source and {} target tokens was not scored: {}",
                                  rows[0]->number, rows[0]->source.size(), rows[0]->target.size(), reason));
  }
  run(rows.first(rows.size() / 2), out);
  run(rows.subspan(rows.size() / 2), out);
}

void Scorer::run_at_once(std::span<const Row*> rows, std::vector<PairScore>& out) {
  size_t source_width = 0, target_width = 0;
  for (const Row* row : rows) {
    source_width = std::max(source_width, row->source.size());
    target_width = std::max(target_width, row->target.size() + 1);
  }
  Tensor source = padded(rows.size(), source_width, config_.pad_id);
  Tensor target_in = padded(rows.size(), target_width, config_.pad_id);
  Tensor target_out = padded(rows.size(), target_width, config_.pad_id);
  std::vector<int32_t> source_lengths;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::copy(rows[r]->source.begin(), rows[r]->source.end(), source.as<int32_t>() + r * source_width);
    source_lengths.push_back(static_cast<int32_t>(rows[r]->source.size()));
    int32_t* in = target_in.as<int32_t>() + r * target_width;
    int32_t* to = target_out.as<int32_t>() + r * target_width;
    in[0] = config_.start_id;
    std::copy(rows[r]->target.begin(), rows[r]->target.end(), in + 1);
    std::copy(rows[r]->target.begin(), rows[r]->target.end(), to);
    to[rows[r]->target.size()] = config_.eos_id;
  }
  const Tensor lengths = Tensor::from_ints({static_cast<int64_t>(rows.size())}, source_lengths);
  const std::vector<Feed> feeds = {{"source", view_of(source)},
                                   {"source_lengths", view_of(lengths)},
                                   {"target_in", view_of(target_in)},
                                   {"target_out", view_of(target_out)}};
  engine_->session->run(kEntry, feeds);
  const float* scores = engine_->session->output("scores").as<float>();
  for (size_t r = 0; r < rows.size(); ++r) {
    PairScore& score = out[rows[r]->index];
    score.tokens = static_cast<int64_t>(rows[r]->target.size()) + 1;
    for (int64_t t = 0; t < score.tokens; ++t)
      score.log_probability += static_cast<double>(scores[r * target_width + static_cast<size_t>(t)]);
  }
}

}  // namespace floe
