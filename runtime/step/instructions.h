// The nodes of a stage made ready to run: their kernels, and where their operands lie in the arena.
#pragma once

#include <span>
#include <vector>

#include "plan/plan.h"
#include "runtime/device/backend.h"
#include "runtime/step/comm_lanes.h"

namespace trine {

struct Instruction {
  // One operand: where it lies in slot 0 of its pool. A state has none.
  struct Operand {
    TensorView view;
    const Pool* pool = nullptr;
  };
  Kernel kernel;                  // none: a view or a message
  std::vector<Operand> operands;  // inputs, then outputs, then written states
  std::vector<TensorView> inputs, outputs;
  Cost cost;
  EventKind kind = EventKind::kCompute;
};

class Instructions {
 public:
  // `arena` has the bytes of the plan. The arguments outlive this; a mesh of one rank needs no lanes.
  Instructions(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
               CommLanes* lanes, std::span<std::byte> arena);

  const Instruction& operator[](size_t node) const { return list_[node]; }
  // Points its operands to the slots of a microbatch.
  const Instruction& bind(size_t node, int microbatch);

  TensorView view(StateId state) const;
  TensorView view(ValueId value, int microbatch) const;

 private:
  Instruction::Operand operand(ValueId value) const;
  Instruction prepare(NodeId id, const Config& config, Backend& backend, CommLanes* lanes) const;

  const StagePlan& stage_;
  const Coordinate coordinate_;
  std::byte* const arena_;
  std::vector<Instruction> list_;  // by node
};

}  // namespace trine
