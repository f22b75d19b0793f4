// Placing buffers in one stretch of memory.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace trine {

struct Packing {
  std::vector<int64_t> offsets;  // by buffer
  int64_t total = 0;
};

// Greedy by size (Pisarchyk & Lee 2020): the largest buffer first, each at the lowest offset where it overlaps no
// placed buffer that it conflicts with. Sizes are multiples of the alignment wanted.
Packing pack(const std::vector<int64_t>& sizes, const std::function<bool(size_t, size_t)>& conflict);

}  // namespace trine
