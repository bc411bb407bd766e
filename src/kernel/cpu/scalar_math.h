// The scalar functions of tapes; exp, log, tanh, erf are fixed polynomials: the twins of math-inl.h, equal
// bit for bit. Needs no header and no build flag but -ffp-contract=off, so that printed C++ carries this file
// as it is. All arithmetic is separate multiplications and additions in the order written; a SIMD form that
// follows it gives the same bits on every machine. Largest error against the true value (math_test.cc), in
// units of the last place:
//   exp 1.1 (also where the result is subnormal) · log 1 · tanh 1.5 · erf 1.5
// NaN gives NaN, overflow +inf, underflow goes through the subnormals to 0; log(0) = -inf, log(x < 0) = NaN.
//
// Method: Cody and Waite, "Software manual for the elementary functions" (1980): argument reduction by a
// two-part ln 2, then minimax polynomials, fitted for this file in double and rounded to f32.
#ifndef FLOE_KERNEL_CPU_SCALAR_MATH_H_
#define FLOE_KERNEL_CPU_SCALAR_MATH_H_

namespace floe::scalar {

constexpr float kLog2e = 1.44269504f;
constexpr float kLn2High = 0.693359375f;  // 9 bits: times an exponent it is exact
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kRoundMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, half to even
constexpr int kRoundMagicBits = 0x4B400000;

// e^r = 1 + r + r^2 P(r) for |r| <= ln(2) / 2.
constexpr float kExp[] = {5.000000000e-01f, 1.666651666e-01f, 4.166620225e-02f, 8.369073272e-03f,
                          1.395080937e-03f};
constexpr float kExpHigh = 89.0f;   // e^89 overflows
constexpr float kExpLow = -104.0f;  // e^-104 is less than half the smallest subnormal

// log(1 + f) = f - f^2 / 2 + f^3 P(f) for sqrt(1/2) <= 1 + f <= sqrt(2).
constexpr float kLog[] = {3.333331048e-01f,  -2.499998659e-01f, 2.000223100e-01f,
                          -1.666925699e-01f, 1.421855539e-01f,  -1.238415465e-01f,
                          1.187358648e-01f,  -1.179131046e-01f, 6.915804744e-02f};
constexpr int kSqrtHalfBits = 0x3F3504F3;
constexpr float kSmallestNormal = 1.17549435e-38f;
constexpr float kTwo23 = 8388608.0f;

// tanh(x) = x + x^3 P(x^2) for |x| < 0.625, else 1 - 2 / (e^(2|x|) + 1).
constexpr float kTanh[] = {-3.333328366e-01f, 1.333149076e-01f, -5.374349654e-02f, 2.065058798e-02f,
                           -5.717045162e-03f};
constexpr float kTanhSmall = 0.625f;

// erf(x) = x + x P(x^2) for |x| < 1, else 1 - e^(-t Q(t)) with t = min(|x|, 4), where f32 has long reached 1.
constexpr float kErf[] = {1.283791661e-01f, -3.761262596e-01f, 1.128360033e-01f, -2.685444430e-02f,
                          5.189535674e-03f, -8.020842215e-04f, 7.889122935e-05f};
constexpr float kErfc[] = {1.128596544e+00f, 6.354236007e-01f,  1.056435928e-01f,  -2.306547761e-02f,
                           3.166239243e-03f, -1.331691165e-04f, -2.950723319e-05f, 3.643219770e-06f};

inline float float_of(unsigned bits) { return __builtin_bit_cast(float, bits); }
inline unsigned bits_of(float x) { return __builtin_bit_cast(unsigned, x); }

template <int N>
inline float polynomial(const float (&c)[N], float x) {
  float p = c[N - 1];
  for (int i = N - 2; i >= 0; --i) p = p * x + c[i];
  return p;
}

inline float exp(float x) {
  float c = x < kExpHigh ? x : kExpHigh;  // NaN becomes 89 here and NaN again at the end
  c = c > kExpLow ? c : kExpLow;
  const float t = c * kLog2e + kRoundMagic;
  const float n = t - kRoundMagic;
  const float r = (c - n * kLn2High) - n * kLn2Low;
  const float y = ((r * r) * polynomial(kExp, r) + r) + 1.0f;
  // 2^n in two factors, so that a subnormal result is rounded once.
  const int e = static_cast<int>(bits_of(t)) - kRoundMagicBits;
  const int half = e >> 1;
  const float first = float_of(static_cast<unsigned>(half + 127) << 23);
  const float second = float_of(static_cast<unsigned>(e - half + 127) << 23);
  const float result = (y * first) * second;
  return x == x ? result : x;
}

inline float log(float x) {
  const bool tiny = x < kSmallestNormal;
  const unsigned bits = bits_of(tiny ? x * kTwo23 : x);
  const int e = static_cast<int>(bits - static_cast<unsigned>(kSqrtHalfBits)) >> 23;
  const float f = float_of(bits - (static_cast<unsigned>(e) << 23)) - 1.0f;
  const float k = static_cast<float>(tiny ? e - 23 : e);
  const float z = f * f;
  float y = (f * z) * polynomial(kLog, f) + k * kLn2Low;
  y = y - 0.5f * z;
  float result = (f + y) + k * kLn2High;
  result = x < __builtin_inff() ? result : x;  // +inf and NaN
  result = x < 0.0f ? __builtin_nanf("") : result;
  return x == 0.0f ? -__builtin_inff() : result;
}

inline float tanh(float x) {
  const float a = __builtin_fabsf(x);
  const float z = x * x;
  const float small = x + (x * z) * polynomial(kTanh, z);
  const float large = 1.0f - 2.0f / (exp(a + a) + 1.0f);
  return __builtin_copysignf(a < kTanhSmall ? small : large, x);  // also -0
}

inline float erf(float x) {
  const float a = __builtin_fabsf(x);
  const float z = x * x;
  const float small = x + x * polynomial(kErf, z);
  const float t = a < 4.0f ? a : 4.0f;
  const float large = 1.0f - exp(-(t * polynomial(kErfc, t)));
  const float result = a < 1.0f ? small : __builtin_copysignf(large, x);
  return x == x ? result : x;
}

// NaN in either operand gives NaN.
inline float max(float a, float b) { return a != a ? a : (a > b ? a : b); }
inline float min(float a, float b) { return a != a ? a : (a < b ? a : b); }
inline float round(float x) { return __builtin_rintf(x); }  // half to even

inline float sin(float x) { return __builtin_sinf(x); }
inline float cos(float x) { return __builtin_cosf(x); }
inline float pow(float x, float y) { return __builtin_powf(x, y); }

// As in Python: the quotient is rounded down, the remainder has the divisor's sign.
inline float floordiv(float a, float b) {
  if (b == 0.0f) return a / b;
  const float mod = __builtin_fmodf(a, b);
  float div = (a - mod) / b;
  if (mod != 0.0f && ((b < 0.0f) != (mod < 0.0f))) div = div - 1.0f;
  if (div == 0.0f) return __builtin_copysignf(0.0f, a / b);
  float floored = __builtin_floorf(div);
  if (div - floored > 0.5f) floored = floored + 1.0f;
  return floored;
}
inline float rem(float a, float b) {
  float mod = __builtin_fmodf(a, b);
  if (mod != 0.0f && ((b < 0.0f) != (mod < 0.0f))) mod = mod + b;
  return mod == 0.0f ? __builtin_copysignf(0.0f, b) : mod;
}

// Integers: INT_MIN / -1 wraps; the caller has refused b = 0.
inline long long int_floordiv(long long a, long long b) {
  if (b == -1) return static_cast<long long>(0 - static_cast<unsigned long long>(a));
  const long long q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}
inline long long int_rem(long long a, long long b) {
  return static_cast<long long>(static_cast<unsigned long long>(a) -
                                static_cast<unsigned long long>(int_floordiv(a, b)) *
                                    static_cast<unsigned long long>(b));
}

inline long long shift_left(long long a, long long b) {
  return b < 0 || b > 63 ? 0 : static_cast<long long>(static_cast<unsigned long long>(a) << b);
}
inline long long shift_right(long long a, long long b) { return b < 0 || b > 63 ? (a < 0 ? -1 : 0) : a >> b; }

// Truncates; NaN gives 0, what lies outside is clamped.
inline long long to_int(float x) {
  if (x != x) return 0;
  if (x >= 9.2233720368547758e18f) return 0x7FFFFFFFFFFFFFFFll;
  if (x <= -9.2233720368547758e18f) return -0x7FFFFFFFFFFFFFFFll - 1;
  return static_cast<long long>(x);
}
inline long long to_int(int x) { return x; }
inline long long to_int(long x) { return x; }
inline long long to_int(long long x) { return x; }

// Philox4x32-10 as in tensor/philox.h: the uniform number in [0, 1) at these coordinates.
inline float uniform(unsigned seed, unsigned op_id, unsigned feature, unsigned position, unsigned ordinal,
                     unsigned head) {
  unsigned c[4] = {feature >> 2, position, ordinal, head};
  for (int round = 0; round < 10; ++round) {
    const unsigned long long p0 = 0xD2511F53ull * c[0];
    const unsigned long long p1 = 0xCD9E8D57ull * c[2];
    c[0] = static_cast<unsigned>(p1 >> 32) ^ c[1] ^ seed;
    c[1] = static_cast<unsigned>(p1);
    c[2] = static_cast<unsigned>(p0 >> 32) ^ c[3] ^ op_id;
    c[3] = static_cast<unsigned>(p0);
    seed += 0x9E3779B9u;
    op_id += 0xBB67AE85u;
  }
  return static_cast<float>(c[feature & 3] >> 8) * 0x1p-24f;
}

}  // namespace floe::scalar

#endif  // FLOE_KERNEL_CPU_SCALAR_MATH_H_
