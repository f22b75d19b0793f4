// A pipeline without a model: of each chunk a node or two per phase, and its messages.
#pragma once

#include "graph/builder.h"
#include "ops/elementwise.h"
#include "ops/pipeline.h"
#include "parallel/lanes.h"

namespace trine {

// Nodes of each chunk, in this order: F is [receive] cast cast [send],
// I is [receive_grad] cast [send_grad], W a cast.
inline Graph skeleton_graph(int rank, int pp, int vpp) {
  const int last = pp * vpp - 1;
  const TensorType type{DType::kF32, {4, 4}};
  Builder b(Mesh{.pp = pp});
  const StateId state = b.add_state({.name = "x", .type = type});
  const auto input = [&](int from, bool backward) {
    return from >= 0 && from <= last ? b.add(Receive(from, backward, type), {}) : b.read(state);
  };
  const auto output = [&](int to, bool backward, ValueId value) {
    if (to >= 0 && to <= last) b.emit(std::make_shared<const Send>(to, backward), {value});
  };
  const auto cast = [&](ValueId value) { return b.add(Cast(DType::kF32), {value}); };
  for (int chunk = 0; chunk < vpp; ++chunk) {
    const int stage = chunk * pp + rank;
    b.set_chunk(chunk);
    b.enter(Region::kMicrobatch, Phase::kForward);
    output(stage + 1, false, cast(cast(input(stage - 1, false))));
  }
  for (int chunk = vpp - 1; chunk >= 0; --chunk) {
    const int stage = chunk * pp + rank;
    b.set_chunk(chunk);
    b.enter(Region::kMicrobatch, Phase::kInputGrad);
    const ValueId gradient = input(stage + 1, true);
    output(stage - 1, true, cast(gradient));
    b.enter(Region::kMicrobatch, Phase::kWeightGrad);
    cast(gradient);
  }
  return add_waits(assign_lanes(b.finish()));
}

}  // namespace trine
