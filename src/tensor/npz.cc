#include "tensor/npz.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "tensor/npy_header.h"

namespace floe {
namespace {

constexpr std::string_view kSuffix = ".npy";

struct CloseEntry {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using EntryPtr = std::unique_ptr<zip_file_t, CloseEntry>;

void read_exactly(zip_file_t* file, void* to, uint64_t bytes, const std::string& what) {
  char* at = static_cast<char*>(to);
  while (bytes > 0) {
    const zip_int64_t got = zip_fread(file, at, bytes);
    if (got < 0) fail_user("{}: {}", what, zip_error_strerror(zip_file_get_error(file)));
    if (got == 0) fail_user("{}: the array ends too early", what);
    at += got;
    bytes -= static_cast<uint64_t>(got);
  }
}

// Column-major data as row-major: element (i0, i1, ...) lies at i0 + n0 * (i1 + n1 * ...).
Tensor from_column_major(const Tensor& tensor) {
  Tensor out(tensor.dtype(), tensor.shape());
  const Shape& shape = tensor.shape();
  const size_t width = size_of(tensor.dtype());
  Shape index(shape.size(), 0);
  for (int64_t i = 0; i < tensor.size(); ++i) {
    int64_t from = 0;
    for (size_t k = shape.size(); k-- > 0;) from = from * shape[k] + index[k];
    std::memcpy(out.as<char>() + static_cast<size_t>(i) * width,
                tensor.as<char>() + static_cast<size_t>(from) * width, width);
    for (size_t k = shape.size(); k-- > 0 && ++index[k] == shape[k];) index[k] = 0;
  }
  return out;
}

}  // namespace

struct NpzFile::Archive {
  zip_t* zip = nullptr;
  ~Archive() { zip_discard(zip); }
};

NpzFile::NpzFile() = default;
NpzFile::NpzFile(NpzFile&&) noexcept = default;
NpzFile& NpzFile::operator=(NpzFile&&) noexcept = default;
NpzFile::~NpzFile() = default;

NpzFile NpzFile::open(const std::string& path, uint64_t max_bytes) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) fail_io("cannot open {}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail_io("cannot read {}: it is not a plain file", path);
  int code = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (zip == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    if (code == ZIP_ER_OPEN || code == ZIP_ER_READ) fail_io("cannot read {}: {}", path, text);
    fail_user("{}: this is not a readable .npz file: {}", path, text);
  }
  NpzFile file;
  file.path_ = path;
  file.max_bytes_ = max_bytes;
  file.archive_ = std::make_unique<Archive>();
  file.archive_->zip = zip;
  const zip_int64_t entries = zip_get_num_entries(zip, 0);
  for (zip_int64_t i = 0; i < entries; ++i) {
    const char* raw = zip_get_name(zip, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    std::string_view name = raw == nullptr ? "" : raw;
    if (!name.ends_with(kSuffix)) fail_user("{}: '{}' is not a .npy file", path, name);
    name.remove_suffix(kSuffix.size());
    file.names_.emplace_back(name);
  }
  std::vector<std::string> sorted = file.names_;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) fail_user("{}: two arrays are named '{}'", path, *twice);
  return file;
}

bool NpzFile::has(std::string_view name) const {
  return std::find(names_.begin(), names_.end(), name) != names_.end();
}

Tensor NpzFile::load(std::string_view name) const {
  const auto found = std::find(names_.begin(), names_.end(), name);
  if (found == names_.end()) fail_user("{}: there is no array '{}'", path_, name);
  const auto index = static_cast<zip_uint64_t>(found - names_.begin());
  const std::string what = fmt::format("{}: array '{}'", path_, name);
  zip_t* zip = archive_->zip;
  zip_stat_t info;
  if (zip_stat_index(zip, index, 0, &info) != 0) fail_user("{}: {}", what, zip_strerror(zip));
  const EntryPtr entry(zip_fopen_index(zip, index, 0));
  if (entry == nullptr) fail_user("{}: {}", what, zip_strerror(zip));

  if (info.size < kNpyPrefixBytes) fail_user("{}: this is not a .npy file", what);
  std::string head(kNpyPrefixBytes, '\0');
  read_exactly(entry.get(), head.data(), head.size(), what);
  const uint64_t head_bytes = npy_head_bytes(head, what);
  if (head_bytes < kNpyPrefixBytes || head_bytes > info.size)
    fail_user("{}: the array's head is cut off", what);
  head.resize(head_bytes);
  read_exactly(entry.get(), head.data() + kNpyPrefixBytes, head_bytes - kNpyPrefixBytes, what);
  const NpyHeader header = parse_npy_head(head, what);

  uint64_t bytes = size_of(header.dtype);
  bool overflow = false;
  for (const int64_t dim : header.shape) {
    overflow = overflow || __builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes);
  }
  if (overflow || bytes != info.size - head_bytes) {
    fail_user("{}: shape {} does not fill the {} bytes of its data", what, text_of(header.shape),
              info.size - head_bytes);
  }
  // Deflate never packs more than 1032 bytes into one.
  if (bytes / 1032 > info.comp_size || (info.comp_method == ZIP_CM_STORE && info.size != info.comp_size)) {
    fail_user("{}: {} packed bytes cannot hold the {} bytes it claims", what, info.comp_size, info.size);
  }
  if (bytes > max_bytes_) fail_user("{}: {} bytes are more than the {} allowed", what, bytes, max_bytes_);

