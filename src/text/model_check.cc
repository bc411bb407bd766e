#include "text/model_check.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "text/utf8.h"

namespace floe {
namespace {

// The library takes the size as an int; real models have at most tens of megabytes.
constexpr size_t kMaxModelBytes = size_t{1} << 30;

// Wire types of the protobuf encoding.
enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// ModelProto
constexpr uint32_t kPieces = 1, kNormalizerSpec = 3, kDenormalizerSpec = 5;
// ModelProto.SentencePiece
constexpr uint32_t kPieceText = 1, kPieceScore = 2, kPieceType = 3;
constexpr uint32_t kUserDefined = 4;
// NormalizerSpec
constexpr uint32_t kCharsmap = 2;

// Sizes of fixed arrays inside SentencePiece 0.1.97: matches of one normalisation lookup, and of one lookup
// among the user-defined symbols.
constexpr int kMaxRuleMatches = 32;
constexpr size_t kMaxNestedSymbols = 64;

struct Field {
  uint32_t number = 0;
  Wire wire = kVarint;
  uint64_t value = 0;      // varint and fixed
  std::string_view bytes;  // length-delimited
};

// The fields of one message, in order.
class Fields {
 public:
  Fields(std::string_view message, const std::string& name) : rest_(message), name_(name) {}

  bool next(Field& field) {
    if (rest_.empty()) return false;
    const uint64_t tag = varint();
    const uint64_t number = tag >> 3;
    if (number == 0 || number > 0x1FFFFFFF) damaged("a field has no valid number");
    field = {.number = static_cast<uint32_t>(number), .wire = static_cast<Wire>(tag & 7)};
    switch (field.wire) {
      case kVarint:
        field.value = varint();
        break;
      case kFixed64:
        field.value = fixed<uint64_t>();
        break;
      case kFixed32:
        field.value = fixed<uint32_t>();
        break;
      case kBytes:
        field.bytes = take(varint());
        break;
      default:
        damaged("a field has an unknown wire type");
    }
    return true;
  }

  [[noreturn]] void damaged(std::string_view what) const {
    fail_user("{} is not a usable SentencePiece model: {}", name_, what);
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<uint8_t>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged("a number is longer than 10 bytes");
  }

  template <class T>
  T fixed() {
    T value;
    take(sizeof value).copy(reinterpret_cast<char*>(&value), sizeof value);
    return value;
  }

