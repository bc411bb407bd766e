// Lengths as expressions: a Dim is a polynomial with integer coefficients over named variables and over
// floor divisions and remainders of such polynomials. Two Dims are equal when their canonical forms are;
// anything else that must be known is asked of a SymbolTable, whose bounds and multiples may decide it or may
// not. Arithmetic whose numbers leave 64 bits throws Error{user}.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace floe {

class Dim;
using Dims = std::vector<Dim>;
using Binding = std::map<std::string, int64_t, std::less<>>;  // variable -> value

class Dim {
 public:
  Dim() = default;
  Dim(int64_t value);  // NOLINT(google-explicit-constructor): sizes are written as plain numbers
  static Dim symbol(std::string_view name);

  bool is_constant() const;
  int64_t constant() const;  // throws bug unless is_constant()
  bool is_symbol(std::string_view* name = nullptr) const;

  Dim operator+(const Dim& other) const;
  Dim operator-(const Dim& other) const;
  Dim operator*(const Dim& other) const;
  bool operator==(const Dim& other) const;
  bool operator!=(const Dim& other) const { return !(*this == other); }

  // Exact where the division has no remainder by form (2*B*S / B), else an atom floordiv(a, b).
  friend Dim floor_div(const Dim& a, const Dim& b);
  friend Dim modulo(const Dim& a, const Dim& b);

  std::string text() const;                        // "2*B*S + 3"
  static Dim parse(std::string_view text);         // throws Error{user}
  int64_t evaluate(const Binding& binding) const;  // throws Error{user} naming an unbound variable
  void collect_symbols(std::vector<std::string>* names) const;

 private:
  struct Atom;
  using AtomPtr = std::shared_ptr<const Atom>;
  struct Term {
    std::vector<AtomPtr> atoms;  // sorted by text
    int64_t coefficient = 0;
  };
  static Dim from_terms(std::vector<Term> terms);
  static Dim division(const char* op, const Dim& a, const Dim& b);
  friend class SymbolTable;

  std::vector<Term> terms_;  // sorted by text of atoms; no zero coefficients
};

inline Dim operator+(int64_t a, const Dim& b) { return Dim(a) + b; }
inline Dim operator-(int64_t a, const Dim& b) { return Dim(a) - b; }
inline Dim operator*(int64_t a, const Dim& b) { return Dim(a) * b; }
Dim floor_div(const Dim& a, const Dim& b);
Dim modulo(const Dim& a, const Dim& b);
Dim product(const Dims& dims);
std::string text_of(const Dims& dims);  // "[B, S, 512]"

struct SymbolInfo {
  int64_t min = 0;
  int64_t max = INT64_C(1) << 40;
  int64_t multiple = 1;
  bool operator==(const SymbolInfo&) const = default;
};

enum class Known { yes, no, unknown };

class SymbolTable {
 public:
  // Throws Error{user} when the name is declared with other bounds already, or min > max, or multiple < 1.
  Dim declare(std::string_view name, SymbolInfo info = {});
  bool has(std::string_view name) const { return infos_.find(name) != infos_.end(); }
  const std::map<std::string, SymbolInfo, std::less<>>& all() const { return infos_; }

  struct Range {
    double min;  // doubles: products of bounds may pass 2^63
    double max;
  };
  Range range(const Dim& dim) const;
  Known equal(const Dim& a, const Dim& b) const;
  Known less_equal(const Dim& a, const Dim& b) const;

  // True or false when provable; else Error{user} "[what] cannot tell whether A == B".
  bool decide_equal(const Dim& a, const Dim& b, std::string_view what) const;
  void merge(const SymbolTable& other);
  // Checks values against bounds and multiples; throws Error{user} naming the variable.
  void check(const Binding& binding) const;

 private:
  int64_t divisor(const Dim& dim) const;

  std::map<std::string, SymbolInfo, std::less<>> infos_;
};

}  // namespace floe
