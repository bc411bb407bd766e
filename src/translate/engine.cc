#include "translate/engine.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <set>

#include "base/error.h"
#include "compile/compile.h"
#include "nn/transformer.h"
#include "passes/simplify.h"
#include "runtime/state.h"
#include "text/counter_random.h"
#include "translate/search_graph.h"

namespace floe {
namespace {

constexpr int64_t kCrossBlock = 16;  // source positions that a table entry names

void check_ids(const std::vector<int32_t>& ids, int64_t vocabulary, const char* side, size_t row) {
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary) {
      fail_user("row {}: {} id {} is outside 0..{}", row, side, id, vocabulary - 1);
    }
  }
}

void at_least_one(const char* name, int64_t value) {
  if (value < 1) fail_user("{} must be at least 1, got {}", name, value);
}

// What names a row in random draws, in the 32 bits that a kernel takes: all 64 mixed, so that no two rows
// have one because of where they stand in a file.
int32_t draw_key(uint64_t ordinal) { return static_cast<int32_t>(counter_random({}, ordinal) >> 32); }

// One hypothesis a search, found by one row.
SearchOptions greedy(SearchOptions search) {
  search.beam = 1;
  search.n_best = 1;
  search.patience = 1;
  return search;
}

}  // namespace

Weights weights_for(Precision precision, const ModelConfig& config, Weights weights) {
  if (precision == Precision::f32) return weights;
  for (const WeightSpec& spec : weight_table(config)) {
    const auto at = weights.find(spec.name);
    if (at == weights.end() || at->second.dtype() != DType::f32 || !is_product_weight(spec)) continue;
    Tensor low(DType::bf16, at->second.shape());
    for (int64_t i = 0; i < low.size(); ++i) low.set(i, at->second.at(i));
    at->second = std::move(low);
  }
  return weights;
}

Graph graph_for(Precision precision, const ModelConfig& config, const Graph& graph) {
  if (precision == Precision::f32) return graph;
  std::set<std::string, std::less<>> narrow;
  for (const WeightSpec& spec : weight_table(config)) {
    if (is_product_weight(spec)) narrow.insert(spec.name);
  }
  SymbolTable symbols;
  for (const CacheSpec& spec : cache_table(config, {}, &symbols)) narrow.insert(spec.name);
  return widen_products(simplify(mixed_precision(
      narrow_states(graph, [&](std::string_view name) { return narrow.find(name) != narrow.end(); }))));
}

DecodeEngine::DecodeEngine(WithoutCaches, const ModelConfig& config, State& state, const KernelTable& kernels,
                           Device& device, DecodeEngineOptions options)
    : config_(config), state_(state), kernels_(kernels), device_(device), options_(std::move(options)) {
  config_.validate();
  at_least_one("max_rows", options_.max_rows);
  at_least_one("cache_positions", options_.cache_positions);
  at_least_one("source_positions", options_.source_positions);
  if (options_.max_target < 0) fail_user("max_target must be at least 0, got {}", options_.max_target);
  max_target_ =
      options_.max_target == 0 ? config_.max_positions : std::min(options_.max_target, config_.max_positions);
  if (options_.precision == Precision::bf16 && device_.on_host())
    fail_user("precision bf16 needs device cuda");
  if (!options_.compile) {
    options_.compile = [this](const std::vector<Graph>& graphs) {
      return compile(graphs, kernels_, {.device = device_.kind(), .row_invariant = true});
    };
  }
  plan_ = quantize_plan(config_, state_);
  cache_ = {.self_block = 1, .cross_block = kCrossBlock};
  room_ = {
      .rows = options_.max_rows,
      .positions = options_.cache_positions,
      .cross_blocks = config_.has_encoder() ? (options_.source_positions + kCrossBlock - 1) / kCrossBlock : 0,
      .cross_block = kCrossBlock,
      .cached = options_.cached};

  if (config_.has_encoder()) encoder_ = session_of(encode_graph(config_, cache_));
}

