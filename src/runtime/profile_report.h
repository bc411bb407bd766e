// A profile as people read it: where the time of a run goes, by op and by step, and how far each kernel is
// from what the device can do. What the columns mean: docs/profiling.md.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ceilings.h"
#include "runtime/session.h"

namespace floe {

struct ProfileReport {
  std::string what;  // "training step, base: ..."
  std::string unit;  // of what is measured: "step", "translation"
  Ceilings ceilings;
  double run_seconds = 0;       // one run as it is without a profile
  int64_t runs = 0;             // of those that were profiled
  std::vector<StepTime> times;  // over all of them
};

// A line of the table; everything a run.
struct ProfileLine {
  std::string op, where, kernel, result;
  double calls = 0;
  double milliseconds = 0;
  double share = 0;  // of the sum of all lines
  double gigabytes = 0, gigaflops = 0;
  double floor_milliseconds = 0;  // max(bytes / bandwidth, flops / peak)
  double gigabytes_per_second() const { return milliseconds > 0 ? 1e3 * gigabytes / milliseconds : 0; }
  double teraflops_per_second() const { return milliseconds > 0 ? gigaflops / milliseconds : 0; }
  double roofline() const { return milliseconds > 0 ? floor_milliseconds / milliseconds : 0; }
};

struct ProfileSums {
  double milliseconds = 0;      // of all steps
  double run_milliseconds = 0;  // undisturbed
  double coverage = 0;          // milliseconds / run_milliseconds; above 1 where marks cost more than gaps
  double floor_milliseconds = 0;
  double marks = 0;              // set in a run
  double mark_milliseconds = 0;  // what they cost together, measured with nothing between them
};

// Longest first; steps that never ran are left out.
std::vector<ProfileLine> lines_of(const ProfileReport& report);
// The same, steps of one op taken together: where, kernel and result are empty.
std::vector<ProfileLine> lines_by_op(const ProfileReport& report);
ProfileSums sums_of(const ProfileReport& report);

// Plain text: ceilings, sums, a table by op and one of the `top` longest lines (0: all).
std::string text_of(const ProfileReport& report, size_t top);

}  // namespace floe