  std::string_view take(uint64_t size) {
    if (size > rest_.size()) damaged("it ends early or a length inside is wrong");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
  const std::string& name_;
};

// One unit of the double array that the library (darts-clone) walks: a step from unit `at` on byte b goes to
// unit (at ^ offset) ^ b and holds when that unit's label is b; a unit with a leaf has a value at (at ^
// offset).
struct Unit {
  uint32_t bits;
  uint32_t label() const { return bits & 0x800000FF; }
  uint32_t offset() const { return (bits >> 10) << ((bits & 0x200) >> 6); }
  bool has_leaf() const { return (bits & 0x100) != 0; }
  uint32_t value() const { return bits & 0x7FFFFFFF; }
};

// What a charsmap must keep so that no lookup leaves it: every step from a unit that can be reached stays
// inside the array, no path comes back to where it was, none has more values than the library has room for,
// and a value points into the replacement strings, which end with a NUL. Equal ends of rules share units, so
// a unit may be reached in several ways.
void check_charsmap(std::string_view charsmap, const Fields& fields) {
  uint32_t trie_size = 0;
  if (charsmap.size() < sizeof trie_size) fields.damaged("its normalisation rule is cut short");
  std::memcpy(&trie_size, charsmap.data(), sizeof trie_size);
  charsmap.remove_prefix(sizeof trie_size);
  if (trie_size > charsmap.size() || trie_size % sizeof(Unit) != 0) {
    fields.damaged("its normalisation rule has a wrong size");
  }
  const std::string_view replacements = charsmap.substr(trie_size);
  if (trie_size == 0 || replacements.empty() || replacements.back() != '\0') {
    fields.damaged("its normalisation rule is incomplete");
  }
  std::vector<Unit> units(trie_size / sizeof(Unit));
  std::memcpy(units.data(), charsmap.data(), trie_size);

  // Depth first, children before parents; deepest[u] is the most values on a path from u on.
  constexpr int kNotSeen = -2, kOpen = -1;
  struct Place {
    uint32_t unit;
    uint32_t base;
    uint32_t byte;  // the step to take next
    int deepest;
  };
  std::vector<int> deepest(units.size(), kNotSeen);
  std::vector<Place> path;
  const auto enter = [&](uint32_t unit) {
    const uint32_t base = unit ^ units[unit].offset();
    if ((base | 0xFF) >= units.size()) fields.damaged("its normalisation rule points outside itself");
    deepest[unit] = kOpen;
    path.push_back({.unit = unit, .base = base, .byte = 0, .deepest = 0});
  };
  enter(0);
  while (!path.empty()) {
    Place& place = path.back();
    if (place.byte < 256) {
      const uint32_t next = place.base ^ place.byte;
      if (units[next].label() == place.byte) {
        if (deepest[next] == kOpen) fields.damaged("its normalisation rule runs in a circle");
        if (deepest[next] == kNotSeen) {
          enter(next);
          continue;
        }
        place.deepest = std::max(place.deepest, deepest[next]);
      }
      ++place.byte;
      continue;
    }
    // The root's own value is never looked at.
    if (units[place.unit].has_leaf() && place.unit != 0) {
      if (units[place.base].value() >= replacements.size())
        fields.damaged("a normalisation rule has no replacement");
      if (++place.deepest > kMaxRuleMatches) fields.damaged("its normalisation rules are nested too deep");
    }
    deepest[place.unit] = place.deepest;
    path.pop_back();
  }
}

void check_normalizer(std::string_view message, const std::string& name) {
  Fields fields(message, name);
  bool seen = false;
  for (Field field; fields.next(field);) {
    if (field.number != kCharsmap) continue;
    if (field.wire != kBytes || seen) fields.damaged("its normalisation rule is given twice or is no string");
    seen = true;
    if (!field.bytes.empty()) check_charsmap(field.bytes, fields);
  }
}

// Returns the text when the piece is a user-defined symbol, else an empty string.
std::string_view check_piece(std::string_view message, const std::string& name) {
  Fields fields(message, name);
  std::string_view text;
  bool user_defined = false;
  for (Field field; fields.next(field);) {
    if (field.number == kPieceText) {
      if (field.wire != kBytes || !text.empty())
        fields.damaged("a piece has two texts or a text that is no string");
      text = field.bytes;
    } else if (field.number == kPieceScore) {
      const float score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
      if (field.wire != kFixed32 || !std::isfinite(score)) fields.damaged("a piece's score is not a number");
    } else if (field.number == kPieceType) {
      if (field.wire != kVarint) fields.damaged("a piece's type is not a number");
      // The library reads an enum as 32 bits and lets an unknown one leave the last known one as it was.
      if (static_cast<uint32_t>(field.value) == kUserDefined) user_defined = true;
    }
  }
  if (text.empty()) fields.damaged("a piece is empty");
  if (text.find('\0') != std::string_view::npos) fields.damaged("a piece holds a NUL byte");
  if (!is_valid_utf8(text)) fields.damaged("a piece is not valid UTF-8");
  return user_defined ? text : std::string_view();
}

void check_nesting(std::vector<std::string_view> symbols, const Fields& fields) {
  std::sort(symbols.begin(), symbols.end());
  std::vector<std::string_view> nest;  // each a prefix of the next
  for (const auto symbol : symbols) {
    while (!nest.empty() && !symbol.starts_with(nest.back())) nest.pop_back();
    nest.push_back(symbol);
    if (nest.size() > kMaxNestedSymbols) fields.damaged("too many user-defined symbols begin alike");
  }
}

}  // namespace

void check_sentencepiece_model(std::string_view bytes, const std::string& name) {
  Fields fields(bytes, name);
  if (bytes.empty()) fields.damaged("it is empty");
  if (bytes.size() > kMaxModelBytes) fields.damaged("it is larger than 1 GiB");
  std::vector<std::string_view> symbols;
  size_t pieces = 0;
  bool seen[kDenormalizerSpec + 1] = {};
  for (Field field; fields.next(field);) {
    if (field.number > kDenormalizerSpec) continue;
    if (field.wire != kBytes) fields.damaged("a part of it is no message");
    if (field.number == kPieces) {
      ++pieces;
      const auto symbol = check_piece(field.bytes, name);
      if (!symbol.empty()) symbols.push_back(symbol);
      continue;
    }
    if (seen[field.number]) fields.damaged("a part of it is given twice");
    seen[field.number] = true;
    if (field.number == kNormalizerSpec || field.number == kDenormalizerSpec)
      check_normalizer(field.bytes, name);
  }
  if (pieces == 0) fields.damaged("it has no pieces");
  check_nesting(std::move(symbols), fields);
}

}  // namespace floe
