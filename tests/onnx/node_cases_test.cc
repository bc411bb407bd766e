// ONNX's backend node cases on the CPU and in NumPy, and docs/onnx-ops.md, which FLOE_ONNX_TABLE names to be
// written anew (tools/onnx_table.sh).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/temp_folder_for_test.h"
#include "onnx_case.h"
#include "onnx_targets.h"
#include "ops/all.h"
#include "testing/printed_case.h"

namespace floe {
namespace {

constexpr const char* kArchive = FLOE_SOURCE_DIR "/../shared/data/onnx-node-tests/cases.tar.gz";
constexpr double kLeastPart = 0.97;

struct Outcome {
  std::string cpu, numpy;  // "" or what is wrong
};

// The message without the case's own names, so that equal reasons are one row.
std::string reason_of(const std::string& error) {
  const size_t node = error.find("): "), file = error.find("model.onnx: ");
  if (node != std::string::npos) return error.substr(node + 3);
  return file == std::string::npos ? error : error.substr(file + 12);
}

std::string compare(const TargetResult& got, const OnnxCase& c) {
  if (!got.error.empty()) return got.error;
  for (size_t k = 0; k < c.outputs.size(); ++k) {
    const std::string wrong = difference(*got.outputs[k], *c.outputs[k]);
    if (!wrong.empty()) return fmt::format("output {}: {}", k, wrong);
  }
  return "";
}

// What compare() says, as against a refusal.
bool differs(const std::string& what) {
  const size_t end = what.find_first_not_of("0123456789", std::strlen("output "));
  return what.starts_with("output ") && end != std::string::npos && what[end] == ':';
}

std::map<std::string, Outcome> run_cases(const std::string& folder, bool with_numpy) {
  namespace fs = std::filesystem;
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (fs::exists(entry.path() / "model.onnx")) folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end());
  std::map<std::string, Outcome> outcomes;
  std::vector<OnnxCase> cases;
  std::vector<std::unique_ptr<OnnxImport>> imports;
  for (const std::string& each : folders) {
    const std::string name = each.substr(each.find_last_of('/') + 1);
    try {
      OnnxCase c = load_onnx_case(each);
      auto import = std::make_unique<OnnxImport>(import_onnx_for(*c.model, all_ops(), c.inputs));
      outcomes[name].cpu = compare(run_on_cpu(*import, c.inputs), c);
      imports.push_back(std::move(import));
      cases.push_back(std::move(c));
    } catch (const Error& e) {
      EXPECT_NE(e.kind(), ErrorKind::bug) << name << ": " << e.what();
      outcomes[name] = {reason_of(e.what()), reason_of(e.what())};
    }
  }
  if (!with_numpy) return outcomes;
  std::vector<NumpyJob> jobs;
  for (size_t k = 0; k < cases.size(); ++k) jobs.push_back({imports[k].get(), &cases[k].inputs});
  const std::vector<TargetResult> results = run_on_numpy(jobs);
  for (size_t k = 0; k < cases.size(); ++k) outcomes[cases[k].name].numpy = compare(results[k], cases[k]);
  return outcomes;
}

size_t passed(const std::map<std::string, Outcome>& outcomes, std::string Outcome::* target) {
  return static_cast<size_t>(std::count_if(outcomes.begin(), outcomes.end(),
                                           [&](const auto& o) { return (o.second.*target).empty(); }));
}

std::string table_of(const std::map<std::string, Outcome>& outcomes) {
  std::string text =
      "# ONNX operators\n\nWritten by tools/onnx_table.sh. How they are read: "
      "[onnx.md](onnx.md).\n\nSupported:";
  std::string line;
  for (const std::string& op : onnx_operators()) {
    if (line.empty() || line.size() + op.size() > 110) {
      text += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + op;
  }
  text += fmt::format(
      "{}\n\nOf ONNX's {} node cases beside the checkout {} pass on the CPU and {} in NumPy; these do "
      "not:\n\n"
      "| case | target | reason |\n|---|---|---|\n",
      line, outcomes.size(), passed(outcomes, &Outcome::cpu), passed(outcomes, &Outcome::numpy));
  for (const auto& [name, outcome] : outcomes) {
    const std::string short_name = name.starts_with("test_") ? name.substr(5) : name;
    if (!outcome.cpu.empty())
      text += fmt::format("| {} | {} | {} |\n", short_name, outcome.cpu == outcome.numpy ? "all" : "CPU",
                          outcome.cpu);
    if (!outcome.numpy.empty() && outcome.cpu != outcome.numpy)
      text += fmt::format("| {} | NumPy | {} |\n", short_name, outcome.numpy);
  }
  return text;
}

TEST(OnnxNodeCases, PassOnTheCpuAndInNumpy) {
  if (!file_exists(kArchive)) GTEST_SKIP() << "no " << kArchive;
  const TempFolder folder;
  ASSERT_EQ(std::system(fmt::format("tar xzf '{}' -C '{}'", kArchive, folder.path()).c_str()), 0);
  const std::string no_numpy = why_no_numpy();
  const std::map<std::string, Outcome> outcomes = run_cases(folder.path(), no_numpy.empty());
  const std::string table = table_of(outcomes);
  if (const char* path = std::getenv("FLOE_ONNX_TABLE"); path != nullptr && no_numpy.empty())
    write_file(path, table);
  const double least = kLeastPart * static_cast<double>(outcomes.size());
  EXPECT_GE(static_cast<double>(passed(outcomes, &Outcome::cpu)), least) << table;
  if (!no_numpy.empty()) GTEST_SKIP() << "not in NumPy: " << no_numpy;
  EXPECT_GE(static_cast<double>(passed(outcomes, &Outcome::numpy)), least) << table;
  EXPECT_EQ(read_file(FLOE_SOURCE_DIR "/docs/onnx-ops.md"), table) << "tools/onnx_table.sh writes it anew";
}

// Debian's package of the cases (libonnx-testdata) has operators of every kind: each is right or refused, and
// none of those that are taken gives other numbers.
TEST(OnnxNodeCases, OfDebianAreRightOrRefused) {
  constexpr const char* kFolder = "/usr/share/libonnx-testdata/data/node";
  if (!std::filesystem::exists(kFolder)) GTEST_SKIP() << "no " << kFolder << ": libonnx-testdata";
  const std::map<std::string, Outcome> outcomes = run_cases(kFolder, false);
  std::string wrong;
  for (const auto& [name, outcome] : outcomes) {
    if (differs(outcome.cpu)) wrong += name + ": " + outcome.cpu + "\n";
  }
  EXPECT_EQ(wrong, "");
  const double least = 0.6 * static_cast<double>(outcomes.size());
  EXPECT_GE(static_cast<double>(passed(outcomes, &Outcome::cpu)), least) << "of " << outcomes.size();
}

}  // namespace
}  // namespace floe
