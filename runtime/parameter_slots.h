// Where a rank's parameters lie: shards of logical tensors in its buckets, and which part of their masters and
// moments is here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/executor.h"

namespace trine {

struct Slot {
  StateId parameter, bucket;
};

std::vector<Slot> parameters_of(const Graph& graph, const std::vector<StateId>& of_buckets);
std::vector<Slot> owned_parameters(const Graph& graph);
// With the copy of a tied embedding, which another stage owns.
std::vector<Slot> used_parameters(const Graph& graph);

// Where this rank's shard begins in each dim of the logical tensor. A vector is one row.
struct ShardBox {
  int64_t first_row = 0, rows = 1, first_column = 0, columns = 1, logical_columns = 1;
  int64_t num_elements() const { return rows * columns; }
};
ShardBox shard_of(const Executor& executor, StateId parameter);

// The part of a parameter's masters or moments (f32) that this rank has: elements [first, end) of its shard,
// row-major.
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
