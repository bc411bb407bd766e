#include "profile_output.h"

#include <fmt/core.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "command.h"
#include "output.h"

namespace floe {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const ProfileReport& report) {
  const Ceilings& c = report.ceilings;
  const ProfileSums sums = sums_of(report);
  Json lines = Json::array();
  for (const ProfileLine& line : lines_of(report)) {
    lines.push_back({{"op", line.op},
                     {"layer", line.where},
                     {"kernel", line.kernel},
                     {"result", line.result},
                     {"calls", line.calls},
                     {"ms", line.milliseconds},
                     {"share", line.share},
                     {"gb", line.gigabytes},
                     {"gflop", line.gigaflops},
                     {"gb_per_s", line.gigabytes_per_second()},
                     {"tflop_per_s", line.teraflops_per_second()},
                     {"floor_ms", line.floor_milliseconds},
                     {"roofline", line.roofline()}});
  }
  return {{"what", report.what},
          {"unit", report.unit},
          {"device", c.device},
          {"ceilings",
           {{"copy_gb_per_s", 1e-9 * c.bytes_per_second},
            {"f32_tflop_per_s", 1e-12 * c.f32_flops},
            {"bf16_tflop_per_s", c.bf16_flops > 0 ? Json(1e-12 * c.bf16_flops) : Json()},
            {"mark_us", 1e6 * c.mark_seconds}}},
          {"runs", report.runs},
          {"run_ms", sums.run_milliseconds},
          {"sum_ms", sums.milliseconds},
          {"coverage", sums.coverage},
          {"floor_ms", sums.floor_milliseconds},
          {"marks", sums.marks},
          {"mark_ms", sums.mark_milliseconds},
          {"lines", lines}};
}

}  // namespace

void ProfileFlags::add_to(CLI::App& app) {
  app.add_option("--output", output, "the tables; - (unless given) is standard output");
  app.add_option("--json", json, "a file for everything as JSON");
  app.add_option("--top", top, "lines of the second table; 0: all, 30 unless given");
  app.add_option("--runs", runs, "measured without and with a profile, in turns; 5 unless given");
}

void ProfileFlags::check() const {
  if (top < 0) throw UsageError(fmt::format("--top is {}; it must be at least 0", top));
  if (runs < 1) throw UsageError(fmt::format("--runs is {}; it must be at least 1", runs));
}

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void write_profile(const ProfileReport& report, const ProfileFlags& flags) {
  std::string text = text_of(report, static_cast<size_t>(flags.top));
  text.pop_back();  // line() ends it
  Output output(flags.output);
  output.line(text);
  output.finish();
  if (!flags.json.empty()) write_file(flags.json, json_of(report).dump(1) + "\n");
}

}  // namespace floe
