// How benchmarks tell time, and the machine's peaks beside them (runtime/measure/peaks.h).
#pragma once

#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "runtime/measure/peaks.h"

namespace trine::bench {

inline double seconds_since(int64_t begin_ns) { return static_cast<double>(now_ns() - begin_ns) * 1e-9; }

inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace trine::bench
