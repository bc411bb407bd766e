// The k largest values seen so far, in order; of equal values the one that came first stays ahead. NaN never
// enters. For small k (a beam's candidates): each value that enters is moved down the list.
#pragma once
#include <cstdint>
#include <limits>

namespace floe {

class TopList {
 public:
  // `values` and `indices` have room for k each and stay the caller's; k >= 1.
  TopList(float* values, int32_t* indices, int64_t k) : values_(values), indices_(indices), k_(k) {
    for (int64_t i = 0; i < k; ++i) {
      values_[i] = -std::numeric_limits<float>::infinity();
      indices_[i] = -1;
    }
  }

  // Once full, only a value above this can enter.
  float bar() const { return size_ < k_ ? -std::numeric_limits<float>::infinity() : values_[k_ - 1]; }
  bool full() const { return size_ == k_; }
  int64_t size() const { return size_; }

  // In ascending order of index, so that equal values keep that order.
  void offer(float value, int32_t index) {
    if (size_ == k_ ? !(value > values_[k_ - 1]) : value != value) return;
    int64_t at = size_ < k_ ? size_++ : k_ - 1;
    for (; at > 0 && value > values_[at - 1]; --at) {
      values_[at] = values_[at - 1];
      indices_[at] = indices_[at - 1];
    }
    values_[at] = value;
    indices_[at] = index;
  }

 private:
  float* values_;
  int32_t* indices_;
  int64_t k_;
  int64_t size_ = 0;
};

}  // namespace floe
