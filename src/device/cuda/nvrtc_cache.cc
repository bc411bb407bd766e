// The cache of compiled kernels: one file a source, checked before it is believed.
#include <cstdint>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "device/cuda/cache_folder.h"
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

// Where it cannot be kept the next program compiles again.
void keep(const std::string& path, const std::string& code, size_t source_bytes) {
  Header header{{}, source_bytes, code.size(), hash64(code)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::string file(sizeof header, '\0');
  std::memcpy(file.data(), &header, sizeof header);
  write_to_cache(path, file + code);
}

}  // namespace

std::string compile_cached(const Nvrtc& nvrtc, const std::string& source, int sm, const std::string& folder) {
  if (folder.empty()) return nvrtc.compile(source, sm);
  std::string key = "nvrtc " + nvrtc.version();
  for (const std::string& option : Nvrtc::options(sm)) key += " " + option;
  const std::string path = fmt::format("{}/{}.cubin", folder, hash128(key + "\n" + source));
  if (std::optional<std::string> code = kept(path, source.size())) return *std::move(code);
  std::string code = nvrtc.compile(source, sm);
  keep(path, code, source.size());
  return code;
}

}  // namespace floe
