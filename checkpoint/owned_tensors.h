// What each rank of a layout saves: its masters and moments as boxes of logical tensors (checkpoint/format.md).
#pragma once

#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "parallel/owned_state.h"

namespace trine {

StateRole state_role(TensorKind kind);

// The rank's shard of a parameter.
Box box_of(const Graph& graph, Coordinate at, StateId parameter);

struct OwnedTensor {
  Slot slot;
  std::string name;
  TensorKind kind = TensorKind::kWeight;
  Shape shape;             // of the whole tensor
  ElementRange range;      // of the rank's shard
  std::vector<Box> boxes;  // the same in the whole tensor
};
// In the order in which they are written. Over all ranks of a plan every element of every tensor comes once.
std::vector<OwnedTensor> owned_tensors(const Graph& graph, Coordinate at);

}  // namespace trine
