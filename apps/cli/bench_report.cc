#include "bench_report.h"

#include <fmt/core.h>

#include <array>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace floe {
namespace {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string today() {
  const time_t now = ::time(nullptr);
  tm parts;
  ::gmtime_r(&now, &parts);
  std::array<char, 16> text;
  const size_t n = std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts);
  return {text.data(), n};
}

}  // namespace

BenchReport::BenchReport(std::string command, int threads, std::string path) : path_(std::move(path)) {
  json_["device"] = fmt::format("{}, {} threads", processor_name(), threads);
  json_["versions"]["floe"] = FLOE_VERSION;
  json_["versions"]["compiler"] = "g++ " __VERSION__;
  json_["date"] = today();
  json_["command"] = std::move(command);
  json_["rows"] = nlohmann::ordered_json::array();
  std::error_code error;
  std::filesystem::create_directories(folder_of(path_), error);
  if (error) fail_io("cannot create {}: {}", folder_of(path_), error.message());
}

void BenchReport::ran_on(const nlohmann::ordered_json& answer, const BenchFlags& flags) {
  if (flags.device == "cpu") return;
  json_["device"] = fmt::format("{}, {} threads", answer.at("device").get<std::string>(), flags.threads);
}

void BenchReport::row(const BenchRow& row) {
  nlohmann::ordered_json json;
  json["case"] = row.name;
  json["metric"] = row.metric;
  json["floe"] = row.floe;
  json["peer"] = nullptr;
  json["peer_name"] = nullptr;
  json["ratio"] = nullptr;
  if (row.peer) {
    json["peer"] = *row.peer;
    json["peer_name"] = row.peer_name;
    const double above = row.more_is_better ? row.floe : *row.peer;
    const double below = row.more_is_better ? *row.peer : row.floe;
    if (below > 0) json["ratio"] = above / below;
  }
  json_["rows"].push_back(std::move(json));
  write_file(partial(), json_.dump(2) + "\n");
}

void BenchReport::write() const {
  write_file(path_, json_.dump(2) + "\n");
  std::error_code ignored;
  std::filesystem::remove(partial(), ignored);
}

std::string results_path(const BenchFlags& flags, std::string_view benchmark) {
  if (!flags.output.empty()) return flags.output;
  return fmt::format("bench/results/{}-{}.json", benchmark, flags.device == "cpu" ? "cpu" : "h100");
}

}  // namespace floe
