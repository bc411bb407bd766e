#include "attention_case.h"

#include <fmt/core.h>

#include <numeric>

#include "base/error.h"
#include "command.h"

namespace floe {
namespace {

using Pass = AttentionCase::Pass;
using Cases = std::vector<AttentionCase>;

constexpr std::string_view name_of(Pass pass) {
  return pass == Pass::forward ? "forward" : (pass == Pass::backward ? "backward" : "decode");
}

AttentionCase self(Pass pass, int64_t batch, int64_t length, int64_t heads, int64_t width) {
  return {pass, batch, length, length, heads, heads, width};
}

// Equal tokens and equal features at every length and head size, so that products grow with the length
// alone.
struct Grid {
  int64_t tokens, features;
  std::vector<int64_t> lengths;
};
Grid grid_of(bool gpu) {
  if (gpu) return {16384, 2048, {512, 1024, 2048, 4096, 8192, 16384}};
  return {2048, 512, {128, 256, 512, 1024, 2048}};
}

void add_grid(Pass pass, bool gpu, Cases* cases) {
  const Grid grid = grid_of(gpu);
  const auto add = [&](int64_t width, bool causal, int64_t length) {
    AttentionCase c = self(pass, grid.tokens / length, length, grid.features / width, width);
    c.causal = causal;
    cases->push_back(c);
  };
  for (const int64_t width : {128, 64}) {
    for (const bool causal : {false, true}) {
      for (const int64_t length : grid.lengths) add(width, causal, length);
    }
  }
  for (const bool causal : {false, true}) {
    for (const int64_t length : gpu ? std::vector<int64_t>{2048, 8192} : std::vector<int64_t>{512}) {
      add(256, causal, length);
    }
  }
}

// What translation models ask for: encoder, decoder, cross-attention, padded rows, dropout.
void add_own(bool gpu, Cases* cases) {
  const int64_t tokens = gpu ? 16384 : 2048;
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const int64_t length : {32, 64, 128, 512}) {
      for (const bool causal : {false, true}) {
        AttentionCase c = self(pass, tokens / length, length, 8, 64);
        c.causal = causal;
        cases->push_back(c);
      }
    }
    AttentionCase cross = self(pass, tokens / 64, 64, 8, 64);
    cross.keys = 80;
    cases->push_back(cross);
    for (const int64_t length : {64, 512}) {
      AttentionCase padded = self(pass, tokens / length, length, 8, 64);
      padded.lengths = true;
      cases->push_back(padded);
    }
    AttentionCase dropping = self(pass, tokens / 64, 64, 8, 64);
    dropping.dropout = 0.1;
    cases->push_back(dropping);
  }
}

void add_decode(bool gpu, Cases* cases) {
  if (!gpu) {
    cases->push_back({Pass::decode, 1, 1, 4096, 8, 8, 64});
    cases->push_back({Pass::decode, 16, 1, 256, 8, 8, 64});
    return;
  }
  cases->push_back({Pass::decode, 1, 1, 32768, 32, 8, 128});
  cases->push_back({Pass::decode, 16, 1, 4096, 32, 8, 128});
  cases->push_back({Pass::decode, 64, 1, 256, 8, 8, 128});
}

// The lengths over which memory grows, for one head size.
void add_memory(bool gpu, Cases* cases) {
  const Grid grid = grid_of(gpu);
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const int64_t length : grid.lengths) {
      cases->push_back(self(pass, grid.tokens / length, length, grid.features / 128, 128));
    }
  }
}

Cases quick_cases() {
  Cases cases = {
      self(Pass::forward, 2, 8, 2, 8), self(Pass::backward, 2, 8, 2, 8), {Pass::decode, 2, 1, 20, 4, 2, 8}};
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    AttentionCase every = self(pass, 3, 8, 2, 8);
    every.causal = every.lengths = true;
    every.dropout = 0.25;
    cases.push_back(every);
  }
  return cases;
}

}  // namespace

std::vector<AttentionCase> attention_cases(const AttentionCaseChoice& choice) {
  const std::string& which = choice.which;
  const bool all = which == "all";
  if (!all && which != "forward" && which != "backward" && which != "own" && which != "decode" &&
      which != "memory") {
    throw UsageError(
        fmt::format("--case is one of all, forward, backward, own, decode, memory, not '{}'", which));
  }
  if (choice.quick) return quick_cases();
  Cases cases;
  if (all || which == "forward") add_grid(Pass::forward, choice.gpu, &cases);
  if (all || which == "backward") add_grid(Pass::backward, choice.gpu, &cases);
  if (all || which == "own") add_own(choice.gpu, &cases);
  if (all || which == "decode") add_decode(choice.gpu, &cases);
  if (which == "memory") add_memory(choice.gpu, &cases);
  return cases;
}

std::string description(const AttentionCase& c) {
  std::string text = fmt::format("{}, {}", name_of(c.pass), c.heads);
  if (c.key_heads != c.heads) text += fmt::format(" over {}", c.key_heads);
  text += fmt::format(" heads of {}, {}", c.width, c.causal ? "causal" : "full");
  if (c.lengths) text += ", padded";
  if (c.dropout > 0) text += fmt::format(", dropout {}", c.dropout);
  text += fmt::format(", {} x {}", c.batch, c.queries);
  if (c.keys != c.queries) text += fmt::format(" over {}", c.keys);
  return text;
}

std::vector<int32_t> attention_lengths(const AttentionCase& c) {
  std::vector<int32_t> lengths;
  for (int64_t b = 0; b < c.batch; ++b) {
    const int64_t least = c.keys / 4;
    lengths.push_back(static_cast<int32_t>(least + (c.keys - least) * (b + 1) / c.batch));
  }
  return lengths;
}

double flops_of(const AttentionCase& c) {
  int64_t keys = c.batch * c.keys;
  if (c.lengths) {
    const std::vector<int32_t> lengths = attention_lengths(c);
    keys = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  }
  const double forward = 4.0 * static_cast<double>(keys) * static_cast<double>(c.queries) *
                         static_cast<double>(c.heads * c.width) * (c.causal ? 0.5 : 1);
  return c.pass == Pass::backward ? 2.5 * forward : forward;
}

double cache_bytes_of(const AttentionCase& c, size_t element) {
  return 2.0 * static_cast<double>(c.batch * c.keys * c.key_heads * c.width) * static_cast<double>(element);
}

nlohmann::ordered_json json_of(const AttentionCase& c) {
  nlohmann::ordered_json json = {{"pass", name_of(c.pass)}, {"batch", c.batch},   {"queries", c.queries},
                                 {"keys", c.keys},          {"heads", c.heads},   {"key_heads", c.key_heads},
                                 {"width", c.width},        {"causal", c.causal}, {"dropout", c.dropout},
                                 {"lengths", nullptr}};
  if (c.lengths) json["lengths"] = attention_lengths(c);
  return json;
}

AttentionCase attention_case_of(const nlohmann::ordered_json& json) {
  const std::string pass = json.at("pass");
  for (const Pass one : {Pass::forward, Pass::backward, Pass::decode}) {
    if (pass != name_of(one)) continue;
    return {one,
            json.at("batch"),
            json.at("queries"),
            json.at("keys"),
            json.at("heads"),
            json.at("key_heads"),
            json.at("width"),
            json.at("causal"),
            !json.at("lengths").is_null(),
            json.at("dropout")};
  }
  fail_user("bench attention: there is no pass '{}'", pass);
}

}  // namespace floe
