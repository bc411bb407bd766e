#include "frontend/onnx_tensor.h"

#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace floe {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 40;

uint64_t checked_count(const OnnxTensor& t, size_t width) {
  uint64_t n = 1;
  bool empty = false;
  for (const int64_t dim : t.dims) {
    if (dim < 0) fail_user("tensor '{}' has dim {}", t.name, dim);
    if (dim == 0) empty = true;
  }
  if (empty) return 0;
  for (const int64_t dim : t.dims) {
    if (static_cast<uint64_t>(dim) > kMaxBytes / width / n)
      fail_user("tensor '{}' of dims {} is too large", t.name, text_of(t.dims));
    n *= static_cast<uint64_t>(dim);
  }
  return n;
}

uint64_t number_in(const OnnxTensor& t, const char* key, uint64_t otherwise) {
  const auto at = t.external_data.find(key);
  if (at == t.external_data.end()) return otherwise;
  uint64_t value = 0;
  const char* end = at->second.data() + at->second.size();
  const auto [stop, error] = std::from_chars(at->second.data(), end, value);
  if (error != std::errc() || stop != end) {
    fail_user("tensor '{}': external data has {} '{}'", t.name, key, at->second);
  }
  return value;
}

Tensor from_file(const OnnxTensor& t, const std::string& folder, DType dtype, uint64_t bytes) {
  namespace fs = std::filesystem;
  const auto at = t.external_data.find("location");
  if (at == t.external_data.end()) fail_user("tensor '{}' lies elsewhere, but no file is named", t.name);
  const fs::path location = fs::path(at->second).lexically_normal();
  if (location.is_absolute() || location.empty() || *location.begin() == "..") {
    fail_user("tensor '{}' lies in '{}', outside the model's folder", t.name, at->second);
  }
  const std::string path = (fs::path(folder) / location).string();
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) fail_io("tensor '{}': cannot read {}: {}", t.name, path, error.message());
  const uint64_t offset = number_in(t, "offset", 0);
  if (offset > size || bytes > size - offset || number_in(t, "length", bytes) != bytes) {
    fail_user("tensor '{}' wants {} bytes from {} on, {} has {}", t.name, bytes, offset, path, size);
  }
  Tensor tensor(dtype, t.dims);
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  file.read(static_cast<char*>(tensor.data()), static_cast<std::streamsize>(bytes));
  if (!file) fail_io("cannot read {}", path);
  return tensor;
}

}  // namespace

DType dtype_of_onnx(int32_t type) {
  switch (static_cast<OnnxType>(type)) {
    case OnnxType::f32:
      return DType::f32;
    case OnnxType::u8:
      return DType::u8;
    case OnnxType::i8:
      return DType::i8;
    case OnnxType::i32:
      return DType::i32;
    case OnnxType::i64:
      return DType::i64;
    case OnnxType::boolean:
      return DType::boolean;
    case OnnxType::f16:
      return DType::f16;
    case OnnxType::f64:
      return DType::f64;
    case OnnxType::bf16:
      return DType::bf16;
    default:
      break;
  }
  constexpr const char* kNames[] = {"undefined", "FLOAT",  "UINT8",     "INT8",       "UINT16",  "INT16",
                                    "INT32",     "INT64",  "STRING",    "BOOL",       "FLOAT16", "DOUBLE",
                                    "UINT32",    "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16"};
  if (type > 0 && type < 17) fail_user("elements of type {} are not supported", kNames[type]);
  fail_user("elements of ONNX's type {} are not supported", type);
}

Tensor tensor_of_onnx(const OnnxTensor& t, const std::string& folder) {
  const DType dtype = dtype_of_onnx(t.type);
  const size_t width = size_of(dtype);
  const uint64_t n = checked_count(t, width);
  if (t.external) return from_file(t, folder, dtype, n * width);
  const bool doubles = dtype == DType::f64, floats = dtype == DType::f32;
  const uint64_t have = t.has_raw ? t.raw.size() / width
                        : doubles ? t.doubles.size()
                        : floats  ? t.floats.size()
                                  : t.ints.size();
  if (have != n || (t.has_raw && t.raw.size() % width != 0)) {
    fail_user("tensor '{}' of dims {} needs {} elements, the file has {}", t.name, text_of(t.dims), n, have);
  }
  Tensor tensor(dtype, t.dims);
  if (n == 0) return tensor;
  if (t.has_raw) {
    std::memcpy(tensor.data(), t.raw.data(), t.raw.size());
  } else if (doubles) {
    std::memcpy(tensor.data(), t.doubles.data(), n * width);
  } else if (floats) {
    std::memcpy(tensor.data(), t.floats.data(), n * width);
  } else {
    for (uint64_t i = 0; i < n; ++i) {  // little-endian, so that the low bytes are the element
      std::memcpy(tensor.as<char>() + i * width, &t.ints[i], width);
    }
  }
  if (dtype == DType::boolean) {
    for (uint64_t i = 0; i < n; ++i) tensor.as<uint8_t>()[i] = tensor.as<uint8_t>()[i] != 0 ? 1 : 0;
  }
  return tensor;
}

}  // namespace floe
