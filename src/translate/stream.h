// Files of any length through a translator: read and written in chunks, so that memory does not grow with the
// file.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "translate/translator.h"

namespace floe {

// A chunk ends with whichever comes first; large enough that sorting by length fills its batches.
struct StreamLimits {
  size_t lines = 2048;
  size_t bytes = size_t{1} << 20;
};

struct StreamReport {
  uint64_t lines = 0;
  uint64_t failed = 0;
  uint64_t first_failed = 0;  // number of that line, from 1
};

struct StreamInput {
  std::function<bool(std::string&)> next_line;    // false at the end
  std::function<bool(std::string&)> next_prefix;  // may be empty: no prefixes
};

struct TranslatedLine {
  uint64_t number;  // from 1
  const std::string& source;
  const Translation& translation;
};

// Calls `sink` once for each line, in order. `chunk_done` (may be empty) is called after each chunk: a good
// moment to flush. Throws Error{user} when one input ends before the other.
StreamReport translate_stream(Translator& translator, const StreamInput& input,
                              const std::function<void(const TranslatedLine&)>& sink,
                              const std::function<void()>& chunk_done = {}, const StreamLimits& limits = {});

}  // namespace floe
