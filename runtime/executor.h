// Runs one rank's part of a plan on a backend, and records what each node took.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "runtime/backend.h"
#include "runtime/trace_recorder.h"

namespace trine {

struct StepResult {
  double loss = 0;       // mean over the counted tokens of the step, before the update
  double grad_norm = 0;  // before clipping
  bool applied = false;  // false: something was not finite, nothing was changed
  double valid_tokens = 0;
};

// The first tensor that is not finite, in the order of execution.
struct NonFinite {
  std::string tensor;  // "layers.3.ffn: linear -> %27 bf16[1024,688], microbatch 2: 17 of 704512 elements"
};

class Executor {
 public:
  // Allocates the arena and prepares every kernel. `stage` outlives the executor. With `fill`, bytes that no state
  // owns start with that value instead of zero (a test of the memory plan).
  Executor(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
           TraceRecorder& trace, std::optional<std::byte> fill = std::nullopt);

  // Prologue, schedule, epilogue. REQUIRES: host.ids and labels hold the rank's samples of the step.
  StepResult train_step(const HostStep& host, int step);
  // Prologue and forwards only: the mean loss.
  StepResult evaluate(const HostStep& host, int step);
  // Runs the step again with a check after each node, without applying it. Nullopt if all is finite.
  std::optional<NonFinite> find_non_finite(const HostStep& host, int step);

  // A state in memory; of the given graph state or by name.
  TensorView view(StateId state) const;
  TensorView view(std::string_view state) const { return view(stage_.graph.state_named(state)); }
  TensorView value_view(ValueId value, int frame) const;
  template <typename T>
  T scalar(std::string_view state) const {
    T value;
    backend_.read(view(state).data, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  const StagePlan& stage() const { return stage_; }
  Backend& backend() const { return backend_; }
  Coordinate coordinate() const { return coordinate_; }
  std::span<const std::byte> arena() const { return {memory_->data(), static_cast<size_t>(memory_->size())}; }

 private:
  // A node made ready: its kernel and its operands in every frame.
  struct Instruction {
    Kernel kernel;
    std::vector<std::vector<TensorView>> inputs, outputs;  // by frame
    Cost cost;
    EventKind kind;
  };
  Instruction prepare(const Node& node, const Cost& cost);
  void run_region(Region region);
  void run_phase(Phase phase, int microbatch);
  void run_action(const Action& action);
  void run_node(size_t index, int frame, int microbatch);
  void check_outputs(size_t index, int frame, int microbatch);
  StepResult read_result(bool trained) const;

  const StagePlan& stage_;
  const Config& config_;
  const Coordinate coordinate_;
  Backend& backend_;
  TraceRecorder& trace_;
  std::unique_ptr<DeviceMemory> memory_;
  std::vector<Instruction> instructions_;              // by node
  std::vector<std::vector<size_t>> regions_, phases_;  // the nodes of each
  // Of the step that runs now.
  const HostStep* host_ = nullptr;
  int step_ = 0;
  int64_t clock_ns_ = 0;  // when the last node ended
  bool checking_ = false;
  std::optional<NonFinite> found_;
};

}  // namespace trine
