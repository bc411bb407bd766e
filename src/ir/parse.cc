// Reads what print() writes. One statement a line; every error carries the line.
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "ir/builder.h"
#include "ir/op.h"
#include "ir/print.h"

namespace floe {
namespace {

constexpr int kMaxDepth = 8;  // graphs inside graphs

class Parser {
 public:
  Parser(const OpTable& ops, std::string_view text) : ops_(ops), text_(text) {}

  Graph whole() {
    skip_blank();
    Graph graph = parse_graph(0);
    skip_blank();
    if (at_ != text_.size()) error("nothing expected after the graph");
    return graph;
  }

 private:
  [[noreturn]] void error(const std::string& what) const {
    size_t line = 1;
    size_t start = 0;
    for (size_t i = 0; i < at_ && i < text_.size(); ++i) {
      if (text_[i] == '\n') {
        ++line;
        start = i + 1;
      }
    }
    const size_t end = std::min(text_.find('\n', start), text_.size());
    fail_user("graph text, line {}: {}: '{}'", line, what, text_.substr(start, end - start));
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  void skip_blank() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool take(std::string_view word) {
    skip_space();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  void expect(std::string_view word) {
    if (!take(word)) error(fmt::format("'{}' expected", word));
  }
  std::string name() {
    skip_space();
    const size_t start = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_'))
      ++at_;
    if (start == at_) error("a name expected");
    return std::string(text_.substr(start, at_ - start));
  }
  int64_t integer() {
    skip_space();
    int64_t value = 0;
    const auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (code != std::errc()) error("a whole number expected");
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }
  std::string quoted() {
    expect("\"");
    std::string out;
    for (;;) {
      if (at_ >= text_.size() || text_[at_] == '\n') error("a string is not closed");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_ >= text_.size()) error("a string is not closed");
      const char escape = text_[at_++];
      switch (escape) {
        case 'n':
          out += '\n';
          break;
        case 't':
          out += '\t';
          break;
        case 'r':
          out += '\r';
          break;
        case 'x': {
          unsigned value = 0;
          if (at_ + 2 > text_.size() ||
              std::from_chars(text_.data() + at_, text_.data() + at_ + 2, value, 16).ptr !=
                  text_.data() + at_ + 2) {
            error("\\x needs two digits");
          }
          out += static_cast<char>(value);
          at_ += 2;
          break;
        }
        default:
          out += escape;
      }
    }
  }
  Value value(const std::map<int64_t, Value>& values) {
    expect("%");
    const int64_t id = integer();
    const auto found = values.find(id);
    if (found == values.end()) error(fmt::format("%{} is used before it is defined", id));
    return found->second;
  }
  // The text up to `close`, which is eaten; brackets may nest.
  std::string_view until(char open, char close) {
    const size_t start = at_;
    int depth = 1;
    while (at_ < text_.size() && text_[at_] != '\n') {
      const char c = text_[at_++];
      if (c == open) ++depth;
      if (c == close && --depth == 0) return text_.substr(start, at_ - 1 - start);
    }
    error(fmt::format("'{}' expected", close));
  }
  static std::vector<std::string_view> split(std::string_view list) {  // at commas outside brackets
    std::vector<std::string_view> parts;
    int depth = 0;
    size_t start = 0;
    for (size_t i = 0; i <= list.size(); ++i) {
      if (i == list.size() || (list[i] == ',' && depth == 0)) {
        const std::string_view part = list.substr(start, i - start);
        if (part.find_first_not_of(' ') != std::string_view::npos) parts.push_back(part);
        start = i + 1;
      } else if (list[i] == '(') {
        ++depth;
      } else if (list[i] == ')') {
        --depth;
      }
    }
    return parts;
  }
  // Runs `make`; its errors get the line.
  template <class Make>
  auto at_line(const Make& make) {
    try {
      return make();
    } catch (const Error& e) {
      error(e.what());
    }
  }
  Dims dims(std::string_view list) {
    Dims out;
    for (const std::string_view part : split(list)) out.push_back(at_line([&] { return Dim::parse(part); }));
    return out;
  }
  Type type() {
    Type result;
    result.dtype = dtype(name());
    expect("[");
    result.dims = dims(until('[', ']'));
    return result;
  }
  DType dtype(const std::string& text) {
    return at_line([&] { return parse_dtype(text); });
  }
  static std::string_view trim(std::string_view word) {
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    return word;
  }
  int64_t whole_number(std::string_view word) {
    word = trim(word);
    int64_t out = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), out);
    if (code == std::errc::result_out_of_range) error(fmt::format("'{}' does not fit 64 bits", word));
    if (code != std::errc() || end != word.data() + word.size())
      error(fmt::format("'{}' is not a whole number", word));
    return out;
  }
  double number(std::string_view word) {
    word = trim(word);
    if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
    if (word == "inf") return std::numeric_limits<double>::infinity();
    if (word == "-inf") return -std::numeric_limits<double>::infinity();
    double out = 0;
    const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), out);
    if (code == std::errc::result_out_of_range) error(fmt::format("'{}' does not fit a double", word));
    if (code != std::errc() || end != word.data() + word.size())
      error(fmt::format("'{}' is not a number", word));
    return out;
  }

  AttrValue attr() {
    skip_space();
    if (at_ >= text_.size()) error("a value expected");
    const char c = text_[at_];
    if (c == '"') return quoted();
    if (c == '[') {
      ++at_;
      std::vector<int64_t> numbers;
      for (const std::string_view part : split(until('[', ']'))) {
        numbers.push_back(whole_number(part));
      }
      return numbers;
    }
    if (c == '<') {
      ++at_;
      return dims(until('<', '>'));
    }
    if (c == '-' || std::isdigit(static_cast<unsigned char>(c)) != 0) {
      const size_t start = at_;
      while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                    text_[at_] == '.' || text_[at_] == '-' || text_[at_] == '+')) {
        ++at_;
      }
      const std::string_view word = text_.substr(start, at_ - start);
      if (word.find_first_of(".enf") == std::string_view::npos) {
        return whole_number(word);
      }
      return number(word);
    }
    const std::string word = name();
    if (word == "true") return true;
    if (word == "false") return false;
    if (word == "nan" || word == "inf") return number(word);
    if (word == "tensor") return tensor();
    return dtype(word);
  }

  static bool fits(DType type, double value) {
    switch (type) {
      case DType::i8:
        return value >= -128 && value <= 127;
      case DType::u8:
        return value >= 0 && value <= 255;
      case DType::i32:
        return value >= INT32_MIN && value <= INT32_MAX;
      case DType::boolean:
        return value == 0 || value == 1;
      default:  // finite numbers must not become infinite
        return !std::isfinite(value) || std::isfinite(round_to(type, value));
    }
  }

  AttrValue tensor() {
    const DType element = dtype(name());
    expect("[");
    Shape shape;
    for (const std::string_view part : split(until('[', ']'))) shape.push_back(whole_number(part));
    expect("{");
    const std::vector<std::string_view> parts = split(until('{', '}'));
    if (static_cast<int64_t>(parts.size()) != at_line([&] { return count(shape); })) {
      error(fmt::format("{} values for shape {}", parts.size(), text_of(shape)));
    }
    auto result = std::make_shared<Tensor>(element, shape);
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      if (element == DType::i64) {
        result->as<int64_t>()[i] = whole_number(parts[i]);
        continue;
      }
      const double value = is_float(element) ? number(parts[i]) : static_cast<double>(whole_number(parts[i]));
      if (!fits(element, value)) error(fmt::format("'{}' does not fit {}", trim(parts[i]), name_of(element)));
      result->set(at, value);
    }
    return TensorPtr(result);
  }

  Graph parse_graph(int depth) {
    if (depth > kMaxDepth) error("graphs are nested too deeply");
    expect("graph");
    Graph graph(ops_, quoted());
    expect("{");
    Builder builder(graph);
    std::map<int64_t, Value> values;
    for (;;) {
      skip_blank();
      if (take("}")) return graph;
      if (take("dim ")) {
        const std::string symbol = name();
        SymbolInfo info;
        expect("in");
        info.min = integer();
        expect("..");
        info.max = integer();
        if (take("multiple")) info.multiple = integer();
        at_line([&] { return graph.symbols().declare(symbol, info); });
      } else if (take("update ")) {
        const std::string state = quoted();
        expect("=");
        add_update(graph, state, value(values));
      } else if (take("return ")) {
        const std::string output = quoted();
        expect("=");
        if (named(graph.outputs(), output)) error(fmt::format("output '{}' occurs twice", output));
        graph.add_output(output, value(values));
      } else {
        parse_node(graph, builder, &values, depth);
      }
    }
  }

  static Value named(const std::vector<NamedValue>& list, const std::string& name) {
    for (const NamedValue& entry : list) {
      if (entry.name == name) return entry.value;
    }
    return {};
  }

  void add_update(Graph& graph, const std::string& name, Value value) {
    const Value state = named(graph.states(), name);
    if (!state) error(fmt::format("update of '{}', which is no state", name));
    if (named(graph.updates(), name)) error(fmt::format("update of '{}' occurs twice", name));
    if (!(graph.type(state) == graph.type(value))) {
      error(fmt::format("state '{}' is {}, its update {}", name, text_of(graph.type(state)),
                        text_of(graph.type(value))));
    }
    graph.add_update(name, value);
  }

  // What infer does not look at.
  void check_node(const Graph& graph, const Node& node) {
    for (const Type& type : node.types) {
      std::vector<std::string> names;
      for (const Dim& dim : type.dims) dim.collect_symbols(&names);
      for (const std::string& name : names) {
        if (!graph.symbols().has(name)) error(fmt::format("dim '{}' is not declared", name));
      }
    }
    for (const auto* list : {&graph.inputs(), &graph.states()}) {
      if (list->empty() || list->back().value != node.first) continue;
      if (named(*list, list->back().name) != node.first)
        error(fmt::format("{} '{}' occurs twice", node.op->name, list->back().name));
    }
  }

  void parse_node(Graph& graph, Builder& builder, std::map<int64_t, Value>* values, int depth) {
    std::vector<int64_t> results;
    do {
      expect("%");
      results.push_back(integer());
    } while (take(","));
    expect("=");
    const std::string op = name();
    Values inputs;
    if (take("(")) {
      if (!take(")")) {
        do {
          inputs.push_back(value(*values));
        } while (take(","));
        expect(")");
      }
    }
    Attrs attrs;
    if (take("{")) {
      if (!take("}")) {
        do {
          const std::string key = name();
          if (attrs.has(key)) error(fmt::format("attribute '{}' is given twice", key));
          expect("=");
          attrs.set(key, attr());
        } while (take(","));
        expect("}");
      }
    }
    expect(":");
    std::vector<Type> types;
    do {
      types.push_back(type());
    } while (take(","));
    builder.set_where(take("@") ? quoted() : "");
    std::shared_ptr<const Graph> body;
    if (take("body")) {
      skip_blank();
      body = std::make_shared<Graph>(parse_graph(depth + 1));
    }
    const Values got = at_line([&] { return builder.add_all(op, inputs, attrs, body); });
    if (got.size() != results.size() || got.size() != types.size()) {
      error(fmt::format("'{}' has {} results", op, got.size()));
    }
    for (size_t i = 0; i < got.size(); ++i) {
      if (!(graph.type(got[i]) == types[i])) {
        error(fmt::format("'{}' gives {}, the text says {}", op, text_of(graph.type(got[i])),
                          text_of(types[i])));
      }
      if (!values->emplace(results[i], got[i]).second) error(fmt::format("%{} is defined twice", results[i]));
    }
    if (!got.empty()) check_node(graph, graph.producer(got[0]));
  }

  const OpTable& ops_;
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Graph parse(const OpTable& ops, std::string_view text) { return Parser(ops, text).whole(); }

}  // namespace floe
