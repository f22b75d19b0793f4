#include "comm/reduce.h"

#include <algorithm>
#include <type_traits>

#include "base/error.h"

namespace trine {
namespace {

constexpr int64_t kBlock = 1024;  // accumulators stay in the first-level cache

// T as stored, A as added.
template <typename A, typename T>
A load(T x) {
  if constexpr (std::is_integral_v<T>) {
    return x;
  } else {
    return to_float(x);
  }
}
template <typename T, typename A>
T store(A x) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(x);
  } else {
    return from_float<T>(x);
  }
}

template <typename A>
A max_of(A a, A x) {
  return x > a || x != x ? x : a;  // a NaN in `a` stays, because no comparison with it is true
}

template <typename T, typename A>
void reduce_as(ReduceOp op, std::span<const void* const> contributions, void* out, int64_t count) {
  alignas(64) A sum[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    const T* x = static_cast<const T*>(contributions[0]) + begin;
    for (int64_t i = 0; i < n; ++i) sum[i] = load<A>(x[i]);
    for (const void* next : contributions.subspan(1)) {
      x = static_cast<const T*>(next) + begin;
      if (op == ReduceOp::kSum) {
        for (int64_t i = 0; i < n; ++i) sum[i] += load<A>(x[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) sum[i] = max_of(sum[i], load<A>(x[i]));
      }
    }
    T* y = static_cast<T*>(out) + begin;
    for (int64_t i = 0; i < n; ++i) y[i] = store<T>(sum[i]);
  }
}

}  // namespace

void reduce(ReduceOp op, DType dtype, std::span<const void* const> contributions, void* out, int64_t count) {
  TRINE_CHECK(!contributions.empty());
  switch (dtype) {
    case DType::kF32:
      return reduce_as<float, float>(op, contributions, out, count);
    case DType::kBF16:
      return reduce_as<BFloat16, float>(op, contributions, out, count);
    case DType::kF16:
      return reduce_as<Float16, float>(op, contributions, out, count);
    case DType::kI32:
      return reduce_as<int32_t, int64_t>(op, contributions, out, count);
    case DType::kI64:
      return reduce_as<int64_t, int64_t>(op, contributions, out, count);
    case DType::kU8:
      break;
  }
  TRINE_CHECK(false, "no reduction of {}", name(dtype));
}

void narrow(const float* from, std::span<BFloat16> to) {
  for (size_t i = 0; i < to.size(); ++i) to[i] = from_float<BFloat16>(from[i]);
}

void widen(std::span<const BFloat16> from, float* to) {
  for (size_t i = 0; i < from.size(); ++i) to[i] = to_float(from[i]);
}

}  // namespace trine
