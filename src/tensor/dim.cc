#include "tensor/dim.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace floe {

// A variable (op empty) or a division of two polynomials; compared by its text, which is canonical.
struct Dim::Atom {
  std::string text;
  std::string op;  // "", "floordiv" or "mod"
  Dim a;
  Dim b;
};

namespace {

// Every coefficient lies in -INT64_MAX..INT64_MAX, so that its negative does too.
int64_t fits(bool overflow, int64_t value) {
  if (overflow || value == INT64_MIN) fail_user("a size does not fit 64 bits");
  return value;
}

int64_t add(int64_t a, int64_t b) {
  int64_t sum = 0;
  const bool overflow = __builtin_add_overflow(a, b, &sum);
  return fits(overflow, sum);
}

int64_t multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  const bool overflow = __builtin_mul_overflow(a, b, &product);
  return fits(overflow, product);
}

int64_t floor_div_int(int64_t a, int64_t b) {
  if (b == -1) return multiply(a, b);
  const int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

int64_t modulo_int(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;
}

// Products of sums grow fast; no model comes near this.
constexpr size_t kMaxTerms = 4096;

}  // namespace

Dim::Dim(int64_t value) {
  if (value != 0) terms_.push_back({{}, fits(false, value)});
}

Dim Dim::symbol(std::string_view name) {
  Dim dim;
  auto atom = std::make_shared<Atom>();
  atom->text = std::string(name);
  dim.terms_.push_back({{std::move(atom)}, 1});
  return dim;
}

bool Dim::is_constant() const { return terms_.empty() || (terms_.size() == 1 && terms_[0].atoms.empty()); }

int64_t Dim::constant() const {
  FLOE_CHECK(is_constant(), "size {} is not a number", text());
  return terms_.empty() ? 0 : terms_[0].coefficient;
}

bool Dim::is_symbol(std::string_view* name) const {
  if (terms_.size() != 1 || terms_[0].coefficient != 1 || terms_[0].atoms.size() != 1) return false;
  if (!terms_[0].atoms[0]->op.empty()) return false;
  if (name != nullptr) *name = terms_[0].atoms[0]->text;
  return true;
}

Dim Dim::from_terms(std::vector<Term> terms) {
  const auto less = [](const Term& x, const Term& y) {
    return std::lexicographical_compare(x.atoms.begin(), x.atoms.end(), y.atoms.begin(), y.atoms.end(),
                                        [](const AtomPtr& p, const AtomPtr& q) { return p->text < q->text; });
  };
  // Higher degree first reads best: "B*S + 3".
  std::sort(terms.begin(), terms.end(), [&](const Term& x, const Term& y) {
    if (x.atoms.size() != y.atoms.size()) return x.atoms.size() > y.atoms.size();
    return less(x, y);
  });
  Dim result;
  for (Term& term : terms) {
    if (!result.terms_.empty() && !less(result.terms_.back(), term) && !less(term, result.terms_.back()) &&
        result.terms_.back().atoms.size() == term.atoms.size()) {
      result.terms_.back().coefficient = add(result.terms_.back().coefficient, term.coefficient);
    } else {
      result.terms_.push_back(std::move(term));
    }
  }
  std::erase_if(result.terms_, [](const Term& term) { return term.coefficient == 0; });
  return result;
}

Dim Dim::operator+(const Dim& other) const {
  std::vector<Term> terms = terms_;
  terms.insert(terms.end(), other.terms_.begin(), other.terms_.end());
  return from_terms(std::move(terms));
}

Dim Dim::operator-(const Dim& other) const { return *this + other * Dim(-1); }

Dim Dim::operator*(const Dim& other) const {
  if (terms_.size() * other.terms_.size() > kMaxTerms) fail_user("a size has more than {} terms", kMaxTerms);
  std::vector<Term> terms;
  for (const Term& x : terms_) {
    for (const Term& y : other.terms_) {
      Term term{x.atoms, multiply(x.coefficient, y.coefficient)};
      term.atoms.insert(term.atoms.end(), y.atoms.begin(), y.atoms.end());
      std::sort(term.atoms.begin(), term.atoms.end(),
                [](const AtomPtr& p, const AtomPtr& q) { return p->text < q->text; });
      terms.push_back(std::move(term));
    }
  }
  return from_terms(std::move(terms));
}

