// Which part of 0..size-1 is taken: first fit, neighbours join again when both are free.
#pragma once
#include <cstdint>
#include <map>
#include <optional>

namespace floe {

class Ranges {
 public:
  explicit Ranges(int64_t size);
  std::optional<int64_t> take(int64_t length);  // where it begins; none when no gap is long enough
  void give_back(int64_t begin, int64_t length);
  int64_t largest() const;  // the longest gap

 private:
  std::map<int64_t, int64_t> free_;  // begin -> length
};

}  // namespace floe
