// One function walks the fields for both directions, so that none is written and not read.
#include "train/trainer_state.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFormatVersion = 1;

struct Writer {
  Json json = Json::object();

  void field(const char* name, const int64_t& value) { json[name] = value; }
  void field(const char* name, const uint64_t& value) { json[name] = value; }
  void field(const char* name, const bool& value) { json[name] = value; }
  void field(const char* name, const std::string& value) { json[name] = value; }
  void field(const char* name, const double& value) {
    if (std::isfinite(value)) {
      json[name] = value;
    } else {
      json[name] = std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
    }
  }
  template <class T, class F>
  void object(const char* name, T& value, F fields) {
    Writer inner;
    fields(inner, value);
    json[name] = std::move(inner.json);
  }
  template <class T, class F>
  void list(const char* name, std::vector<T>& values, F fields) {
    Json rows = Json::array();
    for (T& value : values) {
      Writer inner;
      fields(inner, value);
      rows.push_back(std::move(inner.json));
    }
    json[name] = std::move(rows);
  }
  void end() {}
};

struct Reader {
  const Json& json;
  const std::string& path;
  size_t seen = 0;

  const Json& at(const char* name) {
    if (!json.is_object() || !json.contains(name)) fail_user("{}: '{}' is missing", path, name);
    ++seen;
    return json[name];
  }
  [[noreturn]] void refuse(const char* name, const char* kind) {
    fail_user("{}: '{}' is not {}", path, name, kind);
  }

  void field(const char* name, int64_t& value) {
    const Json& found = at(name);
    if (!found.is_number_integer() || (found.is_number_unsigned() && found.get<uint64_t>() > INT64_MAX)) {
      refuse(name, "a whole number");
    }
    value = found.get<int64_t>();
  }
  void field(const char* name, uint64_t& value) {
    const Json& found = at(name);
    if (!found.is_number_unsigned()) refuse(name, "a whole number from 0");
    value = found.get<uint64_t>();
  }
  void field(const char* name, bool& value) {
    const Json& found = at(name);
    if (!found.is_boolean()) refuse(name, "true or false");
    value = found.get<bool>();
  }
  void field(const char* name, std::string& value) {
    const Json& found = at(name);
    if (!found.is_string()) refuse(name, "a text");
    value = found.get<std::string>();
  }
  void field(const char* name, double& value) {
    const Json& found = at(name);
    if (found.is_number()) {
      value = found.get<double>();
    } else if (found == "nan") {
      value = std::numeric_limits<double>::quiet_NaN();
    } else if (found == "inf" || found == "-inf") {
      value =
          found == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
    } else {
      refuse(name, "a number");
    }
  }
  template <class T, class F>
  void object(const char* name, T& value, F fields) {
    Reader inner{at(name), path};
    if (!inner.json.is_object()) refuse(name, "an object");
    fields(inner, value);
    inner.end();
  }
  template <class T, class F>
  void list(const char* name, std::vector<T>& values, F fields) {
    const Json& rows = at(name);
    if (!rows.is_array()) refuse(name, "a list");
    values.clear();
    for (const Json& row : rows) {
      Reader inner{row, path};
      fields(inner, values.emplace_back());
      inner.end();
    }
  }
  void end() {
    if (seen != json.size()) fail_user("{}: it holds a field that this version does not know", path);
  }
};

template <class Archive>
void walk(Archive& archive, TrainerState& state, int64_t& version) {
  archive.field("format_version", version);
  archive.field("step", state.step);
  archive.object("position", state.position, [](auto& a, BatchPosition& position) {
    a.field("epoch", position.epoch);
    a.field("next", position.next);
  });
  archive.field("batches_fingerprint", state.batches_fingerprint);
  archive.object("decay", state.decay, [](auto& a, DecayState& decay) {
    a.field("factor", decay.factor);
    a.field("decays", decay.decays);
  });
  archive.list("early_stop", state.early_stop.metrics, [](auto& a, MetricState& metric) {
    a.field("has_best", metric.has_best);
    a.field("best", metric.best);
    a.field("best_step", metric.best_step);
    a.field("stalled", metric.stalled);
  });
  archive.field("seed", state.seed);
  archive.field("target_tokens", state.target_tokens);
  archive.field("skipped", state.skipped);
  archive.field("skipped_in_a_row", state.skipped_in_a_row);
  archive.field("seconds", state.seconds);
  archive.list("metrics", state.metrics, [](auto& a, std::pair<std::string, double>& metric) {
    a.field("name", metric.first);
    a.field("value", metric.second);
  });
  archive.field("options_hash", state.options_hash);
}

}  // namespace

std::string json_of(const TrainerState& state) {
  Writer writer;
  TrainerState copy = state;
  int64_t version = kFormatVersion;
  walk(writer, copy, version);
  return writer.json.dump(1) + "\n";
}

TrainerState parse_trainer_state(const std::string& text, const std::string& path) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) fail_user("{}: it is not a JSON object; is it cut off?", path);
  TrainerState state;
  int64_t version = 0;
  Reader{json, path}.field("format_version", version);
  if (version != kFormatVersion) {
    fail_user("{}: format version {}; this program reads version {}", path, version, kFormatVersion);
  }
  Reader reader{json, path};
  walk(reader, state, version);
  reader.end();
  return state;
}

}  // namespace floe