bool Dim::operator==(const Dim& other) const {
  return std::equal(terms_.begin(), terms_.end(), other.terms_.begin(), other.terms_.end(),
                    [](const Term& x, const Term& y) {
                      return x.coefficient == y.coefficient &&
                             std::equal(
                                 x.atoms.begin(), x.atoms.end(), y.atoms.begin(), y.atoms.end(),
                                 [](const AtomPtr& p, const AtomPtr& q) { return p->text == q->text; });
                    });
}

Dim Dim::division(const char* op, const Dim& a, const Dim& b) {
  auto atom = std::make_shared<Atom>();
  atom->op = op;
  atom->a = a;
  atom->b = b;
  atom->text = fmt::format("{}({}, {})", op, a.text(), b.text());
  Dim dim;
  dim.terms_.push_back({{std::move(atom)}, 1});
  return dim;
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (b == Dim(0)) fail_user("size {} divided by zero", a.text());
  if (a.is_constant() && b.is_constant()) return Dim(floor_div_int(a.constant(), b.constant()));
  if (b.terms_.size() == 1) {  // a monomial that divides every term divides exactly
    const Dim::Term& divisor = b.terms_[0];
    std::vector<Dim::Term> quotient;
    for (const Dim::Term& term : a.terms_) {
      if (term.coefficient % divisor.coefficient != 0) break;
      Dim::Term rest{term.atoms, term.coefficient / divisor.coefficient};
      bool divides = true;
      for (const auto& atom : divisor.atoms) {
        const auto at = std::find_if(rest.atoms.begin(), rest.atoms.end(),
                                     [&](const auto& other) { return other->text == atom->text; });
        if (at == rest.atoms.end()) {
          divides = false;
          break;
        }
        rest.atoms.erase(at);
      }
      if (!divides) break;
      quotient.push_back(std::move(rest));
    }
    if (quotient.size() == a.terms_.size()) return Dim::from_terms(std::move(quotient));
  }
  return Dim::division("floordiv", a, b);
}

Dim modulo(const Dim& a, const Dim& b) {
  const Dim quotient = floor_div(a, b);
  Dim rest = a - quotient * b;
  if (rest.is_constant()) return rest;
  return Dim::division("mod", a, b);
}

Dim product(const Dims& dims) {
  Dim result(1);
  for (const Dim& dim : dims) result = result * dim;
  return result;
}

std::string Dim::text() const {
  if (terms_.empty()) return "0";
  std::string out;
  for (const Term& term : terms_) {
    int64_t coefficient = term.coefficient;
    if (!out.empty()) {
      out += coefficient < 0 ? " - " : " + ";
      coefficient = std::abs(coefficient);
    } else if (coefficient < 0 && !term.atoms.empty()) {
      out += "-";
      coefficient = -coefficient;
    }
    if (term.atoms.empty() || coefficient != 1) out += std::to_string(coefficient);
    for (size_t i = 0; i < term.atoms.size(); ++i) {
      if (i > 0 || coefficient != 1) out += "*";
      out += term.atoms[i]->text;
    }
  }
  return out;
}

std::string text_of(const Dims& dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i) out += (i > 0 ? ", " : "") + dims[i].text();
  return out + "]";
}

namespace {

// sum := product (('+'|'-') product)* ; product := factor ('*' factor)* ;
// factor := number | name | name '(' sum ',' sum ')' | '-' factor
class DimParser {
 public:
  explicit DimParser(std::string_view text) : text_(text) {}

  Dim whole() {
    const Dim dim = sum();
    space();
    if (at_ != text_.size()) fail_user("size '{}': unexpected '{}'", text_, text_.substr(at_));
    return dim;
  }

