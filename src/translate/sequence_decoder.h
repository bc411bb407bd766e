// What the door between text and ids needs of a decoder: rows of source ids in, n-best rows of target ids
// out.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "decode/hypothesis.h"
#include "decode/options.h"

namespace floe {

struct SequenceRow {
  std::vector<int32_t> source;  // as the encoder reads it, special ids included
  std::vector<int32_t> prefix;  // the target begins with it
  uint64_t ordinal = 0;         // names the row in random draws: it draws the same beside any others
};

// Which attention goes with the hypotheses.
struct AttentionRequest {
  bool wanted = false;
  int64_t layer = -1;          // of the decoder; negative ones count from the last
  std::vector<int64_t> heads;  // their mean; empty: all
};

class SequenceDecoder {
 public:
  virtual ~SequenceDecoder() = default;
  // In the rows' order; of each row 1 to n_best hypotheses, with attention [tokens][row's source] where it is
  // wanted. std::bad_alloc and OutOfMemory mean that the rows were too much at once and that fewer may do;
  // any other error is not about how many there are.
  virtual std::vector<std::vector<Hypothesis>> decode(std::span<const SequenceRow> rows,
                                                      const SearchOptions& search,
                                                      const AttentionRequest& attention) = 0;
};

}  // namespace floe
