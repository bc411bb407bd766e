#include "text/corpus.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/counter_random.h"
#include "text/tokenizer.h"

namespace floe {
namespace {

// Streams of counter_random: the order, then one for the draws of each part.
constexpr uint64_t kOrderStream = 0;
constexpr uint64_t kFirstDrawStream = 1;

constexpr double kMaxWeight = 1000.0;  // an epoch holds that many copies of a pair

std::string part_name(const CorpusPart& part) {
  if (!part.tsv.empty())
    return fmt::format("{} ({}, {})", part.tsv, part.columns.source, part.columns.target);
  return fmt::format("{} + {}", part.source, part.target);
}

LinePairs read_part(const CorpusPart& part) {
  const bool files = !part.source.empty() && !part.target.empty();
  const bool half = part.source.empty() != part.target.empty();
  if (half || files == !part.tsv.empty()) {
    fail_user(
        "a corpus is either a source and a target file or one tab-separated file; given: source \"{}\", "
        "target \"{}\", tsv \"{}\"",
        part.source, part.target, part.tsv);
  }
  return files ? read_pairs(part.source, part.target) : read_tsv_pairs(part.tsv, part.columns);
}

// Cuts to the limit; true when something was cut.
bool cut(std::vector<int32_t>& ids, uint32_t limit) {
  if (limit == 0 || ids.size() <= limit) return false;
  ids.resize(limit);
  return true;
}

}  // namespace

std::string CorpusReport::text() const {
  std::string out;
  for (const auto& part : parts) {
    out += fmt::format(
        "{}: weight {}, {} pairs, {} kept ({} source and {} target tokens), {} with a blank side, "
        "{} too long, {} truncated\n",
        part.name, part.weight, part.lines, part.kept, part.source_tokens, part.target_tokens, part.blank,
        part.too_long, part.truncated);
  }
  for (const auto& warning : warnings) out += fmt::format("warning: {}\n", warning);
  return out;
}

Corpus::Corpus(const std::vector<CorpusPart>& parts, const Tokenizer& source, const Tokenizer& target,
               const CorpusOptions& options) {
  if (parts.empty()) fail_user("no corpus is given");
  for (const auto& part : parts) {
    if (!(part.weight > 0.0 && part.weight <= kMaxWeight)) {
      fail_user("corpus {}: weight {} is not above 0 and at most {}", part_name(part), part.weight,
                kMaxWeight);
    }
  }
  for (const auto& part : parts) add_part(part, source, target, options);
  if (pairs_.empty()) fail_user("no usable pair is left in the corpus:\n{}", report_.text());
}

void Corpus::add_part(const CorpusPart& part, const Tokenizer& source, const Tokenizer& target,
                      const CorpusOptions& options) {
  LinePairs lines = read_part(part);
  CorpusPartReport report{.name = part_name(part), .weight = part.weight, .lines = lines.source.size()};
  UnknownRate source_unknown(report.name + ", source side", source.unk_id(), options.unknown_rate);
  UnknownRate target_unknown(report.name + ", target side", target.unk_id(), options.unknown_rate);
  uint64_t first_long = 0;
  for (size_t k = 0; k < lines.source.size(); ++k) {
    if (is_blank(lines.source[k]) || is_blank(lines.target[k])) {
      ++report.blank;
      continue;
    }
    auto source_ids = source.encode(lines.source[k]);
    auto target_ids = target.encode(lines.target[k]);
    if (source_ids.empty() || target_ids.empty()) {
      ++report.blank;
      continue;
    }
    source_unknown.add(source_ids);
    target_unknown.add(target_ids);
    const bool source_long = cut(source_ids, options.max_source_tokens);
    const bool target_long = cut(target_ids, options.max_target_tokens);
    if (source_long || target_long) {
      if (first_long == 0) first_long = k + 1;
      if (options.long_pairs == LongPairs::skip) {
        ++report.too_long;
        continue;
      }
      ++report.truncated;
    }
    pairs_.push_back({.begin = ids_.size(),
                      .source_tokens = static_cast<uint32_t>(source_ids.size()),
                      .target_tokens = static_cast<uint32_t>(target_ids.size()),
                      .part = static_cast<uint32_t>(report_.parts.size()),
                      .line = k + 1});
    if (options.keep_text) {
      source_text_.push_back(std::move(lines.source[k]));
      target_text_.push_back(std::move(lines.target[k]));
    }
    ids_.insert(ids_.end(), source_ids.begin(), source_ids.end());
    ids_.insert(ids_.end(), target_ids.begin(), target_ids.end());
    ++report.kept;
    report.source_tokens += source_ids.size();
    report.target_tokens += target_ids.size();
  }
  if (first_long != 0) {
    const bool skip = options.long_pairs == LongPairs::skip;
    report_.warnings.push_back(fmt::format(
        "{}: {} pairs are longer than {} source or {} target tokens and were {}, the first on line {}",
        report.name, skip ? report.too_long : report.truncated, options.max_source_tokens,
        options.max_target_tokens, skip ? "skipped" : "truncated", first_long));
  }
  for (const auto* rate : {&source_unknown, &target_unknown}) {
    if (auto warning = rate->warning()) report_.warnings.push_back(std::move(*warning));
  }
  report_.parts.push_back(std::move(report));
}

std::span<const int32_t> Corpus::source(size_t pair) const {
  const Pair& p = pairs_[pair];
  return std::span(ids_).subspan(p.begin, p.source_tokens);
}

std::span<const int32_t> Corpus::target(size_t pair) const {
  const Pair& p = pairs_[pair];
  return std::span(ids_).subspan(p.begin + p.source_tokens, p.target_tokens);
}

std::vector<uint32_t> Corpus::epoch_order(uint64_t seed, uint64_t epoch) const {
  FLOE_CHECK(pairs_.size() <= std::numeric_limits<uint32_t>::max(), "{} pairs do not fit an order",
             pairs_.size());
  std::vector<uint32_t> order;
  for (size_t k = 0; k < pairs_.size(); ++k) {
    const Pair& pair = pairs_[k];
    const double weight = report_.parts[pair.part].weight;
    const double whole = std::floor(weight);
    const RandomKey key{.seed = seed, .epoch = epoch, .stream = kFirstDrawStream + pair.part};
    const bool once_more = counter_uniform(key, pair.line) < weight - whole;
    order.insert(order.end(), static_cast<size_t>(whole) + (once_more ? 1 : 0), static_cast<uint32_t>(k));
  }
  counter_shuffle(std::span(order), {.seed = seed, .epoch = epoch, .stream = kOrderStream});
  return order;
}

}  // namespace floe
