#include "plan/program_check.h"

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>

#include "base/error.h"
#include "ops/pipeline.h"

namespace trine {
namespace {

// A message by the action that makes it.
using Message = Action;

struct Edge {
  int64_t num_sent = 0, num_received = 0;  // posted
  std::deque<Message> unmatched;           // of the side that is ahead
  bool sends_ahead() const { return num_sent > num_received; }
};

struct Posted {
  Edge* edge = nullptr;
  int64_t number = 0;  // on its edge, from 0
  Message message;
};

class Run {
 public:
  explicit Run(std::span<const StepProgram> programs) : programs_(programs), ranks_(programs.size()) {
    for (size_t rank = 0; rank < programs.size(); ++rank)
      ranks_[rank].splits_backward = std::ranges::any_of(
          programs[rank].actions(), [](const Action& action) { return action.kind == ActionKind::kInputGrad; });
  }

  void finish() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank)
        while (advance(rank)) moved = true;
    }
    if (!std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.done; }))
      throw ConfigError(deadlock());
  }

 private:
  struct Rank {
    int action = -2;                // whose commands these are
    std::vector<Command> commands;  // that have to do with messages
    size_t next = 0;
    bool done = false;
    bool splits_backward = false;  // into the gradients of inputs, which are sent, and of weights
    std::map<std::pair<int, int>, Posted> receives, sends;  // by node and microbatch, by node and slot
  };

  const StepProgram& program(int rank) const { return programs_[static_cast<size_t>(rank)]; }

  // The next command that has to do with messages; nullptr at the end.
  const Command* next(int at) {
    Rank& rank = ranks_[static_cast<size_t>(at)];
    const auto end = static_cast<int>(program(at).actions().size());
    while (rank.next == rank.commands.size() && rank.action < end) {
      rank.commands.clear(), rank.next = 0;
      program(at).for_each_of(rank.action = std::max(-1, rank.action + 1), [&](const Command& command) {
        if (command.kind >= CommandKind::kPostReceive && command.kind <= CommandKind::kWaitSent)
          rank.commands.push_back(command);
      });
    }
    return rank.next < rank.commands.size() ? &rank.commands[rank.next] : nullptr;
  }

  bool is_complete(int at, const Command& command) const {
    const Rank& rank = ranks_[static_cast<size_t>(at)];
    const bool receives = command.kind == CommandKind::kWaitReceive;
    const Posted& posted = receives ? rank.receives.at({command.node, command.microbatch})
                                    : rank.sends.at({command.node, command.slot});
    return posted.number < (receives ? posted.edge->num_sent : posted.edge->num_received);
  }

  bool advance(int at) {
    Rank& rank = ranks_[static_cast<size_t>(at)];
    const Command* command = next(at);
    if (command == nullptr) {
      rank.done = true;
      return false;
    }
    switch (command->kind) {
      case CommandKind::kPostReceive:
        rank.receives[{command->node, command->microbatch}] = post(at, *command);
        break;
      case CommandKind::kPostSend:
        rank.sends[{command->node, command->slot}] = post(at, *command);
        break;
      case CommandKind::kWaitReceive:
        if (!is_complete(at, *command)) return false;
        rank.receives.erase({command->node, command->microbatch});
        break;
      default:
        if (!is_complete(at, *command)) return false;
    }
    ++rank.next;
    return true;
  }

  Posted post(int at, const Command& command) {
    const Op& op = *program(at).graph().nodes()[static_cast<size_t>(command.node)].op;
    const int pp = static_cast<int>(programs_.size());
    if (const auto* receive = dynamic_cast<const Receive*>(&op)) {
      const Message message = message_from(receive->from_stage, receive->backward, command.microbatch);
      Edge& edge = edges_[{receive->from_stage % pp, at, receive->backward}];
      match(edge, message, !edge.sends_ahead(), at, receive->from_stage % pp, at);
      return {&edge, edge.num_received++, message};
    }
    const auto& send = dynamic_cast<const Send&>(op);
    const Message message =
        message_from(send.to_stage + (send.backward ? 1 : -1), send.backward, command.microbatch);
    Edge& edge = edges_[{at, send.to_stage % pp, send.backward}];
    match(edge, message, edge.num_sent >= edge.num_received, at, at, send.to_stage % pp);
    return {&edge, edge.num_sent++, message};
  }

  Message message_from(int stage, bool backward, int microbatch) const {
    const size_t rank = static_cast<size_t>(stage) % ranks_.size();
    const ActionKind kind = !backward                      ? ActionKind::kForward
                            : ranks_[rank].splits_backward ? ActionKind::kInputGrad
                                                           : ActionKind::kBackward;
    return {stage, kind, microbatch};
  }

  // A message is posted on one side of its edge: are it and what the other side has there the same?
  static void match(Edge& edge, const Message& message, bool is_ahead, int at, int from, int to) {
    if (is_ahead) {
      edge.unmatched.push_back(message);
      return;
    }
    const Message other = edge.unmatched.front();
    edge.unmatched.pop_front();
    if (other == message) return;
    throw ConfigError(
        fmt::format("[schedule] message {} from rank {} to rank {} is {}, but there the receive of {} is posted. "
                    "Both ranks must run the microbatches of this edge in the same order.",
                    std::min(edge.num_sent, edge.num_received), from, to, to_string(at == from ? message : other),
                    to_string(at == from ? other : message)));
  }

  std::string deadlock() {
    std::string text =
        "[schedule] deadlock: no rank can go on. Change the order of the actions, or what they wait for.";
    for (int at = 0; at < static_cast<int>(ranks_.size()); ++at) {
      const Rank& rank = ranks_[static_cast<size_t>(at)];
      if (rank.done) {
        text += fmt::format("\n  rank {} is done", at);
        continue;
      }
      const Command& command = rank.commands[rank.next];
      const bool receives = command.kind == CommandKind::kWaitReceive;
      const Message& message = (receives ? rank.receives.at({command.node, command.microbatch})
                                         : rank.sends.at({command.node, command.slot}))
                                   .message;
      text += fmt::format(
          "\n  rank {} at {} (action {} of {}) waits for {}", at, program(at).label(command.action), command.action,
          program(at).actions().size(),
          receives ? fmt::format("{} from rank {}", to_string(message),
                                 message.stage % static_cast<int>(programs_.size()))
                   : fmt::format("its message {} to be received, whose buffer is used again", to_string(message)));
    }
    return text;
  }

  const std::span<const StepProgram> programs_;
  std::vector<Rank> ranks_;
  std::map<std::tuple<int, int, bool>, Edge> edges_;  // by sender, receiver, backward
};

}  // namespace

void check_programs(std::span<const StepProgram> programs) { Run(programs).finish(); }

}  // namespace trine
