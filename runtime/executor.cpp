#include "runtime/executor.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "models/llama.h"

namespace trine {
namespace {

EventKind kind_of(const Node& node) {
  if (node.region == Region::kEpilogue) return EventKind::kOptimizer;
  if (node.region == Region::kPrologue) return EventKind::kData;
  return node.recompute ? EventKind::kRecompute : EventKind::kCompute;
}

}  // namespace

Executor::Executor(const StagePlan& stage, const Config& config, Coordinate coordinate, Backend& backend,
                   TraceRecorder& trace, std::optional<std::byte> fill)
    : stage_(stage),
      config_(config),
      coordinate_(coordinate),
      backend_(backend),
      trace_(trace),
      regions_(3),
      phases_(3) {
  memory_ = backend.allocate(stage.memory.total_bytes());
  if (fill) {
    std::memset(memory_->data(), static_cast<int>(*fill), static_cast<size_t>(memory_->size()));
    for (size_t i = 0; i < stage.graph.states().size(); ++i) {
      const TensorView state = view(StateId{static_cast<int32_t>(i)});
      std::memset(state.data, 0, static_cast<size_t>(state.num_elements()) * size_bytes(state.dtype));
    }
  }
  for (size_t n = 0; n < stage.graph.nodes().size(); ++n) {
    const Node& node = stage.graph.nodes()[n];
    instructions_.push_back(prepare(node, stage.graph.cost({static_cast<int32_t>(n)})));
    regions_[static_cast<size_t>(node.region)].push_back(n);
    if (node.region == Region::kMicrobatch) phases_[static_cast<size_t>(node.phase)].push_back(n);
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

TensorView Executor::value_view(ValueId id, int frame) const {
  const Value& value = stage_.graph[id];
  if (value.state.valid()) return view(value.state);
  const Shape shape = local_shape(value.type, stage_.graph.mesh(), coordinate_);
  const ValuePlace& place = stage_.memory.values[static_cast<size_t>(id.index)];
  TRINE_CHECK(place.where != ValuePlace::Where::kNowhere, "value %{} has no place in the plan", id.index);
  const int64_t begin = place.where == ValuePlace::Where::kFrame ? stage_.memory.frame_begin(frame)
                                                                 : stage_.memory.transients_begin();
  return {memory_->data() + begin + place.offset, value.type.dtype, shape.num_rows(), shape.num_columns(),
          place.row_stride};
}

Executor::Instruction Executor::prepare(const Node& node, const Cost& cost) {
  Instruction instruction{.kernel = {}, .inputs = {}, .outputs = {}, .cost = cost, .kind = kind_of(node)};
  for (int frame = 0; frame < stage_.memory.num_frames; ++frame) {
    std::vector<TensorView>&inputs = instruction.inputs.emplace_back(),
    &outputs = instruction.outputs.emplace_back();
    for (ValueId id : node.inputs) inputs.push_back(value_view(id, frame));
    for (ValueId id : node.outputs) outputs.push_back(value_view(id, frame));
    for (StateId id : node.writes) outputs.push_back(view(id));
  }
  const Types input_types = stage_.graph.input_types(node), output_types = stage_.graph.output_types(node);
  instruction.kernel = backend_.kernels().make({*node.op, instruction.inputs[0], instruction.outputs[0],
                                                stage_.graph.mesh(), coordinate_, config_.threads,
                                                stage_.memory.workspace_bytes, input_types, output_types});
  return instruction;
}

StepResult Executor::train_step(const HostStep& host, int step) {
  host_ = &host, step_ = step, clock_ns_ = now_ns();
  run_region(Region::kPrologue);
  for (const Action& action : stage_.schedule) run_action(action);
  run_region(Region::kEpilogue);
  return read_result(true);
}

StepResult Executor::evaluate(const HostStep& host, int step) {
  host_ = &host, step_ = step, clock_ns_ = now_ns();
  run_region(Region::kPrologue);
  for (const Action& action : stage_.schedule)
    if (action.kind == ActionKind::kForward) run_action(action);
  return read_result(false);
}

std::optional<NonFinite> Executor::find_non_finite(const HostStep& host, int step) {
  host_ = &host, step_ = step, clock_ns_ = now_ns();
  checking_ = true;
  found_.reset();
  run_region(Region::kPrologue);
  for (const Action& action : stage_.schedule) run_action(action);
  checking_ = false;
  return found_;
}

void Executor::run_region(Region region) {
  for (size_t index : regions_[static_cast<size_t>(region)]) run_node(index, 0, -1);
}

void Executor::run_action(const Action& action) {
  switch (action.kind) {
    case ActionKind::kForward:
      return run_phase(Phase::kForward, action.microbatch);
    case ActionKind::kInputGrad:
      return run_phase(Phase::kInputGrad, action.microbatch);
    case ActionKind::kWeightGrad:
      return run_phase(Phase::kWeightGrad, action.microbatch);
    case ActionKind::kBackward:
      run_phase(Phase::kInputGrad, action.microbatch);
      return run_phase(Phase::kWeightGrad, action.microbatch);
  }
}

void Executor::run_phase(Phase phase, int microbatch) {
  const int frame = stage_.memory.frame_of_microbatch[static_cast<size_t>(microbatch)];
  for (size_t index : phases_[static_cast<size_t>(phase)]) run_node(index, frame, microbatch);
}

void Executor::run_node(size_t index, int frame, int microbatch) {
  if (found_ && checking_) return;
  const Instruction& instruction = instructions_[index];
  const size_t f = static_cast<size_t>(frame);
  const std::span<std::byte> workspace(memory_->data() + stage_.memory.workspace_begin(),
                                       static_cast<size_t>(stage_.memory.workspace_bytes));
  instruction.kernel({.inputs = instruction.inputs[f],
                      .outputs = instruction.outputs[f],
                      .workspace = workspace,
                      .microbatch = microbatch,
                      .first_write = microbatch <= 0,
                      .host = host_});
  const int64_t end_ns = now_ns();
  trace_.record({.t0_ns = clock_ns_,
                 .t1_ns = end_ns,
                 .flops = instruction.cost.flops,
                 .bytes = instruction.cost.bytes_read + instruction.cost.bytes_written,
                 .step = step_,
                 .node = static_cast<int32_t>(index),
                 .microbatch = microbatch,
                 .lane = stage_.graph.nodes()[index].lane,
                 .kind = instruction.kind});
  clock_ns_ = end_ns;
  if (checking_) check_outputs(index, frame, microbatch);
}

void Executor::check_outputs(size_t index, int frame, int microbatch) {
  const Node& node = stage_.graph.nodes()[index];
  const std::vector<TensorView>& outputs = instructions_[index].outputs[static_cast<size_t>(frame)];
  for (size_t i = 0; i < outputs.size(); ++i) {
    const int64_t count = backend_.count_non_finite(outputs[i]);
    if (count == 0) continue;
    const bool is_state = i >= node.outputs.size();
    const StateId state = is_state ? node.writes[i - node.outputs.size()] : StateId{};
    const ValueId value = is_state ? stage_.graph[state].value : node.outputs[i];
    const std::string& name = stage_.graph[value].name;
    found_ =
        NonFinite{fmt::format("{}: {} -> {} {}, microbatch {}: {} of {} elements", node.scope, node.op->name(),
                              name.empty() ? fmt::format("%{}", value.index) : name,
                              to_string(stage_.graph[value].type), microbatch, count, outputs[i].num_elements())};
    return;
  }
}

StepResult Executor::read_result(bool trained) const {
  StepResult result;
  result.valid_tokens = static_cast<double>(scalar<float>(step_state::kValidTokens));
  result.loss = static_cast<double>(scalar<float>(step_state::kLossSum)) / result.valid_tokens;
  if (trained) {
    result.grad_norm = static_cast<double>(scalar<float>(step_state::kGradNorm));
    result.applied = scalar<int32_t>(step_state::kApply) != 0;
  }
  return result;
}

}  // namespace trine
