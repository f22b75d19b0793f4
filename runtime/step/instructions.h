// The nodes of a stage made ready to run: their kernels, and where their operands lie in the arena.
#pragma once

#include <span>
#include <vector>

#include "plan/plan.h"
#include "runtime/device/backend.h"
#include "runtime/step/comm_lanes.h"

namespace trine {

// Where one operand lies: in slot 0 of its pool. A state has none.
struct Operand {
  TensorView view;
  const Pool* pool = nullptr;
};

// Where the operands of one rank's nodes lie in an arena that begins at `arena`. The stage outlives it.
class Operands {
 public:
  Operands(const StagePlan& stage, Coordinate coordinate, std::byte* arena)
      : stage_(stage), coordinate_(coordinate), arena_(arena) {}
  std::vector<Operand> of(const Node& node) const;  // inputs, then outputs, then written states
  Operand operator[](ValueId value) const;
  TensorView operator[](StateId state) const;

 private:
  const StagePlan& stage_;
  const Coordinate coordinate_;
  std::byte* const arena_;
};

struct Instruction {
  Kernel kernel;                  // none: a view or a message
  std::vector<Operand> operands;  // Operands::of()
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

  TensorView view(StateId state) const { return operands_[state]; }
  TensorView view(ValueId value, int microbatch) const;

 private:
  Instruction prepare(NodeId id, const Config& config, Backend& backend, CommLanes* lanes) const;

  const StagePlan& stage_;
  const Coordinate coordinate_;
  const Operands operands_;
  std::vector<Instruction> list_;  // by node
};

}  // namespace trine
