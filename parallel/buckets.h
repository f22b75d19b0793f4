// Flat buckets: the parameters of one placement and decay rule, side by side in one 1-D state, so that the
// optimizer and the gradient collectives work on a few long vectors.
// Each bucket has five parallel states of one layout:
//   bucket.<i>.weights (compute type)   .grad   .master   .momentum   .variance (f32)
// Parameters and their gradients become views into them, each starting at a multiple of 256
// elements; the padding is zero.
#pragma once

#include "graph/graph.h"

namespace trine {

inline constexpr int64_t kBucketAlignment = 256;  // elements

struct BucketOptions {
  int64_t max_elements = INT64_MAX;  // a bucket ends before the parameter that would exceed it
  bool shard_over_dp = false;        // ZeRO-1: each dp rank keeps masters and moments of its share of every bucket
};

// Parameters that are views of others already (a tied head) follow their owner;
// their gradient stays a state of its own.
Graph assign_buckets(Graph graph, const BucketOptions& options);

// The weights states of all buckets that this rank owns, in order.
std::vector<StateId> buckets(const Graph& graph);
// That of the copy of a tied embedding, which another stage owns; invalid if there is none.
StateId tied_copy(const Graph& graph);
// The parameters that live in a bucket, in order of offset; tied views are not counted again.
std::vector<StateId> parameters_in(const Graph& graph, StateId bucket);

}  // namespace trine
