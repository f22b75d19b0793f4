// Runs one rank's part of a plan on a backend: carries out the commands of its step program (plan/step_program.h)
// and records what each node took. Where the backend only enqueues, so does the executor: it waits for the device
// at the end of a step, and for messages that pass through the host.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "runtime/device/backend.h"
#include "runtime/failure/rank_status.h"
#include "runtime/step/comm_lanes.h"
#include "runtime/step/instructions.h"
#include "runtime/step/kernel_graphs.h"
#include "runtime/step/lane_nodes.h"
#include "runtime/step/non_finite.h"
#include "runtime/step/step_results.h"
#include "runtime/step/trace_recorder.h"

namespace trine {

struct StepResult {
  double loss = 0;       // mean over the counted tokens of the step, before the update
  double grad_norm = 0;  // before clipping
  bool applied = false;  // false: something was not finite, nothing was changed
  double valid_tokens = 0;
};

class Executor {
 public:
  // Allocates the arena and prepares every kernel. `stage` outlives the executor, and `lanes`, which a mesh of one
  // rank does without. With `fill`, bytes that no state owns start with that value instead of
  // zero (a test of the memory plan).
  Executor(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
           TraceRecorder& trace, CommLanes* lanes = nullptr, std::optional<std::byte> fill = std::nullopt);
  // Detaches the lanes, whose threads use its memory.
  // After an error, the others must have been told (Fabric::give_up).
  ~Executor();

  // Prologue, schedule, epilogue; all ranks together, as the other calls are. REQUIRES: host.ids and labels hold
  // the rank's samples of the step.
  StepResult train_step(const HostStep& host, int step);
  // Prologue and forwards only: the mean loss.
  StepResult evaluate(const HostStep& host, int step);
  // Runs the step again with a check after each node, without applying it: this rank's first tensor that is not
  // finite. Nullopt if all are.
  std::optional<NonFinite> find_non_finite(const HostStep& host, int step);

  // From now on it is told which action and node run (nullptr: none).
  void report_to(StatusWriter* status) { status_ = status; }

  // A state in memory; of the given graph state or by name.
  TensorView view(StateId state) const { return instructions_.view(state); }
  TensorView view(std::string_view state) const { return view(stage_.graph.state_named(state)); }
  TensorView value_view(ValueId value, int microbatch) const { return instructions_.view(value, microbatch); }
  template <typename T>
  T scalar(std::string_view state) const {
    T value;
    backend_.read(view(state).data, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  const StagePlan& stage() const { return stage_; }
  Backend& backend() const { return backend_; }
  const std::string& trials() const { return trials_; }  // Backend::end_trials()
  KernelGraphs& graphs() { return graphs_; }
  Coordinate coordinate() const { return coordinate_; }
  std::span<std::byte> arena() const { return {memory_->data(), static_cast<size_t>(memory_->size())}; }

 private:
  std::unique_ptr<DeviceMemory> allocate_arena() const;
  std::map<std::string, TensorView> result_views() const;
  void warm_up();
  void begin(const HostStep& host, int step);
  const HostStep& stage_host(const HostStep& host);
  void run(StepMode mode, const HostStep& host, int step);
  void carry_out(const Command& command, StepMode mode);
  void end(StepMode mode);

  void now_at(const Node& node, size_t index);
  void run_kernel(const Instruction& instruction, int microbatch, const HostStep* host);
  void run_node(size_t index, int microbatch);
  void run_pending();
  void replay(KernelGraphs::Piece& piece);
  TraceEvent kernel_event(size_t index, int microbatch, Mark end) const;
  PipelineEdge edge_of(const Node& node) const;
  void post_receive(size_t index, int microbatch);
  void wait_receive(size_t index, int microbatch);
  void post_send(size_t index, int microbatch, int slot);
  TraceEvent event_of(size_t index, int microbatch) const;
  void record_transfer(size_t index, int microbatch, int32_t sequence = -1);
  StepResult read_result() const;

  const StagePlan& stage_;
  const Config& config_;
  const Coordinate coordinate_;
  Backend& backend_;
  Timeline& timeline_;
  TraceRecorder& trace_;
  CommLanes* const lanes_;
  StatusWriter* status_ = nullptr;
  std::vector<StepProgram> programs_;     // by mode
  std::unique_ptr<DeviceMemory> memory_;  // the arena
  Instructions instructions_;
  StepResults results_;
  std::string trials_;
  LaneNodes lane_nodes_;
  KernelGraphs graphs_;
  // Of the step that runs now.
  std::unique_ptr<DeviceMemory> host_memory_;  // where an asynchronous device reads HostStep
  const HostStep* host_ = nullptr;
  int step_ = 0;
  int32_t action_ = -1;  // index among the program's
  Mark clock_ = 0;       // until then the compute lane's time is in events, or was another lane's
  std::map<std::pair<size_t, int>, PipelineEdges::Ticket> posted_;  // receives, by node and microbatch
  std::map<std::pair<size_t, int>, PipelineEdges::Ticket> sent_;    // sends, by node and slot
  // Kernels that may be replayed, not run yet; and what was run of pieces: where their events begin.
  struct PieceRun {
    KernelGraphs::Piece* piece = nullptr;
    size_t first_event = 0;
    bool replayed = false;
  };
  std::vector<Command> pending_;
  std::vector<PieceRun> pieces_;
  std::vector<TraceEvent> events_;  // of the compute lane; their times are marks until the step ends
  std::optional<NonFinite> found_;
};

}  // namespace trine
