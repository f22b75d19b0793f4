// Which part of a model's parameters, masters and moments a rank has, from the graph alone:
// no memory is needed to know it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/mesh.h"
#include "graph/graph.h"

namespace trine {

struct Slot {
  StateId parameter, bucket;
};

std::vector<Slot> parameters_of(const Graph& graph, const std::vector<StateId>& of_buckets);
std::vector<Slot> owned_parameters(const Graph& graph);
// With the copy of a tied embedding, which another stage owns.
std::vector<Slot> used_parameters(const Graph& graph);

// Where a rank's shard begins in each dim of the logical tensor. A vector is one row.
struct ShardBox {
  int64_t first_row = 0, rows = 1, first_column = 0, columns = 1, logical_columns = 1;
  int64_t num_elements() const { return rows * columns; }
};
ShardBox shard_of(const Graph& graph, Coordinate at, StateId parameter);

// Elements [first, end) of a shard, row-major, of which the first one stands at element `offset` of what the rank
// has of the bucket's state.
struct ElementRange {
  int64_t first = 0, end = 0, offset = 0;
  bool empty() const { return first == end; }
};
// The part of a parameter's masters or moments that the rank has. Empty for the copy of a tied embedding.
ElementRange held_range(const Graph& graph, Coordinate at, Slot slot, StateRole role);
// Of that, what the rank saves, so that over all ranks every element comes once: what tp ranks all hold is the
// first one's; what dp ranks all hold is shared out between them.
ElementRange saved_range(const Graph& graph, Coordinate at, Slot slot, StateRole role);

}  // namespace trine
