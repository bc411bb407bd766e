// One finished translation, and the list of the best ones.
#pragma once
#include <cstdint>
#include <vector>

namespace floe {

struct Hypothesis {
  std::vector<int32_t> tokens;  // without start and end token
  std::vector<float>
      token_log_probs;  // of each token, then of the end token where there is one; 0 in a prefix
  double log_prob = 0;  // their sum
  double score = 0;     // normalised by length
  bool ended = false;   // by an end token; false: by the length limit
  std::vector<std::vector<float>> attention;  // [tokens][source] where it was asked for
};

// Distinct hypotheses, best score first; of equal ones the one that was added first. Two with the same tokens
// count as one, and the better stays.
class NBest {
 public:
  void add(Hypothesis hypothesis);
  int64_t size() const { return static_cast<int64_t>(list_.size()); }
  std::vector<Hypothesis> take(int64_t n);

 private:
  std::vector<Hypothesis> list_;
};

}  // namespace floe
