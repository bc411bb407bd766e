#include "quantize_report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace floe {
namespace {

const Sensitivity* sensitivity_of(const Int8Report& report, const std::string& weight) {
  const auto found =
      std::ranges::find_if(report.sensitivities, [&](const Sensitivity& s) { return s.weight == weight; });
  return found == report.sensitivities.end() ? nullptr : &*found;
}

std::vector<std::string> heads(const Int8Report& report) {
  std::vector<std::string> list{"weight",       "rows",     "SQNR dB",     "worst error", "of rms",
                                "codes differ", "at +-127", "dead inputs", "dead outputs"};
  if (!report.sensitivities.empty()) list.emplace_back("|log p| change");
  return list;
}

std::vector<std::string> cells(const Int8Report& report, const ProductComparison& p) {
  std::vector<std::string> list{p.weight,
                                std::to_string(p.rows),
                                std::isinf(p.sqnr_db) ? "exact" : fmt::format("{:.1f}", p.sqnr_db),
                                fmt::format("{:.3g}", p.worst),
                                fmt::format("{:.3f}", p.rms == 0 ? 0 : p.worst / p.rms),
                                std::to_string(p.different_codes),
                                fmt::format("{:.2f} %", 100 * p.saturated),
                                fmt::format("{} of {}", p.dead_inputs, p.inputs),
                                fmt::format("{} of {}", p.dead_outputs, p.outputs)};
  if (report.sensitivities.empty()) return list;
  const Sensitivity* s = sensitivity_of(report, p.weight);
  list.push_back(s == nullptr ? "" : fmt::format("{:.5f}", s->log_prob_change));
  return list;
}

std::string summary(const Int8Report& report) {
  return fmt::format(
      "{} sentences, {} target tokens; mean -log p of a token: float {:.4f}, simulated {:.4f}, INT8 {:.4f}",
      report.sentences, report.target_tokens, report.float_loss, report.fake_loss, report.int8_loss);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string report_text(const Int8Report& report) {
  std::vector<std::vector<std::string>> rows{heads(report)};
  for (const ProductComparison& p : report.products) rows.push_back(cells(report, p));
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text = summary(report) + "\n";
  for (const auto& row : rows) {
    text += fmt::format("{:<{}}", row[0], widths[0]);
    for (size_t i = 1; i < row.size(); ++i) text += fmt::format("  {:>{}}", row[i], widths[i]);
    text += "\n";
  }
  return text;
}

std::string report_json(const Int8Report& report) {
  nlohmann::ordered_json json;
  json["model"] = report.model;
  json["sentences"] = report.sentences;
  json["target_tokens"] = report.target_tokens;
  json["float_loss"] = report.float_loss;
  json["fake_loss"] = report.fake_loss;
  json["int8_loss"] = report.int8_loss;
  json["products"] = nlohmann::ordered_json::array();
  for (const ProductComparison& p : report.products) {
    const Sensitivity* s = sensitivity_of(report, p.weight);
    nlohmann::ordered_json row;
    row["weight"] = p.weight;
    row["rows"] = p.rows;
    row["sqnr_db"] = p.sqnr_db;  // an infinity is written as null
    row["worst"] = p.worst;
    row["rms"] = p.rms;
    row["fake_worst"] = p.fake_worst;
    row["codes"] = p.codes;
    row["different_codes"] = p.different_codes;
    row["saturated"] = p.saturated;
    row["inputs"] = p.inputs;
    row["dead_inputs"] = p.dead_inputs;
    row["outputs"] = p.outputs;
    row["dead_outputs"] = p.dead_outputs;
    row["log_prob_change"] =
        s == nullptr ? nlohmann::ordered_json() : nlohmann::ordered_json(s->log_prob_change);
    row["loss_change"] = s == nullptr ? nlohmann::ordered_json() : nlohmann::ordered_json(s->loss_change);
    json["products"].push_back(std::move(row));
  }
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string report_html(const Int8Report& report) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>INT8 report</title>\n<style>"
      "body{font:15px/1.4 sans-serif;margin:2em}table{border-collapse:collapse}"
      "th,td{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}"
      "th:first-child,td:first-child{text-align:left;font-family:monospace}"
      ".bar{background:#cde;display:inline-block;height:.7em}</style></head><body>\n";
  html += fmt::format("<h1>INT8 report of {}</h1>\n<p>{}</p>\n<table><tr>", escaped(report.model),
                      escaped(summary(report)));
  for (const std::string& head : heads(report)) html += "<th>" + escaped(head) + "</th>";
  html += "<th>error of the result</th></tr>\n";
  for (const ProductComparison& p : report.products) {
    html += "<tr>";
    for (const std::string& cell : cells(report, p)) html += "<td>" + escaped(cell) + "</td>";
    // The amplitude of the error, in percent of the result's: 20 dB fill the bar.
    const double width = std::isinf(p.sqnr_db) ? 0 : std::min(100.0, 1000 * std::pow(10.0, -p.sqnr_db / 20));
    html += fmt::format(
        "<td style=\"text-align:left;min-width:10em\"><span class=\"bar\" style=\"width:{:.0f}%\">"
        "</span></td></tr>\n",
        width);
  }
  return html + "</table></body></html>\n";
}

void write_report(const Int8Report& report, const std::string& path) {
  write_file(path, path.ends_with(".html") ? report_html(report) : report_json(report));
}

}  // namespace floe
