// What one pipeline rank does in a step, as data: the commands of its main thread, in order. The executor carries
// them out; the memory plan, the checks and whatever predicts a step walk the same ones.
//
//   prologue   its nodes
//   action i   wait_sent of each of its sends whose slot an earlier one used; post_receive of what action i + 1
//              receives (and before the first action of what it receives itself); its nodes, by phase (B = I, then
//              W); a phase ends when the last of its tensor-parallel collectives has
//   epilogue   its nodes but those that started early; end
//
// A node: a receive waits for its message. A send, and a node of the compute lane, wait for the nodes of other
// lanes that they follow; then the message is posted, the kernel runs, and a view does nothing. Another lane's node
// is enqueued there, and the lane waits itself (lane_waits). An epilogue's collective over tp or dp that follows
// only nodes of the microbatch region starts early: behind the last of them, in the last microbatch.
//
// Evaluation runs forwards, each of which posts its own receives, and no epilogue; the check of a step for values
// that are not finite has no epilogue either. Where messages go from device to device, receives are posted behind
// the nodes of the action before: one spins on the device until its message comes, and what the action still has
// to load would wait for it.
#pragma once

#include <ostream>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "parallel/schedules/schedule.h"

namespace trine {

struct MemoryPlan;

enum class CommandKind : uint8_t {
  kAction,       // begins: of the schedule, or the prologue or the epilogue
  kPostReceive,  // the message may write node's output
  kWaitReceive,
  kPostSend,  // the message may read node's input, in this slot of its pool
  kWaitSent,  // what node sent last from this slot has arrived
  kRun,       // a kernel, on the compute lane
  kEnqueue,   // a node of another lane: it begins when it may
  kWaitLane,  // node, of another lane, has ended, if this step ran it
  kEnd,       // all is done, in all lanes
};
std::string_view name(CommandKind kind);  // "post_receive"

struct Command {
  CommandKind kind = CommandKind::kEnd;
  Lane lane = Lane::kCompute;  // of the node
  int32_t action = -1;         // of a post_receive the one that waits for it: see StepProgram
  int32_t node = -1;
  int32_t microbatch = -1;  // -1: the node is the step's
  int32_t slot = -1;        // of a message that is sent

  bool operator==(const Command&) const = default;
};

enum class StepMode : uint8_t { kTrain, kEvaluate, kCheck };

// The phases that an action runs, in order.
std::span<const Phase> phases_of(ActionKind kind);

// The nodes that the lane of `node` itself waits for: those of lanes but its own and compute.
std::vector<NodeId> lane_waits(const Graph& graph, const Node& node);

// Holds each phase of a chunk once, whatever the number of microbatches. `graph` must outlive it.
class StepProgram {
 public:
  // REQUIRES: stage = chunk * pp + rank in `schedule`. Without `memory`, which is itself planned from this order,
  // there is no wait_sent, and slots are -1.
  StepProgram(const Graph& graph, const Schedule& schedule, StepMode mode, bool device_to_device,
              const MemoryPlan* memory = nullptr);

  const Graph& graph() const { return *graph_; }
  StepMode mode() const { return mode_; }
  // The schedule's actions that this program runs, by position: the numbers of commands' actions. The prologue is
  // action -1, the epilogue action actions().size(), which has only the end where there is no epilogue.
  const Schedule& actions() const { return actions_; }
  size_t num_stored() const;            // commands
  std::string label(int action) const;  // "prologue", "2F0", "epilogue"

  // Calls visit(command) for all, in order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (int action = -1; action <= static_cast<int>(actions_.size()); ++action) for_each_of(action, visit);
  }
  // The part of the sequence that begins an action (with its waits for slots) and ends before the next.
  template <typename Visit>
  void for_each_of(int action, Visit&& visit) const;

 private:
  struct Send {
    Command wait;
    std::vector<int> slots;       // by microbatch
    std::vector<bool> is_reused;  // by microbatch: an earlier action sent from its slot
  };
  // Commands of a phase of a chunk. Microbatch 0 stands for any; the slot of a send is its place in sends_.
  struct Block {
    std::vector<Command> receives, commands, last;  // last: in the last microbatch
    std::vector<size_t> sends;                      // in sends_
  };

  void add_node(size_t index, std::vector<Command>& to);
  void add_blocks();
  void add_sends(const MemoryPlan* memory);
  void add_epilogue();
  std::set<size_t> start_early_collectives();
  Block& block(int chunk, Phase phase);
  const Block& block(const Action& action, Phase phase) const {
    return blocks_[static_cast<size_t>(action.stage / pp_) * 3 + static_cast<size_t>(phase)];
  }
  int slot_of(int send, int microbatch) const {
    return has_slots_ ? sends_[static_cast<size_t>(send)].slots[static_cast<size_t>(microbatch)] : -1;
  }
  template <typename Visit>
  void visit_receives(int action, Visit& visit) const;
  template <typename Visit>
  void visit_nodes(int action, Visit& visit) const;

  const Graph* graph_;
  StepMode mode_;
  bool device_to_device_, has_slots_;
  int pp_ = 1, num_microbatches_ = 0;
  Schedule actions_;
  std::vector<Command> prologue_, epilogue_;
  std::vector<Block> blocks_;  // by chunk and phase
  std::vector<Send> sends_;
};

// A line for each command: the nodes of an action stand beneath it.
void print(const StepProgram& program, std::ostream& out);

template <typename Visit>
void StepProgram::for_each_of(int action, Visit&& visit) const {
  if (action < 0 || action == static_cast<int>(actions_.size())) {
    for (const Command& command : action < 0 ? prologue_ : epilogue_) visit(command);
    return;
  }
  const Action& now = actions_[static_cast<size_t>(action)];
  if (has_slots_)
    for (const Phase phase : phases_of(now.kind))
      for (const size_t s : block(now, phase).sends) {
        const Send& send = sends_[s];
        const auto m = static_cast<size_t>(now.microbatch);
        if (!send.is_reused[m]) continue;
        Command wait = send.wait;
        wait.action = action, wait.microbatch = now.microbatch, wait.slot = send.slots[m];
        visit(wait);
      }
  const bool posts_own = action == 0 || mode_ == StepMode::kEvaluate;
  const bool posts_next = mode_ != StepMode::kEvaluate && action + 1 < static_cast<int>(actions_.size());
  if (posts_own) visit_receives(action, visit);
  if (posts_next && !device_to_device_) visit_receives(action + 1, visit);
  visit(Command{.kind = CommandKind::kAction, .action = action, .microbatch = now.microbatch});
  visit_nodes(action, visit);
  if (posts_next && device_to_device_) visit_receives(action + 1, visit);
}

template <typename Visit>
void StepProgram::visit_receives(int action, Visit& visit) const {
  const Action& of = actions_[static_cast<size_t>(action)];
  for (const Phase phase : phases_of(of.kind))
    for (Command receive : block(of, phase).receives) {
      receive.action = action, receive.microbatch = of.microbatch;
      visit(receive);
    }
}

template <typename Visit>
void StepProgram::visit_nodes(int action, Visit& visit) const {
  const Action& now = actions_[static_cast<size_t>(action)];
  const bool is_last = now.microbatch + 1 == num_microbatches_;
  for (const Phase phase : phases_of(now.kind)) {
    const Block& of = block(now, phase);
    for (Command command : is_last ? of.last : of.commands) {
      command.action = action;
      if (command.microbatch == 0) command.microbatch = now.microbatch;
      if (command.kind == CommandKind::kPostSend) command.slot = slot_of(command.slot, now.microbatch);
      visit(command);
    }
  }
}

}  // namespace trine
