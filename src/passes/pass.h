// A pass is a named function from graph to graph. A pipeline runs passes in order, verifies the graph after
// each one and reports what each changed and how long it took.
#pragma once
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace floe {

struct Pass {
  std::string name;
  std::function<Graph(const Graph&)> run;
};

struct PipelineOptions {
  std::set<std::string, std::less<>> skip;  // names of passes to leave out
  // Called after a pass that changed the graph's text, with the seconds that the pass alone took.
  std::function<void(std::string_view pass, const Graph& graph, double seconds)> after;
};

class Pipeline {
 public:
  // Throws bug on a second pass of that name.
  Pipeline& add(std::string name, std::function<Graph(const Graph&)> run);
  Pipeline& add(Pass pass) { return add(std::move(pass.name), std::move(pass.run)); }

  const std::vector<Pass>& passes() const { return passes_; }

  // The given graph is verified too. Throws Error{user} when `skip` names no pass of this pipeline,
  // Error{bug} from the verifier naming the pass that broke the graph; an error of a pass itself is passed
  // on.
  Graph run(const Graph& graph, const PipelineOptions& options = {}) const;

  struct Timing {
    std::string pass;
    double seconds = 0;
    bool changed = false;  // did the text change
  };
  // As run(), and appends one row a pass that ran.
  Graph run(const Graph& graph, const PipelineOptions& options, std::vector<Timing>* timings) const;

 private:
  std::vector<Pass> passes_;
};

}  // namespace floe
