#include "passes/pass.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "ir/print.h"
#include "ir/verify.h"

namespace floe {

Pipeline& Pipeline::add(std::string name, std::function<Graph(const Graph&)> run) {
  for (const Pass& pass : passes_) FLOE_CHECK(pass.name != name, "pass '{}' is added twice", name);
  passes_.push_back({std::move(name), std::move(run)});
  return *this;
}

Graph Pipeline::run(const Graph& graph, const PipelineOptions& options) const {
  return run(graph, options, nullptr);
}

Graph Pipeline::run(const Graph& given, const PipelineOptions& options, std::vector<Timing>* timings) const {
  for (const std::string& name : options.skip) {
    const bool known =
        std::any_of(passes_.begin(), passes_.end(), [&](const Pass& pass) { return pass.name == name; });
    if (known) continue;
    std::string all;
    for (const Pass& pass : passes_) all += (all.empty() ? "" : ", ") + pass.name;
    fail_user("cannot skip pass '{}': the passes are {}", name, all);
  }
  // Texts are made only when somebody asks what changed: a graph with large constants prints slowly.
  const bool compare = options.after || timings != nullptr;
  verify(given, "construction");
  Graph graph = given;
  std::string text = compare ? print(graph) : "";
  for (const Pass& pass : passes_) {
    if (options.skip.count(pass.name) > 0) continue;
    const auto start = std::chrono::steady_clock::now();
    graph = pass.run(graph);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    verify(graph, pass.name);
    if (!compare) continue;
    std::string now = print(graph);
    const bool changed = now != text;
    if (changed && options.after) options.after(pass.name, graph, seconds);
    if (timings != nullptr) timings->push_back({pass.name, seconds, changed});
    text = std::move(now);
  }
  return graph;
}

}  // namespace floe
