// What this machine can do, measured: the yardstick of the benchmarks that share it.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "kernels/cpu/product.h"

namespace trine::bench {

inline double seconds_since(int64_t begin_ns) { return static_cast<double>(now_ns() - begin_ns) * 1e-9; }

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct Peaks {
  double flops = 0;  // per second, a square matrix product of the compute type
  double bytes = 0;  // per second, read + written, of a stream beyond the caches
};

inline Peaks measure_peaks(DType dtype, int threads) {
  constexpr int64_t kSize = 2048;
  const auto context = std::make_shared<cpu::CpuContext>(cpu::best_isa(), threads, cpu::fastest_bf16());
  const cpu::MatrixLayout square{dtype, kSize, kSize, kSize, 1};
  const cpu::Product product(context, {{square, square}}, square, false);
  const size_t bytes = static_cast<size_t>(kSize * kSize) * size_bytes(dtype);
  std::vector<std::byte> a(bytes), b(bytes), c(bytes), workspace(size_t{64} << 20);
  const std::pair<const std::byte*, const std::byte*> terms[] = {{a.data(), b.data()}};
  Peaks peaks;
  for (int i = 0; i < 6; ++i) {
    const int64_t begin = now_ns();
    product.run(terms, c.data(), false, workspace);
    peaks.flops = std::max(peaks.flops, 2.0 * kSize * kSize * kSize / seconds_since(begin));
  }
  const int64_t floats = int64_t{32} << 20;  // 128 MiB each
  std::vector<float> x(static_cast<size_t>(floats), 1.0f), y(static_cast<size_t>(floats));
  for (int i = 0; i < 6; ++i) {
    const int64_t begin = now_ns();
    context->simd->accumulate(floats, y.data(), x.data(), false, context->parallel);
    peaks.bytes = std::max(peaks.bytes, 12.0 * static_cast<double>(floats) / seconds_since(begin));
  }
  return peaks;
}

}  // namespace trine::bench
