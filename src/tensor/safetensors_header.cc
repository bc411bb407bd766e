// Read as a stream of events, so that a large or deep header costs no tree, and a key that stands twice is
// seen.
#include "tensor/safetensors_header.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "base/error.h"

namespace floe {
namespace {

using nlohmann::json;

class HeaderEvents : public nlohmann::json_sax<json> {
 public:
  HeaderEvents(const std::string& path, SafetensorsHeader* header) : path_(path), header_(header) {}

  bool start_object(size_t) override {
    if (level_ == Level::outside) {
      level_ = Level::names;
    } else if (level_ == Level::names) {
      level_ = name_ == "__metadata__" ? Level::metadata : Level::fields;
      if (level_ == Level::fields) header_->rows.push_back({.name = name_});
      seen_fields_ = 0;
    } else {
      refuse("an object");
    }
    return true;
  }

  bool key(string_t& text) override {
    if (level_ == Level::names) {
      name_ = text;
      if (!names_.insert(text).second) fail_user("{}: '{}' stands twice in the header", path_, text);
    } else {
      field_ = text;
      if (level_ == Level::metadata) {
        if (!header_->metadata.emplace(text, "").second)
          fail_user("{}: metadata '{}' stands twice", path_, text);
        return true;
      }
      const unsigned bit = text == "dtype" ? 1 : text == "shape" ? 2 : text == "data_offsets" ? 4 : 0;
      if (bit == 0) fail_user("{}: tensor '{}' has an unknown field '{}'", path_, name_, text);
      if ((seen_fields_ & bit) != 0) fail_user("{}: tensor '{}': '{}' stands twice", path_, name_, text);
      seen_fields_ |= bit;
    }
    return true;
  }

  bool end_object() override {
    if (level_ == Level::fields) {
      if (seen_fields_ != 7) fail_user("{}: tensor '{}' lacks dtype, shape or data_offsets", path_, name_);
      if (header_->rows.back().offsets.size() != 2) {
        fail_user("{}: tensor '{}': data_offsets are not two numbers", path_, name_);
      }
    }
    level_ = level_ == Level::names ? Level::outside : Level::names;
    return true;
  }

  bool start_array(size_t) override {
    if (level_ != Level::fields || field_ == "dtype") refuse("a list");
    level_ = Level::numbers;
    return true;
  }
  bool end_array() override {
    level_ = Level::fields;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != Level::numbers) refuse("a number");
    SafetensorsHeader::Row& row = header_->rows.back();
    (field_ == "shape" ? row.shape : row.offsets).push_back(value);
    return true;
  }

  bool string(string_t& text) override {
    if (level_ == Level::metadata) {
      header_->metadata[field_] = text;
    } else if (level_ == Level::fields && field_ == "dtype") {
      header_->rows.back().dtype = text;
    } else {
      refuse("a text");
    }
    return true;
  }

  bool number_integer(number_integer_t) override { refuse("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { refuse("a fraction or too large a number"); }
  bool null() override { refuse("null"); }
  bool boolean(bool) override { refuse("a truth value"); }
  bool binary(binary_t&) override { refuse("bytes"); }
  bool parse_error(size_t at, const std::string&, const nlohmann::detail::exception&) override {
    fail_user("{}: the header is not JSON at byte {}", path_, at);
  }

 private:
  enum class Level { outside, names, fields, numbers, metadata };

  [[noreturn]] void refuse(const char* what) {
    if (level_ == Level::outside) fail_user("{}: the header is {}, not an object", path_, what);
    if (level_ == Level::names) fail_user("{}: '{}' is {}, not an object", path_, name_, what);
    fail_user("{}: '{}': '{}' holds {} where none belongs", path_, name_, field_, what);
  }

  const std::string& path_;
  SafetensorsHeader* header_;
  Level level_ = Level::outside;
  std::string name_;
  std::string field_;
  unsigned seen_fields_ = 0;
  std::unordered_set<std::string> names_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, const std::string& path) {
  SafetensorsHeader header;
  HeaderEvents events(path, &header);
  json::sax_parse(text.begin(), text.end(), &events);
  return header;
}

}  // namespace floe
