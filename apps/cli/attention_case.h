// Attention that is measured: its shapes, and how much work they are.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace floe {

struct AttentionCase {
  enum class Pass { forward, backward, decode } pass = Pass::forward;
  int64_t batch = 1, queries = 1, keys = 1, heads = 1, key_heads = 1, width = 64;
  bool causal = false;
  bool lengths = false;  // rows of 1/4 to all of the length, as attention_lengths() says
  double dropout = 0;
};

struct AttentionCaseChoice {
  std::string which;  // all, forward, backward, own, decode or memory
  bool gpu = false;   // larger ones
  bool quick = false;
};
// Throws UsageError listing the names.
std::vector<AttentionCase> attention_cases(const AttentionCaseChoice& choice);

// "forward, 32 heads of 64, causal, 32 x 512"
std::string description(const AttentionCase& c);

// Of each batch row, where `lengths`: evenly from a quarter of the length to all of it.
std::vector<int32_t> attention_lengths(const AttentionCase& c);

// As it is counted everywhere: 4 products of D for each query and key forward, 2.5 times that backward, half
// of it when causal; keys beyond a row's length do not count.
double flops_of(const AttentionCase& c);
// Of all keys and values: what decoding must read.
double cache_bytes_of(const AttentionCase& c, size_t element);

nlohmann::ordered_json json_of(const AttentionCase& c);
AttentionCase attention_case_of(const nlohmann::ordered_json& json);

}  // namespace floe
