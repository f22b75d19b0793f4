#include "plan/step_program.h"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <iterator>
#include <map>
#include <set>

#include "plan/memory_plan.h"

namespace trine {
namespace {

constexpr int32_t kAnyMicrobatch = 0, kOfTheStep = -1;

// A collective of the epilogue starts early if nothing in the epilogue comes before it but such collectives: what
// it waits for in the microbatch region, by collective.
std::map<size_t, std::set<size_t>> early_collectives(const Graph& graph) {
  std::map<size_t, std::set<size_t>> awaited;
  for (size_t index = 0; index < graph.nodes().size(); ++index) {
    const Node& node = graph.nodes()[index];
    if (node.region != Region::kEpilogue || (node.lane != Lane::kTp && node.lane != Lane::kDp)) continue;
    std::set<size_t> nodes;
    bool early = true;
    for (const NodeId wait : node.waits) {
      const auto other = static_cast<size_t>(wait.index);
      if (graph[wait].region == Region::kMicrobatch && graph[wait].lane == Lane::kCompute)
        nodes.insert(other);
      else if (awaited.contains(other))
        nodes.insert(awaited[other].begin(), awaited[other].end());
      else
        early = false;
    }
    if (early && !nodes.empty()) awaited[index] = nodes;
  }
  return awaited;
}

}  // namespace

std::string_view name(CommandKind kind) {
  constexpr std::array<std::string_view, 9> kNames = {
      "action", "post_receive", "wait_receive", "post_send", "wait_sent", "run", "enqueue", "wait_lane", "end"};
  return kNames[static_cast<size_t>(kind)];
}

std::span<const Phase> phases_of(ActionKind kind) {
  static constexpr std::array kForward = {Phase::kForward}, kInputGrad = {Phase::kInputGrad},
                              kWeightGrad = {Phase::kWeightGrad};
  static constexpr std::array kBackward = {Phase::kInputGrad, Phase::kWeightGrad};
  switch (kind) {
    case ActionKind::kForward:
      return kForward;
    case ActionKind::kInputGrad:
      return kInputGrad;
    case ActionKind::kWeightGrad:
      return kWeightGrad;
    case ActionKind::kBackward:
      return kBackward;
  }
  return {};
}

std::vector<NodeId> lane_waits(const Graph& graph, const Node& node) {
  std::vector<NodeId> waits;
  for (const NodeId wait : node.waits) {
    const Node& other = graph[wait];
    if (other.lane != Lane::kCompute && other.lane != node.lane && !other.op->is_transfer()) waits.push_back(wait);
  }
  return waits;
}

StepProgram::StepProgram(const Graph& graph, const Schedule& schedule, StepMode mode, bool device_to_device,
                         const MemoryPlan* memory)
    : graph_(&graph),
      mode_(mode),
      device_to_device_(device_to_device),
      has_slots_(memory != nullptr),
      pp_(graph.mesh().pp) {
  std::copy_if(schedule.begin(), schedule.end(), std::back_inserter(actions_), [&](const Action& action) {
    return mode != StepMode::kEvaluate || action.kind == ActionKind::kForward;
  });
  for (const Action& action : actions_) num_microbatches_ = std::max(num_microbatches_, action.microbatch + 1);
  prologue_.push_back({.kind = CommandKind::kAction, .action = -1});
  for (size_t n = 0; n < graph.nodes().size(); ++n)
    if (graph.nodes()[n].region == Region::kPrologue) add_node(n, prologue_);
  add_blocks();
  add_sends(memory);
  add_epilogue();
}

std::string StepProgram::label(int action) const {
  if (action < 0) return std::string(name(Region::kPrologue));
  if (action >= static_cast<int>(actions_.size())) return std::string(name(Region::kEpilogue));
  return to_string(actions_[static_cast<size_t>(action)]);
}

size_t StepProgram::num_stored() const {
  size_t num = prologue_.size() + epilogue_.size() + sends_.size();
  for (const Block& block : blocks_) num += block.receives.size() + block.commands.size() + block.last.size();
  return num;
}

StepProgram::Block& StepProgram::block(int chunk, Phase phase) {
  const size_t at = static_cast<size_t>(chunk) * 3 + static_cast<size_t>(phase);
  if (blocks_.size() <= at) blocks_.resize(static_cast<size_t>(chunk) * 3 + 3);
  return blocks_[at];
}

// The node rule.
void StepProgram::add_node(size_t index, std::vector<Command>& to) {
  const Node& node = graph_->nodes()[index];
  Command command{.lane = node.lane,
                  .node = static_cast<int32_t>(index),
                  .microbatch = node.region == Region::kMicrobatch ? kAnyMicrobatch : kOfTheStep};
  const bool is_receive = node.op->is_transfer() && node.inputs.empty();
  if (!is_receive && (node.lane == Lane::kCompute || node.op->is_transfer()))
    for (const NodeId wait : node.waits) {
      const Node& other = (*graph_)[wait];
      if (other.lane == Lane::kCompute || other.op->is_transfer()) continue;  // this thread came by it before
      to.push_back({.kind = CommandKind::kWaitLane,
                    .lane = other.lane,
                    .node = wait.index,
                    .microbatch = other.region == Region::kMicrobatch ? kAnyMicrobatch : kOfTheStep});
    }
  if (node.op->is_view()) return;
  if (is_receive) {
    command.kind = CommandKind::kWaitReceive;
  } else if (node.op->is_transfer()) {
    command.kind = CommandKind::kPostSend, command.slot = static_cast<int32_t>(sends_.size());
    block(node.chunk, node.phase).sends.push_back(sends_.size());
    Command wait = command;
    wait.kind = CommandKind::kWaitSent;
    sends_.push_back({.wait = wait, .slots = {}, .is_reused = {}});
  } else {
    command.kind = node.lane == Lane::kCompute ? CommandKind::kRun : CommandKind::kEnqueue;
  }
  to.push_back(command);
  if (is_receive) {
    command.kind = CommandKind::kPostReceive;
    block(node.chunk, node.phase).receives.push_back(command);
  }
}

void StepProgram::add_blocks() {
  for (const Action& action : actions_) block(action.stage / pp_, Phase::kForward);
  std::vector<std::optional<Command>> last_of_tp;  // by block
  for (size_t n = 0; n < graph_->nodes().size(); ++n) {
    const Node& node = graph_->nodes()[n];
    if (node.region != Region::kMicrobatch) continue;
    add_node(n, block(node.chunk, node.phase).commands);
    last_of_tp.resize(blocks_.size());
    if (node.lane == Lane::kTp)
      last_of_tp[static_cast<size_t>(node.chunk) * 3 + static_cast<size_t>(node.phase)] = {
          .kind = CommandKind::kWaitLane,
          .lane = Lane::kTp,
          .node = static_cast<int32_t>(n),
          .microbatch = kAnyMicrobatch};
  }
  for (size_t b = 0; b < last_of_tp.size(); ++b)
    if (last_of_tp[b]) blocks_[b].commands.push_back(*last_of_tp[b]);
}

void StepProgram::add_sends(const MemoryPlan* memory) {
  if (memory == nullptr) return;
  for (Send& send : sends_) {
    const ValueId value = graph_->nodes()[static_cast<size_t>(send.wait.node)].inputs[0];
    const Pool& pool = memory->pools[static_cast<size_t>(memory->values[static_cast<size_t>(value.index)].pool)];
    for (int m = 0; m < num_microbatches_; ++m) send.slots.push_back(pool.slot(m));
    send.is_reused.resize(send.slots.size());
  }
  std::vector<std::vector<bool>> used(sends_.size());  // by send and slot
  for (size_t s = 0; s < sends_.size(); ++s)
    if (!sends_[s].slots.empty()) used[s].resize(static_cast<size_t>(std::ranges::max(sends_[s].slots)) + 1);
  for (const Action& action : actions_)
    for (const Phase phase : phases_of(action.kind))
      for (const size_t s : block(action, phase).sends) {
        const auto m = static_cast<size_t>(action.microbatch);
        auto is_used = used[s][static_cast<size_t>(sends_[s].slots[m])];
        sends_[s].is_reused[m] = is_used;
        is_used = true;
      }
}

// The epilogue, and behind which nodes of the last microbatch its collectives start early.
void StepProgram::add_epilogue() {
  for (Block& block : blocks_) block.last = block.commands;
  if (mode_ == StepMode::kTrain) {
    const std::set<size_t> started = start_early_collectives();
    epilogue_.push_back({.kind = CommandKind::kAction});
    for (size_t n = 0; n < graph_->nodes().size(); ++n)
      if (graph_->nodes()[n].region == Region::kEpilogue && !started.contains(n)) add_node(n, epilogue_);
  }
  epilogue_.push_back({.kind = CommandKind::kEnd});
  for (Command& command : epilogue_) {
    command.action = static_cast<int32_t>(actions_.size());
    if (command.microbatch == kAnyMicrobatch) command.microbatch = num_microbatches_ - 1;
  }
}

// Into the blocks' last microbatch; returns which.
std::set<size_t> StepProgram::start_early_collectives() {
  std::map<size_t, std::set<size_t>> awaited = early_collectives(*graph_);
  std::map<size_t, std::vector<size_t>> waiting_for;  // by awaited node
  for (const auto& [collective, nodes] : awaited)
    for (const size_t node : nodes) waiting_for[node].push_back(collective);
  std::set<size_t> started;
  for (const Action& action : actions_) {
    if (action.microbatch + 1 != num_microbatches_) continue;
    for (const Phase phase : phases_of(action.kind)) {
      std::vector<Command> commands;
      for (const Command& command : block(action, phase).commands) {
        commands.push_back(command);
        if (command.kind != CommandKind::kRun) continue;
        const auto waiting = waiting_for.find(static_cast<size_t>(command.node));
        if (waiting == waiting_for.end()) continue;
        for (const size_t collective : waiting->second) {
          awaited[collective].erase(static_cast<size_t>(command.node));
          if (!awaited[collective].empty()) continue;
          add_node(collective, commands);
          started.insert(collective);
        }
      }
      block(action.stage / pp_, phase).last = std::move(commands);
    }
  }
  return started;
}

void print(const StepProgram& program, std::ostream& out) {
  program.for_each([&](const Command& c) {
    if (c.kind == CommandKind::kAction || c.kind == CommandKind::kEnd) {
      out << (c.kind == CommandKind::kEnd ? "end" : program.label(c.action)) << '\n';
      return;
    }
    const Node& node = program.graph().nodes()[static_cast<size_t>(c.node)];
    std::string line = fmt::format("  {:<12} {:>4} {}", name(c.kind), c.node, node.op->name());
    if (c.microbatch >= 0) line += fmt::format(" {}", c.microbatch);
    if (c.slot >= 0) line += fmt::format(" slot {}", c.slot);
    if (c.lane != Lane::kCompute && !node.op->is_transfer()) line += fmt::format(" lane {}", name(c.lane));
    if (!node.scope.empty()) line += fmt::format("  {}", node.scope);
    out << line << '\n';
  });
}

}  // namespace trine
