// Reads the fields of a JSON object and holds their user to account: a message names file and field, and a
// key that nobody read is refused.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

// Throws Error{user} naming the file, and line and column of what is no JSON.
nlohmann::json parse_json(const std::string& text, const std::string& file);

class JsonReader {
 public:
  // `place` names the object within the file ("model"), empty for the outermost. Throws Error{user} when it
  // is no object.
  JsonReader(const nlohmann::json& json, std::string file, std::string place = "");

  bool has(std::string_view key) const { return json_.contains(key); }
  // Each throws Error{user} when the key is missing or its value is of another kind or does not fit.
  void read(std::string_view key, int64_t& value);
  void read(std::string_view key, int32_t& value);
  void read(std::string_view key, double& value);
  void read(std::string_view key, bool& value);
  void read(std::string_view key, std::string& value);
  void read(std::string_view key, std::vector<std::string>& value);
  JsonReader object(std::string_view key);
  const nlohmann::json& json() const { return json_; }

  // Throws Error{user} naming the first key that was not read.
  void finish() const;

  // Throws Error{user}: "FILE: PLACE.KEY: TEXT".
  [[noreturn]] void refuse(std::string_view key, const std::string& text) const;

 private:
  const nlohmann::json& value_of(std::string_view key);
  std::string path_of(std::string_view key) const;

  const nlohmann::json& json_;
  std::string file_;
  std::string place_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace floe
