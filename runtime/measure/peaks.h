// What this machine can do, measured: the yardstick of benchmarks and of measure_cluster.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/dtype.h"

namespace trine {

struct Peaks {
  double flops = 0;  // per second, a square matrix product of the compute type
  double bytes = 0;  // per second, read + written, of a stream beyond the caches
};
// The best of several.
Peaks measure_peaks(DType dtype, int threads);

// A product that takes about a millisecond, the same every time.
class FixedProduct {
 public:
  FixedProduct(DType dtype, int64_t size, int threads);
  void run() { run_(); }
  double flops() const { return flops_; }

 private:
  std::function<void()> run_;
  double flops_ = 0;
};

// Adds one array to another, beyond the caches.
class Stream {
 public:
  explicit Stream(int threads, int64_t floats = int64_t{8} << 20);
  void run() { run_(); }
  double bytes() const { return bytes_; }

 private:
  std::function<void()> run_;
  double bytes_ = 0;
};

}  // namespace trine
