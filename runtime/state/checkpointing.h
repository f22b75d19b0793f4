// Between an executor's memory and a checkpoint's logical tensors (checkpoint/format.md). A tensor's elements
// belong to exactly one rank: what tp ranks all hold to the first of them;
// what dp ranks all hold is shared out between them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/slice.h"
#include "runtime/step/executor.h"

namespace trine {

// What this rank saves: masters and moments, pointing into the executor's memory.
std::vector<Slice> owned_slices(const Executor& executor);

// Reads this rank's masters and moments and rounds the compute copies, whatever layout wrote them. Only the rank's
// own shards pass through memory, a parameter at a time. DataError if a tensor is missing or has another shape.
void load_state(Executor& executor, Checkpoint& checkpoint);
// Weights alone; moments are zeroed.
void load_weights(Executor& executor, Checkpoint& checkpoint);

}  // namespace trine
