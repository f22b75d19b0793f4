#include "plan/packing.h"

#include <algorithm>
#include <numeric>

namespace trine {

Packing pack(const std::vector<int64_t>& sizes, const std::function<bool(size_t, size_t)>& conflict) {
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return sizes[a] > sizes[b]; });
  Packing packing{std::vector<int64_t>(sizes.size(), -1), 0};
  std::vector<size_t> placed;  // by offset
  for (size_t buffer : order) {
    int64_t offset = 0;
    for (size_t other : placed) {
      if (!conflict(buffer, other)) continue;
      if (packing.offsets[other] >= offset + sizes[buffer]) break;  // the gap before it is large enough
      offset = std::max(offset, packing.offsets[other] + sizes[other]);
    }
    packing.offsets[buffer] = offset;
    packing.total = std::max(packing.total, offset + sizes[buffer]);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), buffer,
                                   [&](size_t a, size_t b) { return packing.offsets[a] < packing.offsets[b]; }),
                  buffer);
  }
  return packing;
}

}  // namespace trine
