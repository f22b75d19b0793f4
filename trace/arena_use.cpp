#include "trace/arena_use.h"

#include <map>
#include <set>
#include <tuple>

#include "base/error.h"
#include "plan/step_program.h"

namespace trine {
namespace {

// From the phase of a chunk that makes a value to the one that reads it last, in a pool.
using Span = std::tuple<int, int, Phase, int, Phase>;  // pool; chunk and phase; chunk and phase

std::set<Span> spans_of(const StagePlan& stage) {
  const Graph& graph = stage.graph;
  const std::vector<int> last_uses = graph.last_uses();
  std::set<Span> spans;
  for (size_t v = 0; v < graph.values().size(); ++v) {
    const NodeId made = graph.values()[v].producer;
    const int pool = stage.memory.values[v].pool;
    if (pool < 0 || !made.valid() || graph[made].region != Region::kMicrobatch) continue;
    const Node& first = graph[made];
    const Node* last = last_uses[v] < 0 ? &first : &graph[NodeId{last_uses[v]}];
    if (last->region != Region::kMicrobatch) last = &first;
    spans.emplace(pool, first.chunk, first.phase, last->chunk, last->phase);
  }
  return spans;
}

}  // namespace

std::vector<int64_t> arena_in_use(const StagePlan& stage) {
  const int pp = stage.graph.mesh().pp;
  std::map<std::tuple<int, Phase, int>, int> action_of;  // chunk, phase, microbatch
  int num_microbatches = 0;
  for (size_t i = 0; i < stage.schedule.size(); ++i) {
    const Action& action = stage.schedule[i];
    num_microbatches = std::max(num_microbatches, action.microbatch + 1);
    for (const Phase phase : phases_of(action.kind))
      action_of[{action.stage / pp, phase, action.microbatch}] = static_cast<int>(i);
  }
  const MemoryPlan& memory = stage.memory;
  std::vector<int64_t> in_use(stage.schedule.size(), memory.states_bytes + memory.workspace_bytes);
  std::set<std::tuple<int, int, int>> counted;  // pool, slot, action
  for (const auto& [pool_index, made_chunk, made, read_chunk, read] : spans_of(stage)) {
    const Pool& pool = memory.pools[static_cast<size_t>(pool_index)];
    for (int microbatch = 0; microbatch < num_microbatches; ++microbatch) {
      const int end = action_of.at({read_chunk, read, microbatch});
      for (int action = action_of.at({made_chunk, made, microbatch}); action <= end; ++action)
        if (counted.emplace(pool_index, pool.slot(microbatch), action).second)
          in_use[static_cast<size_t>(action)] += pool.slot_bytes;
    }
  }
  return in_use;
}

}  // namespace trine
