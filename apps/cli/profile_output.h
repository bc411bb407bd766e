// What every profile is told about its output, and writing it.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>

#include "runtime/profile_report.h"

namespace floe {

struct ProfileFlags {
  std::string output = "-", json;
  int64_t top = 30;
  int64_t runs = 5;
  void add_to(CLI::App& app);
  void check() const;  // throws UsageError
};

// Of the wall clock.
double seconds_of(const std::function<void()>& work);

// The text to `output`, and everything as JSON where that is wanted:
//   what, unit, device, ceilings {copy_gb_per_s, f32_tflop_per_s, bf16_tflop_per_s, mark_us},
//   runs, run_ms, sum_ms, coverage, floor_ms, marks, mark_ms,
//   lines [{op, layer, kernel, result, calls, ms, share, gb, gflop, gb_per_s, tflop_per_s, floor_ms,
//   roofline}]
// Shares, coverage and roofline are fractions. Throws Error{io}.
void write_profile(const ProfileReport& report, const ProfileFlags& flags);

}  // namespace floe
