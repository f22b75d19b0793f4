#include "base/shape.h"

#include <algorithm>

#include "base/error.h"

namespace trine {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int64_t extent : shape) text += (text.size() > 1 ? "," : "") + std::to_string(extent);
  return text + "]";
}

int64_t split_size(int64_t n, int64_t k, int64_t index) {
  return std::min(div_up(n, k), n - split_begin(n, k, index));
}

int64_t split_begin(int64_t n, int64_t k, int64_t index) {
  TRINE_CHECK(0 <= index && index < k, "part {} of {}", index, k);
  return std::min(n, div_up(n, k) * index);
}

bool split_is_valid(int64_t n, int64_t k) { return k >= 1 && n >= 1 && div_up(n, k) * (k - 1) < n; }

int64_t div_exact(int64_t n, int64_t k, const char* what) {
  TRINE_CHECK(k > 0 && n % k == 0, "{}: {} is not a multiple of {}", what, n, k);
  return n / k;
}

}  // namespace trine
