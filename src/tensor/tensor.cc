#include "tensor/tensor.h"

#include <cstdlib>
#include <new>

#include "base/error.h"

namespace floe {

int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) fail_user("shape {} has a negative size", text_of(shape));
    if (__builtin_mul_overflow(n, dim, &n) || n > (INT64_C(1) << 59)) {
      fail_user("shape {} is too large", text_of(shape));
    }
  }
  return n;
}

std::string text_of(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

void Tensor::Free::operator()(void* p) const { std::free(p); }

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)), size_(count(shape_)) {
  const size_t bytes_needed = (bytes() + 63) / 64 * 64;
  if (bytes_needed == 0) return;
  data_.reset(std::aligned_alloc(64, bytes_needed));
  if (data_ == nullptr) throw std::bad_alloc();
  std::memset(data_.get(), 0, bytes_needed);
}

Tensor Tensor::from_floats(Shape shape, const std::vector<float>& values) {
  Tensor tensor(DType::f32, std::move(shape));
  FLOE_CHECK(tensor.size() == static_cast<int64_t>(values.size()), "{} values for shape {}", values.size(),
             text_of(tensor.shape()));
  if (!values.empty()) std::memcpy(tensor.data(), values.data(), tensor.bytes());
  return tensor;
}

Tensor Tensor::from_ints(Shape shape, const std::vector<int32_t>& values) {
  Tensor tensor(DType::i32, std::move(shape));
  FLOE_CHECK(tensor.size() == static_cast<int64_t>(values.size()), "{} values for shape {}", values.size(),
             text_of(tensor.shape()));
  if (!values.empty()) std::memcpy(tensor.data(), values.data(), tensor.bytes());
  return tensor;
}

Tensor Tensor::from_doubles(DType dtype, Shape shape, const std::vector<double>& values) {
  Tensor tensor(dtype, std::move(shape));
  FLOE_CHECK(tensor.size() == static_cast<int64_t>(values.size()), "{} values for shape {}", values.size(),
             text_of(tensor.shape()));
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.set(i, values[static_cast<size_t>(i)]);
  return tensor;
}

Tensor Tensor::scalar(float value) { return from_floats({}, {value}); }

double Tensor::at(int64_t i) const {
  switch (dtype_) {
    case DType::f32:
      return as<float>()[i];
    case DType::f64:
      return as<double>()[i];
    case DType::bf16:
      return from_bf16(as<uint16_t>()[i]);
    case DType::f16:
      return from_f16(as<uint16_t>()[i]);
    case DType::i8:
      return as<int8_t>()[i];
    case DType::u8:
    case DType::boolean:
      return as<uint8_t>()[i];
    case DType::i32:
      return as<int32_t>()[i];
    case DType::i64:
      return static_cast<double>(as<int64_t>()[i]);
  }
  return 0;
}

void Tensor::set(int64_t i, double value) {
  switch (dtype_) {
    case DType::f32:
      as<float>()[i] = static_cast<float>(value);
      break;
    case DType::f64:
      as<double>()[i] = value;
      break;
    case DType::bf16:
      as<uint16_t>()[i] = to_bf16(round_to_odd(value));
      break;
    case DType::f16:
      as<uint16_t>()[i] = to_f16(round_to_odd(value));
      break;
    case DType::i8:
      as<int8_t>()[i] = static_cast<int8_t>(value);
      break;
    case DType::u8:
      as<uint8_t>()[i] = static_cast<uint8_t>(value);
      break;
    case DType::boolean:
      as<uint8_t>()[i] = value != 0 ? 1 : 0;
      break;
    case DType::i32:
      as<int32_t>()[i] = static_cast<int32_t>(value);
      break;
    case DType::i64:
      as<int64_t>()[i] = static_cast<int64_t>(value);
      break;
  }
}

Tensor copy_of(const Tensor& tensor) {
  Tensor copy(tensor.dtype(), tensor.shape());
  if (tensor.bytes() > 0) std::memcpy(copy.data(), tensor.data(), tensor.bytes());
  return copy;
}

View::View(void* data_in, DType dtype_in, const Shape& shape)
    : data(data_in), dtype(dtype_in), rank(static_cast<int>(shape.size())) {
  FLOE_CHECK(rank <= kMaxRank, "rank {} is above {}", rank, kMaxRank);
  int64_t stride = 1;
  for (int i = rank - 1; i >= 0; --i) {
    dims[i] = shape[static_cast<size_t>(i)];
    strides[i] = stride;
    stride *= dims[i];
  }
}

bool View::contiguous() const {
  int64_t expected = 1;
  for (int i = rank - 1; i >= 0; --i) {
    if (dims[i] == 0) return true;
    if (dims[i] != 1 && strides[i] != expected) return false;
    expected *= dims[i];
  }
  return true;
}

View view_of(Tensor& tensor) { return {tensor.data(), tensor.dtype(), tensor.shape()}; }
View view_of(const Tensor& tensor) {
  return {const_cast<void*>(tensor.data()), tensor.dtype(), tensor.shape()};
}

}  // namespace floe
