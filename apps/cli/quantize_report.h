// What `floe quantize --compare` found, as text, JSON or a page of HTML.
#pragma once
#include <string>
#include <vector>

#include "translate/compare_int8.h"

namespace floe {

struct Int8Report {
  std::string model;
  int64_t sentences = 0, target_tokens = 0;
  double float_loss = 0, fake_loss = 0, int8_loss = 0;  // mean -log p of a target token
  std::vector<ProductComparison> products;
  std::vector<Sensitivity> sensitivities;  // empty: not asked for
};

std::string report_text(const Int8Report& report);
// {model, sentences, target_tokens, float_loss, fake_loss, int8_loss, products [{weight, rows, sqnr_db,
// worst, rms, fake_worst, codes, different_codes, saturated, inputs, dead_inputs, outputs, dead_outputs,
// log_prob_change, loss_change}]}; sqnr_db is null where there was no error, the last two where they were not
// asked for.
std::string report_json(const Int8Report& report);
std::string report_html(const Int8Report& report);

// A page when `path` ends in .html, else JSON.
void write_report(const Int8Report& report, const std::string& path);

}  // namespace floe
