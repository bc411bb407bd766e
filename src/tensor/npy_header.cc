#include "tensor/npy_header.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace floe {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
// A shape of a hundred dims has 2 kB; NumPy itself refuses more than 10 kB unless told otherwise.
constexpr uint64_t kMaxHeadBytes = 64 * 1024;
constexpr size_t kMaxNpyRank = 64;

struct Descr {
  std::string_view text;
  DType type;
};
constexpr Descr kDescrs[] = {{"<f4", DType::f32}, {"<f8", DType::f64},    {"<f2", DType::f16},
                             {"|i1", DType::i8},  {"|u1", DType::u8},     {"<i4", DType::i32},
                             {"<i8", DType::i64}, {"|b1", DType::boolean}};

uint32_t little_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// dict := '{' (text ':' value ',')* '}' ; value := text | True | False | '(' (number ',')* ')'
class DictParser {
 public:
  DictParser(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  NpyHeader parse() {
    NpyHeader header;
    unsigned seen = 0;
    expect('{');
    while (!take('}')) {
      const std::string_view key = quoted();
      expect(':');
      unsigned bit = 0;
      if (key == "descr") {
        bit = 1;
        header.dtype = dtype();
      } else if (key == "fortran_order") {
        bit = 2;
        header.column_major = boolean();
      } else if (key == "shape") {
        bit = 4;
        header.shape = shape();
      } else {
        fail_user("{}: unknown field '{}' in the array's head", what_, key);
      }
      if ((seen & bit) != 0) fail_user("{}: '{}' stands twice in the array's head", what_, key);
      seen |= bit;
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    if (seen != 7) fail_user("{}: the array's head lacks descr, fortran_order or shape", what_);
    space();
    if (at_ != text_.size()) fail("the end");
    return header;
  }

 private:
  [[noreturn]] void fail(std::string_view expected) {
    fail_user("{}: the array's head is damaged at byte {}: {} expected", what_, at_, expected);
  }
  void space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail(std::string_view(&c, 1));
  }
  bool take_word(std::string_view word) {
    space();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::string_view quoted() {
    space();
    if (at_ >= text_.size() || (text_[at_] != '\'' && text_[at_] != '"')) fail("a text");
    const size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string_view::npos) fail("a text that ends");
    const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return inside;
  }
  DType dtype() {
    space();
    if (at_ < text_.size() && text_[at_] == '[') fail_user("{}: structured arrays are not supported", what_);
    std::string descr(quoted());
    // The byte order of one byte means nothing; some writers give one.
    if (descr.size() == 3 && descr[2] == '1') descr[0] = '|';
    for (const Descr& row : kDescrs) {
      if (row.text == descr) return row.type;
    }
    fail_user("{}: arrays of type '{}' are not supported", what_, descr);
  }
  bool boolean() {
    if (take_word("True")) return true;
    if (take_word("False")) return false;
    fail("True or False");
  }
  Shape shape() {
    Shape shape;
    expect('(');
    while (!take(')')) {
      space();
      int64_t value = 0;
      const size_t start = at_;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text_[at_] - '0', &value)) {
          fail_user("{}: a size of the array does not fit 64 bits", what_);
        }
      }
      if (at_ == start) fail("a size");
      shape.push_back(value);
      if (shape.size() > kMaxNpyRank) fail_user("{}: an array of more than {} dims", what_, kMaxNpyRank);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view text_;
  std::string_view what_;
  size_t at_ = 0;
};

// Version 1 gives the length in two bytes, versions 2 and 3 in four.
size_t prefix_bytes(std::string_view head) { return head[6] == 1 ? 10 : 12; }

}  // namespace

uint64_t npy_head_bytes(std::string_view prefix, std::string_view what) {
  if (prefix.size() < kNpyPrefixBytes || prefix.substr(0, kMagic.size()) != kMagic) {
    fail_user("{}: this is not a .npy file", what);
  }
  const int version = static_cast<unsigned char>(prefix[6]);
  if (version < 1 || version > 3) fail_user("{}: version {} of the .npy format is not known", what, version);
  const size_t start = prefix_bytes(prefix);
  const uint64_t bytes = start + uint64_t{little_endian(prefix.substr(8, start - 8))};
  if (bytes > kMaxHeadBytes) fail_user("{}: an array's head of {} bytes is too long", what, bytes);
  return bytes;
}

NpyHeader parse_npy_head(std::string_view head, std::string_view what) {
  return DictParser(head.substr(prefix_bytes(head)), what).parse();
}

std::string npy_head(DType dtype, const Shape& shape, std::string_view what) {
  const auto* row = std::find_if(std::begin(kDescrs), std::end(kDescrs),
                                 [&](const Descr& descr) { return descr.type == dtype; });
  if (row == std::end(kDescrs)) fail_user("{}: NumPy has no type {}", what, name_of(dtype));
  std::string sizes;
  for (const int64_t dim : shape) sizes += fmt::format("{},", dim);
  if (shape.size() > 1) sizes.pop_back();
  std::string dict =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", row->text, sizes);
  const size_t unpadded = 10 + dict.size() + 1;
  dict.append((64 - unpadded % 64) % 64, ' ');
  dict += '\n';
  std::string head(kMagic);
  head += '\x01';
  head += '\x00';
  head += static_cast<char>(dict.size() & 0xff);
  head += static_cast<char>(dict.size() >> 8);
  return head + dict;
}

}  // namespace floe
