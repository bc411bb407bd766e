#include "runtime/profile_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "base/error.h"

namespace floe {
namespace {

double floor_seconds(const StepTime& time, const Ceilings& ceilings) {
  const bool half = time.products == DType::bf16 || time.products == DType::f16;
  const double peak = half && ceilings.bf16_flops > 0 ? ceilings.bf16_flops : ceilings.f32_flops;
  return std::max(time.bytes / ceilings.bytes_per_second, time.flops / peak);
}

void finish(std::vector<ProfileLine>* lines) {
  double sum = 0;
  for (const ProfileLine& line : *lines) sum += line.milliseconds;
  for (ProfileLine& line : *lines) line.share = sum > 0 ? line.milliseconds / sum : 0;
  std::stable_sort(lines->begin(), lines->end(), [](const ProfileLine& a, const ProfileLine& b) {
    return a.milliseconds > b.milliseconds;
  });
}

// A table whose columns are as wide as what stands in them; the first `left` are aligned to the left.
class TextTable {
 public:
  TextTable(std::vector<std::string> head, size_t left) : left_(left) { row(std::move(head)); }
  void row(std::vector<std::string> cells) {
    widths_.resize(std::max(widths_.size(), cells.size()));
    for (size_t i = 0; i < cells.size(); ++i) widths_[i] = std::max(widths_[i], cells[i].size());
    rows_.push_back(std::move(cells));
  }
  std::string text() const {
    std::string out;
    for (const auto& cells : rows_) {
      std::string line;
      for (size_t i = 0; i < cells.size(); ++i) {
        const size_t pad = widths_[i] - cells[i].size();
        if (i > 0) line += "  ";
        if (i >= left_) line.append(pad, ' ');
        line += cells[i];
        if (i < left_) line.append(pad, ' ');
      }
      out += line + "\n";
    }
    return out;
  }

 private:
  size_t left_;
  std::vector<size_t> widths_;
  std::vector<std::vector<std::string>> rows_;
};

const std::vector<std::string> kNumbers = {"calls", "ms", "%", "GB", "GFLOP", "GB/s", "TFLOP/s", "% of roof"};

std::vector<std::string> with_numbers(std::vector<std::string> cells, const ProfileLine& line) {
  for (const std::string& number :
       {fmt::format("{:.0f}", line.calls), fmt::format("{:.3f}", line.milliseconds),
        fmt::format("{:.1f}", 100 * line.share), fmt::format("{:.4f}", line.gigabytes),
        fmt::format("{:.3f}", line.gigaflops), fmt::format("{:.0f}", line.gigabytes_per_second()),
        fmt::format("{:.2f}", line.teraflops_per_second()), fmt::format("{:.1f}", 100 * line.roofline())}) {
    cells.push_back(number);
  }
  return cells;
}

std::string table_of(std::vector<std::string> names, const std::vector<ProfileLine>& lines) {
  const bool by_op = names.size() == 1;
  const size_t left = names.size();
  names.insert(names.end(), kNumbers.begin(), kNumbers.end());
  TextTable table(std::move(names), left);
  for (const ProfileLine& line : lines) {
    std::vector<std::string> cells = {line.op};
    if (!by_op) cells.insert(cells.end(), {line.where, line.kernel, line.result});
    table.row(with_numbers(std::move(cells), line));
  }
  return table.text();
}

}  // namespace

std::vector<ProfileLine> lines_of(const ProfileReport& report) {
  FLOE_CHECK(report.runs > 0, "a profile of no runs");
  const auto runs = static_cast<double>(report.runs);
  std::vector<ProfileLine> lines;
  for (const StepTime& time : report.times) {
    if (time.calls == 0) continue;
    lines.push_back({.op = time.op,
                     .where = time.where,
                     .kernel = time.kernel,
                     .result = time.result,
                     .calls = static_cast<double>(time.calls) / runs,
                     .milliseconds = 1e3 * time.seconds / runs,
                     .gigabytes = 1e-9 * time.bytes / runs,
                     .gigaflops = 1e-9 * time.flops / runs,
                     .floor_milliseconds = 1e3 * floor_seconds(time, report.ceilings) / runs});
  }
  finish(&lines);
  return lines;
}

std::vector<ProfileLine> lines_by_op(const ProfileReport& report) {
  std::map<std::string, ProfileLine> ops;
  for (const ProfileLine& line : lines_of(report)) {
    ProfileLine& sum = ops[line.op];
    sum.op = line.op;
    sum.calls += line.calls;
    sum.milliseconds += line.milliseconds;
    sum.gigabytes += line.gigabytes;
    sum.gigaflops += line.gigaflops;
    sum.floor_milliseconds += line.floor_milliseconds;
  }
  std::vector<ProfileLine> lines;
  for (auto& [op, line] : ops) lines.push_back(std::move(line));
  finish(&lines);
  return lines;
}

ProfileSums sums_of(const ProfileReport& report) {
  ProfileSums sums;
  for (const ProfileLine& line : lines_of(report)) {
    sums.milliseconds += line.milliseconds;
    sums.floor_milliseconds += line.floor_milliseconds;
    sums.marks += line.calls;
  }
  sums.run_milliseconds = 1e3 * report.run_seconds;
  sums.coverage = sums.run_milliseconds > 0 ? sums.milliseconds / sums.run_milliseconds : 0;
  sums.mark_milliseconds = 1e3 * sums.marks * report.ceilings.mark_seconds;
  return sums;
}

std::string text_of(const ProfileReport& report, size_t top) {
  const Ceilings& c = report.ceilings;
  const ProfileSums sums = sums_of(report);
  std::string out = fmt::format("{}\n", report.what);
  out += fmt::format("{}: copies {:.0f} GB/s; products {:.2f} TFLOP/s in f32", c.device,
                     1e-9 * c.bytes_per_second, 1e-12 * c.f32_flops);
  if (c.bf16_flops > 0) out += fmt::format(", {:.1f} in bf16", 1e-12 * c.bf16_flops);
  out += " (measured now)\n";
  out += fmt::format("one {} without a profile: {:.3f} ms\n", report.unit, sums.run_milliseconds);
  out += fmt::format("sum of its kernels' times: {:.3f} ms, {:.1f} % of that, over {} profiled\n",
                     sums.milliseconds, 100 * sums.coverage, report.runs);
  out += fmt::format("in that sum: {:.0f} marks of {:.2f} us with nothing between them, {:.3f} ms\n",
                     sums.marks, 1e6 * c.mark_seconds, sums.mark_milliseconds);
  out += fmt::format("the roofline allows: {:.3f} ms, {:.1f} % of the sum\n\n", sums.floor_milliseconds,
                     sums.milliseconds > 0 ? 100 * sums.floor_milliseconds / sums.milliseconds : 0);
  out += table_of({"op"}, lines_by_op(report));
  std::vector<ProfileLine> lines = lines_of(report);
  const size_t all = lines.size();
  if (top > 0 && all > top) {
    lines.resize(top);
    out += fmt::format("\nthe {} longest of {} lines\n", top, all);
  } else {
    out += "\n";
  }
  out += table_of({"op", "layer", "kernel", "result"}, lines);
  return out;
}

}  // namespace floe
