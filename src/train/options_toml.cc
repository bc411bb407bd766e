// Options from TOML and to TOML.
#include <toml++/toml.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "base/overload.h"
#include "train/options.h"

namespace floe {
namespace {

// Levenshtein's distance, for "did you mean".
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t k = 1; k <= b.size(); ++k) {
      const size_t next = std::min({row[k] + 1, row[k - 1] + 1, diagonal + (a[i - 1] == b[k - 1] ? 0 : 1)});
      diagonal = std::exchange(row[k], next);
    }
  }
  return row.back();
}

[[noreturn]] void fail_unknown(std::string_view at, std::string_view section, std::string_view key) {
  if (const OptionRow* row = find_option(key)) {
    fail_user("{}: '{}' belongs in [{}], not in [{}]", at, key, row->section, section);
  }
  const OptionRow* nearest = nullptr;
  size_t least = 4;  // more changes make another word
  for (const OptionRow& row : train_option_rows()) {
    const size_t d = distance(key, row.name);
    if (d < least) {
      least = d;
      nearest = &row;
    }
  }
  if (nearest == nullptr) fail_user("{}: unknown option '{}' in [{}]", at, key, section);
  fail_user("{}: unknown option '{}' in [{}]; did you mean '{}'?", at, key, section, nearest->name);
}

void read_value(const OptionRow& row, const toml::node& node, std::string_view at, TrainOptions* options) {
  const auto refuse = [&](const char* kind) { fail_user("{}: '{}' is not {}", at, row.name, kind); };
  // A whole number is a number too; nothing else is converted.
  const auto number = [&](const toml::node& value) {
    if (!value.is_number()) refuse("a number");
    return *value.value<double>();
  };
  const auto text = [&](const toml::node& value) {
    if (!value.is_string()) refuse("a text");
    return *value.value<std::string>();
  };
  const auto list = [&](auto element) {
    if (!node.is_array()) refuse("a list");
    std::vector<decltype(element(node))> values;
    for (const toml::node& value : *node.as_array()) values.push_back(element(value));
    return values;
  };
  std::visit(Overload{[&](OptionAccess<bool> to) {
                        if (!node.is_boolean()) refuse("true or false");
                        to(*options) = *node.value<bool>();
                      },
                      [&](OptionAccess<int64_t> to) {
                        if (!node.is_integer()) refuse("a whole number");
                        to(*options) = *node.value<int64_t>();
                      },
                      [&](OptionAccess<double> to) { to(*options) = number(node); },
                      [&](OptionAccess<std::string> to) { to(*options) = text(node); },
                      [&](OptionAccess<std::vector<std::string>> to) { to(*options) = list(text); },
                      [&](OptionAccess<std::vector<double>> to) { to(*options) = list(number); },
                      [&](const ChoiceAccess& to) {
                        const bool number = to.numbers && node.is_integer();
                        if (to.numbers && !number && !node.is_string()) refuse("a whole number or a text");
                        const std::string word = number ? std::to_string(*node.value<int64_t>()) : text(node);
                        try {
                          to.set(*options, word);
                        } catch (const Error& error) {
                          fail_user("{}: '{}': {}", at, row.name, error.what());
                        }
                      }},
             row.access);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

// The shortest text that reads back the same, with a mark that it is no integer.
std::string number_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
  return text;
}

template <class T, class F>
std::string list_text(const std::vector<T>& values, F element) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i > 0 ? ", " : "") + element(values[i]);
  return out + "]";
}

std::string value_text(const OptionRow& row, TrainOptions& options) {
  return std::visit(
      Overload{[&](OptionAccess<bool> at) { return std::string(at(options) ? "true" : "false"); },
               [&](OptionAccess<int64_t> at) { return std::to_string(at(options)); },
               [&](OptionAccess<double> at) { return number_text(at(options)); },
               [&](OptionAccess<std::string> at) { return quoted(at(options)); },
               [&](OptionAccess<std::vector<std::string>> at) { return list_text(at(options), quoted); },
               [&](OptionAccess<std::vector<double>> at) { return list_text(at(options), number_text); },
               [&](const ChoiceAccess& at) {
                 const std::string word = at.get(options);
                 const bool number = at.numbers && word.find_first_not_of("0123456789-") == std::string::npos;
                 return number ? word : quoted(word);
               }},
      row.access);
}

}  // namespace

void read_options(std::string_view text, const std::string& path, TrainOptions* options) {
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    fail_user("{}:{}: {}", path, error.source().begin.line, error.description());
  }
  const auto where = [&](const toml::source_region& at) { return fmt::format("{}:{}", path, at.begin.line); };
  for (const auto& [section_key, node] : table) {
    const std::string_view section = section_key.str();
    const auto rows = train_option_rows();
    if (!node.is_table() || std::none_of(rows.begin(), rows.end(),
                                         [&](const OptionRow& row) { return row.section == section; })) {
      const OptionRow* row = find_option(section);
      if (row != nullptr)
        fail_user("{}: '{}' belongs in [{}]", where(section_key.source()), section, row->section);
      fail_user("{}: unknown section '{}'", where(section_key.source()), section);
    }
    for (const auto& [key, value] : *node.as_table()) {
      const std::string at = where(key.source());
      const OptionRow* row = find_option(key.str());
      if (row == nullptr || row->section != section) fail_unknown(at, section, key.str());
      read_value(*row, value, at, options);
    }
  }
}

std::string toml_of(const TrainOptions& options) {
  TrainOptions copy = options;
  std::string out;
  std::string_view section;
  for (const OptionRow& row : train_option_rows()) {
    if (row.section != section) {
      out += fmt::format("{}[{}]\n", out.empty() ? "" : "\n", row.section);
      section = row.section;
    }
    out += fmt::format("{} = {}  # {}\n", row.name, value_text(row, copy), row.doc);
  }
  return out;
}

std::string differences(const TrainOptions& before, const TrainOptions& now, OptionRow::Effect effect) {
  TrainOptions old = before;
  TrainOptions changed = now;
  std::string out;
  for (const OptionRow& row : train_option_rows()) {
    const std::string was = value_text(row, old);
    const std::string is = value_text(row, changed);
    if (row.effect == effect && was != is)
      out += fmt::format("{}{} ({}, now {})", out.empty() ? "" : ", ", row.name, was, is);
  }
  return out;
}

std::string hash_of(const TrainOptions& options, OptionRow::Effect effect) {
  TrainOptions copy = options;
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const OptionRow& row : train_option_rows()) {
    if (row.effect != effect) continue;
    for (const char c : fmt::format("{} = {}\n", row.name, value_text(row, copy))) {
      hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace floe
