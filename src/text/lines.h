// Lines of text files, counted the same way by every part of Floe.
//
// Only LF ends a line; a CR right before it, or at the end of the file, is dropped. Everything else that some
// tools take for a line end (U+2028, U+0085, VT, FF, a lone CR) stays inside the line, so that two parallel
// files never fall out of step. A byte order mark at the start of the file is dropped, invalid UTF-8 becomes
// U+FFFD or is refused, NUL bytes are kept, a last line without LF counts, and an empty file has no line.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

enum class InvalidUtf8 { replace, refuse };

// Reads a file, "-" (standard input), or either of them gzipped (told by the first bytes, not by the name).
// Throws Error{io} naming the path: missing, a folder, unreadable, or gzip data that is damaged or ends early
// (then with the offset in the compressed file).
class LineReader {
 public:
  explicit LineReader(std::string path, InvalidUtf8 invalid = InvalidUtf8::replace);
  ~LineReader();
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;

  // False at the end of the file, `line` is then left empty. Throws Error{user} naming file and line where
  // invalid UTF-8 is refused.
  bool next(std::string& line);
  // Lines read so far, which is the 1-based number of the last one.
  uint64_t line_number() const { return line_number_; }
  const std::string& path() const { return path_; }

 private:
  class Source;
  bool fill();

  std::string path_;
  InvalidUtf8 invalid_;
  std::unique_ptr<Source> source_;
  std::string buffer_;
  size_t position_ = 0;
  uint64_t line_number_ = 0;
};

std::vector<std::string> read_lines(const std::string& path, InvalidUtf8 invalid = InvalidUtf8::replace);

// Parallel text: source[k] goes with target[k].
struct LinePairs {
  std::vector<std::string> source;
  std::vector<std::string> target;
};

// Throws Error{user} with both names and both counts when the files have not the same number of lines.
LinePairs read_pairs(const std::string& source_path, const std::string& target_path,
                     InvalidUtf8 invalid = InvalidUtf8::replace);

// Columns of a tab-separated file, counted from 1 as cut(1) does.
struct TsvColumns {
  int source = 1;
  int target = 2;
};

// Throws Error{user} naming file:line when a line has too few columns.
LinePairs read_tsv_pairs(const std::string& path, TsvColumns columns);

// Nothing to translate: empty, or only white space (no-break and ideographic space too), control characters
// and characters that have no ink of their own (zero-width space, joiners, byte order mark, soft hyphen).
bool is_blank(std::string_view line);

}  // namespace floe
