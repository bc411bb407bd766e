// The probability that a model gives to given translations.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "translate/model_file.h"

namespace floe {

class Device;

struct ScorerOptions {
  int64_t batch_tokens = 8192;  // padded tokens of source and target together
  int64_t batch_rows = 256;
  bool strict = false;  // over-long lines are errors
};

struct PairScore {
  double log_probability = 0;  // of the target's tokens and the end token, natural logarithm
  int64_t tokens = 0;          // that it is the sum over; 0 when either side is blank: nothing was scored
};

class Scorer {
 public:
  using Warn = std::function<void(const std::string&)>;

  // The pool must outlive the scorer. Takes the weights over.
  Scorer(ModelFile model, const ScorerOptions& options, Device& device, Warn warn);
  ~Scorer();

  // source[k] with target[k]; throws Error{user} with both counts when they differ. Pairs for which memory
  // does not suffice are halved; one that does not fit alone is OutOfMemory naming its line. A side longer
  // than the model takes is cut with one warning that names the line, as the translator does. `first_line`
  // numbers the first pair.
  std::vector<PairScore> score(std::span<const std::string> source, std::span<const std::string> target,
                               uint64_t first_line = 1);

 private:
  struct Engine;
  struct Row;
  std::vector<int32_t> ids_of(const TextCodec& codec, const std::string& text, int64_t limit,
                              const char* side, uint64_t number);
  void run(std::span<const Row*> rows, std::vector<PairScore>& out);
  void run_at_once(std::span<const Row*> rows, std::vector<PairScore>& out);

  ModelText text_;
  ModelConfig config_;
  ScorerOptions options_;
  Warn warn_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace floe