 private:
  void space() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool take(char c) {
    space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Dim sum() {
    Dim dim = term();
    for (;;) {
      if (take('+')) {
        dim = dim + term();
      } else if (take('-')) {
        dim = dim - term();
      } else {
        return dim;
      }
    }
  }
  Dim term() {
    Dim dim = factor();
    while (take('*')) dim = dim * factor();
    return dim;
  }
  Dim factor() {
    if (++depth_ > 64) fail_user("size '{}' is nested too deeply", text_);
    space();
    Dim result;
    if (take('-')) {
      result = factor() * Dim(-1);
    } else if (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
      int64_t value = 0;
      while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text_[at_++] - '0', &value)) {
          fail_user("size '{}' is too large", text_);
        }
      }
      result = Dim(value);
    } else {
      const size_t start = at_;
      while (at_ < text_.size() &&
             (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_'))
        ++at_;
      if (start == at_)
        fail_user("size '{}': a number or a name expected at '{}'", text_, text_.substr(start));
      const std::string_view name = text_.substr(start, at_ - start);
      if (take('(')) {
        const Dim a = sum();
        if (!take(',')) fail_user("size '{}': ',' expected", text_);
        const Dim b = sum();
        if (!take(')')) fail_user("size '{}': ')' expected", text_);
        if (name == "floordiv") {
          result = floor_div(a, b);
        } else if (name == "mod") {
          result = modulo(a, b);
        } else {
          fail_user("size '{}': unknown function '{}'", text_, name);
        }
      } else {
        result = Dim::symbol(name);
      }
    }
    --depth_;
    return result;
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Dim Dim::parse(std::string_view text) { return DimParser(text).whole(); }

int64_t Dim::evaluate(const Binding& binding) const {
  int64_t total = 0;
  for (const Term& term : terms_) {
    int64_t value = term.coefficient;
    for (const AtomPtr& atom : term.atoms) {
      int64_t factor = 0;
      if (atom->op.empty()) {
        const auto found = binding.find(atom->text);
        if (found == binding.end()) fail_user("size {} needs a value for '{}'", text(), atom->text);
        factor = found->second;
      } else {
        const int64_t a = atom->a.evaluate(binding);
        const int64_t b = atom->b.evaluate(binding);
        if (b == 0) fail_user("size {} divides by zero", text());
        factor = atom->op == "mod" ? modulo_int(a, b) : floor_div_int(a, b);
      }
      if (__builtin_mul_overflow(value, factor, &value)) fail_user("size {} does not fit 64 bits", text());
    }
    if (__builtin_add_overflow(total, value, &total)) fail_user("size {} does not fit 64 bits", text());
  }
  return total;
}

void Dim::collect_symbols(std::vector<std::string>* names) const {
  for (const Term& term : terms_) {
    for (const AtomPtr& atom : term.atoms) {
      if (atom->op.empty()) {
        if (std::find(names->begin(), names->end(), atom->text) == names->end()) names->push_back(atom->text);
      } else {
        atom->a.collect_symbols(names);
        atom->b.collect_symbols(names);
      }
    }
  }
}

Dim SymbolTable::declare(std::string_view name, SymbolInfo info) {
  if (info.min > info.max || info.multiple < 1 || info.min < 0) {
    fail_user("dim '{}': bounds {}..{} with multiple {} are impossible", name, info.min, info.max,
              info.multiple);
  }
  const auto [at, added] = infos_.emplace(std::string(name), info);
  if (!added && at->second != info) fail_user("dim '{}' is declared twice with other bounds", name);
  return Dim::symbol(name);
}

// A number that divides `dim` whatever the symbols are; 0 when dim is 0.
int64_t SymbolTable::divisor(const Dim& dim) const {
  int64_t common = 0;
  for (const Dim::Term& term : dim.terms_) {
    int64_t divides = term.coefficient;
    for (const auto& atom : term.atoms) {
      const auto found = infos_.find(atom->text);
      if (!atom->op.empty() || found == infos_.end()) continue;
      int64_t product = 0;  // a divisor too many is worth less than an overflow
      if (!__builtin_mul_overflow(divides, found->second.multiple, &product)) divides = product;
    }
    common = std::gcd(common, divides);
  }
  return common;
}

SymbolTable::Range SymbolTable::range(const Dim& dim) const {
  Range total{0, 0};
  double largest = 0;
  for (const Dim::Term& term : dim.terms_) {
    Range value{1, 1};
    for (const auto& atom : term.atoms) {
      Range factor{};
      if (atom->op.empty()) {
        const auto found = infos_.find(atom->text);
        const SymbolInfo info = found == infos_.end() ? SymbolInfo{} : found->second;
        factor = {static_cast<double>(info.min), static_cast<double>(info.max)};
      } else {
        const Range a = range(atom->a);
        const Range b = range(atom->b);
        if (b.min < 1) {
          factor = {-INFINITY, INFINITY};
        } else if (atom->op == "mod" && atom->b.is_constant() && divisor(atom->a) % atom->b.constant() == 0) {
          factor = {0, 0};
        } else if (atom->op == "mod") {
          factor = {0, b.max - 1};
        } else {
          factor = {std::floor(a.min / (a.min < 0 ? b.min : b.max)),
                    std::floor(a.max / (a.max < 0 ? b.max : b.min))};
        }
      }
      // An unbounded factor is still a number: zero times it is zero, not NaN.
      const auto corner = [](double x, double y) { return x == 0 || y == 0 ? 0 : x * y; };
      const double corners[] = {corner(value.min, factor.min), corner(value.min, factor.max),
                                corner(value.max, factor.min), corner(value.max, factor.max)};
      value = {*std::min_element(corners, corners + 4), *std::max_element(corners, corners + 4)};
    }
    const auto c = static_cast<double>(term.coefficient);
    total.min += c >= 0 ? c * value.min : c * value.max;
    total.max += c >= 0 ? c * value.max : c * value.min;
    for (const double bound : {value.min, value.max}) {
      if (std::isfinite(bound)) largest = std::max(largest, std::fabs(c * bound));
    }
  }
  // Past 2^53 the sums above are rounded; widened by more than their error, the range still holds every
  // value.
  if (largest >= 0x1p53) {
    const double error = largest * static_cast<double>(dim.terms_.size()) * 0x1p-50;
    total = {total.min - error, total.max + error};
  }
  return total;
}

Known SymbolTable::equal(const Dim& a, const Dim& b) const {
  const Dim difference = a - b;
  if (difference.is_constant()) return difference.constant() == 0 ? Known::yes : Known::no;
  const Range r = range(difference);
  if (r.min > 0 || r.max < 0) return Known::no;
  if (r.min == 0 && r.max == 0) return Known::yes;
  // 8*k + 4 is never 0: the constant is not a multiple of what divides the rest.
  const Dim::Term& last = difference.terms_.back();
  if (last.atoms.empty() && last.coefficient % divisor(difference - Dim(last.coefficient)) != 0)
    return Known::no;
  return Known::unknown;
}

Known SymbolTable::less_equal(const Dim& a, const Dim& b) const {
  const Range r = range(b - a);
  if (r.min >= 0) return Known::yes;
  if (r.max < 0) return Known::no;
  return Known::unknown;
}

bool SymbolTable::decide_equal(const Dim& a, const Dim& b, std::string_view what) const {
  const Known known = equal(a, b);
  if (known == Known::unknown) fail_user("[{}] cannot tell whether {} == {}", what, a.text(), b.text());
  return known == Known::yes;
}

void SymbolTable::merge(const SymbolTable& other) {
  for (const auto& [name, info] : other.infos_) declare(name, info);
}

void SymbolTable::check(const Binding& binding) const {
  for (const auto& [name, info] : infos_) {
    const auto found = binding.find(name);
    if (found == binding.end()) continue;
    const int64_t value = found->second;
    if (value < info.min || value > info.max) {
      fail_user("dim '{}' = {} is outside {}..{}", name, value, info.min, info.max);
    }
    if (value % info.multiple != 0)
      fail_user("dim '{}' = {} is not a multiple of {}", name, value, info.multiple);
  }
}

}  // namespace floe
