#include "runtime/step/executor.h"

#include <algorithm>
#include <new>
#include <numeric>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "models/llama.h"
#include "ops/collective.h"
#include "ops/pipeline.h"
#include "trace/node_label.h"

namespace trine {
namespace {

EventKind kind_of(const Node& node) {
  if (node.region == Region::kEpilogue) return EventKind::kOptimizer;
  if (node.region == Region::kPrologue) return EventKind::kData;
  return node.recompute ? EventKind::kRecompute : EventKind::kCompute;
}

}  // namespace

Executor::Executor(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
                   TraceRecorder& trace, CommLanes* lanes, std::optional<std::byte> fill)
    : stage_(stage),
      config_(config),
      coordinate_(coordinate),
      backend_(backend),
      timeline_(backend.timeline()),
      trace_(trace),
      lanes_(lanes),
      regions_(3) {
  TRINE_CHECK(lanes != nullptr || config.mesh.num_ranks() == 1, "{} ranks need lanes", config.mesh.num_ranks());
  check_device_of_plan(stage.memory, backend);
  memory_ = backend.allocate(stage.memory.total_bytes());
  for (size_t n = 0; n < stage.graph.nodes().size(); ++n) {
    const Node& node = stage.graph.nodes()[n];
    instructions_.push_back(prepare(node, stage.graph.cost({static_cast<int32_t>(n)})));
    if (node.region != Region::kMicrobatch) {
      regions_[static_cast<size_t>(node.region)].push_back(n);
      continue;
    }
    if (blocks_.size() <= static_cast<size_t>(node.chunk)) blocks_.resize(static_cast<size_t>(node.chunk) + 1);
    Block& home = block(node.chunk, node.phase);
    home.nodes.push_back(n);
    if (node.op->is_transfer()) (node.inputs.empty() ? home.receives : home.sends).push_back(n);
  }
  prepare_early_collectives();
  if (lanes) lanes->attach(backend);
  if (lanes && lanes->on_device()) {
    warm_up();
    backend.fill(arena(), std::byte{0});
  }
  if (fill) {
    backend.fill(arena(), *fill);
    for (size_t i = 0; i < stage.graph.states().size(); ++i) {
      const TensorView state = view(StateId{static_cast<int32_t>(i)});
      backend.fill({state.data, static_cast<size_t>(state.num_elements()) * size_bytes(state.dtype)}, std::byte{0});
    }
  }
}

// Runs each kernel of the compute lane once, on zeros. CUDA loads a kernel at its first launch, and libraries
// choose theirs, which waits for what runs on the device; in a step that may be a receive whose sender waits for
// this rank.
void Executor::warm_up() {
  const std::vector<int32_t> tokens(static_cast<size_t>(config_.global_batch / config_.mesh.dp * config_.seq), 0);
  begin({.ids = tokens, .labels = tokens}, 0, Mode::kEvaluate);
  for (size_t n = 0; n < instructions_.size(); ++n) {
    const Node& node = stage_.graph.nodes()[n];
    if (node.lane != Lane::kCompute || node.op->is_view() || node.op->is_transfer()) continue;
    bind(n, 0);
    run_kernel(instructions_[n], 0);
  }
  timeline_.synchronize_all();
}

Executor::~Executor() {
  if (lanes_) lanes_->detach();
}

// A collective of the epilogue may start early if nothing in the epilogue comes before it but such collectives.
void Executor::prepare_early_collectives() {
  std::map<size_t, std::set<size_t>> awaited;  // by such a collective
  for (const size_t index : regions_[static_cast<size_t>(Region::kEpilogue)]) {
    const Node& node = stage_.graph.nodes()[index];
    if (node.lane != Lane::kTp && node.lane != Lane::kDp) continue;
    std::set<size_t> nodes;
    bool early = true;
    for (const NodeId wait : node.waits) {
      const size_t other = static_cast<size_t>(wait.index);
      if (stage_.graph[wait].region == Region::kMicrobatch && stage_.graph[wait].lane == Lane::kCompute)
        nodes.insert(other);
      else if (awaited.contains(other))
        nodes.insert(awaited[other].begin(), awaited[other].end());
      else
        early = false;
    }
    if (early && !nodes.empty()) awaited[index] = nodes;
  }
  for (const auto& [index, nodes] : awaited) {
    num_awaited_[index] = static_cast<int>(nodes.size());
    for (const size_t node : nodes) waiting_for_[node].push_back(index);
  }
}

TensorView Executor::view(StateId id) const {
  const State& state = stage_.graph[id];
  const Shape shape = local_shape(state.type, stage_.graph.mesh(), coordinate_);
  int64_t shard = 0;  // where this rank's share of a storage begins; the plan knows what is the same on all ranks
  for (StateId part = id; stage_.graph[part].storage.valid(); part = stage_.graph[part].storage)
    shard += stage_.graph.first_element(part, coordinate_) - stage_.graph[part].offset;
  std::byte* const data = memory_->data() + stage_.memory.state_offsets[static_cast<size_t>(id.index)];
  return {data + shard * static_cast<int64_t>(size_bytes(state.type.dtype)), state.type.dtype, shape.num_rows(),
          shape.num_columns(), shape.num_columns()};
}

Executor::Operand Executor::operand(ValueId id) const {
  const Value& value = stage_.graph[id];
  if (value.state.valid()) return {view(value.state)};
  const Shape shape = local_shape(value.type, stage_.graph.mesh(), coordinate_);
  const ValuePlace& place = stage_.memory.values[static_cast<size_t>(id.index)];
  TRINE_CHECK(place.pool >= 0, "value %{} has no place in the plan", id.index);
  const Pool& pool = stage_.memory.pools[static_cast<size_t>(place.pool)];
  const TensorView slot_0{memory_->data() + pool.begin + place.offset, value.type.dtype, shape.num_rows(),
                          shape.num_columns(), place.row_stride};
  return {slot_0, pool.num_slots > 1 ? &pool : nullptr};
}

TensorView Executor::value_view(ValueId id, int microbatch) const {
  const Operand operand = this->operand(id);
  TensorView view = operand.view;
  if (operand.pool) view.data += operand.pool->slot(microbatch) * operand.pool->slot_bytes;
  return view;
}

Executor::Instruction Executor::prepare(const Node& node, const Cost& cost) {
  Instruction instruction{.cost = cost, .kind = kind_of(node)};
  for (ValueId id : node.inputs) instruction.operands.push_back(operand(id));
  for (ValueId id : node.outputs) instruction.operands.push_back(operand(id));
  for (StateId id : node.writes) instruction.operands.push_back({view(id)});
  for (size_t i = 0; i < instruction.operands.size(); ++i)
    (i < node.inputs.size() ? instruction.inputs : instruction.outputs).push_back(instruction.operands[i].view);
  if (node.op->is_view() || node.op->is_transfer()) return instruction;
  const Types input_types = stage_.graph.input_types(node), output_types = stage_.graph.output_types(node);
  KernelRequest request{*node.op,    instruction.inputs, instruction.outputs,           stage_.graph.mesh(),
                        coordinate_, config_.threads,    stage_.memory.workspace_bytes, input_types,
                        output_types};
  if (node.lane != Lane::kCompute) {
    const Axis axis = node.lane == Lane::kTp ? Axis::kTp : node.lane == Lane::kDp ? Axis::kDp : Axis::kPp;
    request.group = &lanes_->group(axis);
    request.device_group = lanes_->device_group(axis);
    request.lane = node.lane;
  }
  instruction.kernel = backend_.kernels().make(request);
  return instruction;
}

// Points the operands to the slots of a microbatch.
void Executor::bind(size_t index, int microbatch) {
  Instruction& instruction = instructions_[index];
  const size_t num_inputs = instruction.inputs.size();
  for (size_t i = 0; i < instruction.operands.size(); ++i) {
    const Operand& operand = instruction.operands[i];
    if (operand.pool == nullptr) continue;
    TensorView& view = i < num_inputs ? instruction.inputs[i] : instruction.outputs[i - num_inputs];
    view.data = operand.view.data + operand.pool->slot(microbatch) * operand.pool->slot_bytes;
  }
}

void Executor::begin(const HostStep& host, int step, Mode mode) {
  timeline_.begin_step();
  host_ = timeline_.asynchronous() ? &stage_host(host) : &host;
  step_ = step, mode_ = mode;
  clock_ = timeline_.mark(Lane::kCompute);
  lane_end_.fill(clock_);
  for (Instruction& instruction : instructions_) instruction.done.reset();
  num_missing_ = num_awaited_;
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

// Waits until everything is done, on the device too; marks become times.
void Executor::end() {
  std::vector<TraceEvent> of_lanes;
  if (lanes_ && mode_ == Mode::kTrain) of_lanes = lanes_->finish_step();
  if (lanes_ && mode_ != Mode::kTrain) lanes_->discard_step();
  timeline_.synchronize_all();
  for (TraceEvent& event : events_) {
    event.t0_ns = timeline_.time_ns(event.t0_ns), event.t1_ns = timeline_.time_ns(event.t1_ns);
    trace_.record(event);
  }
  events_.clear();
  for (const TraceEvent& event : of_lanes) trace_.record(event);
}

StepResult Executor::train_step(const HostStep& host, int step) {
  begin(host, step, Mode::kTrain);
  run_region(Region::kPrologue);
  run_schedule();
  run_region(Region::kEpilogue);
  end();
  StepResult result = read_result();
  result.loss = static_cast<double>(scalar<float>(step_state::kLossSum)) / result.valid_tokens;
  result.grad_norm = static_cast<double>(scalar<float>(step_state::kGradNorm));
  result.applied = scalar<int32_t>(step_state::kApply) != 0;
  return result;
}

StepResult Executor::evaluate(const HostStep& host, int step) {
  begin(host, step, Mode::kEvaluate);
  run_region(Region::kPrologue);
  run_schedule();
  end();
  StepResult result = read_result();
  // Each dp rank's last stage has a part of the sum; its tp ranks all have the same.
  const bool counts = stage_.loss.valid() && coordinate_.tp == 0;
  std::vector<double> sums(static_cast<size_t>(config_.mesh.num_ranks()));
  sums[static_cast<size_t>(config_.mesh.rank(coordinate_))] =
      counts ? static_cast<double>(scalar<float>(step_state::kLossSum)) : 0;
  if (lanes_) {
    const double own = sums[static_cast<size_t>(config_.mesh.rank(coordinate_))];
    lanes_->world()[Group::kWorld].all_gather(&own, sums.data(), static_cast<int64_t>(sums.size()), DType::kI64);
  }
  result.loss = std::accumulate(sums.begin(), sums.end(), 0.0) / result.valid_tokens;
  return result;
}

std::optional<NonFinite> Executor::find_non_finite(const HostStep& host, int step) {
  begin(host, step, Mode::kCheck);
  run_region(Region::kPrologue);
  run_schedule();
  end();
  return found_;
}

void Executor::run_region(Region region) {
  if (status_) status_->set_action(name(region));
  for (size_t index : regions_[static_cast<size_t>(region)])
    if (region == Region::kPrologue || !num_awaited_.contains(index)) run_node(index, -1);
}

std::vector<Phase> Executor::phases_of(const Action& action) const {
  switch (action.kind) {
    case ActionKind::kForward:
      return {Phase::kForward};
    case ActionKind::kInputGrad:
      return {Phase::kInputGrad};
    case ActionKind::kWeightGrad:
      return {Phase::kWeightGrad};
    case ActionKind::kBackward:
      return {Phase::kInputGrad, Phase::kWeightGrad};
  }
  return {};
}

// Training posts the receives of an action while the one before it runs; forwards alone post their own. A receive
// of the device spins there until its message comes, so it follows what is enqueued of the action before: that may
// have to be loaded first, and loading waits for what spins.
void Executor::run_schedule() {
  const Schedule& schedule = stage_.schedule;
  const bool on_device = lanes_ != nullptr && lanes_->on_device();
  const auto post_next = [&](size_t i) {
    if (i + 1 < schedule.size() && mode_ != Mode::kEvaluate) post_receives(schedule[i + 1]);
  };
  for (size_t i = 0; i < schedule.size(); ++i) {
    if (mode_ == Mode::kEvaluate && schedule[i].kind != ActionKind::kForward) continue;
    action_ = static_cast<int32_t>(i);
    wait_for_send_slots(schedule[i]);
    if (i == 0 || mode_ == Mode::kEvaluate) post_receives(schedule[i]);
    if (!on_device) post_next(i);
    run_action(schedule[i]);
    if (on_device) post_next(i);
  }
  action_ = -1;
  posted_.clear();
  sent_.clear();
}

void Executor::post_receives(const Action& action) {
  for (const Phase phase : phases_of(action)) {
    for (const size_t index : block(action.stage / config_.mesh.pp, phase).receives) {
      bind(index, action.microbatch);
      const TensorView& to = instructions_[index].outputs[0];
      posted_[{index, action.microbatch}] =
          lanes_->receive(to.data, to.num_elements() * static_cast<int64_t>(size_bytes(to.dtype)),
                          edge_of(stage_.graph.nodes()[index]), timeline_.mark(Lane::kCompute));
      record_transfer(index, action.microbatch);
    }
  }
}

// What an earlier microbatch sent from the bytes that this action writes must have arrived.
void Executor::wait_for_send_slots(const Action& action) {
  for (const Phase phase : phases_of(action))
    for (const size_t index : block(action.stage / config_.mesh.pp, phase).sends) {
      const Pool* pool = instructions_[index].operands[0].pool;
      const auto sent = sent_.find({index, pool ? pool->slot(action.microbatch) : 0});
      if (sent == sent_.end()) continue;
      lanes_->wait_sent(sent->second);
      record_transfer(index, action.microbatch);
    }
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

void Executor::run_action(const Action& action) {
  if (status_) status_->set_action(to_string(action));
  if (timeline_.asynchronous()) timeline_.push(to_string(action).c_str());
  for (const Phase phase : phases_of(action)) {
    std::optional<size_t> last;
    for (const size_t index : block(action.stage / config_.mesh.pp, phase).nodes) {
      run_node(index, action.microbatch);
      if (stage_.graph.nodes()[index].lane == Lane::kTp) last = index;
    }
    if (!last) continue;
    wait_for_lane_node(*last);  // an action ends in all lanes
    clock_ = timeline_.mark(Lane::kCompute);
  }
  timeline_.pop();
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

PipelineEdge Executor::edge_of(const Node& node) const {
  if (const auto* send = dynamic_cast<const Send*>(node.op.get()))
    return {send->to_stage % config_.mesh.pp, send->backward};
  const auto& receive = dynamic_cast<const Receive&>(*node.op);
  return {receive.from_stage % config_.mesh.pp, receive.backward};
}

void Executor::receive(size_t index, int microbatch) {
  const auto posted = posted_.find({index, microbatch});
  TRINE_CHECK(posted != posted_.end(), "node {} of microbatch {} was not posted", index, microbatch);
  TraceEvent event = event_of(index, microbatch);
  event.bytes = instructions_[index].cost.bytes_written, event.lane = Lane::kPp;
  lanes_->wait_received(posted->second, edge_of(stage_.graph.nodes()[index]), event);
  posted_.erase(posted);
  clock_ = timeline_.mark(Lane::kCompute);
}

void Executor::send(size_t index, int microbatch) {
  const Node& node = stage_.graph.nodes()[index];
  wait_for_lanes(node);
  bind(index, microbatch);
  const TensorView& from = instructions_[index].inputs[0];
  const Pool* pool = instructions_[index].operands[0].pool;
  sent_[{index, pool ? pool->slot(microbatch) : 0}] =
      lanes_->send(from.data, from.num_elements() * static_cast<int64_t>(size_bytes(from.dtype)), edge_of(node),
                   timeline_.mark(Lane::kCompute));
  record_transfer(index, microbatch, lanes_->num_sent(edge_of(node)) - 1);
}

// What the compute lane does from now on comes after another lane's node.
void Executor::wait_for_lane_node(size_t index) {
  const Instruction& instruction = instructions_[index];
  if (!lanes_->on_device()) lanes_->thread(stage_.graph.nodes()[index].lane).wait(instruction.ticket);
  if (instruction.done) timeline_.wait(Lane::kCompute, *instruction.done);
}

void Executor::wait_for_lanes(const Node& node) {
  for (const NodeId wait : node.waits) {
    const Node& other = stage_.graph[wait];
    if (other.lane == Lane::kCompute || other.op->is_transfer()) continue;  // this thread ran it before
    wait_for_lane_node(static_cast<size_t>(wait.index));
    clock_ = timeline_.mark(Lane::kCompute);
  }
}

void Executor::run_kernel(const Instruction& instruction, int microbatch) {
  const std::span<std::byte> workspace(memory_->data() + stage_.memory.workspace_begin(),
                                       static_cast<size_t>(stage_.memory.workspace_bytes));
  instruction.kernel({.inputs = instruction.inputs,
                      .outputs = instruction.outputs,
                      .workspace = workspace,
                      .microbatch = microbatch,
                      .first_write = microbatch <= 0,
                      .host = host_});
}

void Executor::run_node(size_t index, int microbatch) {
  const Node& node = stage_.graph.nodes()[index];
  if (status_) status_->set_node(static_cast<int>(index), node.op->name());
  if (node.op->is_transfer()) return node.inputs.empty() ? receive(index, microbatch) : send(index, microbatch);
  if (node.lane != Lane::kCompute) return run_on_lane(index, microbatch);
  wait_for_lanes(node);
  if (node.op->is_view()) return;
  bind(index, microbatch);
  const Instruction& instruction = instructions_[index];
  timeline_.push(node.op->name().data());
  run_kernel(instruction, microbatch);
  timeline_.pop();
  const Mark end = timeline_.mark(Lane::kCompute);
  TraceEvent event = event_of(index, microbatch);
  event.t0_ns = clock_, event.t1_ns = end, event.flops = instruction.cost.flops;
  event.bytes = instruction.cost.bytes_read + instruction.cost.bytes_written;
  event.kind = instruction.kind;
  events_.push_back(event);
  clock_ = end;
  if (mode_ == Mode::kCheck) check_outputs(index, microbatch);
  if (mode_ == Mode::kTrain && microbatch + 1 == config_.num_microbatches()) start_early_collectives(index);
}

// A lane whose work passes through the host has a thread; a lane of the device is enqueued from here.
void Executor::run_on_lane(size_t index, int microbatch) {
  const Node& node = stage_.graph.nodes()[index];
  bind(index, microbatch);
  instructions_[index].ready = timeline_.mark(Lane::kCompute);
  instructions_[index].event = event_of(index, microbatch);
  if (lanes_->on_device()) {
    execute_on_lane(index, microbatch);
  } else {
    instructions_[index].ticket =
        lanes_->thread(node.lane).enqueue([this, node_index = static_cast<int32_t>(index), microbatch] {
          execute_on_lane(static_cast<size_t>(node_index), microbatch);
        });
  }
  clock_ = timeline_.mark(Lane::kCompute);  // since it was ready, the time is the lane's
}

// Nodes of the compute lane that come before this one have been run, or enqueued before `ready`. The event begins
// when the rank was ready: what the thread takes to wake up belongs to the communication.
void Executor::execute_on_lane(size_t index, int microbatch) {
  const Node& node = stage_.graph.nodes()[index];
  Instruction& instruction = instructions_[index];
  Mark& lane_end = lane_end_[static_cast<size_t>(node.lane)];
  Mark begin = lane_end;
  timeline_.wait(node.lane, instruction.ready);
  for (const NodeId wait : node.waits) {
    const Node& other = stage_.graph[wait];
    if (other.lane == Lane::kCompute || other.lane == node.lane || other.op->is_transfer()) continue;
    const Instruction& awaited = instructions_[static_cast<size_t>(wait.index)];
    if (!lanes_->on_device()) lanes_->thread(other.lane).wait(awaited.ticket);
    if (awaited.done) timeline_.wait(node.lane, *awaited.done);
    begin = timeline_.mark(node.lane);
  }
  timeline_.push(node.op->name().data());
  instruction.kernel({.inputs = instruction.inputs,
                      .outputs = instruction.outputs,
                      .workspace = {},
                      .microbatch = microbatch,
                      .first_write = microbatch <= 0,
                      .host = host_});
  timeline_.pop();
  lane_end = timeline_.mark(node.lane);
  instruction.done = lane_end;
  TraceEvent event = instruction.event;
  event.t0_ns = begin, event.t1_ns = lane_end, event.bytes = instruction.cost.wire_bytes;
  lanes_->record({event, instruction.ready, dynamic_cast<const Collective*>(node.op.get()) != nullptr});
}

void Executor::start_early_collectives(size_t index) {
  const auto waiting = waiting_for_.find(index);
  if (waiting == waiting_for_.end()) return;
  for (const size_t collective : waiting->second)
    if (--num_missing_[collective] == 0) run_on_lane(collective, -1);
}

void Executor::check_outputs(size_t index, int microbatch) {
  if (found_) return;
  const Node& node = stage_.graph.nodes()[index];
  const std::vector<TensorView>& outputs = instructions_[index].outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int64_t count = backend_.count_non_finite(outputs[i]);
    if (count == 0) continue;
    const bool is_state = i >= node.outputs.size();
    const StateId state = is_state ? node.writes[i - node.outputs.size()] : StateId{};
    const ValueId value = is_state ? stage_.graph[state].value : node.outputs[i];
    const std::string& name = stage_.graph[value].name;
    found_ = NonFinite{
        now_ns(), fmt::format("{}: {} -> {} {}, microbatch {}: {} of {} elements", node.scope, node.op->name(),
                              name.empty() ? fmt::format("%{}", value.index) : name,
                              to_string(stage_.graph[value].type), microbatch, count, outputs[i].num_elements())};
    return;
  }
}

StepResult Executor::read_result() const {
  return {.valid_tokens = static_cast<double>(scalar<int64_t>(step_state::kValidTokens))};
}

}  // namespace trine
