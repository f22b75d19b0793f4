// Executes the schedules of all ranks against each other, on times only.
//
// The rules are the runtime's. A rank runs its actions in order. F passes its output to the next stage, B (or I)
// its gradient to the stage before; between ranks that is a message. Each directed edge (forward or backward, from
// rank to rank) is a FIFO without capacity: the i-th send meets the i-th receive, and is complete when both are
// posted. A send is posted after its action, and the rank goes on; a receive is posted one action ahead. A message
// takes no time: what links cost is the simulator's business.
#pragma once

#include <string>
#include <vector>

#include "parallel/schedules/schedule.h"

namespace trine {

// Times of a stage's actions for one microbatch, in any one unit. B takes both gradients' time.
struct StageCost {
  double forward = 1, input_grad = 1, weight_grad = 1;
  double of(ActionKind kind) const;
};

// Before a rank starts `action`, its message of the earlier action `send` must have been received: the memory plan
// gave the buffer to something else. Both are positions in the rank's schedule. A receive that overwrites a sent
// buffer needs the wait one action before its own, where it is posted.
struct SendWait {
  int rank = 0, action = 0, send = 0;
};
// The waits of ranks that have `buffers` send buffers for each edge and use them in turn.
std::vector<SendWait> waits_for_send_buffers(const std::vector<Schedule>& schedules, int buffers);

struct Span {
  double start = 0, end = 0;
};
struct Execution {
  std::vector<std::vector<Span>> spans;  // by rank, and by position in its schedule
  double end = 0;
};

struct ExecuteOptions {
  std::vector<SendWait> waits;
  int receives_ahead = 1;  // actions
};

// `costs`: by stage. ConfigError where messages of an edge are sent and received in different orders, and for a
// deadlock: it says for each rank at which action it stands and what it waits for.
Execution execute(const std::vector<Schedule>& schedules, const std::vector<StageCost>& costs,
                  const ExecuteOptions& options = {});

int count_stages(const std::vector<Schedule>& schedules);  // the highest + 1
// The share of the ranks' time, from the first start to the last end, in which they do nothing.
double bubble_fraction(const std::vector<Schedule>& schedules, const std::vector<StageCost>& costs);

}  // namespace trine
