// Operands of benchmarks: normal values, since zeros would flatter a chip that is short of power.
#pragma once
#include <algorithm>
#include <random>

#include "tensor/tensor.h"

namespace floe {

// Random numbers come slowly, so a stretch of prime length is repeated.
class Numbers {
 public:
  explicit Numbers(DType dtype) : some_(dtype, {kCount}) {
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < kCount; ++i) some_.set(i, normal(random));
  }
  Tensor tensor(const Shape& shape) {
    Tensor out(some_.dtype(), shape);
    const auto element = static_cast<int64_t>(size_of(some_.dtype()));
    for (int64_t done = 0; done < out.size();) {
      const int64_t part = std::min(kCount - at_, out.size() - done);
      std::copy_n(static_cast<const char*>(some_.data()) + at_ * element, part * element,
                  static_cast<char*>(out.data()) + done * element);
      done += part;
      at_ = (at_ + part) % kCount;
    }
    return out;
  }

 private:
  static constexpr int64_t kCount = 1'048'573;
  Tensor some_;
  int64_t at_ = 0;
};

}  // namespace floe
