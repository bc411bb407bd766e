// NumPy's .npz: a zip archive of .npy files (numpy.lib.format, versions 1 to 3), stored or deflated.
// Little-endian f32, f64, f16, i8, u8, i32, i64 and bool; column-major arrays are turned into row-major ones.
// A header is checked against the archive's sizes before anything is allocated.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/safetensors.h"
#include "tensor/tensor.h"

namespace floe {

class NpzFile {
 public:
  // Throws Error{io} when the file cannot be read, Error{user} naming it when it is no archive or a name
  // stands twice. An array of more than `max_bytes` is refused at load(): a small archive can unpack to a
  // thousand times its size.
  static NpzFile open(const std::string& path, uint64_t max_bytes = uint64_t{1} << 32);
  NpzFile(NpzFile&&) noexcept;
  NpzFile& operator=(NpzFile&&) noexcept;
  ~NpzFile();

  const std::vector<std::string>& names() const { return names_; }  // without ".npy", in the archive's order
  bool has(std::string_view name) const;
  // Throws Error{user} naming file and array: it is missing, damaged, or of a type that is not supported.
  Tensor load(std::string_view name) const;

 private:
  struct Archive;
  NpzFile();

  std::string path_;
  uint64_t max_bytes_ = 0;
  std::unique_ptr<Archive> archive_;
  std::vector<std::string> names_;
};

enum class NpzCompression { stored, deflated };

// Whole or not at all. Throws Error{user} for bf16, which NumPy lacks, and for a name that stands twice;
// Error{io}.
void write_npz(const std::string& path, std::span<const NamedTensor> tensors,
               NpzCompression compression = NpzCompression::stored);

}  // namespace floe
