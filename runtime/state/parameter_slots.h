// Where a rank's parameters lie in an executor's memory: parallel/owned_state.h with addresses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "parallel/owned_state.h"
#include "runtime/step/executor.h"

namespace trine {

inline ShardBox shard_of(const Executor& executor, StateId parameter) {
  return shard_of(executor.stage().graph, executor.coordinate(), parameter);
}

// The part of a parameter's masters or moments (f32) that this rank has:
// elements [first, end) of its shard, row-major.
struct StateRange {
  int64_t first = 0, end = 0;
  std::byte* data = nullptr;  // of element `first`

  // Calls f(begin, end) with the part of [begin, begin + count) that lies here.
  template <typename F>
  void overlap(int64_t begin, int64_t count, F&& f) const {
    const int64_t from = std::max(begin, first), to = std::min(begin + count, end);
    if (from < to) f(from, to);
  }
};
// Empty for the copy of a tied embedding.
StateRange range_of(const Executor& executor, Slot slot, StateRole role);

// f32 values, rounded to nearest even, as `dtype` at `to`.
void store_rounded(const Backend& backend, std::span<const float> values, DType dtype, std::byte* to);

}  // namespace trine
