// Messages by the field numbers of onnx.proto. A field of another wire type than the format's is refused;
// fields that are not read are skipped.
#include "frontend/onnx_proto.h"

#include <algorithm>
#include <cstring>
#include <protozero/pbf_reader.hpp>

#include "base/error.h"

namespace floe {
namespace {

using protozero::pbf_wire_type;
using Reader = protozero::pbf_reader;

constexpr int kMaxDepth = 32;  // of graphs in attributes of nodes of graphs

class Field {
 public:
  explicit Field(Reader& reader) : r_(reader) {}

  uint32_t tag() const { return r_.tag(); }
  std::string_view view() {
    want(pbf_wire_type::length_delimited);
    const protozero::data_view v = r_.get_view();
    return {v.data(), v.size()};
  }
  std::string text() { return std::string(view()); }
  Reader message() {
    const std::string_view v = view();
    return {v.data(), v.size()};
  }
  int64_t integer() {
    want(pbf_wire_type::varint);
    return r_.get_int64();
  }
  float number() {
    want(pbf_wire_type::fixed32);
    return r_.get_float();
  }
  // Repeated numbers come packed or one by one.
  void integers(std::vector<int64_t>* to) {
    if (r_.wire_type() == pbf_wire_type::varint) {
      to->push_back(r_.get_int64());
      return;
    }
    want(pbf_wire_type::length_delimited);
    for (const int64_t value : r_.get_packed_int64()) to->push_back(value);
  }
  template <class T>
  void numbers(std::vector<T>* to) {
    constexpr pbf_wire_type kOne = sizeof(T) == 4 ? pbf_wire_type::fixed32 : pbf_wire_type::fixed64;
    if (r_.wire_type() == kOne) {
      to->push_back(static_cast<T>(sizeof(T) == 4 ? r_.get_float() : r_.get_double()));
      return;
    }
    const std::string_view bytes = view();
    if (bytes.size() % sizeof(T) != 0) fail_user("a list of numbers ends inside a number");
    const size_t old = to->size(), n = bytes.size() / sizeof(T);
    to->resize(old + n);
    if (n > 0) std::memcpy(to->data() + old, bytes.data(), bytes.size());
  }
  void skip() { r_.skip(); }