DecodeEngine::DecodeEngine(const ModelConfig& config, State& state, const KernelTable& kernels,
                           Device& device, DecodeEngineOptions options)
    : DecodeEngine(WithoutCaches{}, config, state, kernels, device, std::move(options)) {
  if (options_.fit_beam > 0) room_ = fitted_room();
  for (const CacheShape& cache : cache_shapes(room_)) {
    state_.set_zero(cache.name, cache.dtype, cache.shape);
    cache_names_.push_back(cache.name);
  }
}

DecodeEngine::~DecodeEngine() {
  for (const std::string& name : cache_names_) state_.erase(name);
}

std::vector<DecodeEngine::CacheShape> DecodeEngine::cache_shapes(const SearchRoom& room) const {
  SymbolTable symbols;
  const Binding blocks{{"self_blocks", room.positions}, {"cross_blocks", room.cross_blocks}};
  std::vector<CacheShape> list;
  for (const CacheSpec& spec : cache_table(config_, cache_, &symbols)) {
    Shape shape;
    for (const Dim& dim : spec.type.dims) shape.push_back(dim.evaluate(blocks));
    const bool low = options_.precision == Precision::bf16;
    list.push_back({spec.name, low ? DType::bf16 : spec.type.dtype, shape});
  }
  for (const char* name : {kHistoryState, kTableState})
    list.push_back({name, DType::i32, {room.rows, max_target_}});
  for (const char* name : {kRowsState, kTokensState}) list.push_back({name, DType::i32, {room.rows}});
  list.push_back({kScoresState, DType::f32, {room.rows}});
  list.push_back({kClockState, DType::i32, {2}});
  return list;
}

size_t DecodeEngine::cache_bytes() const {
  size_t bytes = 0;
  for (const std::string& name : cache_names_) bytes += state_.view(name).bytes();
  return bytes;
}

void DecodeEngine::trim() {
  if (encoder_) encoder_->trim();
  for (const auto& [key, session] : steppers_) session->trim();
  for (const auto& [key, session] : aligners_) session->trim();
}

void DecodeEngine::set_profile(bool on) {
  profile_ = on;
  if (encoder_) encoder_->set_profile(on);
  for (const auto& [key, session] : steppers_) session->set_profile(on);
}

void DecodeEngine::clear_profile() {
  if (encoder_) encoder_->clear_profile();
  for (const auto& [key, session] : steppers_) session->clear_profile();
}

DecodeEngine::Profile DecodeEngine::profile() const {
  Profile out;
  if (encoder_) out.encoder = encoder_->profile();
  for (const auto& [key, session] : steppers_) {
    const std::vector<StepTime> list = session->profile();
    out.steps.insert(out.steps.end(), list.begin(), list.end());
  }
  return out;
}

std::shared_ptr<Session> DecodeEngine::session_of(const Graph& graph) {
  const Graph compiled = graph_for(options_.precision, config_, int8_graph(graph, plan_));
  auto session = std::make_shared<Session>(options_.compile({compiled}), kernels_, device_, state_,
                                           options_.max_bindings);
  session->set_profile(profile_);
  return session;
}

Session& DecodeEngine::stepper(int64_t beam, bool sampling) {
  std::shared_ptr<Session>& session = steppers_[{beam, sampling}];
  if (session) return *session;
  session = session_of(search_graph(config_, {.beam = beam,
                                              .sampling = sampling,
                                              .cached = options_.cached,
                                              .positions = max_target_,
                                              .cache = cache_}));
  return *session;
}

void DecodeEngine::check_rows(std::span<const SequenceRow> rows) const {
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto length = static_cast<int64_t>(rows[i].source.size());
    check_ids(rows[i].prefix, config_.target_vocabulary, "prefix", i);
    if (!config_.has_encoder()) {
      if (length > 0) fail_user("row {}: the model has no encoder, so there must be no source", i);
      continue;
    }
    if (length == 0) fail_user("row {}: the source is empty", i);
    if (length > config_.max_positions) {
      fail_user("row {}: the source has {} ids, the model takes {}", i, length, config_.max_positions);
    }
    check_ids(rows[i].source, config_.source_vocabulary, "source", i);
  }
}

