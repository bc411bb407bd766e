#include "compile/cpp_steps.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "compile/cpp_text.h"
#include "compile/print_cpp.h"

namespace floe {
namespace {

using Names = std::vector<std::string>;

struct Printer {
  const CppStep& step;
  CppText& text;

  const View& x(size_t k) const { return step.inputs[k]; }
  const View& y(size_t k = 0) const { return step.outputs[k]; }
  std::string in(size_t k, const Names& indices) const {
    return fmt::format("x{}[{}]", k, cpp_offset(x(k), indices));
  }
  std::string out(const Names& indices, size_t k = 0) const {
    return fmt::format("y{}[{}]", k, cpp_offset(y(k), indices));
  }
  int64_t axis(const View& view) const {
    const int64_t axis = step.attrs.integer("axis");
    return axis < 0 ? axis + view.rank : axis;
  }
  double number(std::string_view name) const { return step.attrs.number(name); }
};

std::string exact(double value) { return fmt::format("{:.17g}", value); }
std::string plus(const std::string& index, int64_t begin) {
  return begin == 0 ? index : fmt::format("{} + {}", index, begin);
}

void print_copy(Printer& p) {
  const Names i = p.text.loops(p.y());
  p.text.line(fmt::format("{} = {};", p.out(i), p.in(0, i)));
  p.text.close(i.size());
}

void print_slice(Printer& p) {
  const Names i = p.text.loops(p.y());
  Names from = i;
  std::string& along = from[static_cast<size_t>(p.axis(p.y()))];
  along = plus(along, p.step.attrs.integers("begin")[0]);
  p.text.line(fmt::format("{} = {};", p.out(i), p.in(0, from)));
  p.text.close(i.size());
}

void print_concat(Printer& p) {
  const int64_t axis = p.axis(p.y());
  int64_t begin = 0;
  for (size_t k = 0; k < p.step.inputs.size(); ++k) {
    const Names i = p.text.loops(p.x(k));
    Names to = i;
    std::string& along = to[static_cast<size_t>(axis)];
    along = plus(along, begin);
    p.text.line(fmt::format("{} = {};", p.out(to), p.in(k, i)));
    p.text.close(i.size());
    begin += p.x(k).dim(static_cast<int>(axis));
  }
}

void print_transpose(Printer& p) {
  const std::vector<int64_t>& perm = p.step.attrs.integers("perm");
  const Names i = p.text.loops(p.y());
  Names from(i.size());
  for (size_t k = 0; k < i.size(); ++k) from[static_cast<size_t>(perm[k])] = i[k];
  p.text.line(fmt::format("{} = {};", p.out(i), p.in(0, from)));
  p.text.close(i.size());
}

void print_iota(Printer& p) {
  const Names i = p.text.loops(p.y());
  p.text.line(fmt::format("{} = static_cast<int>({});", p.out(i),
                          plus(i[static_cast<size_t>(p.axis(p.y()))], p.step.attrs.integers("start")[0])));
  p.text.close(i.size());
}

void print_matmul(Printer& p) {
  const View& a = p.x(0);
  const bool ta = p.step.attrs.flag("transpose_a", false), tb = p.step.attrs.flag("transpose_b", false);
  const Names i = p.text.loops(p.y());
  const std::string &row = i[i.size() - 2], &column = i[i.size() - 1];
  Names at_a(i.begin(), i.end() - 2), at_b;
  if (p.x(1).rank > 2) at_b = at_a;
  at_a.insert(at_a.end(), {ta ? "k" : row, ta ? row : "k"});
  at_b.insert(at_b.end(), {tb ? column : "k", tb ? "k" : column});
  p.text.line("double sum = 0;");
  p.text.loop("k", a.dim(ta ? -2 : -1));
  p.text.line(fmt::format("sum += static_cast<double>({}) * {};", p.in(0, at_a), p.in(1, at_b)));
  p.text.close();
  p.text.line(fmt::format("{} = static_cast<float>(sum);", p.out(i)));
  p.text.close(i.size());
}

std::string lowest(DType type) {
  switch (type) {
    case DType::f32:
      return "-__builtin_inff()";
    case DType::i8:
      return "-128";
    case DType::u8:
      return "0";
    case DType::i32:
      return "-2147483647 - 1";
    default:
      return "-9223372036854775807ll - 1";
  }
}

void print_reduce(Printer& p) {
  const View& x = p.x(0);
  std::vector<bool> reduced(static_cast<size_t>(x.rank), false);
  for (const int64_t axis : p.step.attrs.integers("axes"))
    reduced[static_cast<size_t>(axis < 0 ? axis + x.rank : axis)] = true;
  const bool is_sum = p.step.op == "reduce_sum", is_float = x.dtype == DType::f32;
  const std::string type = cpp_type(x.dtype);
  Names i, to;
  for (size_t k = 0; k < reduced.size(); ++k) {
    i.push_back(fmt::format("i{}", k));
    if (reduced[k]) {
      if (p.step.attrs.flag("keep", false)) to.emplace_back("0");
      continue;
    }
    p.text.loop(i[k], x.dims[k]);
    to.push_back(i[k]);
  }
  const char* wide = is_float ? "double" : "unsigned long long";
  if (is_sum) {
    p.text.line(fmt::format("{} sum = 0;", wide));
  } else {
    p.text.line(fmt::format("{} top = {};", type, lowest(x.dtype)));
  }
  size_t inner = 0;
  for (size_t k = 0; k < reduced.size(); ++k) {
    if (!reduced[k]) continue;
    p.text.loop(i[k], x.dims[k]);
    ++inner;
  }
  if (is_sum) {
    p.text.line(fmt::format("sum += static_cast<{}>({});", wide, p.in(0, i)));
  } else {
    p.text.line(fmt::format("const {} value = {};", type, p.in(0, i)));
    p.text.line("if (!(top >= value) && top == top) top = value;  // NaN wins");
  }
  p.text.close(inner);
  p.text.line(fmt::format("{} = static_cast<{}>({});", p.out(to), type, is_sum ? "sum" : "top"));
  p.text.close(i.size() - inner);
}

void print_sum_squares(Printer& p) {
  p.text.line("double sum = 0;");
  for (size_t k = 0; k < p.step.inputs.size(); ++k) {
    const Names i = p.text.loops(p.x(k));
    p.text.line(fmt::format("sum += static_cast<double>({0}) * {0};", p.in(k, i)));
    p.text.close(i.size());
  }
  p.text.line("y0[0] = static_cast<float>(sum);");
}

void print_embedding(Printer& p) {
  const bool gradient = p.step.op == "embedding_grad";
  const size_t ids = gradient ? 0 : 1;
  const View& table = gradient ? p.y() : p.x(0);
  if (gradient) {
    const Names all = p.text.loops(table);
    p.text.line(fmt::format("{} = 0;", p.out(all)));
    p.text.close(all.size());
  }
  const Names i = p.text.loops(p.x(ids));
  Names token = i;
  token.emplace_back("j");
  p.text.line(fmt::format("const long long id = {};", p.in(ids, i)));
  p.text.line(fmt::format("if (id < 0 || id >= {}) return 1;", table.dim(0)));
  p.text.loop("j", table.dim(1));
  p.text.line(gradient ? fmt::format("{} += {};", p.out({"id", "j"}), p.in(1, token))
                       : fmt::format("{} = {};", p.out(token), p.in(0, {"id", "j"})));
  p.text.close(i.size() + 1);
}

void print_gather(Printer& p) {
  const View &x = p.x(0), &indices = p.x(1);
  const auto axis = static_cast<size_t>(p.axis(x));
  const Names i = p.text.loops(p.y());
  const auto many = static_cast<size_t>(indices.rank);
  const auto first = i.begin() + static_cast<int64_t>(axis);
  const Names at(first, first + static_cast<int64_t>(many));
  p.text.line(fmt::format("const long long at = {};", p.in(1, at)));
  p.text.line(fmt::format("if (at < 0 || at >= {}) return 1;", x.dims[axis]));
  Names from(i.begin(), first);
  from.emplace_back("at");
  from.insert(from.end(), first + static_cast<int64_t>(many), i.end());
  p.text.line(fmt::format("{} = {};", p.out(i), p.in(0, from)));
  p.text.close(i.size());
}

void print_scatter(Printer& p) {
  print_copy(p);
  const std::string& reduction = p.step.attrs.text("reduction");
  const Names i = p.text.loops(p.x(2));
  p.text.line(fmt::format("const long long at = {};", p.in(1, {i[0]})));
  p.text.line(fmt::format("if (at < 0 || at >= {}) return 1;", p.y().dims[0]));
  Names to = i;
  to[0] = "at";
  const std::string type = cpp_type(p.y().dtype);
  p.text.line(fmt::format("const {0} a = {1}, b = {2};", type, p.out(to), p.in(2, i)));
  const bool whole = p.y().dtype != DType::f32;
  const auto arithmetic = [&](const char* sign) {  // of integers unsigned, so that it wraps
    return whole ? fmt::format(
                       "static_cast<{0}>(static_cast<unsigned long long>(a) {1} "
                       "static_cast<unsigned long long>(b))",
                       type, sign)
                 : fmt::format("a {} b", sign);
  };
  const std::string value = reduction == "add"   ? arithmetic("+")
                            : reduction == "mul" ? arithmetic("*")
                            : reduction == "max" ? "a != a ? a : (a > b ? a : b)"
                            : reduction == "min" ? "a != a ? a : (a < b ? a : b)"
                                                 : "b";
  p.text.line(fmt::format("{} = {};", p.out(to), value));
  p.text.close(i.size());
}

// The arithmetic of the kernel, ops/adamw/adamw_cpu.cc.
void print_adamw(Printer& p) {
  const auto constant = [&](const char* name, double value) {
    p.text.line(fmt::format("const float {} = {};", name, cpp_literal(value)));
  };
  const double beta1 = p.number("beta1"), beta2 = p.number("beta2");
  const size_t scalars = p.step.inputs.size() - 4;
  p.text.line(fmt::format("const double lr = x{}[0], step = x{}[0];", scalars, scalars + 1));
  constant("beta1", beta1);
  constant("rest1", 1 - beta1);
  constant("beta2", beta2);
  constant("rest2", 1 - beta2);
  constant("eps", p.number("eps"));
  p.text.line(fmt::format("const float rate = static_cast<float>(lr / (1 - __builtin_pow({}, step)));",
                          exact(beta1)));
  p.text.line(
      fmt::format("const float size = static_cast<float>(1 / __builtin_sqrt(1 - __builtin_pow({}, step)));",
                  exact(beta2)));
  p.text.line(fmt::format("const float scale = x{}[0];", scalars + 2));
  p.text.line(fmt::format("const bool skip = x{}[0] != 0;", scalars + 3));
  const bool all_decay = !p.step.attrs.has("decayed");
  for (size_t k = 0; k < scalars / 4; ++k) {
    const bool decays =
        all_decay || std::ranges::count(p.step.attrs.integers("decayed"), static_cast<int64_t>(k)) > 0;
    p.text.open(fmt::format("/* parameter {} */", k));
    p.text.line(fmt::format("const float decay = static_cast<float>(1 - lr * {});",
                            exact(decays ? p.number("weight_decay") : 0)));
    const size_t x = k * 4, y = k * 3;
    const Names i = p.text.loops(p.y(y));
    p.text.line(fmt::format("const float old = {}, old_m = {}, old_v = {};", p.in(x, i), p.in(x + 2, i),
                            p.in(x + 3, i)));
    p.text.line(fmt::format("const float g = {} * scale;", p.in(x + 1, i)));
    p.text.line("const float m = old_m * beta1 + g * rest1;");
    p.text.line("const float v = old_v * beta2 + (g * g) * rest2;");
    p.text.line("const float root = __builtin_sqrtf(v) * size + eps;");
    p.text.line(fmt::format("{} = skip ? old : old * decay - (m * rate) / root;", p.out(i, y)));
    p.text.line(fmt::format("{} = skip ? old_m : m;", p.out(i, y + 1)));
    p.text.line(fmt::format("{} = skip ? old_v : v;", p.out(i, y + 2)));
    p.text.close(i.size() + 1);
  }
}

void print_rope(Printer& p) {
  const int64_t width = p.x(0).dim(3);
  const bool interleaved = p.step.attrs.flag("interleaved");
  for (int k = 0; k < 3; ++k) p.text.loop(fmt::format("i{}", k), p.x(0).dim(k));
  p.text.loop("i3", width / 2);
  p.text.line(fmt::format("const double rate = __builtin_pow({}, -2.0 * static_cast<double>(i3) / {});",
                          exact(p.number("base")), width));
  p.text.line(fmt::format("const double angle = {}{} * rate;", p.step.attrs.flag("inverse") ? "-1.0 * " : "",
                          p.in(1, {"i0", "i1"})));
  p.text.line("const double c = __builtin_cos(angle), s = __builtin_sin(angle);");
  const Names first{"i0", "i1", "i2", interleaved ? "2 * i3" : "i3"};
  const Names second{"i0", "i1", "i2", interleaved ? "2 * i3 + 1" : fmt::format("i3 + {}", width / 2)};
  p.text.line(fmt::format("const double a = {}, b = {};", p.in(0, first), p.in(0, second)));
  p.text.line(fmt::format("{} = static_cast<float>(a * c - b * s);", p.out(first)));
  p.text.line(fmt::format("{} = static_cast<float>(a * s + b * c);", p.out(second)));
  p.text.close(4);
}

// Each place takes the best of what lies after the place before it: a smaller value, or an equal one further
// on. NaN is never taken.
void print_top_k(Printer& p) {
  const int64_t n = p.x(0).dim(-1);
  Names i;
  for (int k = 0; k + 1 < p.y().rank; ++k) {
    i.push_back(fmt::format("i{}", k));
    p.text.loop(i.back(), p.y().dim(k));
  }
  const auto with = [&](const char* last) {
    Names names = i;
    names.emplace_back(last);
    return names;
  };
  p.text.line("long long before = -1;");
  p.text.loop("j", p.y().dim(-1));
  p.text.line("long long best = -1;");
  p.text.loop("k", n);
  p.text.line(fmt::format("const float value = {};", p.in(0, with("k"))));
  p.text.line("if (value != value) continue;");
  p.text.open("if (j > 0)");
  p.text.line(
      fmt::format("const float last = before < {} ? {} : -__builtin_inff();", n, p.in(0, with("before"))));
  p.text.line("if (!(value < last || (value == last && k > before))) continue;");
  p.text.close();
  p.text.line(fmt::format("if (best < 0 || value > {}) best = k;", p.in(0, with("best"))));
  p.text.close();
  p.text.line(
      fmt::format("{} = best < 0 ? -__builtin_inff() : {};", p.out(with("j"), 0), p.in(0, with("best"))));
  p.text.line(fmt::format("{} = static_cast<int>(best);", p.out(with("j"), 1)));
  p.text.line(fmt::format("before = best < 0 ? {} : best;", n));
  p.text.close(i.size() + 1);
}

void print_cache_append(Printer& p) {
  const int64_t block = p.x(0).dim(1);
  print_copy(p);
  p.text.loop("r", p.x(1).dim(0));
  p.text.loop("t", p.x(1).dim(1));
  p.text.line(fmt::format("const long long at = {} + t;", p.in(3, {"r"})));
  p.text.line(fmt::format("if (at < 0 || at >= {}) return 1;", p.x(2).dim(1) * block));
  p.text.line(fmt::format("const long long slot = {};", p.in(2, {"r", fmt::format("at / {}", block)})));
  p.text.line("if (slot == -1) continue;");
  p.text.line(fmt::format("if (slot < 0 || slot >= {}) return 1;", p.x(0).dim(0)));
  p.text.loop("h", p.x(1).dim(2));
  p.text.loop("d", p.x(1).dim(3));
  p.text.line(fmt::format("{} = {};", p.out({"slot", fmt::format("at % {}", block), "h", "d"}),
                          p.in(1, {"r", "t", "h", "d"})));
  p.text.close(4);
}

using Print = void (*)(Printer&);
const std::map<std::string, Print, std::less<>>& rows() {
  static const std::map<std::string, Print, std::less<>> rows = {
      {"copy", print_copy},
      {"slice", print_slice},
      {"concat", print_concat},
      {"transpose", print_transpose},
      {"iota", print_iota},
      {"matmul", print_matmul},
      {"reduce_sum", print_reduce},
      {"reduce_max", print_reduce},
      {"sum_squares", print_sum_squares},
      {"embedding", print_embedding},
      {"embedding_grad", print_embedding},
      {"adamw", print_adamw},
      {"rope", print_rope},
      {"top_k", print_top_k},
      {"cache_append", print_cache_append},
      {"gather", print_gather},
      {"scatter", print_scatter},
  };
  return rows;
}

}  // namespace

std::string cpp_step(std::string_view name, const CppStep& step) {
  if (step.op == "group") {
    return cpp_group(name, *step.attrs.tape("tape"), step.inputs, step.outputs, Linkage::internal);
  }
  const auto row = rows().find(step.op);
  FLOE_CHECK(row != rows().end(), "no C++ for op '{}'", step.op);
  CppText text;
  cpp_operands(text, step.inputs, step.outputs);
  Printer printer{step, text};
  row->second(printer);
  return fmt::format("static int {}(const void* const* inputs, void* const* outputs) {{\n{}  return 0;\n}}\n",
                     name, text.text());
}

}  // namespace floe
