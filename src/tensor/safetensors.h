// The safetensors format (https://github.com/huggingface/safetensors, "Format"): eight bytes N,
// little-endian; N bytes of JSON that give each tensor's dtype, shape and data_offsets; the data, row-major,
// without holes. A file is believed only after every field of its header agrees with the file's size, and
// nothing is allocated before.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace floe {

// A name for memory that somebody else owns.
struct NamedTensor {
  std::string name;
  View view;  // row-major without gaps
};

using TensorMetadata = std::map<std::string, std::string>;

class SafetensorsFile {
 public:
  struct Entry {
    DType dtype = DType::f32;
    Shape shape;
    uint64_t begin = 0;  // byte offsets within the data
    uint64_t end = 0;
  };

  // Reads and checks the header alone. Throws Error{io} when the file cannot be read, Error{user} naming the
  // file and, where one is at fault, the tensor.
  static SafetensorsFile open(const std::string& path);
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&& other) noexcept;
  ~SafetensorsFile();

  const std::string& path() const { return path_; }
  const std::vector<std::string>& names() const { return names_; }  // in the order of their data
  bool has(std::string_view name) const;
  const Entry& entry(std::string_view name) const;  // throws Error{user} naming file and tensor
  const TensorMetadata& metadata() const { return metadata_; }

  // Throws as entry() does, and Error{io} when the file has changed since. May be called from several
  // threads.
  Tensor load(std::string_view name) const;

 private:
  SafetensorsFile() = default;

  std::string path_;
  int fd_ = -1;
  uint64_t data_start_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Entry> entries_;
  TensorMetadata metadata_;
};

// Written as base/file.h writes: whole or not at all, tensor by tensor. In the file the widest types come
// first, so that each tensor is aligned to its elements; the data starts at a multiple of 64. Throws
// Error{user} for a name that stands twice, is "__metadata__" or is not UTF-8; Error{io}.
void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const TensorMetadata& metadata = {});

}  // namespace floe