LengthLimits DecodeEngine::limits_of(const SequenceRow& row, const SearchOptions& search) const {
  if (config_.has_encoder()) return limits_for(search, static_cast<int64_t>(row.source.size()), max_target_);
  SearchOptions absolute = search;
  absolute.max_length_ratio = 0;
  return limits_for(absolute, 0, max_target_);
}

std::vector<SearchJob> DecodeEngine::jobs_for(std::span<const SequenceRow> rows,
                                              const SearchOptions& search) const {
  std::vector<SearchJob> jobs;
  for (const SequenceRow& row : rows) {
    jobs.push_back({.source = row.source,
                    .prefix = row.prefix,
                    .limits = limits_of(row, search),
                    .ordinal = draw_key(row.ordinal)});
  }
  return jobs;
}

void DecodeEngine::search(std::span<SearchJob> jobs, const SearchOptions& options) {
  Session& steps = stepper(options.beam, options.sampling);
  BatchSearch(config_, options, room_, {encoder_.get(), &steps, &epoch_, &occupancy_}).run(jobs);
}

DecodeEngine::Results DecodeEngine::decode(std::span<const SequenceRow> rows, const SearchOptions& search,
                                           const AttentionRequest& attention) {
  search.validate(config_.target_vocabulary);
  check_rows(rows);
  try {
    return found(rows, search, attention);
  } catch (const OutOfMemory&) {
    trim();
    throw;
  } catch (const std::bad_alloc&) {
    trim();
    throw;
  }
}

DecodeEngine::Results DecodeEngine::found(std::span<const SequenceRow> rows, const SearchOptions& search,
                                          const AttentionRequest& attention) {
  Results results = search.sampling       ? samples(rows, search)
                    : search.alternatives ? alternatives(rows, search)
                                          : best(rows, search);
  if (attention.wanted) attend(rows, attention, &results);
  return results;
}

DecodeEngine::Results DecodeEngine::best(std::span<const SequenceRow> rows, const SearchOptions& options) {
  std::vector<SearchJob> jobs = jobs_for(rows, options);
  search(jobs, options);
  Results results;
  for (SearchJob& job : jobs) results.push_back(std::move(job.hypotheses));
  return results;
}

DecodeEngine::Results DecodeEngine::samples(std::span<const SequenceRow> rows, const SearchOptions& options) {
  std::vector<SearchJob> jobs;
  for (const SearchJob& one : jobs_for(rows, options)) {
    for (int64_t draw = 0; draw < options.n_best; ++draw) {
      jobs.push_back(one);
      jobs.back().draw = static_cast<int32_t>(draw);
    }
  }
  search(jobs, greedy(options));
  Results results;
  for (size_t i = 0; i < rows.size(); ++i) {
    NBest list;
    for (int64_t draw = 0; draw < options.n_best; ++draw) {
      for (Hypothesis& h :
           jobs[i * static_cast<size_t>(options.n_best) + static_cast<size_t>(draw)].hypotheses) {
        list.add(std::move(h));
      }
    }
    results.push_back(list.take(options.n_best));
  }
  return results;
}

