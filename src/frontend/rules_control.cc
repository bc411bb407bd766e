// Control flow that is decided while the graph is read.
#include "frontend/onnx_call.h"

namespace floe {
namespace {

using C = OnnxCall&;

Values branch(C c) {
  const std::optional<Dims> condition = c.known.dims(c.x());
  if (!condition || condition->size() != 1 || !(*condition)[0].is_constant())
    c.fail(
        "the condition depends on data or on a size that is not fixed; both branches at run time are not "
        "supported");
  const char* name = (*condition)[0].constant() != 0 ? "then_branch" : "else_branch";
  const OnnxAttribute* graph = c.attribute(name);
  if (graph == nullptr || graph->kind != OnnxAttribute::Kind::g) c.fail("there is no graph '{}'", name);
  return c.run(*graph->g, {});
}

}  // namespace

void add_onnx_control(OnnxRules& rules) { rules["If"] = branch; }

}  // namespace floe
