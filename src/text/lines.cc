#include "text/lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "text/utf8.h"

namespace floe {
namespace {

constexpr size_t kBlock = size_t{1} << 16;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kGzipMagic = "\x1f\x8b";
constexpr int kGzipWindow = 15 + 16;  // zlib: the largest window, and expect a gzip header

// Bytes of a file or of standard input, in the order they come.
class Bytes {
 public:
  explicit Bytes(const std::string& path) : path_(path) {
    if (path == "-") {
      fd_ = STDIN_FILENO;
      return;
    }
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) fail_io("cannot open {}: {}", path, std::strerror(errno));
    struct stat info{};
    const bool folder = ::fstat(fd_, &info) == 0 && S_ISDIR(info.st_mode);
    if (folder) {
      ::close(fd_);
      fail_io("cannot read {}: it is a folder", path);
    }
  }
  ~Bytes() {
    if (fd_ != STDIN_FILENO) ::close(fd_);
  }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;

  // At least one byte unless the end is reached.
  size_t read(char* to, size_t size) {
    for (;;) {
      const ssize_t got = ::read(fd_, to, size);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR) fail_io("cannot read {}: {}", path_, std::strerror(errno));
    }
  }

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace

// Plain bytes, or what gzip members unpack to. Members may follow each other, and zero bytes may pad the end.
class LineReader::Source {
 public:
  explicit Source(const std::string& path) : path_(path), bytes_(path), input_(kBlock, '\0') {
    while (filled_ < kGzipMagic.size()) {
      const size_t got = bytes_.read(input_.data() + filled_, input_.size() - filled_);
      if (got == 0) break;
      filled_ += got;
    }
    gzip_ = std::string_view(input_.data(), filled_).substr(0, kGzipMagic.size()) == kGzipMagic;
    if (!gzip_) return;
    if (inflateInit2(&stream_, kGzipWindow) != Z_OK) fail_io("cannot read {}: no memory to unpack it", path_);
    initialised_ = true;
  }
  ~Source() {
    if (initialised_) inflateEnd(&stream_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;

  // At least one byte unless the end is reached.
  size_t read(char* to, size_t size) { return gzip_ ? unpack(to, size) : copy(to, size); }

 private:
  size_t copy(char* to, size_t size) {
    if (filled_ == 0) return bytes_.read(to, size);
    const size_t take = std::min(filled_ - used_, size);
    std::memcpy(to, input_.data() + used_, take);
    used_ += take;
    if (used_ == filled_) used_ = filled_ = 0;
    return take;
  }

  bool more_input() {
    if (used_ < filled_) return true;
    offset_ += filled_;
    used_ = 0;
    filled_ = bytes_.read(input_.data(), input_.size());
    return filled_ > 0;
  }

  size_t unpack(char* to, size_t size) {
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size) {
      if (!more_input()) {
        if (inside_member_) fail_io("cannot read {}: the gzip data end early, at byte {}", path_, offset_);
        return 0;
      }
      if (!inside_member_ && !begin_member()) continue;
      stream_.next_in = reinterpret_cast<Bytef*>(input_.data() + used_);
      stream_.avail_in = static_cast<uInt>(filled_ - used_);
      const int status = inflate(&stream_, Z_NO_FLUSH);
      used_ = filled_ - stream_.avail_in;
      if (status == Z_STREAM_END) {
        inside_member_ = false;
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        fail_io("cannot read {}: damaged gzip data at byte {}: {}", path_, offset_ + used_,
                stream_.msg ? stream_.msg : "unknown error");
      }
    }
    return size - stream_.avail_out;
  }

  // False after a padding byte was passed over.
  bool begin_member() {
    if (first_member_ || input_[used_] == kGzipMagic[0]) {
      if (!first_member_) inflateReset(&stream_);
      first_member_ = false;
      inside_member_ = true;
      return true;
    }
    if (input_[used_] != '\0') {
      fail_io("cannot read {}: damaged gzip data at byte {}: not the start of a gzip member", path_,
              offset_ + used_);
    }
    ++used_;
    return false;
  }

  std::string path_;
  Bytes bytes_;
  std::string input_;
  size_t filled_ = 0;
  size_t used_ = 0;
  uint64_t offset_ = 0;  // of input_'s first byte in the file
  z_stream stream_{};
  bool gzip_ = false;
  bool initialised_ = false;
  bool first_member_ = true;
  bool inside_member_ = false;
};

LineReader::LineReader(std::string path, InvalidUtf8 invalid)
    : path_(std::move(path)), invalid_(invalid), source_(std::make_unique<Source>(path_)) {
  while (buffer_.size() < kByteOrderMark.size() && fill()) {
  }
  if (std::string_view(buffer_).starts_with(kByteOrderMark)) position_ = kByteOrderMark.size();
}

LineReader::~LineReader() = default;
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;

// Appends the next block to what is left of the last one.
bool LineReader::fill() {
  buffer_.erase(0, position_);
  position_ = 0;
  const size_t kept = buffer_.size();
  buffer_.resize(kept + kBlock);
  const size_t got = source_->read(buffer_.data() + kept, kBlock);
  buffer_.resize(kept + got);
  return got > 0;
}

bool LineReader::next(std::string& line) {
  line.clear();
  size_t searched = 0;
  size_t end;
  while ((end = buffer_.find('\n', position_ + searched)) == std::string::npos) {
    searched = buffer_.size() - position_;
    if (fill()) continue;
    if (searched == 0) return false;
    end = buffer_.size();
    break;
  }
  std::string_view text = std::string_view(buffer_).substr(position_, end - position_);
  if (text.ends_with('\r')) text.remove_suffix(1);
  ++line_number_;
  if (invalid_ == InvalidUtf8::refuse && !is_valid_utf8(text))
    fail_user("{}: line {} is not valid UTF-8", path_ == "-" ? "standard input" : path_, line_number_);
  line = replace_invalid_utf8(std::string(text));
  position_ = std::min(end + 1, buffer_.size());
  return true;
}

std::vector<std::string> read_lines(const std::string& path, InvalidUtf8 invalid) {
  LineReader reader(path, invalid);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(std::move(line));
  return lines;
}

LinePairs read_pairs(const std::string& source_path, const std::string& target_path, InvalidUtf8 invalid) {
  if (source_path == "-" && target_path == "-") fail_user("source and target cannot both be standard input");
  LinePairs pairs{read_lines(source_path, invalid), read_lines(target_path, invalid)};
  if (pairs.source.size() != pairs.target.size()) {
    fail_user("source and target do not have the same number of lines: {} has {}, {} has {}", source_path,
              pairs.source.size(), target_path, pairs.target.size());
  }
  return pairs;
}

LinePairs read_tsv_pairs(const std::string& path, TsvColumns columns) {
  if (columns.source < 1 || columns.target < 1) {
    fail_user("columns of {} count from 1: source {}, target {}", path, columns.source, columns.target);
  }
  const auto source = static_cast<size_t>(columns.source - 1);
  const auto target = static_cast<size_t>(columns.target - 1);
  const size_t needed = std::max(source, target) + 1;
  LineReader reader(path);
  LinePairs pairs;
  std::vector<std::string_view> cells;
  for (std::string line; reader.next(line);) {
    cells.clear();
    std::string_view rest = line;
    for (size_t tab = 0; cells.size() < needed && tab != std::string_view::npos;) {
      tab = rest.find('\t');
      cells.push_back(rest.substr(0, tab));
      if (tab != std::string_view::npos) rest.remove_prefix(tab + 1);
    }
    if (cells.size() < needed) {
      fail_user("{}:{}: {} tab-separated column{}, but column {} is asked for", path, reader.line_number(),
                cells.size(), cells.size() == 1 ? "" : "s", needed);
    }
    pairs.source.emplace_back(cells[source]);
    pairs.target.emplace_back(cells[target]);
  }
  return pairs;
}

bool is_blank(std::string_view line) {
  while (!line.empty()) {
    // Four bytes hold any character, so ICU's int32_t length never matters.
    const auto length = static_cast<int32_t>(std::min<size_t>(line.size(), U8_MAX_LENGTH));
    const auto* s = reinterpret_cast<const uint8_t*>(line.data());
    int32_t i = 0;
    UChar32 c;
    U8_NEXT_OR_FFFD(s, i, length, c);  // NOLINT(bugprone-inc-dec-in-conditions): ICU's macro
    const bool no_ink = u_isUWhiteSpace(c) || u_charType(c) == U_CONTROL_CHAR ||
                        u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT);
    if (!no_ink) return false;
    line.remove_prefix(static_cast<size_t>(i));
  }
  return true;
}

}  // namespace floe
