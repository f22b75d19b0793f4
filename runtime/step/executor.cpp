#include "runtime/step/executor.h"

#include <algorithm>
#include <new>
#include <numeric>

#include "base/error.h"
#include "models/llama.h"
#include "ops/pipeline.h"
#include "trace/node_label.h"

namespace trine {

Executor::Executor(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
                   TraceRecorder& trace, CommLanes* lanes, std::optional<std::byte> fill)
    : stage_(stage),
      config_(config),
      coordinate_(coordinate),
      backend_(backend),
      timeline_(backend.timeline()),
      trace_(trace),
      lanes_(lanes),
      memory_(allocate_arena()),
      instructions_(stage, config, coordinate, backend, lanes, arena()),
      results_(backend, result_views()),
      lane_nodes_(stage.graph, instructions_, timeline_, lanes),
      graphs_(stage.graph, instructions_, timeline_, config.kernels.graphs,
              lanes != nullptr && lanes->on_device()) {
  const bool on_device = lanes != nullptr && lanes->on_device();
  for (const StepMode mode : {StepMode::kTrain, StepMode::kEvaluate, StepMode::kCheck})
    programs_.push_back(step_program(stage, mode, on_device));
  if (lanes) lanes->attach(backend);
  const bool trials = backend.begin_trials();
  if (trials || (on_device && backend.loads_kernels_late())) {
    warm_up();
    backend.fill(arena(), std::byte{0});
    if (trials) trials_ = backend.end_trials();
  }
  if (fill) {
    backend.fill(arena(), *fill);
    for (size_t i = 0; i < stage.graph.states().size(); ++i) {
      const TensorView state = view(StateId{static_cast<int32_t>(i)});
      backend.fill({state.data, static_cast<size_t>(state.num_elements()) * size_bytes(state.dtype)}, std::byte{0});
    }
  }
}

Executor::~Executor() {
  if (lanes_) lanes_->detach();
}

std::unique_ptr<DeviceMemory> Executor::allocate_arena() const {
  TRINE_CHECK(lanes_ != nullptr || config_.mesh.num_ranks() == 1, "{} ranks need lanes", config_.mesh.num_ranks());
  check_device_of_plan(stage_.memory, backend_);
  return backend_.allocate(stage_.memory.total_bytes());
}

std::map<std::string, TensorView> Executor::result_views() const {
  std::map<std::string, TensorView> views;
  for (const char* name :
       {step_state::kValidTokens, step_state::kLossSum, step_state::kGradNorm, step_state::kApply})
    views[name] = view(name);
  return views;
}

// Runs each kernel of the compute lane once, on zeros. CUDA loads a kernel at its first launch, and libraries
// choose theirs, which waits for what runs on the device;
// in a step that may be a receive whose sender waits for this rank.
void Executor::warm_up() {
  const std::vector<int32_t> tokens(static_cast<size_t>(config_.global_batch / config_.mesh.dp * config_.seq), 0);
  begin({.ids = tokens, .labels = tokens}, 0);
  for (size_t n = 0; n < stage_.graph.nodes().size(); ++n) {
    const Node& node = stage_.graph.nodes()[n];
    if (node.lane != Lane::kCompute || node.op->is_view() || node.op->is_transfer()) continue;
    run_kernel(instructions_.bind(n, 0), 0, host_);
  }
  timeline_.synchronize_all();
}

void Executor::begin(const HostStep& host, int step) {
  graphs_.record([&](const Command& command) {
    run_kernel(instructions_.bind(static_cast<size_t>(command.node), command.microbatch), command.microbatch,
               /*host=*/nullptr);
  });
  timeline_.begin_step();
  host_ = timeline_.asynchronous() ? &stage_host(host) : &host;
  step_ = step;
  lane_nodes_.begin_step(*host_);
  clock_ = timeline_.mark(Lane::kCompute);
  posted_.clear(), sent_.clear(), pending_.clear(), pieces_.clear();
  found_.reset();
}

// A copy in memory that the device reads when it comes to it. The step before has ended, and with it its readers.
const HostStep& Executor::stage_host(const HostStep& host) {
  const size_t ids_at = sizeof(HostStep), labels_at = ids_at + host.ids.size_bytes();
  const auto bytes = static_cast<int64_t>(labels_at + host.labels.size_bytes());
  if (!host_memory_ || host_memory_->size() < bytes) host_memory_ = backend_.allocate_host(bytes);
  const auto copy = [&](std::span<const int32_t> from, size_t at) {
    auto* const to = reinterpret_cast<int32_t*>(host_memory_->data() + at);
    std::copy(from.begin(), from.end(), to);
    return std::span<const int32_t>(to, from.size());
  };
  return *new (host_memory_->data()) HostStep{.ids = copy(host.ids, ids_at),
                                              .labels = copy(host.labels, labels_at),
                                              .lr = host.lr,
                                              .loss_scale = host.loss_scale};
}

void Executor::run(StepMode mode, const HostStep& host, int step) {
  begin(host, step);
  const StepProgram& program = programs_[static_cast<size_t>(mode)];
  const auto num_actions = static_cast<int>(program.actions().size());
  std::optional<int> begun;
  for (int action = -1; action <= num_actions; ++action) {
    action_ = action < num_actions ? action : -1;
    program.for_each_of(action, [&](const Command& command) {
      if (mode != StepMode::kCheck && graphs_.takes(command)) return pending_.push_back(command);
      run_pending();
      if (begun && command.action != *begun) timeline_.pop(), begun.reset();
      if (command.kind == CommandKind::kAction) {
        const std::string label = program.label(*(begun = action));
        if (status_) status_->set_action(label);
        timeline_.push(label.c_str());
      } else if (command.kind != CommandKind::kEnd) {
        carry_out(command, mode);
      }
    });
    run_pending();
  }
  if (begun) timeline_.pop();
  end(mode);
}

// Steps of a written trace run node by node: it shows what each took.
void Executor::run_pending() {
  if (pending_.empty()) return;
  KernelGraphs::Piece* const piece = graphs_.piece(pending_);
  const bool replayed = piece != nullptr && piece->recording != nullptr && !config_.trace.contains(step_);
  if (piece) pieces_.push_back({piece, events_.size(), replayed});
  if (replayed) {
    replay(*piece);
  } else {
    for (const Command& command : pending_) carry_out(command, StepMode::kTrain);
  }
  pending_.clear();
}

void Executor::replay(KernelGraphs::Piece& piece) {
  const auto first = static_cast<size_t>(pending_[0].node);
  now_at(stage_.graph.nodes()[first], first);
  piece.recording->enqueue();
  const Mark end = timeline_.mark(Lane::kCompute);
  for (const Command& command : pending_)
    events_.push_back(kernel_event(static_cast<size_t>(command.node), command.microbatch, end));
  clock_ = end;
}

void Executor::carry_out(const Command& command, StepMode mode) {
  const auto index = static_cast<size_t>(command.node);
  const Node& node = stage_.graph.nodes()[index];
  switch (command.kind) {
    case CommandKind::kPostReceive:
      return post_receive(index, command.microbatch);
    case CommandKind::kWaitReceive:
      now_at(node, index);
      return wait_receive(index, command.microbatch);
    case CommandKind::kPostSend:
      now_at(node, index);
      return post_send(index, command.microbatch, command.slot);
    case CommandKind::kWaitSent:
      lanes_->wait_sent(sent_.at({index, command.slot}));
      return record_transfer(index, command.microbatch);
    case CommandKind::kRun:
      now_at(node, index);
      run_node(index, command.microbatch);
      if (mode == StepMode::kCheck && !found_)
        found_ = first_non_finite(stage_.graph, node, command.microbatch, instructions_[index].outputs, backend_);
      return;
    case CommandKind::kEnqueue:
      now_at(node, index);
      lane_nodes_.enqueue(event_of(index, command.microbatch));
      clock_ = timeline_.mark(Lane::kCompute);  // since it was ready, the time is the lane's
      return;
    case CommandKind::kWaitLane:
      now_at(node, index);
      lane_nodes_.wait(index);
      clock_ = timeline_.mark(Lane::kCompute);
      return;
    case CommandKind::kAction:
    case CommandKind::kEnd:
      return;
  }
}

void Executor::now_at(const Node& node, size_t index) {
  if (status_) status_->set_node(static_cast<int>(index), node.op->name());
}

// Waits until everything is done, on the device too; marks become times.
void Executor::end(StepMode mode) {
  std::vector<TraceEvent> of_lanes;
  if (lanes_ && mode == StepMode::kTrain) of_lanes = lanes_->finish_step();
  if (lanes_ && mode != StepMode::kTrain) lanes_->discard_step();
  results_.enqueue();
  timeline_.synchronize_all();
  for (TraceEvent& event : events_) {
    event.t0_ns = timeline_.time_ns(event.t0_ns), event.t1_ns = timeline_.time_ns(event.t1_ns);
  }
  for (const PieceRun& run : pieces_) {
    const std::span<TraceEvent> of_piece = std::span(events_).subspan(run.first_event, run.piece->commands.size());
    run.replayed ? KernelGraphs::share_out(*run.piece, of_piece) : KernelGraphs::learn(*run.piece, of_piece);
  }
  for (const TraceEvent& event : events_) trace_.record(event);
  events_.clear(), pieces_.clear();
  for (const TraceEvent& event : of_lanes) trace_.record(event);
}

StepResult Executor::train_step(const HostStep& host, int step) {
  run(StepMode::kTrain, host, step);
  StepResult result = read_result();
  result.loss = static_cast<double>(results_.get<float>(step_state::kLossSum)) / result.valid_tokens;
  result.grad_norm = static_cast<double>(results_.get<float>(step_state::kGradNorm));
  result.applied = results_.get<int32_t>(step_state::kApply) != 0;
  return result;
}

StepResult Executor::evaluate(const HostStep& host, int step) {
  run(StepMode::kEvaluate, host, step);
  StepResult result = read_result();
  // Each dp rank's last stage has a part of the sum; its tp ranks all have the same.
  const bool counts = stage_.loss.valid() && coordinate_.tp == 0;
  std::vector<double> sums(static_cast<size_t>(config_.mesh.num_ranks()));
  sums[static_cast<size_t>(config_.mesh.rank(coordinate_))] =
      counts ? static_cast<double>(results_.get<float>(step_state::kLossSum)) : 0;
  if (lanes_) {
    const double own = sums[static_cast<size_t>(config_.mesh.rank(coordinate_))];
    lanes_->world()[Group::kWorld].all_gather(&own, sums.data(), static_cast<int64_t>(sums.size()), DType::kI64);
  }
  result.loss = std::accumulate(sums.begin(), sums.end(), 0.0) / result.valid_tokens;
  return result;
}

std::optional<NonFinite> Executor::find_non_finite(const HostStep& host, int step) {
  run(StepMode::kCheck, host, step);
  return found_;
}

StepResult Executor::read_result() const {
  return {.valid_tokens = static_cast<double>(scalar<int64_t>(step_state::kValidTokens))};
}

void Executor::run_kernel(const Instruction& instruction, int microbatch, const HostStep* host) {
  const std::span<std::byte> workspace(memory_->data() + stage_.memory.workspace_begin(),
                                       static_cast<size_t>(stage_.memory.workspace_bytes));
  instruction.kernel({.inputs = instruction.inputs,
                      .outputs = instruction.outputs,
                      .workspace = workspace,
                      .microbatch = microbatch,
                      .first_write = microbatch <= 0,
                      .host = host});
}

void Executor::run_node(size_t index, int microbatch) {
  const Instruction& instruction = instructions_.bind(index, microbatch);
  timeline_.push(stage_.graph.nodes()[index].op->name().data());
  run_kernel(instruction, microbatch, host_);
  timeline_.pop();
  const Mark end = timeline_.mark(Lane::kCompute);
  events_.push_back(kernel_event(index, microbatch, end));
  clock_ = end;
}

// From where the compute lane's time was accounted for until now.
TraceEvent Executor::kernel_event(size_t index, int microbatch, Mark end) const {
  const Instruction& instruction = instructions_[index];
  TraceEvent event = event_of(index, microbatch);
  event.t0_ns = clock_, event.t1_ns = end, event.flops = instruction.cost.flops;
  event.bytes = instruction.cost.bytes_read + instruction.cost.bytes_written;
  event.kind = instruction.kind;
  return event;
}

PipelineEdge Executor::edge_of(const Node& node) const {
  if (const auto* send = dynamic_cast<const Send*>(node.op.get()))
    return {send->to_stage % config_.mesh.pp, send->backward};
  const auto& receive = dynamic_cast<const Receive&>(*node.op);
  return {receive.from_stage % config_.mesh.pp, receive.backward};
}

void Executor::post_receive(size_t index, int microbatch) {
  const TensorView& to = instructions_.bind(index, microbatch).outputs[0];
  posted_[{index, microbatch}] =
      lanes_->receive(to.data, to.num_elements() * static_cast<int64_t>(size_bytes(to.dtype)),
                      edge_of(stage_.graph.nodes()[index]), timeline_.mark(Lane::kCompute));
  record_transfer(index, microbatch);
}

void Executor::wait_receive(size_t index, int microbatch) {
  const auto posted = posted_.find({index, microbatch});
  TRINE_CHECK(posted != posted_.end(), "node {} of microbatch {} was not posted", index, microbatch);
  TraceEvent event = event_of(index, microbatch);
  event.bytes = instructions_[index].cost.bytes_written, event.lane = Lane::kPp;
  lanes_->wait_received(posted->second, edge_of(stage_.graph.nodes()[index]), event);
  posted_.erase(posted);
  clock_ = timeline_.mark(Lane::kCompute);
}

void Executor::post_send(size_t index, int microbatch, int slot) {
  const TensorView& from = instructions_.bind(index, microbatch).inputs[0];
  const PipelineEdge edge = edge_of(stage_.graph.nodes()[index]);
  sent_[{index, slot}] = lanes_->send(from.data, from.num_elements() * static_cast<int64_t>(size_bytes(from.dtype)),
                                      edge, timeline_.mark(Lane::kCompute));
  record_transfer(index, microbatch, lanes_->num_sent(edge) - 1);
}

// What the compute lane did since its last event was for a message: posting it, or waiting until its bytes may be
// written. Else it would count as the next node's. The bytes are those of the receiver's event.
void Executor::record_transfer(size_t index, int microbatch, int32_t sequence) {
  const Mark end = timeline_.mark(Lane::kCompute);
  TraceEvent event = event_of(index, microbatch);
  event.t0_ns = clock_, event.t1_ns = end, event.sequence = sequence;
  event.lane = Lane::kPp, event.kind = EventKind::kCommPp;
  events_.push_back(event);
  clock_ = end;
}

// What is known of a node's event before it runs.
TraceEvent Executor::event_of(size_t index, int microbatch) const {
  const Node& node = stage_.graph.nodes()[index];
  return {.step = step_,
          .node = static_cast<int32_t>(index),
          .microbatch = microbatch,
          .action = action_,
          .peer = peer_of(node, config_.mesh.pp),
          .chunk = static_cast<int16_t>(node.region == Region::kMicrobatch ? node.chunk : -1),
          .lane = node.lane};
}

}  // namespace trine
