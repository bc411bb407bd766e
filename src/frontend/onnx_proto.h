// What of an ONNX model (onnx.proto, github.com/onnx/onnx) the front end reads, as plain structs. Tensors are
// not unpacked: they point into the bytes that were parsed, which must outlive them.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

struct OnnxGraph;

// TensorProto.DataType, as far as Floe has the type.
enum class OnnxType : int32_t {
  undefined = 0,
  f32 = 1,
  u8 = 2,
  i8 = 3,
  u16 = 4,
  i16 = 5,
  i32 = 6,
  i64 = 7,
  text = 8,
  boolean = 9,
  f16 = 10,
  f64 = 11,
  u32 = 12,
  u64 = 13,
  bf16 = 16,
};

struct OnnxTensor {
  std::string name;
  std::vector<int64_t> dims;
  int32_t type = 0;
  bool has_raw = false;
  std::string_view raw;
  std::vector<float> floats;
  std::vector<double> doubles;
  std::vector<int64_t> ints;  // int32_data, int64_data, uint64_data
  bool external = false;
  std::map<std::string, std::string> external_data;  // location, offset, length
};

struct OnnxAttribute {
  std::string name, reference;  // `reference`: of the function's attribute that it takes
  // AttributeProto.AttributeType
  enum class Kind {
    none = 0,
    f = 1,
    i = 2,
    s = 3,
    t = 4,
    g = 5,
    floats = 6,
    ints = 7,
    strings = 8,
    other
  } kind = Kind::none;
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::shared_ptr<OnnxTensor> t;
  std::shared_ptr<OnnxGraph> g;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
};

struct OnnxNode {
  std::string name, op, domain;
  std::vector<std::string> inputs, outputs;  // "" where one is left out
  std::vector<OnnxAttribute> attributes;

  const OnnxAttribute* find(std::string_view attribute) const;
};

struct OnnxDim {
  bool known = false;
  int64_t value = 0;
  std::string name;  // may be empty
};
struct OnnxValue {
  std::string name;
  bool is_tensor = false;
  int32_t type = 0;
  bool has_shape = false;
  std::vector<OnnxDim> dims;
};

struct OnnxGraph {
  std::string name;
  std::vector<OnnxNode> nodes;
  std::vector<OnnxTensor> initializers;
  std::vector<OnnxValue> inputs, outputs;
  bool sparse = false;  // has sparse initializers
};

struct OnnxFunction {
  std::string name, domain;
  std::vector<std::string> inputs, outputs;
  std::vector<OnnxAttribute> defaults;
  std::vector<OnnxNode> nodes;
  std::map<std::string, int64_t> opsets;
};

struct OnnxModel {
  std::string path;                       // as it is called in messages
  std::string bytes;                      // that tensors point into
  std::map<std::string, int64_t> opsets;  // by domain; "" is ONNX's own
  OnnxGraph graph;
  std::vector<OnnxFunction> functions;

  OnnxModel() = default;
  OnnxModel(OnnxModel&&) = delete;  // a short `bytes` would move from under the tensors
};

// Every length is checked against what is there. Throw Error{user} naming `path`.
std::unique_ptr<OnnxModel> parse_onnx(std::string bytes, std::string path);
OnnxTensor parse_onnx_tensor(std::string_view bytes, const std::string& path);

}  // namespace floe
