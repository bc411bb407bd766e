// ONNX models as graphs of Floe (docs/onnx.md). Opsets 7 to 28 of ONNX's own operators, as far as
// Transformers need them. Weights become states, small constants constants, dims with a name symbolic
// lengths.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "frontend/onnx_proto.h"
#include "ir/graph.h"

namespace floe {

using NamedTensors = std::map<std::string, TensorPtr, std::less<>>;

struct OnnxOptions {
  std::string name = "model";  // of the graph
  // Values of inputs, or some of them. Where a node wants axes or a shape that such an input gives, the graph
  // is specialised to the value (OnnxImport::specialised).
  NamedTensors values;
  // Shapes to fix: dims with a name get these numbers instead of staying symbolic.
  std::map<std::string, Shape, std::less<>> shapes;
};

struct OnnxImport {
  Graph graph;
  NamedTensors states;
  std::vector<std::string> specialised;  // inputs whose value was built in: good for that value alone
  bool fixed_shapes = false;             // good for the given shapes alone
};

// Bounds of a symbolic dim that a node needs (a slice that must not end beyond its operand, a kernel that
// must fit) are declared with it: the graph is for lengths within.
//
// Reads the file; external data lies beside it. Throws Error{io} when it cannot be read, Error{user} naming
// file and node otherwise: "model.onnx: node 'name' (Op): reason". All operators that are not supported are
// named at once.
std::unique_ptr<OnnxModel> read_onnx(const std::string& path);
OnnxImport import_onnx(const OnnxModel& model, const OpTable& ops, const OnnxOptions& options = {});

// For these inputs: with symbolic dims where the graph is right for any of them, else for the inputs' shapes.
OnnxImport import_onnx_for(const OnnxModel& model, const OpTable& ops, const NamedTensors& inputs,
                           const std::string& name = "model");

// "Abs", "Add", ...; operators of other domains as "domain:Op".
std::vector<std::string> onnx_operators();

}  // namespace floe
