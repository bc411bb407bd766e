// Tensor owns host memory in row-major order; View looks at memory that somebody else owns, with strides.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace floe {

using Shape = std::vector<int64_t>;

int64_t count(const Shape& shape);        // product; 1 for rank 0; throws Error{user} past 2^62 bytes
std::string text_of(const Shape& shape);  // "[2, 3]"

// 64-byte aligned, zeroed.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);
  static Tensor from_floats(Shape shape, const std::vector<float>& values);
  static Tensor from_ints(Shape shape, const std::vector<int32_t>& values);
  static Tensor from_doubles(DType dtype, Shape shape, const std::vector<double>& values);
  static Tensor scalar(float value);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return size_; }
  size_t bytes() const { return static_cast<size_t>(size_) * size_of(dtype_); }
  void* data() { return data_.get(); }
  const void* data() const { return data_.get(); }
  template <class T>
  T* as() {
    return static_cast<T*>(data());
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data());
  }

  // Element i in row-major order, through double (i64 beyond 2^53 loses bits: use as<int64_t>()).
  double at(int64_t i) const;
  void set(int64_t i, double value);

 private:
  struct Free {
    void operator()(void* p) const;
  };
  DType dtype_ = DType::f32;
  Shape shape_;
  int64_t size_ = 0;
  std::unique_ptr<void, Free> data_;
};

Tensor copy_of(const Tensor& tensor);

constexpr int kMaxRank = 8;

// Strides are in elements; a broadcast dim has stride 0.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int rank = 0;
  std::array<int64_t, kMaxRank> dims{};
  std::array<int64_t, kMaxRank> strides{};

  View() = default;
  View(void* data, DType dtype, const Shape& shape);  // row-major
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  size_t bytes() const { return static_cast<size_t>(size()) * size_of(dtype); }  // of its elements
  int64_t dim(int i) const { return dims[i < 0 ? rank + i : i]; }
  int64_t stride(int i) const { return strides[i < 0 ? rank + i : i]; }
  int64_t rows() const { return rank == 0 ? 1 : (dims[rank - 1] == 0 ? leading() : size() / dims[rank - 1]); }
  bool contiguous() const;
  Shape shape() const { return {dims.begin(), dims.begin() + rank}; }

 private:
  int64_t leading() const {
    int64_t n = 1;
    for (int i = 0; i + 1 < rank; ++i) n *= dims[i];
    return n;
  }
};

View view_of(Tensor& tensor);
View view_of(const Tensor& tensor);  // for reading

}  // namespace floe
