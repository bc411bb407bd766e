// Reverse-mode differentiation as a pass: walks a graph back from a scalar output and asks each op for its
// gradient; an op that has none is replaced by its meaning first, which is then differentiated.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace floe {

struct Differentiated {
  Graph graph;  // the given one and the gradients' nodes
  std::map<std::string, Value, std::less<>>
      gradients;  // by name of state or input; zeros where loss does not depend
};

// `loss` names a rank-0 floating output; `wrt` names states or inputs of floating type. Throws Error{user}
// naming the output or the variable that does not fit.
Differentiated differentiate(const Graph& graph, const std::string& loss,
                             const std::vector<std::string>& wrt);

}  // namespace floe
