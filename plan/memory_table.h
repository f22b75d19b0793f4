// The lines of a memory plan by name, which sum to its bytes.
#pragma once

#include <span>
#include <vector>

#include "plan/buffers.h"
#include "plan/memory_plan.h"

namespace trine {

// Adds what of a pool is live when most is, and the gaps between: the lines add up to the pool's size. Chunks have
// pools of their own, but share lines where as many microbatches are in flight.
void describe_pool(const Graph& graph, const Pool& pool, std::span<const Buffer* const> members,
                   std::vector<MemoryLine>& table);

}  // namespace trine
