// What printed group kernels (compile/print_cuda.h) are made of. NVRTC compiles it as text behind
// kernel/cpu/scalar_math.h, with no header and everything but kernels on the device; nothing includes it. Any
// other compiler (a test runs kernels on the host) brings the three conversions and CUDA's words itself.
//
// A group runs over rows of `inner` elements. A thread takes V columns of a row: V neighbours, moved 16 bytes
// at a time, where rows and pointers allow it (`packed`), else every blockDim.x-th, so that a warp's accesses
// lie side by side either way. Results are stored after all that was read has been read: they may lie over
// inputs of the same elements.
namespace floe {

#ifdef __CUDACC_RTC__
// Rounded half to even; a NaN stays one.
inline unsigned short bf16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
inline unsigned short f16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
inline float float_of_f16(unsigned short bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}
#endif

// Groups are started with LaunchShape::overlap: device/cuda/overlap.cuh has the rule.
inline void start_after_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};
struct boolean {
  unsigned char byte;
};

inline float value(float x) { return x; }
inline int value(int x) { return x; }
inline long long value(long long x) { return x; }
inline signed char value(signed char x) { return x; }
inline unsigned char value(unsigned char x) { return x; }
inline bool value(boolean x) { return x.byte != 0; }
inline float value(bf16 x) { return scalar::float_of(static_cast<unsigned>(x.bits) << 16); }
inline float value(f16 x) { return float_of_f16(x.bits); }

// A register as it lies in memory.
template <class T, class R>
inline void put(T& to, R x) {
  to = x;
}
inline void put(bf16& to, float x) { to.bits = bf16_bits(x); }
inline void put(f16& to, float x) { to.bits = f16_bits(x); }
inline void put(boolean& to, bool x) { to.byte = x ? 1 : 0; }

template <class T>
inline float rounded(float x) {
  T there;
  put(there, x);
  return value(there);
}

// n / divisor and n % divisor for 0 <= n < 2^63, with multiplier = floor(2^(63 + shift) / divisor) + 1 and
// shift = ceil(log2 divisor) (Granlund and Montgomery, "Division by invariant integers using
// multiplication", 1994).
struct Divisor {
  unsigned long long divisor, multiplier, shift;
};
struct Quotient {
  long long quotient, rest;
};
inline Quotient divide(long long n, const Divisor& by) {
  const unsigned long long q = __umul64hi(static_cast<unsigned long long>(n) << 1, by.multiplier) >> by.shift;
  return {static_cast<long long>(q), static_cast<long long>(n - q * by.divisor)};
}

// What a kernel is called with: kernel/group_call.h packs it.
template <int kAxes>
struct Input {
  const void* data;
  long long strides[kAxes];  // in elements
};
struct Random {
  long long op_id;
  const int* ordinals;
  long long stride;
};
template <int kAxes, int kInputs, int kOutputs, int kRandoms>
struct Group {
  long long inner, rows, packed;
  Divisor axes[kAxes];
  Input<kAxes> inputs[kInputs];
  void* outputs[kOutputs];
  Random randoms[kRandoms];
};

template <int V>
struct Columns {
  long long first, step, inner;
  bool whole;  // all V, side by side and aligned

  // Of block `block` along a row.
  Columns(long long block, long long its_inner, bool packed) : inner(its_inner) {
    const long long width = blockDim.x;
    first = packed ? (block * width + threadIdx.x) * V : block * width * V + threadIdx.x;
    step = packed ? 1 : width;
    whole = packed && first + V <= inner;
  }
  bool has(int k) const { return first + k * step < inner; }
};

template <class T, int V>
struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) Pack {
  T at[V];
};

template <int V, class T>
inline Pack<T, V> load(const T* row, const Columns<V>& c) {
  Pack<T, V> x;
  if (c.whole) {
    x = *reinterpret_cast<const Pack<T, V>*>(row + c.first);
  } else {
#pragma unroll
    for (int k = 0; k < V; ++k) x.at[k] = c.has(k) ? row[c.first + k * c.step] : T();
  }
  return x;
}

template <int V, class T>
inline Pack<T, V> load(const T* row, const Columns<V>& c, long long stride) {
  Pack<T, V> x;
#pragma unroll
  for (int k = 0; k < V; ++k) x.at[k] = c.has(k) ? row[(c.first + k * c.step) * stride] : T();
  return x;
}

template <int V, class T, class R>
inline void store(T* row, const Columns<V>& c, const R (&y)[V]) {
  if (c.whole) {
    Pack<T, V> packed;
#pragma unroll
    for (int k = 0; k < V; ++k) put(packed.at[k], y[k]);
    *reinterpret_cast<Pack<T, V>*>(row + c.first) = packed;
  } else {
#pragma unroll
    for (int k = 0; k < V; ++k) {
      if (c.has(k)) put(row[c.first + k * c.step], y[k]);
    }
  }
}

// The numbers of scalar::uniform. Four neighbouring features share a block of Philox.
template <int V>
inline void uniform(float (&u)[V], const Columns<V>& c, unsigned seed, long long op_id, unsigned position,
                    unsigned ordinal, unsigned head) {
  static_assert(V % 4 == 0, "a thread's columns are whole blocks");
  const auto op = static_cast<unsigned>(op_id);
  if (!c.whole) {
#pragma unroll 1
    for (int k = 0; k < V; ++k) {
      float number = 0.0f;
      if (c.has(k)) {
        number =
            scalar::uniform(seed, op, static_cast<unsigned>(c.first + k * c.step), position, ordinal, head);
      }
#pragma unroll
      for (int i = 0; i < V; ++i) u[i] = i == k ? number : u[i];  // no register is indexed at run time
    }
    return;
  }
#pragma unroll
  for (int k = 0; k < V; k += 4) {
    unsigned c0 = static_cast<unsigned>(c.first + k) >> 2, c1 = position, c2 = ordinal, c3 = head;
    unsigned key0 = seed, key1 = op;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
      const unsigned high0 = __umulhi(0xD2511F53u, c0), high1 = __umulhi(0xCD9E8D57u, c2);
      const unsigned low0 = 0xD2511F53u * c0, low1 = 0xCD9E8D57u * c2;
      c0 = high1 ^ c1 ^ key0;
      c1 = low1;
      c2 = high0 ^ c3 ^ key1;
      c3 = low0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    u[k] = static_cast<float>(c0 >> 8) * 0x1p-24f;
    u[k + 1] = static_cast<float>(c1 >> 8) * 0x1p-24f;
    u[k + 2] = static_cast<float>(c2 >> 8) * 0x1p-24f;
    u[k + 3] = static_cast<float>(c3 >> 8) * 0x1p-24f;
  }
}

}  // namespace floe
