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
      if (packing.offsets[other] >= offset + sizes[buffer]) break;  // what fits before it, fits before the rest
      const int64_t end = packing.offsets[other] + sizes[other];
      if (end > offset && conflict(buffer, other)) offset = end;  // asked last: it takes long
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
