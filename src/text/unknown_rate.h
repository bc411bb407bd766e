// Watches how many of the first tokens are unknown. A rate far above a few per cent means that vocabulary and
// text do not belong together (other language, other casing, a vocabulary with foreign line ends), and a
// model would learn to give the unknown token while its accuracy looks fine.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace floe {

struct UnknownRateOptions {
  uint64_t lines = 1000;    // only the first lines are looked at
  double threshold = 0.10;  // warn above this share of unknown tokens
};

class UnknownRate {
 public:
  // `name` is the file or corpus that the warning speaks of. A negative unknown id (no such token) never
  // warns.
  UnknownRate(std::string name, int32_t unknown_id, UnknownRateOptions options = {})
      : name_(std::move(name)), unknown_id_(unknown_id), options_(options) {}

  void add(std::span<const int32_t> ids);
  double rate() const {
    return tokens_ == 0 ? 0.0 : static_cast<double>(unknown_) / static_cast<double>(tokens_);
  }
  std::optional<std::string> warning() const;

 private:
  std::string name_;
  int32_t unknown_id_;
  UnknownRateOptions options_;
  uint64_t lines_ = 0;
  uint64_t tokens_ = 0;
  uint64_t unknown_ = 0;
};

}  // namespace floe