// First the n_best tokens after the prefix, no end among them; then a search from each.
DecodeEngine::Results DecodeEngine::alternatives(std::span<const SequenceRow> rows,
                                                 const SearchOptions& options) {
  SearchOptions expand = options;
  expand.beam = options.n_best;
  expand.patience = 1;
  expand.loop_ngram = 0;
  std::vector<SearchJob> first = jobs_for(rows, options);
  for (SearchJob& job : first) {
    const auto next = static_cast<int64_t>(job.prefix.size()) + 1;
    job.limits.max = std::min(job.limits.max, next);
    job.limits.min = job.limits.max;
  }
  search(first, expand);

  SearchOptions follow = options;
  follow.n_best = 1;
  const std::vector<SearchJob> whole = jobs_for(rows, options);
  std::vector<SearchJob> jobs;
  std::vector<size_t> row_of;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (const Hypothesis& h : first[i].hypotheses) {
      // exp in double of an f32 log-probability: a probability of 0 stays below any minimum above 0
      if (std::exp(h.log_prob) < options.min_alternative_probability) continue;
      jobs.push_back(whole[i]);
      jobs.back().prefix = h.tokens;
      jobs.back().start_score = static_cast<float>(h.log_prob);
      row_of.push_back(i);
    }
  }
  search(jobs, follow);

  Results results(rows.size());
  for (size_t k = 0; k < jobs.size(); ++k) {
    Hypothesis& h = jobs[k].hypotheses.front();
    const size_t at = rows[row_of[k]].prefix.size();
    if (at < jobs[k].prefix.size()) h.token_log_probs[at] = jobs[k].start_score;
    results[row_of[k]].push_back(std::move(h));
  }
  return results;
}

Session& DecodeEngine::aligner(const AttentionRequest& request) {
  const int64_t layer = request.layer < 0 ? request.layer + config_.decoder_layers : request.layer;
  std::shared_ptr<Session>& session = aligners_[{layer, request.heads}];
  if (!session) {
    session = session_of(scoring_graph(config_, {.alignment = AlignmentOptions{layer, request.heads}}));
  }
  return *session;
}

// Attention comes from one more pass over the finished hypotheses, so that a search does not pay for the
// paths that it drops.
void DecodeEngine::attend(std::span<const SequenceRow> rows, const AttentionRequest& request,
                          Results* results) {
  Session& session = aligner(request);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<Hypothesis>& list = (*results)[i];
    const auto sources = static_cast<int64_t>(rows[i].source.size());
    int64_t longest = 0;
    for (const Hypothesis& h : list) longest = std::max(longest, static_cast<int64_t>(h.tokens.size()));
    if (longest == 0) continue;
    const auto n = static_cast<int64_t>(list.size());
    Tensor source(DType::i32, {n, sources}), lengths(DType::i32, {n}), in(DType::i32, {n, longest}),
        out(DType::i32, {n, longest});
    std::fill_n(in.as<int32_t>(), n * longest, config_.pad_id);
    std::fill_n(out.as<int32_t>(), n * longest, config_.pad_id);
    for (int64_t k = 0; k < n; ++k) {
      const std::vector<int32_t>& tokens = list[static_cast<size_t>(k)].tokens;
      std::copy(rows[i].source.begin(), rows[i].source.end(), source.as<int32_t>() + k * sources);
      lengths.as<int32_t>()[k] = static_cast<int32_t>(sources);
      if (tokens.empty()) continue;
      in.as<int32_t>()[k * longest] = config_.start_id;
      std::copy(tokens.begin(), tokens.end() - 1, in.as<int32_t>() + k * longest + 1);
      std::copy(tokens.begin(), tokens.end(), out.as<int32_t>() + k * longest);
    }
    session.run("scoring", std::vector<Feed>{{"source", view_of(source)},
                                             {"source_lengths", view_of(lengths)},
                                             {"target_in", view_of(in)},
                                             {"target_out", view_of(out)}});
    const View weights = session.output("alignment");  // [n, longest, sources]
    for (int64_t k = 0; k < n; ++k) {
      Hypothesis& h = list[static_cast<size_t>(k)];
      for (size_t t = 0; t < h.tokens.size(); ++t) {
        const float* row = weights.as<const float>() + (k * longest + static_cast<int64_t>(t)) * sources;
        h.attention.emplace_back(row, row + sources);
      }
    }
  }
}

}  // namespace floe
