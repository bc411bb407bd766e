// Writes ONNX models for tests: messages by field number, a node a line.
#pragma once
#include <initializer_list>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "frontend/onnx_proto.h"

namespace floe {

class OnnxText {
 public:
  explicit OnnxText(int64_t opset = 17) {
    model_.add_int64(1, 8);
    std::string id;
    protozero::pbf_writer(id).add_int64(2, opset);
    model_.add_message(8, id);
  }

  // A dim below 0 has the name "n".
  OnnxText& input(const std::string& name, const std::vector<int64_t>& dims, int32_t type = 1) {
    return value(11, name, dims, type);
  }
  OnnxText& output(const std::string& name) { return value(12, name, {}, 1); }
  OnnxText& ints(const std::string& name, const std::vector<int64_t>& dims,
                 const std::vector<int64_t>& values) {
    std::string tensor;
    protozero::pbf_writer t(tensor);
    t.add_packed_int64(1, dims.begin(), dims.end());
    t.add_int32(2, 7);
    t.add_packed_int64(7, values.begin(), values.end());
    t.add_string(8, name);
    return raw(5, tensor);
  }
  OnnxText& floats(const std::string& name, const std::vector<int64_t>& dims,
                   const std::vector<float>& values) {
    std::string tensor;
    protozero::pbf_writer t(tensor);
    t.add_packed_int64(1, dims.begin(), dims.end());
    t.add_int32(2, 1);
    t.add_packed_float(4, values.begin(), values.end());
    t.add_string(8, name);
    return raw(5, tensor);
  }
  struct Attribute {
    const char* name;
    int64_t value;
  };
  OnnxText& node(const std::string& op, const std::vector<std::string>& inputs,
                 const std::vector<std::string>& outputs, std::initializer_list<Attribute> attributes = {}) {
    std::string text;
    protozero::pbf_writer n(text);
    for (const std::string& name : inputs) n.add_string(1, name);
    for (const std::string& name : outputs) n.add_string(2, name);
    n.add_string(3, op + "_" + (outputs.empty() ? "" : outputs[0]));
    n.add_string(4, op);
    for (const Attribute& a : attributes) {
      std::string attribute;
      protozero::pbf_writer w(attribute);
      w.add_string(1, a.name);
      w.add_int64(3, a.value);
      w.add_int32(20, 2);
      n.add_message(5, attribute);
    }
    return raw(1, text);
  }
  OnnxText& raw(protozero::pbf_tag_type field, const std::string& message) {
    protozero::pbf_writer(graph_).add_message(field, message);
    return *this;
  }

  const std::string& graph() const { return graph_; }
  std::string bytes() const {
    std::string out = head_;
    protozero::pbf_writer(out).add_message(7, graph_);
    return out;
  }
  std::unique_ptr<OnnxModel> model() const { return parse_onnx(bytes(), "model.onnx"); }

 private:
  OnnxText& value(protozero::pbf_tag_type field, const std::string& name, const std::vector<int64_t>& dims,
                  int32_t type) {
    std::string shape, tensor, type_message, info;
    protozero::pbf_writer s(shape);
    for (const int64_t dim : dims) {
      std::string d;
      protozero::pbf_writer w(d);
      dim < 0 ? w.add_string(2, "n") : w.add_int64(1, dim);
      s.add_message(1, d);
    }
    protozero::pbf_writer t(tensor);
    t.add_int32(1, type);
    t.add_message(2, shape);
    protozero::pbf_writer(type_message).add_message(1, tensor);
    protozero::pbf_writer i(info);
    i.add_string(1, name);
    i.add_message(2, type_message);
    return raw(field, info);
  }

  std::string head_, graph_;
  protozero::pbf_writer model_{head_};
};

}  // namespace floe