  Tensor tensor(header.dtype, header.shape);
  read_exactly(entry.get(), tensor.data(), bytes, what);
  char beyond = 0;  // the checksum is compared when the end is reached
  const zip_int64_t more = zip_fread(entry.get(), &beyond, 1);
  if (more < 0) fail_user("{}: {}", what, zip_error_strerror(zip_file_get_error(entry.get())));
  if (more > 0) fail_user("{}: the archive holds more data than it claims", what);
  if (header.dtype == DType::boolean) {
    const uint8_t* flags = tensor.as<uint8_t>();
    if (std::any_of(flags, flags + tensor.size(), [](uint8_t flag) { return flag > 1; })) {
      fail_user("{}: a bool is neither 0 nor 1", what);
    }
  }
  return header.column_major ? from_column_major(tensor) : std::move(tensor);
}

void write_npz(const std::string& path, std::span<const NamedTensor> tensors, NpzCompression compression) {
  // libzip writes no file for an archive without entries.
  if (tensors.empty()) fail_user("{}: an .npz file needs at least one array", path);
  std::vector<std::string> heads;
  std::vector<std::string> names;
  for (const auto& [name, view] : tensors) {
    FLOE_CHECK(view.contiguous(), "array '{}' is written with gaps", name);
    heads.push_back(npy_head(view.dtype, view.shape(), fmt::format("{}: array '{}'", path, name)));
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail_user("{}: two arrays are named '{}'", path, *twice);

  const std::string temporary = temporary_name(path);
  int code = 0;
  zip_t* zip = zip_open(temporary.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code);
  if (zip == nullptr) fail_io("cannot write {}: {}", path, std::strerror(errno));
  const auto give_up = [&](const std::string& why) {
    ::unlink(temporary.c_str());
    fail_io("cannot write {}: {}", path, why);
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    const View& view = tensors[i].view;
    zip_buffer_fragment_t parts[2] = {{reinterpret_cast<zip_uint8_t*>(heads[i].data()), heads[i].size()},
                                      {view.as<zip_uint8_t>(), static_cast<zip_uint64_t>(view.bytes())}};
    zip_source_t* source = zip_source_buffer_fragment(zip, parts, parts[1].length > 0 ? 2 : 1, 0);
    const std::string name = tensors[i].name + std::string(kSuffix);
    const zip_int64_t index =
        source == nullptr ? -1 : zip_file_add(zip, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    const zip_int32_t method = compression == NpzCompression::stored ? ZIP_CM_STORE : ZIP_CM_DEFLATE;
    if (index < 0 || zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), method, 0) != 0 ||
        zip_file_set_mtime(zip, static_cast<zip_uint64_t>(index), 0, 0) != 0) {
      const std::string why = fmt::format("array '{}': {}", tensors[i].name, zip_strerror(zip));
      if (source != nullptr && index < 0) zip_source_free(source);
      zip_discard(zip);
      give_up(why);
    }
  }
  if (zip_close(zip) != 0) {
    const std::string why = zip_strerror(zip);
    zip_discard(zip);
    give_up(why);
  }
  sync_file(temporary);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) give_up(std::strerror(errno));
  sync_folder(folder_of(path));
}

}  // namespace floe
