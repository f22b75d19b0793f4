// Runs one rank's part of a plan on a backend, and records what each node took. Where the backend only enqueues, so
// does the executor: it waits for the device at the end of a step, and for messages that pass through the host.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/plan.h"
#include "runtime/device/backend.h"
#include "runtime/failure/rank_status.h"
#include "runtime/step/comm_lanes.h"
#include "runtime/step/trace_recorder.h"

namespace trine {

struct StepResult {
  double loss = 0;       // mean over the counted tokens of the step, before the update
  double grad_norm = 0;  // before clipping
  bool applied = false;  // false: something was not finite, nothing was changed
  double valid_tokens = 0;
};

// The first tensor that is not finite, in the order of execution.
struct NonFinite {
  int64_t time_ns = 0;  // when it was found
  std::string tensor;   // "layers.3.ffn: linear -> %27 bf16[1024,688], microbatch 2: 17 of 704512 elements"
};

class Executor {
 public:
  // Allocates the arena and prepares every kernel. `stage` outlives the executor, and `lanes`, which a mesh of one
  // rank does without. With `fill`, bytes that no state owns start with that value instead of zero (a test of the
  // memory plan).
  Executor(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
           TraceRecorder& trace, CommLanes* lanes = nullptr, std::optional<std::byte> fill = std::nullopt);
  // Detaches the lanes, whose threads use its memory. After an error, the others must have been told
  // (Fabric::give_up).
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
  TensorView view(StateId state) const;
  TensorView view(std::string_view state) const { return view(stage_.graph.state_named(state)); }
  TensorView value_view(ValueId value, int microbatch) const;
  template <typename T>
  T scalar(std::string_view state) const {
    T value;
    backend_.read(view(state).data, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  const StagePlan& stage() const { return stage_; }
  Backend& backend() const { return backend_; }
  Coordinate coordinate() const { return coordinate_; }
  std::span<std::byte> arena() const { return {memory_->data(), static_cast<size_t>(memory_->size())}; }

 private:
  // One operand: where it lies in slot 0 of its pool. A state has none.
  struct Operand {
    TensorView view;
    const Pool* pool = nullptr;
  };
  // A node made ready: its kernel, and its operands for the microbatch that it runs for.
  struct Instruction {
    Kernel kernel;
    std::vector<Operand> operands;  // inputs, then outputs
    std::vector<TensorView> inputs, outputs;
    Cost cost;
    EventKind kind = EventKind::kCompute;
    // Of another lane's node: its last execution, when it might begin, its event as known then, and its end.
    LaneThread::Ticket ticket = 0;
    Mark ready = 0;
    TraceEvent event;
    std::optional<Mark> done;  // none yet in this step
  };
  // What one action runs: a phase of a chunk.
  struct Block {
    std::vector<size_t> nodes, receives, sends;
  };
  enum class Mode { kTrain, kEvaluate, kCheck };

  Operand operand(ValueId value) const;
  Instruction prepare(const Node& node, const Cost& cost);
  void prepare_early_collectives();
  void bind(size_t index, int microbatch);
  Block& block(int chunk, Phase phase) { return blocks_[static_cast<size_t>(chunk)][static_cast<size_t>(phase)]; }
  std::vector<Phase> phases_of(const Action& action) const;

  void warm_up();
  void begin(const HostStep& host, int step, Mode mode);
  const HostStep& stage_host(const HostStep& host);
  void end();
  void run_region(Region region);
  void run_schedule();
  void post_receives(const Action& action);
  void wait_for_send_slots(const Action& action);
  void run_action(const Action& action);
  void run_kernel(const Instruction& instruction, int microbatch);
  void run_node(size_t index, int microbatch);
  void run_on_lane(size_t index, int microbatch);
  void execute_on_lane(size_t index, int microbatch);
  void receive(size_t index, int microbatch);
  void send(size_t index, int microbatch);
  TraceEvent event_of(size_t index, int microbatch) const;
  void record_transfer(size_t index, int microbatch, int32_t sequence = -1);
  void start_early_collectives(size_t index);
  void wait_for_lanes(const Node& node);
  void wait_for_lane_node(size_t index);
  void check_outputs(size_t index, int microbatch);
  PipelineEdge edge_of(const Node& node) const;
  StepResult read_result() const;

  const StagePlan& stage_;
  const Config& config_;
  const Coordinate coordinate_;
  Backend& backend_;
  Timeline& timeline_;
  TraceRecorder& trace_;
  CommLanes* const lanes_;
  StatusWriter* status_ = nullptr;
  std::unique_ptr<DeviceMemory> memory_, host_memory_;  // the arena; where an asynchronous device reads HostStep
  std::vector<Instruction> instructions_;               // by node
  std::vector<std::vector<size_t>> regions_;            // the nodes of prologue and epilogue
  std::vector<std::array<Block, 3>> blocks_;            // by chunk and phase
  std::map<std::pair<size_t, int>, PipelineEdges::Ticket> posted_;  // receives, by node and microbatch
  std::map<std::pair<size_t, int>, PipelineEdges::Ticket> sent_;    // sends, by node and slot
  // Collectives of the epilogue that may start in the last backward: by node of the microbatch region, those that
  // wait for its last execution; by such a collective, for how many nodes it waits.
  std::map<size_t, std::vector<size_t>> waiting_for_;
  std::map<size_t, int> num_awaited_, num_missing_;
  // Of the step that runs now.
  const HostStep* host_ = nullptr;
  int step_ = 0;
  int32_t action_ = -1;  // index in the schedule
  Mark clock_ = 0;       // until then the compute lane's time is in events, or was another lane's
  Mode mode_ = Mode::kTrain;
  std::array<Mark, kLanes.size()> lane_end_{};  // of the last node, each written by its lane's thread
  std::vector<TraceEvent> events_;              // of the compute lane; their times are marks until the step ends
  std::optional<NonFinite> found_;
};

}  // namespace trine
