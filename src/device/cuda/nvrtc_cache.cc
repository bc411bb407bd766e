// The cache of compiled kernels: one file a source, checked before it is believed.
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "device/cuda/nvrtc.h"

namespace floe {
namespace {

constexpr char kMagic[8] = {'f', 'l', 'o', 'e', 'c', 'u', 'b', '1'};

// The file's first bytes; the machine code follows.
struct Header {
  char magic[8];
  uint64_t source_bytes;
  uint64_t bytes;
  uint64_t checksum;
};

// Fowler, Noll, Vo: FNV-1a of 64 and 128 bits.
uint64_t hash64(std::string_view text) {
  uint64_t h = 0xCBF29CE484222325u;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return h;
}
std::string hash128(std::string_view text) {
  using Wide = unsigned __int128;
  const Wide prime = (Wide{1} << 88) + 0x13B;
  Wide h = (Wide{0x6C62272E07BB0142u} << 64) + 0x62B821756295C58Du;
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * prime;
  return fmt::format("{:016x}{:016x}", static_cast<uint64_t>(h >> 64), static_cast<uint64_t>(h));
}

std::optional<std::string> kept(const std::string& path, size_t source_bytes) {
  std::string file;
  try {
    file = read_file(path);
  } catch (const Error&) {
    return std::nullopt;
  }
  Header header;
  if (file.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, file.data(), sizeof header);
  const std::string_view code = std::string_view(file).substr(sizeof header);
  const bool good = std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 &&
                    header.source_bytes == source_bytes && header.bytes == code.size() &&
                    header.checksum == hash64(code);
  if (!good) return std::nullopt;
  return std::string(code);
}

void keep(const std::string& path, const std::string& code, size_t source_bytes) {
  Header header{{}, source_bytes, code.size(), hash64(code)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  FileWriter file(path);
  file.write(&header, sizeof header);
  file.write(code.data(), code.size());
  file.commit();
}

// With the folders above it, as far as they can be made.
void make_folder(const std::string& folder) {
  for (size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    ::mkdir(folder.substr(0, slash).c_str(), 0777);  // where it fails, writing the file does, too
    if (slash == std::string::npos) return;
  }
}

}  // namespace

std::string kernel_cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (const std::string folder = variable("FLOE_CACHE_DIR"); !folder.empty()) return folder;
  if (const std::string folder = variable("XDG_CACHE_HOME"); !folder.empty()) return folder + "/floe";
  if (const std::string folder = variable("HOME"); !folder.empty()) return folder + "/.cache/floe";
  return "";
}

std::string compile_cached(const Nvrtc& nvrtc, const std::string& source, int sm, const std::string& folder) {
  if (folder.empty()) return nvrtc.compile(source, sm);
  std::string key = "nvrtc " + nvrtc.version();
  for (const std::string& option : Nvrtc::options(sm)) key += " " + option;
  const std::string path = fmt::format("{}/{}.cubin", folder, hash128(key + "\n" + source));
  if (std::optional<std::string> code = kept(path, source.size())) return *std::move(code);
  std::string code = nvrtc.compile(source, sm);
  try {
    make_folder(folder);
    keep(path, code, source.size());
  } catch (const Error&) {
    // Read-only, full or not a folder: the next program compiles again.
  }
  return code;
}

}  // namespace floe
