// A benchmark's result file, from which bench/report.py makes tables and charts:
//   device, versions, date, command
//   rows   of case, metric, floe, peer, peer_name, ratio (above 1: Floe is better; null without a peer)
// and what a benchmark adds: profiles.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "bench_flags.h"

namespace floe {

struct BenchRow {
  std::string name;    // of the case
  std::string metric;  // with its unit: "tokens/s", "peak memory, MiB"
  double floe = 0;
  std::optional<double> peer;
  std::string peer_name;
  bool more_is_better = true;
};

class BenchReport {
 public:
  // Every row() also writes what there is so far to PATH.partial: a run of many minutes that is cut off has
  // not been for nothing.
  BenchReport(std::string command, int threads, std::string path);

  void version(const std::string& name, const std::string& value) { json_["versions"][name] = value; }
  // Names the device of a measurement's answer, where that is not the processor.
  void ran_on(const nlohmann::ordered_json& answer, const BenchFlags& flags);
  void row(const BenchRow& row);
  nlohmann::ordered_json& operator[](const std::string& key) { return json_[key]; }

  // The whole, in place of the part. Throws Error{io}.
  void write() const;

 private:
  std::string partial() const { return path_ + ".partial"; }

  std::string path_;
  nlohmann::ordered_json json_;
};

// Where a benchmark's results go: --output, or bench/results/NAME-cpu.json, -h100.json on a GPU.
std::string results_path(const BenchFlags& flags, std::string_view benchmark);

}  // namespace floe
