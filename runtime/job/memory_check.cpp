#include "runtime/job/memory_check.h"

#include <functional>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "plan/host_memory.h"
#include "runtime/device/outside_memory.h"
#include "runtime/failure/process_state.h"
#include "runtime/job/agreement.h"

namespace trine {
namespace {

// What a rank wants of a memory that it shares with the ranks that name it alike.
struct Need {
  size_t memory = 0;
  int64_t bytes = 0;
};

Need need_of(const std::string& memory, int64_t bytes) { return {std::hash<std::string>{}(memory), bytes}; }

// Whether any two ranks have the same memory: then no NCCL is made. Collective.
bool any_shares(const std::string& memory, Communicator& world) {
  std::set<size_t> memories;
  for (const size_t of_rank : gather_all(&world, std::hash<std::string>{}(memory))) memories.insert(of_rank);
  return std::ssize(memories) < world.size();
}

// Nothing, or why all who share that memory do not fit. Collective.
std::string problem_of(const Need& own, int64_t have, const char* where, Communicator* world) {
  int64_t together = 0, ranks = 0;
  for (const Need& need : gather_all(world, own))
    if (need.memory == own.memory) together += need.bytes, ++ranks;
  if (together <= have) return {};
  if (ranks == 1)
    return fmt::format("it needs {} of {} and only {} can be had", format_bytes(own.bytes), where,
                       format_bytes(have));
  return fmt::format("the {} ranks of {} need {} and only {} can be had", ranks, where, format_bytes(together),
                     format_bytes(have));
}

}  // namespace

OutOfMemoryError out_of_memory(const Plan& plan, Coordinate at, const std::string& reason) {
  const StagePlan& stage = plan.stages[static_cast<size_t>(at.pp)];
  const HostMemory host = host_memory(stage, plan.config, at);
  return OutOfMemoryError(fmt::format(
      "[memory] the plan needs {} per rank{}, but {}:\n{}{}Lower --micro-batch or --seq, recompute "
      "(--recompute selective or full), or spread the model over more ranks{}.",
      format_bytes(stage.memory.total_bytes()),
      host.total_bytes() > 0 ? fmt::format(" and {} beside it on the host", format_bytes(host.total_bytes())) : "",
      reason, print(stage.memory), print(host), host.snapshot_bytes > 0 ? " and hosts" : ""));
}

void check_memory(const Plan& plan, Coordinate at, const Backend& backend, Communicator* world,
                  int64_t available_bytes) {
  const StagePlan& stage = plan.stages[static_cast<size_t>(at.pp)];
  const ProcessIdentity process = ProcessIdentity::own();
  const auto room = backend.room();
  const int64_t arena = stage.memory.total_bytes(), host = host_memory(stage, plan.config, at).total_bytes();
  std::string problem;
  if (room) {
    const std::string device = process.host + backend.identity();
    const bool by_nccl = plan.config.comm != CommKind::kMpi && world != nullptr && !any_shares(device, *world);
    const int64_t outside =
        outside_plan_estimate(by_nccl ? communicators_of(plan.config, at) : DeviceCommunicators{});
    problem = problem_of(need_of(device, arena + outside), room->free_bytes, "this GPU", world);
    if (!problem.empty())
      problem = fmt::format("{} per rank counted for what is outside the plan, {}", format_bytes(outside), problem);
  }
  const std::string of_host =
      problem_of(need_of(process.space, host + (room ? 0 : arena)), available_bytes, "this host", world);
  run_agreed(world, [&] {
    if (!problem.empty()) throw out_of_memory(plan, at, problem);
    if (!of_host.empty()) throw out_of_memory(plan, at, of_host);
  });
}

}  // namespace trine