 private:
  void want(pbf_wire_type type) const {
    if (r_.wire_type() != type) {
      fail_user("field {} has wire type {} instead of {}", r_.tag(), static_cast<int>(r_.wire_type()),
                static_cast<int>(type));
    }
  }
  Reader& r_;
};

template <class F>
void each_field(Reader reader, F f) {
  while (reader.next()) {
    Field field(reader);
    f(field);
  }
}

OnnxTensor read_tensor(const Reader& message) {
  OnnxTensor t;
  each_field(message, [&](Field& f) {
    switch (f.tag()) {
      case 1:
        return f.integers(&t.dims);
      case 2:
        t.type = static_cast<int32_t>(f.integer());
        return;
      case 4:
        return f.numbers(&t.floats);
      case 5:
      case 7:
      case 11:
        return f.integers(&t.ints);
      case 8:
        t.name = f.text();
        return;
      case 9:
        t.raw = f.view();
        t.has_raw = true;
        return;
      case 10:
        return f.numbers(&t.doubles);
      case 13: {
        std::string key, value;
        each_field(f.message(), [&](Field& g) {
          if (g.tag() == 1) {
            key = g.text();
          } else if (g.tag() == 2) {
            value = g.text();
          } else {
            g.skip();
          }
        });
        t.external_data[key] = value;
        return;
      }
      case 14:
        t.external = f.integer() == 1;
        return;
      default:
        f.skip();
    }
  });
  return t;
}

OnnxGraph read_graph(const Reader& message, int depth);

OnnxAttribute read_attribute(const Reader& message, int depth) {
  OnnxAttribute a;
  int64_t kind = 0;
  each_field(message, [&](Field& f) {
    switch (f.tag()) {
      case 1:
        a.name = f.text();
        return;
      case 2:
        a.f = f.number();
        return;
      case 3:
        a.i = f.integer();
        return;
      case 4:
        a.s = f.text();
        return;
      case 5:
        a.t = std::make_shared<OnnxTensor>(read_tensor(f.message()));
        return;
      case 6:
        a.g = std::make_shared<OnnxGraph>(read_graph(f.message(), depth + 1));
        return;
      case 7:
        return f.numbers(&a.floats);
      case 8:
        return f.integers(&a.ints);
      case 9:
        a.strings.push_back(f.text());
        return;
      case 20:
        kind = f.integer();
        return;
      case 21:
        a.reference = f.text();
        return;
      default:
        f.skip();
    }
  });
  a.kind = kind >= 0 && kind <= 8 ? static_cast<OnnxAttribute::Kind>(kind) : OnnxAttribute::Kind::other;
  const bool empty = (a.kind == OnnxAttribute::Kind::t && !a.t) || (a.kind == OnnxAttribute::Kind::g && !a.g);
  if (empty && a.reference.empty()) fail_user("attribute '{}' has no value", a.name);
  return a;
}

OnnxNode read_node(const Reader& message, int depth) {
  OnnxNode n;
  each_field(message, [&](Field& f) {
    switch (f.tag()) {
      case 1:
        n.inputs.push_back(f.text());
        return;
      case 2:
        n.outputs.push_back(f.text());
        return;
      case 3:
        n.name = f.text();
        return;
      case 4:
        n.op = f.text();
        return;
      case 5:
        n.attributes.push_back(read_attribute(f.message(), depth));
        return;
      case 7:
        n.domain = f.text();
        return;
      default:
        f.skip();
    }
  });
  if (n.domain == "ai.onnx") n.domain.clear();
  return n;
}

OnnxValue read_value(const Reader& message) {
  OnnxValue v;
  const auto dim = [&](Field& f) {
    OnnxDim d;
    each_field(f.message(), [&](Field& g) {
      if (g.tag() == 1) {
        d.value = g.integer();
        d.known = true;
      } else if (g.tag() == 2) {
        d.name = g.text();
      } else {
        g.skip();
      }
    });
    v.dims.push_back(std::move(d));
  };
  const auto shape = [&](Field& f) {
    v.has_shape = true;
    each_field(f.message(), [&](Field& g) { g.tag() == 1 ? dim(g) : g.skip(); });
  };
  const auto tensor = [&](Field& f) {
    v.is_tensor = true;
    each_field(f.message(), [&](Field& g) {
      if (g.tag() == 1) {
        v.type = static_cast<int32_t>(g.integer());
      } else {
        g.tag() == 2 ? shape(g) : g.skip();
      }
    });
  };
  each_field(message, [&](Field& f) {
    if (f.tag() == 1) {
      v.name = f.text();
    } else if (f.tag() == 2) {
      each_field(f.message(), [&](Field& g) { g.tag() == 1 ? tensor(g) : g.skip(); });
    } else {
      f.skip();
    }
  });
  return v;
}

OnnxGraph read_graph(const Reader& message, int depth) {
  if (depth > kMaxDepth) fail_user("graphs lie more than {} deep in one another", kMaxDepth);
  OnnxGraph g;
  each_field(message, [&](Field& f) {
    switch (f.tag()) {
      case 1:
        g.nodes.push_back(read_node(f.message(), depth));
        return;
      case 2:
        g.name = f.text();
        return;
      case 5:
        g.initializers.push_back(read_tensor(f.message()));
        return;
      case 11:
        g.inputs.push_back(read_value(f.message()));
        return;
      case 12:
        g.outputs.push_back(read_value(f.message()));
        return;
      case 15:
        g.sparse = true;
        return f.skip();
      default:
        f.skip();
    }
  });
  return g;
}

void read_opset(Field& f, std::map<std::string, int64_t>* opsets) {
  std::string domain;
  int64_t version = 0;
  each_field(f.message(), [&](Field& g) {
    if (g.tag() == 1) {
      domain = g.text();
    } else if (g.tag() == 2) {
      version = g.integer();
    } else {
      g.skip();
    }
  });
  (*opsets)[domain == "ai.onnx" ? "" : domain] = version;
}

OnnxFunction read_function(const Reader& message) {
  OnnxFunction fn;
  each_field(message, [&](Field& f) {
    switch (f.tag()) {
      case 1:
        fn.name = f.text();
        return;
      case 4:
        fn.inputs.push_back(f.text());
        return;
      case 5:
        fn.outputs.push_back(f.text());
        return;
      case 7:
        fn.nodes.push_back(read_node(f.message(), 1));
        return;
      case 9:
        return read_opset(f, &fn.opsets);
      case 10:
        fn.domain = f.text();
        return;
      case 11:
        fn.defaults.push_back(read_attribute(f.message(), 1));
        return;
      default:
        f.skip();
    }
  });
  return fn;
}

template <class F>
void guarded(const std::string& path, F f) {
  try {
    f();
  } catch (const protozero::exception& e) {
    fail_user("{}: damaged or cut short, no ONNX file ({})", path, e.what());
  } catch (const Error& e) {
    throw Error(e.kind(), fmt::format("{}: {}", path, e.what()));
  }
}

}  // namespace

const OnnxAttribute* OnnxNode::find(std::string_view attribute) const {
  const auto at = std::ranges::find(attributes, attribute, &OnnxAttribute::name);
  return at == attributes.end() ? nullptr : &*at;
}

std::unique_ptr<OnnxModel> parse_onnx(std::string bytes, std::string path) {
  auto model = std::make_unique<OnnxModel>();
  model->bytes = std::move(bytes);
  model->path = std::move(path);
  bool has_graph = false;
  guarded(model->path, [&] {
    each_field(Reader(model->bytes.data(), model->bytes.size()), [&](Field& f) {
      switch (f.tag()) {
        case 7:
          model->graph = read_graph(f.message(), 0);
          has_graph = true;
          return;
        case 8:
          return read_opset(f, &model->opsets);
        case 25:
          model->functions.push_back(read_function(f.message()));
          return;
        default:
          f.skip();
      }
    });
    if (!has_graph) fail_user("holds no graph, no ONNX model");
  });
  return model;
}

OnnxTensor parse_onnx_tensor(std::string_view bytes, const std::string& path) {
  OnnxTensor t;
  guarded(path, [&] { t = read_tensor(Reader(bytes.data(), bytes.size())); });
  return t;
}

}  // namespace floe
