#include "translate/json_reader.h"

#include <algorithm>
#include <limits>

#include "base/error.h"

namespace floe {
namespace {

std::string shown(const nlohmann::json& json) {
  constexpr size_t kMaxBytes = 60;  // enough to recognise a value by
  std::string text = json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxBytes) text = text.substr(0, kMaxBytes) + "...";
  return text;
}

}  // namespace

nlohmann::json parse_json(const std::string& text, const std::string& file) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    const std::string_view before =
        std::string_view(text).substr(0, std::min<size_t>(error.byte, text.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    fail_user("{}:{}: not valid JSON (near byte {} of {})", file, line, error.byte, text.size());
  }
}

JsonReader::JsonReader(const nlohmann::json& json, std::string file, std::string place)
    : json_(json), file_(std::move(file)), place_(std::move(place)) {
  if (!json_.is_object())
    fail_user("{}: {} must be an object, not {}", file_, place_.empty() ? "the whole" : place_, shown(json_));
}

std::string JsonReader::path_of(std::string_view key) const {
  return place_.empty() ? std::string(key) : place_ + "." + std::string(key);
}

void JsonReader::refuse(std::string_view key, const std::string& text) const {
  fail_user("{}: {}: {}", file_, path_of(key), text);
}

const nlohmann::json& JsonReader::value_of(std::string_view key) {
  const auto found = json_.find(key);
  if (found == json_.end()) refuse(key, "this field is missing");
  read_.emplace(key);
  return *found;
}

void JsonReader::read(std::string_view key, int64_t& value) {
  const auto& json = value_of(key);
  if (!json.is_number_integer()) refuse(key, fmt::format("must be an integer, not {}", shown(json)));
  if (json.is_number_unsigned() &&
      json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(key, fmt::format("{} is too large", shown(json)));
  value = json.get<int64_t>();
}

void JsonReader::read(std::string_view key, int32_t& value) {
  int64_t wide = 0;
  read(key, wide);
  if (wide < std::numeric_limits<int32_t>::min() || wide > std::numeric_limits<int32_t>::max())
    refuse(key, fmt::format("{} is too large", wide));
  value = static_cast<int32_t>(wide);
}

void JsonReader::read(std::string_view key, double& value) {
  const auto& json = value_of(key);
  if (!json.is_number()) refuse(key, fmt::format("must be a number, not {}", shown(json)));
  value = json.get<double>();
}

void JsonReader::read(std::string_view key, bool& value) {
  const auto& json = value_of(key);
  if (!json.is_boolean()) refuse(key, fmt::format("must be true or false, not {}", shown(json)));
  value = json.get<bool>();
}

void JsonReader::read(std::string_view key, std::string& value) {
  const auto& json = value_of(key);
  if (!json.is_string()) refuse(key, fmt::format("must be a text, not {}", shown(json)));
  value = json.get<std::string>();
}

void JsonReader::read(std::string_view key, std::vector<std::string>& value) {
  const auto& json = value_of(key);
  const bool texts = json.is_array() &&
                     std::all_of(json.begin(), json.end(), [](const auto& item) { return item.is_string(); });
  if (!texts) refuse(key, fmt::format("must be a list of texts, not {}", shown(json)));
  value = json.get<std::vector<std::string>>();
}

JsonReader JsonReader::object(std::string_view key) { return {value_of(key), file_, path_of(key)}; }

void JsonReader::finish() const {
  for (const auto& [key, value] : json_.items()) {
    if (!read_.contains(key)) refuse(key, "there is no such field");
  }
}

}  // namespace floe
