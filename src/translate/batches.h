// Rows cut into batches by a budget of padded tokens, so that one long line among many cannot ask for more
// memory than the budget says.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace floe {

struct BatchLimits {
  int64_t tokens = 8192;  // padded source tokens times beams
  int64_t rows = 512;
  int64_t beams = 1;
};

// Every row's index once. Longest rows first, equal ones in their order; a batch of more than one row keeps
// to both limits, and a row that exceeds them stands alone.
std::vector<std::vector<size_t>> make_batches(std::span<const int64_t> lengths, const BatchLimits& limits);

}  // namespace floe
