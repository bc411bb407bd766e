#include "tensor/safetensors.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/file.h"
#include "tensor/safetensors_header.h"

namespace floe {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored as they lie in memory");

// What the reference implementation allows; a real header has about 100 bytes a tensor.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kDataAlignment = 64;

struct DTypeName {
  DType type;
  std::string_view name;
};
constexpr DTypeName kDTypes[] = {{DType::f32, "F32"}, {DType::bf16, "BF16"}, {DType::f16, "F16"},
                                 {DType::f64, "F64"}, {DType::i8, "I8"},     {DType::u8, "U8"},
                                 {DType::i32, "I32"}, {DType::i64, "I64"},   {DType::boolean, "BOOL"}};

std::string_view safetensors_name(DType type) {
  return std::find_if(std::begin(kDTypes), std::end(kDTypes),
                      [&](const DTypeName& row) { return row.type == type; })
      ->name;
}

void read_at(int fd, const std::string& path, void* to, uint64_t bytes, uint64_t offset) {
  char* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(fd, at, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_io("cannot read {}: {}", path, std::strerror(errno));
    if (got == 0) fail_io("cannot read {}: it has become shorter since it was opened", path);
    at += got;
    bytes -= static_cast<uint64_t>(got);
    offset += static_cast<uint64_t>(got);
  }
}

// The row as an entry, once its numbers agree with each other and with the bytes there are.
SafetensorsFile::Entry check_row(const SafetensorsHeader::Row& row, uint64_t data_bytes,
                                 const std::string& path) {
  SafetensorsFile::Entry entry;
  const auto* type = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                  [&](const DTypeName& known) { return known.name == row.dtype; });
  if (type == std::end(kDTypes)) {
    fail_user("{}: tensor '{}' has element type '{}', which is not supported", path, row.name, row.dtype);
  }
  entry.dtype = type->type;
  entry.begin = row.offsets[0];
  entry.end = row.offsets[1];
  if (entry.begin > entry.end || entry.end > data_bytes) {
    fail_user("{}: tensor '{}' has data_offsets [{}, {}], outside the {} bytes of data", path, row.name,
              entry.begin, entry.end, data_bytes);
  }
  uint64_t bytes = size_of(entry.dtype);
  bool overflow = false;
  for (const uint64_t dim : row.shape) {
    overflow = overflow || dim > INT64_MAX || __builtin_mul_overflow(bytes, dim, &bytes);
    entry.shape.push_back(static_cast<int64_t>(dim));
  }
  if (overflow || bytes != entry.end - entry.begin) {
    fail_user("{}: tensor '{}' of shape [{}] and type {} does not fill its {} bytes", path, row.name,
              fmt::join(row.shape, ", "), row.dtype, entry.end - entry.begin);
  }
  return entry;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd_ < 0) fail_io("cannot open {}: {}", path, std::strerror(errno));
  struct stat info{};
  if (::fstat(file.fd_, &info) != 0) fail_io("cannot read {}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail_io("cannot read {}: it is not a plain file", path);
  const auto size = static_cast<uint64_t>(info.st_size);
  uint64_t header_bytes = 0;
  if (size < sizeof header_bytes) fail_user("{}: {} bytes are too few for a safetensors file", path, size);
  read_at(file.fd_, path, &header_bytes, sizeof header_bytes, 0);
  if (header_bytes > size - sizeof header_bytes || header_bytes > kMaxHeaderBytes) {
    fail_user("{}: a header of {} bytes does not fit a safetensors file of {} bytes", path, header_bytes,
              size);
  }
  std::string json(header_bytes, '\0');
  read_at(file.fd_, path, json.data(), header_bytes, sizeof header_bytes);
  file.data_start_ = sizeof header_bytes + header_bytes;

  SafetensorsHeader header = parse_safetensors_header(json, path);
  file.metadata_ = std::move(header.metadata);
  const uint64_t data_bytes = size - file.data_start_;
  std::sort(header.rows.begin(), header.rows.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offsets[0], a.offsets[1]) < std::tie(b.offsets[0], b.offsets[1]);
  });
  uint64_t covered = 0;
  for (SafetensorsHeader::Row& row : header.rows) {
    Entry entry = check_row(row, data_bytes, path);
    if (entry.begin != covered) {
      fail_user("{}: tensor '{}' begins at byte {} of the data, not at {} where the one before it ends", path,
                row.name, entry.begin, covered);
    }
    covered = entry.end;
    file.names_.push_back(row.name);
    file.entries_.emplace(std::move(row.name), std::move(entry));
  }
  if (covered != data_bytes) {
    fail_user("{}: the tensors end after {} bytes, but {} bytes of data are there", path, covered,
              data_bytes);
  }
  return file;
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept { *this = std::move(other); }

SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  path_ = std::move(other.path_);
  data_start_ = other.data_start_;
  names_ = std::move(other.names_);
  entries_ = std::move(other.entries_);
  metadata_ = std::move(other.metadata_);
  return *this;
}

SafetensorsFile::~SafetensorsFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool SafetensorsFile::has(std::string_view name) const { return entries_.contains(std::string(name)); }

const SafetensorsFile::Entry& SafetensorsFile::entry(std::string_view name) const {
  const auto found = entries_.find(std::string(name));
  if (found == entries_.end()) fail_user("{}: there is no tensor '{}'", path_, name);
  return found->second;
}

Tensor SafetensorsFile::load(std::string_view name) const {
  const Entry& at = entry(name);
  Tensor tensor(at.dtype, at.shape);
  read_at(fd_, path_, tensor.data(), tensor.bytes(), data_start_ + at.begin);
  if (at.dtype == DType::boolean) {
    const uint8_t* bytes = tensor.as<uint8_t>();
    if (std::any_of(bytes, bytes + tensor.size(), [](uint8_t byte) { return byte > 1; })) {
      fail_user("{}: tensor '{}' of type BOOL holds a byte that is neither 0 nor 1", path_, name);
    }
  }
  return tensor;
}

void write_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                       const TensorMetadata& metadata) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return size_of(tensors[a].view.dtype) > size_of(tensors[b].view.dtype);
  });
  std::vector<std::string> names;
  uint64_t offset = 0;
  std::string text = "{";
  const auto append = [&](const std::string& key, const nlohmann::ordered_json& value) {
    try {
      text += fmt::format("{}{}:{}", text.size() > 1 ? "," : "", nlohmann::json(key).dump(), value.dump());
    } catch (const nlohmann::json::type_error&) {
      fail_user("{}: '{}' or its text is not UTF-8", path, key);
    }
  };
  if (!metadata.empty()) append("__metadata__", metadata);
  for (const size_t i : order) {
    const auto& [name, view] = tensors[i];
    FLOE_CHECK(view.contiguous(), "tensor '{}' is written with gaps", name);
    if (name == "__metadata__") fail_user("{}: a tensor cannot be named '{}'", path, name);
    const uint64_t end = offset + view.bytes();
    append(
        name,
        {{"dtype", safetensors_name(view.dtype)}, {"shape", view.shape()}, {"data_offsets", {offset, end}}});
    names.push_back(name);
    offset = end;
  }
  text += "}";
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail_user("{}: two tensors are named '{}'", path, *twice);
  const uint64_t unpadded = sizeof(uint64_t) + text.size();
  text.append((kDataAlignment - unpadded % kDataAlignment) % kDataAlignment, ' ');

  FileWriter file(path);
  const uint64_t header_bytes = text.size();
  file.write(&header_bytes, sizeof header_bytes);
  file.write(text.data(), text.size());
  for (const size_t i : order) {
    const View& view = tensors[i].view;
    file.write(view.data, view.bytes());
  }
  file.commit();
}

}  // namespace floe
