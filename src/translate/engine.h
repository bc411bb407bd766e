// The decoder of real models: sentences of source ids in, hypotheses out, through compiled graphs and
// preallocated caches. What a sentence gets does not depend on the other sentences of a call, nor on how a
// call is cut into batches: the same bits.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel/kernel.h"
#include "nn/config.h"
#include "nn/kv_cache.h"
#include "nn/weights.h"
#include "passes/mixed_precision.h"
#include "runtime/program.h"
#include "runtime/session.h"
#include "translate/batch_search.h"
#include "translate/int8.h"
#include "translate/sequence_decoder.h"

namespace floe {

struct DecodeEngineOptions {
  int64_t max_rows = 256;           // of a step: sentences times beam
  int64_t cache_positions = 16384;  // of the self cache, over all rows: bounds its memory
  int64_t source_positions = 8192;  // of the cross cache, over all sentences
  // Above 0: rows and caches are made smaller where the device's memory asks for it, down to what one
  // sentence of the greatest length with such a beam takes.
  int64_t fit_beam = 0;
  size_t keep_free = 0;                  // bytes that this leaves to others
  int64_t max_target = 0;                // longest target; 0: what the model's positions allow
  Precision precision = Precision::f32;  // bf16: products, caches and the weights in `state` that they read
  bool cached = true;                    // false: every step reads the whole prefix anew; for comparison
  size_t max_bindings = 64;              // sets of sizes that a session keeps (runtime/session.h)
  // Graphs to a program: compile() with the engine's kernels where none is given.
  std::function<std::shared_ptr<const Program>(const std::vector<Graph>&)> compile;
};

// The weights as an engine of that precision reads them, and a graph of nn/transformer.h as it compiles it.
Weights weights_for(Precision precision, const ModelConfig& config, Weights weights);
Graph graph_for(Precision precision, const ModelConfig& config, const Graph& graph);

class DecodeEngine : public SequenceDecoder {
 public:
  // `state` holds the model's weights (nn/weights.h; for bf16 as weights_for() gives them; f32 ones or codes
  // with their scales) and gets the caches; kernels, pool and state must outlive the engine. One call at a
  // time. Throws OutOfMemory, with options.fit_beam saying what the least would take and what there is.
  DecodeEngine(const ModelConfig& config, State& state, const KernelTable& kernels, Device& device,
               DecodeEngineOptions options = {});
  ~DecodeEngine() override;

  // The least that an engine with these options takes of its device beside the weights: with room for one
  // sentence of the greatest length and options.fit_beam.
  static size_t least_bytes(const ModelConfig& config, const KernelTable& kernels, Device& device,
                            const DecodeEngineOptions& options);

  // Throws Error{user}: an option out of range; a row that is empty, longer than the model takes, or holds an
  // id that is not in the vocabulary (naming row and id). OutOfMemory: a row that does not fit the caches
  // even alone (several that do not fit together take turns), or a step for which memory does not suffice;
  // then what can be made again has been given back, and fewer rows may fit. Samples are n_best draws a row,
  // equal ones given once.
  std::vector<std::vector<Hypothesis>> decode(std::span<const SequenceRow> rows, const SearchOptions& search,
                                              const AttentionRequest& attention) override;

  const ModelConfig& config() const { return config_; }
  int64_t max_target() const { return max_target_; }
  size_t cache_bytes() const;
  const SearchRoom& room() const { return room_; }
  // Gives back what can be made again: arenas and bindings. Caches and weights stay.
  void trim();

  // Of all searches so far.
  Occupancy occupancy() const { return occupancy_; }

  // Where time goes, in the runs since clear_profile() that were profiled. Sessions that are made later take
  // part.
  struct Profile {
    std::vector<StepTime> encoder, steps;
  };
  void set_profile(bool on);
  void clear_profile();
  Profile profile() const;

 private:
  struct WithoutCaches {};
  DecodeEngine(WithoutCaches, const ModelConfig& config, State& state, const KernelTable& kernels,
               Device& device, DecodeEngineOptions options);

  using Results = std::vector<std::vector<Hypothesis>>;
  struct CacheShape {
    std::string name;
    DType dtype;
    Shape shape;
  };
  std::vector<CacheShape> cache_shapes(const SearchRoom& room) const;
  // engine_room.cc
  SearchRoom room_for(int64_t sentences) const;
  Binding step_binding(const SearchRoom& room) const;
  size_t bytes_for(int64_t sentences);
  SearchRoom fitted_room();

  Results found(std::span<const SequenceRow> rows, const SearchOptions& search,
                const AttentionRequest& attention);
  void check_rows(std::span<const SequenceRow> rows) const;
  LengthLimits limits_of(const SequenceRow& row, const SearchOptions& search) const;
  std::vector<SearchJob> jobs_for(std::span<const SequenceRow> rows, const SearchOptions& search) const;
  void search(std::span<SearchJob> jobs, const SearchOptions& options);
  Results best(std::span<const SequenceRow> rows, const SearchOptions& search);
  Results samples(std::span<const SequenceRow> rows, const SearchOptions& search);
  Results alternatives(std::span<const SequenceRow> rows, const SearchOptions& search);
  void attend(std::span<const SequenceRow> rows, const AttentionRequest& request, Results* results);

  std::shared_ptr<Session> session_of(const Graph& graph);
  Session& stepper(int64_t beam, bool sampling);
  Session& aligner(const AttentionRequest& request);

  ModelConfig config_;
  State& state_;
  const KernelTable& kernels_;
  Device& device_;
  DecodeEngineOptions options_;
  QuantizePlan plan_;
  CacheOptions cache_;
  SearchRoom room_;
  int64_t max_target_;
  bool profile_ = false;
  std::vector<std::string> cache_names_;
  int32_t epoch_ = 0;  // of the searches' clock
  Occupancy occupancy_;
  std::shared_ptr<Session> encoder_;
  std::map<std::pair<int64_t, bool>, std::shared_ptr<Session>> steppers_;  // by (beam, sampling)
  std::map<std::pair<int64_t, std::vector<int64_t>>, std::shared_ptr<Session>>
      aligners_;  // by (layer, heads)
};

}  // namespace floe
